use super::fixes::{is_modular, is_older};
use freshmaker::artifact::Nvr;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The packages that are installed in an image, for each of its architectures.
///
/// [`unmet`](Self::unmet) compares them with the packages that the image was rebuilt for.
///
/// ```
/// use freshmaker_redhat::image::Contents;
/// use std::collections::BTreeSet;
///
/// let mut contents = Contents::default();
/// contents.install("x86_64", "openssl-libs-3.0.7-6.el9_2".parse()?);
/// contents.install("aarch64", "openssl-libs-3.0.7-5.el9_2".parse()?);
///
/// let demands = BTreeSet::from(["openssl-libs-3.0.7-6.el9_2".parse()?]);
/// let unmet = contents.unmet(&demands);
/// assert_eq!(unmet.len(), 1);
/// assert_eq!(
///     unmet[0].to_string(),
///     "openssl-libs-3.0.7-5.el9_2 on aarch64 is older than openssl-libs-3.0.7-6.el9_2"
/// );
/// # Ok::<(), freshmaker::artifact::NvrError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents(BTreeMap<String, BTreeSet<Nvr>>);

/// A demand that an image does not meet, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unmet {
    /// The package is not installed in any architecture.
    Absent {
        /// The demanded package.
        demanded: Nvr,
    },
    /// An installed package is older than the demanded one.
    Older {
        /// The architecture of the image.
        architecture: String,
        /// The installed package.
        installed: Nvr,
        /// The demanded package.
        demanded: Nvr,
    },
    /// Packages with this name are installed, but they come from modules and the demanded one does
    /// not, or the reverse.
    OtherModularity {
        /// One of the installed packages.
        installed: Nvr,
        /// The demanded package.
        demanded: Nvr,
    },
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { demanded } => write!(f, "{} is absent, {demanded} was demanded", demanded.name()),
            Self::Older { architecture, installed, demanded } => {
                write!(f, "{installed} on {architecture} is older than {demanded}")
            }
            Self::OtherModularity { installed, demanded } => {
                let [has, not] = if is_modular(installed) { ["is", "is not"] } else { ["is not", "is"] };
                write!(f, "{installed} {has} from a module, {demanded} {not}")
            }
        }
    }
}

impl Contents {
    /// Adds a package that is installed in the image of this architecture.
    ///
    /// A package may be installed in several versions; each of them counts.
    pub fn install(&mut self, architecture: impl Into<String>, package: Nvr) {
        self.0.entry(architecture.into()).or_default().insert(package);
    }

    /// Returns whether no package is known to be installed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.values().all(BTreeSet::is_empty)
    }

    /// Returns each architecture with the packages that are installed there.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BTreeSet<Nvr>)> {
        self.0.iter().map(|(architecture, packages)| (architecture.as_str(), packages))
    }

    /// Returns the demands that the image does not meet, in a fixed order; empty if it meets all.
    ///
    /// * Every installed package with a demanded name must be at least as new as the demand.
    /// * If there are several demands for one name, those for the distribution of the installed
    ///   package count: for its minor release (`.el9_2`), else for its major release (`.el9`), else
    ///   all of them.
    /// * Packages from modules and other packages are never compared with each other.
    #[must_use]
    pub fn unmet(&self, demands: &BTreeSet<Nvr>) -> Vec<Unmet> {
        let mut by_name: BTreeMap<&str, Vec<&Nvr>> = BTreeMap::new();
        for demand in demands {
            by_name.entry(demand.name()).or_default().push(demand);
        }
        by_name.into_iter().flat_map(|(name, demands)| self.unmet_of(name, &demands)).collect()
    }

    fn unmet_of(&self, name: &str, demands: &[&Nvr]) -> Vec<Unmet> {
        let installed: Vec<_> = self
            .iter()
            .flat_map(|(architecture, packages)| packages.iter().map(move |package| (architecture, package)))
            .filter(|(_, package)| package.name() == name)
            .collect();
        let Some(&(_, example)) = installed.first() else {
            return demands.iter().map(|demand| Unmet::Absent { demanded: (*demand).clone() }).collect();
        };
        let comparable = |package: &Nvr, demand: &Nvr| is_modular(package) == is_modular(demand);
        if !installed.iter().any(|(_, package)| demands.iter().any(|demand| comparable(package, demand))) {
            let unmet =
                |demand: &&Nvr| Unmet::OtherModularity { installed: example.clone(), demanded: (*demand).clone() };
            return demands.iter().map(unmet).collect();
        }
        let mut unmet = Vec::new();
        for (architecture, package) in installed {
            let candidates: Vec<_> = demands.iter().copied().filter(|demand| comparable(package, demand)).collect();
            let older =
                for_the_same_distribution(package, candidates).into_iter().filter(|demand| is_older(package, demand));
            unmet.extend(older.map(|demand| Unmet::Older {
                architecture: architecture.to_owned(),
                installed: package.clone(),
                demanded: demand.clone(),
            }));
        }
        unmet
    }
}

/// Returns the demands for the distribution of this package: for its minor release, else for its
/// major release, else all.
pub(super) fn for_the_same_distribution<'a>(package: &Nvr, demands: Vec<&'a Nvr>) -> Vec<&'a Nvr> {
    let Some(own) = distribution(package.release()) else { return demands };
    let major = |tag: &str| tag.split('_').next().unwrap_or_default().to_owned();
    let like = |same: &dyn Fn(&str) -> bool| -> Vec<&'a Nvr> {
        let tagged = |demand: &&&Nvr| distribution(demand.release()).is_some_and(same);
        demands.iter().filter(tagged).copied().collect()
    };
    let exact = like(&|tag| tag == own);
    let exact = if exact.is_empty() { like(&|tag| major(tag) == major(own)) } else { exact };
    if exact.is_empty() { demands } else { exact }
}

/// Returns whether two packages may be of the same major release of a distribution, as far as their
/// releases tell it.
pub(super) fn may_be_of_one_distribution(one: &Nvr, other: &Nvr) -> bool {
    let major = |nvr: &Nvr| distribution(nvr.release()).and_then(|tag| tag.split('_').next()).map(str::to_owned);
    major(one).zip(major(other)).is_none_or(|(one, other)| one == other)
}

/// Returns the part of a release that names a distribution: `el9_2` in `6.el9_2.1`.
fn distribution(release: &str) -> Option<&str> {
    let starts = release.match_indices(['.', '+']).map(|(at, _)| at + 1);
    starts.map(|at| &release[at..]).find_map(|rest| {
        let digits = rest.strip_prefix("el").or_else(|| rest.strip_prefix("fc"))?;
        let end = digits.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(digits.len());
        let number = digits[..end].trim_end_matches('_');
        number.starts_with(|c: char| c.is_ascii_digit()).then(|| &rest[..2 + number.len()])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `x86_64: a-1-1 b-2-2; s390x: a-1-1`.
    fn contents(text: &str) -> Contents {
        let mut contents = Contents::default();
        for line in text.split(';').filter(|line| !line.trim().is_empty()) {
            let (architecture, packages) = line.split_once(':').unwrap();
            for package in packages.split_whitespace() {
                contents.install(architecture.trim(), package.parse().unwrap());
            }
        }
        contents
    }

    #[test]
    fn what_is_unmet_is_named() {
        for (installed, demands, expected) in [
            ("x: a-1-2", "a-1-2", ""),
            ("x: a-1-3", "a-1-2", ""),
            ("x: a-2-1.el9; y: a-1-9.el9", "a-1-9.el9", ""),
            ("x: a-1-1; y: a-1-2", "a-1-2", "a-1-1 on x is older than a-1-2"),
            ("x: a-1-1 a-1-2", "a-1-2", "a-1-1 on x is older than a-1-2"),
            ("x: b-1-1; y: a-1-2", "a-1-2", ""),
            ("x: b-1-1", "a-1-2", "a is absent, a-1-2 was demanded"),
            ("", "a-1-2", "a is absent, a-1-2 was demanded"),
            ("x: a-1-1.module+el8", "a-1-2.el8", "a-1-1.module+el8 is from a module, a-1-2.el8 is not"),
            ("x: a-9-1.el8", "a-1-2.module+el8", "a-9-1.el8 is not from a module, a-1-2.module+el8 is"),
            ("x: a-9-1.module+el8 a-1-1.el8", "a-1-2.el8", "a-1-1.el8 on x is older than a-1-2.el8"),
            ("x: a-4-7.el8", "a-4-7.el8 a-5-1.el9", ""),
            ("x: a-4-6.el8", "a-4-7.el8 a-5-1.el9", "a-4-6.el8 on x is older than a-4-7.el8"),
            ("x: a-4-5.el8_4.2", "a-4-5.el8_4.2 a-4-6.el8_6", ""),
            ("x: a-4-5.el8_10", "a-4-5.el8_4.2 a-4-6.el8_6", "a-4-5.el8_10 on x is older than a-4-6.el8_6"),
            ("x: a-4-5.fc40", "a-4-6.el8_6", "a-4-5.fc40 on x is older than a-4-6.el8_6"),
            ("x: a-2-1", "1:a-1-1", "a-2-1 on x is older than 1:a-1-1"),
            ("x: 1:a-1-1", "a-2-1", "1:a-1-1 on x is older than a-2-1"),
        ] {
            let demands = demands.split_whitespace().map(|demand| demand.parse().unwrap()).collect();
            let unmet: Vec<_> = contents(installed).unmet(&demands).iter().map(ToString::to_string).collect();
            assert_eq!(unmet.join("; "), expected, "{installed} for {demands:?}");
        }
    }

    #[test]
    fn distributions() {
        for (release, expected) in [
            ("6.el9_1", Some("el9_1")),
            ("6.el9", Some("el9")),
            ("19.el8_6.3", Some("el8_6")),
            ("2.module+el8.9.0+19519+e25b965a", Some("el8")),
            ("3.fc40", Some("fc40")),
            ("1.elegant", None),
            ("12", None),
        ] {
            assert_eq!(distribution(release), expected, "{release}");
        }
    }
}

use crate::contracts::Advisory;
use std::fmt;

/// What an advisory ships, which decides what is rebuilt because of it.
///
/// ```
/// use freshmaker_redhat::handlers::AdvisorySort;
/// use freshmaker_redhat::contracts::Advisory;
///
/// let bundles = Advisory { reporter: "botas/jenkins@EXAMPLE.COM".into(), ..Advisory::default() };
/// assert_eq!(bundles.sort(), AdvisorySort::Bundles);
/// assert_eq!(Advisory::default().sort(), AdvisorySort::TextOnly);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AdvisorySort {
    /// Packages or modules. Container images that contain them are rebuilt.
    Packages,
    /// Images whose operators are described by bundles, which are not rebuilt yet.
    Bundles,
    /// Container images that are built already.
    Images,
    /// Nothing but a text.
    TextOnly,
    /// Something else.
    Other,
}

impl fmt::Display for AdvisorySort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Packages => "packages or modules",
            Self::Bundles => "operator bundles",
            Self::Images => "container images",
            Self::TextOnly => "a text alone",
            Self::Other => "something else",
        })
    }
}

impl Advisory {
    /// Returns what the advisory ships. Its reporter tells whether it is about operators; else the
    /// types of its contents do.
    #[must_use]
    pub fn sort(&self) -> AdvisorySort {
        let ships = |names: &[&str]| self.content_types.iter().any(|kind| names.contains(&kind.as_str()));
        if self.reporter.starts_with("botas") {
            AdvisorySort::Bundles
        } else if ships(&["rpm", "module"]) {
            AdvisorySort::Packages
        } else if ships(&["docker"]) {
            AdvisorySort::Images
        } else if self.content_types.is_empty() {
            AdvisorySort::TextOnly
        } else {
            AdvisorySort::Other
        }
    }

    /// Returns in a sentence why no images are rebuilt because of the advisory, whatever they
    /// contain; `None` if images may be.
    pub(super) fn unsuited(&self) -> Option<String> {
        let Self { name, content_types, .. } = self;
        let kinds: Vec<_> = content_types.iter().map(String::as_str).collect();
        match self.sort() {
            AdvisorySort::Packages => None,
            AdvisorySort::Bundles => Some(format!("{name} ships operator bundles, which are not rebuilt yet")),
            AdvisorySort::TextOnly => Some(format!("{name} ships a text alone")),
            AdvisorySort::Images | AdvisorySort::Other => {
                Some(format!("{name} ships no packages or modules, but [{}]", kinds.join(", ")))
            }
        }
    }
}

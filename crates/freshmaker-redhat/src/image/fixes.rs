//! Decides whether packages of an image are older than the fix of an advisory.

use super::contents::{for_the_same_distribution, may_be_of_one_distribution};
use freshmaker::artifact::Nvr;
use std::collections::{BTreeMap, BTreeSet};

/// Packages that have the fix, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Fixes {
    by_name: BTreeMap<String, BTreeSet<Nvr>>,
    /// Whether packages of other distributions are left alone.
    one_distribution: bool,
}

/// How the packages of an image compare with the fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding<'a> {
    /// The packages of the image, or the fixes, are not known. The image counts as affected.
    Unsure,
    /// This package is older than the fix with the same name.
    Older { installed: &'a Nvr, fix: &'a Nvr },
    /// All packages are at least as new as the fixes.
    Fixed,
    /// The image has packages with these names, but all come from modules and the fixes do not, or
    /// the reverse.
    OtherModularity,
    /// The image has none of the packages.
    Absent,
}

impl Finding<'_> {
    pub(super) fn needs_fix(self) -> bool {
        matches!(self, Self::Unsure | Self::Older { .. })
    }
}

impl Fixes {
    /// Leaves packages of other distributions alone, for good.
    pub(super) fn leave_other_distributions(&mut self) {
        self.one_distribution = true;
    }

    /// Returns the fixes with the name of this package, as far as they may replace it.
    fn named<'a>(&'a self, rpm: &'a Nvr) -> impl Iterator<Item = &'a Nvr> {
        let fixes = self.by_name.get(rpm.name()).into_iter().flatten();
        fixes.filter(move |fix| !self.one_distribution || may_be_of_one_distribution(rpm, fix))
    }

    pub(super) fn insert(&mut self, fix: Nvr) {
        self.by_name.entry(fix.name().to_owned()).or_default().insert(fix);
    }

    pub(super) fn find<'a>(&'a self, rpms: Option<&'a BTreeSet<Nvr>>) -> Finding<'a> {
        let Some(rpms) = rpms.filter(|_| !self.by_name.is_empty()) else { return Finding::Unsure };
        let mut finding = Finding::Absent;
        let fixes = |rpm: &'a Nvr| {
            for_the_same_distribution(rpm, self.named(rpm).collect()).into_iter().map(move |fix| (rpm, fix))
        };
        for (installed, fix) in rpms.iter().flat_map(fixes) {
            finding = match finding {
                _ if is_modular(installed) != is_modular(fix) && finding == Finding::Absent => Finding::OtherModularity,
                _ if is_modular(installed) != is_modular(fix) => finding,
                _ if is_older(installed, fix) => return Finding::Older { installed, fix },
                _ => Finding::Fixed,
            };
        }
        finding
    }

    /// Returns the package with the epoch of its fixes, if it has none and they agree on one.
    pub(super) fn with_epoch(&self, rpm: Nvr) -> Nvr {
        if rpm.epoch().is_some() {
            return rpm;
        }
        let mut epochs = self.by_name.get(rpm.name()).into_iter().flatten().map(Nvr::epoch);
        match epochs.next() {
            Some(Some(epoch)) if epochs.all(|other| other == Some(epoch)) => {
                format!("{epoch}:{rpm}").parse().unwrap_or(rpm)
            }
            _ => rpm,
        }
    }

    /// Returns the fixes of these packages.
    pub(super) fn of(&self, rpms: Option<&BTreeSet<Nvr>>) -> BTreeSet<Nvr> {
        let fixes = rpms
            .into_iter()
            .flatten()
            .flat_map(|rpm| self.named(rpm).filter(move |fix| is_modular(fix) == is_modular(rpm)));
        fixes.cloned().collect()
    }

    /// Returns whether an image with these packages can be used instead of one with the `other`
    /// packages: it has each fix that applies to the other image, and no older package.
    pub(super) fn has_all_of(&self, rpms: &BTreeSet<Nvr>, other: &BTreeSet<Nvr>) -> bool {
        let concerns = |fix: &Nvr, rpms: &BTreeSet<Nvr>| {
            rpms.iter().any(|rpm| rpm.name() == fix.name() && is_modular(rpm) == is_modular(fix))
        };
        let mut concerned = self.by_name.values().flatten().filter(|fix| concerns(fix, other)).peekable();
        concerned.peek().is_some()
            && concerned.all(|fix| concerns(fix, rpms))
            && self.find(Some(rpms)) == Finding::Fixed
    }
}

/// Returns whether a package comes from a module. Packages from modules are versioned separately,
/// so they are never compared with packages of the same name that do not come from modules.
pub(crate) fn is_modular(rpm: &Nvr) -> bool {
    rpm.release().contains("module+")
}

/// Returns whether a package is older than the fix, by RPM's rules.
///
/// If only one side has an epoch, the other one may have left it out. Then the installed package
/// must be newer both with and without epochs to count as not older.
pub(crate) fn is_older(installed: &Nvr, fix: &Nvr) -> bool {
    let by_version = installed.by_version_and_release(fix).is_lt();
    match (installed.epoch(), fix.epoch()) {
        (Some(installed), Some(fix)) if installed != fix => installed < fix,
        (None, Some(1..)) => true,
        _ => by_version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rpms(texts: &[&str]) -> BTreeSet<Nvr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn fixes(texts: &[&str]) -> Fixes {
        let mut fixes = Fixes::default();
        rpms(texts).into_iter().for_each(|fix| fixes.insert(fix));
        fixes
    }

    #[test]
    fn epochs_count_where_they_are_told() {
        let both = fixes(&["a-4-5.el8_10", "a-5-9.el9"]);
        for (rpm, older) in [("a-4-5.el8_10", false), ("a-4-4.el8", true), ("a-5-8.el9_4", true), ("a-5-9.el9", false)]
        {
            assert_eq!(both.find(Some(&rpms(&[rpm]))).needs_fix(), older, "{rpm}");
        }
        for (installed, fix, older) in [
            ("a-1-1", "a-1-2", true),
            ("a-1-2", "a-1-2", false),
            ("a-1.01-1", "a-1.1-1", false),
            ("1:a-1-1", "0:a-2-1", false),
            ("0:a-2-1", "1:a-1-1", true),
            ("1:a-1-1", "1:a-2-1", true),
            ("1:a-1-1", "a-2-1", true),
            ("1:a-2-1", "a-1-1", false),
            ("a-2-1", "1:a-1-1", true),
            ("a-2-1", "0:a-1-1", false),
            ("a-1-1", "0:a-2-1", true),
        ] {
            let (rpms, fixes) = (rpms(&[installed]), fixes(&[fix]));
            assert_eq!(fixes.find(Some(&rpms)).needs_fix(), older, "{installed} {fix}");
        }
    }

    #[test]
    fn findings() {
        let all = fixes(&["a-1-2", "b-3-1.module+el8", "c-1-1", "c-1-5"]);
        let find = |texts: &[&str]| {
            let rpms = rpms(texts);
            match all.find(Some(&rpms)) {
                Finding::Older { installed, fix } => format!("{installed} < {fix}"),
                other => format!("{other:?}"),
            }
        };
        assert_eq!(all.find(None), Finding::Unsure);
        assert_eq!(fixes(&[]).find(Some(&rpms(&["a-1-1"]))), Finding::Unsure);
        for (installed, expected) in [
            (&[][..], "Absent"),
            (&["x-1-1"], "Absent"),
            (&["a-1-2"], "Fixed"),
            (&["a-1-2", "x-1-1"], "Fixed"),
            (&["a-1-1"], "a-1-1 < a-1-2"),
            (&["b-1-1"], "OtherModularity"),
            (&["a-1-1.module+el8"], "OtherModularity"),
            (&["a-1-2", "b-1-1"], "Fixed"),
            (&["b-1-1", "c-1-5"], "Fixed"),
            (&["b-1-1.module+el8"], "b-1-1.module+el8 < b-3-1.module+el8"),
            (&["c-1-3"], "c-1-3 < c-1-5"),
        ] {
            assert_eq!(find(installed), expected, "{installed:?}");
        }
    }

    #[test]
    fn an_epoch_that_is_left_out_is_that_of_the_fix() {
        let all = fixes(&["1:a-1-2", "1:a-2-2", "b-1-1", "0:c-1-1", "2:c-1-1"]);
        for (rpm, expected) in
            [("a-1-1", "1:a-1-1"), ("0:a-1-1", "0:a-1-1"), ("b-1-1", "b-1-1"), ("c-1-1", "c-1-1"), ("d-1-1", "d-1-1")]
        {
            assert_eq!(all.with_epoch(rpm.parse().unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn a_stand_in_has_what_the_other_needs() {
        let all = fixes(&["a-1-2", "b-1-2"]);
        for (stand_in, other, expected) in [
            (&["a-1-2"][..], &["a-1-1"][..], true),
            (&["a-1-1"], &["a-1-1"], false),
            (&["a-1-2"], &["a-1-1", "b-1-1"], false),
            (&["a-1-2", "b-1-2"], &["a-1-1"], true),
            (&["a-1-2", "b-1-1"], &["a-1-1"], false),
            (&["x-1-1"], &["a-1-1"], false),
            (&["a-1-2.module+el8"], &["a-1-1"], false),
            (&["a-1-2"], &["x-1-1"], false),
        ] {
            assert_eq!(all.has_all_of(&rpms(stand_in), &rpms(other)), expected, "{stand_in:?} {other:?}");
        }
    }
}

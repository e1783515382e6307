//! Decides which affected images are rebuilt for their own sake, with a reason for each other one.

use super::Publication;
use super::fixes::Finding;
use super::index::Index;
use freshmaker::Reason;
use freshmaker::artifact::Nvr;
use std::collections::{BTreeMap, BTreeSet};

/// The affected images that are rebuilt for their own sake, and the reasons for the others.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) chosen: BTreeSet<usize>,
    pub(super) left_out: BTreeMap<usize, Reason>,
}

impl Choice {
    pub(super) fn new(index: &Index<'_>) -> Self {
        let mut choice = Self::default();
        for (place, image) in index.images.iter().enumerate().filter(|(_, image)| image.affected) {
            let hotfix = || Reason::new("hotfix", "it is a hotfix, which only its author replaces");
            let why = match index.finding(place) {
                Finding::Fixed => {
                    Some(Reason::new("already_fixed", "all its packages are at least as new as the fixed ones"))
                }
                Finding::OtherModularity => Some(Reason::new(
                    "modularity",
                    "its packages are from modules and the fixed ones are not, or the other way round",
                )),
                Finding::Absent => Some(Reason::new("package_absent", "it contains none of the fixed packages")),
                Finding::Unsure | Finding::Older { .. } => {
                    image.rejected.clone().or_else(|| image.is_hotfix().then(hotfix))
                }
            };
            match why {
                Some(why) => drop(choice.left_out.insert(place, why)),
                None => drop(choice.chosen.insert(place)),
            }
        }
        choice.keep_newest_unpublished(index);
        choice
    }

    /// Leaves out older unpublished images: they were never offered to users. Those that a person
    /// named stay.
    fn keep_newest_unpublished(&mut self, index: &Index<'_>) {
        let unpublished = |place: &&usize| {
            let image = index.images[**place];
            image.publication == Publication::Unpublished && !image.named
        };
        let mut newest: BTreeMap<(&str, &str), &Nvr> = BTreeMap::new();
        for &place in self.chosen.iter().filter(unpublished) {
            let nvr = index.nvr(place);
            let known = newest.entry((nvr.name(), nvr.version())).or_insert(nvr);
            if nvr.by_release(known).is_gt() {
                *known = nvr;
            }
        }
        let older: Vec<usize> = self.chosen.iter().filter(unpublished).copied().collect();
        for place in older {
            let nvr = index.nvr(place);
            let newest = newest[&(nvr.name(), nvr.version())];
            if nvr != newest {
                self.chosen.remove(&place);
                let text = format!("it is not published, and {newest} is newer");
                self.left_out.insert(place, Reason::new("older_unpublished", text));
            }
        }
    }
}

use super::index::Index;
use super::{NewerReleases, Publication};
use freshmaker::artifact::Nvr;
use std::collections::{BTreeMap, BTreeSet};

/// The release of each group that replaces the other ones.
#[derive(Debug)]
pub(super) struct Latest {
    by_group: BTreeMap<usize, usize>,
    newer: NewerReleases,
}

impl Latest {
    /// Finds the releases that count, given the affected images: those images and their unfixed
    /// ancestors.
    ///
    /// A release does not count if it is only known as a parent of a release which is replaced by
    /// one that has other parents: nothing will be built on it.
    pub(super) fn find(index: &Index<'_>, affected: &BTreeSet<usize>, newer: NewerReleases) -> Self {
        let all = Index::walk(affected.iter().copied(), |place| index.unfixed_parents(place).collect::<Vec<_>>());
        let first = Self::among(index, &all, newer);
        let counting = Index::walk(affected.iter().copied(), |place| first.leads_to(index, place));
        Self::among(index, &counting, newer)
    }

    /// Returns the newest released image of each group, or the newest one if none is released.
    /// Hotfixes never replace others: they are for the customers who have them.
    fn among(index: &Index<'_>, places: &BTreeSet<usize>, newer: NewerReleases) -> Self {
        let rank = |place: usize| index.images[place].publication == Publication::Released;
        let better = |one: usize, other: usize| {
            rank(one).cmp(&rank(other)).then_with(|| index.nvr(one).by_release(index.nvr(other))).is_gt()
        };
        let mut by_group = BTreeMap::new();
        for &place in places.iter().filter(|place| !index.images[**place].is_hotfix()) {
            let latest = by_group.entry(index.group(place)).or_insert(place);
            if better(place, *latest) {
                *latest = place;
            }
        }
        Self { by_group, newer }
    }

    /// Returns the release that replaces this one, if there is one.
    pub(super) fn successor(&self, index: &Index<'_>, place: usize) -> Option<usize> {
        let latest = *self.by_group.get(&index.group(place))?;
        let replaced = match self.newer {
            NewerReleases::Keep => place != latest && index.nvr(place).by_release(index.nvr(latest)).is_lt(),
            NewerReleases::Replace => place != latest,
        };
        replaced.then_some(latest)
    }

    /// Returns the places that count because this image does: its unfixed parents.
    ///
    /// If the image has a successor with other parents, these are the successor, and only those
    /// parents that are releases of parents of the successor.
    fn leads_to(&self, index: &Index<'_>, place: usize) -> Vec<usize> {
        let name_version = |nvr: &Nvr| (nvr.name().to_owned(), nvr.version().to_owned());
        let names = |place: usize| -> BTreeSet<_> {
            index.parents(place).iter().map(|parent| name_version(parent.nvr)).collect()
        };
        let unfixed = index.unfixed_parents(place);
        let Some(successor) = self.successor(index, place) else { return unfixed.collect() };
        let (own, others) = (names(place), names(successor));
        if own.is_empty() || others.is_empty() || own == others {
            return unfixed.collect();
        }
        unfixed.filter(|parent| others.contains(&name_version(index.nvr(*parent)))).chain([successor]).collect()
    }
}

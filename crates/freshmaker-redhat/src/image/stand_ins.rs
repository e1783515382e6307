use super::fixes::Fixes;
use super::index::Index;
use super::wiring::{Base, Wires};
use std::collections::{BTreeMap, BTreeSet};

/// Finds published images with the fix, to be used instead of images that are only rebuilt as
/// parents.
///
/// An image that is rebuilt for its own sake is never replaced, and neither is an image that is
/// built on such an image. For each other image, this is the newest published image with the same
/// name and version that is in at least the same repositories and has every fix that applies to the
/// replaced image.
pub(super) fn find(
    index: &Index<'_>,
    wires: &Wires,
    order: &[usize],
    roots: &BTreeSet<usize>,
    fixes: &Fixes,
    content_sets: &BTreeSet<String>,
) -> BTreeMap<usize, usize> {
    let fixed = published_and_fixed(index, content_sets);
    let mut settled = roots.clone();
    let mut found = BTreeMap::new();
    for &place in order {
        if settled.contains(&place) {
            continue;
        }
        if wires[&place].iter().filter_map(Base::rebuilt).any(|parent| settled.contains(&parent)) {
            settled.insert(place);
            continue;
        }
        let nvr = index.nvr(place);
        let Some(rpms) = &index.images[place].rpms else { continue };
        let candidates = fixed.get(&(nvr.name(), nvr.version())).into_iter().flatten();
        let fitting = candidates.filter(|candidate| {
            let theirs = index.images[**candidate].rpms.as_ref();
            index.repositories(place).is_subset(index.repositories(**candidate))
                && theirs.is_some_and(|theirs| fixes.has_all_of(theirs, rpms))
        });
        if let Some(&newest) = fitting.max_by(|one, other| index.nvr(**one).by_release(index.nvr(**other))) {
            found.insert(place, newest);
        }
    }
    found
}

/// Returns the published images that do not need the fix, by name and version. Content sets exclude
/// an image only if both sides have some.
fn published_and_fixed<'a>(
    index: &Index<'a>,
    content_sets: &BTreeSet<String>,
) -> BTreeMap<(&'a str, &'a str), Vec<usize>> {
    let mut fixed: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (place, image) in index.images.iter().enumerate() {
        let elsewhere =
            !content_sets.is_empty() && !image.content_sets.is_empty() && image.content_sets.is_disjoint(content_sets);
        if image.is_published() && !image.is_hotfix() && !index.needs_fix(place) && !elsewhere {
            fixed.entry((image.nvr.name(), image.nvr.version())).or_default().push(place);
        }
    }
    fixed
}

use super::fixes::Fixes;
use super::index::Index;
use super::wiring::{Base, Wires};
use std::collections::{BTreeMap, BTreeSet};

/// Published images with the fix, for images that are only rebuilt for the sake of others.
///
/// An image that is to be rebuilt itself is never replaced, nor is what is built on one. For the rest it is the newest published image of the
/// same name and version that is at least in the same repositories and has every fix that concerns the one it stands in for.
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

/// Published images that do not need the fix, by name and version. Content sets speak against one only if both sides tell some.
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

use super::index::Index;
use std::collections::{BTreeMap, BTreeSet};

/// Returns the content sets of all images, by place.
///
/// An image without content sets gets those of the nearest older release in its group that has
/// some, else those of a child, else those of the nearest newer release.
pub(super) fn complete(index: &Index<'_>) -> Vec<BTreeSet<String>> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for place in 0..index.images.len() {
        groups.entry(index.group(place)).or_default().push(place);
    }
    let mut complete = vec![BTreeSet::new(); index.images.len()];
    for mut places in groups.into_values() {
        places.sort_by(|one, other| index.nvr(*one).by_release(index.nvr(*other)));
        let own = |place: &usize| Some(&index.images[*place].content_sets).filter(|sets| !sets.is_empty());
        let mut found: Vec<Option<&BTreeSet<String>>> = Vec::with_capacity(places.len());
        let mut older = None;
        for place in &places {
            older = own(place).or(older);
            let child = || Some(&index.images[*place].borrowed_content_sets).filter(|sets| !sets.is_empty());
            found.push(older.or_else(child));
        }
        let mut newer = None;
        for (place, found) in places.iter().zip(found).rev() {
            newer = own(place).or(newer);
            complete[*place] = found.or(newer).cloned().unwrap_or_default();
        }
    }
    complete
}

use super::index::Index;
use std::collections::{BTreeMap, BTreeSet};

/// The content sets of all images, by place. A release without own ones has those of its nearest older neighbour in the group that has
/// some, else those of a child, else those of the nearest newer neighbour.
pub(super) fn complete(index: &Index<'_>) -> Vec<BTreeSet<String>> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for place in 0..index.images.len() {
        groups.entry(index.group(place)).or_default().push(place);
    }
    let mut complete = vec![BTreeSet::new(); index.images.len()];
    for mut places in groups.into_values() {
        places.sort_by(|one, other| index.nvr(*one).by_release(index.nvr(*other)));
        let own = |place: &usize| Some(&index.images[*place].content_sets).filter(|sets| !sets.is_empty());
        let mut newer = None;
        for place in places.iter().rev() {
            newer = own(place).or(newer);
            complete[*place] = newer.cloned().unwrap_or_default();
        }
        let mut older = None;
        for place in &places {
            older = own(place).or(older);
            let child = || Some(&index.images[*place].borrowed_content_sets).filter(|sets| !sets.is_empty());
            if let Some(better) = older.or_else(child) {
                complete[*place].clone_from(better);
            }
        }
    }
    complete
}

//! Deliveries of one channel that are not settled yet.

use std::collections::BTreeSet;

/// The broker's delivery tags of a channel that are neither acknowledged nor refused.
#[derive(Debug, Default)]
pub(super) struct Unsettled(BTreeSet<u64>);

impl Unsettled {
    pub(super) fn insert(&mut self, tag: u64) {
        self.0.insert(tag);
    }

    pub(super) fn remove(&mut self, tag: u64) {
        self.0.remove(&tag);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the acknowledgements that settle exactly those of `tags` that are unsettled, and
    /// removes them from this set.
    ///
    /// Each step is a tag and AMQP's flag `multiple`, which acknowledges all earlier tags too. If
    /// the oldest unsettled tags are all in `tags`, the first step covers them; the other steps are
    /// single tags. Tags that are not unsettled are left out, because the broker closes the channel
    /// over an unknown tag.
    pub(super) fn settle(&mut self, tags: BTreeSet<u64>) -> Vec<(u64, bool)> {
        let first_kept = self.0.iter().copied().find(|tag| !tags.contains(tag));
        let covered = match first_kept {
            Some(kept) => {
                let rest = self.0.split_off(&kept);
                std::mem::replace(&mut self.0, rest)
            }
            None => std::mem::take(&mut self.0),
        };
        let mut steps: Vec<_> = covered.last().map(|&last| (last, covered.len() > 1)).into_iter().collect();
        let single = tags.into_iter().filter(|tag| self.0.remove(tag));
        steps.extend(single.map(|tag| (tag, false)));
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(waiting: &[u64], tags: &[u64]) -> (Vec<(u64, bool)>, Vec<u64>) {
        let mut unsettled = Unsettled(waiting.iter().copied().collect());
        let steps = unsettled.settle(tags.iter().copied().collect());
        (steps, unsettled.0.into_iter().collect())
    }

    #[test]
    fn only_what_was_named_is_settled() {
        for (waiting, tags, steps, left) in [
            (&[1, 2, 3][..], &[1, 2, 3][..], &[(3, true)][..], &[][..]),
            (&[1, 2, 3], &[2, 3], &[(2, false), (3, false)], &[1]),
            (&[1, 2, 3, 4], &[4, 2, 1], &[(2, true), (4, false)], &[3]),
            (&[2, 3], &[2], &[(2, false)], &[3]),
            (&[3, 5], &[1, 3, 5], &[(5, true)], &[]),
            (&[3], &[1, 2], &[], &[3]),
            (&[], &[1], &[], &[]),
        ] {
            assert_eq!(settle(waiting, tags), (steps.to_vec(), left.to_vec()), "{tags:?} of {waiting:?}");
        }
    }
}

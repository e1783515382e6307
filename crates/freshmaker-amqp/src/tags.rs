//! Deliveries of one channel that are not settled yet.

use std::collections::BTreeSet;

/// The broker's delivery tags of a channel that are neither acknowledged nor refused.
#[derive(Debug, Default)]
pub(super) struct Unsettled(BTreeSet<u64>);

impl Unsettled {
    pub(super) fn insert(&mut self, tag: u64) {
        self.0.insert(tag);
    }

    /// Removes a tag; with `multiple` also all earlier ones, as the broker does.
    pub(super) fn settled(&mut self, tag: u64, multiple: bool) {
        self.0.remove(&tag);
        if multiple {
            self.0 = self.0.split_off(&tag);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the acknowledgements that settle exactly those of `tags` that are unsettled.
    ///
    /// Each step is a tag and AMQP's flag `multiple`, which acknowledges all earlier tags too. If
    /// the oldest unsettled tags are all in `tags`, the first step covers them; the other steps are
    /// single tags. Tags that are not unsettled are left out, because the broker closes the channel
    /// over an unknown tag. The tags stay in this set until [`settled`](Self::settled) says
    /// that their step was sent.
    pub(super) fn steps(&self, tags: &BTreeSet<u64>) -> Vec<(u64, bool)> {
        let covered = self.0.iter().take_while(|tag| tags.contains(tag)).count();
        let mut steps = Vec::new();
        if let Some(&last) = covered.checked_sub(1).and_then(|last| self.0.iter().nth(last)) {
            steps.push((last, covered > 1));
        }
        let single = self.0.iter().skip(covered).filter(|tag| tags.contains(tag));
        steps.extend(single.map(|&tag| (tag, false)));
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(waiting: &[u64], tags: &[u64]) -> (Vec<(u64, bool)>, Vec<u64>) {
        let mut unsettled = Unsettled(waiting.iter().copied().collect());
        let steps = unsettled.steps(&tags.iter().copied().collect());
        assert_eq!(unsettled.len(), waiting.len(), "nothing is forgotten before it was sent");
        for &(tag, multiple) in &steps {
            unsettled.settled(tag, multiple);
        }
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

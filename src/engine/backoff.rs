//! Pauses before a call that failed is repeated, in memory: for messages, lookups, verifications
//! and the like. The pause before a failed build is tried again is stored with the build; see
//! `rebuild::limits`.
//!
//! The pause grows as `Limits::backoff` does, from 1 second to 300 by default, and is forgotten
//! once the call succeeds or its subject has ended. A new run begins without pauses, which costs
//! one call for each subject.

use crate::rebuild::Limits;
use std::collections::BTreeMap;
use std::time::Duration;

/// Holds what has failed: how often in a row, and when it may be tried again, by `Core::elapsed`.
#[derive(Debug)]
pub(super) struct Backoffs<K>(BTreeMap<K, (u32, Duration)>);

impl<K> Default for Backoffs<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Backoffs<K> {
    /// Returns whether this may be tried now.
    pub(super) fn is_due(&self, key: &K, now: Duration) -> bool {
        self.0.get(key).is_none_or(|(_, until)| *until <= now)
    }

    /// Returns when this may be tried again; zero if it has not failed.
    pub(super) fn until(&self, key: &K) -> Duration {
        self.0.get(key).map_or(Duration::ZERO, |(_, until)| *until)
    }

    /// Records a failure, and begins the pause that belongs to it.
    pub(super) fn failed(&mut self, key: K, now: Duration, limits: &Limits) {
        let (failures, until) = self.0.entry(key).or_default();
        *failures = failures.saturating_add(1);
        *until = now.saturating_add(limits.backoff(*failures));
    }

    /// Lets this, which has not failed yet and is new, be tried at this moment and not before.
    pub(super) fn postpone(&mut self, key: K, until: Duration) {
        self.0.entry(key).or_insert((0, until));
    }

    /// Lets this be tried now, unless it has failed.
    pub(super) fn begin(&mut self, key: &K) {
        if self.0.get(key).is_some_and(|(failures, _)| *failures == 0) {
            self.0.remove(key);
        }
    }

    /// Forgets the failures of this: it has succeeded.
    pub(super) fn succeeded(&mut self, key: &K) {
        self.0.remove(key);
    }

    /// Forgets what has ended: it is not among these, although its pause is over.
    pub(super) fn keep(&mut self, due: impl Fn(&K) -> bool, now: Duration) {
        self.0.retain(|key, (_, until)| *until > now || due(key));
    }

    /// Returns the earliest moment after `now` at which something may be tried again.
    pub(super) fn next(&self, now: Duration) -> Option<Duration> {
        self.0.values().map(|(_, until)| *until).filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_forgotten() {
        let (limits, at) = (Limits::default(), Duration::from_secs);
        let mut backoffs = Backoffs::default();
        assert!(backoffs.is_due(&7, at(0)));
        backoffs.failed(7, at(0), &limits);
        backoffs.failed(7, at(1), &limits);
        assert!(!backoffs.is_due(&7, at(2)) && backoffs.is_due(&7, at(3)) && backoffs.is_due(&8, at(2)));
        assert_eq!((backoffs.next(at(2)), backoffs.next(at(3))), (Some(at(3)), None));
        backoffs.keep(|_| false, at(2));
        backoffs.keep(|key| *key == 7, at(3));
        backoffs.failed(7, at(3), &limits);
        assert_eq!(backoffs.next(at(3)), Some(at(7)), "it was kept: its pause was not over, and it was due");
        backoffs.keep(|_| false, at(7));
        backoffs.failed(7, at(7), &limits);
        assert_eq!(backoffs.next(at(7)), Some(at(8)), "it had ended");
        backoffs.succeeded(&7);
        assert!(backoffs.is_due(&7, at(7)));
    }
}

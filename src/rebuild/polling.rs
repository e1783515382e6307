//! Polling: when each live attempt is asked about next.
//!
//! *Invariant:* this is kept in memory only, and its loss costs no more than one early question
//! about each attempt. What an attempt has become is stored as the result of an input.

use super::record::AttemptId;
use crate::time::{Timestamp, later};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// When each live attempt is to be asked about again.
///
/// ```
/// use freshmaker::rebuild::{AttemptId, Polling};
/// use freshmaker::time::{from_micros, later};
/// use std::time::Duration;
///
/// let (attempt, minute) = (AttemptId::from_random(1), Duration::from_secs(60));
/// let start = from_micros(0);
/// let mut polling = Polling::default();
/// assert!(polling.is_due(&attempt, start), "it was never asked about");
/// polling.asked(&attempt, start, minute);
/// assert!(!polling.is_due(&attempt, start) && polling.is_due(&attempt, later(start, minute)));
/// polling.hasten(&attempt);
/// assert!(polling.is_due(&attempt, start), "a message says that it has changed");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Polling {
    next: BTreeMap<AttemptId, Timestamp>,
}

impl Polling {
    /// Forgets all attempts but these: the others have ended.
    pub fn keep(&mut self, live: &BTreeSet<AttemptId>) {
        self.next.retain(|attempt, _| live.contains(attempt));
    }

    /// The attempt is to be asked about at once.
    pub fn hasten(&mut self, attempt: &AttemptId) {
        self.next.remove(attempt);
    }

    /// Whether the attempt is to be asked about now.
    #[must_use]
    pub fn is_due(&self, attempt: &AttemptId, now: Timestamp) -> bool {
        self.next.get(attempt).is_none_or(|next| *next <= now)
    }

    /// The attempt is asked about now, and then again after this interval.
    pub fn asked(&mut self, attempt: &AttemptId, now: Timestamp, interval: Duration) {
        self.next.insert(attempt.clone(), later(now, interval));
    }

    /// The earliest moment at which an attempt that was asked about is to be asked about again.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.next.values().copied().min()
    }
}

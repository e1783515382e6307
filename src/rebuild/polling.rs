//! Polling: when each live attempt is asked about next, and since when it has been followed.
//!
//! *Invariant:* this is kept in memory only, and its loss costs no more than one early question
//! about each attempt. What an attempt has become is stored as the result of an input.

use super::record::AttemptId;
use crate::time::{Timestamp, later};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Since when each live attempt has been followed: by the clock of the rows, and by a monotonic
/// one.
///
/// It outlives a run, because a clock that is set may cost the lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    seen: BTreeMap<AttemptId, Seen>,
}

/// When an attempt was seen first, by both clocks, and last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    at: Timestamp,
    first: Duration,
    last: Duration,
}

/// After this time an attempt that is no longer among the live ones is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

impl Followed {
    /// Keeps the attempts that are seen now, and those that were seen within the last hour: an
    /// attempt is not seen while it waits to be looked up.
    ///
    /// ```
    /// use freshmaker::rebuild::{AttemptId, Followed};
    /// use freshmaker::time::from_micros;
    /// use std::collections::BTreeSet;
    /// use std::time::Duration;
    ///
    /// let (attempt, minute) = (AttemptId::from_random(1), Duration::from_secs(60));
    /// let mut followed = Followed::default();
    /// followed.moment(&attempt, from_micros(0), Duration::ZERO);
    /// followed.keep(&BTreeSet::new(), minute);
    /// assert_eq!(followed.time(&attempt, minute), minute);
    /// followed.keep(&BTreeSet::new(), minute * 61);
    /// assert_eq!(followed.time(&attempt, minute * 61), Duration::ZERO, "it is forgotten");
    /// ```
    pub fn keep(&mut self, live: &BTreeSet<AttemptId>, now: Duration) {
        self.seen.retain(|attempt, seen| {
            if live.contains(attempt) {
                seen.last = now;
            }
            now.saturating_sub(seen.last) <= FORGOTTEN_AFTER
        });
    }

    /// Returns the present moment as it counts for the deadline of an attempt: when the attempt was
    /// first seen here, plus the time that has passed since.
    ///
    /// So an attempt whose deadline is a day away is not late because a clock was set forward by a
    /// day while it was followed.
    ///
    /// ```
    /// use freshmaker::rebuild::{AttemptId, Followed};
    /// use freshmaker::time::{from_micros, later};
    /// use std::time::Duration;
    ///
    /// let (attempt, second, day) = (AttemptId::from_random(1), Duration::from_secs(1), Duration::from_secs(86_400));
    /// let start = from_micros(0);
    /// let mut followed = Followed::default();
    /// assert_eq!(followed.moment(&attempt, start, Duration::ZERO), start);
    /// assert_eq!(followed.moment(&attempt, later(start, day), second), later(start, second));
    /// assert_eq!(followed.time(&attempt, second), second);
    /// ```
    pub fn moment(&mut self, attempt: &AttemptId, at: Timestamp, now: Duration) -> Timestamp {
        let seen = self.seen.entry(attempt.clone()).or_insert(Seen { at, first: now, last: now });
        later(seen.at, now.saturating_sub(seen.first))
    }

    /// Returns for how long an attempt has been followed; zero if it was never seen.
    #[must_use]
    pub fn time(&self, attempt: &AttemptId, now: Duration) -> Duration {
        self.seen.get(attempt).map_or(Duration::ZERO, |seen| now.saturating_sub(seen.first))
    }
}

/// When each live attempt is to be asked about again.
///
/// Moments are durations since any fixed moment, by a monotonic clock.
///
/// ```
/// use freshmaker::rebuild::{AttemptId, Polling};
/// use std::time::Duration;
///
/// let (attempt, start, minute) = (AttemptId::from_random(1), Duration::ZERO, Duration::from_secs(60));
/// let mut polling = Polling::default();
/// assert!(polling.is_due(&attempt, start), "it was never asked about");
/// polling.asked(&attempt, start, minute);
/// assert!(!polling.is_due(&attempt, start) && polling.is_due(&attempt, start + minute));
/// polling.hasten(&attempt);
/// assert!(polling.is_due(&attempt, start), "a message says that it has changed");
///
/// assert_eq!(polling.together(&attempt, 100), 100);
/// polling.failed(&attempt);
/// assert_eq!(polling.together(&attempt, 100), 50);
/// polling.answered(&attempt);
/// assert_eq!(polling.together(&attempt, 100), 100);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Polling {
    next: BTreeMap<AttemptId, Duration>,
    /// How many questions in a row have failed, of attempts whose last one did.
    failures: BTreeMap<AttemptId, u32>,
}

impl Polling {
    /// Forgets all attempts but these: the others have ended.
    pub fn keep(&mut self, live: &BTreeSet<AttemptId>) {
        self.next.retain(|attempt, _| live.contains(attempt));
        self.failures.retain(|attempt, _| live.contains(attempt));
    }

    /// A question about the attempt, and about others in the same call, has failed.
    pub fn failed(&mut self, attempt: &AttemptId) {
        let failures = self.failures.entry(attempt.clone()).or_default();
        *failures = failures.saturating_add(1);
    }

    /// A question about the attempt was answered.
    pub fn answered(&mut self, attempt: &AttemptId) {
        self.failures.remove(attempt);
    }

    /// About how many attempts one call may ask that asks about this one, of `most`: half as many
    /// after each failure in a row, and at least one. So an attempt that makes every call fail is
    /// soon asked about alone, and hides no other.
    #[must_use]
    pub fn together(&self, attempt: &AttemptId, most: usize) -> usize {
        let failures = self.failures.get(attempt).copied().unwrap_or_default();
        most.checked_shr(failures).unwrap_or_default().max(1)
    }

    /// The attempt is to be asked about at once.
    pub fn hasten(&mut self, attempt: &AttemptId) {
        self.next.remove(attempt);
    }

    /// Returns whether the attempt has to be polled now.
    #[must_use]
    pub fn is_due(&self, attempt: &AttemptId, now: Duration) -> bool {
        self.next.get(attempt).is_none_or(|next| *next <= now)
    }

    /// The attempt is asked about now, and then again after this interval.
    pub fn asked(&mut self, attempt: &AttemptId, now: Duration, interval: Duration) {
        self.next.insert(attempt.clone(), now.saturating_add(interval));
    }

    /// Returns the earliest moment after `now` at which an attempt that was polled has to be polled
    /// about again. One that is due and is not asked about is being asked about already.
    #[must_use]
    pub fn next(&self, now: Duration) -> Option<Duration> {
        self.next.values().copied().filter(|next| *next > now).min()
    }
}

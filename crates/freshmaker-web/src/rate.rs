//! A rate limit for each key, by the generic cell rate algorithm (GCRA).
//!
//! Of each key one number is kept, the theoretical arrival time: when the key would have used up
//! what it has used, at the permitted rate. A request is let through if that time is not further
//! ahead of now than the burst allows, and moves it on by one interval. Cost: O(log n) for n keys.
//!
//! A worked example: 60 a minute (one interval is 1 s), a burst of 2, three requests at 10 s.
//!
//! 1. The key is new, so its time is now, 10 s. The request passes; the time becomes 11 s.
//! 2. 11 s is 1 s ahead, the burst allows 2 - 1 intervals. It passes; the time becomes 12 s.
//! 3. 12 s is 2 s ahead: refused, and the next request can pass in 1 s.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// No more keys are kept. When one more comes, those that are idle go, and if none is, the one that
/// has used least.
const KEYS_MAX: usize = 20_000;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// How often a minute, in the long run.
    pub per_minute: u32,
    /// How often at once.
    pub burst: u32,
}

impl Quota {
    pub(crate) fn is_empty(self) -> bool {
        self.per_minute == 0 || self.burst == 0
    }

    fn interval(self) -> Duration {
        Duration::from_secs(60) / self.per_minute.max(1)
    }

    fn tolerance(self) -> Duration {
        self.interval() * self.burst.max(1).saturating_sub(1)
    }
}

/// Counts by key. All times are those of [`Clock::elapsed`](freshmaker::backend::Clock::elapsed).
#[derive(Debug)]
pub(crate) struct RateLimit {
    quota: Quota,
    /// Of each key, its theoretical arrival time.
    arrivals: Mutex<BTreeMap<String, Duration>>,
}

impl RateLimit {
    pub(crate) fn new(quota: Quota) -> Self {
        Self { quota, arrivals: Mutex::default() }
    }

    /// Counts one use of the key.
    ///
    /// # Errors
    /// If the key has used up what it may: after which time it can come again. The use is then not
    /// counted.
    pub(crate) fn take(&self, key: &str, now: Duration) -> Result<(), Duration> {
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let arrival = arrivals.get(key).copied().unwrap_or(now).max(now);
        self.admits(arrival, now)?;
        if arrivals.len() >= KEYS_MAX && !arrivals.contains_key(key) {
            make_room(&mut arrivals, now);
        }
        arrivals.insert(key.to_owned(), arrival + self.quota.interval());
        Ok(())
    }

    /// Whether one more use of the key would be let through; counts nothing.
    pub(crate) fn peek(&self, key: &str, now: Duration) -> Result<(), Duration> {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        self.admits(arrivals.get(key).copied().unwrap_or(now).max(now), now)
    }

    fn admits(&self, arrival: Duration, now: Duration) -> Result<(), Duration> {
        let ahead = arrival.saturating_sub(now);
        match ahead.checked_sub(self.quota.tolerance()) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(()),
        }
    }
}

fn make_room(arrivals: &mut BTreeMap<String, Duration>, now: Duration) {
    arrivals.retain(|_, arrival| *arrival > now);
    if arrivals.len() >= KEYS_MAX
        && let Some(key) = arrivals.iter().min_by_key(|(_, arrival)| **arrival).map(|(key, _)| key.clone())
    {
        arrivals.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limit = RateLimit::new(Quota { per_minute: 60, burst: 2 });
        let now = 10 * SECOND;
        assert_eq!(limit.take("a", now), Ok(()));
        assert_eq!(limit.take("a", now), Ok(()));
        assert_eq!(limit.take("a", now), Err(SECOND));
        assert_eq!(limit.peek("a", now), Err(SECOND));
        assert_eq!(limit.take("b", now), Ok(()), "another key has its own");
        assert_eq!(limit.take("a", now + SECOND / 2), Err(SECOND / 2));
        assert_eq!(limit.take("a", now + SECOND), Ok(()));
        assert_eq!(limit.take("a", now + SECOND), Err(SECOND));
        // After a pause there is one burst, however long it was.
        let later = now + 1000 * SECOND;
        assert_eq!((limit.take("a", later), limit.take("a", later)), (Ok(()), Ok(())));
        assert_eq!(limit.take("a", later), Err(SECOND));
    }

    #[test]
    fn keys_are_bounded_and_the_busiest_stay() {
        let limit = RateLimit::new(Quota { per_minute: 60, burst: 2 });
        let now = 10 * SECOND;
        limit.take("busy", now).unwrap();
        limit.take("busy", now).unwrap();
        for number in 0..KEYS_MAX + 10 {
            limit.take(&number.to_string(), now).unwrap();
        }
        assert_eq!(limit.arrivals.lock().unwrap().len(), KEYS_MAX);
        assert!(limit.take("busy", now).is_err(), "many other keys do not free one that has used up its quota");
        limit.take("new", now + 100 * SECOND).unwrap();
        assert_eq!(limit.arrivals.lock().unwrap().len(), 1, "idle keys go");
    }
}

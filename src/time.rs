//! Points in time and durations, as values.
//!
//! The pure part of the crate never asks what time it is: a [`Timestamp`] is always an argument.
//! Clocks live behind [`backend::Clock`](crate::backend::Clock).

use std::time::Duration;

/// A point in time, UTC, with microsecond precision when stored.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// Microseconds since the Unix epoch: the stored form of a [`Timestamp`].
#[must_use]
pub fn to_micros(at: Timestamp) -> i64 {
    at.timestamp_micros()
}

/// The [`Timestamp`] of a number of microseconds since the Unix epoch.
///
/// Numbers outside the range of the calendar (about 262,000 years) become its nearest end.
#[must_use]
pub fn from_micros(micros: i64) -> Timestamp {
    chrono::DateTime::from_timestamp_micros(micros).unwrap_or(if micros < 0 {
        Timestamp::MIN_UTC
    } else {
        Timestamp::MAX_UTC
    })
}

/// `at` plus `by`; saturates at the end of the calendar instead of overflowing.
#[must_use]
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    chrono::TimeDelta::from_std(by).ok().and_then(|delta| at.checked_add_signed(delta)).unwrap_or(Timestamp::MAX_UTC)
}

/// How long after `earlier` the moment `at` is; zero if it is not after it.
#[must_use]
pub fn since(at: Timestamp, earlier: Timestamp) -> Duration {
    (at - earlier).to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micros_round_trip_and_saturate() {
        let at = from_micros(1_764_000_000_123_456);
        assert_eq!(to_micros(at), 1_764_000_000_123_456);
        assert_eq!(from_micros(i64::MAX), Timestamp::MAX_UTC);
        assert_eq!(later(Timestamp::MAX_UTC, Duration::from_secs(1)), Timestamp::MAX_UTC);
        assert_eq!(since(at, later(at, Duration::from_secs(1))), Duration::ZERO);
    }
}

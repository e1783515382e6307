//! Points in time and durations, as values.
//!
//! The pure part of the crate never asks for the current time: a [`Timestamp`] is always an
//! argument. Only a [`backend::Clock`](crate::backend::Clock) tells it.

use std::time::Duration;

/// A point in time in UTC. Stored values have a precision of one microsecond.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// Returns the microseconds since the Unix epoch, which is the stored form of a [`Timestamp`].
///
/// Smaller fractions are cut off.
#[must_use]
pub fn to_micros(at: Timestamp) -> i64 {
    at.timestamp_micros()
}

/// Returns the [`Timestamp`] of a number of microseconds since the Unix epoch.
///
/// A number outside the range of the calendar (about 262,000 years before and after year 0) becomes
/// the nearest end of that range.
#[must_use]
pub fn from_micros(micros: i64) -> Timestamp {
    chrono::DateTime::from_timestamp_micros(micros).unwrap_or(if micros < 0 {
        Timestamp::MIN_UTC
    } else {
        Timestamp::MAX_UTC
    })
}

/// Returns `at` plus `by`, at most the end of the calendar.
#[must_use]
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    chrono::TimeDelta::from_std(by).ok().and_then(|delta| at.checked_add_signed(delta)).unwrap_or(Timestamp::MAX_UTC)
}

/// Returns `at` minus `by`, at least the beginning of the calendar.
#[must_use]
pub fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    chrono::TimeDelta::from_std(by).ok().and_then(|delta| at.checked_sub_signed(delta)).unwrap_or(Timestamp::MIN_UTC)
}

/// Returns the time from `earlier` to `at`, or zero if `at` is not after `earlier`.
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
        assert_eq!(earlier(Timestamp::MIN_UTC, Duration::from_secs(1)), Timestamp::MIN_UTC);
        assert_eq!(since(at, later(at, Duration::from_secs(1))), Duration::ZERO);
    }
}

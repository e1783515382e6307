use crate::time::Timestamp;
use async_trait::async_trait;
use std::fmt;
use std::time::Duration;

/// Tells the time, measures durations and waits. The engine uses no other clock.
///
/// It has two clocks. That of [`now`](Self::now) gives the date; people and services set it, so it
/// may jump forward and back. That of [`elapsed`](Self::elapsed) and [`sleep`](Self::sleep) is
/// monotonic; all pauses and time limits of the engine are measured by it.
///
/// By default the engine uses the clock of the system. This clock, for tests, ends every wait at
/// once:
///
/// ```
/// use async_trait::async_trait;
/// use freshmaker::backend::Clock;
/// use freshmaker::time::{Timestamp, later};
/// use std::sync::Mutex;
/// use std::time::Duration;
///
/// #[derive(Debug, Default)]
/// struct Leaps(Mutex<Duration>);
///
/// #[async_trait]
/// impl Clock for Leaps {
///     fn now(&self) -> Timestamp {
///         later(Timestamp::UNIX_EPOCH, self.elapsed())
///     }
///     fn elapsed(&self) -> Duration {
///         *self.0.lock().expect("no panic")
///     }
///     async fn sleep(&self, duration: Duration) {
///         *self.0.lock().expect("no panic") += duration;
///     }
/// }
/// # futures_util::FutureExt::now_or_never(async {
/// let clock = Leaps::default();
/// clock.sleep(Duration::from_secs(86_400)).await;
/// assert_eq!(clock.now().to_string(), "1970-01-02 00:00:00 UTC");
/// # }).unwrap();
/// ```
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the current date and time.
    fn now(&self) -> Timestamp;

    /// Returns the time since a moment that stays the same as long as the process lives. It never
    /// falls, whatever becomes of [`now`](Self::now).
    fn elapsed(&self) -> Duration;

    /// Waits until [`elapsed`](Self::elapsed) has grown by `duration`.
    ///
    /// # Cancel safety
    /// The engine may drop the future at any time.
    async fn sleep(&self, duration: Duration);
}

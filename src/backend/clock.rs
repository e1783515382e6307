use crate::time::Timestamp;
use async_trait::async_trait;
use std::fmt;

/// Tells the current time and waits for a point in time. The engine uses no other clock.
///
/// The engine's own clock is that of the system. This one, for tests, ends every wait at once:
///
/// ```
/// use async_trait::async_trait;
/// use freshmaker::backend::Clock;
/// use freshmaker::time::{Timestamp, later};
/// use std::sync::Mutex;
/// use std::time::Duration;
///
/// #[derive(Debug, Default)]
/// struct Leaps(Mutex<Timestamp>);
///
/// #[async_trait]
/// impl Clock for Leaps {
///     fn now(&self) -> Timestamp {
///         *self.0.lock().expect("no panic")
///     }
///     async fn sleep_until(&self, at: Timestamp) {
///         let mut now = self.0.lock().expect("no panic");
///         *now = at.max(*now);
///     }
/// }
/// # futures_util::FutureExt::now_or_never(async {
/// let clock = Leaps::default();
/// let tomorrow = later(clock.now(), Duration::from_secs(86_400));
/// clock.sleep_until(tomorrow).await;
/// assert_eq!(clock.now(), tomorrow);
/// # }).unwrap();
/// ```
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// Waits until [`now`](Self::now) has reached `at`. Returns at once if it has already.
    ///
    /// # Cancel safety
    /// The engine may drop the future at any time.
    async fn sleep_until(&self, at: Timestamp);
}

use crate::time::Timestamp;
use async_trait::async_trait;
use std::fmt;

/// Tells the time and waits for it. The engine has no other clock.
///
/// For a test, for example, one in which all waits are over at once:
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
    /// The present moment.
    fn now(&self) -> Timestamp;

    /// Returns when [`now`](Self::now) has reached `at`.
    async fn sleep_until(&self, at: Timestamp);
}

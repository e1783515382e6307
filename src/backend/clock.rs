use crate::time::Timestamp;
use async_trait::async_trait;
use std::fmt;

/// Tells the time and waits for it. The engine has no other clock.
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;

    /// Returns when [`now`](Self::now) has reached `at`.
    async fn sleep_until(&self, at: Timestamp);
}

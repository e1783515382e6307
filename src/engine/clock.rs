//! The clock of the machine: the only file of the engine that asks for the present time.

use crate::backend::Clock;
use crate::time::{Timestamp, since};
use async_trait::async_trait;

/// The machine's clock. It needs the timer of a tokio runtime.
///
/// The engine compares its own moments by this clock and moments in rows by that of the storage, so
/// the two need not agree. If the machine's time is changed during a sleep, the length of that
/// sleep stays the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    /// Returns the time of the machine, in UTC.
    fn now(&self) -> Timestamp {
        Timestamp::from(std::time::SystemTime::now())
    }

    /// Sleeps until `at`; returns at the next tick of the timer if `at` has passed.
    async fn sleep_until(&self, at: Timestamp) {
        tokio::time::sleep(since(at, self.now())).await;
    }
}

//! The clock of the machine: the only file of the engine that asks for the present time.

use crate::backend::Clock;
use crate::time::Timestamp;
use async_trait::async_trait;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The moment from which `elapsed` counts: its first use in this process.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The machine's clock. It needs the timer of a tokio runtime.
///
/// The engine measures its own pauses by the monotonic part of it, and compares moments in rows by
/// the clock of the storage, so the two need not agree. Setting the machine's time changes no
/// pause.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    /// Returns the time of the machine, in UTC.
    fn now(&self) -> Timestamp {
        Timestamp::from(std::time::SystemTime::now())
    }

    /// Returns the time since the first use of this clock in the process.
    fn elapsed(&self) -> Duration {
        BEGIN.elapsed()
    }

    /// Sleeps at least for `duration`.
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

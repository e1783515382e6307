use crate::backend::Clock;
use crate::time::{Timestamp, since};
use async_trait::async_trait;

/// The machine's clock. Needs the timer of a tokio runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from(std::time::SystemTime::now())
    }

    async fn sleep_until(&self, at: Timestamp) {
        tokio::time::sleep(since(at, self.now())).await;
    }
}

//! A clock for tests with real sockets.

use async_trait::async_trait;
use freshmaker::backend::Clock;
use freshmaker::time::{Timestamp, later};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A thousand times faster than the machine's, and sometimes ahead of itself.
#[derive(Debug)]
pub(crate) struct Hurry {
    start: Timestamp,
    began: Instant,
    pub(crate) ahead: Mutex<Duration>,
}

impl Hurry {
    /// Begins at this moment.
    pub(crate) fn new(start: Timestamp) -> Arc<Self> {
        Arc::new(Self { start, began: Instant::now(), ahead: Mutex::default() })
    }
}

#[async_trait]
impl Clock for Hurry {
    fn now(&self) -> Timestamp {
        later(self.start, self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed() * 1000 + *self.ahead.lock().unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        let wait = duration / 1000 + Duration::from_millis(1);
        let _ = tokio::time::timeout(wait, std::future::pending::<()>()).await;
    }
}

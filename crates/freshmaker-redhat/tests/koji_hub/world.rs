use async_trait::async_trait;
use freshmaker::backend::Clock;
use freshmaker::time::{Timestamp, from_micros, later, since};
use freshmaker_redhat::fakes::koji::Hub;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct Hands {
    now: Mutex<Timestamp>,
    moved: Notify,
}

impl Hands {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { now: Mutex::new(from_micros(1_795_416_742_000_001)), moved: Notify::new() })
    }

    pub(crate) fn forward(&self, by: Duration) {
        let mut now = self.now.lock().unwrap();
        *now = later(*now, by);
        drop(now);
        self.moved.notify_waiters();
    }
}

#[async_trait]
impl Clock for Hands {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    fn elapsed(&self) -> Duration {
        since(self.now(), from_micros(0))
    }

    async fn sleep(&self, duration: Duration) {
        let at = later(self.now(), duration);
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.now() >= at {
                return;
            }
            moved.await;
        }
    }
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A hub with the users and the target of the recorded one, in their order.
pub(crate) async fn hub(clock: &Arc<Hands>) -> Hub {
    let hub = Hub::start(clock.clone()).await.unwrap();
    hub.add_admin("kojiadmin", "adminpw");
    hub.add_user("freshmaker", "freshpw");
    hub.add_user("osbs", "osbspw");
    hub.add_target("rhel-9-containers");
    hub
}

use super::Client;
use crate::backend::Result;
use crate::rebuild::Notification;
use std::collections::VecDeque;

/// Notifications read from the storage at once.
const BATCH: u32 = 200;

/// Follows the changes of events and builds, read from the storage. Changes of one event or build
/// come in the order in which they were stored.
///
/// A subscription works in any process, and does not depend on buses: a change that an engine in
/// this process has stored comes at once, any other within a tick. It does not end by itself. A
/// server that waits for its open streams before it stops therefore has to end them:
///
/// ```
/// use freshmaker::client::Subscription;
/// use freshmaker::rebuild::Notification;
/// use futures_util::{Stream, StreamExt, stream};
///
/// /// For server-sent events, for example.
/// fn changes(subscription: Subscription, shutdown: impl Future<Output = ()>) -> impl Stream<Item = Notification> {
///     let notifications = stream::unfold(subscription, |mut subscription| async {
///         let notification = subscription.next().await.ok()?;
///         Some((notification, subscription))
///     });
///     notifications.take_until(shutdown)
/// }
/// ```
#[derive(Debug)]
pub struct Subscription {
    client: Client,
    /// Up to where the storage has been read.
    read: i64,
    /// The position of the notification that was returned last.
    position: i64,
    waiting: VecDeque<(i64, Notification)>,
    missed: bool,
}

impl Subscription {
    pub(super) fn behind(client: Client, position: i64) -> Self {
        Self { client, read: position, position, waiting: VecDeque::new(), missed: false }
    }

    /// Returns the position of the latest change that [`next`](Self::next) has returned, or behind
    /// which this subscription began. A subscription that [begins there](Client::subscribe_from),
    /// in any process, misses no change and repeats none.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Returns the next change. While the storage fails with transient errors, this call waits and
    /// tries again.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// Those of the storage that are not [transient](crate::backend::Error::is_transient).
    pub async fn next(&mut self) -> Result<Notification> {
        loop {
            if let Some((position, notification)) = self.waiting.pop_front() {
                self.position = position;
                return Ok(notification);
            }
            let client = self.client.clone();
            let changed = client.inner.wake.changed.notified();
            match self.read().await {
                Err(error) if !error.is_transient() => return Err(error),
                Ok(()) if !self.waiting.is_empty() => {}
                Ok(()) | Err(_) => client.again(changed).await,
            }
        }
    }

    /// Returns whether, since the last call of this method, changes were removed from the storage
    /// before this subscription has read them. Then everything that is shown must be read again.
    /// The storage keeps the latest thousand changes.
    pub fn take_missed(&mut self) -> bool {
        std::mem::take(&mut self.missed)
    }

    async fn read(&mut self) -> Result<()> {
        let reads = self.client.reads().await?;
        let found = reads.notifications(None, self.read, BATCH).await?;
        // Afterwards: what is removed between the two questions counts as missed.
        self.missed |= self.read < reads.outbox().await?.trimmed();
        self.read = found.end;
        self.waiting.extend(found.items);
        Ok(())
    }
}

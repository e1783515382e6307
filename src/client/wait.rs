use super::Client;
use crate::backend::{EventFilter, Paging, Result};
use crate::rebuild::{EventId, EventRecord, InboxRecord, InboxState};
use futures_util::future::select;
use futures_util::pin_mut;
use std::time::Duration;
use tokio::sync::futures::Notified;

/// How long a client waits after a change before it reads the storage, because changes come in
/// groups.
const PACE: Duration = Duration::from_millis(10);

impl Client {
    /// Waits until the event has ended, and returns it. While no engine runs, no event ends: put a
    /// timeout around this call if it must not wait for ever.
    ///
    /// # Errors
    /// [`NotFound`](crate::backend::Remedy::NotFound) if there is no such event, and those errors
    /// of the storage that are not [transient](crate::backend::Error::is_transient).
    pub async fn wait_for_event(&self, event: EventId) -> Result<EventRecord> {
        loop {
            let changed = self.inner.wake.changed.notified();
            let event = self.event(event).await.map(|event| Some(event).filter(|event| event.state.is_terminal()));
            if let Some(answer) = conclusive(event) {
                return answer;
            }
            self.again(changed).await;
        }
    }

    /// Waits until a message that was [sent](Self::send) is handled or [dead](InboxState::Dead),
    /// and returns it. Its events are stored then, and their builds may take long. While no engine
    /// runs, no message is handled: put a timeout around this call if it must not wait for ever.
    ///
    /// # Errors
    /// As for [`wait_for_event`](Self::wait_for_event).
    pub async fn wait_until_handled(&self, id: &str) -> Result<InboxRecord> {
        loop {
            let changed = self.inner.wake.changed.notified();
            if let Some(answer) = conclusive(self.handled(id).await) {
                return answer;
            }
            self.again(changed).await;
        }
    }

    /// A message that was sent, if it is handled or dead.
    async fn handled(&self, id: &str) -> Result<Option<InboxRecord>> {
        let message = self.message(Self::LOCAL, id).await?;
        Ok(Some(message).filter(|message| !matches!(message.state, InboxState::New | InboxState::Claimed)))
    }

    /// Waits until a message that was [sent](Self::send) is handled and all of its events have
    /// ended, and returns these, newest first. There are none if every handler ignored it or it is
    /// [dead](InboxState::Dead). Events that a handler emitted because of it are messages of their
    /// own, and are not waited for.
    ///
    /// # Errors
    /// As for [`wait_for_event`](Self::wait_for_event).
    pub async fn wait_for_message(&self, id: &str) -> Result<Vec<EventRecord>> {
        loop {
            let changed = self.inner.wake.changed.notified();
            if let Some(answer) = conclusive(self.all_ended(id).await) {
                return answer;
            }
            self.again(changed).await;
        }
    }

    /// The events of a message that was sent, if it is handled and they have ended.
    async fn all_ended(&self, id: &str) -> Result<Option<Vec<EventRecord>>> {
        if self.handled(id).await?.is_none() {
            return Ok(None);
        }
        let filter = EventFilter { message_ids: vec![id.to_owned()], ..EventFilter::default() };
        let mut events = self.events(filter, Paging::first(Paging::LIMIT_MAX)).await?.items;
        // A bus may have delivered a message of the same id.
        events.retain(|event| event.source == Self::LOCAL);
        Ok(Some(events).filter(|events| events.iter().all(|event| event.state.is_terminal())))
    }

    /// Waits until there is nothing left to do: every message is handled, every event has ended,
    /// every notification is published. A bus that this process does not have, but another one had,
    /// counts for an hour.
    pub async fn wait_until_idle(&self) {
        loop {
            let changed = self.inner.wake.changed.notified();
            if self.overview().await.is_ok_and(|overview| overview.is_idle()) {
                return;
            }
            self.again(changed).await;
        }
    }

    /// Waits until it is worth while to ask again: after a change that an engine in this process
    /// has stored, or of which the storage has heard, or after a tick.
    pub(super) async fn again(&self, changed: Notified<'_>) {
        let timer = self.sleep(self.inner.tick);
        let elsewhere = self.inner.storage.upkeep().changed();
        pin_mut!(changed, timer);
        select(select(changed, elsewhere), timer).await;
        self.sleep(PACE).await;
    }
}

/// An answer that asking again would not change; `None` for a transient error.
fn conclusive<T>(answer: Result<Option<T>>) -> Option<Result<T>> {
    match answer {
        Err(error) if error.is_transient() => None,
        answer => answer.transpose(),
    }
}

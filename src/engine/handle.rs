use super::core::Core;
pub use crate::backend::Overview;
use crate::backend::{BuildFilter, Error, EventFilter, Page, Paging, Remedy, Result, StorageExt, Violation};
use crate::event::{Event, Message};
use crate::plan::Plan;
use crate::rebuild::{
    AttemptRecord, BuildId, BuildRecord, EventId, EventRecord, IllegalInput, InboxRecord, Input, Notice, RowChange,
    Transition,
};
use crate::time::to_micros;
use futures_util::future::select;
use futures_util::pin_mut;
use std::sync::Arc;
use tokio::sync::broadcast;

/// A way to talk to an engine: send it events, cancel, ask, listen. Cheap to clone.
///
/// It works on what is stored, so it answers whether the engine runs or not; what is sent is handled once it runs.
#[derive(Clone, Debug)]
pub struct Handle {
    core: Arc<Core>,
}

impl Handle {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Stores an event to be handled; returns the identity of its message.
    ///
    /// # Errors
    /// [`Rejected`](Remedy::Rejected) if no handler wants such events or it has no JSON form; else those of the storage.
    pub async fn send<E: Event>(&self, event: &E) -> Result<String> {
        let (micros, random) = (to_micros(self.core.now()), self.core.rng().u64(..));
        self.send_as(format!("{micros:x}-{random:016x}"), event).await
    }

    /// As [`send`](Self::send), under an identity of the caller's: sending it twice is the same as once.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn send_as<E: Event>(&self, id: impl Into<String>, event: &E) -> Result<String> {
        let rejected = |text: String| Error::new(Remedy::Rejected, "engine", text);
        let message =
            Message::of(id, event).map_err(|error| rejected(format!("the event has no JSON form: {error}")))?;
        if self.core.registry.of_kind(E::KIND).next().is_none() {
            return Err(rejected(format!("no handler is registered for events of kind {:?}", E::KIND)));
        }
        let record = self.core.inbox_record("local", message, None);
        let id = record.message_id.clone();
        self.core.storage().await?.transact(vec![RowChange::Receive(record)]).await?;
        self.core.wake.dispatch.notify_one();
        Ok(id)
    }

    /// Stops an event: what is not running is dropped, what runs is stopped, what other events want as well goes on for them.
    /// The event is cancelled when everything it started has ended.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) for an unknown event, [`Rejected`](Remedy::Rejected) for one that has ended or is being cancelled.
    pub async fn cancel(&self, event: EventId, by: &str) -> Result<()> {
        self.core.storage().await?;
        match self.core.apply(&Input::Cancel { event, by: by.to_owned() }, None).await {
            Ok(_) => Ok(()),
            Err(illegal @ IllegalInput::Unknown(_)) => Err(Error::new(Remedy::NotFound, "engine", illegal)),
            Err(illegal) => Err(Error::new(Remedy::Rejected, "engine", illegal)),
        }
    }

    /// One event.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound), and those of the storage.
    pub async fn event(&self, id: EventId) -> Result<EventRecord> {
        let filter = EventFilter { ids: vec![id], ..EventFilter::default() };
        let page = self.core.storage().await?.events(filter, Paging::first(1)).await?;
        page.items
            .into_iter()
            .next()
            .ok_or_else(|| Error::new(Remedy::NotFound, "engine", format!("there is no event {id}")))
    }

    /// Events, newest first.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn events(&self, filter: EventFilter, paging: Paging) -> Result<Page<EventRecord>> {
        self.core.storage().await?.events(filter, paging).await
    }

    /// Builds, newest first.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn builds(&self, filter: BuildFilter, paging: Paging) -> Result<Page<BuildRecord>> {
        self.core.storage().await?.builds(filter, paging).await
    }

    /// The attempts of a build, oldest first.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn attempts(&self, build: BuildId) -> Result<Vec<AttemptRecord>> {
        self.core.storage().await?.attempts(build).await
    }

    /// The plan that an event follows, with the reasons of everything in it and out of it.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn plan(&self, event: EventId) -> Result<Option<Plan>> {
        self.core.storage().await?.plan(event).await
    }

    /// What happened to an `event`, a `build` or an `attempt`, oldest first.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn transitions(&self, aggregate: &str, id: &str) -> Result<Vec<Transition>> {
        self.core.storage().await?.transitions(aggregate, id).await
    }

    /// Messages that could not be understood or handled, newest first, with their bytes and the reason.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn dead_letters(&self, paging: Paging) -> Result<Page<InboxRecord>> {
        self.core.storage().await?.dead_letters(paging).await
    }

    /// How much there is of everything.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn overview(&self) -> Result<Overview> {
        self.core.storage().await?.overview().await
    }

    /// Checks what is stored against itself; empty means sound.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn verify(&self) -> Result<Vec<Violation>> {
        self.core.storage().await?.verify().await
    }

    /// Changes of events and builds from now on, as they are published.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription { notices: self.core.notices.subscribe() }
    }

    /// Completes when there is nothing left to do: every message handled, every event ended, every notice published.
    pub async fn idle(&self) {
        loop {
            let changed = self.core.wake.changed.notified();
            if self.overview().await.is_ok_and(|overview| overview.is_idle()) {
                return;
            }
            let timer = self.core.sleep(self.core.options.tick);
            pin_mut!(changed, timer);
            select(changed, timer).await;
            self.core.sleep(self.core.options.pace).await;
        }
    }
}

/// Changes of events and builds, in the order in which they were stored.
#[derive(Debug)]
pub struct Subscription {
    notices: broadcast::Receiver<Notice>,
}

impl Subscription {
    /// The next change; `None` once the engine is gone. A subscriber that does not keep up misses changes: what it needs to be sure of,
    /// it asks the [`Handle`] for.
    pub async fn next(&mut self) -> Option<Notice> {
        loop {
            match self.notices.recv().await {
                Ok(notice) => return Some(notice),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

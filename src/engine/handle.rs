use super::core::Core;
use super::dispatch::ASK_FIRST;
use crate::artifact::Digest;
pub use crate::backend::Overview;
use crate::backend::{BuildFilter, Error, EventFilter, Page, Paging, Remedy, Result, StorageExt, Violation};
use crate::event::{Event, Message};
use crate::plan::Plan;
use crate::rebuild::{
    AttemptRecord, BuildId, BuildRecord, EventId, EventRecord, IllegalInput, InboxRecord, InboxState, Input,
    Notification, RowChange, Transition,
};
use crate::time::to_micros;
use futures_util::future::select;
use futures_util::pin_mut;
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio::sync::futures::Notified;

/// A way to talk to an engine: send it events, cancel, ask, listen. Cheap to clone.
///
/// It works on what is stored, so it answers whether the engine runs or not; what is sent is handled once it runs.
///
/// One message becomes one event for each handler that has something to say about it, so from [`send`](Self::send) the way leads over the
/// message to its events, and from an event to its builds:
///
/// ```
/// use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog, MemoryStorage};
/// use freshmaker::backend::{BuildFilter, Paging};
/// use freshmaker::engine::Handle;
/// use freshmaker::handler::{ImagePushed, rebuild_dependents};
/// use freshmaker::rebuild::{EventState, InboxState};
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine};
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut graph = ArtifactGraph::new();
/// # graph.insert(Artifact::new("debian", ArtifactKind::Image));
/// # graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
/// # graph.depend("app", "debian", EdgeKind::ParentImage)?;
/// # let engine = Engine::builder()
/// #     .storage(Arc::new(MemoryStorage::new()))
/// #     .catalog("images", Arc::new(MemoryCatalog::new(graph)))
/// #     .build_system("builder", Arc::new(MemoryBuildSystem::new()))
/// #     .on(rebuild_dependents)
/// #     .build()?;
/// let handle = engine.handle();
/// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// let running = tokio::spawn(async move { engine.run_until(async { drop(stopped.await) }).await });
///
/// let id = handle.send(&ImagePushed { image: "debian".into(), digest: None }).await?;
/// let events = handle.wait_for_message(&id).await?;
/// assert_eq!(handle.message(Handle::LOCAL, &id).await?.state, InboxState::Done);
/// assert_eq!(events[0].state, EventState::Complete);
/// let builds = handle.builds(BuildFilter { event: Some(events[0].id), ..Default::default() }, Paging::first(10)).await?;
/// assert_eq!(builds.items[0].key.artifact.as_str(), "app");
/// assert!(handle.plan(events[0].id).await?.is_some());
///
/// drop(stop);
/// running.await??;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Handle {
    core: Arc<Core>,
}

impl Handle {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// The source of messages that were sent through a handle; others have the registered name of their bus.
    pub const LOCAL: &'static str = "local";

    /// The source of messages that handlers [emitted](crate::Decision::Emit).
    pub const EMITTED: &'static str = "emitted";

    /// The source of messages of ours that a bus refused for good: [dead letters](Self::dead_letters), whose reason says which bus, and why.
    pub const REFUSED: &'static str = "refused";

    /// No bus has such a name.
    pub(super) const RESERVED: [&'static str; 3] = [Self::LOCAL, Self::EMITTED, Self::REFUSED];

    /// Stores an event to be handled; returns the identity of its message, for [`message_ended`](Self::message_ended),
    /// [`message`](Self::message) and [`EventFilter::message_id`]. There are no events yet when this returns.
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
        self.receive(message).await
    }

    async fn receive(&self, message: Message) -> Result<String> {
        let record = self.core.inbox_record(Self::LOCAL, message, None);
        let id = record.message_id.clone();
        self.core.storage().await?.transact(vec![RowChange::Receive(record)]).await?;
        self.core.wake.dispatch.notify_one();
        Ok(id)
    }

    /// Starts a plan that was too large to be started unasked: that of an event skipped with the code `ask_first`, by the hash under which
    /// somebody has seen it. Returns the identity of a new message with the same event, for the same handler; confirming again is the same as
    /// once. If the plan has become another one meanwhile, that one is asked about again.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) for an unknown event, [`Rejected`](Remedy::Rejected) for one that asks nothing, or asks about another
    /// plan; else those of the storage.
    pub async fn confirm(&self, event: EventId, plan: &Digest) -> Result<String> {
        let rejected = |text: String| Error::new(Remedy::Rejected, "engine", text);
        let event = self.event(event).await?;
        if event.reason.code != ASK_FIRST {
            return Err(rejected(format!("event {} does not ask for anything: {}", event.id, event.reason)));
        }
        if event.plan.as_ref() != Some(plan) {
            return Err(rejected(format!("event {} asks about another plan: {}", event.id, event.reason)));
        }
        if !self.core.registry.has(&event.handler) {
            return Err(rejected(format!("no handler is called {:?} any more", event.handler)));
        }
        let headers = [(Message::CONFIRMS, plan.to_string()), (Message::HANDLER, event.handler)];
        let message = Message {
            id: format!("{}/confirmed", event.id),
            topic: event.envelope.kind,
            headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            body: event.envelope.payload.to_string().into_bytes(),
        };
        self.receive(message).await
    }

    /// Stops an event: what is not running is dropped, what runs is stopped, what other events want as well goes on for them.
    ///
    /// Returns when the wish is stored; while the storage does not answer, it waits and tries again. The event is cancelled only when
    /// everything it started has ended, until then it is in its former state, with [`cancel_at`](EventRecord::cancel_at): await
    /// [`ended`](Self::ended) to see that. If the engine does not run, what runs is stopped once it does.
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

    /// A message that came in: whether it was handled, ignored, or is dead, and why. `source` is the registered name of the bus,
    /// [`LOCAL`](Self::LOCAL) for what was sent through a handle, [`EMITTED`](Self::EMITTED) for what a handler emitted. What came by a bus and no handler
    /// wants is not kept.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound), and those of the storage.
    pub async fn message(&self, source: &str, id: &str) -> Result<InboxRecord> {
        let message = self.core.storage().await?.message(source, id).await?;
        message.ok_or_else(|| Error::new(Remedy::NotFound, "engine", format!("there is no message {id} from {source}")))
    }

    /// Waits until the event has ended, however it does, and returns it. While the engine does not run, nothing ends: whoever cannot wait
    /// for ever puts a timeout around it.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound), and those of the storage that are not [transient](Error::is_transient).
    pub async fn wait_for_event(&self, event: EventId) -> Result<EventRecord> {
        loop {
            let changed = self.core.wake.changed.notified();
            let event = self.event(event).await.map(|event| Some(event).filter(|event| event.state.is_terminal()));
            if let Some(answer) = conclusive(event) {
                return answer;
            }
            self.again(changed).await;
        }
    }

    /// Waits until a message that was [sent](Self::send) through a handle is handled and all of its events have ended, and returns these,
    /// newest first. There are none if every handler ignored it or it is [dead](InboxState::Dead).
    /// What a handler emitted because of it are messages of their own.
    ///
    /// # Errors
    /// As for [`ended`](Self::ended).
    pub async fn wait_for_message(&self, id: &str) -> Result<Vec<EventRecord>> {
        loop {
            let changed = self.core.wake.changed.notified();
            if let Some(answer) = conclusive(self.all_ended(id).await) {
                return answer;
            }
            self.again(changed).await;
        }
    }

    /// The events of a message of ours, if it is handled and they have ended.
    async fn all_ended(&self, id: &str) -> Result<Option<Vec<EventRecord>>> {
        if matches!(self.message(Self::LOCAL, id).await?.state, InboxState::New | InboxState::Claimed) {
            return Ok(None);
        }
        let filter = EventFilter { message_id: Some(id.to_owned()), ..EventFilter::default() };
        let events = self.events(filter, Paging::first(Paging::LIMIT_MAX)).await?.items;
        Ok(Some(events).filter(|events| events.iter().all(|event| event.state.is_terminal())))
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

    /// The plan that an event follows, with the reasons of everything in it and out of it. It is also there if it is empty, because the
    /// policy blocks everything for example. `None` if there is no such event, or its handler gave no plan.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn plan(&self, event: EventId) -> Result<Option<Plan>> {
        self.core.storage().await?.plan(event).await
    }

    /// What happened to an `event`, a `build` or an `attempt`, oldest first. Nothing is said of what there is not.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn transitions(&self, aggregate: &str, id: &str) -> Result<Vec<Transition>> {
        self.core.storage().await?.transitions(aggregate, id).await
    }

    /// Messages that could not be understood or handled, newest first, with their bytes and the reason. Among them are messages of ours that a
    /// bus [refused](Self::REFUSED).
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
    pub async fn check_consistency(&self) -> Result<Vec<Violation>> {
        self.core.storage().await?.check_consistency().await
    }

    /// Changes of events and builds from now on, as they are published.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription { notifications: self.core.notifications.subscribe() }
    }

    /// Completes when there is nothing left to do: every message handled, every event ended, every notification published.
    pub async fn wait_until_idle(&self) {
        loop {
            let changed = self.core.wake.changed.notified();
            if self.overview().await.is_ok_and(|overview| overview.is_idle()) {
                return;
            }
            self.again(changed).await;
        }
    }

    /// Waits until it is worth while to ask again: after a change of what is stored, or after a tick.
    async fn again(&self, changed: Notified<'_>) {
        let timer = self.core.sleep(self.core.options.tick);
        pin_mut!(changed, timer);
        select(changed, timer).await;
        self.core.sleep(self.core.options.pace).await;
    }
}

/// An answer that asking again would not change; an error that passes is none.
fn conclusive<T>(answer: Result<Option<T>>) -> Option<Result<T>> {
    match answer {
        Err(error) if error.is_transient() => None,
        answer => answer.transpose(),
    }
}

/// Changes of events and builds, in the order in which they were stored. Only changes that a running engine publishes come.
///
/// It does not end with a run of the engine, because there may be another one. A server that waits for its open streams at its end
/// therefore has to end them itself:
///
/// ```
/// use freshmaker::engine::Subscription;
/// use freshmaker::rebuild::Notification;
/// use futures_util::{Stream, StreamExt, stream};
///
/// /// For server-sent events, for example.
/// fn changes(subscription: Subscription, shutdown: impl Future<Output = ()>) -> impl Stream<Item = Notification> {
///     let notifications = stream::unfold(subscription, |mut subscription| async {
///         let notification = subscription.next().await?;
///         Some((notification, subscription))
///     });
///     notifications.take_until(shutdown)
/// }
/// ```
#[derive(Debug)]
pub struct Subscription {
    notifications: broadcast::Receiver<Notification>,
}

impl Subscription {
    /// The next change; `None` once the engine and all of its handles are dropped. A subscriber that does not keep up misses changes:
    /// what it needs to be sure of, it asks the [`Handle`] for. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Notification> {
        loop {
            match self.notifications.recv().await {
                Ok(notification) => return Some(notification),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

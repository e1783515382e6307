//! The client: sends events, asks, waits, follows changes, and stores decisions of people.
//!
//! A [`Client`] works on a storage alone, in the process of an engine or in another one.
//! [`Engine::client`](crate::Engine::client) gives one that also shares the engine's wake-ups, so
//! that it sees changes at once, and that can [preview](Client::preview) what an event would do.

mod decide;
mod failures;
mod kept;
mod marks;
mod pause;
mod replicas;
mod send;
mod stuck;
mod subscription;
mod under_way;
mod wait;
mod wake;
mod why;

pub use decide::RetryPart;
pub use failures::FailureGroup;
pub use kept::{Applied, KeptPlan};
pub use marks::{MarkGroup, TimeToFix, TimesToFix};
pub use pause::Pause;
pub(crate) use pause::paused;
pub use replicas::{Difference, Replica};
pub(crate) use replicas::{KIND, REPLICAS_MAX, replicas};
pub(crate) use send::ASK_FIRST;
pub use send::Sent;
pub use stuck::{Stuck, StuckSubject};
pub use subscription::Subscription;
pub(crate) use wake::{Concerned, Wake};
pub use why::{Why, WhyBuild, WhyEvent};

use crate::backend::{
    BuildCount, BuildFilter, BuildLinks, CausedCount, Clock, Documents, Error, EventCount, EventFilter, Links,
    Overview, Page, Paging, Remedy, Result, Storage, StorageReads, Violation,
};
use crate::engine::{Preview, Previewed, SystemClock};
use crate::event::{Event, Message};
use crate::plan::Plan;
use crate::rebuild::{
    AttemptRecord, BuildId, BuildRecord, EventId, EventRecord, InboxRecord, InboxState, RowKey, Transition,
};
use crate::time::Timestamp;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;

/// The origin that errors of a client name.
const PLACE: &str = "client";

/// Sends events to engines, asks what is stored, waits, follows changes, and stores decisions of
/// people. Cheap to clone.
///
/// A client only reads and writes the storage, so it works whether or not an engine runs; what it
/// sends is handled when an engine runs.
///
/// A message becomes one event for each handler that does not ignore it. So [`send`](Self::send)
/// returns the identity of a message, the message leads to its events, and an event to its builds:
///
/// ```
/// use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog, MemoryStorage};
/// use freshmaker::backend::{BuildFilter, Paging};
/// use freshmaker::client::Client;
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
/// let client = engine.client();
/// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// let running = tokio::spawn(async move { engine.run_until(async { drop(stopped.await) }).await });
///
/// let id = client.send(&ImagePushed { image: "debian".into(), digest: None }).await?;
/// let events = client.wait_for_message(&id).await?;
/// assert_eq!(client.message(Client::LOCAL, &id).await?.state, InboxState::Done);
/// assert_eq!(events[0].state, EventState::Complete);
/// let builds = client.builds(BuildFilter { events: vec![events[0].id], ..Default::default() }, Paging::first(10)).await?;
/// assert_eq!(builds.items[0].key.artifact.as_str(), "app");
/// assert!(client.plan(events[0].id).await?.is_some());
///
/// drop(stop);
/// running.await??;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    storage: Arc<dyn Storage>,
    migrated: OnceCell<()>,
    wake: Arc<Wake>,
    clock: Arc<dyn Clock>,
    rng: Mutex<fastrand::Rng>,
    /// How long to wait, without a wake-up, before asking again.
    tick: Duration,
    preview: Option<Preview>,
}

/// What a client shares with the engine in its process.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) wake: Arc<Wake>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: fastrand::Rng,
    pub(crate) tick: Duration,
    pub(crate) preview: Preview,
}

impl Client {
    /// The source of messages that were sent through a client; others have the registered name of
    /// their bus.
    pub const LOCAL: &'static str = "local";

    /// The source of messages that handlers [emitted](crate::Decision::Emit).
    pub const EMITTED: &'static str = "emitted";

    /// The source of messages of the engine that a bus refused for good. They are [dead
    /// letters](Self::dead_letters), whose reason names the bus and the cause.
    pub const REFUSED: &'static str = "refused";

    /// Names reserved for internal sources; the builder rejects buses with these names.
    pub(crate) const RESERVED: [&'static str; 3] = [Self::LOCAL, Self::EMITTED, Self::REFUSED];

    /// How long a client without an engine in its process waits before it asks again.
    const TICK: Duration = Duration::from_secs(1);

    /// Returns a client of this storage, for a process without an engine. While it waits, it polls
    /// the storage once a second.
    ///
    /// ```
    /// use freshmaker::client::Client;
    /// use freshmaker::memory::MemoryStorage;
    /// use std::sync::Arc;
    ///
    /// # futures_util::FutureExt::now_or_never(async {
    /// let client = Client::new(Arc::new(MemoryStorage::new()));
    /// assert!(client.overview().await?.is_idle());
    /// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
    /// ```
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        let (wake, clock) = (Arc::default(), Arc::new(SystemClock));
        let rng = Mutex::new(fastrand::Rng::new());
        let inner = Inner { storage, migrated: OnceCell::new(), wake, clock, rng, tick: Self::TICK, preview: None };
        Self { inner: Arc::new(inner) }
    }

    /// Returns the same client with another clock, by which it waits.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        self.changed(|inner| inner.clock = clock)
    }

    /// Returns the same client with a preview, see
    /// [`EngineBuilder::preview`](crate::engine::EngineBuilder::preview).
    #[must_use]
    pub fn with_preview(self, preview: Preview) -> Self {
        self.changed(|inner| inner.preview = Some(preview))
    }

    fn changed(self, change: impl FnOnce(&mut Inner)) -> Self {
        let Inner { storage, wake, clock, tick, preview, .. } = &*self.inner;
        let (storage, wake, clock) = (Arc::clone(storage), Arc::clone(wake), Arc::clone(clock));
        let rng = Mutex::new(self.rng().fork());
        let mut inner =
            Inner { storage, migrated: OnceCell::new(), wake, clock, rng, tick: *tick, preview: preview.clone() };
        change(&mut inner);
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn beside(storage: Arc<dyn Storage>, shared: Shared) -> Self {
        let Shared { wake, clock, rng, tick, preview } = shared;
        let (rng, migrated, preview) = (Mutex::new(rng), OnceCell::new(), Some(preview));
        Self { inner: Arc::new(Inner { storage, migrated, wake, clock, rng, tick, preview }) }
    }

    /// The storage, brought up to date first.
    pub(crate) async fn storage(&self) -> Result<&dyn Storage> {
        self.inner.migrated.get_or_try_init(|| self.inner.storage.upkeep().migrate()).await?;
        Ok(self.inner.storage.as_ref())
    }

    async fn reads(&self) -> Result<&dyn StorageReads> {
        Ok(self.storage().await?.reads())
    }

    fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    async fn sleep(&self, duration: Duration) {
        self.inner.clock.sleep(duration).await;
    }

    fn rng(&self) -> std::sync::MutexGuard<'_, fastrand::Rng> {
        self.inner.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what each handler would decide about this event now. Nothing is stored, submitted or
    /// published.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if this client has no [preview](Self::with_preview),
    /// which needs the handlers and catalogs; [`Rejected`](Remedy::Rejected) if the event has no
    /// JSON form; transient errors of a catalog or of the storage.
    #[doc(alias = "dry run")]
    #[doc(alias = "what-if")]
    pub async fn preview<E: Event>(&self, event: &E) -> Result<Vec<Previewed>> {
        self.with_handlers().await?.event(event, self.now()).await
    }

    /// As [`preview`](Self::preview), for a message as a bus would deliver it: it is read by the
    /// parsers of the engine. Returns an empty list if no handler wants it.
    ///
    /// # Errors
    /// As for [`preview`](Self::preview); [`Rejected`](Remedy::Rejected) also if the message cannot
    /// be read.
    pub async fn preview_message(&self, message: &Message) -> Result<Vec<Previewed>> {
        self.with_handlers().await?.message(message, self.now()).await
    }

    /// The preview; the storage that it reads is brought up to date first.
    async fn with_handlers(&self) -> Result<&Preview> {
        let none = "this client has no preview: it was made without handlers and catalogs";
        let preview = self.inner.preview.as_ref().ok_or_else(|| Error::new(Remedy::Unsupported, PLACE, none))?;
        self.storage().await?;
        Ok(preview)
    }

    /// Returns one event.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound), and those of the storage.
    pub async fn event(&self, id: EventId) -> Result<EventRecord> {
        let filter = EventFilter { ids: vec![id], ..EventFilter::default() };
        let page = self.reads().await?.events(filter, Paging::first(1)).await?;
        page.must_be_readable()?;
        page.items
            .into_iter()
            .next()
            .ok_or_else(|| Error::new(Remedy::NotFound, PLACE, format!("there is no event {id}")))
    }

    /// Returns a message that came in: whether it was handled, ignored, or is dead, and why.
    /// `source` is the registered name of the bus, [`LOCAL`](Self::LOCAL) for a message that was
    /// sent through a client, [`EMITTED`](Self::EMITTED) for one that a handler emitted. A message
    /// of a bus that no handler wants is not stored.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound), and those of the storage.
    pub async fn message(&self, source: &str, id: &str) -> Result<InboxRecord> {
        let message = self.reads().await?.message(source, id).await?;
        message.ok_or_else(|| Error::new(Remedy::NotFound, PLACE, format!("there is no message {id} from {source}")))
    }

    /// Returns events, newest first, or as the paging says.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn events(&self, filter: EventFilter, paging: Paging) -> Result<Page<EventRecord>> {
        self.reads().await?.events(filter, paging).await
    }

    /// Returns events as [`events`](Self::events) does, each with how many builds it has caused of
    /// each kind, in each state, and by whether it still wants them.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn events_with_counts(
        &self,
        filter: EventFilter,
        paging: Paging,
    ) -> Result<Page<(EventRecord, Vec<CausedCount>)>> {
        self.reads().await?.events_with_counts(filter, paging).await
    }

    /// Returns builds, newest first, or as the paging says.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn builds(&self, filter: BuildFilter, paging: Paging) -> Result<Page<BuildRecord>> {
        self.reads().await?.builds(filter, paging).await
    }

    /// Returns builds as [`builds`](Self::builds) does, each with its events, the builds that it
    /// needs, and what the build system calls it.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn builds_with_links(
        &self,
        filter: BuildFilter,
        paging: Paging,
    ) -> Result<Page<(BuildRecord, BuildLinks)>> {
        self.reads().await?.builds_with_links(filter, paging).await
    }

    /// Counts the events of each kind, state and reason.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn count_events(&self, filter: EventFilter) -> Result<Vec<EventCount>> {
        self.reads().await?.count_events(filter).await
    }

    /// Counts the builds of each build system, state and reason.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn count_builds(&self, filter: BuildFilter) -> Result<Vec<BuildCount>> {
        self.reads().await?.count_builds(filter).await
    }

    /// Returns the causes of these builds, and their dependencies in both directions.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn links(&self, builds: Vec<BuildId>) -> Result<Links> {
        self.reads().await?.links(builds).await
    }

    /// Returns the attempts of a build, oldest first.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn attempts(&self, build: BuildId) -> Result<Vec<AttemptRecord>> {
        self.attempts_of(vec![build]).await
    }

    /// Returns the attempts of these builds, by build, then oldest first.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn attempts_of(&self, builds: Vec<BuildId>) -> Result<Vec<AttemptRecord>> {
        self.reads().await?.attempts(builds).await
    }

    /// Returns the plan of an event, with the reasons of all inclusions and exclusions, also if it
    /// has no builds, for example because the policy blocks everything. `None` if there is no such
    /// event, or its handler returned no plan.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn plan(&self, event: EventId) -> Result<Option<Plan>> {
        self.reads().await?.plan(event).await
    }

    /// Returns the history of an event, a build or an attempt, oldest first. The list is empty if
    /// the row is unknown.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn transitions(&self, of: &RowKey) -> Result<Vec<Transition>> {
        self.reads().await?.transitions(of).await
    }

    /// Returns the documents that programs around the engine keep in its storage.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn documents(&self) -> Result<&dyn Documents> {
        Ok(self.storage().await?.documents())
    }

    /// Returns messages that could not be read or handled, newest first, with their bytes and the
    /// reason. Among them are messages of the engine that a bus [refused](Self::REFUSED).
    ///
    /// # Errors
    /// Those of the storage.
    #[doc(alias = "DLQ")]
    #[doc(alias = "poison message")]
    pub async fn dead_letters(&self, paging: Paging) -> Result<Page<InboxRecord>> {
        self.messages(vec![InboxState::Dead], paging).await
    }

    /// Returns messages in one of these states, newest first. If a new message has a
    /// [reason](crate::rebuild::InboxRecord::reason), the reason says what it waits for.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn messages(&self, states: Vec<InboxState>, paging: Paging) -> Result<Page<InboxRecord>> {
        self.reads().await?.messages(states, paging).await
    }

    /// Returns the number of messages, events, builds and notifications in each state.
    ///
    /// # Errors
    /// Those of the storage.
    #[doc(alias = "metrics")]
    pub async fn overview(&self) -> Result<Overview> {
        self.reads().await?.overview().await
    }

    /// Checks the stored rows against each other; an empty list means that they are consistent.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn check_consistency(&self) -> Result<Vec<Violation>> {
        self.reads().await?.check_consistency().await
    }

    /// Writes a copy of all stored data, as of one moment, into a new file, while engines continue.
    /// Only a storage in a file can do that; databases have tools of their own.
    ///
    /// # Errors
    /// [`Rejected`](Remedy::Rejected) if the file exists already,
    /// [`Unsupported`](Remedy::Unsupported) if the storage cannot do it, and those of the storage.
    pub async fn backup(&self, to: impl AsRef<Path>) -> Result<()> {
        self.storage().await?.upkeep().backup(to.as_ref()).await
    }

    /// Follows the changes of events and builds from now on. See [`Subscription`].
    ///
    /// # Errors
    /// Those of the storage.
    #[doc(alias = "watch")]
    #[doc(alias = "notifications")]
    pub async fn subscribe(&self) -> Result<Subscription> {
        let last = self.reads().await?.outbox().await?.last();
        Ok(self.subscribe_from(last))
    }

    /// Follows the changes of events and builds behind this [position](Subscription::position).
    #[must_use]
    pub fn subscribe_from(&self, position: i64) -> Subscription {
        Subscription::behind(self.clone(), position)
    }
}

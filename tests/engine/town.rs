//! Everything around an engine: a bus, a storage, a catalog, builds, and a clock that hurries.

use async_trait::async_trait;
use freshmaker::adapter::memory::{MemoryBuilds, MemoryBus, MemoryCatalog, MemoryStorage};
use freshmaker::adapter::sqlite::SqliteStorage;
use freshmaker::backend::{BuildFilter, Clock, EventFilter, Paging, Storage};
use freshmaker::engine::{Builder, Handle};
use freshmaker::rebuild::{BuildRecord, EventRecord, EventState};
use freshmaker::time::{Timestamp, from_micros, later, since};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine, Event, Message};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A hundred times faster than the machine's, so that pauses pass in a moment and timeouts still have room.
#[derive(Debug)]
struct Hurry(Instant);

#[async_trait]
impl Clock for Hurry {
    fn now(&self) -> Timestamp {
        later(from_micros(1_764_000_000_000_000), self.0.elapsed() * 100)
    }

    async fn sleep_until(&self, at: Timestamp) {
        let wait = since(at, self.now()) / 100 + Duration::from_millis(1);
        let _ = tokio::time::timeout(wait, std::future::pending::<()>()).await;
    }
}

/// What the tests send: something happened to an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pushed {
    pub(crate) image: String,
}

impl Event for Pushed {
    const KIND: &'static str = "test.pushed";

    fn search_key(&self) -> Option<String> {
        Some(self.image.clone())
    }
}

pub(crate) fn pushed(image: &str) -> Pushed {
    Pushed { image: image.to_owned() }
}

pub(crate) fn message(id: &str, topic: &str, body: &str) -> Message {
    Message { id: id.into(), topic: topic.into(), headers: Default::default(), body: body.into() }
}

pub(crate) struct Town {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) bus: Arc<MemoryBus>,
    pub(crate) builds: Arc<MemoryBuilds>,
    pub(crate) catalog: Arc<MemoryCatalog>,
}

/// `site` is built from `app`, that from `base`, which somebody else makes.
pub(crate) fn graph() -> ArtifactGraph {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    for (child, parent) in [("app", "base"), ("site", "app")] {
        graph.insert(Artifact::new(child, ArtifactKind::Image).with_source(child, None));
        graph.depend(child, parent, EdgeKind::ParentImage).unwrap();
    }
    graph
}

impl Town {
    pub(crate) fn new() -> Self {
        Self::on(Arc::new(MemoryStorage::new()))
    }

    pub(crate) fn on(storage: Arc<dyn Storage>) -> Self {
        Self { storage, bus: Arc::default(), builds: Arc::default(), catalog: Arc::new(MemoryCatalog::new(graph())) }
    }

    /// One town for each storage there is.
    pub(crate) fn each() -> [Self; 2] {
        [Self::new(), Self::on(Arc::new(SqliteStorage::in_memory().unwrap()))]
    }

    /// An engine without handlers.
    pub(crate) fn builder(&self) -> Builder {
        Engine::builder()
            .storage(self.storage.clone())
            .bus("bus", self.bus.clone())
            .catalog("images", self.catalog.clone())
            .build_system("builder", self.builds.clone())
            .clock(Arc::new(Hurry(Instant::now())))
    }

    /// Runs until there is nothing left to do, on the bus or in the storage; then everything stored must be sound.
    pub(crate) async fn settle(&self, engine: &Engine) {
        let handle = engine.handle();
        let quiet = async {
            until(|| std::future::ready(self.bus.backlog() == 0)).await;
            handle.idle().await;
        };
        engine.run_until(quiet).await.unwrap();
        assert_eq!(self.storage.verify().await.unwrap(), []);
    }

    /// What was submitted, in order.
    pub(crate) fn submitted(&self) -> Vec<String> {
        self.builds.requests().iter().map(|request| request.artifact.to_string()).collect()
    }
}

/// Asks again until it is so.
pub(crate) async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < patience, "it never happens");
        let _ = tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
    }
}

/// All events, oldest first.
pub(crate) async fn events(handle: &Handle) -> Vec<EventRecord> {
    let mut events = handle.events(EventFilter::default(), Paging::first(100)).await.unwrap().items;
    events.reverse();
    events
}

/// The only event; its state and reason.
pub(crate) async fn only(handle: &Handle) -> (EventState, String, String) {
    let mut events = events(handle).await;
    assert_eq!(events.len(), 1, "{events:?}");
    let event = events.remove(0);
    (event.state, event.reason.code, event.reason.text)
}

/// All builds, oldest first, as `artifact STATE`.
pub(crate) async fn builds(handle: &Handle) -> Vec<String> {
    let builds = handle.builds(BuildFilter::default(), Paging::first(100)).await.unwrap().items;
    builds.iter().rev().map(|build: &BuildRecord| format!("{} {}", build.key.artifact, build.state)).collect()
}

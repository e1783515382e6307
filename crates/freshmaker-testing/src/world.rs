//! A small world around an engine, for tests of handlers, backends and services: a bus, a storage,
//! a catalog, a build system, and a clock that follows tokio's clock.
//!
//! With `#[tokio::test(start_paused = true)]` nothing waits in real time: tokio advances its clock
//! as soon as all tasks wait.
//!
//! ```
//! use freshmaker::handler::{ImagePushed, rebuild_dependents};
//! use freshmaker_testing::world::World;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
//! let world = World::new();
//! let engine = world.builder().on(rebuild_dependents).build()?;
//! engine.client().send(&ImagePushed { image: "base".into(), digest: None }).await?;
//! world.settle(&engine).await;
//! assert_eq!(world.submitted(), ["app", "site"]);
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use async_trait::async_trait;
use freshmaker::backend::{BuildFilter, Clock, EventFilter, Paging, Storage};
use freshmaker::client::Client;
use freshmaker::engine::EngineBuilder;
use freshmaker::memory::{MemoryBuildSystem, MemoryBus, MemoryCatalog, MemoryStorage};
use freshmaker::rebuild::{BuildRecord, EventRecord, EventState};
use freshmaker::time::{Timestamp, earlier, from_micros, later};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine, Event, Message};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A clock that follows tokio's, which a test can pause and move. Its date can be set.
#[derive(Debug)]
pub struct TokioClock {
    begin: Instant,
    /// By how much the date was set forward, and back.
    set: Mutex<(Duration, Duration)>,
}

impl TokioClock {
    /// Makes a clock that begins at 2025-11-24T16:00:00Z.
    #[must_use]
    pub fn new() -> Self {
        Self { begin: Instant::now(), set: Mutex::default() }
    }

    /// Sets the date forward. What is slept and measured stays as it is.
    pub fn set_forward(&self, by: Duration) {
        self.set.lock().unwrap_or_else(PoisonError::into_inner).0 += by;
    }

    /// Sets the date back. What is slept and measured stays as it is.
    pub fn set_back(&self, by: Duration) {
        self.set.lock().unwrap_or_else(PoisonError::into_inner).1 += by;
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let date = later(from_micros(1_764_000_000_000_000), self.begin.elapsed());
        let (forward, back) = *self.set.lock().unwrap_or_else(PoisonError::into_inner);
        earlier(later(date, forward), back)
    }

    fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        // Tokio's timers are as fine as a millisecond.
        tokio::time::sleep(duration + Duration::from_millis(1)).await;
    }
}

/// What the tests send: something happened to an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pushed {
    /// The image.
    pub image: String,
}

impl Event for Pushed {
    const KIND: &'static str = "test.pushed";

    fn search_key(&self) -> Option<String> {
        Some(self.image.clone())
    }
}

/// That something happened to this image.
#[must_use]
pub fn pushed(image: &str) -> Pushed {
    Pushed { image: image.to_owned() }
}

/// Makes a message with this id, topic and body, without headers.
#[must_use]
pub fn message(id: &str, topic: &str, body: &str) -> Message {
    Message { id: id.into(), topic: topic.into(), headers: Default::default(), body: body.into() }
}

/// Everything around an engine.
#[derive(Debug)]
pub struct World {
    /// Where the engine keeps everything.
    pub storage: Arc<dyn Storage>,
    /// The bus called `bus`.
    pub bus: Arc<MemoryBus>,
    /// The build system called `builder`.
    pub builds: Arc<MemoryBuildSystem>,
    /// The catalog called `images`, with [`graph`].
    pub catalog: Arc<MemoryCatalog>,
    /// The clock.
    pub clock: Arc<TokioClock>,
}

/// `site` is built from `app`, and `app` from `base`, which has no recipe here.
#[must_use]
pub fn graph() -> ArtifactGraph {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    for (child, parent) in [("app", "base"), ("site", "app")] {
        graph.insert(Artifact::new(child, ArtifactKind::Image).with_source(child, None));
        graph.depend(child, parent, EdgeKind::ParentImage).expect("the world of a test");
    }
    graph
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// Makes a world that keeps everything in memory.
    #[must_use]
    pub fn new() -> Self {
        let clock = Arc::new(TokioClock::new());
        Self::on(Arc::new(MemoryStorage::new().with_clock(clock.clone())), clock)
    }

    /// Returns a world on this storage, which has this clock.
    #[must_use]
    pub fn on(storage: Arc<dyn Storage>, clock: Arc<TokioClock>) -> Self {
        Self {
            storage,
            bus: Arc::default(),
            builds: Arc::default(),
            catalog: Arc::new(MemoryCatalog::new(graph())),
            clock,
        }
    }

    /// Returns an engine without handlers.
    pub fn builder(&self) -> EngineBuilder {
        Engine::builder()
            .storage(self.storage.clone())
            .bus("bus", self.bus.clone())
            .catalog("images", self.catalog.clone())
            .build_system("builder", self.builds.clone())
            .clock(self.clock.clone())
    }

    /// Runs the engine until there is nothing left to do, on the bus or in the storage.
    ///
    /// # Panics
    /// If the engine fails, if that takes longer than a week of tokio's time (what is waited for is
    /// named), or if stored rows contradict each other afterwards.
    pub async fn settle(&self, engine: &Engine) {
        let client = engine.client();
        let quiet = async {
            until(|| std::future::ready(self.bus.backlog() == 0)).await;
            let idle = tokio::time::timeout(PATIENCE, client.wait_until_idle()).await;
            if idle.is_err() {
                panic!("it does not end within a week; it waits for {:#?}", client.stuck(Duration::ZERO).await);
            }
        };
        engine.run_until(quiet).await.expect("the world of a test");
        assert_eq!(self.storage.reads().check_consistency().await.expect("the world of a test"), []);
    }

    /// What was submitted, in order.
    #[must_use]
    pub fn submitted(&self) -> Vec<String> {
        self.builds.requests().iter().map(|request| request.artifact.to_string()).collect()
    }
}

/// How long a test waits at most, by tokio's time.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Asks again, each millisecond, until the condition holds.
///
/// # Panics
/// If it does not hold within a week of tokio's time.
pub async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let patience = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < patience, "it does not happen within a week");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// All events, oldest first.
///
/// # Panics
/// If the storage fails.
pub async fn events(client: &Client) -> Vec<EventRecord> {
    let mut events =
        client.events(EventFilter::default(), Paging::first(100)).await.expect("the world of a test").items;
    events.reverse();
    events
}

/// Returns the state and the reason (code and text) of the only event.
///
/// # Panics
/// If there is not exactly one, or the storage fails.
pub async fn only(client: &Client) -> (EventState, String, String) {
    let mut events = events(client).await;
    assert_eq!(events.len(), 1, "{events:?}");
    let event = events.remove(0);
    (event.state, event.reason.code, event.reason.text)
}

/// All builds, oldest first, as `artifact STATE`.
///
/// # Panics
/// If the storage fails.
pub async fn builds(client: &Client) -> Vec<String> {
    let builds = client.builds(BuildFilter::default(), Paging::first(100)).await.expect("the world of a test").items;
    builds.iter().rev().map(|build: &BuildRecord| format!("{} {}", build.key.artifact, build.state)).collect()
}

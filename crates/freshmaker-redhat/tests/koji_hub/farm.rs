//! An engine over the hub: images on images, and time that hurries.

use crate::contract::config;
use async_trait::async_trait;
use freshmaker::backend::{BuildFilter, Clock, Paging, Storage};
use freshmaker::memory::{MemoryBus, MemoryCatalog, MemoryStorage};
use freshmaker::rebuild::BuildRecord;
use freshmaker::time::{Timestamp, from_micros, later};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, Context, Decision, EdgeKind, Engine, Event, HandlerResult};
use freshmaker_redhat::contracts::InstalledPackages;
use freshmaker_redhat::fakes::koji::{Dialect, Fate, Hub};
use freshmaker_redhat::image::ImageVerifier;
use freshmaker_redhat::koji::KojiBuildSystem;
use freshmaker_redhat::messages::koji::task_hint;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much faster than the machine's the clock goes.
const HURRY: u32 = 100;
/// After that the client no longer waits for an answer: by its clock ten seconds.
const PATIENCE: Duration = Duration::from_millis(100);

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// Longer than the client waits, shorter than [`SETTLE`].
pub(crate) const LATE: Duration = Duration::from_secs(20);
const SETTLE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Hurry(Instant);

impl Hurry {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

#[async_trait]
impl Clock for Hurry {
    fn now(&self) -> Timestamp {
        later(from_micros(1_764_000_000_000_000), self.0.elapsed() * HURRY)
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed() * HURRY
    }

    async fn sleep(&self, duration: Duration) {
        let wait = duration / HURRY + Duration::from_millis(1);
        let _ = tokio::time::timeout(wait, std::future::pending::<()>()).await;
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pushed {
    image: String,
}

impl Event for Pushed {
    const KIND: &'static str = "test.pushed";
}

/// The first one must have this package, or a newer one.
const DEMANDED: &str = "zlib-1.2.11-40.el9";

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    let planner = graph.planner().changed(event.image, None).demand("base", DEMANDED.parse()?);
    Ok(Decision::Rebuild(planner.plan()?))
}

/// Where an image is built from.
pub(crate) fn source(image: &str) -> String {
    format!("git://src.example.com/containers/{image}")
}

/// `base` on something that others push, `middle` on that, and two on that one.
fn graph() -> ArtifactGraph {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("pushed", ArtifactKind::Image));
    for (child, parent) in [("base", "pushed"), ("middle", "base"), ("left", "middle"), ("right", "middle")] {
        let mut image = Artifact::new(child, ArtifactKind::Image).with_source(source(child), Some("abc"));
        image.target = "rhel-9-containers".to_owned();
        graph.insert(image);
        graph.depend(child, parent, EdgeKind::ParentImage).unwrap();
    }
    graph
}

pub(crate) struct Farm {
    pub(crate) hub: Hub,
    pub(crate) clock: Arc<Hurry>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) settle: Duration,
    pub(crate) patience: Duration,
    pub(crate) poll: Duration,
    pub(crate) sessions: usize,
    /// Who says what is installed in results, if they are verified.
    pub(crate) verifies: Option<Arc<dyn InstalledPackages>>,
    /// How long it may take until they are known.
    pub(crate) verified_within: Duration,
    /// Where messages of the hub are a hint to ask, if they are.
    pub(crate) bus: Option<Arc<MemoryBus>>,
}

impl Farm {
    pub(crate) async fn new() -> Self {
        let clock = Hurry::new();
        let hub = Hub::start(clock.clone()).await.unwrap();
        hub.add_user("freshmaker", "freshpw");
        hub.add_target("rhel-9-containers");
        hub.script(|_| Some(Fate::succeeds().queued(SECOND).taking(SECOND)));
        let storage = Arc::new(MemoryStorage::new().with_clock(clock.clone()).with_lease_ttl(SECOND * 30));
        Self {
            hub,
            clock,
            storage,
            settle: SETTLE,
            patience: PATIENCE,
            poll: SECOND,
            sessions: 4,
            verifies: None,
            verified_within: ImageVerifier::PATIENCE,
            bus: None,
        }
    }

    /// The engine of a new process: nothing of an earlier one is left but what is stored.
    pub(crate) fn engine(&self, seed: u64) -> Engine {
        let mut config = config(&self.hub);
        config.http.timeout = self.patience;
        config.settle = self.settle;
        config.poll = self.poll;
        config.sessions = self.sessions;
        let mut builder = Engine::builder()
            .storage(self.storage.clone())
            .catalog("images", Arc::new(MemoryCatalog::new(graph())))
            .clock(self.clock.clone())
            .seed(seed)
            .on(rebuild);
        if let Some(packages) = &self.verifies {
            let verifier = ImageVerifier::new(packages.clone()).with_clock(self.clock.clone());
            let verifier = verifier.with_patience(self.verified_within);
            builder = builder.verifier("koji", Arc::new(verifier));
        }
        builder = builder.build_system("koji", Arc::new(KojiBuildSystem::new(config).unwrap()));
        if let Some(bus) = &self.bus {
            builder = builder.bus("bus", bus.clone()).hints("koji", task_hint);
        }
        builder.build().unwrap()
    }

    /// Brings what the hub has sent to the bus.
    pub(crate) fn deliver(&self) {
        if let Some(bus) = &self.bus {
            self.hub.messages(Dialect::Brew).into_iter().for_each(|message| bus.send(message));
        }
    }

    /// Something that all images are built on was pushed.
    pub(crate) async fn push(&self, engine: &Engine) {
        engine.client().send_as("once", &Pushed { image: "pushed".to_owned() }).await.unwrap();
    }

    pub(crate) async fn builds(&self) -> Vec<BuildRecord> {
        let mut builds = self.storage.reads().builds(BuildFilter::default(), Paging::first(100)).await.unwrap().items;
        builds.reverse();
        builds
    }

    /// All builds, by artifact, as `artifact STATE`; after a check that what is stored is sound,
    /// and that the client kept its promises.
    pub(crate) async fn states(&self) -> Vec<String> {
        assert_eq!(self.storage.reads().check_consistency().await.unwrap(), []);
        assert_eq!(self.hub.ledger().violations(), []);
        let builds = self.builds().await;
        let mut states: Vec<_> = builds.iter().map(|it| format!("{} {}", it.key.artifact, it.state)).collect();
        states.sort();
        states
    }

    /// Runs to the end, which is that everything was built; the number of tasks that it took.
    pub(crate) async fn succeeds(&self) -> usize {
        let engine = self.engine(1);
        self.push(&engine).await;
        let client = engine.client();
        let ended = tokio::time::timeout(Duration::from_secs(30), engine.run_until(client.wait_until_idle())).await;
        ended.unwrap_or_else(|_| panic!("it does not end: {:?}", self.hub)).unwrap();
        self.all_done().await;
        self.hub.ledger().entries.len()
    }

    pub(crate) async fn all_done(&self) {
        assert_eq!(self.states().await, ["base DONE", "left DONE", "middle DONE", "right DONE"]);
    }
}

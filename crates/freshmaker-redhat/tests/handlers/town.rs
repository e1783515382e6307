//! A service around the handlers: an engine, an ODCS over real sockets, and a build system in
//! memory.

use super::hurry::Hurry;
use super::world::World;
use freshmaker::backend::{BuildFilter, BuildRequest, ComposeRequest, Composer, EventFilter, Paging};
use freshmaker::client::Client;
use freshmaker::engine::EngineBuilder;
use freshmaker::graph::EdgeKind;
use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog, MemoryStorage};
use freshmaker::rebuild::{AttemptId, BuildRecord, EventRecord, Observed, Output};
use freshmaker::{ArtifactGraph, Engine};
use freshmaker_redhat::fakes::odcs::FakeOdcs;
use freshmaker_redhat::handlers::{
    AffectedImages, FACTS, ImageComposes, RebuildImagesOfAdvisory, RebuildImagesOnRequest,
};
use freshmaker_redhat::image::ImageSearch;
use freshmaker_redhat::messages::errata::AdvisoryStatusChanged;
use freshmaker_redhat::messages::request::ManualRebuild;
use freshmaker_redhat::odcs::{Compose, OdcsComposer, OdcsConfig};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// A lease holds for so long by the clock that hurries: nobody loses it because the machine is
/// busy.
const LEASE_TTL: Duration = Duration::from_secs(300);

pub(super) struct Town {
    pub(super) world: Arc<World>,
    pub(super) clock: Arc<Hurry>,
    pub(super) storage: Arc<MemoryStorage>,
    pub(super) builds: Arc<MemoryBuildSystem>,
    pub(super) service: FakeOdcs,
    odcs: Arc<OdcsComposer>,
}

impl Town {
    pub(super) async fn new(world: World) -> Self {
        let clock = Hurry::new("2026-11-23T07:07:28Z".parse().unwrap());
        let service = FakeOdcs::start(clock.clone()).await.unwrap();
        let mut config = OdcsConfig::new(service.url());
        config.settle = Duration::from_secs(1);
        config.poll = Duration::from_secs(1);
        config.http.timeout = Duration::from_millis(200);
        let odcs = OdcsComposer::new(config).unwrap().with_clock(clock.clone());
        Self {
            world: Arc::new(world),
            storage: Arc::new(MemoryStorage::new().with_clock(clock.clone()).with_lease_ttl(LEASE_TTL)),
            clock,
            builds: Arc::default(),
            service,
            odcs: Arc::new(odcs),
        }
    }

    /// The same service over another world: what is stored and what ODCS has stays.
    pub(super) fn in_world(self, world: World) -> Self {
        Self { world: Arc::new(world), builds: Arc::default(), ..self }
    }

    /// A compose that is there before anything happens; its number.
    pub(super) async fn made(&self, compose: &Compose) -> i64 {
        let request = ComposeRequest {
            attempt: AttemptId::from_random(self.service.composes().len() as u128),
            artifact: compose.artifact(),
            parameters: compose.into(),
            no_cache: false,
        };
        let made = self.odcs.prepare(&request).await.unwrap();
        made.as_str().split('@').next().unwrap().parse().unwrap()
    }

    pub(super) fn composes(&self) -> ImageComposes {
        ImageComposes::new(self.odcs.clone(), self.world.clone()).with_sigkeys(["FD431D51", ""])
    }

    pub(super) fn affected(&self) -> AffectedImages {
        let search = ImageSearch::new(self.world.clone(), self.world.clone()).with_system("koji");
        AffectedImages::new(self.world.clone(), self.world.clone(), search).with_composes(self.composes())
    }

    pub(super) fn builder(&self) -> EngineBuilder {
        Engine::builder()
            .storage(self.storage.clone())
            .catalog("none", Arc::new(MemoryCatalog::new(ArtifactGraph::new())))
            .build_system("koji", self.builds.clone())
            .composer("odcs", self.odcs.clone())
            .clock(self.clock.clone())
            .facts(FACTS)
            .on(RebuildImagesOfAdvisory(self.affected()))
            .on(RebuildImagesOnRequest(self.affected()))
    }

    pub(super) fn engine(&self) -> Engine {
        self.builder().build().unwrap()
    }

    /// Ships the advisory, and runs the service until there is nothing to do.
    pub(super) async fn ship(&self) -> Client {
        let engine = self.engine();
        let shipped = json!({ "errata_id": self.world.advisory.id, "to": "SHIPPED_LIVE" });
        let shipped: AdvisoryStatusChanged = serde_json::from_value(shipped).unwrap();
        engine.client().send(&shipped).await.unwrap();
        self.settle(&engine).await
    }

    /// Handles a request, and runs the service until there is nothing to do.
    pub(super) async fn ask(&self, request: Value) -> Client {
        let engine = self.engine();
        let request: ManualRebuild = serde_json::from_value(request).unwrap();
        engine.client().send(&request).await.unwrap();
        self.settle(&engine).await
    }

    pub(super) async fn settle(&self, engine: &Engine) -> Client {
        let client = engine.client();
        let run = engine.run_until(client.wait_until_idle());
        tokio::time::timeout(Duration::from_secs(60), run).await.expect("it ends").unwrap();
        assert_eq!(client.check_consistency().await.unwrap(), []);
        client
    }

    /// Runs until this many builds were submitted.
    pub(super) async fn submitted(&self, engine: &Engine, count: usize) {
        let submitted = async {
            while self.builds.requests().len() < count {
                let _ = tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
            }
        };
        let run = engine.run_until(submitted);
        tokio::time::timeout(Duration::from_secs(60), run).await.expect("they are submitted").unwrap();
    }

    /// Ends the builds of an image with this rebuilt image.
    pub(super) fn finish(&self, image: &str, rebuilt: &str) {
        let output = Output { name: rebuilt.to_owned(), digest: None, contents: None };
        self.builds.finish(&image.into(), Observed::Succeeded(output));
    }

    /// What was submitted: each image with the parents and composes that it was given, and its
    /// parameter `compose_ids`.
    pub(super) fn submissions(&self) -> Vec<String> {
        self.builds.requests().iter().map(submission).collect()
    }

    /// The composes that were requested since there were so many: source type, source, packages,
    /// builds, architectures, flags and signing keys.
    pub(super) fn requested(&self, since: usize) -> Vec<Value> {
        let keys = ["source_type", "source", "packages", "builds", "arches", "flags", "sigkeys"];
        let told = |compose: &Value| keys.iter().map(|key| compose[*key].clone()).collect();
        self.service.composes().iter().skip(since).map(told).collect()
    }

    /// How often ODCS was asked with this method.
    pub(super) fn asked(&self, method: &str) -> usize {
        self.service.asked().iter().filter(|asked| asked.starts_with(method)).count()
    }
}

fn submission(request: &BuildRequest) -> String {
    let named = |kind: EdgeKind| {
        let parents = request.parents.iter().filter(move |parent| parent.kinds.contains(&kind));
        let names: Vec<_> = parents.map(|parent| parent.name.as_deref().unwrap_or("-")).collect();
        names.join(" ")
    };
    let (on, with) = (named(EdgeKind::ParentImage), named(EdgeKind::Repository));
    let kept = request.parameters.get("compose_ids").map(|kept| serde_json::to_string(kept).unwrap());
    format!("{} on [{on}] with [{with}] {}", request.artifact, kept.unwrap_or_default()).trim_end().to_owned()
}

/// All builds, by name: state and reason.
pub(super) async fn builds(client: &Client) -> Vec<BuildRecord> {
    let mut builds = client.builds(BuildFilter::default(), Paging::first(99)).await.unwrap().items;
    builds.sort_by(|a, b| a.key.artifact.cmp(&b.key.artifact));
    builds
}

/// The state and the reason of the latest build of an artifact.
pub(super) async fn outcome(client: &Client, artifact: &str) -> String {
    let filter = BuildFilter { artifacts: vec![artifact.into()], ..BuildFilter::default() };
    let build = client.builds(filter, Paging::first(1)).await.unwrap().items.pop().expect(artifact);
    format!("{}: {}", build.state, build.reason.text)
}

/// All events, oldest first.
pub(super) async fn events(client: &Client) -> Vec<EventRecord> {
    let mut events = client.events(EventFilter::default(), Paging::first(99)).await.unwrap().items;
    events.reverse();
    events
}

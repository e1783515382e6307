//! The engine with ODCS as the composer of what its images are built with.

use crate::world::{HOUR, start_of_time};
use async_trait::async_trait;
use freshmaker::adapter::memory::{MemoryBuilds, MemoryCatalog, MemoryStorage};
use freshmaker::adapter::odcs::{Compose, Odcs, OdcsConfig};
use freshmaker::backend::{BuildFilter, Clock, Paging, Storage};
use freshmaker::handler::{ImagePushed, rebuild_dependents};
use freshmaker::rebuild::BuildState;
use freshmaker::testing::odcs::{Course, FakeOdcs, Fault};
use freshmaker::time::{Timestamp, later, since};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A thousand times faster than the machine's.
#[derive(Debug)]
struct Hurry(Instant);

#[async_trait]
impl Clock for Hurry {
    fn now(&self) -> Timestamp {
        later(start_of_time(), self.0.elapsed() * 1000)
    }

    async fn sleep_until(&self, at: Timestamp) {
        let wait = since(at, self.now()) / 1000 + Duration::from_millis(1);
        let _ = tokio::time::timeout(wait, std::future::pending::<()>()).await;
    }
}

struct Town {
    clock: Arc<dyn Clock>,
    storage: Arc<MemoryStorage>,
    builds: Arc<MemoryBuilds>,
    service: FakeOdcs,
    catalog: Arc<MemoryCatalog>,
}

impl Town {
    /// `app` and `site` are built with a repository of this compose, and are rebuilt when `base` changes.
    async fn new(compose: &Compose) -> Self {
        let mut graph = ArtifactGraph::new();
        graph.insert(Artifact::new("base", ArtifactKind::Image));
        let mut repository =
            Artifact::new(compose.artifact(), ArtifactKind::Repository).with_source("odcs", None).with_system("odcs");
        repository.parameters = compose.into();
        graph.insert(repository);
        graph.depend(compose.artifact(), "base", EdgeKind::RuntimeContent).unwrap();
        for image in ["app", "site"] {
            graph.insert(Artifact::new(image, ArtifactKind::Image).with_source(image, None).with_system("builder"));
            graph.depend(image, compose.artifact(), EdgeKind::Repository).unwrap();
        }
        let clock: Arc<dyn Clock> = Arc::new(Hurry(Instant::now()));
        Self {
            service: FakeOdcs::start(clock.clone()).await.unwrap(),
            clock,
            storage: Arc::default(),
            builds: Arc::default(),
            catalog: Arc::new(MemoryCatalog::new(graph)),
        }
    }

    fn engine(&self) -> Engine {
        let mut config = OdcsConfig::new(self.service.url());
        config.settle = Duration::from_secs(1);
        config.poll = Duration::from_secs(1);
        config.http.timeout = Duration::from_millis(200);
        let odcs = Odcs::new(config).unwrap().with_clock(self.clock.clone());
        Engine::builder()
            .storage(self.storage.clone())
            .catalog("images", self.catalog.clone())
            .build_system("builder", self.builds.clone())
            .composer("odcs", Arc::new(odcs))
            .clock(self.clock.clone())
            .on(rebuild_dependents)
            .build()
            .unwrap()
    }

    async fn push(&self, engine: &Engine) {
        engine.handle().send(&ImagePushed { image: "base".into(), digest: None }).await.unwrap();
    }

    async fn settle(&self, engine: &Engine) {
        let handle = engine.handle();
        let run = engine.run_until(handle.idle());
        tokio::time::timeout(Duration::from_secs(60), run).await.expect("it ends").unwrap();
        assert_eq!(self.storage.verify().await.unwrap(), []);
    }

    /// All builds: name, state, reason.
    async fn rows(&self, engine: &Engine) -> Vec<(String, BuildState, String)> {
        let page = engine.handle().builds(BuildFilter::default(), Paging::first(99)).await.unwrap();
        let mut rows: Vec<_> = page
            .items
            .iter()
            .map(|build| (build.key.artifact.to_string(), build.state, build.reason.text.clone()))
            .collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows
    }
}

fn pulp() -> Compose {
    Compose::pulp(["rhel-9-for-x86_64-baseos-rpms"])
}

#[tokio::test]
async fn images_wait_for_their_repository() {
    let town = Town::new(&pulp()).await;
    town.service.script("rhel-9-for-x86_64-baseos-rpms", Course::slow(Duration::from_secs(3), Duration::from_secs(9)));
    let engine = town.engine();
    town.push(&engine).await;
    town.settle(&engine).await;
    let rows = town.rows(&engine).await;
    assert!(rows.iter().all(|(_, state, _)| *state == BuildState::Done) && rows.len() == 3, "{rows:?}");
    assert_eq!(town.builds.requests().len(), 2);
    assert_eq!(town.service.composes().len(), 1);
    // A second event has a repository of its own: what Pulp has can be something else by now.
    town.push(&engine).await;
    town.settle(&engine).await;
    assert_eq!(town.service.composes().len(), 2);
}

#[tokio::test]
async fn a_compose_that_fails_fails_its_builds_with_the_reason() {
    let town = Town::new(&Compose::tag("fail-tag")).await;
    town.service.script("fail-tag", Course::failing("Unknown Koji tag fail-tag."));
    let engine = town.engine();
    town.push(&engine).await;
    town.settle(&engine).await;
    let rows = town.rows(&engine).await;
    let states: Vec<_> = rows.iter().map(|(_, state, _)| *state).collect();
    assert_eq!(states, [BuildState::DependencyFailed, BuildState::Failed, BuildState::DependencyFailed], "{rows:?}");
    assert!(rows[1].2.contains("Unknown Koji tag fail-tag."), "{rows:?}");
    assert!(rows[0].2.contains(&rows[1].0) && rows[2].2.contains(&rows[1].0), "{rows:?}");
    assert!(town.builds.requests().is_empty());
}

#[tokio::test]
async fn a_compose_that_expires_before_its_use_costs_no_build() {
    let compose = Compose::tag("t").with_lifetime(Duration::from_secs(1));
    let town = Town::new(&compose).await;
    // It is over before it is used, and cannot be renewed; the next one can.
    let engine = town.engine();
    town.service.disturb("PATCH", Fault::Status(404, "No compose with id 1 found".to_owned()));
    town.push(&engine).await;
    town.settle(&engine).await;
    let rows = town.rows(&engine).await;
    assert!(rows.iter().all(|(_, state, _)| *state == BuildState::Done), "{rows:?}");
}

/// The process dies after the request was sent and before its answer is stored; what the service made is adopted by the next process.
#[tokio::test]
async fn a_crash_after_the_request_makes_no_second_compose() {
    for compose in [pulp(), Compose::tag("t").with_packages(["bash"])] {
        let town = Town::new(&compose).await;
        town.service.disturb("POST", Fault::Lost);
        let first = town.engine();
        town.push(&first).await;
        // The compose is there, and its answer never came: the process dies now.
        let asked = async {
            while town.service.composes().is_empty() {
                let _ = tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
            }
        };
        tokio::select! {
            biased;
            () = asked => {}
            _ = first.run_until(std::future::pending()) => unreachable!("it runs until it dies"),
        }
        drop(first);
        let second = town.engine();
        town.settle(&second).await;
        let rows = town.rows(&second).await;
        assert!(rows.iter().all(|(_, state, _)| *state == BuildState::Done) && rows.len() == 3, "{rows:?}");
        let composes = town.service.composes();
        let ids: Vec<_> = composes.iter().map(|compose| &compose["id"]).collect();
        assert_eq!(ids, [&Value::from(1)], "{compose:?}");
        assert_eq!(town.service.violations(), [] as [String; 0]);
    }
}

#[tokio::test]
async fn a_service_that_wavers_delays_and_does_not_fail() {
    let town = Town::new(&pulp()).await;
    for fault in
        [Fault::Status(401, "who?".to_owned()), Fault::Status(503, "away".to_owned()), Fault::Html, Fault::Cut(200)]
    {
        town.service.disturb("POST", fault);
    }
    for fault in [Fault::Status(500, "oops".to_owned()), Fault::Cut(99), Fault::Html, Fault::Silence] {
        town.service.disturb("GET", fault);
    }
    let engine = town.engine();
    town.push(&engine).await;
    town.settle(&engine).await;
    let rows = town.rows(&engine).await;
    assert!(rows.iter().all(|(_, state, _)| *state == BuildState::Done), "{rows:?}");
    assert_eq!(town.service.composes().len(), 1);
    assert!(since(town.clock.now(), start_of_time()) < HOUR * 24);
}

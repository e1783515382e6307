//! The engine with ODCS as the composer of what its images are built with.

use crate::hurry::Hurry;
use crate::world::{HOUR, start_of_time};
use freshmaker::artifact::ArtifactId;
use freshmaker::backend::{BuildFilter, BuildRequest, Clock, Paging, Storage};
use freshmaker::handler::{ImagePushed, rebuild_dependents};
use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog, MemoryStorage};
use freshmaker::plan::PlanParent;
use freshmaker::rebuild::{BuildState, Observed, Output};
use freshmaker::time::{Timestamp, since};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine};
use freshmaker_redhat::fakes::odcs::{Course, FakeOdcs, Fault};
use freshmaker_redhat::odcs::{Compose, OdcsComposer, OdcsConfig};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// A thousand times faster than the machine's, and sometimes ahead of itself. A lease holds for so
/// long by the clock that hurries: nobody loses it because the machine is busy.
const LEASE_TTL: Duration = Duration::from_secs(300);

struct Town {
    clock: Arc<Hurry>,
    storage: Arc<MemoryStorage>,
    builds: Arc<MemoryBuildSystem>,
    service: FakeOdcs,
    catalog: Arc<MemoryCatalog>,
}

impl Town {
    /// `app` and `site` are built with a repository of this compose, and are rebuilt when `base`
    /// changes.
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
        let clock = Hurry::new(start_of_time());
        let storage = MemoryStorage::new().with_clock(clock.clone()).with_lease_ttl(LEASE_TTL);
        Self {
            service: FakeOdcs::start(clock.clone()).await.unwrap(),
            clock,
            storage: Arc::new(storage),
            builds: Arc::default(),
            catalog: Arc::new(MemoryCatalog::new(graph)),
        }
    }

    fn engine(&self) -> Engine {
        let mut config = OdcsConfig::new(self.service.url());
        config.settle = Duration::from_secs(1);
        config.poll = Duration::from_secs(1);
        config.http.timeout = Duration::from_millis(200);
        let odcs = OdcsComposer::new(config).unwrap().with_clock(self.clock.clone());
        Engine::builder()
            .storage(self.storage.clone())
            .catalog("images", self.catalog.clone())
            .build_system("builder", self.builds.clone())
            .composer("odcs", Arc::new(odcs))
            .clock(self.clock.clone())
            .limit("builder", 1)
            .on(rebuild_dependents)
            .build()
            .unwrap()
    }

    async fn push(&self, engine: &Engine) {
        engine.client().send(&ImagePushed { image: "base".into(), digest: None }).await.unwrap();
    }

    async fn settle(&self, engine: &Engine) {
        let client = engine.client();
        let run = engine.run_until(client.wait_until_idle());
        tokio::time::timeout(Duration::from_secs(60), run).await.expect("it ends").unwrap();
        assert_eq!(self.storage.reads().check_consistency().await.unwrap(), []);
    }

    /// Runs until so many builds were submitted; the artifact of the last one.
    async fn submitted(&self, engine: &Engine, count: usize) -> ArtifactId {
        let submitted = async {
            while self.builds.requests().len() < count {
                let _ = tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
            }
        };
        let run = engine.run_until(submitted);
        tokio::time::timeout(Duration::from_secs(60), run).await.expect("they are submitted").unwrap();
        self.builds.requests()[count - 1].artifact.clone()
    }

    fn finish(&self, artifact: &ArtifactId) {
        let output = Output { name: artifact.to_string(), digest: None, contents: None };
        self.builds.finish(artifact, Observed::Succeeded(output));
    }

    /// The composes that builds were told to use.
    fn used(&self) -> Vec<Option<String>> {
        let repository = |parent: &&PlanParent| parent.kinds.contains(&EdgeKind::Repository);
        let used =
            |request: &BuildRequest| request.parents.iter().find(repository).and_then(|parent| parent.name.clone());
        self.builds.requests().iter().map(used).collect()
    }

    /// All builds: name, state, reason.
    async fn rows(&self, engine: &Engine) -> Vec<(String, BuildState, String)> {
        let page = engine.client().builds(BuildFilter::default(), Paging::first(99)).await.unwrap();
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

/// `app` and `site` cannot be built at once, and the first takes longer than the repository of both
/// lives.
#[tokio::test]
async fn a_compose_that_is_gone_before_a_build_is_submitted_is_made_anew() {
    for deleted in [true, false] {
        let town = Town::new(&pulp()).await;
        ["app", "site"].into_iter().for_each(|image| town.builds.hold(&image.into()));
        let engine = town.engine();
        town.push(&engine).await;
        let first = town.submitted(&engine, 1).await;
        *town.clock.ahead.lock().unwrap() += HOUR * 48;
        if deleted {
            town.service.clean_up();
        } else {
            town.service.disturb("PATCH", Fault::Status(400, "it is over".to_owned()));
        }
        town.finish(&first);
        let second = town.submitted(&engine, 2).await;
        assert_ne!(first, second);
        assert_eq!(town.used(), [Some("1".to_owned()), Some("2".to_owned())]);
        town.finish(&second);
        town.settle(&engine).await;
        let rows = town.rows(&engine).await;
        assert!(rows.iter().all(|(_, state, _)| *state == BuildState::Done) && rows.len() == 4, "{rows:?}");
        assert!(rows[2].2.contains("it was built"), "{rows:?}");
        assert_eq!(town.service.violations(), [] as [String; 0]);
    }
}

#[tokio::test]
async fn a_compose_that_goes_soon_is_renewed_before_a_build_is_submitted() {
    let town = Town::new(&pulp()).await;
    ["app", "site"].into_iter().for_each(|image| town.builds.hold(&image.into()));
    let engine = town.engine();
    town.push(&engine).await;
    let first = town.submitted(&engine, 1).await;
    *town.clock.ahead.lock().unwrap() += HOUR * 20;
    // For a while nobody can say whether it is still there.
    (0..3).for_each(|_| town.service.disturb("GET", Fault::Status(503, "away".to_owned())));
    town.finish(&first);
    let second = town.submitted(&engine, 2).await;
    assert_eq!(town.used(), [Some("1".to_owned()), Some("1".to_owned())]);
    let expires = town.service.composes()[0]["time_to_expire"].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(since(expires, town.clock.now()) > HOUR * 23, "{expires}");
    town.finish(&second);
    town.settle(&engine).await;
}

/// The process dies after the request was sent and before its answer is stored; what the service
/// made is adopted by the next process.
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

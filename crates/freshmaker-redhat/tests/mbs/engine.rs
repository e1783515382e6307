//! From a message to module builds and their states.

use crate::world::{Marked, perl};
use freshmaker::backend::{BuildFilter, Clock, EventFilter, Paging};
use freshmaker::memory::{MemoryCatalog, MemoryStorage};
use freshmaker::rebuild::{BuildState, EventState};
use freshmaker::{ArtifactGraph, Engine, Message};
use freshmaker_redhat::fakes::mbs::{Course, FakeMbs, FakeModule, Fault};
use freshmaker_redhat::handlers::{AffectedModules, RebuildModule, RebuildModulesAfterUpdate, RebuildModulesOfPackage};
use freshmaker_redhat::mbs::{MbsBuildSystem, MbsConfig};
use freshmaker_redhat::messages::{self, mbs::module_hint};
use freshmaker_testing::http::Reply;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

struct World {
    service: FakeMbs,
    clock: Arc<dyn Clock>,
    commits: Arc<Marked>,
}

impl World {
    async fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(freshmaker::engine::SystemClock);
        let service = FakeMbs::start(clock.clone()).await.unwrap();
        service.add(perl().with_component("zlib", Some("f29")), "c0ffee");
        service.add(FakeModule::new("ruby", "2.5").with_component("zlib", Some("f28")), "decade");
        Self { service, clock, commits: Arc::default() }
    }

    /// Handles a message to its end; the state and the reason of each event, and of each build.
    async fn handle(&self, message: Message) -> (Vec<(EventState, String)>, Vec<(BuildState, String)>) {
        let mut config = MbsConfig::new(self.service.url());
        config.owner = Some("freshmaker".to_owned());
        config.poll = Duration::from_millis(20);
        config.settle = Duration::from_millis(20);
        config.http.timeout = Duration::from_millis(500);
        let mbs = Arc::new(MbsBuildSystem::new(config).unwrap().with_commits(self.commits.clone()));
        let affected = AffectedModules::new(mbs.clone());
        let engine = Engine::builder()
            .storage(Arc::new(MemoryStorage::new()))
            .catalog("none", Arc::new(MemoryCatalog::new(ArtifactGraph::new())))
            .parsers(messages::parsers(["org.fedoraproject.prod"]))
            .build_system("mbs", mbs)
            .hints("mbs", module_hint)
            .clock(self.clock.clone())
            .on(RebuildModule(affected.clone()))
            .on(RebuildModulesOfPackage(affected.clone()))
            .on(RebuildModulesAfterUpdate(affected))
            .build()
            .unwrap();
        let client = engine.client();
        client.receive(message).await.unwrap();
        let run = engine.run_until(client.wait_until_idle());
        tokio::time::timeout(Duration::from_secs(30), run).await.expect("it ends").unwrap();
        assert_eq!(client.check_consistency().await.unwrap(), []);
        let events = client.events(EventFilter::default(), Paging::first(10)).await.unwrap().items;
        let builds = client.builds(BuildFilter::default(), Paging::first(10)).await.unwrap().items;
        (
            events.into_iter().map(|event| (event.state, event.reason.text)).collect(),
            builds.into_iter().map(|build| (build.state, build.key.artifact.to_string())).collect(),
        )
    }
}

fn message(topic: &str, body: &Value) -> Message {
    Message {
        id: "1".to_owned(),
        topic: format!("org.fedoraproject.prod.{topic}"),
        headers: Default::default(),
        body: body.to_string().into_bytes(),
    }
}

/// A commit to dist-git that changes a file.
fn commit(namespace: &str, repository: &str, branch: &str, file: &str) -> Message {
    let commit = json!({
        "namespace": namespace,
        "repo": repository,
        "branch": branch,
        "rev": "f00d",
        "stats": { "files": { file: { "additions": 1 } } },
    });
    message("git.receive", &json!({ "commit": commit }))
}

fn stable(branch: Option<&str>, builds: &[&str]) -> Message {
    let builds: Vec<_> = builds.iter().map(|nvr| json!({ "nvr": nvr })).collect();
    let release = json!({ "name": "F29", "branch": branch });
    let update = json!({ "updateid": "FEDORA-2018-1", "builds": builds, "release": release });
    message("bodhi.update.complete.stable", &json!({ "update": update }))
}

fn submission(name: &str, stream: &str, commit: &str) -> Value {
    json!({ "scmurl": format!("https://src.example.com/modules/{name}?#{commit}"), "branch": stream })
}

#[tokio::test]
async fn modules_are_rebuilt_when_something_in_them_changes() {
    let perl = submission("perl", "5.26", "new1");
    for (message, submitted) in [
        // From the branch that the module takes it from, by a new commit.
        (commit("rpms", "zlib", "f29", "zlib.spec"), vec![perl.clone()]),
        (stable(Some("f29"), &["zlib-1.2-3.fc29", "bash-5-1.fc29"]), vec![perl.clone()]),
        (stable(None, &["zlib-1.2-3.fc29"]), vec![perl, submission("ruby", "2.5", "new2")]),
        // From the commit that changed the metadata.
        (commit("modules", "perl", "5.26", "perl.yaml"), vec![submission("perl", "5.26", "f00d")]),
    ] {
        let world = World::new().await;
        for module in ["perl:5.26", "ruby:2.5"] {
            world.service.script(module, Course::slow(Duration::from_millis(50)));
        }
        let text = String::from_utf8_lossy(&message.body).into_owned();
        let (events, builds) = world.handle(message).await;
        let mut bodies = world.service.submitted();
        bodies.sort_by_key(|body| body["branch"].as_str().unwrap() < "3");
        let named = |body: &Value| {
            let mut body = body.clone();
            // Two commits are made at the same time.
            let scmurl = body["scmurl"].as_str().unwrap().replace("new2", "new1");
            body["scmurl"] = scmurl.into();
            body
        };
        assert_eq!(
            bodies.iter().map(named).collect::<Vec<_>>(),
            submitted.iter().map(named).collect::<Vec<_>>(),
            "{text}"
        );
        assert_eq!(events.iter().map(|(state, _)| *state).collect::<Vec<_>>(), [EventState::Complete], "{text}");
        assert!(builds.iter().all(|(state, _)| *state == BuildState::Done), "{text}: {builds:?}");
        assert_eq!(builds.len(), submitted.len());
    }
}

#[tokio::test]
async fn what_concerns_no_module_is_ignored_or_skipped_with_the_reason() {
    for (message, skipped) in [
        (commit("rpms", "bash", "f29", "bash.spec"), None),
        (stable(Some("f29"), &["bash-5-1.fc29"]), None),
        (
            commit("rpms", "perl-libs", "f30", "perl-libs.spec"),
            Some("perl:5.26 contain it, and take it from other branches than f30"),
        ),
        (commit("modules", "python", "3.6", "python.yaml"), Some("no build of the module python:3.6 is ready")),
        (commit("modules", "perl", "5.30", "perl.yaml"), Some("no build of the module perl:5.30 is ready")),
    ] {
        let world = World::new().await;
        let (events, builds) = world.handle(message).await;
        let expected: Vec<_> = skipped.map(|text| (EventState::Skipped, text.to_owned())).into_iter().collect();
        assert_eq!(events, expected);
        assert_eq!((builds.len(), world.service.submitted().len()), (0, 0));
    }
}

#[tokio::test]
async fn a_commit_that_is_built_already_is_not_built_again() {
    let world = World::new().await;
    world.service.add(perl(), "f00d");
    let (events, _) = world.handle(commit("modules", "perl", "5.26", "perl.yaml")).await;
    assert_eq!(events, [(EventState::Skipped, "perl:5.26 is built from the commit f00d already".to_owned())]);
}

/// The lost answer of a submission makes no second build, and a failure says why.
#[tokio::test]
async fn troubles_of_the_service_pass_or_are_told() {
    let world = World::new().await;
    world.service.disturb("POST", Fault::Lost);
    let (events, builds) = world.handle(commit("rpms", "zlib", "f29", "zlib.spec")).await;
    assert_eq!((events[0].0, builds[0].0), (EventState::Complete, BuildState::Done));
    assert_eq!((world.service.submitted().len(), world.service.builds().len()), (1, 3));

    let world = World::new().await;
    let refused = json!({ "message": "The modulemd is not valid" }).to_string();
    world.service.disturb("POST", Fault::Reply(Reply::new(422).with_body(refused)));
    let (events, builds) = world.handle(commit("modules", "perl", "5.26", "perl.yaml")).await;
    assert_eq!(builds[0].0, BuildState::Failed, "{events:?}");
    assert_eq!(world.service.builds().len(), 2);
}

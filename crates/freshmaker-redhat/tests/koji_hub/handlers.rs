//! Handlers over the hub: from the message of a task to the arguments of the call that builds.

use super::contract::config;
use freshmaker::Nvr;
use freshmaker::backend::{EventFilter, Paging};
use freshmaker::engine::SystemClock;
use freshmaker::memory::{MemoryBus, MemoryCatalog, MemoryStorage};
use freshmaker::rebuild::EventState;
use freshmaker::{ArtifactGraph, Engine, Message};
use freshmaker_redhat::fakes::koji::{Container, Dialect, Fate, Hub, Submission};
use freshmaker_redhat::handlers::{BuiltImages, FACTS, RebuildImagesOnParent, RebuildNamedImages};
use freshmaker_redhat::koji::xmlrpc::Value;
use freshmaker_redhat::koji::{KojiBuildSystem, KojiImages, KojiRecipes};
use freshmaker_redhat::messages;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TARGET: &str = "f40-containers";

fn nvr(text: &str) -> Nvr {
    text.parse().unwrap()
}

fn container(name: &str) -> Container {
    Container::new(nvr(name), TARGET).from_branch("f40").at_commit("c0ffee")
}

/// What the hub was asked to build.
type Seen = Arc<Mutex<Vec<Submission>>>;

/// A base, a builder on it, and an image of both.
async fn hub() -> (Hub, Seen) {
    let hub = Hub::start(Arc::new(SystemClock)).await.unwrap();
    hub.add_user("freshmaker", "freshpw");
    hub.add_target(TARGET);
    for image in [
        container("base-container-40-1"),
        container("go-container-1-1").on(nvr("base-container-40-1")),
        container("app-container-1-7").on(nvr("base-container-40-1")).with_builder(nvr("go-container-1-1")),
    ] {
        hub.add_container(&image).unwrap();
    }
    let seen = Seen::default();
    let seeing = seen.clone();
    hub.script(move |submission| {
        seeing.lock().unwrap().push(submission.clone());
        Some(Fate::succeeds().with_version("1"))
    });
    (hub, seen)
}

/// A service over the hub, which gets these messages.
async fn run(hub: &Hub, messages: Vec<Message>) -> Engine {
    let mut config = config(hub);
    (config.poll, config.settle) = (Duration::from_millis(20), Duration::from_millis(20));
    let builds = Arc::new(KojiImages::new(&config).unwrap());
    let images = BuiltImages::new(builds, Arc::new(KojiRecipes::new(&config).unwrap())).with_system("koji");
    let bus = Arc::new(MemoryBus::new());
    let engine = Engine::builder()
        .storage(Arc::new(MemoryStorage::new()))
        .catalog("none", Arc::new(MemoryCatalog::new(ArtifactGraph::new())))
        .build_system("koji", Arc::new(KojiBuildSystem::new(config).unwrap()))
        .bus("umb", bus.clone())
        .parsers(messages::parsers(["VirtualTopic.eng"]))
        .facts(FACTS)
        .on(RebuildImagesOnParent::new(images.clone()))
        .on(RebuildNamedImages(images))
        .build()
        .unwrap();
    let client = engine.client();
    messages.into_iter().for_each(|message| bus.send(message));
    let quiet = async {
        while bus.backlog() > 0 {
            tokio::task::yield_now().await;
        }
        client.wait_until_idle().await;
    };
    engine.run_until(quiet).await.unwrap();
    engine
}

/// What was submitted: source, target and options, without what differs from run to run.
fn submitted(seen: &Seen) -> Vec<String> {
    let told = |options: &Value| {
        let Value::Struct(options) = options else { panic!("{options:?}") };
        let some = options.iter().filter(|(name, _)| *name != "userdata").map(|(name, value)| match value {
            Value::Text(text) if name == "release" => format!("{name}={}.*", text.split('.').next().unwrap()),
            Value::Text(text) => format!("{name}={}", text.split(".1").next().unwrap()),
            other => format!("{name}={other:?}"),
        });
        some.collect::<Vec<_>>().join(" ")
    };
    let seen = seen.lock().unwrap();
    seen.iter().map(|it| format!("{} {} {}", it.source, it.target, told(&it.options))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_built_on_a_rebuilt_parent_is_submitted_with_it() {
    let (hub, seen) = hub().await;
    drop(hub.messages(Dialect::Brew));
    hub.add_container(&container("base-container-40-2")).unwrap();
    let closed = hub.messages(Dialect::Brew);
    assert_eq!(closed.len(), 1);
    let engine = run(&hub, closed).await;
    let source = |name: &str| format!("git://src.example.com/containers/{name}#c0ffee");
    assert_eq!(
        submitted(&seen),
        [
            format!(
                "{} {TARGET} git_branch=f40 isolated=Bool(true) koji_parent_build=base-container-40-2 release=1.*",
                source("go-container")
            ),
            format!(
                "{} {TARGET} git_branch=f40 isolated=Bool(true) koji_parent_build=base-container-40-2 release=7.*",
                source("app-container")
            ),
        ]
    );
    let events = engine.client().events(EventFilter::default(), Paging::first(9)).await.unwrap().items;
    assert_eq!((events.len(), events[0].state, events[0].builds_done), (1, EventState::Complete, 2));
    assert_eq!(hub.ledger().violations(), []);

    // What the hub says about our own tasks leads to nothing.
    let ours = hub.messages(Dialect::Brew);
    assert!(ours.iter().any(|message| message.topic.ends_with("closed")), "{ours:?}");
    let engine = run(&hub, ours).await;
    assert_eq!(engine.client().events(EventFilter::default(), Paging::first(9)).await.unwrap().items, []);
    assert_eq!(hub.ledger().entries.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn named_images_are_submitted_on_each_other() {
    let (hub, seen) = hub().await;
    let body = r#"{"dist_git_branch": "f40", "container_images": ["base", "app"], "brew_target": "f40-containers"}"#;
    let topic = "VirtualTopic.eng.freshmaker.async.manual.build".to_owned();
    let request = Message { id: "1".into(), topic, headers: [].into(), body: body.into() };
    run(&hub, vec![request]).await;
    let submitted = submitted(&seen);
    let names: Vec<_> = submitted.iter().map(|text| text.split(['/', '#']).nth(4).unwrap()).collect();
    assert_eq!(names, ["base-container", "go-container", "app-container"], "the builder stage is between them");
    let parents: Vec<_> = submitted.iter().map(|text| text.contains("koji_parent_build=base-container-1-1")).collect();
    assert_eq!(parents, [false, true, true], "{submitted:?}");
    assert_eq!(hub.ledger().violations(), []);
}

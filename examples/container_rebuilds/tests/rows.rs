//! What the example says and does about stored rows, beside an engine that runs and without one.
#![allow(clippy::unwrap_used)]

use freshmaker::backend::{BuildFilter, EventFilter, Paging};
use freshmaker::client::Client;
use freshmaker::handler::{RebuildRequested, rebuild_requested};
use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog};
use freshmaker::rebuild::{BuildState, EventId, EventRecord, EventState, Failure, FailureClass, Observed, Output};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine, Message};
use freshmaker_sql::SqliteStorage;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SHOP: &str = "shop-container-2.1-4";

/// What is built on what; `vendor-1-2` is built by somebody else.
fn graph() -> ArtifactGraph {
    let built = |name: &str| Artifact::new(name, ArtifactKind::Image).with_source(format!("https://src/{name}"), None);
    let images = [built("base"), built(SHOP), built("site"), Artifact::new("vendor-1-2", ArtifactKind::Image)];
    let on = |child: &str, parent: &str| (child.into(), parent.into(), EdgeKind::ParentImage);
    ArtifactGraph::of(images, [on(SHOP, "base"), on("site", SHOP), on("vendor-1-2", "base")]).unwrap()
}

/// The directory of a configuration, and what builds.
struct Place {
    directory: tempfile::TempDir,
    builds: Arc<MemoryBuildSystem>,
}

impl Place {
    fn new() -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap(), builds: Arc::default() };
        let write = |name: &str, text: &str| std::fs::write(place.path(name), text).unwrap();
        write("koji.conf", "[test]\nserver = http://127.0.0.1:1/hub\nauthtype = noauth\n");
        write("catalog.toml", "[[artifact]]\nname = \"site\"\nkind = \"rpm\"\naliases = [\"homepage\"]\n");
        write(
            "container_rebuilds.toml",
            "state = \"state.sqlite\"\ncatalog = \"catalog.toml\"\n[koji]\nfile = \"koji.conf\"\nprofile = \"test\"\n",
        );
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn engine(&self) -> Engine {
        let storage = SqliteStorage::open(self.path("state.sqlite")).unwrap();
        let catalog = Arc::new(MemoryCatalog::new(graph()));
        let builder = Engine::builder().storage(Arc::new(storage)).catalog("images", catalog);
        builder.build_system("koji", self.builds.clone()).on(rebuild_requested).build().unwrap()
    }

    /// Whether the program says that all is well, and what it says.
    async fn ask(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_container_rebuilds"));
        command.args(arguments).arg("--config").arg(self.path("container_rebuilds.toml")).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.success(), said)
    }
}

fn request(artifact: &str) -> RebuildRequested {
    RebuildRequested { artifacts: vec![artifact.to_owned()], dependents: true, requester: None }
}

async fn send(client: &Client, artifact: &str) -> EventId {
    let message = client.send(&request(artifact)).await.unwrap();
    client.wait_until_handled(&message).await.unwrap();
    let event = events(client).await.remove(0);
    assert_eq!(event.state, EventState::Building, "{}", event.reason);
    event.id
}

/// The newest first.
async fn events(client: &Client) -> Vec<EventRecord> {
    client.events(EventFilter::default(), Paging::first(10)).await.unwrap().items
}

async fn until(client: &Client, artifact: &str, state: BuildState) {
    let patience = Instant::now() + Duration::from_secs(60);
    let filter = BuildFilter { artifacts: vec![artifact.into()], ..BuildFilter::default() };
    while client.builds(filter.clone(), Paging::first(1)).await.unwrap().items[0].state != state {
        assert!(Instant::now() < patience, "{artifact} is never {state}");
        let _ = tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await;
    }
}

fn broken() -> Observed {
    Observed::Failed(Failure::new(FailureClass::Permanent, "no space left on the builder"))
}

#[tokio::test(flavor = "multi_thread")]
async fn why_an_image_was_rebuilt_or_not_is_told() {
    let place = Place::new();
    for command in [&["why", SHOP][..], &["show"], &["cancel", "1"], &["token", "list"]] {
        let (good, said) = place.ask(command).await;
        assert!(!good && said.contains("no service has kept anything in this file yet"), "{command:?}: {said}");
        assert!(!place.path("state.sqlite").exists(), "a mistyped name makes no database");
    }
    place.builds.hold(&SHOP.into());
    let engine = place.engine();
    engine.client().overview().await.unwrap();
    let (good, said) = place.ask(&["why", SHOP]).await;
    assert!(!good && said.starts_with(&format!("nothing is stored about {SHOP}: ")), "{said}");
    let client = engine.client();
    let story = async {
        let event = send(&client, "base").await;
        until(&client, SHOP, BuildState::Building).await;
        let (good, said) = place.ask(&["why", "site"]).await;
        let chain = format!("): base -> {SHOP} -> site\n");
        assert!(good && said.contains(&format!("event {event} BUILDING")) && said.contains("BLOCKED"), "{said}");
        assert!(said.contains("site: rebuilt because base is rebuilt (") && said.contains(&chain), "{said}");
        assert!(said.contains(&format!("it waits for {SHOP} (build ")), "{said}");
        assert!(said.contains("which is being built by koji, since "), "{said}");

        let (good, told) = place.ask(&["check-state"]).await;
        assert!(good && told == "what is stored is consistent\n", "{told}");
        // By another name that the catalog has for it.
        let (good, other) = place.ask(&["why", "homepage"]).await;
        assert!(good && other.contains(&chain), "{other}");

        // By the name in the NVR.
        let (good, said) = place.ask(&["why", "vendor"]).await;
        assert!(good && said.contains("vendor-1-2: not rebuilt (no_recipe): "), "{said}");

        let output = Output { name: "shop-container-2.1-4.1".into(), digest: None, contents: None };
        place.builds.finish(&SHOP.into(), Observed::Succeeded(output));
        client.wait_for_event(event).await.unwrap();
        // By the name of what came out.
        let (good, json) = place.ask(&["why", "shop-container-2.1-4.1", "--json"]).await;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let told = &json["events"][0];
        assert!(good && told["artifact"] == SHOP && told["explanation"]["status"] == "rebuilt", "{json}");
        let build = &told["builds"][0];
        assert_eq!(build["build"]["output"]["name"], "shop-container-2.1-4.1");
        assert_eq!(
            (build["attempts"].as_array().unwrap().len(), build["causes"][0]["event"].as_i64()),
            (1, Some(event.0))
        );

        // Asked for itself, because with the same inputs it would not be built again.
        place.builds.hold(&SHOP.into());
        let event = send(&client, SHOP).await;
        until(&client, SHOP, BuildState::Building).await;
        place.builds.finish(&SHOP.into(), broken());
        client.wait_for_event(event).await.unwrap();
        let (good, said) = place.ask(&["why", "site"]).await;
        let newest = said.split("\n\n").next().unwrap();
        assert!(good && newest.contains(&format!("it cannot be built, because {SHOP} (build ")), "{said}");
        assert!(newest.contains("failed: no space left on the builder"), "{said}");
    };
    engine.run_until(story).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_retried_and_what_cannot_be_is_refused() {
    let place = Place::new();
    place.builds.hold(&SHOP.into());
    let engine = place.engine();
    let client = engine.client();
    let mut event = EventId(0);
    let story = async {
        event = send(&client, "base").await;
        until(&client, SHOP, BuildState::Building).await;
        let (good, said) = place.ask(&["retry", &event.to_string()]).await;
        let refused = format!("event {event} is BUILDING: only an event that has ended can be retried");
        assert!(!good && said.contains(&refused), "{said}");
        let (good, said) = place.ask(&["retry", "4711"]).await;
        assert!(!good && said.contains("there is no event 4711"), "{said}");
        place.builds.finish(&SHOP.into(), broken());
        client.wait_for_event(event).await.unwrap();
    };
    engine.run_until(story).await.unwrap();
    drop((client, engine));

    // No service runs: what is to be expected is told, and the wish is kept.
    let retry = ["retry", &event.to_string(), "--by", "alice"];
    let (good, said) = place.ask(&retry).await;
    assert!(good && said.contains("no service has decided on it yet"), "{said}");
    assert!(said.contains(&format!("  {SHOP} (FAILED: no space left on the builder)\n  site (")), "{said}");
    assert!(!said.contains("  base"), "{said}");

    let engine = place.engine();
    let client = engine.client();
    let story = async {
        let (good, said) = place.ask(&retry).await;
        assert!(good && said.contains(&format!("event {event} is retried:\n")), "{said}");
        let retried = events(&client).await[0].clone();
        assert_eq!((retried.retry_of, retried.envelope.requester.as_deref()), (Some(event), Some("alice")));
        assert!(said.contains(&format!("event {} ", retried.id)), "{said}");
        client.wait_for_event(retried.id).await.unwrap();
        assert_eq!(place.builds.requests().iter().filter(|request| request.artifact.as_str() == "base").count(), 1);
        let (good, said) = place.ask(&["retry", &retried.id.to_string()]).await;
        assert!(!good && said.contains(&format!("nothing of event {} failed", retried.id)), "{said}");

        let (good, said) = place.ask(&["retry", &event.to_string(), "--all"]).await;
        assert!(good, "{said}");
        let whole = events(&client).await[0].id;
        assert_ne!(whole, retried.id);
        client.wait_for_event(whole).await.unwrap();
        assert_eq!(place.builds.requests().iter().filter(|request| request.artifact.as_str() == "base").count(), 2);
    };
    engine.run_until(story).await.unwrap();

    for (words, mistake) in [
        (vec!["retry"], "retry needs EVENT"),
        (vec!["retry", "x"], "an event is a number"),
        (vec!["show", "--all"], "--all does not go with show"),
        (vec!["show", "--json"], "--json does not go with show"),
        (vec!["why"], "why needs NAME"),
        (vec!["show", "--catalog", "pyxis"], "there is no option --catalog"),
    ] {
        let (good, said) = place.ask(&words).await;
        assert!(!good && said.contains(mistake), "{mistake}: {said}");
    }
}

/// Operators pause, look, put dead letters away and make copies while a service runs.
#[tokio::test(flavor = "multi_thread")]
async fn operators_are_answered_while_a_service_runs() {
    let place = Place::new();
    let engine = place.engine();
    let client = engine.client();
    let story = async {
        let (good, said) = place.ask(&["pause", "koji", "it", "is", "mended", "--by", "kim"]).await;
        assert!(good && said.contains("until `container_rebuilds resume koji`"), "{said}");
        let (good, said) = place.ask(&["pause", "brew"]).await;
        assert!(!good && said.contains("no build system is called \"brew\"; there are koji"), "{said}");
        let event = send(&client, "base").await;
        let (good, said) = place.ask(&["status"]).await;
        assert!(good && said.contains(&format!("event {event} BUILDING")), "{said}");
        assert!(said.contains("koji is paused since ") && said.contains(" by kim: it is mended"), "{said}");
        assert!(said.contains("builds waiting 3") && said.contains("messages dead 0"), "{said}");
        let (good, said) = place.ask(&["stuck", "--for", "0"]).await;
        assert!(!good && said.contains("build 2, since ") && said.contains("it is mended"), "{said}");
        assert!(place.builds.requests().is_empty());
        let (good, said) = place.ask(&["resume", "koji"]).await;
        assert!(good, "{said}");
        client.wait_for_event(event).await.unwrap();

        let message = Message::of("m\u{1b}1", &request("base")).unwrap();
        client.receive(Message { body: b"{".to_vec(), ..message }).await.unwrap();
        client.wait_until_handled("m\u{1b}1").await.unwrap();
        let (good, said) = place.ask(&["dead-letters"]).await;
        assert!(!good && said.contains("m\u{fffd}1 from local: "), "a terminal is not driven: {said:?}");
        let (good, said) = place.ask(&["status", "--json"]).await;
        assert!(!good && said.contains("\"messages_dead\": 1"), "{said}");
        let (good, said) = place.ask(&["dead-letters", "--requeue", "none"]).await;
        assert!(!good && said.contains("`container_rebuilds dead-letters` lists them"), "{said}");
        let (good, said) = place.ask(&["dismiss", "m\u{1b}1", "it", "is", "broken"]).await;
        assert!(good && said.contains("was put away"), "{said}");
        let (good, said) = place.ask(&["dead-letters", "--json"]).await;
        assert!(good && said == "[]\n", "{said}");

        let copy = place.path("copy.sqlite");
        let (good, said) = place.ask(&["backup", copy.to_str().unwrap()]).await;
        assert!(good && copy.exists(), "{said}");
    };
    engine.run_until(story).await.unwrap();
}

/// The whole story ends by itself, and shows plans, progress, a failure with its retry, and what
/// went out.
#[test]
fn the_simulated_story_is_told() {
    for catalog in ["lightblue", "pyxis"] {
        story(catalog);
    }
}

fn story(catalog: &str) {
    let begin = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_container_rebuilds"));
    let output = command.args(["--world", "simulated", "--catalog", catalog]).stdin(Stdio::null()).output().unwrap();
    let took = begin.elapsed();
    let told = String::from_utf8(output.stdout).unwrap();
    let progress = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}{progress}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    for part in [
        "it contains 0:bash-5.1.8-6.el9, older than 0:bash-5.1.8-9.el9",
        "it was built, and has what was demanded",
        "the builder ran out of disk space",
        "web:1 is rebuilt: the spec file of zlib changed",
        "DONE web:1 as ",
        "MBS 1 requests",
        " messages went out as ",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let lines: Vec<_> = progress.lines().filter(|line| line.contains(" builds ended, ")).collect();
    let (ended, total) = lines.last().unwrap().split_once(" of ").unwrap();
    assert!(total.starts_with(&format!("{ended} builds ended, 0 running, 0 failed")), "{progress}");
    assert!(lines.len() > 5, "a line for each change: {progress}");
}

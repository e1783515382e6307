//! A single event that is a dry run, in an engine that really builds.

use crate::each;
use async_trait::async_trait;
use freshmaker::backend::{BuildFilter, Clock, DryRun, Error, EventFilter, Made, Paging, Remedy, Result, Verifier};
use freshmaker::client::RetryPart;
use freshmaker::engine::ConfigError;
use freshmaker::memory::MemoryBuildSystem;
use freshmaker::rebuild::{BuildMode, EventId, EventState, Verification};
use freshmaker::{Context, Decision, Event, HandlerResult, Message};
use freshmaker_testing::world::{Pushed, World, builds, events, pushed, until};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// A request that can be a dry run.
#[derive(Serialize, Deserialize)]
struct Request {
    image: String,
    dry: bool,
}

impl Event for Request {
    const KIND: &'static str = "test.request";

    fn dry_run(&self) -> bool {
        self.dry
    }
}

fn request(dry: bool) -> Request {
    Request { image: "base".into(), dry }
}

async fn on_request(event: Request, cx: Context) -> HandlerResult {
    assert_eq!(cx.dry_run(), event.dry);
    rebuild(pushed(&event.image), cx).await
}

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(Decision::Rebuild(cx.planner(&graph).await?.changed(event.image, None).plan()?))
}

/// The modes of all events, oldest first, with their states.
async fn modes(client: &freshmaker::Client) -> Vec<(BuildMode, EventState)> {
    events(client).await.iter().map(|event| (event.mode, event.state)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_single_dry_run_is_planned_and_stored_and_submits_nothing() {
    for world in each() {
        let engine = world.builder().on(on_request).build().unwrap();
        let client = engine.client();
        client.send_as("dry", &request(true)).await.unwrap();
        world.settle(&engine).await;
        assert_eq!(world.submitted(), [""; 0]);
        client.send_as("real", &request(false)).await.unwrap();
        world.settle(&engine).await;
        assert_eq!(world.submitted(), ["app", "site"], "what was pretended is not taken for built");
        let complete = EventState::Complete;
        assert_eq!(modes(&client).await, [(BuildMode::DryRun, complete), (BuildMode::Real, complete)]);
        let stored = client.builds(BuildFilter::default(), Paging::first(9).oldest_first()).await.unwrap().items;
        let keys: Vec<_> = stored.iter().map(|build| (build.key.system.as_str(), build.key.mode)).collect();
        let (dry, real) = ((DryRun::QUEUE, BuildMode::DryRun), ("builder", BuildMode::Real));
        assert_eq!(keys, [dry, dry, real, real]);
    }
}

/// A dry run waits neither for builds that run, nor for those that wait, nor while the build system
/// is paused; and it takes no room from them.
#[tokio::test(start_paused = true)]
async fn a_single_dry_run_has_a_queue_of_its_own() {
    for world in each() {
        world.builds.hold(&"app".into());
        let engine = world.builder().limit("builder", 1).on(on_request).on(rebuild).build().unwrap();
        let client = engine.client();
        client.send(&pushed("base")).await.unwrap();
        engine.run_until(until(async || world.submitted() == ["app"])).await.unwrap();
        client.pause("builder", "it is mended", "kim").await.unwrap();
        client.send(&request(true)).await.unwrap();
        let pretended = until(async || builds(&client).await[2..] == ["app DONE", "site DONE"]);
        engine.run_until(pretended).await.unwrap();
        assert_eq!(builds(&client).await[..2], ["app BUILDING", "site BLOCKED"]);
        assert_eq!(world.submitted(), ["app"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_dry_run_emits_is_a_dry_run() {
    for world in each() {
        let emits = |event: Request, _: Context| async move {
            Ok(Decision::Emit(vec![Message::of("", &pushed(&event.image))?]))
        };
        let engine = world.builder().on_as("emits", emits).on(rebuild).build().unwrap();
        engine.client().send(&request(true)).await.unwrap();
        world.settle(&engine).await;
        assert_eq!(modes(&engine.client()).await, [(BuildMode::DryRun, EventState::Complete)]);
        assert_eq!(world.submitted(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_can_ask_for_a_dry_run_of_any_event() {
    let world = World::new();
    let engine = world.builder().on(rebuild).build().unwrap();
    for (id, header) in [("dry", Some("true")), ("no", Some("false")), ("none", None)] {
        let mut message = Message::of(id, &pushed("app")).unwrap();
        message.headers.extend(header.map(|header| (Message::DRY_RUN.to_owned(), header.to_owned())));
        world.bus.send(message);
    }
    world.settle(&engine).await;
    let stored = engine.client().events(EventFilter::default(), Paging::first(9)).await.unwrap().items;
    for event in stored {
        let expected = if event.message_id == "dry" { BuildMode::DryRun } else { BuildMode::Real };
        assert_eq!(event.mode, expected, "{}", event.message_id);
    }
    assert!(!world.submitted().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_cancels_no_real_event() {
    for world in each() {
        world.builds.hold(&"app".into());
        let cancels = |_: Request, _: Context| async { Ok(Decision::Cancel(vec![EventId(1)])) };
        let engine = world.builder().on(rebuild).on_as("cancels", cancels).build().unwrap();
        let client = engine.client();
        client.send(&pushed("base")).await.unwrap();
        engine.run_until(until(async || world.submitted() == ["app"])).await.unwrap();
        assert_eq!(events(&client).await[0].id, EventId(1));
        for (dry, state) in [(true, EventState::Building), (false, EventState::Canceled)] {
            let message = client.send(&request(dry)).await.unwrap();
            engine.run_until(async { drop(client.wait_until_handled(&message).await.unwrap()) }).await.unwrap();
            let event = client.event(EventId(1)).await.unwrap();
            assert!(event.state == state || (!dry && event.cancel_at.is_some()), "dry: {dry}: {event:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_a_dry_run_is_one() {
    for world in each() {
        let engine = world.builder().on(rebuild).build().unwrap();
        let client = engine.client();
        let mut message = Message::of("dry", &pushed("base")).unwrap();
        message.headers.insert(Message::DRY_RUN.to_owned(), "true".to_owned());
        world.bus.send(message);
        world.settle(&engine).await;
        client.retry(EventId(1), RetryPart::Whole, "kim").await.unwrap();
        world.settle(&engine).await;
        let complete = EventState::Complete;
        assert_eq!(modes(&client).await, [(BuildMode::DryRun, complete); 2]);
        assert_eq!(world.submitted(), [""; 0]);
    }
}

/// The history is that of real events: a dry run says what a real event would do. Another dry run
/// is there by its number alone.
#[tokio::test(start_paused = true)]
async fn a_single_dry_run_sees_what_a_real_event_sees() {
    let world = World::new();
    let seen = |event: Request, cx: Context| async move {
        let earlier = cx.history().events(EventFilter::default()).await?.len();
        let dry = cx.history().event(EventId(1)).await?.is_some();
        let dry_run = format!("{:?}", cx.facts());
        assert_eq!(dry_run.contains("\"true\""), event.dry, "{dry_run}");
        Ok(Decision::Skip(format!("{earlier} {dry}")))
    };
    let engine = world.builder().on_as("seen", seen).build().unwrap();
    for (dry, id) in [(true, "1"), (true, "2"), (false, "3"), (true, "4"), (false, "5")] {
        engine.client().send_as(id, &request(dry)).await.unwrap();
        world.settle(&engine).await;
    }
    let told: Vec<_> = events(&engine.client()).await.into_iter().map(|event| event.reason.text).collect();
    assert_eq!(told, ["0 false", "0 true", "0 false", "1 true", "1 false"]);
}

#[test]
fn no_build_system_has_the_name_of_the_queue() {
    let builder = World::new().builder().on(rebuild);
    let built = builder.build_system(DryRun::QUEUE, Arc::new(MemoryBuildSystem::new())).build();
    assert!(matches!(built, Err(ConfigError::ReservedName(name)) if name == DryRun::QUEUE));
}

/// A verifier that is away.
#[derive(Debug)]
struct Away;

#[async_trait]
impl Verifier for Away {
    async fn verify(&self, _: &Made) -> Result<Verification> {
        Err(Error::new(Remedy::Unavailable, "verifier", "connection refused"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_engine_passes_no_real_result() {
    for world in each() {
        let real = world.builder().verifier("builder", Arc::new(Away)).on(rebuild).build().unwrap();
        let client = real.client();
        client.send(&pushed("base")).await.unwrap();
        let verifying = ["app VERIFYING", "site BLOCKED"];
        real.run_until(until(async || builds(&client).await == verifying)).await.unwrap();
        let dry = world.builder().mode(BuildMode::DryRun).on(rebuild).build().unwrap();
        dry.run_until(world.clock.sleep(Duration::from_secs(3600))).await.unwrap();
        assert_eq!(builds(&client).await, verifying);
    }
}

//! Each call of each backend hangs, panics or fails, now and then: the story ends as it should.

use super::{Good, Mood, Trouble, Troubled, TroubledStorage, output, rebuild};
use crate::each;
use crate::telling::Log;
use freshmaker::Engine;
use freshmaker::backend::{BuildSystem, Capabilities, Clock, Remedy};
use freshmaker::rebuild::Observed;
use freshmaker_testing::world::{World, builds, events, message, pushed, until};
use std::sync::Arc;
use std::time::Duration;

const MOODS: [Mood; 3] = [Mood::Hangs, Mood::Panics, Mood::Fails(Remedy::Unavailable)];

fn engine(world: &World, trouble: &Arc<Trouble>) -> Engine {
    engine_with_room(world, trouble, freshmaker::rebuild::ConcurrencyLimits::DEFAULT)
}

/// An engine that has at most so many builds of the system with troubles at a time.
fn engine_with_room(world: &World, trouble: &Arc<Trouble>, room: u32) -> Engine {
    let storage = TroubledStorage { inner: Arc::clone(&world.storage), trouble: Arc::clone(trouble) };
    world
        .builder()
        .storage(Arc::new(storage))
        .bus("troubled", Troubled::new(&world.bus, trouble))
        .catalog("troubled", Troubled::new(&world.catalog, trouble))
        .build_system("troubled", Troubled::new(&world.builds, trouble))
        .verifier("troubled", Troubled::new(&Arc::new(Good), trouble))
        .limit("troubled", room)
        .on(rebuild)
        .build()
        .unwrap()
}

/// `app` and `site` are built by the system with troubles.
fn on_troubled(world: &World) {
    world.catalog.update(|graph| {
        for name in ["app", "site"] {
            graph.insert(super::image(name).with_system("troubled"));
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_call_that_misbehaves_is_made_again() {
    let calls = [
        "session",
        "submit",
        "submit, after it took effect",
        "status",
        "receive",
        "acknowledge",
        "publish",
        "dependents",
        "verify",
        "lease",
        "release",
        "reserve",
        "claim",
        "load",
        "commit",
        "commit, after it took effect",
    ];
    for call in calls {
        for mood in MOODS {
            for world in each() {
                on_troubled(&world);
                // `Unavailable` promises that nothing was done.
                let mood = match mood {
                    Mood::Fails(_) if call.ends_with("took effect") => Mood::Fails(Remedy::Unclear),
                    mood => mood,
                };
                let trouble = Trouble::with(call, mood, 2);
                let engine = engine(&world, &trouble);
                world.bus.send(message("1", "test.pushed", r#"{"image": "base"}"#));
                world.settle(&engine).await;
                let place = format!("{call} {mood:?}");
                assert_eq!(builds(&engine.client()).await, ["app DONE", "site DONE"], "{place}");
                assert_eq!(world.submitted(), ["app", "site"], "{place}: nothing is built twice");
                assert_eq!(events(&engine.client()).await.len(), 1, "{place}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_leaves_open_what_was_started_is_looked_up() {
    for remedy in [Remedy::Unclear, Remedy::Conflict, Remedy::Corrupt, Remedy::Fenced] {
        for world in each() {
            on_troubled(&world);
            let trouble = Trouble::with("submit, after it took effect", Mood::Fails(remedy), 1);
            let engine = engine(&world, &trouble);
            engine.client().send(&pushed("base")).await.unwrap();
            world.settle(&engine).await;
            assert_eq!(builds(&engine.client()).await, ["app DONE", "site DONE"], "{remedy:?}");
            assert_eq!(world.submitted(), ["app", "site"], "{remedy:?}: nothing is sent twice");
            assert_eq!(trouble.calls("find"), 1, "{remedy:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_misbehaves_is_made_again_with_growing_pauses() {
    for call in ["fence", "find"] {
        for mood in MOODS {
            let mut world = World::new();
            let builds_with_time_to_settle = freshmaker::memory::MemoryBuildSystem::new();
            let settle = Duration::from_secs(30);
            let capabilities = Capabilities { settle, ..builds_with_time_to_settle.capabilities() };
            world.builds = Arc::new(builds_with_time_to_settle.with_capabilities(capabilities));
            on_troubled(&world);
            let trouble = Trouble::with(call, mood, 20);
            trouble.moods.lock().unwrap().insert("submit, after it took effect", (Mood::Hangs, 1));
            let engine = engine(&world, &trouble);
            engine.client().send(&pushed("base")).await.unwrap();
            world.settle(&engine).await;
            assert_eq!(builds(&engine.client()).await, ["app DONE", "site DONE"], "{call} {mood:?}");
            assert_eq!(world.submitted(), ["app", "site"], "{call} {mood:?}: nothing is built twice");
            if call == "find" {
                assert_eq!(trouble.calls("fence"), 1, "{mood:?}: the session is closed once");
            }
            let elapsed = world.clock.elapsed();
            assert!(elapsed > Duration::from_secs(3600), "{call} {mood:?}: 20 failures took {elapsed:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_odd_job_hides_no_other() {
    for mood in [
        Mood::Panics,
        Mood::Hangs,
        Mood::Fails(Remedy::Unavailable),
        Mood::Fails(Remedy::Corrupt),
        Mood::Fails(Remedy::Rejected),
    ] {
        let world = World::new();
        let mut graph = freshmaker::ArtifactGraph::new();
        graph.insert(freshmaker::Artifact::new("base", freshmaker::ArtifactKind::Image));
        for name in ["a", "b", "c"] {
            graph.insert(super::image(name).with_system("troubled"));
            graph.depend(name, "base", freshmaker::EdgeKind::ParentImage).unwrap();
            world.builds.hold(&name.into());
        }
        world.catalog.update(|old| *old = graph.clone());
        let trouble = Trouble::about("status", mood, "b");
        let engine = engine(&world, &trouble);
        let client = engine.client();
        client.send(&pushed("base")).await.unwrap();
        let story = async {
            until(|| std::future::ready(world.submitted().len() == 3)).await;
            let odd = world.builds.requests()[1].attempt.to_string();
            *trouble.odd.lock().unwrap() = odd;
            for name in ["a", "b", "c"] {
                world.builds.finish(&name.into(), Observed::Succeeded(output(name)));
            }
            until(|| async { builds(&client).await == ["a DONE", "b BUILDING", "c DONE"] }).await;
            trouble.odd.lock().unwrap().clear();
        };
        engine.run_until(story).await.unwrap();
        world.settle(&engine).await;
        assert_eq!(builds(&client).await, ["a DONE", "b DONE", "c DONE"], "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_cannot_be_stored_is_a_failure() {
    let world = World::new();
    world.builds.hold(&"app".into());
    let trouble = Trouble::about("commit", Mood::Fails(Remedy::Rejected), "odd\\0name");
    let storage = TroubledStorage { inner: Arc::clone(&world.storage), trouble };
    let engine = world.builder().storage(Arc::new(storage)).on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    let story = async {
        until(|| async { builds(&client).await == ["app BUILDING", "site BLOCKED"] }).await;
        world.builds.finish(&"app".into(), Observed::Succeeded(output("odd\0name")));
        until(|| async { builds(&client).await == ["app FAILED", "site DEP_FAILED"] }).await;
    };
    engine.run_until(story).await.unwrap();
    let reason = &events(&client).await[0].reason;
    assert_eq!(reason.code, "all_failed", "{reason}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_logged_when_it_begins_and_when_it_is_over() {
    for (call, stage) in [("commit", "commit"), ("publish", "publish"), ("status", "watch")] {
        let world = World::new();
        on_troubled(&world);
        let log = Log::default();
        let _logged = log.begin();
        let trouble = Trouble::with(call, Mood::Fails(Remedy::Unavailable), 20);
        let engine = engine(&world, &trouble);
        world.bus.send(message("1", "test.pushed", r#"{"image": "base"}"#));
        world.settle(&engine).await;
        assert_eq!(builds(&engine.client()).await, ["app DONE", "site DONE"], "{call}");
        assert_eq!(log.lines(&format!("\"{stage}\"")), 2, "{call}");
        let lines = ["a backend failed; trying again", "a backend works again"].map(|text| log.lines(text));
        assert!(lines[0] == lines[1] && lines[0] > 0, "{call}: {lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_renewed_is_an_outage() {
    let world = World::new();
    let log = Log::default();
    let _logged = log.begin();
    let engine = engine(&world, &Trouble::with("lease", Mood::Fails(Remedy::Unavailable), 2));
    engine.run_until(world.clock.sleep(Duration::from_secs(60))).await.unwrap();
    let lines = ["a backend failed; trying again", "a backend works again"].map(|text| log.lines(text));
    assert_eq!((log.lines("\"lease\""), lines), (2, [1, 1]));
}

/// What is published is not stored as published: that is not the fault of the bus.
#[tokio::test(start_paused = true)]
async fn an_outage_is_that_of_who_has_failed() {
    let world = World::new();
    let log = Log::default();
    let _logged = log.begin();
    let trouble = Trouble::about("commit", Mood::Fails(Remedy::Unavailable), "Position(");
    let storage = TroubledStorage { inner: Arc::clone(&world.storage), trouble };
    let engine = world.builder().storage(Arc::new(storage)).on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    engine.run_until(until(|| async { builds(&client).await == ["app DONE", "site DONE"] })).await.unwrap();
    assert_eq!((log.lines("backend=\"storage\""), log.lines("backend=\"bus\"")), (1, 0));
}

/// A storage that takes nothing from this user refuses no message: it is repeated until it does.
#[tokio::test(start_paused = true)]
async fn a_storage_that_cannot_be_written_costs_nothing_but_time() {
    let world = World::new();
    on_troubled(&world);
    let trouble = Trouble::with("commit", Mood::Fails(Remedy::Unsupported), 20);
    let engine = engine(&world, &trouble);
    world.bus.send(message("1", "test.pushed", r#"{"image": "base"}"#));
    world.settle(&engine).await;
    assert_eq!(builds(&engine.client()).await, ["app DONE", "site DONE"]);
    assert_eq!(engine.client().overview().await.unwrap().messages_dead, 0);
}

/// A storage that cannot read what belongs to one build.
#[tokio::test(start_paused = true)]
async fn a_row_that_cannot_be_read_delays_only_what_needs_it() {
    let world = World::new();
    let mut graph = freshmaker::ArtifactGraph::new();
    for base in ["base", "other"] {
        graph.insert(freshmaker::Artifact::new(base, freshmaker::ArtifactKind::Image));
    }
    for (name, base) in [("a", "base"), ("b", "base"), ("c", "other")] {
        graph.insert(super::image(name).with_system("troubled"));
        graph.depend(name, base, freshmaker::EdgeKind::ParentImage).unwrap();
    }
    world.catalog.update(|old| *old = graph.clone());
    let trouble = Trouble::about("load", Mood::Fails(Remedy::Corrupt), "Builds([BuildId(2)])");
    // It is the first in the queue, and there is room for one.
    let engine = engine_with_room(&world, &trouble, 1);
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    let story = async {
        until(|| async { builds(&client).await == ["a READY", "b DONE"] }).await;
        client.send(&pushed("other")).await.unwrap();
        until(|| async { builds(&client).await == ["a READY", "b DONE", "c DONE"] }).await;
        world.clock.sleep(Duration::from_secs(3600)).await;
        let asked = trouble.calls("load");
        assert!(asked < 200, "{asked} times in an hour");
        trouble.odd.lock().unwrap().clear();
    };
    engine.run_until(story).await.unwrap();
    world.settle(&engine).await;
    assert_eq!(builds(&client).await, ["a DONE", "b DONE", "c DONE"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_to_stop_that_hangs_delays_no_other_end() {
    let world = World::new();
    on_troubled(&world);
    let trouble = Trouble::with("cancel", Mood::Hangs, 3);
    let engine = engine(&world, &trouble);
    let client = engine.client();
    world.builds.hold(&"app".into());
    client.send(&pushed("base")).await.unwrap();
    let story = async {
        until(|| async { builds(&client).await == ["app BUILDING", "site BLOCKED"] }).await;
        let event = events(&client).await[0].id;
        client.cancel(event, "ann").await.unwrap();
        until(|| std::future::ready(trouble.calls("cancel") > 0)).await;
        world.builds.finish(&"app".into(), Observed::Succeeded(output("app")));
        client.wait_for_event(event).await.unwrap();
    };
    engine.run_until(story).await.unwrap();
    assert_eq!(builds(&client).await, ["app CANCELED", "site CANCELED"]);
}

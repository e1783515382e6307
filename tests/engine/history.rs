//! What handlers may read of the past.

use freshmaker::backend::{Clock, EventFilter, Paging};
use freshmaker::memory::{MemoryCatalog, MemoryStorage};
use freshmaker::rebuild::{BuildMode, EventId, EventState, Failure, FailureClass};
use freshmaker::{ArtifactGraph, Context, Decision, HandlerResult, Policy};
use freshmaker_testing::world::{Pushed, World, pushed};
use std::sync::{Arc, Mutex};

/// Rebuilds everything of the world, or says how much of it was built before.
async fn rebuild_once(event: Pushed, cx: Context) -> HandlerResult {
    let about = EventFilter { search_keys: vec![event.image.clone()], ..EventFilter::default() };
    if let Some(earlier) = cx.history().events(about).await?.first() {
        let built = cx.history().built_by(earlier.id).await?;
        let names: Vec<_> = built.iter().rev().map(|build| build.key.artifact.to_string()).collect();
        return Ok(Decision::Skip(format!("event {} has built {}", earlier.id, names.join(", "))));
    }
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(Decision::Rebuild(cx.planner(&graph).await?.changed(event.image, None).plan()?))
}

#[tokio::test(start_paused = true)]
async fn a_handler_sees_what_was_built_well() {
    let world = World::new();
    world.builds.fail_next(&"site".into(), Failure::new(FailureClass::Permanent, "its tests fail"));
    let engine = world.builder().on(rebuild_once).build().unwrap();
    let client = engine.client();
    client.send_as("first", &pushed("base")).await.unwrap();
    world.settle(&engine).await;
    client.send_as("second", &pushed("base")).await.unwrap();
    client.send_as("other", &pushed("app")).await.unwrap();
    world.settle(&engine).await;
    let mut events = client.events(EventFilter::default(), Paging::first(9)).await.unwrap().items;
    events.sort_by(|one, other| one.message_id.cmp(&other.message_id));
    let [first, other, second] = &events[..] else { panic!("{events:?}") };
    assert_eq!((first.builds_done, first.builds_failed), (1, 1));
    assert_eq!(second.reason.text, format!("event {} has built app", first.id));
    assert_eq!(other.state, EventState::Complete, "another search key");
}

/// A run that only pretends leaves nothing behind that a real one would build on, and the reverse.
#[tokio::test(start_paused = true)]
async fn a_dry_run_is_no_history_of_a_real_one() {
    let world = World::new();
    for (mode, id) in [(BuildMode::DryRun, "dry"), (BuildMode::Real, "real"), (BuildMode::DryRun, "dry again")] {
        let engine = world.builder().mode(mode).on(rebuild_once).build().unwrap();
        engine.client().send_as(id, &pushed("base")).await.unwrap();
        world.settle(&engine).await;
    }
    assert_eq!(world.submitted(), ["app", "site"], "the real one was built");
    let stored = world.storage.reads().events(EventFilter::default(), Paging::first(9)).await.unwrap().items;
    let outside = context().with_history(world.storage.clone()).history();
    for event in &stored {
        let seen = outside.event(event.id).await.unwrap().is_some();
        assert_eq!(seen, event.message_id == "real", "a context outside is real: {event:?}");
    }
    let states: Vec<_> = stored.iter().map(|event| event.state).collect();
    assert_eq!(states, [EventState::Skipped, EventState::Complete, EventState::Complete], "newest first");
}

fn context() -> Context {
    let catalog = Arc::new(MemoryCatalog::new(ArtifactGraph::new()));
    Context::outside(catalog, Policy::allow_all(), Default::default())
}

#[tokio::test]
async fn outside_an_engine_nothing_is_known() {
    let history = context().history();
    assert!(!history.is_known());
    assert!(history.events(EventFilter::default()).await.unwrap().is_empty());
    assert_eq!(history.event(EventId(1)).await.unwrap(), None);
    assert!(history.built_by(EventId(1)).await.unwrap().is_empty());
    assert_eq!(history.plan(EventId(1)).await.unwrap(), None);
    let known = context().with_history(Arc::new(MemoryStorage::new())).history();
    assert!(known.is_known() && known.event(EventId(1)).await.unwrap().is_none());
}

/// The decision of an event that was overtaken by another one rests on what that one has stored.
#[tokio::test(start_paused = true)]
async fn two_at_once_do_not_both_miss_each_other() {
    let world = World::new();
    let asked = Arc::new(Mutex::new(0));
    let (count, clock) = (asked.clone(), world.clock.clone());
    let slow = move |event: Pushed, cx: Context| {
        let (count, clock) = (count.clone(), clock.clone());
        async move {
            *count.lock().unwrap() += 1;
            let known = cx.history().events(EventFilter::default()).await?.len();
            if known > 0 {
                return Ok(Decision::Skip(format!("{known} before it")));
            }
            clock.sleep(std::time::Duration::from_secs(5)).await;
            rebuild_once(event, cx).await
        }
    };
    let engine = world.builder().on_as("slow", slow).build().unwrap();
    for id in ["a", "b"] {
        engine.client().send_as(id, &pushed("base")).await.unwrap();
    }
    world.settle(&engine).await;
    assert_eq!(world.submitted(), ["app", "site"], "built once");
    assert!(*asked.lock().unwrap() >= 2);
}

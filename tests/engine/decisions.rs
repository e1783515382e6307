//! What becomes of decisions, and of handlers that fail.

use crate::each;
use freshmaker::backend::{BuildSystem, Capabilities, Clock, Error, EventFilter, Paging, Remedy};
use freshmaker::client::Client;
use freshmaker::graph::EdgeKind;
use freshmaker::handler::{RebuildRequested, rebuild_requested};
use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog};
use freshmaker::rebuild::{BuildMode, BuildState, EventId, EventState, InboxRecord, InboxState};
use freshmaker::time::since;
use freshmaker::{Artifact, ArtifactKind, Context, Decision, HandlerResult, Message, Plan};
use freshmaker_testing::world::{Pushed, World, builds, events, graph, message, only, pushed, until};
use futures_util::pin_mut;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

async fn plan(event: &Pushed, cx: &Context) -> Result<Plan, freshmaker::backend::BoxError> {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(graph.planner().changed(event.image.as_str(), None).plan()?)
}

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    Ok(Decision::Rebuild(plan(&event, &cx).await?))
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_fails_its_event_and_nothing_else() {
    let world = World::new();
    let panics = |event: Pushed, cx| async move {
        assert_ne!(event.image, "site", "as planned");
        rebuild(event, cx).await
    };
    let engine = world.builder().on_as("panics", panics).build().unwrap();
    let client = engine.client();
    for image in ["base", "site", "base"] {
        client.send(&pushed(image)).await.unwrap();
    }
    world.settle(&engine).await;
    let mut states: Vec<_> = events(&client).await.iter().map(|it| (it.state, it.reason.text.clone())).collect();
    states.sort_unstable();
    assert_eq!(states.iter().filter(|(state, _)| *state == EventState::Complete).count(), 2);
    let (state, text) = states.last().unwrap();
    assert_eq!(*state, EventState::Failed);
    assert!(text.starts_with("the handler panicked: ") && text.contains("as planned"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn everything_else_goes_on_while_a_large_plan_becomes_rows() {
    let mut polls = Vec::new();
    for images in [1_u32, 4000] {
        let mut world = World::new();
        let mut graph = graph();
        for number in 0..images {
            let name = format!("image{number}");
            graph.insert(Artifact::new(name.as_str(), ArtifactKind::Image).with_source("here", None));
            graph.depend(name, "base", EdgeKind::ParentImage).unwrap();
        }
        world.catalog = Arc::new(MemoryCatalog::new(graph));
        let engine = world.builder().on(rebuild).build().unwrap();
        let client = engine.client();
        client.pause("builder", "the test counts", "nobody").await.unwrap();
        client.send(&pushed("base")).await.unwrap();
        let stored = until(async || !events(&client).await.is_empty());
        pin_mut!(stored);
        let mut count = 0;
        engine
            .run_until(poll_fn(|cx| {
                count += 1;
                stored.as_mut().poll(cx)
            }))
            .await
            .unwrap();
        polls.push(count);
    }
    // There are four steps at least for the hash, names, places and connections, and eight for the
    // commit; a stage may make two of them in a row.
    assert!(polls[1] >= polls[0] + (4 * 4 + 8) / 2, "{polls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_errs_fails_its_event_with_the_reason() {
    for (handler_plans, expected) in [(false, "there is no artifact nobody"), (true, "no artifact nobody is known")] {
        let world = World::new();
        let handler = move |event: Pushed, cx: Context| async move {
            if handler_plans {
                let graph = cx.catalog().dependents(&["base".into()]).await?;
                return Ok(Decision::Rebuild(graph.planner().rebuild(event.image).plan()?));
            }
            rebuild(event, cx).await
        };
        let engine = world.builder().on_as("handler", handler).build().unwrap();
        engine.client().send(&pushed("nobody")).await.unwrap();
        world.settle(&engine).await;
        let (state, code, text) = only(&engine.client()).await;
        assert_eq!((state, code.as_str()), (EventState::Failed, "handler_failed"));
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_down_for_a_while_fails_nothing() {
    for remedy in [Remedy::Unavailable, Remedy::Unclear, Remedy::Conflict, Remedy::Corrupt] {
        let world = World::new();
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        let handler = move |event: Pushed, cx: Context| {
            let call = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                // More often than a message may be handled: these do not count.
                if call < 8 { Err(Error::new(remedy, "somewhere", "down").into()) } else { rebuild(event, cx).await }
            }
        };
        let mut limits = freshmaker::rebuild::Limits::default();
        // Longer than an engine sleeps between two looks at the storage.
        limits.backoff_first = Duration::from_secs(10);
        assert!(limits.message_tries_max < 8);
        let engine = world.builder().on_as("handler", handler).limits(limits).build().unwrap();
        engine.client().send_as("m1", &pushed("base")).await.unwrap();
        world.settle(&engine).await;
        assert_eq!(calls.load(Ordering::SeqCst), 9);
        assert_eq!(only(&engine.client()).await.0, EventState::Complete);
        let message = world.storage.reads().message(Client::LOCAL, "m1").await.unwrap().unwrap();
        assert_eq!((message.waits, message.tries), (8, 0));
        let waited = since(events(&engine.client()).await[0].created_at, message.received_at);
        assert!(waited >= Duration::from_secs(10 + 20 + 40 + 80 + 160 + 3 * 300), "pauses double: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn emitted_events_reach_their_handlers() {
    for world in each() {
        let emits = |event: Pushed, _| async move {
            let artifacts = vec![event.image];
            let request = RebuildRequested { artifacts, dependents: false, requester: None };
            Ok(Decision::Emit(vec![Message::of("", &request)?]))
        };
        let engine = world.builder().on_as("emits", emits).on(rebuild_requested).build().unwrap();
        engine.client().send_as("h1", &pushed("app")).await.unwrap();
        world.settle(&engine).await;
        let events = events(&engine.client()).await;
        assert_eq!((events.len(), events[0].handler.as_str()), (1, "rebuild_requested"));
        assert_eq!(events[0].message_id, "local/h1/emits/0", "emitting twice would give it the same name");
        assert_eq!(builds(&engine.client()).await, ["app DONE"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_can_cancel_what_no_longer_counts() {
    let world = World::new();
    world.builds.hold(&"app".into());
    let last = Arc::new(AtomicU32::new(0));
    let known = last.clone();
    let handler = move |event: Pushed, cx: Context| {
        let earlier = EventId(known.load(Ordering::SeqCst).into());
        async move { if event.image == "stop" { Ok(Decision::Cancel(vec![earlier])) } else { rebuild(event, cx).await } }
    };
    let engine = world.builder().on_as("handler", handler).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    let outside = async {
        until(|| std::future::ready(world.submitted() == ["app"])).await;
        let event = events(&client).await.remove(0).id;
        last.store(u32::try_from(event.0).unwrap(), Ordering::SeqCst);
        client.send_as("stop", &pushed("stop")).await.unwrap();
        client.wait_until_idle().await;
    };
    engine.run_until(outside).await.unwrap();
    assert_eq!(only(&client).await.0, EventState::Canceled);
    assert_eq!(builds(&client).await, ["app CANCELED", "site CANCELED"]);
    let stored = world.storage.reads().message("local", "stop").await.unwrap().unwrap();
    assert_eq!(stored.state, InboxState::Done);
}

#[tokio::test(start_paused = true)]
async fn the_handle_cancels_what_runs() {
    for world in each() {
        world.builds.hold(&"app".into());
        let engine = world.builder().on(rebuild).build().unwrap();
        let client = engine.client();
        client.send(&pushed("base")).await.unwrap();
        let outside = async {
            until(|| std::future::ready(world.submitted() == ["app"])).await;
            let event = events(&client).await.remove(0).id;
            client.cancel(event, "somebody").await.unwrap();
            assert_eq!(client.cancel(event, "somebody").await.unwrap_err().remedy, Remedy::Rejected);
            client.wait_until_idle().await;
        };
        engine.run_until(outside).await.unwrap();
        assert_eq!(only(&client).await.0, EventState::Canceled);
        assert_eq!(builds(&client).await, ["app CANCELED", "site CANCELED"]);
        assert_eq!(client.cancel(EventId(999), "somebody").await.unwrap_err().remedy, Remedy::NotFound);
    }
}

#[tokio::test(start_paused = true)]
async fn a_system_that_nobody_registered_fails_the_event_with_the_choice() {
    let world = World::new();
    world.catalog.update(|graph| {
        graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app", None).with_system("nowhere"));
    });
    let engine = world.builder().on(rebuild).build().unwrap();
    engine.client().send(&pushed("base")).await.unwrap();
    world.settle(&engine).await;
    let (state, code, text) = only(&engine.client()).await;
    assert_eq!((state, code.as_str()), (EventState::Failed, "no_build_system"));
    assert_eq!(text, "app is built by \"nowhere\", but registered are only: builder");
    let engine = world.builder().build_system("second", World::new().builds).on(rebuild).build().unwrap();
    world.catalog.set(graph());
    engine.client().send(&pushed("base")).await.unwrap();
    world.settle(&engine).await;
    let text = events(&engine.client()).await.remove(1).reason.text;
    assert_eq!(text, "the artifact app names no build system, and there is not exactly one: builder, second");
}

#[tokio::test(start_paused = true)]
async fn a_stored_build_of_a_system_that_is_not_registered_is_left_to_others() {
    let world = World::new();
    let before = world.builder().limit("builder", 0).on(rebuild).build().unwrap();
    let client = before.client();
    client.send(&pushed("base")).await.unwrap();
    let planned = || async { client.overview().await.unwrap().builds_waiting == 2 };
    before.run_until(until(planned)).await.unwrap();
    let after = freshmaker::Engine::builder().storage(world.storage.clone()).on(rebuild);
    let after = after.catalog("images", world.catalog.clone()).build_system("other", world.builds.clone()).build();
    let after = after.unwrap();
    after.run_until(world.clock.sleep(Duration::from_secs(3600))).await.unwrap();
    assert_eq!(builds(&client).await, ["app READY", "site BLOCKED"]);
    let again = world.builder().on(rebuild).build().unwrap();
    world.settle(&again).await;
    assert_eq!(builds(&client).await, ["app DONE", "site DONE"]);
}

#[tokio::test(start_paused = true)]
async fn two_handlers_of_a_kind_make_two_events_and_share_builds() {
    for world in each() {
        let second = |_: Pushed, _: Context| async { Ok(Decision::Skip("not mine".into())) };
        let third = |event: Pushed, cx: Context| rebuild(event, cx);
        let engine = world.builder().on(rebuild).on_as("second", second).on_as("third", third).build().unwrap();
        world.bus.send(message("m1", "test.pushed", r#"{"image":"base"}"#));
        world.settle(&engine).await;
        let events = events(&engine.client()).await;
        let told: Vec<_> = events.iter().map(|event| (event.handler.as_str(), event.state)).collect();
        let complete = EventState::Complete;
        assert_eq!(told, [("rebuild", complete), ("second", EventState::Skipped), ("third", complete)]);
        assert_eq!(world.submitted(), ["app", "site"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_submits_nothing_and_says_that_it_is_one() {
    for world in each() {
        let engine = world.builder().mode(BuildMode::DryRun).on(rebuild).build().unwrap();
        let client = engine.client();
        client.send(&pushed("base")).await.unwrap();
        world.settle(&engine).await;
        assert_eq!(world.submitted(), [""; 0]);
        let events = client.events(EventFilter::default(), Paging::first(1)).await.unwrap().items;
        assert_eq!((events[0].state, events[0].mode), (EventState::Complete, BuildMode::DryRun));
        let real = world.builder().on(rebuild).build().unwrap();
        client.send(&pushed("base")).await.unwrap();
        world.settle(&real).await;
        assert_eq!(world.submitted(), ["app", "site"], "what was pretended is not taken for built");
        let of = freshmaker::backend::BuildFilter { states: vec![BuildState::Done], ..Default::default() };
        assert_eq!(client.builds(of, Paging::first(10).counted()).await.unwrap().total, Some(4));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_leaves_real_builds_alone() {
    for world in each() {
        world.builds.hold(&"app".into());
        let real = world.builder().on(rebuild).build().unwrap();
        let client = real.client();
        client.send(&pushed("base")).await.unwrap();
        let running = until(async || builds(&client).await == ["app BUILDING", "site BLOCKED"]);
        real.run_until(running).await.unwrap();

        let dry = world.builder().mode(BuildMode::DryRun).on(rebuild).build().unwrap();
        dry.client().send(&pushed("base")).await.unwrap();
        let pretended =
            until(async || builds(&client).await.len() == 4 && builds(&client).await[2..] == ["app DONE", "site DONE"]);
        dry.run_until(pretended).await.unwrap();
        assert_eq!(builds(&client).await[..2], ["app BUILDING", "site BLOCKED"]);
        assert_eq!(world.submitted(), ["app"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_real_engine_only_pretends_what_a_dry_run_has_left() {
    for world in each() {
        let dry = world.builder().mode(BuildMode::DryRun).on(rebuild).build().unwrap();
        let client = dry.client();
        client.send(&pushed("base")).await.unwrap();
        dry.run_until(until(async || !builds(&client).await.is_empty())).await.unwrap();
        world.settle(&world.builder().on(rebuild).build().unwrap()).await;
        assert_eq!(builds(&client).await, ["app DONE", "site DONE"]);
        assert_eq!(world.submitted(), [""; 0]);
    }
}

/// Rebuilds both of two images, of which one is taken to be built from the other.
fn both(child: &str, parent: &str) -> HandlerResult {
    let mut graph = freshmaker::ArtifactGraph::new();
    for image in [child, parent] {
        graph.insert(Artifact::new(image, ArtifactKind::Image).with_source(image, None));
    }
    graph.depend(child, parent, freshmaker::EdgeKind::ParentImage)?;
    Ok(Decision::Rebuild(graph.planner().rebuild(parent).plan()?))
}

#[tokio::test(start_paused = true)]
async fn handlers_that_contradict_each_other_do_not_wait_for_ever() {
    for world in each() {
        let first = |_: Pushed, _: Context| async { both("a", "b") };
        let second = |_: Pushed, _: Context| async { both("b", "a") };
        let engine = world.builder().on_as("first", first).on_as("second", second).build().unwrap();
        engine.client().send(&pushed("base")).await.unwrap();
        world.settle(&engine).await;
        let states: Vec<_> =
            events(&engine.client()).await.into_iter().map(|event| (event.state, event.reason.code)).collect();
        assert_eq!(states, [(EventState::Complete, "complete".into()), (EventState::Failed, "contradiction".into())]);
    }
}

/// Three branches of one image: one is built, one comes next, and there is no place for a third.
#[tokio::test(start_paused = true)]
async fn what_waits_for_builds_for_a_day_is_a_dead_letter() {
    let mut world = World::new();
    let builds = MemoryBuildSystem::new();
    let capabilities = Capabilities { poll: Duration::from_secs(600), ..builds.capabilities() };
    world.builds = Arc::new(builds.with_capabilities(capabilities));
    world.builds.hold(&"app".into());
    let engine = world.builder().on(rebuild).build().unwrap();
    let client = engine.client();
    let story = async {
        for branch in ["one", "two", "three"] {
            let mut app = Artifact::new("app", ArtifactKind::Image).with_source("app", None);
            app = app.with_parameter("branch", branch);
            world.catalog.update(|graph| graph.insert(app));
            client.send_as(branch, &pushed("base")).await.unwrap();
            let is_seen = |sent: InboxRecord| sent.waits > 0 || sent.state == InboxState::Done;
            until(|| async { client.message(Client::LOCAL, branch).await.is_ok_and(is_seen) }).await;
        }
        world.clock.sleep(Duration::from_secs(12 * 3600)).await;
        assert_eq!(client.message(Client::LOCAL, "three").await.unwrap().state, InboxState::New, "it waits");
        world.clock.sleep(Duration::from_secs(24 * 3600)).await;
    };
    engine.run_until(story).await.unwrap();
    let third = client.message(Client::LOCAL, "three").await.unwrap();
    assert_eq!((third.state, third.reason.unwrap().code.as_str()), (InboxState::Dead, "waits_for_builds"));
}

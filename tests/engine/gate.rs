//! Plans that are too large to be started unasked.

use crate::each;
use freshmaker::artifact::Digest;
use freshmaker::backend::Remedy;
use freshmaker::policy::Policy;
use freshmaker::rebuild::{EventId, EventRecord, EventState, InboxState};
use freshmaker::{Artifact, ArtifactKind, Context, Decision, EdgeKind, Engine, HandlerResult, Message};
use freshmaker_testing::world::{Pushed, World, builds, events, message, pushed};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let image = [event.image.into()];
    Ok(Decision::Rebuild(cx.catalog().dependents(&image).await?.plan(&image, cx.policy())?))
}

async fn last(engine: &Engine) -> EventRecord {
    events(&engine.client()).await.pop().unwrap()
}

/// The event that asks; it has its plan, but no builds.
async fn asking(world: &World, engine: &Engine) -> (EventId, Digest) {
    world.settle(engine).await;
    let event = last(engine).await;
    assert_eq!((event.state, event.reason.code.as_str()), (EventState::Skipped, "ask_first"));
    assert_eq!((event.builds_open, event.builds_done, event.builds_failed), (0, 0, 0));
    let plan = engine.client().plan(event.id).await.unwrap().unwrap();
    assert_eq!(Some(plan.hash()), event.plan);
    (event.id, plan.hash())
}

#[tokio::test(start_paused = true)]
async fn a_large_plan_waits_for_somebody_to_confirm_it() {
    for world in each() {
        let policy = Policy::allow_all().with_ask_above(1);
        let engine = world.builder().policy(policy).on(rebuild).build().unwrap();
        let client = engine.client();
        client.send(&pushed("base")).await.unwrap();
        let (event, plan) = asking(&world, &engine).await;
        let text =
            format!("the plan has 2 builds, more than the 1 that are started unasked; confirm plan {plan} to start it");
        assert_eq!(last(&engine).await.reason.text, text);
        assert_eq!(world.submitted(), [""; 0]);

        let message = client.confirm(event, &plan).await.unwrap();
        assert_eq!(client.confirm(event, &plan).await.unwrap(), message, "twice is the same as once");
        world.settle(&engine).await;
        assert_eq!(builds(&client).await, ["app DONE", "site DONE"]);
        assert_eq!((last(&engine).await.state, events(&client).await.len()), (EventState::Complete, 2));

        // Small enough by itself.
        client.send(&pushed("app")).await.unwrap();
        world.settle(&engine).await;
        assert_eq!(last(&engine).await.state, EventState::Complete);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_confirmed_is_the_plan_that_was_seen() {
    let world = World::new();
    let engine = world.builder().policy(Policy::allow_all().with_ask_above(1)).on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    let (event, plan) = asking(&world, &engine).await;
    world.catalog.update(|graph| {
        graph.insert(Artifact::new("shop", ArtifactKind::Image).with_source("shop", None));
        graph.depend("shop", "site", EdgeKind::ParentImage).unwrap();
    });
    client.confirm(event, &plan).await.unwrap();
    let (larger, other) = asking(&world, &engine).await;
    assert!(larger > event && other != plan);
    assert!(last(&engine).await.reason.text.starts_with("the plan has 3 builds"));
    assert_eq!(world.submitted(), [""; 0]);
    client.confirm(larger, &other).await.unwrap();
    world.settle(&engine).await;
    assert_eq!(builds(&client).await, ["app DONE", "shop DONE", "site DONE"]);
}

#[tokio::test(start_paused = true)]
async fn only_what_asks_can_be_confirmed() {
    let world = World::new();
    let engine = world.builder().policy(Policy::allow_all().with_ask_above(1)).on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("app")).await.unwrap();
    world.settle(&engine).await;
    let complete = last(&engine).await;
    client.send(&pushed("base")).await.unwrap();
    let (event, plan) = asking(&world, &engine).await;
    for (event, plan, remedy, text) in [
        (EventId(999), &plan, Remedy::NotFound, "there is no event 999"),
        (
            complete.id,
            &complete.plan.unwrap(),
            Remedy::Rejected,
            "does not ask for anything: its only build ended well",
        ),
        (event, &Digest::of(b"another"), Remedy::Rejected, "asks about another plan: the plan has 2 builds"),
    ] {
        let error = client.confirm(event, plan).await.unwrap_err();
        assert_eq!(error.remedy, remedy);
        assert!(error.to_string().contains(text), "{error}");
    }
    let renamed = world.builder().on_as("renamed", rebuild).build().unwrap();
    let error = renamed.client().confirm(event, &plan).await.unwrap_err();
    assert!(error.to_string().contains(r#"no handler is called "rebuild" any more"#), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_concerns_one_handler() {
    let world = World::new();
    let policy: Policy = serde_json::from_value(serde_json::json!({"handler": {"large": {"ask_above": 0}}})).unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let small = move |_: Pushed, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok(Decision::Skip("seen".into())) }
    };
    let engine = world.builder().policy(policy).on_as("small", small).on_as("large", rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    let (event, plan) = asking(&world, &engine).await;
    client.confirm(event, &plan).await.unwrap();
    world.settle(&engine).await;
    assert_eq!((last(&engine).await.state, last(&engine).await.handler.as_str()), (EventState::Complete, "large"));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_can_come_by_a_bus() {
    let world = World::new();
    let engine = world.builder().policy(Policy::allow_all().with_ask_above(0)).on(rebuild).build().unwrap();
    world.bus.send(message("m1", "test.pushed", r#"{"image": "base"}"#));
    let (_, plan) = asking(&world, &engine).await;
    for (id, hash) in [("m2", "no digest".to_owned()), ("m3", Digest::of(b"another").to_string())] {
        let mut again = message(id, "test.pushed", r#"{"image": "base"}"#);
        again.headers.insert(Message::CONFIRMS.into(), hash);
        world.bus.send(again);
        assert_eq!(asking(&world, &engine).await.1, plan);
    }
    let mut again = message("m4", "test.pushed", r#"{"image": "base"}"#);
    again.headers.insert(Message::CONFIRMS.into(), plan.to_string());
    world.bus.send(again);
    world.settle(&engine).await;
    assert_eq!(last(&engine).await.state, EventState::Complete);
    let stored = engine.client().message("bus", "m4").await.unwrap();
    assert_eq!(stored.state, InboxState::Done);
}

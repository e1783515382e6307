//! Engines that stop, die, come back and live side by side.

use crate::each;
use freshmaker::backend::DueLimits;
use freshmaker::rebuild::{EventState, Observed, Output, RunId};
use freshmaker::{Context, Decision, Engine, HandlerResult};
use freshmaker_testing::world::{Pushed, World, builds, events, only, pushed, until};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(Decision::Rebuild(graph.planner().changed(event.image, None).plan()?))
}

fn engine(world: &World) -> Engine {
    world.builder().on(rebuild).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn engines_beside_each_other_do_not_meet() {
    let (one, two) = (World::new(), World::new());
    two.catalog.update(|graph| graph.remove(&"site".into()));
    let (first, second) = (engine(&one), engine(&two));
    first.client().send(&pushed("base")).await.unwrap();
    second.client().send(&pushed("base")).await.unwrap();
    tokio::join!(one.settle(&first), two.settle(&second));
    assert_eq!(builds(&first.client()).await, ["app DONE", "site DONE"]);
    assert_eq!(builds(&second.client()).await, ["app DONE"]);
    assert_eq!(only(&second.client()).await.0, EventState::Complete);
}

#[tokio::test(start_paused = true)]
async fn a_graceful_end_leaves_nothing_half_done() {
    for world in each() {
        world.builds.hold(&"app".into());
        let first = engine(&world);
        first.client().send(&pushed("base")).await.unwrap();
        first.run_until(until(|| std::future::ready(world.submitted() == ["app"]))).await.unwrap();
        assert_eq!(world.storage.reads().check_consistency().await.unwrap(), []);
        assert_eq!(builds(&first.client()).await, ["app BUILDING", "site BLOCKED"]);
        let due = world
            .storage
            .reads()
            .due(RunId::NONE, DueLimits { ready: 9, attempts: 9, pause_max: Duration::from_secs(300) })
            .await
            .unwrap();
        assert!(due.attempts.iter().all(|(attempt, _)| attempt.external.is_some()), "{due:?}");
        let output = Output { name: "app".into(), digest: None, contents: None };
        world.builds.finish(&"app".into(), Observed::Succeeded(output));
        let second = engine(&world);
        world.settle(&second).await;
        assert_eq!(builds(&second.client()).await, ["app DONE", "site DONE"]);
        assert_eq!(world.submitted(), ["app", "site"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_can_be_dropped_anywhere_and_another_one_finishes() {
    for steps in 1.. {
        // Each call of this one is a step, or several.
        let [_, world] = each();
        let first = engine(&world);
        let client = first.client();
        client.send(&pushed("base")).await.unwrap();
        let died = {
            let (mut life, mut idle) = (pin!(first.run_until(std::future::pending())), pin!(client.wait_until_idle()));
            let mut left = steps;
            poll_fn(|context| {
                left -= 1;
                match (left, life.as_mut().poll(context), idle.as_mut().poll(context)) {
                    (0, ..) => Poll::Ready(true),
                    (_, Poll::Pending, Poll::Pending) => Poll::Pending,
                    _ => Poll::Ready(false),
                }
            })
            .await
        };
        let second = engine(&world);
        world.settle(&second).await;
        assert_eq!(only(&second.client()).await.0, EventState::Complete, "after {steps} steps");
        assert_eq!(world.submitted(), ["app", "site"], "after {steps} steps");
        if !died {
            assert!(steps > 5, "it is over after {steps} steps");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_can_run_again() {
    let world = World::new();
    let engine = engine(&world);
    for count in 1..4 {
        engine.client().send(&pushed("base")).await.unwrap();
        world.settle(&engine).await;
        assert_eq!(events(&engine.client()).await.len(), count);
    }
}

//! Clocks that are set back or forward: nothing that is healthy is delayed or ended.

use super::{Trouble, TroubledStorage, output, rebuild};
use crate::each;
use freshmaker::backend::{BuildFilter, BuildSystem, Capabilities, Clock, Paging};
use freshmaker::memory::MemoryBuildSystem;
use freshmaker::rebuild::{AttemptState, Failure, FailureClass, Limits, Observed};
use freshmaker_testing::world::{World, builds, pushed, until};
use std::sync::Arc;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// A build system that is asked once in a minute, since days pass here.
fn slow() -> Arc<MemoryBuildSystem> {
    let builds = MemoryBuildSystem::new();
    let capabilities = Capabilities { poll: Duration::from_secs(60), ..builds.capabilities() };
    Arc::new(builds.with_capabilities(capabilities))
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_delays_nothing() {
    for mut world in each() {
        world.builds = slow();
        let engine = world.builder().on(rebuild).build().unwrap();
        let client = engine.client();
        world.builds.fail_next(&"app".into(), Failure::new(FailureClass::Infrastructure, "no space left"));
        world.builds.hold(&"site".into());
        client.send(&pushed("base")).await.unwrap();
        let story = async {
            // It waits for its next try, until a moment that is now more than an hour away.
            until(|| std::future::ready(world.submitted() == ["app"])).await;
            world.clock.set_back(HOUR);
            let begin = world.clock.elapsed();
            until(|| async { builds(&client).await == ["app DONE", "site BUILDING"] }).await;
            world.clock.set_back(HOUR);
            world.builds.finish(&"site".into(), Observed::Succeeded(output("site")));
            until(|| async { builds(&client).await == ["app DONE", "site DONE"] }).await;
            client.send_as("again", &pushed("base")).await.unwrap();
            until(|| async { builds(&client).await.len() == 4 }).await;
            client.wait_until_idle().await;
            world.clock.elapsed() - begin
        };
        let mut took = Duration::MAX;
        engine.run_until(async { took = story.await }).await.unwrap();
        assert!(took < Duration::from_secs(300), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_forward_ends_nothing_that_is_healthy() {
    for mut world in each() {
        world.builds = slow();
        let engine = world.builder().on(rebuild).build().unwrap();
        let client = engine.client();
        world.builds.hold(&"app".into());
        client.send(&pushed("base")).await.unwrap();
        let story = async {
            until(|| async { builds(&client).await == ["app BUILDING", "site BLOCKED"] }).await;
            world.clock.set_forward(HOUR * 25);
            world.clock.sleep(HOUR).await;
            assert_eq!(builds(&client).await, ["app BUILDING", "site BLOCKED"]);
            world.builds.finish(&"app".into(), Observed::Succeeded(output("app")));
            client.wait_until_idle().await;
        };
        engine.run_until(story).await.unwrap();
        assert_eq!(builds(&client).await, ["app DONE", "site DONE"]);
        assert_eq!(world.submitted(), ["app", "site"], "nothing was tried a second time");
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_in_time_is_stopped_whatever_the_date_is() {
    let mut world = World::new();
    world.builds = slow();
    let mut limits = Limits::default();
    limits.attempt_timeout = HOUR;
    let engine = world.builder().limits(limits).on(rebuild).build().unwrap();
    let client = engine.client();
    world.builds.hold(&"app".into());
    client.send(&pushed("base")).await.unwrap();
    let story = async {
        until(|| async { builds(&client).await == ["app BUILDING", "site BLOCKED"] }).await;
        world.clock.set_back(HOUR * 48);
        client.wait_until_idle().await;
    };
    engine.run_until(story).await.unwrap();
    assert_eq!(builds(&client).await, ["app FAILED", "site DEP_FAILED"]);
    let hours = world.clock.elapsed().as_secs_f64() / 3600.0;
    assert!((3.0..3.2).contains(&hours), "three tries of an hour: {hours}");
}

#[tokio::test(start_paused = true)]
async fn what_was_stored_before_the_process_stood_still_is_not_sent_after_it() {
    for world in each() {
        let trouble = Trouble::suspended("commit, after it took effect", "Intent", &world.clock);
        let storage = TroubledStorage { inner: Arc::clone(&world.storage), trouble };
        let engine = world.builder().storage(Arc::new(storage)).on(rebuild).build().unwrap();
        let client = engine.client();
        client.send(&pushed("base")).await.unwrap();
        world.settle(&engine).await;
        assert_eq!(builds(&client).await, ["app DONE", "site DONE"]);
        let all = client.builds(BuildFilter::default(), Paging::first(2)).await.unwrap().items;
        let app = all.iter().find(|build| build.key.artifact.as_str() == "app").unwrap();
        let attempts = client.attempts(app.id).await.unwrap();
        let mut states: Vec<_> = attempts.iter().map(|attempt| attempt.state).collect();
        // Nothing is sent until the lease was renewed.
        states.dedup();
        assert_eq!(states, [AttemptState::NotSubmitted, AttemptState::Succeeded]);
        assert_eq!(world.submitted(), ["app", "site"], "another run may have looked the first one up");
    }
}

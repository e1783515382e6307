//! What a page asks a client: when it is done, what it waits for, what became of it.

use crate::each;
use freshmaker::backend::{BuildFilter, Clock, EventFilter, Paging, Remedy};
use freshmaker::client::Client;
use freshmaker::handler::{ImagePushed, rebuild_dependents};
use freshmaker::plan::Mark;
use freshmaker::rebuild::{
    BuildId, BuildState, ConcurrencyLimits, EventId, Failure, FailureClass, NextChange, Observed, WaitKind,
};
use freshmaker::time::later;
use freshmaker::{Artifact, ArtifactKind, EdgeKind};
use freshmaker_testing::world::{World, builds, events, until};
use std::time::Duration;

/// `app` and `tool` on `base`, `site` on `app`; nobody has a recipe for `vendor`.
fn worlds() -> [World; 2] {
    each().map(|world| {
        world.catalog.update(|graph| {
            graph.insert(Artifact::new("tool", ArtifactKind::Image).with_source("tool", None));
            graph.depend("tool", "base", EdgeKind::ParentImage).unwrap();
            graph.insert(Artifact::new("vendor", ArtifactKind::Image));
            graph.depend("vendor", "base", EdgeKind::ParentImage).unwrap();
        });
        world
    })
}

async fn id(client: &Client, name: &str) -> BuildId {
    let filter = BuildFilter { artifacts: vec![name.into()], ..BuildFilter::default() };
    client.builds(filter, Paging::first(1)).await.unwrap().items[0].id
}

fn pushed() -> ImagePushed {
    ImagePushed { image: "base".into(), digest: None }
}

#[tokio::test(start_paused = true)]
async fn a_client_tells_when_an_event_ends_and_what_its_builds_wait_for() {
    for world in worlds() {
        world.builds.hold(&"app".into());
        world.builds.hold(&"tool".into());
        let engine = world.builder().on(rebuild_dependents).build().unwrap();
        let limits = ConcurrencyLimits::default();
        // In another process than the engine.
        let client = Client::new(world.storage.clone()).with_clock(world.clock.clone());
        let story = async {
            engine.client().send(&pushed()).await.unwrap();
            let running = ["app BUILDING", "site BLOCKED", "tool BUILDING"];
            until(async || builds(&client).await == running).await;
            world.clock.sleep(Duration::from_secs(240)).await;
            let [app, site] = [id(&client, "app").await, id(&client, "site").await];
            let now = world.clock.now();
            let event = events(&client).await[0].id;
            let forecast = client.forecast(&limits).await.unwrap();
            let whole = forecast.event(event).unwrap();
            assert_eq!((whole.open, whole.critical_path), (3, vec![app, site]));
            let started = forecast.build(app).unwrap().start.unwrap();
            assert_eq!(whole.end, Some(later(started, Duration::from_secs(1200))), "two of 10 minutes each");

            let waits = client.waiting_for(site).await.unwrap().unwrap();
            assert_eq!((waits.kind, waits.blocker, waits.since), (WaitKind::Running, app, Some(started)));
            assert_eq!(waits.next.unwrap().at, later(started, Duration::from_secs(600)));
            assert_eq!(client.waiting_for(app).await.unwrap(), None, "it runs");
            let open = client.open_builds().await.unwrap();
            assert_eq!((open.complete, open.live["builder"]), (true, 2));
            assert_eq!(open.waiting(Some(&forecast)).of(site), Some(waits), "one build and all: the same answer");

            world.builds.finish(&"app".into(), Observed::Failed(Failure::new(FailureClass::Infrastructure, "full")));
            until(async || builds(&client).await[0] == "app READY").await;
            let waits = client.waiting_for(site).await.unwrap().unwrap();
            assert_eq!((waits.kind, waits.next.unwrap().what), (WaitKind::BackOff, NextChange::Retry));
            assert!(waits.since.unwrap() > now && waits.next.unwrap().at > waits.since.unwrap(), "{waits:?}");
            assert!(waits.reason.text.ends_with("which waits a while: full; it is tried again"), "{}", waits.reason);
        };
        engine.run_until(story).await.unwrap();
        let unknown = client.waiting_for(BuildId(404)).await.unwrap_err();
        assert_eq!(unknown.remedy, Remedy::NotFound);
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_system_is_what_its_builds_wait_for() {
    for world in worlds() {
        let engine = world.builder().on(rebuild_dependents).build().unwrap();
        let client = engine.client();
        let story = async {
            client.pause("builder", "the farm is moved", "alice").await.unwrap();
            let since = client.pauses().await.unwrap()[0].since;
            client.send(&pushed()).await.unwrap();
            until(async || builds(&client).await.len() == 3).await;
            let waits = client.waiting_for(id(&client, "site").await).await.unwrap().unwrap();
            assert_eq!((waits.kind, waits.since, waits.next), (WaitKind::Paused, Some(since), None));
            client.resume("builder").await.unwrap();
            client.wait_until_idle().await;
        };
        engine.run_until(story).await.unwrap();
        assert!(client.open_builds().await.unwrap().builds.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn counts_lists_failures_and_times_agree() {
    for world in worlds() {
        let engine = world.builder().on(rebuild_dependents).build().unwrap();
        let client = engine.client();
        client.send(&pushed()).await.unwrap();
        world.settle(&engine).await;
        for _ in 0..2 {
            world.builds.fail_next(&"app".into(), Failure::new(FailureClass::Deterministic, "test stage"));
        }
        let second = client.send(&pushed()).await.unwrap();
        world.settle(&engine).await;
        let event = client.wait_for_message(&second).await.unwrap()[0].id;

        let groups = client.marks(event).await.unwrap();
        let told: Vec<_> = groups.iter().map(|group| (group.mark, group.reason_code.as_str(), group.count)).collect();
        let expected = [(Mark::Failed, "dependency_failed", 1), (Mark::Failed, "failed", 1), (Mark::Done, "built", 1)];
        assert_eq!(told, expected);
        for group in groups {
            let listed = client.builds(group.filter, Paging::first(10).counted()).await.unwrap();
            assert_eq!((listed.total, listed.items.len() as u64), (Some(group.count), group.count));
        }
        let plan = client.plan(event).await.unwrap().unwrap();
        assert_eq!(plan.excluded_by_code()[0].artifacts[0].0.as_str(), "vendor");

        let [failure] = &client.failures(None).await.unwrap()[..] else { panic!("one cause") };
        assert_eq!((failure.system.as_str(), failure.reason_code.as_str(), failure.count), ("builder", "failed", 1));
        let newest = failure.newest.as_ref().unwrap();
        assert_eq!((newest.key.artifact.as_str(), newest.state), ("app", BuildState::Failed));
        assert_eq!(client.failures(Some(later(world.clock.now(), Duration::from_secs(1)))).await.unwrap(), []);
        let listed = client.builds(failure.filter.clone(), Paging::first(10)).await.unwrap().items;
        assert_eq!(listed.len() as u64, failure.count);
        let site = client.waiting_for(id(&client, "site").await).await.unwrap().unwrap();
        assert_eq!((site.kind, site.blocker, site.since), (WaitKind::Failed, newest.id, newest.done_at));

        let times = client.times_to_fix(EventFilter::default(), Paging::first(10)).await.unwrap();
        let [fixed] = &times.events[..] else { panic!("the second has failed builds: {times:?}") };
        assert!(fixed.received_at.unwrap() <= fixed.event.created_at);
        assert_eq!(Some(later(fixed.received_at.unwrap(), fixed.took)), fixed.event.done_at);
        assert_eq!((times.percentile(50), times.percentile(90)), (Some(fixed.took), Some(fixed.took)));
        assert_eq!(client.marks(EventId(404)).await.unwrap(), []);

        // It fails once more, which is one artifact, and is then built well.
        world.builds.fail_next(&"app".into(), Failure::new(FailureClass::Permanent, "no space"));
        client.send(&pushed()).await.unwrap();
        world.settle(&engine).await;
        let [failure] = &client.failures(None).await.unwrap()[..] else { panic!("one cause") };
        assert_eq!(failure.count, 1);
        client.send(&pushed()).await.unwrap();
        world.settle(&engine).await;
        assert_eq!(client.failures(None).await.unwrap(), []);
    }
}

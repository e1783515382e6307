//! Builds that can never be sent, and notifications that can never be published.

use super::{Mood, Trouble, Troubled, image, rebuild};
use crate::each;
use async_trait::async_trait;
use freshmaker::backend::{
    BuildRequest, BuildSystem, Bus, Capabilities, Clock, Delivery, DeliveryTag, Error, Found, Paging, Remedy, Result,
};
use freshmaker::client::Client;
use freshmaker::memory::{MemoryBuildSystem, MemoryBus};
use freshmaker::rebuild::{BuildId, ExternalId, InboxRecord};
use freshmaker::time::Timestamp;
use freshmaker::{ArtifactGraph, EdgeKind, Message};
use freshmaker_testing::world::{World, builds, pushed, until};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Takes everything but images whose names begin with `bad`.
#[derive(Debug, Default)]
struct Picky(MemoryBuildSystem);

#[async_trait]
impl BuildSystem for Picky {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        if request.artifact.as_str().starts_with("bad") {
            return Err(Error::new(Remedy::Unavailable, "proxy", "502 for this one"));
        }
        self.0.submit(request).await
    }

    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>> {
        self.0.find(request, since).await
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        self.0.status(ids).await
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        self.0.cancel(id).await
    }
}

#[tokio::test(start_paused = true)]
async fn builds_that_cannot_be_sent_stop_no_others_of_their_system() {
    let world = World::new();
    let mut graph = ArtifactGraph::new();
    graph.insert(freshmaker::Artifact::new("base", freshmaker::ArtifactKind::Image));
    for name in ["bad-1", "bad-2", "bad-3", "good-1", "good-2", "good-3", "good-4"] {
        graph.insert(image(name).with_system("picky"));
        graph.depend(name, "base", EdgeKind::ParentImage).unwrap();
    }
    world.catalog.update(|old| *old = graph.clone());
    // More that cannot be sent than may run at the same time, and all before the others.
    let builder = world.builder().build_system("picky", Arc::new(Picky::default())).limit("picky", 2);
    let engine = builder.on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    let done = until(|| async { client.overview().await.unwrap().builds_done == 4 });
    let begin = tokio::time::Instant::now();
    engine.run_until(done).await.unwrap();
    assert!(begin.elapsed().as_secs() < 600, "{:?}", begin.elapsed());
    let states = builds(&client).await;
    assert_eq!(states.iter().filter(|state| state.ends_with("READY")).count(), 3, "{states:?}");
    // Each of them is tried again, but less and less often.
    let day = std::time::Duration::from_secs(24 * 3600);
    engine.run_until(world.clock.sleep(day)).await.unwrap();
    let ids = client.builds(Default::default(), freshmaker::backend::Paging::first(9)).await.unwrap().items;
    let bad: Vec<BuildId> = ids.iter().filter(|build| build.output.is_none()).map(|build| build.id).collect();
    for build in bad {
        let attempts = client.attempts(build).await.unwrap().len();
        assert!((50..400).contains(&attempts), "{attempts} attempts in a day");
    }
}

/// The ids of what each bus has got, without repetitions.
fn ids(bus: &MemoryBus) -> BTreeSet<String> {
    bus.published().into_iter().map(|message| message.id).collect()
}

/// Runs an engine for some minutes with a second bus that never takes messages whose ids contain
/// this. Returns the dead letters, and the ids of what the second bus has got.
async fn never_taken(world: &World, odd: &str, minutes: u64) -> (Vec<InboxRecord>, BTreeSet<String>) {
    let trouble = Trouble::about("publish", Mood::Fails(Remedy::Unavailable), odd);
    let picky = Arc::new(MemoryBus::new());
    let engine = world.builder().bus("picky", Troubled::new(&picky, &trouble)).on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    engine.run_until(world.clock.sleep(Duration::from_secs(60 * minutes))).await.unwrap();
    (client.dead_letters(Paging::first(9)).await.unwrap().items, ids(&picky))
}

#[tokio::test(start_paused = true)]
async fn a_notification_that_a_bus_never_takes_stops_no_other() {
    for world in each() {
        let (dead, got) = never_taken(&world, "build:2:1", 60).await;
        let [dead] = &dead[..] else { panic!("one dead letter: {dead:?}") };
        assert_eq!((dead.source.as_str(), dead.message_id.as_str()), (Client::REFUSED, "picky/build:2:1"));
        let mut all = ids(&world.bus);
        assert!(all.remove("build:2:1") && all.len() > 3, "{all:?}");
        assert_eq!(got, all, "it has got everything else");
    }
}

#[tokio::test(start_paused = true)]
async fn a_build_whose_notifications_all_fail_holds_others_up_once() {
    for world in each() {
        let (dead, got) = never_taken(&world, "build:2:", 12).await;
        assert_eq!(dead.len(), 3, "each after the first costs a few tries only");
        let mut all = ids(&world.bus);
        all.retain(|id| !id.starts_with("build:2:"));
        assert_eq!(got, all, "it has got everything else");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_is_down_for_a_day_gets_everything() {
    for world in each() {
        let trouble = Trouble::with("publish", Mood::Fails(Remedy::Unavailable), 2_000);
        let down = Arc::new(MemoryBus::new());
        let engine = world.builder().bus("down", Troubled::new(&down, &trouble)).on(rebuild).build().unwrap();
        let client = engine.client();
        client.send(&pushed("base")).await.unwrap();
        let two_days = world.clock.sleep(Duration::from_secs(2 * 24 * 3600));
        engine.run_until(two_days).await.unwrap();
        assert_eq!(client.dead_letters(Paging::first(9)).await.unwrap().items, []);
        assert_eq!(ids(&down), ids(&world.bus));
        assert!(trouble.calls("publish") < 2_100, "{}", trouble.calls("publish"));
    }
}

/// Panics over each message once before it takes it.
#[derive(Debug, Default)]
struct Stumbling {
    inner: MemoryBus,
    calls: AtomicU32,
}

#[async_trait]
impl Bus for Stumbling {
    async fn receive(&self, limit: usize) -> Result<Vec<Delivery>> {
        self.inner.receive(limit).await
    }

    async fn acknowledge(&self, tags: &[DeliveryTag]) -> Result<()> {
        self.inner.acknowledge(tags).await
    }

    async fn publish(&self, message: &Message) -> Result<()> {
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            std::panic::resume_unwind(Box::new("it stumbles"));
        }
        self.inner.publish(message).await
    }
}

#[tokio::test(start_paused = true)]
async fn panics_over_different_messages_are_not_added_up() {
    let world = World::new();
    let stumbling = Arc::new(Stumbling::default());
    let engine = world.builder().bus("stumbling", stumbling.clone()).on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    engine.run_until(world.clock.sleep(Duration::from_secs(3600))).await.unwrap();
    assert_eq!(client.dead_letters(Paging::first(9)).await.unwrap().items, []);
    let all = ids(&world.bus);
    assert!(all.len() > 5 && ids(&stumbling.inner) == all, "{all:?}");
}

//! How much is done at once, and how soon what can go on does.

use async_trait::async_trait;
use freshmaker::backend::{
    BuildRequest, BuildSystem, Capabilities, Clock, Error, Found, Made, Remedy, Result, Verifier,
};
use freshmaker::memory::MemoryBuildSystem;
use freshmaker::rebuild::{ExternalId, SessionId, Verification};
use freshmaker::time::Timestamp;
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, Context, Decision, EdgeKind, HandlerResult};
use freshmaker_testing::world::{Pushed, TokioClock, World, events, pushed, until};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(Decision::Rebuild(graph.planner().changed(event.image, None).plan()?))
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// So many images that are built from `base`, by this system.
fn beside(count: usize, system: &str) -> ArtifactGraph {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    for number in 0..count {
        let name = format!("image{number}");
        let image = Artifact::new(name.as_str(), ArtifactKind::Image).with_source("x", None);
        graph.insert(image.with_system(system));
        graph.depend(name.as_str(), "base", EdgeKind::ParentImage).unwrap();
    }
    graph
}

/// Counts calls that are under way.
#[derive(Debug, Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    async fn during(&self, clock: &TokioClock, took: Duration) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        clock.sleep(took).await;
        self.now.fetch_sub(1, Ordering::Relaxed);
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

/// Whose sessions and verdicts take ten seconds each.
#[derive(Debug)]
struct Slow(Arc<MemoryBuildSystem>, Arc<TokioClock>, Gauge);

impl Slow {
    fn of(world: &World) -> Arc<Self> {
        Arc::new(Self(world.builds.clone(), world.clock.clone(), Gauge::default()))
    }
}

#[async_trait]
impl BuildSystem for Slow {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn session(&self) -> Result<Option<SessionId>> {
        self.2.during(&self.1, secs(10)).await;
        Err(Error::new(Remedy::Unavailable, "slow", "nobody answers"))
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
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

#[async_trait]
impl Verifier for Slow {
    async fn verify(&self, _: &Made) -> Result<Verification> {
        self.2.during(&self.1, secs(10)).await;
        Ok(Verification::Passed(None))
    }
}

/// A build counts against the limit from the moment at which it was chosen.
#[tokio::test(start_paused = true)]
async fn no_more_builds_are_begun_than_may_run() {
    let world = World::new();
    world.catalog.set(beside(20, "slow"));
    let slow = Slow::of(&world);
    let engine = world.builder().build_system("slow", slow.clone()).limit("slow", 3).on(rebuild);
    let engine = engine.build().unwrap();
    engine.client().send(&pushed("base")).await.unwrap();
    engine.run_until(world.clock.sleep(secs(120))).await.unwrap();
    assert!((1..=3).contains(&slow.2.most()), "{} sessions were opened at once", slow.2.most());
}

#[tokio::test(start_paused = true)]
async fn eight_results_of_a_build_system_are_verified_at_once() {
    let world = World::new();
    world.catalog.set(beside(30, "builder"));
    let slow = Slow::of(&world);
    let engine = world.builder().verifier("builder", slow.clone()).on(rebuild).build().unwrap();
    engine.client().send(&pushed("base")).await.unwrap();
    world.settle(&engine).await;
    assert_eq!(slow.2.most(), 8);
}

/// What a run has left behind is free when the next one begins, and not when its lease expires.
#[tokio::test(start_paused = true)]
async fn the_next_run_of_an_engine_need_not_wait_for_the_lease_of_the_last_one() {
    let world = World::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let handler = {
        let asked = asked.clone();
        move |_: Pushed, _: Context| {
            let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                if first {
                    std::future::pending::<()>().await;
                }
                HandlerResult::Ok(Decision::Ignore)
            }
        }
    };
    let engine = world.builder().on_as("hangs once", handler).build().unwrap();
    engine.client().send(&pushed("base")).await.unwrap();
    tokio::select! {
        _ = engine.run_until(std::future::pending::<()>()) => unreachable!("it runs until it is dropped"),
        () = until(|| ready(asked.load(Ordering::Relaxed) == 1)) => {}
    }
    let began = world.clock.elapsed();
    engine.run_until(until(|| ready(asked.load(Ordering::Relaxed) == 2))).await.unwrap();
    let took = world.clock.elapsed() - began;
    assert!(took < secs(2), "the message came back after {took:?}");
}

/// An engine that has nothing to write notices all the same that it may not.
#[tokio::test(start_paused = true)]
async fn an_idle_run_that_has_lost_its_lease_ends() {
    let world = World::new();
    let engine = world.builder().replica("one").on(rebuild).build().unwrap();
    let client = engine.client();
    let run = async || client.replicas().await.unwrap().first().map(|replica| replica.run);
    let story = async {
        until(async || run().await.is_some()).await;
        let first = run().await.unwrap();
        world.storage.release(first).await.unwrap();
        world.clock.sleep(secs(40)).await;
        assert_ne!(run().await, Some(first), "another run has begun");
    };
    engine.run_until(story).await.unwrap();
}

/// Who listens in the process of the engine hears of a change when it is stored, and not after a
/// tick.
#[tokio::test(start_paused = true)]
async fn who_subscribes_hears_at_once() {
    let world = World::new();
    let engine = world.builder().on(rebuild).build().unwrap();
    let client = engine.client();
    let story = async {
        world.clock.sleep(secs(20)).await;
        let mut changes = client.subscribe().await.unwrap();
        let began = world.clock.elapsed();
        client.send(&pushed("base")).await.unwrap();
        changes.next().await.unwrap();
        let took = world.clock.elapsed() - began;
        assert!(took < secs(1), "heard after {took:?}");
    };
    engine.run_until(story).await.unwrap();
}

/// A message whose handler was too slow has killed no process, so it is not handled alone.
#[tokio::test(start_paused = true)]
async fn a_message_that_was_late_is_handled_beside_others() {
    let world = World::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let handler = {
        let asked = asked.clone();
        move |event: Pushed, _: Context| {
            let hangs = event.image == "slow";
            asked.fetch_add(usize::from(hangs), Ordering::Relaxed);
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                HandlerResult::Ok(Decision::Skip("there is nothing to do".into()))
            }
        }
    };
    let engine = world.builder().on_as("hangs", handler).build().unwrap();
    let client = engine.client();
    client.send(&pushed("slow")).await.unwrap();
    let story = async {
        until(|| ready(asked.load(Ordering::Relaxed) == 2)).await;
        let began = world.clock.elapsed();
        client.send(&pushed("base")).await.unwrap();
        until(async || !events(&client).await.is_empty()).await;
        let took = world.clock.elapsed() - began;
        assert!(took < secs(10), "the other one was handled after {took:?}");
    };
    engine.run_until(story).await.unwrap();
}

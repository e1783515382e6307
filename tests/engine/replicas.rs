//! Engines that share a storage say how they are configured, and share the work.

use crate::systems::rebuild;
use async_trait::async_trait;
use freshmaker::backend::{Clock, Made, Result, Verifier};
use freshmaker::client::Difference;
use freshmaker::memory::{MemoryCatalog, MemoryStorage};
use freshmaker::rebuild::Verification;
use freshmaker::store::LEASE_TTL;
use freshmaker::{Artifact, ArtifactKind, Decision, EdgeKind, Engine};
use freshmaker_testing::world::{Pushed, TokioClock, World, graph, pushed, until};
use futures_util::FutureExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn engine(world: &World, name: &str, limit: u32) -> Engine {
    let builder = world.builder().limit("builder", limit).replica(name);
    builder.on_as("rebuild", async |_: Pushed, _| Ok(Decision::Ignore)).build().unwrap()
}

/// Runs engines until all have had several turns.
async fn for_a_while<const N: usize>(world: &World, engines: [&Engine; N], seconds: u64) {
    let lives = engines.iter().map(|engine| engine.run_until(world.clock.sleep(Duration::from_secs(seconds))));
    futures_util::future::try_join_all(lives).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn replicas_know_each_other_and_what_differs() {
    let world = World::new();
    let (one, other, same) = (engine(&world, "one", 20), engine(&world, "other", 10), engine(&world, "same", 20));
    let client = one.client();
    let look = async {
        until(async || client.replicas().await.unwrap().len() == 3).await;
        let all = client.replicas().await.unwrap();
        let differs = all[0].differences(&all[1]);
        assert_eq!(all[0].differences(&all[2]), []);
        let [Difference { setting, here, there, .. }] = &differs[..] else { panic!("{differs:?}") };
        assert_eq!((setting.as_str(), here.as_deref(), there.as_deref()), ("limit of builder", Some("20"), Some("10")));
        assert_eq!(all[0].settings["handlers"], "rebuild (test.pushed)");
        assert_eq!(all[0].settings["catalogs"], "images");
        assert!(all[0].run < all[1].run || all[1].run < all[0].run, "each has a run: {all:?}");
    };
    tokio::join!(for_a_while(&world, [&one, &other, &same], 120), look);
    assert_eq!(client.replicas().await.unwrap(), [], "they take their leave");
}

#[tokio::test(start_paused = true)]
async fn one_that_died_is_forgotten() {
    let world = World::new();
    let (one, other) = (engine(&world, "one", 20), engine(&world, "other", 20));
    let died = tokio::time::timeout(Duration::from_secs(5), other.run_until(std::future::pending())).await;
    assert!(died.is_err());
    let client = one.client();
    let counts = async {
        let mut counts = Vec::new();
        for _ in 0..4 {
            world.clock.sleep(Duration::from_secs(29)).await;
            counts.push(client.replicas().await.unwrap().len());
        }
        counts
    };
    let (_, counts) = tokio::join!(for_a_while(&world, [&one], 120), counts);
    assert_eq!(counts, [2, 2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn an_engine_without_a_name_says_nothing() {
    let world = World::new();
    let engine = world.builder().on_as("rebuild", async |_: Pushed, _| Ok(Decision::Ignore)).build().unwrap();
    assert_eq!(engine.replica(), None);
    for_a_while(&world, [&engine], 60).await;
    assert_eq!(engine.client().replicas().await.unwrap(), []);
}

/// Counts the results that it looks at, and says nothing about them if it is cut off.
#[derive(Debug)]
struct Looks {
    clock: Arc<TokioClock>,
    count: AtomicUsize,
    is_cut_off: bool,
}

#[async_trait]
impl Verifier for Looks {
    async fn verify(&self, _: &Made) -> Result<Verification> {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.clock.sleep(Duration::from_secs(2)).await;
        if self.is_cut_off {
            std::future::pending::<()>().await;
        }
        Ok(Verification::Passed(None))
    }
}

/// Two replicas, the verifiers of which may be cut off, rebuild 22 images; returns how long that
/// took, in seconds, and how often each verifier was asked.
async fn verified_by(cut_off: [bool; 2]) -> (u64, [usize; 2]) {
    let mut graph = graph();
    for number in 0..20 {
        let id = format!("image{number}");
        graph.insert(Artifact::new(id.as_str(), ArtifactKind::Image).with_source("images", None));
        graph.depend(id.as_str(), "base", EdgeKind::ParentImage).unwrap();
    }
    let clock = Arc::new(TokioClock::new());
    let storage = MemoryStorage::new().with_clock(clock.clone()).with_partitions(8);
    let world = World { catalog: Arc::new(MemoryCatalog::new(graph)), ..World::on(Arc::new(storage), clock) };
    let looks = cut_off
        .map(|is_cut_off| Arc::new(Looks { clock: world.clock.clone(), count: AtomicUsize::new(0), is_cut_off }));
    let engines = ["one", "other"].into_iter().zip(&looks).map(|(name, looks)| {
        world.builder().replica(name).verifier("builder", looks.clone()).on(rebuild).build().unwrap()
    });
    let [one, other]: [Engine; 2] = engines.collect::<Vec<_>>().try_into().unwrap();
    let client = one.client();
    let work = async {
        // Until the partitions are shared.
        world.clock.sleep(LEASE_TTL * 4).await;
        let sent = tokio::time::Instant::now();
        client.send(&pushed("base")).await.unwrap();
        client.wait_until_idle().await;
        sent.elapsed().as_secs()
    }
    .shared();
    tokio::try_join!(one.run_until(work.clone().map(drop)), other.run_until(work.clone().map(drop))).unwrap();
    (work.await, looks.map(|looks| looks.count.load(Ordering::Relaxed)))
}

#[tokio::test(start_paused = true)]
async fn each_result_is_verified_by_one_replica() {
    let (_, asked) = verified_by([false, false]).await;
    assert_eq!(asked.iter().sum::<usize>(), 22, "{asked:?}");
    assert!(asked.iter().all(|count| *count > 5), "the work is shared: {asked:?}");
}

#[tokio::test(start_paused = true)]
async fn another_replica_verifies_what_one_that_is_cut_off_cannot() {
    let (seconds, asked) = verified_by([true, false]).await;
    assert_eq!(asked[1], 22);
    assert!(seconds < 2 * 320, "two layers wait for five minutes each, and not {seconds} s");
}

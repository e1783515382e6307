//! The service is killed at random points under a burst of events.

use crate::support::{Builder, World, is_idle};
use freshmaker::artifact::Digest;
use freshmaker::backend::{EventFilter, Paging};
use freshmaker::client::Client;
use freshmaker::handler::ImagePushed;
use freshmaker::rebuild::EventState;
use freshmaker_sql::SqliteStorage;
use futures_util::future::join;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const EVENTS: usize = 200;
const IMAGES: [&str; 5] = ["low", "left", "right", "top", "copy"];

/// Two ways from a base to one image, and one that copies only.
async fn diamond(slow: &str) -> Option<World> {
    let world = World::real()?;
    world.push("base:1", &["base 0"]).await;
    world.push("tools:1", &["tool"]).await;
    world.recipe("low", "FROM @/base:1\n");
    world.recipe("left", "FROM low\n");
    world.recipe("right", "FROM low\nCOPY --from=@/tools:1 /t /t\n");
    world.recipe("top", "FROM left\nCOPY --from=right /f /f\n");
    world.recipe("copy", "FROM scratch\nCOPY --from=@/base:1 /f /f\n");
    IMAGES.iter().for_each(|name| world.file(&format!("{name}/slow"), slow));
    let tested = world.directory.path().join("tested").display().to_string();
    let test = format!("test = [\"/bin/sh\", \"-c\", \"echo $FRESHMAKER_IMAGE >>{tested}\"]");
    world.configure(&Builder::Test, &test, "");
    Some(world)
}

fn client(world: &World) -> Client {
    let path = world.tree().join(".image_service/freshmaker.sqlite");
    Client::new(Arc::new(SqliteStorage::open(path).unwrap()))
}

async fn burst(world: &World, client: &Client, digest: &Digest, events: usize) {
    let image = world.image("base:1").to_string();
    for number in 0..events {
        let event = ImagePushed { image: image.clone(), digest: Some(digest.clone()) };
        client.send_as(format!("burst/{digest}/{number}"), &event).await.unwrap();
    }
}

async fn pause(duration: Duration) {
    tokio::time::interval_at(tokio::time::Instant::now() + duration, duration).tick().await;
}

/// Notes everything that the tags ever name, as far as it can be seen, until it is told to stop.
async fn watch(world: &World, stop: &AtomicBool, seen: &Mutex<BTreeSet<(String, String)>>) {
    let client = world.client();
    let mut pauses = tokio::time::interval(Duration::from_millis(10));
    while !stop.load(Ordering::Relaxed) {
        pauses.tick().await;
        for name in IMAGES {
            if let Ok(digest) = client.head(&world.image(name)).await {
                seen.lock().unwrap().insert((name.to_owned(), digest.to_string()));
            }
        }
    }
}

/// Checks that no two attempts of one image were alive at once.
fn check_ledger(world: &World) {
    let mut alive: BTreeMap<String, String> = BTreeMap::new();
    for [what, image, attempt] in world.ledger() {
        match what.as_str() {
            "begin" => {
                let other = alive.insert(image.clone(), attempt.clone());
                assert_eq!(other, None, "{image}: {attempt} began while another attempt was alive");
            }
            _ => assert_eq!(alive.remove(&image), Some(attempt)),
        }
    }
}

async fn check_images(world: &World, base: &str) {
    let low = world.layers("low").await;
    assert_eq!(low[0], Digest::of(base.as_bytes()));
    let [left, right, top] = [world.layers("left").await, world.layers("right").await, world.layers("top").await];
    assert!(left.starts_with(&low) && right.starts_with(&low) && top.starts_with(&left));
    assert_eq!(world.layers("copy").await[0], Digest::of(base.as_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_within_a_build_makes_one_more() {
    let Some(world) = diamond("400").await else { return };
    world.serve();
    world.settled().await;
    let before = IMAGES.map(|name| world.builds_of(name));
    let digest = world.push("base:1", &["base 1"]).await;
    burst(&world, &client(&world), &digest, EVENTS).await;
    world.settled().await;
    for (name, before) in IMAGES.iter().zip(before) {
        let builds = world.builds_of(name) - before;
        assert!((1..=2).contains(&builds), "{name} was built {builds} times");
    }
    check_ledger(&world);
    check_images(&world, "base 1").await;
}

/// `FRESHMAKER_KILLS` says how often; 10 times if it is not set.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_survives_kills_at_random_points() {
    let Some(world) = diamond("60").await else { return };
    let kills: usize = std::env::var("FRESHMAKER_KILLS").map_or(10, |text| text.parse().unwrap());
    let seed = std::env::var("FRESHMAKER_KILL_SEED").map_or(1, |text| text.parse().unwrap());
    let mut rng = fastrand::Rng::with_seed(seed);
    world.serve();
    world.settled().await;
    let (stop, seen) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    let client = client(&world);
    let story = async {
        for kill in 1..=kills {
            let digest = world.push("base:1", &[&format!("base {kill}")]).await;
            burst(&world, &client, &digest, EVENTS.div_ceil(kills)).await;
            pause(Duration::from_millis(rng.u64(1..900))).await;
            world.kill();
            world.serve();
        }
        world.settled().await;
        stop.store(true, Ordering::Relaxed);
    };
    join(story, watch(&world, &stop, &seen)).await;
    check_ledger(&world);
    check_images(&world, &format!("base {kills}")).await;
    let tested = fs::read_to_string(world.directory.path().join("tested")).unwrap();
    for (name, digest) in seen.into_inner().unwrap() {
        assert!(tested.contains(&digest), "{name} named {digest}, which was never tested");
    }
    let open = EventState::ALL.iter().copied().filter(|state| !state.is_terminal()).collect();
    let filter = EventFilter { states: open, ..EventFilter::default() };
    let left = client.events(filter, Paging::first(10)).await.unwrap().items;
    assert!(left.is_empty(), "{left:?}");
    world.until("idle", is_idle).await;
}

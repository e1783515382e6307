//! Engines that share a storage tell each other how they are configured.

use freshmaker::backend::Clock;
use freshmaker::client::Difference;
use freshmaker::{Decision, Engine};
use freshmaker_testing::world::{Pushed, World, until};
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

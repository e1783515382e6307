//! Values that the database never stores, and questions of others.

use crate::place::{Place, build, message, remedy};
use freshmaker::Decision;
use freshmaker::backend::{Documents, DueLimits, Remedy, Storage, StorageReads};
use freshmaker::rebuild::{Commit, Output, RowChange, RunId};
use freshmaker_sql::PostgresStorage;
use freshmaker_testing::world::{Pushed, World, message as bus_message, until};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn long(length: usize) -> String {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
    let mut state = 7_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        letters[(state >> 58) as usize] as char
    };
    (0..length).map(next).collect()
}

/// What an index cannot hold counts as an outage, so that it is tried for ever.
#[tokio::test]
async fn what_cannot_be_stored_is_no_outage() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    let found = storage.commit(Commit::unfenced(vec![RowChange::Receive(message(long(8000)))])).await;
    let run = storage.lease(None).await.unwrap().run;
    let output = Output { name: "a\0b".into(), digest: None, contents: None };
    let record = freshmaker::rebuild::BuildRecord { output: Some(output), ..build(1) };
    let change = RowChange::Build { record: Box::new(record), expected: None, replanned: true };
    let nul = storage.commit(Commit::by(run, vec![change])).await;
    let output = Output { name: long(8000), digest: None, contents: None };
    let record = freshmaker::rebuild::BuildRecord { output: Some(output), ..build(2) };
    let change = RowChange::Build { record: Box::new(record), expected: None, replanned: true };
    let name = storage.commit(Commit::by(run, vec![change])).await;
    assert_eq!([remedy(&found), remedy(&nul), remedy(&name)], [Some(Remedy::Rejected); 3]);
}

/// One message with a long id stops its bus for ever.
#[tokio::test]
async fn a_message_with_a_long_id_stops_no_other_of_its_bus() {
    let Some(place) = Place::new() else { return };
    let world = World { storage: Arc::new(place.migrated().await), ..World::new() };
    let builder = freshmaker::Engine::builder().storage(world.storage.clone()).bus("bus", world.bus.clone());
    let handler = async |_: Pushed, _| Ok(Decision::Ignore);
    let engine = builder
        .catalog("images", world.catalog.clone())
        .build_system("builder", world.builds.clone())
        .on_as("ignores", handler)
        .build()
        .unwrap();
    world.bus.send(bus_message(&long(8000), "test.pushed", r#"{"image":"base"}"#));
    for number in 0..5 {
        world.bus.send(bus_message(&number.to_string(), "test.pushed", r#"{"image":"base"}"#));
    }
    // The long one cannot even be a dead letter.
    engine.run_until(until(async || world.bus.backlog() == 1)).await.unwrap();
}

/// Questions of others keep an engine from knowing what is paused, without which it starts
/// nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_never_hide_what_is_paused() {
    let Some(place) = Place::new() else { return };
    let mut config = place.config();
    config.connections = 6;
    let storage = Arc::new(PostgresStorage::new(&config).unwrap());
    freshmaker::backend::StorageUpkeep::migrate(&*storage).await.unwrap();
    // Slow questions of a page: they wait for a table that is being locked.
    let beside = place.client().await;
    beside.batch_execute("BEGIN; LOCK TABLE transitions IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let slow: Vec<_> = (0..3)
        .map(|_| {
            let storage = storage.clone();
            tokio::spawn(async move { storage.check_consistency().await })
        })
        .collect();
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    until(async || beside.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) >= 3).await;
    let begin = Instant::now();
    let limits = DueLimits { ready: 1, attempts: 1, pause_max: Duration::from_secs(300) };
    storage.due(RunId::NONE, limits).await.unwrap();
    let due = begin.elapsed();
    let listed = storage.list("pause", None, 10).await;
    let took = begin.elapsed() - due;
    beside.batch_execute("ROLLBACK").await.unwrap();
    for one in slow {
        drop(one.await);
    }
    assert!(took < Duration::from_secs(1), "what is paused was known after {took:?}: {listed:?}");
}

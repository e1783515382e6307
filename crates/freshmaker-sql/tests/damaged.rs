//! An engine on a file in which rows are damaged: they cost what needs them, and nothing else.
#![allow(clippy::unwrap_used)]

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use freshmaker::backend::Clock;
use freshmaker::client::{Client, RetryPart};
use freshmaker::rebuild::{Failure, FailureClass, InboxState};
use freshmaker::{Artifact, ArtifactKind, Context, Decision, EdgeKind, HandlerResult};
use freshmaker_sql::SqliteStorage;
use freshmaker_testing::world::{Pushed, TokioClock, World, builds, events, pushed, until};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(Decision::Rebuild(graph.planner().changed(event.image, None).plan()?))
}

fn world() -> (TempDir, World, SqliteConnection) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.db");
    let clock = Arc::new(TokioClock::new());
    let storage = SqliteStorage::open(&path).unwrap().with_clock(clock.clone());
    let beside = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    (directory, World::on(Arc::new(storage), clock), beside)
}

/// One ready build that cannot be read stops its build system, if that has one place.
#[tokio::test(start_paused = true)]
async fn ready_builds_that_cannot_be_read_stop_no_others_of_their_system() {
    for limit in [2, 1] {
        let (_directory, world, mut beside) = world();
        world.catalog.update(|graph| {
            graph.remove(&"site".into());
            graph.remove(&"app".into());
            for number in 0..6 {
                let name = format!("image{number}");
                graph.insert(Artifact::new(name.as_str(), ArtifactKind::Image).with_source("images", None));
                graph.depend(name, "base", EdgeKind::ParentImage).unwrap();
            }
        });
        let engine = world.builder().limit("builder", limit).on(rebuild).build().unwrap();
        let client = engine.client();
        client.pause("builder", "first the damage", "kim").await.unwrap();
        client.send(&pushed("base")).await.unwrap();
        engine.run_until(until(async || builds(&client).await.len() == 6)).await.unwrap();
        let damage = format!(
            "UPDATE builds SET parameters = '[' WHERE id IN (SELECT id FROM builds ORDER BY priority DESC, id LIMIT {limit})"
        );
        beside.batch_execute(&damage).unwrap();
        client.resume("builder").await.unwrap();
        engine.run_until(world.clock.sleep(Duration::from_secs(3600))).await.unwrap();
        let done = builds(&client).await.iter().filter(|build| build.ends_with(" DONE")).count();
        assert_eq!(done, 6 - limit as usize, "limit {limit}, after an hour");
    }
}

/// An event that cannot be read is said not to be there, and a retry of it is a dead letter.
#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_read_is_not_gone() {
    let (_directory, world, mut beside) = world();
    let engine = world.builder().on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    world.settle(&engine).await;
    let id = events(&client).await[0].id;
    let message = client.retry(id, RetryPart::Whole, "kim").await.unwrap();
    beside.batch_execute("UPDATE events SET payload = '{'").unwrap();
    engine.run_until(world.clock.sleep(Duration::from_secs(60))).await.unwrap();
    let row = client.message(Client::LOCAL, &message).await.unwrap();
    assert_ne!(row.state, InboxState::Dead, "{:?}", row.reason);
    let error = client.event(id).await.unwrap_err();
    assert_eq!(error.remedy, freshmaker::backend::Remedy::Corrupt, "{error}");
}

/// The failed part is retried as a whole, if the build that failed cannot be read.
#[tokio::test(start_paused = true)]
async fn a_failed_build_that_cannot_be_read_makes_no_retry_whole() {
    let (_directory, world, mut beside) = world();
    let engine = world.builder().on(rebuild).build().unwrap();
    let client = engine.client();
    world.builds.fail_next(&"site".into(), Failure::new(FailureClass::Permanent, "no"));
    client.send(&pushed("base")).await.unwrap();
    world.settle(&engine).await;
    beside.batch_execute("UPDATE builds SET demands = '[' WHERE artifact = 'site'").unwrap();
    let id = events(&client).await[0].id;
    client.retry(id, RetryPart::Failed, "kim").await.unwrap();
    engine.run_until(world.clock.sleep(Duration::from_secs(600))).await.unwrap();
    assert!(
        !world.submitted()[2..].contains(&"app".to_owned()),
        "what was built well is built again: {:?}",
        world.submitted()
    );
}

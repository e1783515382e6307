//! A move from a file of SQLite.

use crate::place::{Place, message, remedy};
use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use freshmaker::backend::{BuildFilter, EventFilter, NewDocument, Paging, Remedy, Storage};
use freshmaker::client::Client;
use freshmaker::rebuild::{AttemptState, Commit, Observed, Output, RowChange, RowKey};
use freshmaker::{Context, Decision, HandlerResult};
use freshmaker_sql::SqliteStorage;
use freshmaker_testing::world::{Pushed, TokioClock, World, pushed, until};
use std::sync::Arc;

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(Decision::Rebuild(graph.planner().changed(event.image, None).plan()?))
}

/// All that a client can be told, as text.
async fn everything(client: &Client) -> Vec<String> {
    let mut all = Vec::new();
    for event in client.events(EventFilter::default(), Paging::first(100)).await.unwrap().items {
        all.push(format!("{event:?} {:?}", client.plan(event.id).await.unwrap()));
        all.push(format!("{:?}", client.transitions(&RowKey::Event(event.id)).await.unwrap()));
    }
    for build in client.builds(BuildFilter::default(), Paging::first(100)).await.unwrap().items {
        all.push(format!("{build:?} {:?}", client.attempts(build.id).await.unwrap()));
        all.push(format!("{:?}", client.transitions(&RowKey::Build(build.id)).await.unwrap()));
    }
    all.push(format!("{:?}", client.documents().await.unwrap().list("note", None, 100).await.unwrap()));
    all.push(format!("{:?}", client.overview().await.unwrap()));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_moved_while_builds_run_and_another_engine_goes_on() {
    let Some(place) = Place::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = Arc::new(SqliteStorage::open(directory.path().join("state.sqlite")).unwrap());
    let world = World::on(file.clone(), Arc::new(TokioClock::new()));
    let engine = world.builder().on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    world.settle(&engine).await;
    world.builds.hold(&"app".into());
    client.send(&pushed("base")).await.unwrap();
    engine.run_until(until(async || world.submitted().len() == 3)).await.unwrap();
    let odd = serde_json::json!({ "text": "quote ' and \" and \u{1f980}", "number": i64::MAX });
    client.documents().await.unwrap().put(NewDocument::new("note", "1", odd)).await.unwrap();
    let mut bytes = message("bytes");
    bytes.message.body = (0..=255).collect();
    file.commit(Commit::unfenced(vec![RowChange::Receive(bytes)])).await.unwrap();
    let before = everything(&client).await;

    let database = place.process();
    let moved = database.import(&file).await.unwrap();
    assert_eq!((moved["events"], moved["builds"], moved["documents"]), (2, 4, 1), "{moved:?}");
    assert!(moved["notifications"] > 4 && moved["transitions"] > 10, "{moved:?}");
    let there = Client::new(Arc::new(place.process()));
    assert_eq!(everything(&there).await, before);
    let message = there.message("local", "bytes").await.unwrap();
    assert_eq!(message.message.body, (0..=255).collect::<Vec<u8>>());
    assert_eq!(everything(&client).await, before, "the file stays as it is");

    let again = database.import(&file).await;
    assert_eq!(remedy(&again), Some(Remedy::Rejected), "{again:?}");
    let published = world.bus.published().len();
    let output = Output { name: "app".into(), digest: None, contents: None };
    world.builds.finish(&"app".into(), Observed::Succeeded(output));
    let next = world.builder().storage(Arc::new(place.process())).on(rebuild).build().unwrap();
    next.run_until(until(async || there.overview().await.unwrap().events_open == 0)).await.unwrap();
    assert_eq!(world.submitted().len(), 4, "nothing is submitted again");
    let new = world.bus.published()[published..].iter().filter(|message| message.topic == "event.changed").count();
    assert_eq!(new, 1, "what was published before is not published again");
    assert_eq!(there.check_consistency().await.unwrap(), []);
    let last = there.builds(BuildFilter::default(), Paging::first(1)).await.unwrap().items.remove(0);
    assert_eq!(there.attempts(last.id).await.unwrap()[0].state, AttemptState::Succeeded);
}

#[tokio::test]
async fn a_move_is_refused_while_an_engine_runs() {
    let Some(place) = Place::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.sqlite");
    let file = SqliteStorage::open(&path).unwrap();
    let engine = SqliteStorage::open(&path).unwrap();
    freshmaker::backend::StorageUpkeep::migrate(&engine).await.unwrap();
    engine.lease(None).await.unwrap();
    let database = place.process();
    assert_eq!(remedy(&database.import(&file).await), Some(Remedy::Conflict), "it has the file");
    drop(engine);
    let other = place.migrated().await;
    let run = other.lease(None).await.unwrap().run;
    let refused = database.import(&file).await;
    assert_eq!(remedy(&refused), Some(Remedy::Conflict), "{refused:?}");
    other.release(run).await.unwrap();
    assert_eq!(database.import(&file).await.unwrap()["events"], 0, "an empty file can be moved, too");
}

/// What a move into the database says about a file in which `damage` was done.
async fn refused(place: &Place, damage: &str) -> freshmaker::backend::Error {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.sqlite");
    let file = SqliteStorage::open(&path).unwrap();
    file.upkeep().migrate().await.unwrap();
    file.commit(Commit::unfenced(vec![RowChange::Receive(message(1)), RowChange::Receive(message(2))])).await.unwrap();
    let note = |id| NewDocument::new("note", id, serde_json::json!(1));
    file.documents().put(note("1")).await.unwrap();
    let mut beside = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    beside.batch_execute(damage).unwrap();
    place.process().import(&file).await.unwrap_err()
}

#[tokio::test]
async fn a_move_names_each_row_that_is_in_its_way() {
    let Some(place) = Place::new() else { return };
    let history = "INSERT INTO transitions (aggregate, id, version, to_state, reason_code, reason_text, at, run, actor) \
                   VALUES ('build', '7', 0, 'READY', '', '', 0, 0, 'engine'), ('build', '8', 0, 'READY', '', '', 0, 0, '?')";
    let error = refused(&place, history).await;
    assert_eq!(error.remedy, Remedy::Rejected);
    let lines: Vec<_> = error.text.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert!(lines[1].starts_with("  unreadable: transitions 8: actor: "), "first what cannot be read: {error}");
    assert_eq!(lines[2], "  transition_row: build 7: has a history, but no row");
    for (damage, told) in [
        ("UPDATE inbox SET topic = CAST(x'fffe41' AS TEXT) WHERE message_id = '2'", "inbox: a row cannot be read"),
        ("UPDATE inbox SET topic = 'a' || char(0) WHERE message_id = '2'", "inbox, id 2: "),
        ("UPDATE documents SET version = 'one'", "documents, number 1: "),
    ] {
        let error = refused(&place, damage).await;
        assert_eq!(error.remedy, Remedy::Rejected);
        assert!(error.text.contains(told), "{told}: {error}");
    }
}

#[tokio::test]
async fn a_file_of_others_or_of_an_older_version_is_not_moved() {
    let Some(place) = Place::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.sqlite");
    let file = SqliteStorage::open(&path).unwrap();
    let error = place.process().import(&file).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Rejected);
    assert!(error.to_string().contains("no tables of ours"), "{error}");
    let older = refused(
        &place,
        "DELETE FROM __diesel_schema_migrations WHERE version = (SELECT max(version) FROM __diesel_schema_migrations)",
    );
    let error = older.await;
    assert_eq!(error.remedy, Remedy::Rejected);
    assert!(error.to_string().contains("those of an older version"), "{error}");
}

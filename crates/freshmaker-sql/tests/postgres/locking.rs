//! What one transaction keeps others from, step by step: a client beside the storages holds a lock
//! until it is known who waits for it.

use super::place::{
    Place, build, cause, changed_attempt, changed_build, changed_event, edge, message, new_attempt, new_build,
    new_event, notification, remedy, until_waiting,
};
use freshmaker::backend::{Claim, Remedy, Retention, Storage, StorageReads, StorageUpkeep};
use freshmaker::rebuild::{
    AttemptId, BuildId, BuildRecord, BuildSlot, BuildState, Commit, EventId, EventRecord, EventState, InboxState,
    RowChange, RowKey, RunId,
};
use freshmaker::time::from_micros;
use freshmaker_sql::PostgresStorage;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

/// The commit of a process of its own, in a task.
fn committing(place: &Place, commit: Commit) -> JoinHandle<Option<Remedy>> {
    let storage = place.process();
    tokio::spawn(async move {
        let done = storage.commit(commit).await;
        assert!(!done.as_ref().is_err_and(|error| error.text.contains("deadlock")), "{done:?}");
        remedy(&done)
    })
}

/// Waits until so many sessions of the place wait for a lock, whoever holds it.
async fn until_blocked(place: &Place, count: i64) {
    let client = place.client().await;
    let asked =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND cardinality(pg_blocking_pids(pid)) > 0";
    let blocked = async { while client.query_one(asked, &[&place.schema]).await.unwrap().get::<_, i64>(0) < count {} };
    tokio::time::timeout(Duration::from_secs(4), blocked).await.expect("they wait for each other");
}

/// How many of these rows nobody has locked.
async fn free(place: &Place, rows: &str) -> i64 {
    let asked = format!("SELECT count(*) FROM (SELECT 1 FROM {rows} FOR UPDATE SKIP LOCKED) AS free");
    place.client().await.query_one(&asked, &[]).await.unwrap().get(0)
}

async fn lock(client: &Client, rows: &str) {
    client.batch_execute(&format!("BEGIN; SELECT 1 FROM {rows} FOR UPDATE")).await.unwrap();
}

async fn unlock(client: &Client) {
    client.batch_execute("COMMIT").await.unwrap();
}

/// Rows of each sort, stored in the opposite order of their numbers.
async fn with_rows(place: &Place) -> PostgresStorage {
    let storage = place.migrated().await;
    let ids = || (1..=9).rev();
    let changes = ids().map(new_event).chain(ids().map(new_build)).chain(ids().map(|id| new_attempt(&name(id), id)));
    storage.commit(Commit::unfenced(changes.collect())).await.unwrap();
    // The planner sees that the tables are small: it reads them as they are.
    place.client().await.batch_execute("ANALYZE events; ANALYZE builds; ANALYZE attempts").await.unwrap();
    storage
}

fn name(id: i64) -> String {
    format!("a{id}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_locked_by_their_numbers() {
    let Some(place) = Place::new() else { return };
    let _storage = with_rows(&place).await;
    let client = place.client().await;
    let first = ["events WHERE id = 1", "builds WHERE id = 1", "attempts WHERE id = 'a1'"];
    for (version, first) in (0..).zip(first) {
        let ids = || (1..=9).rev();
        let attempts = ids().map(|id| changed_attempt(&name(id), id, version));
        let builds = ids().map(|id| changed_build(id, version));
        let changes = attempts.chain(builds).chain(ids().map(|id| changed_event(id, version)));
        lock(&client, first).await;
        let commit = committing(&place, Commit::unfenced(changes.collect()));
        until_waiting(&client, 1).await;
        let behind = first.replace('=', ">");
        assert_eq!(free(&place, &behind).await, 8, "nothing behind {first} is locked before it");
        unlock(&client).await;
        assert_eq!(commit.await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_locked_in_one_order() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    let rows = (1..=40).map(new_build).chain([new_event(1)]).collect();
    storage.commit(Commit::unfenced(rows)).await.unwrap();
    let causes = || (1..=40).map(|id| cause(id, 1));
    let edges = || (2..=40).map(|id| edge(1, id));
    let commit = |changes: Vec<RowChange>, edges| Commit { edges: Some(edges), ..Commit::unfenced(changes) };
    storage.commit(commit(causes().chain(edges()).collect(), 0)).await.unwrap();
    let client = place.client().await;
    for _ in 0..2 {
        lock(&client, "build_causes WHERE build = 1").await;
        let again = committing(&place, commit(causes().collect(), 1));
        until_waiting(&client, 1).await;
        assert_eq!(free(&place, "build_causes WHERE build > 1").await, 39);
        unlock(&client).await;
        assert_eq!(again.await.unwrap(), None);
        lock(&client, "build_deps WHERE child = 2").await;
        let again = committing(&place, commit(edges().collect(), 1));
        until_waiting(&client, 1).await;
        assert_eq!(free(&place, "build_deps WHERE child > 2").await, 38);
        unlock(&client).await;
        assert_eq!(again.await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_compared_is_locked() {
    let Some(place) = Place::new() else { return };
    let _storage = with_rows(&place).await;
    let client = place.client().await;
    let cases = [
        (RowKey::Event(EventId(1)), changed_event(1, 0), "events WHERE id = 9", changed_event(9, 0)),
        (RowKey::Build(BuildId(1)), changed_build(1, 0), "builds WHERE id = 9", changed_build(9, 0)),
        (
            RowKey::Attempt(AttemptId::new("a1")),
            changed_attempt("a1", 1, 0),
            "attempts WHERE id = 'a9'",
            changed_attempt("a9", 9, 0),
        ),
    ];
    for (key, change, last, writes) in cases {
        lock(&client, last).await;
        let resting = Commit { unchanged: vec![(key.clone(), 0)], ..Commit::unfenced(vec![writes]) };
        let resting = committing(&place, resting);
        until_waiting(&client, 1).await;
        let changing = committing(&place, Commit::unfenced(vec![change]));
        until_blocked(&place, 2).await;
        unlock(&client).await;
        assert_eq!((resting.await.unwrap(), changing.await.unwrap()), (None, None), "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_compared_alone_is_locked() {
    let Some(place) = Place::new() else { return };
    let _storage = with_rows(&place).await;
    let client = place.client().await;
    client.batch_execute("BEGIN; UPDATE builds SET version = 1 WHERE id = 1").await.unwrap();
    let unchanged = vec![(RowKey::Build(BuildId(1)), 0)];
    let resting = committing(&place, Commit { unchanged, ..Commit::unfenced(vec![notification(1, 0)]) });
    until_waiting(&client, 1).await;
    unlock(&client).await;
    assert_eq!(resting.await.unwrap(), Some(Remedy::Conflict));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_of_one_run_do_not_wait_for_each_other() {
    let Some(place) = Place::new() else { return };
    let storage = with_rows(&place).await;
    let run = storage.lease(None).await.unwrap().run;
    let client = place.client().await;
    lock(&client, "builds WHERE id = 1").await;
    let slow = committing(&place, Commit::by(run, vec![changed_build(1, 0)]));
    until_waiting(&client, 1).await;
    storage.commit(Commit::by(run, vec![changed_build(2, 0)])).await.unwrap();
    storage.lease(Some(run)).await.unwrap();
    unlock(&client).await;
    assert_eq!(slow.await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_dependency_is_added_while_they_are_counted() {
    let Some(place) = Place::new() else { return };
    let storage = with_rows(&place).await;
    let counting = |changes| Commit { edges: Some(0), ..Commit::unfenced(changes) };
    let client = place.client().await;
    lock(&client, "builds WHERE id = 1").await;
    let slow = committing(&place, counting(vec![changed_build(1, 0)]));
    until_waiting(&client, 1).await;
    storage.commit(counting(vec![changed_build(2, 0)])).await.unwrap();
    let adding = committing(&place, counting(vec![edge(3, 4)]));
    until_blocked(&place, 2).await;
    unlock(&client).await;
    assert_eq!((slow.await.unwrap(), adding.await.unwrap()), (None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn systems_are_locked_in_one_order() {
    let Some(place) = Place::new() else { return };
    let _storage = place.migrated().await;
    let names = |names: [&str; 6]| Commit {
        at_most: names.map(|name| (name.to_owned(), 9)).into(),
        ..Commit::unfenced(vec![RowChange::Receive(message(1))])
    };
    for _ in 0..20 {
        let commits = [["a", "b", "c", "d", "e", "f"], ["f", "e", "d", "c", "b", "a"], ["b", "a", "d", "c", "f", "e"]];
        for commit in commits.map(|order| committing(&place, names(order))) {
            assert_eq!(commit.await.unwrap(), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_is_replaced_meanwhile_is_refused() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    let run = storage.lease(None).await.unwrap().run;
    let client = place.client().await;
    client.batch_execute("BEGIN; UPDATE partitions SET publisher = NULL WHERE partition = 3").await.unwrap();
    let position = freshmaker::rebuild::Position { bus: "bus".into(), partition: 3, position: Some(1) };
    let writing = committing(&place, Commit::by(run, vec![RowChange::Position(position)]));
    until_waiting(&client, 1).await;
    unlock(&client).await;
    assert_eq!(writing.await.unwrap(), Some(Remedy::Conflict));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trim_concerns_one_partition() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    let changes = (1..=80).map(|id| notification(id, 0)).collect();
    storage.commit(Commit::unfenced(changes)).await.unwrap();
    let run = storage.lease(None).await.unwrap().run;
    let count = async |partition| storage.notifications(Some(partition), 0, 100).await.unwrap().items.len();
    let others = count(4).await;
    assert!(others > 0 && count(3).await > 0);
    storage.commit(Commit::by(run, vec![RowChange::Trim { partition: 3, up_to: i64::MAX }])).await.unwrap();
    assert_eq!((count(3).await, count(4).await), (0, others));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_are_read_in_their_order() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    let client = place.client().await;
    let slow = "CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock_shared(hashtextextended(current_schema(), 0)); RETURN NULL; END $$;
        CREATE TRIGGER pause AFTER INSERT ON notifications FOR EACH ROW WHEN (NEW.id = '1') EXECUTE FUNCTION pause();
        SELECT pg_advisory_lock(hashtextextended(current_schema(), 0))";
    client.batch_execute(slow).await.unwrap();
    let writing = committing(&place, Commit::unfenced(vec![notification(1, 0)]));
    until_waiting(&client, 1).await;
    storage.commit(Commit::unfenced(vec![notification(2, 0)])).await.unwrap();
    let read = async || {
        let found = storage.notifications(None, 0, 9).await.unwrap();
        found.items.into_iter().map(|(_, row)| row.of.id()).collect::<Vec<_>>()
    };
    let last = async || storage.outbox().await.unwrap().last();
    assert_eq!((read().await, last().await), (vec![], 0), "the second waits for the first, which has its position");
    client.batch_execute("SELECT pg_advisory_unlock(hashtextextended(current_schema(), 0))").await.unwrap();
    assert_eq!(writing.await.unwrap(), None);
    assert_eq!((read().await, last().await), (vec!["1".to_owned(), "2".to_owned()], 2));
}

fn claim(run: RunId) -> Claim {
    Claim { run, holding: Vec::new(), limit: 9, pause_max: Duration::from_secs(300) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_waits_for_nobody() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    let changes = [1, 2].map(|id| RowChange::Receive(message(id)));
    storage.commit(Commit::unfenced(changes.into())).await.unwrap();
    let run = storage.lease(None).await.unwrap().run;
    let client = place.client().await;
    lock(&client, "inbox WHERE message_id = '1'").await;
    let claimed = storage.claim(&claim(run)).await.unwrap();
    assert_eq!(claimed.iter().map(|row| row.message_id.as_str()).collect::<Vec<_>>(), ["2"]);
    unlock(&client).await;
}

/// A claim looks at the runs, and then takes rows; a run may begin in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_claims_that_has_just_begun_is_its_own() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    storage.commit(Commit::unfenced(vec![RowChange::Receive(message(1))])).await.unwrap();
    let dead = storage.lease(None).await.unwrap().run;
    assert_eq!(storage.claim(&claim(dead)).await.unwrap().len(), 1);
    let run = storage.lease(None).await.unwrap().run;
    let client = place.client().await;
    // Whoever reads a row of the inbox waits while the client has the lock.
    let slow = "ALTER TABLE inbox RENAME TO rows_of_inbox;
        CREATE FUNCTION pause(BIGINT) RETURNS BOOLEAN LANGUAGE plpgsql VOLATILE AS $$
        BEGIN PERFORM pg_advisory_xact_lock_shared(hashtextextended(current_schema(), 0)); RETURN true; END $$;
        CREATE VIEW inbox AS SELECT * FROM rows_of_inbox WHERE pause(id);
        SELECT pg_advisory_lock(hashtextextended(current_schema(), 0))";
    client.batch_execute(&format!("DELETE FROM runs WHERE run = {dead}; {slow}")).await.unwrap();
    let claiming = tokio::spawn(async move { storage.claim(&claim(run)).await.unwrap() });
    until_waiting(&client, 1).await;
    let begun = "INSERT INTO runs VALUES (9000000000000000000, 9000000000000000000);
        UPDATE rows_of_inbox SET run = 9000000000000000000;
        SELECT pg_advisory_unlock(hashtextextended(current_schema(), 0))";
    client.batch_execute(begun).await.unwrap();
    assert_eq!(claiming.await.unwrap(), [], "the message is that of the run which has begun");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_sees_one_moment() {
    let Some(place) = Place::new() else { return };
    let storage = with_rows(&place).await;
    let client = place.client().await;
    client.batch_execute("BEGIN; LOCK TABLE build_deps").await.unwrap();
    let asking = tokio::spawn(async move { storage.links(vec![BuildId(1)]).await.unwrap() });
    until_waiting(&client, 1).await;
    client
        .batch_execute(
            "INSERT INTO build_causes VALUES (1, 1, '[]', true); INSERT INTO build_deps VALUES (1, 2, 0, false)",
        )
        .await
        .unwrap();
    unlock(&client).await;
    let links = asking.await.unwrap();
    assert_eq!((links.causes, links.dependencies), (vec![], vec![]), "both are of the moment of the first");
}

fn ended(id: i64) -> RowChange {
    let record = BuildRecord { state: BuildState::Canceled, done_at: Some(from_micros(1)), ..build(id) };
    RowChange::Build { record: Box::new(record), expected: None, replanned: false }
}

fn ended_event(id: i64) -> RowChange {
    let record = EventRecord { state: EventState::Complete, done_at: Some(from_micros(1)), ..super::place::event(id) };
    RowChange::Event { record: Box::new(record), expected: None }
}

/// Sweeps in a task, and removes all that has ended.
fn sweeping(place: &Place, run: RunId) -> JoinHandle<freshmaker::backend::Result<freshmaker::backend::Swept>> {
    let storage = place.process();
    let mut all = Retention::default();
    (all.messages, all.dead_letters, all.events) = (None, Some(Duration::ZERO), Some(Duration::ZERO));
    tokio::spawn(async move { storage.sweep(run, all, 100).await })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_just_needed_is_not_swept() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    storage.commit(Commit::unfenced(vec![ended(1), new_build(2)])).await.unwrap();
    let run = storage.lease(None).await.unwrap().run;
    let client = place.client().await;
    client.batch_execute("BEGIN; INSERT INTO build_deps VALUES (1, 2, 0, false)").await.unwrap();
    let sweep = sweeping(&place, run);
    until_waiting(&client, 1).await;
    unlock(&client).await;
    assert_eq!(sweep.await.unwrap().unwrap().builds, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_just_added_goes_with_the_event_that_is_swept() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    storage.commit(Commit::unfenced(vec![ended_event(1), new_build(2)])).await.unwrap();
    let run = storage.lease(None).await.unwrap().run;
    let client = place.client().await;
    client.batch_execute("BEGIN; INSERT INTO build_causes VALUES (2, 1, '[]', false)").await.unwrap();
    let sweep = sweeping(&place, run);
    until_waiting(&client, 1).await;
    unlock(&client).await;
    assert_eq!(sweep.await.unwrap().unwrap().events, 1);
    assert_eq!(storage.links(vec![BuildId(2)]).await.unwrap().causes, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sweeps_after_the_other() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    storage.commit(Commit::unfenced(vec![ended_event(1)])).await.unwrap();
    let run = storage.lease(None).await.unwrap().run;
    let client = place.client().await;
    lock(&client, "events").await;
    let sweeps = [sweeping(&place, run), sweeping(&place, run)];
    until_blocked(&place, 2).await;
    unlock(&client).await;
    let mut removed = 0;
    for sweep in sweeps {
        removed += sweep.await.unwrap().unwrap().events;
    }
    assert_eq!(removed, 1, "what one has removed the other one does not find");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_new_again_is_not_swept() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    storage.commit(Commit::unfenced(vec![RowChange::Receive(message(1))])).await.unwrap();
    let run = storage.lease(None).await.unwrap().run;
    let client = place.client().await;
    client.batch_execute("UPDATE inbox SET state = 4").await.unwrap();
    assert_eq!(storage.message("local", "1").await.unwrap().unwrap().state, InboxState::Dead);
    client.batch_execute("BEGIN; UPDATE inbox SET state = 0").await.unwrap();
    let sweep = sweeping(&place, run);
    until_waiting(&client, 1).await;
    unlock(&client).await;
    assert_eq!(sweep.await.unwrap().unwrap().messages, 0);
    assert!(storage.message("local", "1").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_a_conflict() {
    let Some(place) = Place::new() else { return };
    let _storage = with_rows(&place).await;
    let client = place.client().await;
    lock(&client, "builds WHERE id = 2").await;
    let storage = place.process();
    let changes = vec![changed_build(1, 0), changed_build(2, 0)];
    let waiting = tokio::spawn(async move { remedy(&storage.commit(Commit::unfenced(changes)).await) });
    until_waiting(&client, 1).await;
    // The server ends the transaction that waits for a second: that of the commit.
    client.batch_execute("SELECT 1 FROM builds WHERE id = 1 FOR UPDATE").await.unwrap();
    assert_eq!(waiting.await.unwrap(), Some(Remedy::Conflict));
    unlock(&client).await;
}

#[tokio::test]
async fn a_serialization_failure_is_a_conflict() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    let raise = "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'could not serialize' USING ERRCODE = '40001'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON inbox FOR EACH ROW EXECUTE FUNCTION fail()";
    place.client().await.batch_execute(raise).await.unwrap();
    let failed = storage.commit(Commit::unfenced(vec![RowChange::Receive(message(1))])).await;
    assert_eq!(remedy(&failed), Some(Remedy::Conflict), "{failed:?}");
}

#[tokio::test]
async fn tallies_stay_few() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    for id in 0..20 {
        storage.commit(Commit::unfenced(vec![RowChange::Receive(message(id))])).await.unwrap();
    }
    storage.lease(None).await.unwrap();
    let rows = place.client().await.query_one("SELECT count(*) FROM tallies", &[]).await.unwrap();
    assert_eq!(rows.get::<_, i64>(0), 1, "those of one state are added up");
    assert_eq!(storage.overview().await.unwrap().messages_waiting, 20);
}

/// A database of its own in which all sessions have a setting, and a client of it.
async fn with_setting(place: &Place, setting: &str) -> (PostgresStorage, Client) {
    let (client, database) = (place.client().await, &place.schema);
    client.batch_execute(&format!("CREATE DATABASE \"{database}\"")).await.unwrap();
    client.batch_execute(&format!("ALTER DATABASE \"{database}\" SET {setting}")).await.unwrap();
    let server: tokio_postgres::Config = super::place::url().parse().unwrap();
    let url = super::place::url().replace(server.get_dbname().unwrap(), &database.replace(' ', "%20"));
    let mut config = place.config_at(&url);
    config.schema = "public".to_owned();
    let storage = PostgresStorage::new(&config).unwrap();
    storage.upkeep().migrate().await.unwrap();
    let (beside, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    (storage, beside)
}

async fn remove_database(place: &Place) {
    let remove = format!("DROP DATABASE \"{}\" WITH (FORCE)", place.schema);
    place.client().await.batch_execute(&remove).await.unwrap();
}

#[tokio::test]
async fn commits_wait_for_the_disk() {
    let Some(place) = Place::new() else { return };
    let (storage, beside) = with_setting(&place, "synchronous_commit = off").await;
    let note = "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.topic := current_setting('synchronous_commit'); RETURN NEW; END $$;
        CREATE TRIGGER note BEFORE INSERT ON inbox FOR EACH ROW EXECUTE FUNCTION note()";
    beside.batch_execute(note).await.unwrap();
    storage.commit(Commit::unfenced(vec![RowChange::Receive(message(1))])).await.unwrap();
    let stored = storage.message("local", "1").await.unwrap().unwrap().message.topic;
    remove_database(&place).await;
    assert_eq!(stored, "on");
}

/// The server changes rows in the order in which it finds them, here that of the table.
#[tokio::test]
async fn a_slot_is_free_before_the_next_build_gets_it() {
    let Some(place) = Place::new() else { return };
    let (storage, beside) = with_setting(&place, "enable_nestloop = off").await;
    let next = BuildRecord { key: build(2).key, slot: BuildSlot::Successor, ..build(1) };
    let new = |record| RowChange::Build { record: Box::new(record), expected: None, replanned: false };
    storage.commit(Commit::unfenced(vec![new(next.clone()), new(build(2))])).await.unwrap();
    beside.batch_execute("ANALYZE builds").await.unwrap();
    let progress = |record| {
        let record = BuildRecord { version: 1, ..record };
        RowChange::Build { record: Box::new(record), expected: Some(0), replanned: false }
    };
    let ended = BuildRecord { state: BuildState::Done, done_at: Some(from_micros(1)), ..build(2) };
    let promoted = BuildRecord { slot: BuildSlot::Current, ..next };
    let done = storage.commit(Commit::unfenced(vec![progress(promoted), progress(ended)])).await;
    remove_database(&place).await;
    assert_eq!(remedy(&done), None, "{done:?}");
}

#[tokio::test]
async fn a_message_that_cannot_be_read_holds_up_no_other() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    let changes = [1, 2].map(|id| RowChange::Receive(message(id)));
    storage.commit(Commit::unfenced(changes.into())).await.unwrap();
    place.client().await.batch_execute("UPDATE inbox SET headers = 'x' WHERE message_id = '1'").await.unwrap();
    let run = storage.lease(None).await.unwrap().run;
    let claimed = storage.claim(&claim(run)).await.unwrap();
    assert_eq!(claimed.iter().map(|row| row.message_id.as_str()).collect::<Vec<_>>(), ["2"]);
}

//! How much is read for what is asked often, in a database with a long history.

use super::place::{Place, changed_build, notification};
use freshmaker::backend::{BuildFilter, Claim, DueLimits, EventFilter, Paging, Scope, Storage, StorageReads};
use freshmaker::rebuild::{AttemptId, BuildId, BuildKey, BuildMode, Commit, EventId, EventState, InboxState, RowKey};
use freshmaker_sql::PostgresStorage;
use std::time::Duration;
use tokio_postgres::Client;

/// 100,000 rows of each sort; the last 300 builds are ready or run, the last 300 messages are new.
const ROWS: &str = r#"
    INSERT INTO events (id, version, state, source, severity, message_id, handler, generation, kind, search_key, manual, payload, mode,
        reason_code, reason_text, builds_open, builds_done, builds_failed, created_at, done_at)
        SELECT n, 0, CASE WHEN n > 99900 THEN 1 ELSE 2 END, 'amqp', 1, 'm' || n, 'h', 1, 'TestingEvent', 'k' || n % 9000, false, '{}', 0, '', '',
            0, 0, 0, n, n FROM generate_series(1, 100000) AS n;
    INSERT INTO builds (id, version, state, system, build_key, artifact, target, mode, slot, kind, parameters, parents,
        because, pending, priority, tries, resubmits, attempts, no_cache, reason_code, reason_text, created_at, output)
        SELECT n, 0, CASE WHEN n > 99850 THEN 1 WHEN n > 99700 THEN 3 ELSE 6 END, 's' || n % 3, '["s' || n % 3 || '","a' || n % 5000 || '","","real"]',
            'a' || n % 5000, '', 0, 0, 1, '{}', '[]', 0, 0, n % 7, 0, 0, 0, false, '', '', n, '{"id":"o","digest":null}' FROM generate_series(1, 100000) AS n;
    INSERT INTO attempts (id, version, state, build, system, number, run, release, intent_at, reason_code, reason_text)
        SELECT 'a' || n, 0, CASE WHEN n > 99700 AND n <= 99850 THEN 1 ELSE 4 + n % 2 END, n, 's' || n % 3, 1, 1, '', n, '', '' FROM generate_series(1, 100000) AS n;
    INSERT INTO build_deps SELECT n, n + 1, 0, n < 99700 OR n % 10 <> 0 FROM generate_series(1, 99999) AS n;
    INSERT INTO build_causes SELECT n, n, '[]', true FROM generate_series(1, 100000) AS n;
    INSERT INTO plans SELECT n, '{}' FROM generate_series(1, 100000) AS n;
    INSERT INTO transitions (aggregate, id, version, to_state, reason_code, reason_text, run, at)
        SELECT 'build', n, 0, 'READY', '', '', 1, n FROM generate_series(1, 100000) AS n;
    INSERT INTO inbox (source, message_id, sender_id, topic, headers, body, state, tries, run, received_at)
        SELECT 'amqp', 'm' || n, '', '', '{}', '', CASE WHEN n > 99700 THEN 0 ELSE 2 END, 0, 0, n FROM generate_series(1, 100000) AS n;
    INSERT INTO notifications (partition, aggregate, id, version, topic, body)
        SELECT n % 8, 'build', n, 0, 't', '{}' FROM generate_series(1, 100000) AS n;
    INSERT INTO positions SELECT n, 'bus', 99000 FROM generate_series(0, 7) AS n;
    ANALYZE;
"#;

async fn engine(storage: &PostgresStorage, round: u32) {
    let run = storage.lease(None).await.unwrap().run;
    let pause_max = Duration::from_secs(300);
    let due = storage.due(run, DueLimits { ready: 20, attempts: 20, pause_max }).await.unwrap();
    assert!(due.ready.len() >= 60, "of each system");
    let claimed = storage.claim(&Claim { run, holding: Vec::new(), limit: 5, pause_max }).await.unwrap();
    assert_eq!(claimed.len(), 5);
    storage.durations(BuildMode::Real, 20).await.unwrap();
    assert_eq!(storage.notifications(Some(3), 99_000, 20).await.unwrap().items.len(), 20);
    assert_eq!(storage.notifications(None, 99_000, 20).await.unwrap().items.len(), 20);
    storage.outbox().await.unwrap();
    let key = BuildKey { system: "s0".into(), artifact: "a3".into(), target: String::new(), mode: BuildMode::Real };
    for scope in [
        Scope::Builds(vec![BuildId(99_900)]),
        Scope::Descendants(vec![BuildId(99_900)]),
        Scope::Attempt(AttemptId::new("a99800")),
        Scope::Event(EventId(99_950)),
        Scope::Keys(vec![key]),
        Scope::Renewal(BuildId(99_990)),
    ] {
        storage.load(&scope).await.unwrap();
    }
    let changes = vec![changed_build(99_900, round), notification(1, 1000 + round)];
    let mut commit = Commit::by(run, changes);
    commit.unchanged = vec![(RowKey::Build(BuildId(1)), 0), (RowKey::Attempt(AttemptId::new("a1")), 0)];
    commit.at_most = vec![("s1".to_owned(), 100)];
    commit.edges = Some(0);
    storage.commit(commit).await.unwrap();
    storage.release(run).await.unwrap();
}

async fn pages(storage: &PostgresStorage) {
    storage.overview().await.unwrap();
    storage.message("amqp", "m5").await.unwrap().unwrap();
    storage.attempts(vec![BuildId(5)]).await.unwrap();
    storage.transitions(&RowKey::Build(BuildId(5))).await.unwrap();
    assert_eq!(storage.messages(vec![InboxState::Dead], Paging::first(20)).await.unwrap().items.len(), 0);
    let open = EventFilter { states: vec![EventState::Building], ..EventFilter::default() };
    assert_eq!(storage.events(open, Paging::first(20)).await.unwrap().items.len(), 20);
    let about = EventFilter { search_keys: vec!["k5".into()], ..EventFilter::default() };
    assert_eq!(storage.events(about, Paging::first(20)).await.unwrap().items.len(), 12);
    let by_kind = EventFilter { kinds: vec!["TestingEvent".into()], ..EventFilter::default() };
    assert_eq!(storage.events(by_kind, Paging::first(20)).await.unwrap().items.len(), 20);
    let behind = Paging { behind: Some(50_000), counted: true, ..Paging::first(20) };
    let page = storage.events(EventFilter::default(), behind).await.unwrap();
    assert_eq!((page.items[0].id, page.items.len(), page.total), (EventId(49_999), 20, Some(100_000)));
    let of_event = BuildFilter { events: vec![EventId(5)], ..BuildFilter::default() };
    assert_eq!(storage.builds(of_event, Paging::first(20)).await.unwrap().items.len(), 1);
    let of_artifact = BuildFilter { artifacts: vec!["a5".into()], ..BuildFilter::default() };
    assert_eq!(storage.builds(of_artifact, Paging::first(20)).await.unwrap().items.len(), 20);
}

/// Of each table of the schema, how many rows were read, and how many of them by reading the table
/// as a whole, since the statistics were made new.
async fn read(client: &Client, schema: &str) -> Vec<(String, i64, i64)> {
    let asked = "SELECT relname::TEXT, seq_scan, seq_tup_read, coalesce((SELECT sum(idx_tup_read)::BIGINT FROM pg_stat_user_indexes AS i \
                 WHERE i.relid = t.relid), 0) FROM pg_stat_user_tables AS t WHERE schemaname = $1 ORDER BY relname";
    let rows = client.query(asked, &[&schema]).await.unwrap();
    rows.into_iter().map(|row| (row.get(0), row.get(1), row.get::<_, i64>(2) + row.get::<_, i64>(3))).collect()
}

/// The statistics have what a session did when it has ended.
async fn until_ended(client: &Client, schema: &str) {
    let asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
    loop {
        let sessions: i64 = client.query_one(asked, &[&schema]).await.unwrap().get(0);
        if sessions == 0 {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_often_reads_few_rows() {
    const ROUNDS: u32 = 8;
    const BIG: [&str; 9] = [
        "attempts",
        "build_causes",
        "build_deps",
        "builds",
        "events",
        "inbox",
        "notifications",
        "plans",
        "transitions",
    ];
    let Some(place) = Place::new() else { return };
    let config = place.config();
    let client = place.client().await;
    PostgresStorage::new(&config).unwrap().upkeep().migrate().await.unwrap();
    // To make an index is to read the table.
    until_ended(&client, &place.schema).await;
    client.batch_execute(ROWS).await.unwrap();
    let storage = PostgresStorage::new(&config).unwrap();
    let before = read(&client, &place.schema).await;
    // After the fifth time the server may plan without looking at the values.
    for round in 0..ROUNDS {
        engine(&storage, round).await;
    }
    pages(&storage).await;
    drop(storage);
    until_ended(&client, &place.schema).await;
    let after = read(&client, &place.schema).await;
    let mut checked = 0;
    for ((table, whole, rows), (_, whole_before, rows_before)) in after.iter().zip(&before) {
        if BIG.contains(&table.as_str()) {
            checked += 1;
            assert_eq!(whole - whole_before, 0, "{table} is read as a whole");
            let each = (rows - rows_before) / i64::from(ROUNDS);
            assert!(each < 3000, "{table}: {each} rows a round");
        }
    }
    assert_eq!(checked, BIG.len());
}

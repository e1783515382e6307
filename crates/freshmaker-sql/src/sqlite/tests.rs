use super::SqliteStorage;
use super::rows::Place;
use super::schema::{attempts, build_deps, builds, events, inbox};
use diesel::connection::{InstrumentationEvent, SimpleConnection};
use diesel::sql_types::{BigInt, Text};
use diesel::{Connection, ExpressionMethods, QueryableByName, RunQueryDsl, SqliteConnection};
use freshmaker::artifact::ArtifactKind;
use freshmaker::backend::{
    BuildFilter, Claim, Documents, DueLimits, EventFilter, NewDocument, Paging, Remedy, Scope, Storage, StorageReads,
};
use freshmaker::rebuild::{
    Actor, AttemptId, AttemptState, BuildId, BuildKey, BuildMode, BuildState, Commit, EventId, EventState, ExternalId,
    InboxState, RowChange, RowKey,
};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ROWS: &str = "
    INSERT INTO events (id, version, state, source, severity, message_id, handler, generation, kind, search_key, manual, payload, mode,
        reason_code, reason_text, builds_open, builds_done, builds_failed, created_at)
        VALUES (1, 0, 1, 'amqp', 1, 'm', 'h', 1, 'TestingEvent', 'k', 0, '{}', 0, '', '', 1, 0, 0, 0);
    INSERT INTO builds (id, version, state, system, build_key, artifact, target, mode, slot, kind, parameters, parents,
        because, pending, priority, tries, resubmits, attempts, no_cache, reason_code, reason_text, created_at)
        VALUES (1, 0, 3, 's', '[\"s\",\"a\",\"\",\"real\"]', 'a', '', 0, 0, 1, '{}', '[]', 0, 0, 0, 0, 0, 0, 0, '', '', 0);
    INSERT INTO builds SELECT 2, version, 1, system, '[\"s\",\"b\",\"\",\"real\"]', 'b', target, mode, slot, kind, source, parameters,
        parents, because, inputs, pending, priority, estimate, tries, resubmits, attempts, no_cache, release, not_before,
        reason_code, reason_text, output, cancel_at, created_at, done_at, asked, demands FROM builds;
    INSERT INTO attempts (id, version, state, build, system, number, run, release, intent_at, reason_code,
        reason_text) VALUES ('a1', 0, 0, 1, 's', 1, 1, '', 0, '', '');
    INSERT INTO build_deps VALUES (1, 2, 0, 0);
    INSERT INTO build_causes VALUES (1, 1, '[]', 1), (2, 1, '[]', 1);
    INSERT INTO inbox (source, message_id, sender_id, topic, headers, body, state, tries, run, received_at)
        VALUES ('amqp', 'm', '', '', '{}', x'', 0, 0, 0, 0);
";

async fn with_rows() -> SqliteStorage {
    let storage = SqliteStorage::in_memory().unwrap();
    storage.upkeep().migrate().await.unwrap();
    on(&storage, |connection| connection.batch_execute(ROWS).unwrap());
    storage
}

fn on<T>(storage: &SqliteStorage, work: impl FnOnce(&mut SqliteConnection) -> T) -> T {
    work(&mut storage.queue.session().connection)
}

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

#[derive(QueryableByName)]
struct Words {
    #[diesel(sql_type = Text)]
    value: String,
}

/// The statements that some calls send.
async fn statements(storage: &SqliteStorage, calls: impl AsyncFn(&SqliteStorage)) -> Vec<String> {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sent);
    on(storage, |connection| {
        connection.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            if let InstrumentationEvent::StartQuery { query, .. } = event {
                seen.lock().unwrap().push(query.to_string());
            }
        });
    });
    calls(storage).await;
    on(storage, |connection| connection.set_instrumentation(|_: InstrumentationEvent<'_>| {}));
    let sent = std::mem::take(&mut *sent.lock().unwrap());
    let sent = sent.into_iter().map(|text| text.split(" -- binds").next().unwrap_or_default().to_owned());
    sent.filter(|text| ["SELECT", "UPDATE", "DELETE"].iter().any(|verb| text.starts_with(verb))).collect()
}

fn plan(storage: &SqliteStorage, statement: &str) -> Vec<String> {
    let explain = diesel::sql_query(format!("EXPLAIN QUERY PLAN {statement}"));
    let steps = on(storage, |connection| explain.load::<Step>(connection)).unwrap();
    steps.into_iter().map(|step| step.detail).collect()
}

/// Tables with a row for each process, partition, bus or state are read as a whole. `CONSTANT` is
/// SQLite's word for no table.
const SMALL: [&str; 6] = ["CONSTANT", "json_each", "runs", "partitions", "positions", "tallies"];

#[tokio::test]
async fn what_is_asked_often_reads_no_whole_table() {
    let storage = with_rows().await;
    let key = BuildKey { system: "s".into(), artifact: "a".into(), target: String::new(), mode: BuildMode::Real };
    let calls = async |storage: &SqliteStorage| {
        let run = storage.lease(None).await.unwrap().run;
        storage.lease(Some(run)).await.unwrap();
        storage.due(run, DueLimits { ready: 9, attempts: 9, pause_max: Duration::from_secs(300) }).await.unwrap();
        storage.notifications(Some(0), 0, 9).await.unwrap();
        storage.outbox().await.unwrap();
        storage.overview().await.unwrap();
        storage.durations(BuildMode::Real, 9).await.unwrap();
        storage
            .claim(&Claim { run, holding: Vec::new(), limit: 9, pause_max: Duration::from_secs(300) })
            .await
            .unwrap();
        storage.message("amqp", "m").await.unwrap();
        storage.attempts(vec![BuildId(1)]).await.unwrap();
        storage.transitions(&RowKey::Build(BuildId(1))).await.unwrap();
        storage.messages(vec![InboxState::Dead], Paging::first(9)).await.unwrap();
        for scope in [
            Scope::Builds(vec![BuildId(1)]),
            Scope::Descendants(vec![BuildId(1)]),
            Scope::Attempt(AttemptId::new("a1")),
            Scope::Event(EventId(1)),
            Scope::Keys(vec![key.clone()]),
            Scope::All(vec![Scope::Builds(vec![BuildId(1)]), Scope::Renewal(BuildId(2))]),
        ] {
            storage.load(&scope).await.unwrap();
        }
        let build = storage.load(&Scope::Builds(vec![BuildId(2)])).await.unwrap().builds.remove(&BuildId(2)).unwrap();
        let record = freshmaker::rebuild::BuildRecord { version: 1, ..build };
        let mut commit =
            Commit::by(run, vec![RowChange::Build { record: Box::new(record), expected: Some(0), replanned: true }]);
        commit.unchanged = vec![(RowKey::Build(BuildId(1)), 0), (RowKey::Attempt(AttemptId::new("a1")), 0)];
        commit.at_most = vec![("s".to_owned(), 1)];
        commit.edges = Some(0);
        storage.commit(commit).await.unwrap();
        let filter = BuildFilter { events: vec![EventId(1)], ..BuildFilter::default() };
        storage.builds(filter, Paging::first(9)).await.unwrap();
        let filter = BuildFilter { artifacts: vec!["a".into()], ..BuildFilter::default() };
        storage.builds(filter, Paging::first(9)).await.unwrap();
        let filter = EventFilter { search_keys: vec!["k".into()], ..EventFilter::default() };
        storage.events(filter, Paging::first(9)).await.unwrap();
        let filter = EventFilter { kinds: vec!["k".into()], requesters: vec!["r".into()], ..EventFilter::default() };
        storage.events(filter, Paging::first(9)).await.unwrap();
        let filter = EventFilter { states: vec![EventState::Building], ..EventFilter::default() };
        storage.events(filter, Paging::first(9).counted()).await.unwrap();
        let filter = BuildFilter { externals: vec![ExternalId::new("7")], ..BuildFilter::default() };
        storage.builds(filter, Paging::first(9)).await.unwrap();
        let filter = BuildFilter { outputs: vec!["a-1-2".into()], ..BuildFilter::default() };
        storage.builds(filter, Paging::first(9)).await.unwrap();
        let filter = EventFilter { ids: vec![EventId(1)], ..EventFilter::default() };
        storage.events_with_counts(filter, Paging::first(9)).await.unwrap();
        let filter = BuildFilter { ids: vec![BuildId(1)], ..BuildFilter::default() };
        storage.builds_with_links(filter, Paging::first(9)).await.unwrap();
        storage.links(vec![BuildId(1)]).await.unwrap();
        storage.notifications(None, 0, 9).await.unwrap();
        storage.put(NewDocument { keep: Some(2), ..NewDocument::new("k", "1", "a".into()) }).await.unwrap();
        storage.get("k", "1").await.unwrap();
        storage.list("k", None, 9).await.unwrap();
        storage.remove("k", "1").await.unwrap();
    };
    let statements = statements(&storage, calls).await;
    assert!(statements.len() > 40, "{statements:?}");
    for statement in statements {
        let steps = plan(&storage, &statement);
        let scans = |step: &String| {
            step.strip_prefix("SCAN ")
                .is_some_and(|rest| !SMALL.iter().any(|table| rest.split(' ').next() == Some(table)))
        };
        assert!(!steps.iter().any(scans), "{statement}\n{steps:#?}");
        let sorts = steps.iter().any(|step| step.contains("TEMP B-TREE FOR ORDER BY"));
        assert!(!sorts || !statement.contains("LIMIT"), "{statement}\n{steps:#?}");
    }
}

/// To prepare a statement takes longer than to run it.
#[tokio::test]
async fn lists_are_prepared_once() {
    let storage = with_rows().await;
    let (kept, sent) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(Mutex::new(BTreeSet::new())));
    let (keeps, sends) = (Arc::clone(&kept), Arc::clone(&sent));
    on(&storage, |connection| {
        connection.set_instrumentation(move |event: InstrumentationEvent<'_>| match event {
            InstrumentationEvent::CacheQuery { sql, .. } => drop(keeps.lock().unwrap().insert(sql.to_owned())),
            InstrumentationEvent::StartQuery { query, .. } => {
                let text = query.to_string();
                let text = text.split(" -- binds").next().unwrap_or_default().trim().to_owned();
                sends.lock().unwrap().extend(text.starts_with("SELECT").then_some(text));
            }
            _ => {}
        });
    });
    let first = Paging::first(9);
    let kinds = vec![ArtifactKind::Rpm, ArtifactKind::Image, ArtifactKind::Module, ArtifactKind::ImageRepository];
    let shown = BuildFilter { kinds, ..BuildFilter::default() };
    for paging in [first, first.counted(), first.behind(7), first.oldest_first()] {
        storage.events(EventFilter::default(), paging).await.unwrap();
        let filter = EventFilter { states: vec![EventState::Building], ..EventFilter::default() };
        storage.events(EventFilter { kinds: vec!["k".into(), "l".into()], ..filter }, paging).await.unwrap();
        storage.builds(shown.clone(), paging).await.unwrap();
        storage.builds(BuildFilter { events: vec![EventId(1)], ..shown.clone() }, paging).await.unwrap();
        storage.builds(BuildFilter { names: vec!["a".into()], ..shown.clone() }, paging).await.unwrap();
        storage.messages(vec![InboxState::Dead, InboxState::New], paging).await.unwrap();
    }
    storage.count_events(EventFilter::default()).await.unwrap();
    storage.count_builds(BuildFilter::default()).await.unwrap();
    storage.events_with_counts(EventFilter::default(), Paging::first(9)).await.unwrap();
    storage.builds_with_links(BuildFilter::default(), Paging::first(9)).await.unwrap();
    storage.links(vec![BuildId(1)]).await.unwrap();
    storage.attempts(vec![BuildId(1)]).await.unwrap();
    let missing: Vec<_> = sent.lock().unwrap().difference(&kept.lock().unwrap()).cloned().collect();
    assert!(missing.is_empty() && sent.lock().unwrap().len() > 20, "{missing:#?}");
    // They are kept for ever, so a question that is rarely repeated is not kept.
    let before = kept.lock().unwrap().len();
    let rare = EventFilter { search_keys: vec!["k".into()], requesters: vec!["r".into()], ..EventFilter::default() };
    let rare = EventFilter { message_ids: vec!["m".into()], ..rare };
    storage.events(rare, first).await.unwrap();
    let names = vec!["a".into(), "b".into()];
    storage.builds(BuildFilter { names, ..BuildFilter::default() }, first).await.unwrap();
    assert_eq!(kept.lock().unwrap().len(), before);
}

/// Lists that leave repositories out count nothing but repositories.
#[tokio::test]
async fn a_total_without_repositories_reads_no_whole_table() {
    let storage = with_rows().await;
    let kinds = vec![ArtifactKind::Rpm, ArtifactKind::Image, ArtifactKind::Module, ArtifactKind::ImageRepository];
    let some = BuildFilter { kinds, ..BuildFilter::default() };
    let open = BuildFilter { states: vec![BuildState::Ready, BuildState::Building], ..some.clone() };
    let total = async |filter: &BuildFilter| {
        storage.builds(filter.clone(), Paging::first(9).counted()).await.unwrap().total.unwrap()
    };
    for filter in [&some, &open] {
        let statements = statements(&storage, async |storage| {
            storage.builds(filter.clone(), Paging::first(9).counted()).await.unwrap();
        })
        .await;
        let counts: Vec<_> = statements.iter().filter(|text| text.contains("COUNT(*)")).collect();
        assert_eq!(counts.len(), 1, "{statements:#?}");
        let steps = plan(&storage, counts[0]);
        assert!(steps.iter().any(|step| step.contains("builds_repositories")), "{steps:#?}");
        assert_eq!(total(filter).await, 2);
    }
    let repository = "UPDATE builds SET kind = 4 WHERE id = 1";
    on(&storage, |connection| connection.batch_execute(repository).unwrap());
    for filter in [&some, &open] {
        assert_eq!(total(filter).await, 1);
    }
    let done = BuildFilter { states: vec![BuildState::Done], ..some };
    assert_eq!(total(&done).await, 0);
}

#[tokio::test]
async fn the_settings_are_as_promised() {
    let directory = tempfile::TempDir::new().unwrap();
    let storage = SqliteStorage::open(directory.path().join("state.db")).unwrap();
    let number = |pragma: &str| {
        let query = diesel::sql_query(format!("SELECT {pragma} AS value FROM pragma_{pragma}"));
        on(&storage, |connection| query.get_result::<Number>(connection)).unwrap().value
    };
    assert_eq!(number("synchronous"), 2, "FULL");
    assert_eq!(number("foreign_keys"), 1);
    let timeout = diesel::sql_query("SELECT timeout AS value FROM pragma_busy_timeout");
    assert_eq!(on(&storage, |connection| timeout.get_result::<Number>(connection)).unwrap().value, 5000);
    let mode = diesel::sql_query("SELECT journal_mode AS value FROM pragma_journal_mode");
    assert_eq!(on(&storage, |connection| mode.get_result::<Words>(connection)).unwrap().value, "wal");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named() {
    let storage = with_rows().await;
    let broken = [
        ("UPDATE builds SET parameters = '[' WHERE id = 1", "builds 1", "parameters"),
        ("UPDATE builds SET parameters = '{}', tries = -1 WHERE id = 1", "builds 1", "tries"),
        ("UPDATE builds SET tries = 0, kind = 99 WHERE id = 1", "builds 1", "kind: unknown number 99"),
    ];
    for (change, place, text) in broken {
        on(&storage, |connection| connection.batch_execute(change).unwrap());
        let error = storage.load(&Scope::Builds(vec![BuildId(1)])).await.unwrap_err();
        assert_eq!((error.remedy, error.place.as_str()), (Remedy::Corrupt, place));
        assert!(error.text.contains(text), "{error}");
    }
    on(&storage, |connection| connection.batch_execute("UPDATE events SET plan = 'x'").unwrap());
    let page = storage.events(EventFilter::default(), Paging::first(1).counted()).await.unwrap();
    assert_eq!((page.items.len(), page.total, page.unreadable.len()), (0, Some(1), 1), "left out, and reported");
    assert!(page.unreadable[0].text.starts_with("events 1: plan: "), "{page:?}");
    let unknown = Place { table: "builds", id: &1 }.coded("state", 11, BuildState::from_number).unwrap_err();
    assert_eq!(unknown.to_string(), "builds 1: state: unknown number 11");
}

/// Whatever is wrong with a row stops nothing that is not its own.
#[tokio::test]
async fn rows_that_cannot_be_read_stop_no_others() {
    let storage = with_rows().await;
    let run = storage.lease(None).await.unwrap().run;
    on(&storage, |connection| {
        connection
            .batch_execute(
                "INSERT INTO inbox (source, message_id, sender_id, topic, headers, body, state, tries, run, received_at)
                     VALUES ('amqp', 'n', '', '', '{}', x'', 0, 0, 0, 0);
                 UPDATE inbox SET headers = '[' WHERE message_id = 'm';
                 INSERT INTO builds SELECT 3, version, 1, system, '[\"s\",\"c\",\"\",\"real\"]', 'c', target, mode, slot, kind,
                     source, '[', parents, because, inputs, 0, priority, estimate, tries, resubmits, attempts, no_cache,
                     release, not_before, reason_code, reason_text, output, cancel_at, created_at, done_at, asked, demands
                     FROM builds WHERE id = 1;
                 UPDATE builds SET pending = 0, state = 1 WHERE id = 2;
                 INSERT INTO notifications (partition, position, topic, aggregate, id, version, body)
                     VALUES (0, 1, 't', 'build', '1', 1, '{}'), (0, 2, 't', 'build', '1', 2, '[');",
            )
            .unwrap();
    });
    let claimed = storage
        .claim(&Claim { run, holding: Vec::new(), limit: 9, pause_max: Duration::from_secs(300) })
        .await
        .unwrap();
    assert_eq!(claimed.iter().map(|row| row.message_id.as_str()).collect::<Vec<_>>(), ["n"]);
    let dead = storage.messages(vec![InboxState::Dead], Paging::first(9)).await.unwrap().items;
    assert_eq!(dead.iter().map(|row| row.message_id.as_str()).collect::<Vec<_>>(), ["m"], "it can be looked at");
    let due = storage.due(run, DueLimits { ready: 9, attempts: 9, pause_max: Duration::from_secs(300) }).await.unwrap();
    assert_eq!(due.ready.iter().map(|row| row.id.0).collect::<Vec<_>>(), [2]);
    assert_eq!(due.attempts.len(), 1);
    assert!(due.unreadable[0].text.starts_with("builds 3: parameters: "), "{due:?}");
    let told = storage.notifications(Some(0), 0, 9).await.unwrap();
    assert_eq!((told.items.len(), told.end, told.unreadable.len()), (1, 2, 1), "the position goes past it");
    let end = |number| format!("UPDATE attempts SET state = 4; UPDATE builds SET kind = {number} WHERE id = 1");
    for (number, known) in [(99, 0), (1, 1)] {
        on(&storage, |connection| connection.batch_execute(&end(number)).unwrap());
        assert_eq!(storage.durations(BuildMode::Real, 9).await.unwrap().len(), known, "it is no estimate");
    }
}

/// A list does not fail because of what it does not show.
#[tokio::test]
async fn brief_rows_are_without_what_they_are_made_of() {
    let storage = with_rows().await;
    let change =
        "UPDATE builds SET parameters = '{\"branch\": \"main\"}'; UPDATE builds SET parents = '[' WHERE id = 2;
        UPDATE events SET payload = '[1]'";
    on(&storage, |connection| connection.batch_execute(change).unwrap());
    let builds = async |paging| storage.builds(BuildFilter::default(), paging).await.unwrap();
    let (whole, brief) = (builds(Paging::first(9)).await, builds(Paging::first(9).brief()).await);
    assert_eq!((whole.items.len(), whole.unreadable.len()), (1, 1));
    assert!(!whole.items[0].parameters.is_empty());
    assert_eq!((brief.items.len(), brief.unreadable.len()), (2, 0));
    assert!(brief.items.iter().all(|build| build.parameters.is_empty()));
    let events = storage.events(EventFilter::default(), Paging::first(9).brief()).await.unwrap();
    assert!(events.items[0].envelope.payload.is_null());
}

#[tokio::test]
async fn states_outside_the_enums_are_refused() {
    let storage = with_rows().await;
    on(&storage, |connection| {
        assert!(diesel::update(builds::table).set(builds::state.eq(11)).execute(connection).is_err());
        assert!(diesel::update(events::table).set(events::state.eq(6)).execute(connection).is_err());
        assert!(diesel::update(attempts::table).set(attempts::state.eq(9)).execute(connection).is_err());
        assert!(diesel::update(inbox::table).set(inbox::state.eq(5)).execute(connection).is_err());
        assert!(diesel::update(build_deps::table).set(build_deps::kind.eq(2)).execute(connection).is_err());
    });
}

#[test]
fn the_numbers_in_the_migration_are_those_of_the_states() {
    for state in BuildState::ALL {
        assert_eq!(state.number() < 6, !state.is_terminal(), "{state}: builds_one_per_slot");
    }
    for state in AttemptState::ALL {
        assert_eq!(state.number() < 4, state.is_live(), "{state}: attempts_one_live");
    }
    assert_eq!(ArtifactKind::Repository.number(), 4, "builds_repositories");
}

/// What version 0.1 wrote: a build that runs under the lease 7, one that waits for it, a message in
/// work, and a notification that was not published.
const ROWS_OF_0_1: &str = "
    INSERT INTO kinds VALUES ('TestingEvent', 1000);
    INSERT INTO events (id, version, state, message_id, handler, generation, kind, search_key, manual, payload, mode,
        reason_code, reason_text, builds_open, builds_done, builds_failed, created_at)
        VALUES (1, 0, 1, 'm', 'h', 1, 'TestingEvent', 'k', 0, '{}', 0, '', '', 2, 0, 0, 0);
    INSERT INTO builds (id, version, state, system, build_key, artifact, target, mode, slot, kind, parameters, parents,
        because, pending, priority, tries, resubmits, attempts, no_cache, reason_code, reason_text, created_at)
        VALUES (1, 0, 3, 's', '[\"s\",\"a\",\"\",\"real\"]', 'a', '', 0, 0, 1, '{}', '[]', 0, 0, 0, 1, 0, 1, 0, '', '', 0),
            (2, 0, 0, 's', '[\"s\",\"b\",\"\",\"real\"]', 'b', '', 0, 0, 1, '{}', '[]', 0, 1, 0, 0, 0, 0, 0, '', '', 0);
    INSERT INTO attempts (id, version, state, build, system, number, owner, release, external, intent_at,
        reason_code, reason_text) VALUES ('a1', 0, 1, 1, 's', 1, 7, '', 'x', 0, '', '');
    INSERT INTO build_deps VALUES (1, 2, 0, 0);
    INSERT INTO build_causes VALUES (1, 1, '[]', 1), (2, 1, '[]', 1);
    INSERT INTO inbox (source, message_id, sender_id, topic, headers, body, state, tries, owner, received_at)
        VALUES ('amqp', 'n', '', '', '{}', x'', 1, 1, 7, 0);
    INSERT INTO transitions (aggregate, id, version, from_state, to_state, reason_code, reason_text, at, owner)
        VALUES ('build', '1', 0, NULL, 'BUILDING', '', '', 0, 7);
    INSERT INTO outbox (aggregate, id, version, topic, body) VALUES ('build', '1', 0, 't', '{}');
    INSERT INTO leases VALUES ('engine', 7, 0);
";

#[tokio::test]
async fn a_database_of_version_0_1_goes_on() {
    let storage = SqliteStorage::in_memory().unwrap();
    on(&storage, |connection| {
        use diesel_migrations::MigrationHarness;
        for _ in 0..4 {
            connection.run_next_migration(super::MIGRATIONS).unwrap();
        }
        connection.batch_execute(ROWS_OF_0_1).unwrap();
    });
    storage.upkeep().migrate().await.unwrap();
    let run = storage.lease(None).await.unwrap().run;
    assert!(run.0 > 7, "tokens go on to grow: {run}");
    let due = storage.due(run, DueLimits { ready: 9, attempts: 9, pause_max: Duration::from_secs(300) }).await.unwrap();
    assert_eq!(due.attempts.len(), 1, "what an earlier run began is taken over: {due:?}");
    let claimed = storage
        .claim(&Claim { run, holding: Vec::new(), limit: 9, pause_max: Duration::from_secs(300) })
        .await
        .unwrap();
    assert_eq!(claimed.len(), 1);
    let rows = storage.load(&Scope::Builds(vec![BuildId(1)])).await.unwrap();
    assert_eq!((rows.builds.len(), rows.dependencies.len(), rows.events.len()), (2, 1, 1));
    assert_eq!(storage.notifications(Some(0), 0, 9).await.unwrap().items.len(), 1, "it is still to be published");
    assert_eq!(storage.transitions(&RowKey::Build(BuildId(1))).await.unwrap()[0].actor, Actor::Engine);
    assert_eq!(storage.overview().await.unwrap().events_open, 1);
}

#[tokio::test]
async fn a_migration_can_be_taken_back() {
    let storage = with_rows().await;
    on(&storage, |connection| {
        use diesel_migrations::MigrationHarness;
        connection.revert_all_migrations(super::MIGRATIONS).unwrap();
        let tables = diesel::sql_query(
            "SELECT count(*) AS value FROM sqlite_schema WHERE type IN ('table', 'index', 'trigger') \
             AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '\\_\\_diesel%' ESCAPE '\\'",
        );
        assert_eq!(tables.get_result::<Number>(connection).unwrap().value, 0, "nothing is left");
    });
    storage.upkeep().migrate().await.unwrap();
}

#[tokio::test]
async fn a_connection_left_within_a_transaction_is_replaced() {
    let directory = tempfile::TempDir::new().unwrap();
    let storage = SqliteStorage::open(directory.path().join("state.db")).unwrap();
    storage.upkeep().migrate().await.unwrap();
    let panicked = storage.run(|session| -> freshmaker::backend::Result<()> {
        session.connection.immediate_transaction(|_| -> Result<(), super::Failure> { panic!("in the middle") }).ok();
        Ok(())
    });
    assert_eq!(panicked.await.unwrap_err().remedy, Remedy::Unclear);
    assert_eq!(storage.reserve(1).await.unwrap(), 1, "the next call has a new connection");
}

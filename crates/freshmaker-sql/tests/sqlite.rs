//! The contract suite of storages against SQLite, and what only a file can show.
#![allow(clippy::unwrap_used)]

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use freshmaker::backend::{
    BuildFilter, Claim, DueLimits, EventFilter, NewDocument, Paging, Remedy, Scope, Storage, StorageReads,
};
use freshmaker::client::{Client, StuckSubject};
use freshmaker::event::Message;
use freshmaker::rebuild::{BuildId, Commit, EventId, InboxRecord, InboxState, RowChange, RunId};
use freshmaker::time::from_micros;
use freshmaker_sql::SqliteStorage;
use freshmaker_testing::conformance;
use freshmaker_testing::world::TokioClock;
use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;
use tempfile::TempDir;

fn message(id: &str) -> RowChange {
    let message = Message { id: id.into(), topic: "t".into(), headers: Default::default(), body: b"x".to_vec() };
    RowChange::Receive(InboxRecord::new("local", message, from_micros(0)))
}

fn claim(run: RunId) -> Claim {
    Claim { run, holding: Vec::new(), limit: 9, pause_max: Duration::from_secs(300) }
}

async fn in_file() {
    let directories = RefCell::new(Vec::new());
    conformance::storage(async |clock| {
        let directory = TempDir::new().expect("a directory");
        let storage = SqliteStorage::open(directory.path().join("state.db")).expect("a database").with_clock(clock);
        directories.borrow_mut().push(directory);
        storage
    })
    .await;
}

#[tokio::test]
async fn a_file_keeps_the_contract() {
    in_file().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_keeps_the_contract_on_several_threads() {
    in_file().await;
}

#[tokio::test]
async fn in_memory_keeps_the_contract() {
    conformance::storage(async |clock| SqliteStorage::in_memory().unwrap().with_clock(clock)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_memory_keeps_the_contract_on_several_threads() {
    conformance::storage(async |clock| SqliteStorage::in_memory().unwrap().with_clock(clock)).await;
}

#[tokio::test]
async fn a_reopened_file_has_everything() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.db");
    let storage = SqliteStorage::open(&path).unwrap();
    storage.upkeep().migrate().await.unwrap();
    storage.commit(Commit::unfenced(vec![message("1")])).await.unwrap();
    let (token, number) = (storage.lease(None).await.unwrap().run, storage.reserve(5).await.unwrap());
    drop(storage);

    let storage = SqliteStorage::open(&path).unwrap();
    storage.upkeep().migrate().await.unwrap();
    assert!(storage.message("local", "1").await.unwrap().is_some());
    assert!(storage.lease(None).await.unwrap().run > token);
    assert!(storage.reserve(1).await.unwrap() >= number + 5);
    assert_eq!(storage.check_consistency().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_may_migrate_at_once() {
    let directory = TempDir::new().unwrap();
    let storages: Vec<_> = (0..4).map(|_| SqliteStorage::open(directory.path().join("state.db")).unwrap()).collect();
    let migrations = storages.into_iter().map(|storage| tokio::spawn(async move { storage.upkeep().migrate().await }));
    for migration in migrations.collect::<Vec<_>>() {
        migration.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_future_leaves_nothing_locked() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.db");
    let storage = SqliteStorage::open(&path).unwrap();
    let other = SqliteStorage::open(&path).unwrap();
    storage.upkeep().migrate().await.unwrap();
    for round in 0..50 {
        let changes = (0..20).map(|id| message(&format!("{round}-{id}"))).collect();
        let mut writing = Box::pin(storage.commit(Commit::unfenced(changes)));
        let _begun = writing.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(writing);
        other.commit(Commit::unfenced(vec![message(&format!("other-{round}"))])).await.unwrap();
    }
    for _ in 0..500 {
        if storage.message("local", "49-19").await.unwrap().is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a call that was begun is not finished");
}

#[tokio::test]
async fn one_engine_at_a_time_has_a_file() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.db");
    let first = SqliteStorage::open(&path).unwrap();
    let second = SqliteStorage::open(&path).unwrap();
    first.upkeep().migrate().await.unwrap();
    let token = first.lease(None).await.unwrap().run;
    assert!(first.lease(None).await.unwrap().run > token, "the holder may begin a new run");
    let error = second.lease(None).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Conflict);
    assert!(error.to_string().contains("state.db.lock"), "{error}");
    assert!(second.message("local", "1").await.unwrap().is_none(), "it can still read");
    drop(first);
    assert!(second.lease(None).await.unwrap().run.0 > token.0 + 1);
}

#[tokio::test]
async fn the_leases_of_the_process_before_are_over() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.db");
    let storage = SqliteStorage::open(&path).unwrap();
    storage.upkeep().migrate().await.unwrap();
    storage.commit(Commit::unfenced(vec![message("1")])).await.unwrap();
    let dead = storage.lease(None).await.unwrap().run;
    assert_eq!(storage.claim(&claim(dead)).await.unwrap().len(), 1);
    drop(storage);

    let storage = SqliteStorage::open(&path).unwrap();
    let run = storage.lease(None).await.unwrap().run;
    assert_eq!(storage.claim(&claim(run)).await.unwrap().len(), 1, "at once, however long a lease holds");
}

#[tokio::test]
async fn a_message_that_cannot_be_read_holds_up_no_other() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.db");
    let storage = SqliteStorage::open(&path).unwrap();
    storage.upkeep().migrate().await.unwrap();
    storage.commit(Commit::unfenced(vec![message("1"), message("2")])).await.unwrap();
    let mut beside = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    beside.batch_execute("UPDATE inbox SET headers = 'x' WHERE message_id = '1'").unwrap();
    let run = storage.lease(None).await.unwrap().run;
    let claimed = storage.claim(&claim(run)).await.unwrap();
    assert_eq!(claimed.iter().map(|row| row.message_id.as_str()).collect::<Vec<_>>(), ["2"]);
}

/// Beside an engine the commands of operators write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_may_write_one_file() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.db");
    SqliteStorage::open(&path).unwrap().upkeep().migrate().await.unwrap();
    let writing = ["one", "other"].map(|process| {
        let storage = SqliteStorage::open(&path).unwrap();
        tokio::spawn(async move {
            for number in 0..50 {
                // What is there is read before it is written.
                let document = NewDocument::new("note", format!("{process}-{number}"), serde_json::json!(number));
                storage.documents().put(document).await.unwrap();
            }
        })
    });
    for process in writing {
        process.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_sees_one_moment() {
    const ROUNDS: i64 = 300;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.db");
    let storage = SqliteStorage::open(&path).unwrap();
    storage.upkeep().migrate().await.unwrap();
    // Bare SQL, so that a pair of rows is written as fast as the file can be.
    let mut beside = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let settings = "PRAGMA busy_timeout = 5000; PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF";
    beside.batch_execute(settings).unwrap();
    let writing = tokio::task::spawn_blocking(move || {
        for id in 1..=ROUNDS {
            let pair = format!(
                "BEGIN IMMEDIATE; INSERT INTO build_causes VALUES ({id}, 1, '[]', true);                  INSERT INTO build_deps VALUES ({id}, 0, 0, false); COMMIT"
            );
            beside.batch_execute(&pair).unwrap();
        }
    });
    let builds: Vec<_> = (1..=ROUNDS).map(BuildId).collect();
    let mut seen = 0;
    while seen < ROUNDS as usize {
        let links = storage.links(builds.clone()).await.unwrap();
        assert_eq!(links.causes.len(), links.dependencies.len(), "both are of one moment");
        seen = links.causes.len();
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn a_file_has_one_lock_whatever_its_names_are() {
    let directory = TempDir::new().unwrap();
    let [path, link, hard] = ["state.db", "link.db", "hard.db"].map(|name| directory.path().join(name));
    let first = SqliteStorage::open(&path).unwrap();
    first.upkeep().migrate().await.unwrap();
    first.lease(None).await.unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let error = SqliteStorage::open(&link).unwrap().lease(None).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Conflict);
    std::fs::hard_link(&path, &hard).unwrap();
    let error = SqliteStorage::open(&hard).unwrap_err();
    assert_eq!(error.remedy, Remedy::Unsupported);
    assert!(error.to_string().contains("2 hard links"), "{error}");
}

#[tokio::test]
async fn others_cannot_read_what_is_stored() {
    let directory = TempDir::new().unwrap();
    let storage = SqliteStorage::open(directory.path().join("state.db")).unwrap();
    storage.upkeep().migrate().await.unwrap();
    storage.lease(None).await.unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&entry.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.file_name());
    }
}

#[tokio::test]
async fn a_copy_is_made_while_an_engine_has_the_database() {
    let directory = TempDir::new().unwrap();
    let [path, copy] = ["state.db", "copy.db"].map(|name| directory.path().join(name));
    let storage = SqliteStorage::open(&path).unwrap();
    storage.upkeep().migrate().await.unwrap();
    storage.lease(None).await.unwrap();
    storage.commit(Commit::unfenced(vec![message("1")])).await.unwrap();
    storage.upkeep().backup(&copy).await.unwrap();
    storage.commit(Commit::unfenced(vec![message("2")])).await.unwrap();
    let again = storage.upkeep().backup(&copy).await.unwrap_err();
    assert_eq!(again.remedy, Remedy::Rejected, "{again}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&copy).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let copied = SqliteStorage::open(&copy).unwrap();
    copied.upkeep().migrate().await.unwrap();
    assert!(copied.message("local", "1").await.unwrap().is_some());
    assert!(copied.message("local", "2").await.unwrap().is_none(), "it is of one moment");
    assert_eq!(copied.check_consistency().await.unwrap(), []);
    let nowhere = storage.upkeep().backup(&directory.path().join("no/such")).await.unwrap_err();
    assert_eq!(nowhere.remedy, Remedy::Unavailable, "{nowhere}");
    let memory =
        SqliteStorage::in_memory().unwrap().upkeep().backup(&directory.path().join("memory.db")).await.unwrap_err();
    assert_eq!(memory.remedy, Remedy::Unsupported, "{memory}");
}

#[tokio::test]
async fn what_cannot_be_opened_is_unavailable() {
    let directory = TempDir::new().unwrap();
    let error = SqliteStorage::open(directory.path().join("no/such/state.db")).unwrap_err();
    assert_eq!(error.remedy, Remedy::Unavailable);
    let path = directory.path().join("state.db");
    std::fs::write(&path, vec![b'x'; 8192]).unwrap();
    let error = SqliteStorage::open(&path).unwrap_err();
    assert!(error.place.contains("state.db"), "{error}");
    let storage = SqliteStorage::in_memory().unwrap();
    assert_eq!(storage.reserve(1).await.unwrap_err().remedy, Remedy::Unavailable, "before it was migrated");
}

/// The rows that `change` damages, in a file with a build that waits, one that is ready and one
/// that runs. With the file, which goes with the directory.
async fn damaged(change: &str) -> (TempDir, SqliteStorage) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.db");
    let storage = SqliteStorage::open(&path).unwrap();
    storage.upkeep().migrate().await.unwrap();
    let mut beside = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    beside.batch_execute("PRAGMA ignore_check_constraints = ON").unwrap();
    beside.batch_execute(ROWS).unwrap();
    beside.batch_execute(change).unwrap();
    (directory, storage)
}

const ROWS: &str = "
    INSERT INTO events (id, version, state, source, severity, message_id, handler, generation, kind, search_key, manual,
        payload, mode, reason_code, reason_text, builds_open, builds_done, builds_failed, created_at)
        VALUES (1, 0, 1, 'amqp', 1, 'm', 'h', 1, 'TestingEvent', 'k', 0, '{}', 0, '', '', 2, 0, 0, 0);
    INSERT INTO builds (id, version, state, system, build_key, artifact, target, mode, slot, kind, parameters, parents,
        because, pending, priority, tries, resubmits, attempts, no_cache, reason_code, reason_text, created_at)
        VALUES (1, 0, 1, 's', '[\"s\",\"a\",\"\",\"real\"]', 'a', '', 0, 0, 1, '{}', '[]', 0, 0, 0, 0, 0, 0, 0, '', '', 0),
            (2, 0, 1, 's', '[\"s\",\"b\",\"\",\"real\"]', 'b', '', 0, 0, 1, '{}', '[]', 0, 0, 0, 0, 0, 0, 0, '', '', 0);
    INSERT INTO build_causes VALUES (1, 1, '[]', 1), (2, 1, '[]', 1);
    INSERT INTO transitions (aggregate, id, version, from_state, to_state, reason_code, reason_text, at, run, actor)
        VALUES ('build', '1', 0, NULL, 'READY', '', '', 0, 0, 'engine'),
            ('build', '2', 0, NULL, 'READY', '', '', 0, 0, 'engine');
";

const NOT_UTF8: &str = "CAST(x'fffe41' AS TEXT)";

#[tokio::test]
async fn a_text_that_is_not_utf8_concerns_its_row_alone() {
    for column in ["target", "artifact", "parameters", "reason_text", "build_key"] {
        let (_directory, storage) = damaged(&format!("UPDATE builds SET {column} = {NOT_UTF8} WHERE id = 1")).await;
        let place = format!("builds 1: {column}: the text is not UTF-8");
        let page = storage.builds(BuildFilter::default(), Paging::first(9)).await.unwrap();
        let run = storage.lease(None).await.unwrap().run;
        let limits = DueLimits { ready: 9, attempts: 9, pause_max: Duration::from_secs(300) };
        let due = storage.due(run, limits).await.unwrap();
        if column == "build_key" {
            // It is made of other columns, and only looked for.
            assert_eq!(page.items.len(), 2);
            continue;
        }
        assert_eq!(page.items.iter().map(|build| build.id.0).collect::<Vec<_>>(), [2], "{column}");
        assert_eq!(page.unreadable[0].text, place);
        assert_eq!(due.ready.iter().map(|build| build.id.0).collect::<Vec<_>>(), [2], "{column}");
        assert_eq!(due.unreadable[0].text, place);
        let found = storage.check_consistency().await.unwrap();
        assert_eq!((found[0].rule.as_str(), found[0].text.as_str()), ("unreadable", place.as_str()));
        assert!(!found.iter().any(|violation| violation.text.contains("no row")), "it is there: {found:?}");
        let error = storage.load(&Scope::Builds(vec![BuildId(1)])).await.unwrap_err();
        assert_eq!((error.remedy, error.to_string()), (Remedy::Corrupt, place.clone()));
        let stuck = Client::new(Arc::new(storage)).stuck(Duration::ZERO).await.unwrap();
        let rows = stuck.iter().filter(|stuck| stuck.what == StuckSubject::Row(place.clone()));
        assert_eq!(rows.count(), 1, "{stuck:?}");
    }
}

#[tokio::test]
async fn a_message_that_is_not_utf8_is_a_dead_letter_that_can_be_looked_at() {
    let (directory, storage) = damaged("").await;
    storage.commit(Commit::unfenced(vec![message("1"), message("2")])).await.unwrap();
    let mut beside = SqliteConnection::establish(directory.path().join("state.db").to_str().unwrap()).unwrap();
    beside.batch_execute(&format!("UPDATE inbox SET topic = {NOT_UTF8} WHERE message_id = '1'")).unwrap();
    let run = storage.lease(None).await.unwrap().run;
    let claimed = storage.claim(&claim(run)).await.unwrap();
    assert_eq!(claimed.iter().map(|row| row.message_id.as_str()).collect::<Vec<_>>(), ["2"]);
    let dead = storage.messages(vec![InboxState::Dead], Paging::first(9)).await.unwrap().items;
    assert_eq!(dead[0].message.topic, "\u{fffd}\u{fffd}A");
}

#[tokio::test]
async fn a_cause_that_cannot_be_read_hides_no_others() {
    let (_directory, storage) = damaged("UPDATE build_causes SET because = '[' WHERE build = 1").await;
    let causes = storage.links(vec![BuildId(1), BuildId(2)]).await.unwrap().causes;
    assert_eq!(causes.iter().map(|cause| cause.build.0).collect::<Vec<_>>(), [2]);
    let found = storage.check_consistency().await.unwrap();
    assert_eq!((found.len(), found[0].rule.as_str()), (1, "unreadable"), "{found:?}");
}

#[tokio::test]
async fn what_is_beside_a_build_and_cannot_be_read_is_reported() {
    let needed =
        format!("UPDATE builds SET artifact = {NOT_UTF8} WHERE id = 1; INSERT INTO build_deps VALUES (1, 2, 0, 0);");
    let columns =
        "id, version, state, build, system, number, run, release, intent_at, external, reason_code, reason_text";
    let tried =
        format!("INSERT INTO attempts ({columns}) VALUES ('a', 0, 5, 2, 's', 1, 0, '1', 0, {NOT_UTF8}, '', '');");
    let (_directory, storage) = damaged(&(needed + &tried)).await;
    let filter = BuildFilter { ids: vec![BuildId(2)], ..BuildFilter::default() };
    let page = storage.builds_with_links(filter, Paging::first(9)).await.unwrap();
    let [(build, links)] = &page.items[..] else { panic!("{page:?}") };
    assert_eq!((build.id, &links.needs[..], &links.external), (BuildId(2), &[][..], &None));
    let told: Vec<_> = page.unreadable.iter().map(|row| row.text.as_str()).collect();
    let text = "the text is not UTF-8";
    assert_eq!(told, [format!("builds 1: artifact: {text}"), format!("attempts of build 2: external: {text}")]);
}

#[tokio::test]
async fn a_state_that_there_is_not_stops_no_count() {
    let (_directory, storage) = damaged("UPDATE builds SET state = 77 WHERE id = 1").await;
    assert_eq!(storage.overview().await.unwrap().builds_waiting, 1);
    let counted = storage.count_builds(BuildFilter::default()).await.unwrap();
    assert_eq!(counted.iter().map(|row| row.count).sum::<u64>(), 1);
    let caused = storage.events_with_counts(EventFilter::default(), Paging::first(9)).await.unwrap().items;
    assert_eq!(caused[0].1.iter().map(|row| row.count).sum::<u64>(), 1);
    let page = storage.builds(BuildFilter::default(), Paging::first(9)).await.unwrap();
    assert_eq!((page.items.len(), page.unreadable.len()), (1, 1));
}

#[tokio::test]
async fn what_only_asks_makes_no_file() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.db");
    let error = SqliteStorage::open_existing(&path).unwrap_err();
    assert_eq!((error.remedy, path.exists()), (Remedy::NotFound, false), "{error}");
    SqliteStorage::open(&path).unwrap().upkeep().migrate().await.unwrap();
    SqliteStorage::open_existing(&path).unwrap().overview().await.unwrap();
}

#[tokio::test]
async fn nothing_is_stored_in_a_file_that_was_moved_away() {
    let directory = TempDir::new().unwrap();
    let [path, away, other] = ["state.db", "away.db", "other.db"].map(|name| directory.path().join(name));
    SqliteStorage::open(&other).unwrap().upkeep().migrate().await.unwrap();
    let storage = SqliteStorage::open(&path).unwrap();
    storage.upkeep().migrate().await.unwrap();
    let run = storage.lease(None).await.unwrap().run;
    let receive = |id| storage.commit(Commit::unfenced(vec![message(id)]));
    receive("1").await.unwrap();
    std::fs::rename(&path, &away).unwrap();
    for replaced in [false, true] {
        if replaced {
            std::fs::rename(&other, &path).unwrap();
        }
        let error = receive("2").await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Unavailable);
        assert!(error.to_string().contains("was moved, removed or replaced"), "{error}");
        assert!(storage.lease(Some(run)).await.is_err(), "the lease is not renewed");
        assert!(storage.overview().await.is_err(), "and nothing is told that may be old");
        let client = SqliteStorage::open(&path).unwrap_err();
        assert_eq!((client.remedy, path.exists()), (Remedy::Conflict, replaced), "{client}");
    }
    assert!(directory.path().join("state.db-wal").exists(), "that of the file which is open");
    std::fs::rename(&path, &other).unwrap();
    std::fs::rename(&away, &path).unwrap();
    receive("3").await.unwrap();
    assert!(storage.message("local", "1").await.unwrap().is_some());
    drop(storage);
    std::fs::rename(&other, &path).unwrap();
    SqliteStorage::open(&path).unwrap().lease(None).await.unwrap();
}

/// What SQLite says of a full disk passes; what it says of a file of another user does not.
/// Triggers say so here, because the user of a test may be root, who may write everything.
#[tokio::test(start_paused = true)]
async fn a_decision_that_cannot_be_stored_is_told() {
    let refuses =
        |text: &str| format!("CREATE TRIGGER refused BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, '{text}'); END");
    for (text, remedy, waits) in [
        ("database or disk is full", Remedy::Unavailable, 30),
        ("attempt to write a readonly database", Remedy::Unsupported, 0),
    ] {
        let (directory, storage) = damaged(&refuses(text)).await;
        let client = Client::new(Arc::new(storage)).with_clock(Arc::new(TokioClock::new()));
        let begin = tokio::time::Instant::now();
        let error = client.cancel(EventId(1), "somebody").await.unwrap_err();
        assert_eq!((error.remedy, begin.elapsed().as_secs()), (remedy, waits), "{error}");
        let mut beside = SqliteConnection::establish(directory.path().join("state.db").to_str().unwrap()).unwrap();
        beside.batch_execute("DROP TRIGGER refused").unwrap();
        client.cancel(EventId(1), "somebody").await.unwrap();
    }
}

#[test]
fn a_file_that_another_program_is_just_making_is_waited_for() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.db");
    let mut other = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    // With such a lock of another connection, SQLite refuses a change of the mode at once.
    other.batch_execute("BEGIN IMMEDIATE; CREATE TABLE numbers (number INTEGER)").unwrap();
    let together = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let opened = scope.spawn(|| {
            together.wait();
            SqliteStorage::open(&path).map(drop)
        });
        together.wait();
        // It holds the lock for longer than it takes to open a file.
        let numbers = "WITH RECURSIVE all_numbers (number) AS \
                       (SELECT 1 UNION ALL SELECT number + 1 FROM all_numbers WHERE number < 500000) \
                       INSERT INTO numbers SELECT number FROM all_numbers; ROLLBACK";
        other.batch_execute(numbers).unwrap();
        opened.join().unwrap().unwrap();
    });
}

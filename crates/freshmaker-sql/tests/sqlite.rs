//! The contract suite of storages against SQLite, and what only a file can show.
#![allow(clippy::unwrap_used)]

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use freshmaker::backend::{Claim, NewDocument, Remedy, Storage, StorageReads};
use freshmaker::event::Message;
use freshmaker::rebuild::{BuildId, Commit, InboxRecord, RowChange, RunId};
use freshmaker::time::from_micros;
use freshmaker_sql::SqliteStorage;
use freshmaker_testing::conformance;
use std::cell::RefCell;
use std::future::Future;
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

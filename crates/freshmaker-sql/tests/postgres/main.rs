//! The contract suite of storages against a real PostgreSQL server, and what only several processes
//! on one database can show.
//!
//! The server is that of `FRESHMAKER_POSTGRES_URL`, or the one on the standard port; each test has
//! a schema of its own. Without a server the tests say that they are left out, and fail if
//! `FRESHMAKER_REQUIRE_SERVICES` is set.
#![allow(clippy::unwrap_used)]

mod locking;
mod losing;
mod moving;
mod place;
mod plans;
mod pooler;
mod racing;
mod refusing;
mod replicas;
mod tls;

use freshmaker::backend::{Remedy, Storage, StorageReads};
use freshmaker::rebuild::{Commit, RowChange};
use freshmaker_sql::{PostgresConfig, PostgresStorage, PostgresTls};
use freshmaker_testing::conformance;
use freshmaker_testing::sim::simulate_on;
use place::{Place, message, remedy};
use std::cell::RefCell;
use std::sync::Arc;

/// Runs the suite on databases that are made like this.
async fn keeps_the_contract(make: impl AsyncFn(&Place) -> PostgresStorage) {
    if Place::new().is_none() {
        return;
    }
    let places = RefCell::new(Vec::new());
    conformance::storage(async |clock| {
        // That of the case before is done with.
        places.borrow_mut().clear();
        let place = Place::new().unwrap();
        let storage = make(&place).await.with_clock(clock);
        places.borrow_mut().push(place);
        storage
    })
    .await;
}

#[tokio::test]
async fn a_database_keeps_the_contract() {
    keeps_the_contract(async |place| place.process()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_keeps_the_contract_on_several_threads() {
    keeps_the_contract(async |place| place.process()).await;
}

/// While replicas are replaced one by one, those of this version work on the tables of the next
/// one: it may have added columns that can be empty or have a default, tables and indexes.
#[tokio::test]
async fn tables_of_the_next_version_keep_the_contract() {
    let add = "DO $$ DECLARE one TEXT; BEGIN
        FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema()
            AND tablename NOT LIKE '\\_\\_%' LOOP
            EXECUTE format('ALTER TABLE %I ADD COLUMN next_text TEXT, ADD COLUMN next_number BIGINT NOT NULL DEFAULT 7', one);
            EXECUTE format('CREATE INDEX ON %I (next_number, next_text)', one);
        END LOOP;
        CREATE TABLE next_table (id BIGINT PRIMARY KEY REFERENCES builds (id));
    END $$";
    keeps_the_contract(async |place| {
        let storage = place.migrated().await;
        place.client().await.batch_execute(add).await.unwrap();
        storage
    })
    .await;
}

#[test]
fn migrations_only_add() {
    let migrations = concat!(env!("CARGO_MANIFEST_DIR"), "/src/postgres/migrations");
    for migration in std::fs::read_dir(migrations).unwrap() {
        let path = migration.unwrap().path().join("up.sql");
        let text = std::fs::read_to_string(&path).unwrap().to_uppercase();
        for word in ["DROP ", "RENAME ", " TYPE ", "SET NOT NULL", "TRUNCATE"] {
            assert!(!text.contains(word), "{} has {word}, with which the version before cannot work", path.display());
        }
    }
}

#[test]
fn no_seed_breaks_a_promise() {
    let seeds = std::env::var("FRESHMAKER_SIM_SEEDS").unwrap_or_else(|_| "0..1".to_owned());
    let (from, to) = seeds.split_once("..").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _entered = runtime.enter();
    for seed in from.parse::<u64>().unwrap()..to.parse().unwrap() {
        let Some(place) = Place::new() else { return };
        let report = simulate_on(seed, |clock| Arc::new(place.process().with_clock(clock)));
        report.unwrap_or_else(|failed| panic!("{failed}"));
    }
}

#[tokio::test]
async fn what_a_process_has_written_another_one_reads() {
    let Some(place) = Place::new() else { return };
    let (one, other) = (place.migrated().await, place.migrated().await);
    one.commit(Commit::unfenced(vec![RowChange::Receive(message(1))])).await.unwrap();
    assert!(other.message("local", "1").await.unwrap().is_some());
    let (run, number) = (one.lease(None).await.unwrap().run, one.reserve(5).await.unwrap());
    assert!(other.lease(None).await.unwrap().run > run);
    assert!(other.reserve(1).await.unwrap() >= number + 5);
    drop(one);
    assert_eq!(other.check_consistency().await.unwrap(), []);
    assert_eq!(other.overview().await.unwrap().messages_waiting, 1);
}

#[tokio::test]
async fn the_time_is_that_of_the_server() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    let client = place.client().await;
    let micros = async || -> i64 {
        let asked = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT";
        client.query_one(asked, &[]).await.unwrap().get(0)
    };
    let before = micros().await;
    let now = freshmaker::time::to_micros(storage.lease(None).await.unwrap().now);
    assert!((before..=micros().await).contains(&now));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_may_migrate_at_once() {
    let Some(place) = Place::new() else { return };
    let storages: Vec<_> = (0..4).map(|_| place.process()).collect();
    let migrations = storages.into_iter().map(|storage| tokio::spawn(async move { storage.upkeep().migrate().await }));
    for migration in migrations.collect::<Vec<_>>() {
        migration.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn tables_of_a_newer_version_are_refused() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    let newer = "INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')";
    place.client().await.batch_execute(newer).await.unwrap();
    let error = storage.upkeep().migrate().await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Unsupported);
    assert_eq!(
        error.to_string(),
        "storage: a newer version of this program has already made changes (29990101000000) to the tables"
    );
}

#[tokio::test]
async fn a_check_says_what_is_there_and_changes_nothing() {
    use freshmaker_sql::PostgresTables;
    let Some(place) = Place::new() else { return };
    let process = place.process();
    for _ in 0..2 {
        let server = process.check().await.unwrap();
        assert_eq!((server.tables, server.tls), (PostgresTables::Missing, false));
        assert!(server.version.contains('.'), "{server}");
    }
    let storage = place.migrated().await;
    assert_eq!(storage.check().await.unwrap().tables, PostgresTables::Current);
    let client = place.client().await;
    client.batch_execute("DELETE FROM __diesel_schema_migrations").await.unwrap();
    assert_eq!(storage.check().await.unwrap().tables, PostgresTables::Older);
    client.batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')").await.unwrap();
    let newer = storage.check().await.unwrap_err();
    assert_eq!(newer.remedy, Remedy::Unsupported, "{newer}");
    let mut config = place.config();
    config.schema = "no such schema".to_owned();
    let missing = PostgresStorage::new(&config).unwrap().check().await.unwrap_err();
    assert_eq!(missing.remedy, Remedy::Unsupported, "{missing}");
}

/// Tables of this version need no right to make any: another user may have made them.
#[tokio::test]
async fn a_user_who_may_make_no_tables_can_use_those_that_there_are() {
    let Some(place) = Place::new() else { return };
    let client = place.client().await;
    let role = format!("freshmaker_user_{}", std::process::id());
    let (schema, run) = (&place.schema, async |text: String| client.batch_execute(&text).await.unwrap());
    run(format!("CREATE ROLE {role} LOGIN PASSWORD 'word'; GRANT USAGE ON SCHEMA \"{schema}\" TO {role}")).await;
    let url: tokio_postgres::Config = place::url().parse().unwrap();
    let tokio_postgres::config::Host::Tcp(host) = &url.get_hosts()[0] else { panic!("this test needs a port") };
    let port = url.get_ports().first().copied().unwrap_or(5432);
    let name = url.get_dbname().unwrap();
    let config = place.config_at(&format!("postgresql://{role}:word@{host}:{port}/{name}"));
    let storage = PostgresStorage::new(&config).unwrap();
    let none = storage.upkeep().migrate().await;
    place.migrated().await;
    run(format!("GRANT ALL ON ALL TABLES IN SCHEMA \"{schema}\" TO {role}")).await;
    run(format!("GRANT ALL ON ALL SEQUENCES IN SCHEMA \"{schema}\" TO {role}")).await;
    let migrated = storage.upkeep().migrate().await;
    let stored = storage.commit(Commit::unfenced(vec![RowChange::Receive(message(1))])).await;
    drop(storage);
    run(format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    assert!(none.is_err(), "it cannot make them");
    migrated.unwrap();
    stored.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let mut config = PostgresConfig::new("postgresql://me:hidden-word@127.0.0.1:1/nothing");
    config.tls = PostgresTls::Disable;
    assert!(!format!("{config:?}").contains("hidden-word"));
    let storage = PostgresStorage::new(&config).unwrap();
    let error = storage.lease(None).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Unavailable);
    assert!(error.to_string().starts_with("PostgreSQL 127.0.0.1/nothing: "), "{error}");
    assert!(!format!("{error:?} {storage:?}").contains("hidden-word"), "{error:?}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_unavailable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = PostgresConfig::new(format!("postgresql://me@{}/nothing", listener.local_addr().unwrap()));
    config.tls = PostgresTls::Disable;
    config.connect_timeout = std::time::Duration::from_millis(50);
    let storage = PostgresStorage::new(&config).unwrap();
    assert_eq!(remedy(&storage.lease(None).await), Some(Remedy::Unavailable));
}

#[tokio::test]
async fn a_server_without_tls_is_not_used_unless_that_is_asked_for() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = [0; 8];
        socket.read_exact(&mut asked).await.unwrap();
        socket.write_all(b"N").await.unwrap();
    });
    let storage = PostgresStorage::new(&PostgresConfig::new(format!("postgresql://me@{address}/nothing"))).unwrap();
    let error = storage.lease(None).await.unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
}

#[test]
fn mistakes_of_the_configuration_are_named() {
    let with = |url: &str, change: &dyn Fn(&mut PostgresConfig)| {
        let mut config = PostgresConfig::new(url);
        change(&mut config);
        let error = config.check().unwrap_err();
        assert_eq!(error.remedy, Remedy::Unsupported, "{error}");
        assert!(!error.to_string().contains("hidden"), "{error}");
        error.to_string()
    };
    let good = "postgresql://me@db.example.org/freshmaker";
    assert!(PostgresConfig::new(good).check().is_ok());
    assert!(with("mysql://me:hidden@x", &|_| ()).contains("`url` is not an address"));
    assert!(with("postgresql://me:hidden@/x", &|_| ()).contains("names no host"));
    assert!(with("postgresql://db.example.org/x", &|_| ()).contains("names no user"));
    assert!(with(&format!("{good}?sslmode=prefer"), &|_| ()).contains("sslmode=prefer, which does not verify"));
    assert!(with(&format!("{good}?sslmode=disable"), &|_| ()).contains("tls = \"disable\""));
    assert!(with(&format!("{good}?options=-cx%3D1"), &|_| ()).contains("options"));
    assert!(with(good, &|config| config.connections = 1).contains("`connections`"));
    assert!(with(good, &|config| config.schema.clear()).contains("`schema`"));
    assert!(with(good, &|config| config.lock_timeout = Default::default()).contains("`lock_timeout`"));
    assert!(with(good, &|config| config.password_file = Some("/no/such".into())).contains("/no/such"));
    assert!(with(good, &|config| config.password_env = Some("NO_SUCH_THING".into())).contains("NO_SUCH_THING"));
    assert!(with(good, &|config| config.ca = Some("/no/such.pem".into())).contains("/no/such.pem"));
}

#[tokio::test]
async fn a_schema_must_exist() {
    let Some(place) = Place::new() else { return };
    let mut config = place.config();
    config.schema = "no such schema".to_owned();
    let error = PostgresStorage::new(&config).unwrap().upkeep().migrate().await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Unsupported);
    assert!(error.to_string().contains("schema"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_never_hold_up_an_engine() {
    let Some(place) = Place::new() else { return };
    let mut config = place.config();
    config.connections = 4;
    let storage = Arc::new(PostgresStorage::new(&config).unwrap());
    storage.upkeep().migrate().await.unwrap();
    let client = place.client().await;
    client.batch_execute("BEGIN; LOCK TABLE transitions").await.unwrap();
    let asked: Vec<_> = (0..6)
        .map(|_| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move {
                storage.transitions(&freshmaker::rebuild::RowKey::Build(freshmaker::rebuild::BuildId(1))).await
            })
        })
        .collect();
    place::until_waiting(&client, 2).await;
    let run = storage.lease(None).await.unwrap().run;
    storage.commit(Commit::by(run, vec![RowChange::Receive(message(1))])).await.unwrap();
    client.batch_execute("COMMIT").await.unwrap();
    for answer in asked {
        answer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_text_that_cannot_be_stored_is_rejected() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    let mut record = message(1);
    record.message.topic = "a\0b".into();
    let refused = storage.commit(Commit::unfenced(vec![RowChange::Receive(record)])).await;
    assert_eq!(remedy(&refused), Some(Remedy::Rejected), "{refused:?}");
    storage.commit(Commit::unfenced(vec![RowChange::Receive(message(2))])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_future_leaves_nothing_locked() {
    let Some(place) = Place::new() else { return };
    let (storage, other) = (place.migrated().await, place.process());
    for round in 0..20 {
        let changes = (0..20).map(|id| RowChange::Receive(message(format!("{round}-{id}")))).collect();
        let mut writing = Box::pin(storage.commit(Commit::unfenced(changes)));
        let begun = std::future::poll_fn(|context| {
            use std::future::Future;
            std::task::Poll::Ready(writing.as_mut().poll(context).is_ready())
        });
        begun.await;
        drop(writing);
        other.commit(Commit::unfenced(vec![RowChange::Receive(message(format!("other-{round}")))])).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_hears_of_what_another_one_commits() {
    let Some(place) = Place::new() else { return };
    let (one, other) = (Arc::new(place.migrated().await), place.process());
    let hear = |storage: &Arc<PostgresStorage>| {
        let storage = Arc::clone(storage);
        tokio::spawn(async move { storage.upkeep().changed().await })
    };
    hear(&one).await.unwrap();
    let mut heard = hear(&one);
    one.commit(Commit::unfenced(vec![RowChange::Receive(message(1))])).await.unwrap();
    let elsewhere = Place::new().unwrap();
    elsewhere.migrated().await.commit(Commit::unfenced(vec![RowChange::Receive(message(1))])).await.unwrap();
    let own = tokio::time::timeout(std::time::Duration::from_millis(200), &mut heard).await;
    assert!(own.is_err(), "neither itself nor another schema concerns it");
    other.commit(Commit::unfenced(vec![RowChange::Receive(message(2))])).await.unwrap();
    heard.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_is_replaced_by_one_of_several() {
    use freshmaker::backend::{Documents, NewDocument};
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    for expected in [None, Some(0), Some(1)] {
        let putting: Vec<_> = (0..4)
            .map(|body| {
                let other = place.process();
                let mut new = NewDocument::new("session", "1", serde_json::json!(body));
                new.expected = expected;
                tokio::spawn(async move { remedy(&other.put(new).await) })
            })
            .collect();
        let mut outcomes = Vec::new();
        for one in putting {
            outcomes.push(one.await.unwrap());
        }
        outcomes.sort_by_key(Option::is_some);
        assert_eq!(outcomes, [None, Some(Remedy::Conflict), Some(Remedy::Conflict), Some(Remedy::Conflict)]);
    }
    assert_eq!(storage.get("session", "1").await.unwrap().unwrap().version, 2);
}

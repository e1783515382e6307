//! What a transition of a build costs on PostgreSQL, beside bare SQL in the same run.
//!
//! `cargo bench -p freshmaker-sql --features postgres --bench transitions -- [SECONDS
//! [CLIENTS]...]`; default 1 second for each figure and 1, 8 and 32 clients. The cluster is one of
//! its own, with `fsync`.
//!
//! * single: a commit of a run that changes one build, with its history and its notification. The
//!   peer is one `UPDATE` of one row that compares the run and the version. Wanted: >= 0.40.
//! * batch: the same for 100 builds in one commit. The peer is hand-written SQL that locks,
//!   compares and writes the same rows, a statement for each table. Wanted: >= 0.6.

use freshmaker::Reason;
use freshmaker::backend::{Scope, Storage, StorageUpkeep};
use freshmaker::rebuild::{
    Actor, BuildId, BuildRecord, BuildState, Commit, Notification, RowChange, RowKey, RunId, Transition,
};
use freshmaker::time::from_micros;
use freshmaker_sql::{PostgresConfig, PostgresStorage, PostgresTls};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};
use test_support::postgres::Cluster;
use tokio_postgres::{Client, NoTls};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The number of builds that each client changes in turn.
const EACH: i64 = 100;

/// The bodies of notifications have about this length.
const BODY: &str = r#"{"id":1,"state":"BUILD","artifact":"registry.example.org/image:40","system":"builds"}"#;

struct Database {
    cluster: Cluster,
    storage: Arc<PostgresStorage>,
    run: RunId,
}

impl Database {
    async fn start(clients: usize) -> Outcome<Option<Self>> {
        let Some(cluster) = Cluster::start() else { return Ok(None) };
        let mut config = PostgresConfig::new(format!("postgresql://freshmaker@{}/postgres", cluster.address()));
        (config.tls, config.connections) = (PostgresTls::Disable, clients + 2);
        let storage = PostgresStorage::new(&config)?;
        storage.migrate().await?;
        let run = storage.lease(None).await?.run;
        let database = Self { cluster, storage: Arc::new(storage), run };
        // The lease holds for longer than everything takes.
        let rows = format!(
            r#"UPDATE runs SET expires_at = 9000000000000000000;
            INSERT INTO builds (id, version, state, system, build_key, artifact, target, mode, slot, kind, parameters,
            parents, because, pending, priority, tries, resubmits, attempts, no_cache, reason_code, reason_text,
            created_at) SELECT n, 0, 3, 's', '["s","a' || n || '","","real"]', 'a' || n, '', 0, 0, 1, '{{}}', '[]', 0,
            0, 0, 0, 0, 0, false, '', '', n FROM generate_series(1, {}) AS n; ANALYZE"#,
            EACH * i64::try_from(clients)?
        );
        database.client().await?.batch_execute(&rows).await?;
        Ok(Some(database))
    }

    async fn client(&self) -> Outcome<Client> {
        let url = format!("postgresql://freshmaker@{}/postgres", self.cluster.address());
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// The builds of a client.
    async fn builds(&self, client: i64) -> Outcome<Vec<BuildRecord>> {
        let ids = (client * EACH + 1..=client * EACH + EACH).map(BuildId).collect();
        Ok(self.storage.load(&Scope::Builds(ids)).await?.builds.into_values().collect())
    }
}

/// The next version of a build, and what is written beside it.
fn step(build: &mut BuildRecord, run: RunId, changes: &mut Vec<RowChange>) {
    let expected = build.version;
    let states = [BuildState::Building, BuildState::Verifying];
    let (from, to) = (states[expected as usize % 2], states[(expected as usize + 1) % 2]);
    (build.version, build.state) = (expected + 1, to);
    let of = RowKey::Build(build.id);
    changes.push(RowChange::Build { record: Box::new(build.clone()), expected: Some(expected), replanned: false });
    changes.push(RowChange::Transition(Transition {
        of: of.clone(),
        version: build.version,
        from: Some(from.to_string()),
        to: to.to_string(),
        reason: Reason::new("building", "the build system builds it"),
        actor: Actor::Engine,
        run,
        at: from_micros(1),
    }));
    let body = serde_json::from_str(BODY).unwrap_or_default();
    let notification = Notification { of, version: build.version, topic: "build.changed".into(), body };
    changes.push(RowChange::Notification(notification));
}

/// What a client does again and again.
enum Case {
    RawSingle,
    Single,
    RawBatch,
    Batch,
}

const RAW: &str = "UPDATE builds SET version = version + 1, state = 7 - state WHERE id = $1 AND version = $2 \
                   AND EXISTS (SELECT 1 FROM runs WHERE run = $3)";

const LOCK: &str = "SELECT id FROM builds WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";
const CHANGE: &str = "UPDATE builds SET version = builds.version + 1, state = 7 - state, reason_code = 'building', \
                      reason_text = 'the build system builds it' \
                      FROM unnest($1::BIGINT[], $2::BIGINT[]) AS new (id, version) \
                      WHERE builds.id = new.id AND builds.version = new.version";
const HISTORY: &str = "INSERT INTO transitions (aggregate, id, version, from_state, to_state, reason_code, \
                       reason_text, run, at) SELECT 'build', id::TEXT, version + 1, 'BUILDING', 'VERIFYING', \
                       'building', 'the build system builds it', $3, 1 \
                       FROM unnest($1::BIGINT[], $2::BIGINT[]) AS new (id, version)";
const TELL: &str = "INSERT INTO notifications (partition, aggregate, id, version, topic, body) \
                    SELECT id % 8, 'build', id::TEXT, version + 1, 'build.changed', $3 \
                    FROM unnest($1::BIGINT[], $2::BIGINT[]) AS new (id, version)";

/// One client for so long; the number of transitions.
async fn client(database: Arc<Database>, number: i64, case: &Case, long: Duration) -> Outcome<u64> {
    let sql = database.client().await?;
    let mut builds = database.builds(number).await?;
    let (raw, lock) = (sql.prepare(RAW).await?, sql.prepare(LOCK).await?);
    let (change, history, tell) = (sql.prepare(CHANGE).await?, sql.prepare(HISTORY).await?, sql.prepare(TELL).await?);
    let (mut done, run) = (0, database.run);
    let end = Instant::now() + long;
    while Instant::now() < end {
        match case {
            Case::RawSingle | Case::Single => {
                let build = &mut builds[(done % EACH as u64) as usize];
                if matches!(case, Case::Single) {
                    let mut changes = Vec::with_capacity(3);
                    step(build, run, &mut changes);
                    database.storage.commit(Commit::by(run, changes)).await?;
                } else {
                    let changed = sql.execute(&raw, &[&build.id.0, &i64::from(build.version), &run.0]).await?;
                    assert_eq!(changed, 1, "the build is there");
                    build.version += 1;
                }
                done += 1;
            }
            Case::Batch => {
                let mut changes = Vec::with_capacity(3 * builds.len());
                builds.iter_mut().for_each(|build| step(build, run, &mut changes));
                database.storage.commit(Commit::by(run, changes)).await?;
                done += builds.len() as u64;
            }
            Case::RawBatch => {
                let ids: Vec<_> = builds.iter().map(|build| build.id.0).collect();
                let versions: Vec<_> = builds.iter().map(|build| i64::from(build.version)).collect();
                sql.batch_execute(&format!("BEGIN; SELECT 1 FROM runs WHERE run = {run} FOR KEY SHARE")).await?;
                sql.query(&lock, &[&ids]).await?;
                assert_eq!(sql.execute(&change, &[&ids, &versions]).await?, builds.len() as u64);
                sql.execute(&history, &[&ids, &versions, &run.0]).await?;
                sql.batch_execute("SELECT pg_advisory_xact_lock_shared(7)").await?;
                sql.execute(&tell, &[&ids, &versions, &BODY]).await?;
                sql.batch_execute("COMMIT").await?;
                builds.iter_mut().for_each(|build| build.version += 1);
                done += builds.len() as u64;
            }
        }
    }
    Ok(done)
}

/// Transitions a second, by so many clients at once.
async fn rate(database: &Arc<Database>, clients: usize, case: Case, long: Duration) -> Outcome<f64> {
    let (case, begin) = (Arc::new(case), Instant::now());
    let running: Vec<_> = (0..i64::try_from(clients)?)
        .map(|number| {
            let (database, case) = (Arc::clone(database), Arc::clone(&case));
            tokio::spawn(async move { client(database, number, &case, long).await })
        })
        .collect();
    let mut done = 0;
    for one in running {
        done += one.await??;
    }
    Ok(done as f64 / begin.elapsed().as_secs_f64())
}

/// The pair of a case and its peer, in turn three times: the medians, and their ratio.
async fn pair(database: &Arc<Database>, clients: usize, cases: fn() -> [Case; 2], long: Duration) -> Outcome<[f64; 3]> {
    let (mut peers, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        let [peer, our] = cases();
        let (peer, our) = (rate(database, clients, peer, long).await?, rate(database, clients, our, long).await?);
        peers.push(peer);
        ours.push(our);
        ratios.push(our / peer);
    }
    Ok([peers, ours, ratios].map(|mut figures| {
        figures.sort_by(f64::total_cmp);
        figures[1]
    }))
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let long = Duration::from_secs(numbers.next().unwrap_or(1) as u64);
    let mut clients: Vec<_> = numbers.collect();
    if clients.is_empty() {
        clients = vec![1, 8, 32];
    }
    for clients in clients {
        let Some(database) = Database::start(clients).await? else { return Ok(()) };
        let database = Arc::new(database);
        let [raw, single, ratio] = pair(&database, clients, || [Case::RawSingle, Case::Single], long).await?;
        println!("{clients:>3} clients, single {single:>7.0} a second, raw {raw:>7.0}: {ratio:.2}, wanted 0.40");
        let [by_hand, batch, ratio] = pair(&database, clients, || [Case::RawBatch, Case::Batch], long).await?;
        println!("{clients:>3} clients, batch  {batch:>7.0} a second, hand {by_hand:>6.0}: {ratio:.2}, wanted 0.60");
        println!("{clients:>3} clients, batch is {:.2} x raw", batch / raw);
    }
    Ok(())
}

//! What a long history, and many open builds, cost: one database with few rows beside one with
//! many, in the same run, by turns.
//!
//! `cargo bench -p freshmaker-sql --features postgres --bench history -- [ROWS]`; default 20,000
//! rows, the long form has 1,000,000.
//!
//! * open: the 99th percentile of a transition, of `due` and of `claim` beside so many open builds,
//!   to that beside 1,000. Wanted: <= 1.2.
//! * event: the time of an event of one image and of one of 100 images beside so many finished
//!   builds, to that beside none. Wanted: <= 1.1.
//! * start: from opening the database with so many finished builds until an engine has begun a run,
//!   and has seen that nothing is to be done. Wanted: <= 1 s.

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use freshmaker::backend::{Claim, DueLimits, Scope, Storage};
use freshmaker::handler::{ImagePushed, rebuild_dependents};
use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog};
use freshmaker::rebuild::{BuildId, BuildRecord, BuildState, Commit, RowChange, RunId};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine};
use freshmaker_sql::{PostgresConfig, PostgresStorage, PostgresTls, SqliteStorage};
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use test_support::postgres::Cluster;
use tokio_postgres::NoTls;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Numbers of rows; both databases understand it.
fn numbers(count: u32) -> String {
    format!("WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})")
}

const BUILDS: &str = "INSERT INTO builds (id, version, state, system, build_key, artifact, target, mode, slot, kind, \
                      parameters, parents, because, pending, priority, tries, resubmits, attempts, no_cache, \
                      reason_code, reason_text, created_at, done_at, output)";

/// Open builds, of which every tenth is ready, and as many new messages as builds.
fn open(count: u32) -> String {
    let numbers = numbers(count);
    format!(
        r#"{BUILDS} {numbers} SELECT n, 0, CASE WHEN n % 10 = 0 THEN 1 ELSE 0 END, 's' || (n % 3),
            '["s' || (n % 3) || '","a' || n || '","","real"]', 'a' || n, '', 0, 0, 1, '{{}}', '[]', 0, 1, n % 7, 0, 0, 0,
            false, '', '', n, NULL, NULL FROM numbers;
        INSERT INTO inbox (source, message_id, sender_id, topic, headers, body, state, tries, run, received_at)
            {numbers} SELECT 'amqp', 'm' || n, '', 't', '{{}}', '', 0, 0, 0, n FROM numbers"#
    )
}

/// Builds that are done, each of an event of its own, with attempts, histories and messages.
fn finished(count: u32) -> String {
    let numbers = numbers(count);
    format!(
        r#"INSERT INTO events (id, version, state, source, severity, message_id, handler, generation, kind,
            search_key, manual, payload, mode, reason_code, reason_text, builds_open, builds_done, builds_failed,
            created_at, done_at) {numbers} SELECT n, 0, 2, 'amqp', 1, 'm' || n, 'h', 1, 'test.pushed', 'k' || (n % 9000),
            false, '{{}}', 0, '', '', 0, 1, 0, n, n FROM numbers;
        {BUILDS} {numbers} SELECT n, 0, 6, 'builds', '["builds","image' || (n % 200) || '","","real"]',
            'image' || (n % 200), '', 0, 0, 1, '{{}}', '[]', 0, 0, 0, 0, 0, 1, false, '', '', n, n + 9000000,
            '{{"name":"o' || n || '","digest":null}}' FROM numbers;
        INSERT INTO attempts (id, version, state, build, system, number, run, release, intent_at, observed_at,
            external, reason_code, reason_text) {numbers} SELECT 'a' || n, 2, 5, n, 'builds', 1, 1, '', n, n + 9000000,
            'x' || n, '', '' FROM numbers;
        INSERT INTO build_causes {numbers} SELECT n, n, '[]', true FROM numbers;
        INSERT INTO transitions (aggregate, id, version, to_state, reason_code, reason_text, run, at)
            {numbers} SELECT 'build', n, 0, 'DONE', '', '', 1, n FROM numbers;
        INSERT INTO inbox (source, message_id, sender_id, topic, headers, body, state, tries, run, received_at)
            {numbers} SELECT 'amqp', 'm' || n, '', 't', '{{}}', '', 2, 0, 0, n FROM numbers;
        UPDATE sequences SET last = {count} WHERE name = 'rows';
        INSERT INTO sequences (name, last) SELECT 'rows', {count} WHERE NOT EXISTS
            (SELECT 1 FROM sequences WHERE name = 'rows')"#
    )
}

/// A database that can be opened again and again.
enum Database {
    File(TempDir),
    Server(Cluster),
}

impl Database {
    fn path(directory: &TempDir) -> PathBuf {
        directory.path().join("state.sqlite")
    }

    fn open(&self) -> Outcome<Arc<dyn Storage>> {
        Ok(match self {
            Self::File(directory) => Arc::new(SqliteStorage::open(Self::path(directory))?),
            Self::Server(cluster) => {
                let url = format!("postgresql://freshmaker@{}/postgres", cluster.address());
                let mut config = PostgresConfig::new(url);
                config.tls = PostgresTls::Disable;
                Arc::new(PostgresStorage::new(&config)?)
            }
        })
    }

    async fn execute(&self, statements: &str) -> Outcome<()> {
        match self {
            Self::File(directory) => {
                let mut connection = SqliteConnection::establish(&Self::path(directory).to_string_lossy())?;
                Ok(connection
                    .batch_execute(&format!("BEGIN; {statements}; COMMIT; PRAGMA wal_checkpoint(TRUNCATE)"))?)
            }
            Self::Server(cluster) => {
                let url = format!("postgresql://freshmaker@{}/postgres", cluster.address());
                let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
                tokio::spawn(connection);
                client.batch_execute(statements).await?;
                Ok(client.batch_execute("VACUUM ANALYZE").await?)
            }
        }
    }

    /// One with these rows.
    async fn with(on_server: bool, rows: &str) -> Outcome<Option<Self>> {
        let database = if on_server {
            let Some(cluster) = Cluster::start() else { return Ok(None) };
            Self::Server(cluster)
        } else {
            Self::File(TempDir::new()?)
        };
        database.open()?.upkeep().migrate().await?;
        if !rows.is_empty() {
            database.execute(rows).await?;
        }
        Ok(Some(database))
    }
}

/// The 99th percentile.
fn p99(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() * 99 / 100].as_secs_f64()
}

/// What an engine does again and again; each returns how long it took.
struct Work {
    storage: Arc<dyn Storage>,
    run: RunId,
    builds: Vec<BuildRecord>,
    next: usize,
}

const PAUSE_MAX: Duration = Duration::from_secs(300);

impl Work {
    async fn new(database: &Database) -> Outcome<Self> {
        let storage = database.open()?;
        let run = storage.lease(None).await?.run;
        let ids = (1..=500).map(|number| BuildId(number * 2 - 1)).collect();
        let builds = storage.load(&Scope::Builds(ids)).await?.builds.into_values().collect();
        Ok(Self { storage, run, builds, next: 0 })
    }

    async fn transition(&mut self) -> Outcome<Duration> {
        let build = &mut self.builds[self.next % 500];
        self.next += 1;
        let expected = Some(build.version);
        let other = if build.state == BuildState::Blocked { BuildState::Building } else { BuildState::Blocked };
        (build.version, build.state) = (build.version + 1, other);
        let change = RowChange::Build { record: Box::new(build.clone()), expected, replanned: false };
        let begin = Instant::now();
        self.storage.commit(Commit::by(self.run, vec![change])).await?;
        Ok(begin.elapsed())
    }

    async fn due(&self) -> Outcome<Duration> {
        let begin = Instant::now();
        let limits = DueLimits { ready: 20, attempts: 20, pause_max: PAUSE_MAX };
        let due = self.storage.reads().due(self.run, limits).await?;
        assert!(due.ready.len() >= 20, "of each system");
        Ok(begin.elapsed())
    }

    /// One message; it is given back afterwards.
    async fn claim(&self) -> Outcome<Duration> {
        let begin = Instant::now();
        let claim = Claim { run: self.run, holding: Vec::new(), limit: 1, pause_max: PAUSE_MAX };
        assert_eq!(self.storage.claim(&claim).await?.len(), 1);
        Ok(begin.elapsed())
    }
}

async fn open_builds(name: &str, on_server: bool, rows: u32) -> Outcome<()> {
    const TIMES: usize = 1000;
    let (Some(few), Some(many)) =
        (Database::with(on_server, &open(1000)).await?, Database::with(on_server, &open(rows)).await?)
    else {
        return Ok(());
    };
    let mut works = [Work::new(&few).await?, Work::new(&many).await?];
    let mut times: [[Vec<Duration>; 3]; 2] = Default::default();
    // By turns, so that the load of the machine concerns both.
    for round in 0..TIMES + 50 {
        for (work, times) in works.iter_mut().zip(&mut times) {
            let took = [work.transition().await?, work.due().await?, work.claim().await?];
            if round >= 50 {
                times.iter_mut().zip(took).for_each(|(times, took)| times.push(took));
            }
        }
    }
    let [few, many] = times.map(|times| times.map(|mut times| p99(&mut times)));
    for ((what, few), many) in ["transition", "due", "claim"].iter().zip(few).zip(many) {
        println!(
            "{name} {rows} open builds, p99 of {what:<10} {:>6.2} ms, beside 1000 {:>6.2} ms: {:.2}, wanted 1.20",
            many * 1000.0,
            few * 1000.0,
            many / few
        );
    }
    Ok(())
}

fn graph(images: u32) -> Outcome<ArtifactGraph> {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    for number in 0..images {
        let name = format!("image{number}");
        graph.insert(Artifact::new(name.as_str(), ArtifactKind::Image).with_source("images", None));
        graph.depend(name, "base", EdgeKind::ParentImage)?;
    }
    Ok(graph)
}

/// An engine with so many images.
fn engine(database: &Database, images: u32) -> Outcome<Engine> {
    let builder = Engine::builder()
        .storage(database.open()?)
        .catalog("images", Arc::new(MemoryCatalog::new(graph(images)?)))
        .build_system("builds", Arc::new(MemoryBuildSystem::new()))
        .limit("builds", 100);
    Ok(builder.on(rebuild_dependents).build()?)
}

/// The times of some events in turn, from their messages to their ends, and of the start of the
/// engine before.
async fn events(database: &Database, images: u32, times: usize) -> Outcome<(Vec<Duration>, Duration)> {
    let begin = Instant::now();
    let engine = engine(database, images)?;
    let client = engine.client();
    let (mut took, mut start) = (Vec::new(), Duration::ZERO);
    let in_turn = async {
        client.wait_until_idle().await;
        start = begin.elapsed();
        // The first one finds everything for the first time.
        for round in 0..=times {
            let begin = Instant::now();
            let sent = client.send(&ImagePushed { image: "base".into(), digest: None }).await;
            sent.expect("the storage takes the message");
            client.wait_until_idle().await;
            took.extend((round > 0).then(|| begin.elapsed()));
        }
    };
    engine.run_until(in_turn).await?;
    Ok((took, start))
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

async fn finished_builds(name: &str, on_server: bool, rows: u32) -> Outcome<()> {
    let (Some(none), Some(many)) =
        (Database::with(on_server, "").await?, Database::with(on_server, &finished(rows)).await?)
    else {
        return Ok(());
    };
    for (images, times) in [(1, 15), (100, 3)] {
        let (mut took, mut starts): ([Vec<Duration>; 2], [Vec<Duration>; 2]) = Default::default();
        // By turns, so that the load of the machine concerns both.
        for _ in 0..3 {
            for (number, database) in [&none, &many].into_iter().enumerate() {
                let (events, start) = events(database, images, times).await?;
                took[number].extend(events);
                starts[number].push(start);
            }
        }
        let [none, many] = took.map(|mut times| median(&mut times));
        println!(
            "{name} {rows} finished builds, event of {images:>3} images {many:>7.1} ms, beside none {none:>7.1} ms: {:.2}, wanted 1.10",
            many / none
        );
        let [none, many] = starts.map(|mut times| median(&mut times));
        println!(
            "{name} {rows} finished builds, start {many:>7.1} ms, beside none {none:>7.1} ms, wanted at most 1000 ms"
        );
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let rows = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(20_000);
    for (name, on_server) in [("SQLite,    ", false), ("PostgreSQL,", true)] {
        open_builds(name, on_server, rows).await?;
        finished_builds(name, on_server, rows).await?;
    }
    Ok(())
}

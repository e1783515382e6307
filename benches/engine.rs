//! What a build costs the engine over SQLite, beside bare SQL that writes the same rows in as many
//! transactions, in the same run.
//!
//! `cargo bench --bench engine`. An event rebuilds images in three layers as a dry run, so that all
//! work is the engine's own. The ratios, statements and commits count; milliseconds of the
//! processor only orient. `FRESHMAKER_BENCH_STATEMENTS=1` also lists the statements.

use diesel::connection::{InstrumentationEvent, SimpleConnection, set_default_instrumentation};
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::Sqlite;
use diesel::{Connection, QueryResult, QueryableByName, RunQueryDsl, SqliteConnection, sql_query};
use freshmaker::backend::{Storage, StorageUpkeep};
use freshmaker::handler::{ImagePushed, rebuild_dependents};
use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog, MemoryStorage};
use freshmaker::rebuild::BuildMode;
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine};
use freshmaker_sql::SqliteStorage;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What was executed.
#[derive(Default)]
struct Executed {
    /// How often, by the first words of the statement.
    statements: BTreeMap<String, u32>,
    /// Whether something was written since the last beginning of a transaction.
    writing: bool,
    /// Transactions that wrote something.
    commits: u32,
}

static EXECUTED: Mutex<Executed> = Mutex::new(Executed { statements: BTreeMap::new(), writing: false, commits: 0 });

#[expect(clippy::needless_pass_by_value, reason = "that is what Diesel calls")]
fn count(event: InstrumentationEvent<'_>) {
    if let InstrumentationEvent::StartQuery { query, .. } = event {
        let text = query.to_string().replace(['`', '"'], "");
        let words = if text.starts_with("SELECT") { 200 } else { 3 };
        let begin = text.split_whitespace().take(words).collect::<Vec<_>>().join(" ");
        let mut executed = EXECUTED.lock().unwrap_or_else(PoisonError::into_inner);
        executed.commits += u32::from(begin == "COMMIT" && executed.writing);
        let ends = ["BEGIN", "COMMIT", "ROLLBACK"].iter().any(|word| begin.starts_with(word));
        executed.writing = !ends && (executed.writing || !begin.starts_with("SELECT"));
        *executed.statements.entry(begin).or_default() += 1;
    }
}

fn executed() -> Executed {
    std::mem::take(&mut *EXECUTED.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The time that this process has had of the processors, in steps of 10 milliseconds.
fn cpu() -> Outcome<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Images in three layers, of which each has about three times as many as the one before.
fn graph(images: u32) -> Outcome<ArtifactGraph> {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    let first = images.div_ceil(13);
    for number in 0..images {
        let parent = if number < first { "base".to_owned() } else { format!("image{:05}", (number - first) / 3) };
        let name = format!("image{number:05}");
        graph.insert(Artifact::new(name.as_str(), ArtifactKind::Image).with_source("images", None));
        graph.depend(name, parent, EdgeKind::ParentImage)?;
    }
    Ok(graph)
}

/// The processor time of so many events, one after the other, from the first message to the last
/// end.
async fn events(storage: Arc<dyn Storage>, images: u32, events: u32) -> Outcome<Duration> {
    storage.upkeep().migrate().await?;
    let engine = Engine::builder()
        .storage(storage)
        .catalog("images", Arc::new(MemoryCatalog::new(graph(images)?)))
        .build_system("builds", Arc::new(MemoryBuildSystem::new()))
        .mode(BuildMode::DryRun)
        .limit("builds", 100)
        .on(rebuild_dependents)
        .build()?;
    let client = engine.client();
    executed();
    let begin = cpu()?;
    let in_turn = async {
        for _ in 0..events {
            let sent = client.send(&ImagePushed { image: "base".into(), digest: None }).await;
            sent.expect("the storage takes the message");
            client.wait_until_idle().await;
        }
    };
    engine.run_until(in_turn).await?;
    let used = cpu()? - begin;
    assert_eq!(client.overview().await?.builds_done, u64::from(images * events), "everything was built");
    Ok(used)
}

/// The tables whose rows are of an event, in an order in which each refers only to those before.
const TABLES: [&str; 8] =
    ["events", "plans", "builds", "attempts", "build_deps", "build_causes", "transitions", "notifications"];

/// A statement about the row of this number. It is prepared once.
struct About<'a>(&'a str, i64);

impl QueryId for About<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl QueryFragment<Sqlite> for About<'_> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        pass.push_sql(self.0);
        pass.push_bind_param::<BigInt, _>(&self.1)
    }
}

impl RunQueryDsl<SqliteConnection> for About<'_> {}

#[derive(QueryableByName)]
struct Columns {
    #[diesel(sql_type = Text)]
    names: String,
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = BigInt)]
    changes: i64,
}

/// Statements that write the rows of that database into this one: an insertion for each row, and
/// for each later version an update of its state and reason.
fn statements(bare: &mut SqliteConnection, stored: &Path) -> Outcome<Vec<(String, i64)>> {
    bare.batch_execute(&format!("PRAGMA temp_store = MEMORY; ATTACH '{}' AS stored", stored.display()))?;
    let mut statements = Vec::new();
    for table in TABLES {
        bare.batch_execute(&format!("CREATE TEMP TABLE of_{table} AS SELECT * FROM stored.{table}"))?;
        let columns = sql_query(format!(
            "SELECT group_concat(name) AS names, (SELECT count(*) FROM of_{table}) AS rows FROM pragma_table_info('{table}')"
        ));
        let Columns { names, rows } = columns.get_result(bare)?;
        let insert = format!("INSERT INTO main.{table} ({names}) SELECT {names} FROM of_{table} WHERE rowid = ");
        statements.extend((1..=rows).map(|row| (insert.clone(), row)));
    }
    // All builds are done, 6, and may become reused, 7, and done again.
    for (table, change) in [
        ("events", "builds_open = builds_open + 1, version = version + 1"),
        ("builds", "state = 13 - state, reason_text = 'changed', version = version + 1"),
        ("attempts", "state = 1 - min(state, 1), reason_text = 'changed', version = version + 1"),
    ] {
        let rows = sql_query(format!("SELECT rowid AS number, version - 1 AS changes FROM stored.{table}"));
        let update = format!("UPDATE main.{table} SET {change} WHERE rowid = ");
        for Row { number, changes } in rows.load::<Row>(bare)? {
            statements.extend((0..changes).map(|_| (update.clone(), number)));
        }
    }
    // Each is satisfied, or no longer live, at the end.
    for (table, change, key) in
        [("build_deps", "satisfied", ["parent", "child"]), ("build_causes", "live", ["build", "event"])]
    {
        let [one, other] = key.map(|column| format!("main.{table}.{column} = was.{column}"));
        let update = format!(
            "UPDATE main.{table} SET {change} = was.{change} FROM of_{table} was WHERE {one} AND {other} AND was.rowid = "
        );
        let rows = sql_query(format!("SELECT count(*) AS rows, '' AS names FROM of_{table}"));
        statements.extend((1..=rows.get_result::<Columns>(bare)?.rows).map(|row| (update.clone(), row)));
    }
    Ok(statements)
}

/// The processor time of bare SQL for the rows of that database, in so many transactions.
async fn bare(directory: &Path, stored: &Path, commits: u32) -> Outcome<Duration> {
    let path = directory.join("bare.sqlite");
    SqliteStorage::open(&path)?.migrate().await?;
    let mut bare = SqliteConnection::establish(&path.to_string_lossy())?;
    bare.batch_execute("PRAGMA foreign_keys = ON; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")?;
    let statements = statements(&mut bare, stored)?;
    let each = statements.len().div_ceil(commits as usize);
    let begin = cpu()?;
    for part in statements.chunks(each) {
        bare.immediate_transaction(|bare| {
            part.iter().try_for_each(|(text, row)| About(text, *row).execute(bare).map(drop))
        })?;
    }
    Ok(cpu()? - begin)
}

/// Counts what the events execute, which takes time and so is a run of its own.
async fn count_of(images: u32, in_turn: u32) -> Outcome<Executed> {
    let directory = tempfile::tempdir()?;
    set_default_instrumentation(|| Some(Box::new(count)))?;
    let storage = SqliteStorage::open(directory.path().join("counted.sqlite"))?;
    set_default_instrumentation(|| None)?;
    events(Arc::new(storage), images, in_turn).await?;
    Ok(executed())
}

/// Events of so many images in turn; all that so often, each time with a new file.
async fn measure(images: u32, in_turn: u32, times: u32) -> Outcome<()> {
    let Executed { statements, commits, .. } = count_of(images, in_turn).await?;
    let (mut engine, mut sql, mut memory) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for _ in 0..times {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("engine.sqlite");
        engine += events(Arc::new(SqliteStorage::open(&path)?), images, in_turn).await?;
        sql += bare(directory.path(), &path, commits).await?;
        memory += events(Arc::new(MemoryStorage::new()), images, in_turn).await?;
    }
    let a_build = |number: u32| f64::from(number) / f64::from(images * in_turn);
    if std::env::var_os("FRESHMAKER_BENCH_STATEMENTS").is_some() {
        let mut statements: Vec<_> = statements.iter().collect();
        statements.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
        statements.iter().take(60).for_each(|(text, times)| println!("{:>9.2} {text}", a_build(**times)));
    }
    println!(
        "{in_turn:>4} x {images:<5} {:>6.2} x bare SQL, {:>6.1} statements and {:>5.2} commits a build",
        engine.as_secs_f64() / sql.as_secs_f64(),
        a_build(statements.values().sum()),
        a_build(commits),
    );
    let each = |cpu: Duration| cpu.as_secs_f64() * 1000.0 / f64::from(images * in_turn * times);
    let (engine, sql, memory) = (each(engine), each(sql), each(memory));
    println!("{:12} {engine:.3} ms of processor a build, bare SQL {sql:.3} ms, in memory {memory:.3} ms", "");
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome<()> {
    println!("events x images");
    measure(1, 100, 1).await?;
    measure(100, 1, 10).await?;
    measure(1000, 1, 1).await
}

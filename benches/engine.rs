//! What a build costs the engine over SQLite, against the durable single-row commit that this
//! machine can do at best.
//!
//! `cargo bench --bench engine`. The ratio is what counts; seconds only orient.

use diesel::connection::SimpleConnection;
use diesel::{Connection, RunQueryDsl, SqliteConnection};
use freshmaker::handler::{ImagePushed, rebuild_dependents};
use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine};
use freshmaker_sql::SqliteStorage;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const COMMITS: u32 = 500;
const BUILDS: u32 = 300;

/// The time of one durable commit of one row.
fn commit(path: &Path) -> Result<Duration, Box<dyn Error>> {
    let mut connection = SqliteConnection::establish(&path.to_string_lossy())?;
    connection.batch_execute(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t(id INTEGER PRIMARY KEY, n INT)",
    )?;
    connection.batch_execute("INSERT INTO t VALUES (1, 0)")?;
    let start = Instant::now();
    for _ in 0..COMMITS {
        diesel::sql_query("UPDATE t SET n = n + 1 WHERE id = 1").execute(&mut connection)?;
    }
    Ok(start.elapsed() / COMMITS)
}

/// The time of one build, from the event to its end, in a tree with ten children for each image.
async fn build(path: &Path) -> Result<Duration, Box<dyn Error>> {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    for number in 0..BUILDS {
        let name = format!("image{number:04}");
        let parent = if number < 10 { "base".to_owned() } else { format!("image{:04}", number / 10) };
        graph.insert(Artifact::new(name.as_str(), ArtifactKind::Image).with_source("images", None));
        graph.depend(name, parent, EdgeKind::ParentImage)?;
    }
    let engine = Engine::builder()
        .storage(Arc::new(SqliteStorage::open(path)?))
        .catalog("images", Arc::new(MemoryCatalog::new(graph)))
        .build_system("builds", Arc::new(MemoryBuildSystem::new()))
        .limit("builds", 50)
        .on(rebuild_dependents)
        .build()?;
    let client = engine.client();
    client.send(&ImagePushed { image: "base".into(), digest: None }).await?;
    let start = Instant::now();
    engine.run_until(client.wait_until_idle()).await?;
    let done = client.overview().await?.builds_done;
    assert_eq!(done, u64::from(BUILDS), "everything was built");
    Ok(start.elapsed() / BUILDS)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let commit = commit(&directory.path().join("limit.sqlite"))?;
    let build = build(&directory.path().join("engine.sqlite")).await?;
    println!("one durable commit   {commit:>10.1?}");
    println!("one build, in all    {build:>10.1?}");
    println!("commits' worth       {:>10.1}", build.as_secs_f64() / commit.as_secs_f64());
    Ok(())
}

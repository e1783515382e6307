//! An event of your own, a function and a struct that decide on it, and an engine in memory.
use async_trait::async_trait;
use freshmaker::backend::{BuildFilter, EventFilter, Paging};
use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog, MemoryStorage};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine, Event};
use freshmaker::{Context, Decision, Handler, HandlerResult};
use std::sync::Arc;

#[derive(serde::Serialize, serde::Deserialize)]
struct HoleFound {
    image: String,
    severity: u8,
}

impl Event for HoleFound {
    const KIND: &'static str = "scan.hole-found"; // Stored and sent: choose it once.
}

async fn close_hole(event: HoleFound, cx: Context) -> HandlerResult {
    if event.severity < 4 {
        return Ok(Decision::Skip("the weekly rebuild is soon enough".into()));
    }
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(Decision::Rebuild(graph.planner().rebuild(event.image).policy(cx.policy()).plan()?))
}

struct Tell(&'static str); // A handler that holds something is a struct.
#[async_trait]
impl Handler<HoleFound> for Tell {
    async fn handle(&self, event: HoleFound, _: Context) -> HandlerResult {
        Ok(Decision::Skip(format!("{} was told of {}", self.0, event.image)))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image).with_source("base/", None));
    graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
    graph.depend("app", "base", EdgeKind::ParentImage)?;
    let engine = Engine::builder()
        .storage(Arc::new(MemoryStorage::new()))
        .catalog("images", Arc::new(MemoryCatalog::new(graph)))
        .build_system("builder", Arc::new(MemoryBuildSystem::new()))
        .on(close_hole)
        .on(Tell("security"))
        .build()?;
    let client = engine.client();
    client.send(&HoleFound { image: "base".into(), severity: 5 }).await?;
    engine.run_until(client.wait_until_idle()).await?;
    for event in client.events(EventFilter::default(), Paging::first(10)).await?.items {
        println!("{}: {} ({})", event.handler, event.state, event.reason);
        client.plan(event.id).await?.iter().for_each(|plan| print!("{plan}"));
    }
    for build in client.builds(BuildFilter::default(), Paging::first(10)).await?.items {
        println!("{}: {} ({})", build.key.artifact, build.state, build.reason);
    }
    Ok(())
}

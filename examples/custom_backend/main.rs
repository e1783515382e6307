//! A build system of your own, held to its contract by the public suite (see `world.rs`) and then given to an engine.
mod world;
use async_trait::async_trait;
use freshmaker::adapter::memory::{MemoryCatalog, MemoryStorage};
use freshmaker::backend::{BuildRequest, BuildSystem, Capabilities, Found, Result};
use freshmaker::handler::{RebuildRequested, rebuild_requested};
use freshmaker::rebuild::{AttemptId, ExternalId, Failure, FailureClass, Observed, Output};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, Engine, artifact::Digest, time::Timestamp};
use std::{collections::BTreeMap, sync::Arc, sync::Mutex, time::Duration};

#[derive(Debug, Default)] // Runs by marker: how each stands, and how it will stand at the next look.
struct Make(Mutex<BTreeMap<ExternalId, (Observed, Observed)>>);

#[async_trait]
impl BuildSystem for Make {
    fn capabilities(&self) -> Capabilities {
        Capabilities { lookup: true, settle: Duration::ZERO, poll: Duration::from_millis(1) }
    }
    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        let (id, name) = (ExternalId::new(request.attempt.as_str()), request.artifact.to_string());
        let end = match request.target.as_str() {
            "broken" => Observed::Failed(Failure::new(FailureClass::Deterministic, "make: *** Error 2")),
            "endless" => Observed::Running,
            _ => Observed::Succeeded(Output { digest: Some(Digest::of(name.as_bytes())), name, contents: None }),
        };
        // The same marker is never started twice, however often it is sent.
        self.0.lock().expect("no panic").entry(id.clone()).or_insert((Observed::Running, end));
        Ok(id)
    }
    async fn find(&self, marker: &AttemptId, _: Timestamp) -> Result<Vec<Found>> {
        self.status(&[ExternalId::new(marker.as_str())]).await
    }
    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        let mut runs = self.0.lock().expect("no panic");
        let mut look = |id| runs.get_mut(id).map(|(now, next)| std::mem::replace(now, next.clone()));
        Ok(ids.iter().filter_map(|id| Some(Found { external: id.clone(), observed: look(id)? })).collect())
    }
    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        if let Some((Observed::Running, next)) = self.0.lock().expect("no panic").get_mut(id) {
            *next = Observed::Canceled;
        }
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    freshmaker::testing::conformance::build_system(&Make::default(), &world::Requests).await;
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("hello", ArtifactKind::Rpm).with_source("hello.c", None));
    let engine = Engine::builder().storage(Arc::new(MemoryStorage::new())).on(rebuild_requested);
    let engine = engine.catalog("sources", Arc::new(MemoryCatalog::new(graph)));
    let engine = engine.build_system("make", Arc::new(Make::default())).build()?;
    let handle = engine.handle();
    handle.send(&RebuildRequested { artifacts: vec!["hello".into()], dependents: true, requester: None }).await?;
    engine.run_until(handle.idle()).await?;
    println!("{} builds done", handle.overview().await?.builds_done);
    Ok(())
}

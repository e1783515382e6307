//! A build system of your own: the public suite checks its contract, then an engine uses it.
use async_trait::async_trait;
use freshmaker::backend::{BuildRequest, BuildSystem, Capabilities, Found, Result};
use freshmaker::handler::{RebuildRequested, rebuild_requested};
use freshmaker::memory::{MemoryCatalog, MemoryStorage};
use freshmaker::rebuild::{AttemptId, ExternalId, Failure, FailureClass, Observed, Output};
use freshmaker::{Artifact, ArtifactKind, Engine, artifact::Digest, time::Timestamp};
use std::{collections::BTreeMap, sync::Arc, sync::Mutex, time::Duration};

#[derive(Debug, Default)] // How each run stands, by marker.
struct Make(Mutex<BTreeMap<ExternalId, Observed>>);

#[async_trait]
impl BuildSystem for Make {
    fn capabilities(&self) -> Capabilities {
        Capabilities { lookup: true, settle: Duration::ZERO, poll: Duration::from_millis(1), submissions: None }
    }
    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        let (id, name) = (ExternalId::new(request.attempt.as_str()), request.artifact.to_string());
        let end = match request.target.as_str() {
            "Fails" => Observed::Failed(Failure::new(FailureClass::Deterministic, "make: *** Error 2")),
            "Hangs" => Observed::Running,
            _ => Observed::Succeeded(Output { digest: Some(Digest::of(name.as_bytes())), name, contents: None }),
        };
        // The same marker is never started twice, however often it is sent.
        self.0.lock().expect("no panic").entry(id.clone()).or_insert(end);
        Ok(id)
    }
    async fn find(&self, request: &BuildRequest, _: Timestamp) -> Result<Vec<Found>> {
        self.status(&[ExternalId::new(request.attempt.as_str())]).await
    }
    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        let runs = self.0.lock().expect("no panic");
        let look = |id: &ExternalId| Some(Found { external: id.clone(), observed: runs.get(id)?.clone() });
        Ok(ids.iter().filter_map(look).collect())
    }
    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        if let Some(run @ Observed::Running) = self.0.lock().expect("no panic").get_mut(id) {
            *run = Observed::Canceled;
        }
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let marker = || AttemptId::from_random(fastrand::u128(..));
    let request = |end| BuildRequest { target: format!("{end:?}"), ..BuildRequest::new(marker(), "hello") };
    freshmaker_testing::conformance::build_system(&Make::default(), &request).await; // Panics with a sentence where the contract is broken.
    let sources = MemoryCatalog::default();
    sources.update(|all| all.insert(Artifact::new("hello", ArtifactKind::Rpm).with_source("hello.c", None)));
    let engine = Engine::builder().storage(Arc::new(MemoryStorage::new())).catalog("sources", Arc::new(sources));
    let engine = engine.build_system("make", Arc::new(Make::default())).on(rebuild_requested).build()?;
    let client = engine.client();
    client.send(&RebuildRequested { artifacts: vec!["hello".into()], dependents: true, requester: None }).await?;
    engine.run_until(client.wait_until_idle()).await?;
    println!("{} builds done", client.overview().await?.builds_done);
    Ok(())
}

use super::{BuildRequest, BuildSystem, Capabilities, Found, Result};
use crate::rebuild::{ExternalId, Observed, Output};
use crate::time::Timestamp;
use async_trait::async_trait;
use std::time::Duration;

/// A build system that builds nothing: every request succeeds at once.
///
/// Set the mode of the engine to [`DryRun`](crate::rebuild::BuildMode::DryRun) to see what it would
/// do. All builds then go to this build system, whichever system their artifacts name, and nothing
/// is submitted. Events, plans and builds are stored as usual, with the mode, and share nothing
/// with real builds. An engine in this mode does not touch real builds that it finds in the
/// storage. A single event of any other engine can be a dry run as well, see
/// [`Event::dry_run`](crate::Event::dry_run). To see the plan of a handler without an engine and
/// without storing anything, call the handler with a context from
/// [`Context::outside`](crate::handler::Context::outside).
///
/// This build system has no state, so a restart changes nothing. Its outputs have no digest, so
/// there is no early cutoff: dependents are always rebuilt.
///
/// ```
/// use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog, MemoryStorage};
/// use freshmaker::handler::{RebuildRequested, rebuild_requested};
/// use freshmaker::rebuild::BuildMode;
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, Engine};
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut graph = ArtifactGraph::new();
/// graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
/// let builds = Arc::new(MemoryBuildSystem::new());
///
/// // In this mode, `DryRun` is used instead of every registered build system.
/// let engine = Engine::builder()
///     .mode(BuildMode::DryRun)
///     .storage(Arc::new(MemoryStorage::new()))
///     .catalog("images", Arc::new(MemoryCatalog::new(graph)))
///     .build_system("builder", builds.clone())
///     .on(rebuild_requested)
///     .build()?;
/// let client = engine.client();
/// let request =
///     RebuildRequested { artifacts: vec!["app".into()], dependents: true, requester: None };
/// client.send(&request).await?;
/// engine.run_until(client.wait_until_idle()).await?;
/// assert_eq!(client.overview().await?.builds_done, 1);
/// assert!(builds.requests().is_empty());
/// # Ok(())
/// # }
/// ```
#[doc(alias = "preview")]
#[doc(alias = "simulate")]
#[doc(alias = "noop")]
#[derive(Clone, Copy, Debug, Default)]
#[doc(alias = "dry run")]
#[doc(alias = "dry-run")]
pub struct DryRun;

impl DryRun {
    /// The build system under which builds of a single dry run are stored, in an engine that really
    /// builds. They wait in a queue of this name, with a concurrency limit of its own, so that they
    /// neither wait for real builds nor take room from them. No build system can be registered
    /// under this name.
    pub const QUEUE: &'static str = "dry-run";
}

#[async_trait]
impl BuildSystem for DryRun {
    fn capabilities(&self) -> Capabilities {
        Capabilities { lookup: true, settle: Duration::ZERO, poll: Duration::from_millis(10), submissions: None }
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        Ok(ExternalId::new(format!("dry-run:{}", request.attempt)))
    }

    async fn find(&self, _: &BuildRequest, _: Timestamp) -> Result<Vec<Found>> {
        Ok(Vec::new())
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        let output = Output { name: String::new(), digest: None, contents: None };
        let found = ids.iter().map(|id| Found { external: id.clone(), observed: Observed::Succeeded(output.clone()) });
        Ok(found.collect())
    }

    async fn cancel(&self, _: &ExternalId) -> Result<()> {
        Ok(())
    }
}

//! A build system that pretends to take its time.

use async_trait::async_trait;
use freshmaker::ArtifactId;
use freshmaker::backend::{BuildRequest, BuildSystem, Capabilities, Found, Result};
use freshmaker::memory::MemoryBuildSystem;
use freshmaker::rebuild::{ExternalId, Failure, Observed};
use freshmaker::time::Timestamp;
use quickstart::store::pretended_work;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How often the engine looks.
const POLL: Duration = Duration::from_millis(100);

/// How long a build of this artifact takes here.
pub(crate) fn takes(artifact: &ArtifactId, slower: u32) -> Duration {
    pretended_work(artifact) * slower
}

/// Builds that end at once in memory, and are reported as running until their time is up.
#[derive(Debug)]
pub(crate) struct Pretended {
    builds: MemoryBuildSystem,
    slower: u32,
    until: Mutex<BTreeMap<ExternalId, Instant>>,
}

impl Pretended {
    pub(crate) fn new(slower: u32) -> Self {
        let builds = MemoryBuildSystem::new();
        let capabilities = Capabilities { poll: POLL, ..builds.capabilities() };
        Self { builds: builds.with_capabilities(capabilities), slower, until: Mutex::default() }
    }

    /// Makes the next build of an artifact fail, after its time.
    pub(crate) fn fail_next(&self, artifact: &ArtifactId, failure: Failure) {
        self.builds.fail_next(artifact, failure);
    }

    fn masked(&self, mut found: Vec<Found>) -> Vec<Found> {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        for found in &mut found {
            let runs = until.get(&found.external).is_some_and(|until| now < *until);
            // A build that was stopped has stopped.
            if runs && found.observed != Observed::Canceled {
                found.observed = Observed::Running;
            }
        }
        found
    }
}

#[async_trait]
impl BuildSystem for Pretended {
    fn capabilities(&self) -> Capabilities {
        self.builds.capabilities()
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        let id = self.builds.submit(request).await?;
        let until = Instant::now() + takes(&request.artifact, self.slower);
        self.until.lock().unwrap_or_else(PoisonError::into_inner).entry(id.clone()).or_insert(until);
        Ok(id)
    }

    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>> {
        Ok(self.masked(self.builds.find(request, since).await?))
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        Ok(self.masked(self.builds.status(ids).await?))
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.builds.cancel(id).await
    }
}

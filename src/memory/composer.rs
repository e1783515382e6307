use super::build_system::{CAPABILITIES, Script, lock};
use crate::artifact::{ArtifactId, Digest};
use crate::backend::{Capabilities, ComposeRequest, Composer, Found, Result};
use crate::rebuild::{ExternalId, Failure, Observed};
use crate::time::Timestamp;
use async_trait::async_trait;
use std::sync::{Mutex, PoisonError};

/// Prerequisites that only seem to be prepared: each is ready at once, unless it is told otherwise.
///
/// The digest of a prerequisite is made of its name and parameters.
///
/// ```
/// use freshmaker::memory::MemoryComposer;
/// use freshmaker::backend::{BuildSystem, ComposerSystem};
/// use std::sync::Arc;
///
/// let composer = Arc::new(MemoryComposer::new());
/// let system = ComposerSystem(Arc::clone(&composer));
/// assert!(system.capabilities().lookup);
/// assert!(composer.requests().is_empty() && composer.released().is_empty());
/// ```
#[derive(Debug, Default)]
pub struct MemoryComposer {
    script: Mutex<Script<ComposeRequest>>,
    released: Mutex<Vec<ExternalId>>,
}

impl MemoryComposer {
    /// A composer that was never asked.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// This prerequisite is being prepared until [`finish`](Self::finish).
    pub fn hold(&self, artifact: &ArtifactId) {
        lock(&self.script).held.insert(artifact.clone());
    }

    /// Preparations of this prerequisite end so, and later ones are no longer held.
    pub fn finish(&self, artifact: &ArtifactId, observed: Observed) {
        lock(&self.script).finish(artifact, observed);
    }

    /// The next preparation of this prerequisite fails so; several add up.
    pub fn fail_next(&self, artifact: &ArtifactId, failure: Failure) {
        lock(&self.script).failures.entry(artifact.clone()).or_default().push_back(failure);
    }

    /// What was prepared, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<ComposeRequest> {
        lock(&self.script).requests.clone()
    }

    /// What is no longer needed, in the order in which that was said.
    #[must_use]
    pub fn released(&self) -> Vec<ExternalId> {
        self.released.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Composer for MemoryComposer {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn prepare(&self, request: &ComposeRequest) -> Result<ExternalId> {
        // An ordered map of texts, numbers and flags: equal ones have equal bytes, and serialising cannot fail.
        let parameters = serde_json::to_vec(&request.parameters).unwrap_or_default();
        let digest = Digest::of_parts([request.artifact.as_str().as_bytes(), &parameters]);
        Ok(lock(&self.script).start(&request.attempt, &request.artifact, request, digest))
    }

    async fn find(&self, request: &ComposeRequest, _since: Timestamp) -> Result<Vec<Found>> {
        Ok(lock(&self.script).find(&request.attempt))
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        Ok(lock(&self.script).status(ids))
    }

    async fn release(&self, id: &ExternalId) -> Result<()> {
        lock(&self.script).cancel(id)?;
        let mut released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        if !released.contains(id) {
            released.push(id.clone());
        }
        Ok(())
    }
}

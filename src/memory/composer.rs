use super::build_system::{CAPABILITIES, Script, lock};
use crate::artifact::{ArtifactId, Digest};
use crate::backend::{Capabilities, ComposeRequest, Composer, Found, Result};
use crate::rebuild::{ExternalId, Failure, Observed};
use crate::time::Timestamp;
use async_trait::async_trait;
use std::sync::{Mutex, PoisonError};

/// A composer that prepares nothing: each prerequisite is ready at once, unless a test says
/// otherwise.
///
/// The digest of a prerequisite is made of its name and its parameters.
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
    /// Makes a composer without any preparations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps preparations of this prerequisite running until [`finish`](Self::finish).
    pub fn hold(&self, artifact: &ArtifactId) {
        lock(&self.script).held.insert(artifact.clone());
    }

    /// Ends all running preparations of this prerequisite with this state; later ones are not held.
    pub fn finish(&self, artifact: &ArtifactId, observed: Observed) {
        lock(&self.script).finish(artifact, observed);
    }

    /// Makes the next preparation of this prerequisite fail. Several calls make that many of them
    /// fail.
    pub fn fail_next(&self, artifact: &ArtifactId, failure: Failure) {
        lock(&self.script).failures.entry(artifact.clone()).or_default().push_back(failure);
    }

    /// Returns the requests that started a preparation, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<ComposeRequest> {
        lock(&self.script).requests.clone()
    }

    /// Returns the prerequisites that were released, each once, in the order of their first
    /// release.
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
        // The map is ordered, and has only texts, numbers, flags and sets of texts. So equal
        // parameters give equal bytes, and serializing them cannot fail.
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

use crate::artifact::{ArtifactId, Digest};
use crate::backend::{BuildRequest, BuildSystem, Capabilities, Error, Found, Remedy, Result};
use crate::rebuild::{AttemptId, ExternalId, Failure, Observed, Output};
use crate::time::Timestamp;
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A build system that builds nothing: each build succeeds at once, unless a test says otherwise.
///
/// The digest of an output is made of the artifact's name and the digests of its parents, so new
/// content of a parent makes new content of its dependents. [`fail_next`](Self::fail_next) comes
/// before [`hold`](Self::hold). An attempt that is unknown is reported as
/// [`Vanished`](Observed::Vanished).
///
/// By default it promises a complete lookup, no settling time and a poll every 10 milliseconds.
///
/// ```
/// use freshmaker::memory::MemoryBuildSystem;
/// use freshmaker::rebuild::{Failure, FailureClass, Observed};
///
/// let builds = MemoryBuildSystem::new();
/// builds.fail_next(&"app".into(), Failure::new(FailureClass::Infrastructure, "no space left"));
/// builds.hold(&"base".into());
/// // … the engine submits; "app" fails once, "base" runs until:
/// builds.finish(&"base".into(), Observed::Canceled);
/// assert!(builds.requests().is_empty(), "nobody submitted anything");
/// ```
#[derive(Debug)]
pub struct MemoryBuildSystem {
    capabilities: Capabilities,
    script: Mutex<Script<BuildRequest>>,
}

impl Default for MemoryBuildSystem {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryBuildSystem {
    /// Makes a build system without any builds.
    #[must_use]
    pub fn new() -> Self {
        Self { capabilities: CAPABILITIES, script: Mutex::default() }
    }

    /// Returns the same build system with other guarantees.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Keeps builds of this artifact running, from now on, until [`finish`](Self::finish).
    pub fn hold(&self, artifact: &ArtifactId) {
        lock(&self.script).held.insert(artifact.clone());
    }

    /// Ends all running builds of this artifact with this state; later builds are not held.
    pub fn finish(&self, artifact: &ArtifactId, observed: Observed) {
        lock(&self.script).finish(artifact, observed);
    }

    /// Makes the next build of this artifact fail. Several calls make that many builds fail.
    pub fn fail_next(&self, artifact: &ArtifactId, failure: Failure) {
        lock(&self.script).failures.entry(artifact.clone()).or_default().push_back(failure);
    }

    /// Returns the requests that started a build, in order. A repeated submission is not counted.
    #[must_use]
    pub fn requests(&self) -> Vec<BuildRequest> {
        lock(&self.script).requests.clone()
    }
}

#[async_trait]
impl BuildSystem for MemoryBuildSystem {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        let name = request.artifact.as_str().as_bytes();
        let parents = request.parents.iter().map(|parent| parent.digest.as_ref().map_or("", Digest::as_str).as_bytes());
        let digest = Digest::of_parts([name].into_iter().chain(parents));
        Ok(lock(&self.script).start(&request.attempt, &request.artifact, request, digest))
    }

    async fn find(&self, request: &BuildRequest, _since: Timestamp) -> Result<Vec<Found>> {
        Ok(lock(&self.script).find(&request.attempt))
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        Ok(lock(&self.script).status(ids))
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        lock(&self.script).cancel(id)
    }
}

pub(super) const CAPABILITIES: Capabilities =
    Capabilities { lookup: true, settle: Duration::ZERO, poll: Duration::from_millis(10), submissions: None };

/// What was started, and what will happen to it. The marker of an attempt is also its external id.
#[derive(Debug)]
pub(super) struct Script<R> {
    pub(super) requests: Vec<R>,
    pub(super) held: BTreeSet<ArtifactId>,
    pub(super) failures: BTreeMap<ArtifactId, VecDeque<Failure>>,
    attempts: BTreeMap<ExternalId, (ArtifactId, Observed)>,
}

impl<R> Default for Script<R> {
    fn default() -> Self {
        Self { requests: Vec::new(), held: BTreeSet::new(), failures: BTreeMap::new(), attempts: BTreeMap::new() }
    }
}

impl<R: Clone> Script<R> {
    pub(super) fn start(
        &mut self,
        attempt: &AttemptId,
        artifact: &ArtifactId,
        request: &R,
        digest: Digest,
    ) -> ExternalId {
        let external = ExternalId::new(attempt.as_str());
        if self.attempts.contains_key(&external) {
            return external;
        }
        self.requests.push(request.clone());
        let observed = match self.failures.get_mut(artifact).and_then(VecDeque::pop_front) {
            Some(failure) => Observed::Failed(failure),
            None if self.held.contains(artifact) => Observed::Running,
            None => Observed::Succeeded(Output { name: artifact.to_string(), digest: Some(digest), contents: None }),
        };
        self.attempts.insert(external.clone(), (artifact.clone(), observed));
        external
    }

    pub(super) fn finish(&mut self, artifact: &ArtifactId, observed: Observed) {
        self.held.remove(artifact);
        let running = self.attempts.values_mut().filter(|(of, state)| of == artifact && *state == Observed::Running);
        for ((_, state), end) in running.zip(std::iter::repeat(observed)) {
            *state = end;
        }
    }

    pub(super) fn find(&self, attempt: &AttemptId) -> Vec<Found> {
        let external = ExternalId::new(attempt.as_str());
        let state = self.attempts.get(&external).map(|(_, observed)| observed.clone());
        state.map(|observed| Found { external, observed }).into_iter().collect()
    }

    pub(super) fn status(&self, ids: &[ExternalId]) -> Vec<Found> {
        let state = |id| self.attempts.get(id).map_or(Observed::Vanished, |(_, observed)| observed.clone());
        ids.iter().map(|id| Found { external: id.clone(), observed: state(id) }).collect()
    }

    pub(super) fn cancel(&mut self, id: &ExternalId) -> Result<()> {
        match self.attempts.get_mut(id) {
            Some((_, state)) => {
                if *state == Observed::Running {
                    *state = Observed::Canceled;
                }
                Ok(())
            }
            None => Err(Error::new(Remedy::NotFound, format!("memory, cancel {id}"), "there is no such attempt")),
        }
    }
}

pub(super) fn lock<R>(script: &Mutex<Script<R>>) -> MutexGuard<'_, Script<R>> {
    // No code panics while it holds the lock, and the script is consistent after every statement.
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

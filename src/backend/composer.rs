use super::{BuildRequest, BuildSystem, Capabilities, Found, Result};
use crate::artifact::{ArtifactId, Parameters};
use crate::rebuild::{AttemptId, ExternalId};
use crate::time::Timestamp;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A prerequisite to prepare: a package repository, for example.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComposeRequest {
    /// The marker of this attempt.
    pub attempt: AttemptId,
    /// What is prepared.
    pub artifact: ArtifactId,
    /// What it is made of; names belong to the adapter.
    pub parameters: Parameters,
    /// Nothing that was prepared earlier may be used again.
    pub no_cache: bool,
}

impl ComposeRequest {
    /// The part of a build request that a composer needs.
    #[must_use]
    pub fn of(request: &BuildRequest) -> Self {
        Self {
            attempt: request.attempt.clone(),
            artifact: request.artifact.clone(),
            parameters: request.parameters.clone(),
            no_cache: request.no_cache,
        }
    }
}

/// Who prepares what builds need before they can start.
///
/// A prerequisite is a node of the plan like any build, so it is planned, shared, attempted, followed and explained in the same way.
/// The engine runs it through [`ComposerSystem`].
///
/// ```
/// use async_trait::async_trait;
/// use freshmaker::backend::{Capabilities, ComposeRequest, Composer, Found, Result};
/// use freshmaker::rebuild::{AttemptId, ExternalId, Observed, Output};
/// use freshmaker::time::Timestamp;
/// use std::time::Duration;
///
/// /// Repositories that are always there, under a name that follows from the marker.
/// #[derive(Debug)]
/// struct Standing;
///
/// #[async_trait]
/// impl Composer for Standing {
///     fn capabilities(&self) -> Capabilities {
///         Capabilities { lookup: true, settle: Duration::ZERO, poll: Duration::from_secs(5), submissions: None }
///     }
///     async fn prepare(&self, request: &ComposeRequest) -> Result<ExternalId> {
///         Ok(ExternalId::new(request.attempt.as_str()))
///     }
///     async fn find(&self, request: &ComposeRequest, _since: Timestamp) -> Result<Vec<Found>> {
///         self.status(&[ExternalId::new(request.attempt.as_str())]).await
///     }
///     async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
///         let ready = |id: &ExternalId| {
///             let output = Output { name: format!("https://repos.example.org/{id}"), digest: None, contents: None };
///             Found { external: id.clone(), observed: Observed::Succeeded(output) }
///         };
///         Ok(ids.iter().map(ready).collect())
///     }
///     async fn release(&self, _: &ExternalId) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// use freshmaker::Engine;
/// use std::sync::Arc;
/// let builder = Engine::builder().composer("repositories", Arc::new(Standing));
/// # drop(builder);
/// ```
#[async_trait]
pub trait Composer: fmt::Debug + Send + Sync + 'static {
    /// What it can promise.
    fn capabilities(&self) -> Capabilities;

    /// Starts to prepare.
    async fn prepare(&self, request: &ComposeRequest) -> Result<ExternalId>;

    /// What was started by this request since shortly before `since`. A service that keeps no marker may answer with one that is equal:
    /// what is prepared is the same, whoever asked.
    async fn find(&self, request: &ComposeRequest, since: Timestamp) -> Result<Vec<Found>>;

    /// How these stand, in any order.
    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>>;

    /// It is no longer needed.
    async fn release(&self, id: &ExternalId) -> Result<()>;
}

/// A [`Composer`] seen as the build system of repositories.
#[derive(Debug)]
pub struct ComposerSystem<C: ?Sized>(pub std::sync::Arc<C>);

#[async_trait]
impl<C: Composer + ?Sized> BuildSystem for ComposerSystem<C> {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        self.0.prepare(&ComposeRequest::of(request)).await
    }

    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>> {
        self.0.find(&ComposeRequest::of(request), since).await
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        self.0.status(ids).await
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        self.0.release(id).await
    }
}

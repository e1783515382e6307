use super::{BuildRequest, BuildSystem, Capabilities, Found, Result};
use crate::artifact::{ArtifactId, Parameters};
use crate::rebuild::{AttemptId, ExternalId};
use crate::time::Timestamp;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The request to prepare something that builds need, for example a package repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComposeRequest {
    /// The marker of this attempt.
    pub attempt: AttemptId,
    /// The artifact to prepare.
    pub artifact: ArtifactId,
    /// What it consists of. Names and meaning belong to the adapter of the composer.
    pub parameters: Parameters,
    /// Whether everything must be prepared anew. If `true`, results of earlier requests must not be
    /// used.
    pub no_cache: bool,
}

impl ComposeRequest {
    /// Returns the part of a build request that a composer needs.
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

/// Prepares what builds need before they can start, such as package repositories.
///
/// What is prepared is an artifact of kind [`Repository`](crate::ArtifactKind::Repository), and a
/// node of the plan like any other. So it is planned, shared, submitted, polled and explained in
/// the same way. The engine uses a composer as a [build system](BuildSystem), through
/// [`ComposerSystem`].
///
/// An artifact goes to a composer by its [`system`](crate::Artifact::system), as to any build
/// system: see [there](BuildSystem). A composer counts when the engine looks for "the only
/// registered system".
///
/// The [contract](BuildSystem) is that of a build system, with [`prepare`](Self::prepare) for
/// `submit` and [`release`](Self::release) for `cancel`. A composer has no sessions.
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
///         Capabilities {
///             lookup: true,
///             settle: Duration::ZERO,
///             poll: Duration::from_secs(5),
///             submissions: None,
///         }
///     }
///     async fn prepare(&self, request: &ComposeRequest) -> Result<ExternalId> {
///         Ok(ExternalId::new(request.attempt.as_str()))
///     }
///     async fn find(&self, request: &ComposeRequest, _since: Timestamp) -> Result<Vec<Found>> {
///         self.status(&[ExternalId::new(request.attempt.as_str())]).await
///     }
///     async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
///         let ready = |id: &ExternalId| {
///             let name = format!("https://repos.example.org/{id}");
///             let output = Output { name, digest: None, contents: None };
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
    /// Returns what this composer guarantees.
    fn capabilities(&self) -> Capabilities;

    /// Starts to prepare a prerequisite, and returns the composer's own id of it.
    ///
    /// # Errors
    /// As for [`BuildSystem::submit`]: the [remedy](super::Remedy) says whether anything was
    /// started.
    async fn prepare(&self, request: &ComposeRequest) -> Result<ExternalId>;

    /// Looks up everything that was started by this request since shortly before `since`.
    ///
    /// A service that cannot store a marker may return an equal prerequisite: its content is the
    /// same even if another client has asked for it.
    ///
    /// # Errors
    /// If a complete answer is not possible. The engine asks again later.
    async fn find(&self, request: &ComposeRequest, since: Timestamp) -> Result<Vec<Found>>;

    /// Returns the states of these prerequisites, in any order. One that is missing counts as
    /// unchanged.
    ///
    /// The engine also asks before it submits a build, whether what was prepared for it still
    /// exists. For one that has expired, return any state but
    /// [`Running`](crate::rebuild::Observed::Running) and
    /// [`Succeeded`](crate::rebuild::Observed::Succeeded): it is then prepared anew.
    ///
    /// # Errors
    /// All of them count as unchanged, and the engine asks again later.
    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>>;

    /// Releases a prerequisite that is not needed. The engine calls this if its preparation is
    /// cancelled, and for a second prerequisite with the same marker.
    ///
    /// The engine does not call this after the last use. A prerequisite may be shared: with later
    /// events, whose builds reuse it while its inputs are the same, with programs that read the
    /// repository beside the engine, and, where a service has no marker, with other clients that
    /// asked for an equal one. So a prerequisite exists until its lifetime ends, and the engine
    /// renews or replaces one that expires before it is used.
    ///
    /// # Errors
    /// The engine logs the error. If the preparation is cancelled, it calls this again later.
    async fn release(&self, id: &ExternalId) -> Result<()>;
}

/// A [`Composer`] as a [`BuildSystem`].
/// [`EngineBuilder::composer`](crate::engine::EngineBuilder::composer) wraps a composer in this.
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

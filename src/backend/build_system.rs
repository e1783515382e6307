use super::Result;
use crate::artifact::{ArtifactId, ArtifactKind, Nvr, Parameters, Source};
use crate::plan::PlanParent;
use crate::rebuild::{AttemptId, AttemptRecord, BuildId, BuildMode, BuildRecord, ExternalId, Observed, SessionId};
use crate::time::Timestamp;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// Everything a build system is told about an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuildRequest {
    /// The marker, to be kept where [`BuildSystem::find`] finds it again.
    pub attempt: AttemptId,
    /// The build it is for.
    pub build: BuildId,
    /// What is built.
    pub artifact: ArtifactId,
    /// What sort of thing that is.
    pub kind: ArtifactKind,
    /// The recipe.
    pub source: Option<Source>,
    /// Target or branch.
    pub target: String,
    /// Whether its output is meant to be used. A build that is only pretended never comes here.
    pub mode: BuildMode,
    /// Further parameters; their names belong to the adapter.
    pub parameters: Parameters,
    /// Suffix for the release; the same for every submission of one try.
    pub release: String,
    /// Each parent with the content its rebuild just produced, or its present content.
    pub parents: Vec<PlanParent>,
    /// What its result must contain.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub demands: BTreeSet<Nvr>,
    /// The build must not use any cache.
    pub no_cache: bool,
    /// The session it is submitted in: what [`BuildSystem::session`] gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
}

impl BuildRequest {
    /// What is asked for by this attempt of this build.
    #[must_use]
    pub fn of(build: &BuildRecord, attempt: &AttemptRecord) -> Self {
        Self {
            attempt: attempt.id.clone(),
            build: build.id,
            artifact: build.key.artifact.clone(),
            kind: build.kind,
            source: build.source.clone(),
            target: build.key.target.clone(),
            mode: build.key.mode,
            parameters: build.parameters.clone(),
            release: attempt.release.clone(),
            parents: build.parents.clone(),
            demands: build.demands.clone(),
            no_cache: build.no_cache,
            session: attempt.session.clone(),
        }
    }

    /// A request for a real build of an image without a recipe, parameters or parents; the fields are public.
    pub fn new(attempt: AttemptId, artifact: impl Into<ArtifactId>) -> Self {
        Self {
            attempt,
            build: BuildId(1),
            artifact: artifact.into(),
            kind: ArtifactKind::Image,
            source: None,
            target: String::new(),
            mode: BuildMode::Real,
            parameters: Parameters::default(),
            release: "1".to_owned(),
            parents: Vec::new(),
            demands: BTreeSet::new(),
            no_cache: false,
            session: None,
        }
    }
}

/// What a build system can promise; decides how an unclear submission is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// [`BuildSystem::find`] is complete: if it finds nothing, the build system has nothing.
    /// Without it an unclear attempt waits for a person, because sending it again could build twice.
    pub lookup: bool,
    /// How long a request that was sent may still take effect; the look-up waits that long first.
    pub settle: Duration,
    /// How often an attempt that runs is asked about.
    pub poll: Duration,
    /// How many attempts may be submitted at once, from [`BuildSystem::session`] to the answer of [`BuildSystem::submit`]; without a number as
    /// many as there are slots. More would only wait for each other, within the time that a submission has.
    pub submissions: Option<NonZeroU32>,
}

/// An attempt that the build system knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What the build system calls it.
    pub external: ExternalId,
    /// How it stands.
    pub observed: Observed,
}

/// Somebody else's machinery that builds artifacts.
///
/// # Contract
/// * [`submit`](Self::submit) keeps the attempt's marker with what it starts, and answers with an error of remedy
///   [`Unavailable`](super::Remedy::Unavailable) only if nothing was started, [`Unclear`](super::Remedy::Unclear) if that is not known.
///   It never sends a request twice by itself.
/// * A system with sessions opens one in [`session`](Self::session) before the intent is stored, submits in it and in no other, and never uses it
///   again after an unclear answer. After [`fence`](Self::fence) nothing that was sent in the session can take effect any more, once
///   [`settle`](Capabilities::settle) has passed.
/// * [`status`](Self::status) is the truth; messages about completions are hints.
/// * [`cancel`](Self::cancel) only asks; the attempt is cancelled when its status says so. Cancelling what has ended is no error.
///
/// This one runs a whole farm in a map. A real one sends the [`BuildRequest`], which has a JSON form, and keeps the marker as a label:
///
/// ```
/// use async_trait::async_trait;
/// use freshmaker::backend::{BuildRequest, BuildSystem, Capabilities, Found, Result};
/// use freshmaker::rebuild::{AttemptId, ExternalId, Observed};
/// use freshmaker::time::Timestamp;
/// use std::{collections::BTreeMap, sync::Mutex, time::Duration};
///
/// #[derive(Debug, Default)]
/// struct Farm(Mutex<BTreeMap<ExternalId, Observed>>);
///
/// #[async_trait]
/// impl BuildSystem for Farm {
///     fn capabilities(&self) -> Capabilities {
///         Capabilities { lookup: true, settle: Duration::ZERO, poll: Duration::from_secs(5), submissions: None }
///     }
///     async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
///         let id = ExternalId::new(request.attempt.as_str());
///         self.0.lock().expect("no panic").entry(id.clone()).or_insert(Observed::Running);
///         Ok(id)
///     }
///     async fn find(&self, request: &BuildRequest, _since: Timestamp) -> Result<Vec<Found>> {
///         self.status(&[ExternalId::new(request.attempt.as_str())]).await
///     }
///     async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
///         let runs = self.0.lock().expect("no panic");
///         let known = |id: &ExternalId| Some(Found { external: id.clone(), observed: runs.get(id)?.clone() });
///         Ok(ids.iter().filter_map(known).collect())
///     }
///     async fn cancel(&self, id: &ExternalId) -> Result<()> {
///         let mut runs = self.0.lock().expect("no panic");
///         if let Some(run @ Observed::Running) = runs.get_mut(id) {
///             *run = Observed::Canceled;
///         }
///         Ok(())
///     }
/// }
/// # futures_util::FutureExt::now_or_never(async {
/// let farm = Farm::default();
/// let request = BuildRequest::new(AttemptId::from_random(7), "app");
/// assert!(farm.find(&request, Default::default()).await?.is_empty());
/// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
/// ```
#[async_trait]
pub trait BuildSystem: fmt::Debug + Send + Sync + 'static {
    /// What it can promise.
    fn capabilities(&self) -> Capabilities;

    /// A session to submit in, if this system has sessions. Whatever goes wrong here, nothing was submitted.
    async fn session(&self) -> Result<Option<SessionId>> {
        Ok(None)
    }

    /// Closes a session, from whichever process and time it is. One that is closed already, or was never known, is no error.
    async fn fence(&self, _session: &SessionId) -> Result<()> {
        Ok(())
    }

    /// Starts an attempt.
    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId>;

    /// Everything started with the marker of this request since shortly before `since`: all of it, or an error.
    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>>;

    /// How these attempts stand, in any order; one that is not mentioned is unchanged.
    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>>;

    /// Asks for an attempt to be stopped.
    async fn cancel(&self, id: &ExternalId) -> Result<()>;
}

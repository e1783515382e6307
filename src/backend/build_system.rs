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

/// The request to build one artifact: everything that a build system gets for one attempt.
///
/// It has a JSON form, so a build system can send or store it as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuildRequest {
    /// The marker of the attempt. The build system stores it with the job, so that
    /// [`BuildSystem::find`] can find the job by it.
    pub attempt: AttemptId,
    /// The build that this is an attempt of. All attempts of a build have the same one.
    pub build: BuildId,
    /// The artifact to build.
    pub artifact: ArtifactId,
    /// The kind of the artifact.
    pub kind: ArtifactKind,
    /// Where the recipe is. The planner takes only artifacts that have one.
    pub source: Option<Source>,
    /// The target or branch; empty if the catalog gives none.
    pub target: String,
    /// Whether the output is meant to be used ([`Real`](BuildMode::Real)) or is a
    /// [`Scratch`](BuildMode::Scratch) build. Builds of a dry run go to [`DryRun`](super::DryRun)
    /// and never to another build system.
    pub mode: BuildMode,
    /// Further parameters. Their names and meaning belong to the adapter of the build system.
    pub parameters: Parameters,
    /// The suffix for the release. It is the same for all submissions of one try, so a repeated
    /// submission makes the same name.
    pub release: String,
    /// All parents, each with the content that its rebuild has just made, or with its present
    /// content.
    pub parents: Vec<PlanParent>,
    /// Packages that the result must contain. Empty if there is no demand.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub demands: BTreeSet<Nvr>,
    /// Whether the build must not use any cache.
    pub no_cache: bool,
    /// The session to submit in, as [`BuildSystem::session`] returned it; `None` if the system has
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
}

impl BuildRequest {
    /// Makes the request for this attempt of this build.
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

    /// Makes a request for tests: a real build of an image without a source, parameters and
    /// parents.
    ///
    /// Set other fields directly.
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

/// What a build system guarantees. The engine uses it to resolve an unclear submission, and for
/// pacing.
///
/// ```
/// use freshmaker::backend::Capabilities;
/// use std::num::NonZeroU32;
/// use std::time::Duration;
///
/// // A service that keeps our marker with each job and can list jobs by it, drops a request that it
/// // has not begun to handle after a minute, and is asked every ten seconds, one submission at a time.
/// let farm = Capabilities {
///     lookup: true,
///     settle: Duration::from_secs(60),
///     poll: Duration::from_secs(10),
///     submissions: NonZeroU32::new(1),
/// };
/// assert!(farm.lookup, "an unclear submission needs no person");
/// ```
#[doc(alias = "poll interval")]
#[doc(alias = "rate limit")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether [`BuildSystem::find`] is complete: if it finds nothing, the build system has
    /// nothing.
    ///
    /// If this is `false`, a person must decide about every unclear attempt, because the engine
    /// could build twice if it submitted again.
    pub lookup: bool,
    /// How long a request that was sent may still take effect. The lookup of an unclear submission
    /// waits for this time first.
    pub settle: Duration,
    /// How long the engine waits between two polls of a running attempt.
    pub poll: Duration,
    /// How many submissions may be in flight at once, from [`BuildSystem::session`] to the answer
    /// of [`BuildSystem::submit`]. `None` means as many as the concurrency limit of the system. Set
    /// it if more submissions would only wait for each other and exceed the time limit of a call
    /// ([`call_timeout`](crate::engine::EngineBuilder::call_timeout), 60 seconds by default).
    pub submissions: Option<NonZeroU32>,
}

/// The state of one attempt, as the build system reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The build system's own id of the attempt.
    pub external: ExternalId,
    /// The state of the attempt.
    pub observed: Observed,
}

/// Builds artifacts, in a service or a program outside the engine.
///
/// # Which build system gets an artifact
///
/// The engine sends an artifact to the build system whose registered name is in
/// [`Artifact::system`](crate::Artifact::system). If that is `None`, there must be exactly one
/// registered system, composers included; it gets the artifact. In all other cases the event fails
/// with the code `no_build_system`, before anything is submitted. The kind and the target of an
/// artifact do not matter for this choice. So use one registration for each kind of machinery, for
/// example:
///
/// | registered as | what it builds | in the catalog |
/// |---|---|---|
/// | `koji` | packages and images | `.with_system("koji")` |
/// | `odcs` (a composer) | package repositories | `.with_system("odcs")` |
/// | `arm-farm` | some images | `.with_system("arm-farm")` |
///
/// Each registered system has its own queue and its own concurrency limit, 10 attempts by default
/// ([`EngineBuilder::limit`](crate::engine::EngineBuilder::limit)).
///
/// # Contract
/// * [`submit`](Self::submit) stores the attempt's marker with the job that it starts, and never
///   sends a request twice by itself.
/// * [`submit`](Self::submit) fails with [`Unavailable`](super::Remedy::Unavailable) only if
///   nothing was started, and with [`Unclear`](super::Remedy::Unclear) if that is not known.
/// * A system with sessions opens one in [`session`](Self::session), before the intent is stored.
///   It submits in that session and in no other, and does not use it again after an unclear answer.
///   After [`fence`](Self::fence), and after [`settle`](Capabilities::settle) has passed, nothing
///   that was sent in the session can take effect any more.
/// * The state of an attempt comes from [`status`](Self::status) alone. Messages about completions
///   are only hints that trigger an early poll.
/// * [`cancel`](Self::cancel) only requests the end. The attempt is cancelled when its status says
///   so. It is no error to cancel an attempt that has ended.
///
/// The suite `build_system` of the crate `freshmaker-testing` checks an implementation against this
/// contract, except for what needs a dying process: fences, `settle`, and requests that arrive
/// late.
///
/// # Examples
///
/// This build system keeps its jobs in a map. A real one sends the [`BuildRequest`] in its JSON
/// form, and stores the marker as a label of the job:
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
///         Capabilities {
///             lookup: true,
///             settle: Duration::ZERO,
///             poll: Duration::from_secs(5),
///             submissions: None,
///         }
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
///         let known = |id: &ExternalId| {
///             Some(Found { external: id.clone(), observed: runs.get(id)?.clone() })
///         };
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
#[doc(alias = "builder")]
#[doc(alias = "backend")]
#[doc(alias = "worker")]
#[async_trait]
pub trait BuildSystem: fmt::Debug + Send + Sync + 'static {
    /// Returns what this build system guarantees. The engine asks once, when it is built: later
    /// changes are not seen.
    fn capabilities(&self) -> Capabilities;

    /// Opens a session to submit in; `None`, the default, if this system has no sessions.
    ///
    /// # Errors
    /// Any error means that nothing was submitted. The engine tries again later.
    async fn session(&self) -> Result<Option<SessionId>> {
        Ok(None)
    }

    /// Returns whether attempts of this session can be asked about from this process. The engine
    /// calls this often, so it must be cheap. The default is `true`.
    ///
    /// A build system whose jobs live on one host returns `false` for the sessions of other hosts.
    /// Then their attempts are not polled, stopped or looked up from here, even if this process has
    /// made them: they wait for a process on their host, or for a person. Repositories that they
    /// have prepared for other builds count as still existing.
    fn is_here(&self, _session: &SessionId) -> bool {
        true
    }

    /// Closes a session, so that nothing that was sent in it can begin any more.
    ///
    /// The engine may call this from another process than the one that opened the session, and more
    /// than once. A session that is closed or unknown is no error. The default does nothing.
    ///
    /// # Errors
    /// The engine calls this again later, and does not look the submission up before it has
    /// succeeded.
    async fn fence(&self, _session: &SessionId) -> Result<()> {
        Ok(())
    }

    /// Starts an attempt and returns the build system's id of it, which no other attempt ever gets.
    ///
    /// # Errors
    /// The [remedy](super::Remedy) decides what the engine does:
    ///
    /// * [`Unavailable`](super::Remedy::Unavailable): nothing was started; the engine submits again
    ///   later.
    /// * [`Unclear`](super::Remedy::Unclear), [`Conflict`](super::Remedy::Conflict),
    ///   [`Corrupt`](super::Remedy::Corrupt), [`Fenced`](super::Remedy::Fenced), or no answer in
    ///   time: the engine looks the attempt up with [`find`](Self::find).
    /// * [`NotNow`](super::Remedy::NotNow): the engine submits again later, with a growing back-off
    ///   and up to 300 times by default, which takes about a day.
    /// * [`Rejected`](super::Remedy::Rejected), [`NotFound`](super::Remedy::NotFound),
    ///   [`Unsupported`](super::Remedy::Unsupported): the build fails with this text.
    ///
    /// # Cancel safety
    /// The engine drops the future after
    /// [`call_timeout`](crate::engine::EngineBuilder::call_timeout) (60 seconds by default) and
    /// when it is dropped itself. Both count as an unclear submission.
    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId>;

    /// Looks up everything that was started with the marker of this request since shortly before
    /// `since`.
    ///
    /// The answer must be complete if [`lookup`](Capabilities::lookup) is set. It has at most one
    /// element, unless the job was started twice; the engine then cancels the others.
    ///
    /// # Errors
    /// If a complete answer is not possible. The engine asks again later.
    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>>;

    /// Returns the states of these attempts, in any order. An attempt that is missing counts as
    /// unchanged.
    ///
    /// Return [`Vanished`](Observed::Vanished) for an attempt that the build system does not know
    /// any more.
    ///
    /// # Errors
    /// All attempts of the call count as unchanged, and the engine polls again later.
    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>>;

    /// Requests the end of an attempt.
    ///
    /// # Errors
    /// The engine logs the error and asks again at the next poll.
    async fn cancel(&self, id: &ExternalId) -> Result<()>;
}

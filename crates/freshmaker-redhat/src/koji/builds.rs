use super::client::Client;
use super::config::KojiConfig;
use super::fault::CallError;
use super::request::{marker, method, submission};
use super::session::Sessions;
use super::status::{Observer, task_number};
use super::xmlrpc::{Request, Value};
use crate::messages::koji::TaskState;
use async_trait::async_trait;
use freshmaker::backend::{BuildRequest, BuildSystem, Capabilities, Error, Found, Remedy, Result};
use freshmaker::rebuild::{AttemptId, ExternalId, SessionId};
use freshmaker::time::{Timestamp, to_micros};
use freshmaker_net::{Call, Negotiate};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Number of tasks on one page of a lookup.
const PAGE: usize = 500;

/// Largest number of pages in a lookup; a lookup with more fails, because an incomplete one must
/// not be believed.
const PAGES_MAX: usize = 1000;

/// How far the hub's clock may be behind ours when tasks are filtered by creation time.
const CLOCKS_APART: Duration = Duration::from_secs(24 * 3600);

/// Number of submissions that are remembered.
const RECENT_MAX: usize = 1000;

/// Koji as a [`BuildSystem`]: builds images with `buildContainer`, and all other artifacts with
/// `build`.
///
/// The source of an artifact is passed as `location#revision`, its target as Koji's build target.
///
/// * Parameters of images: `git_branch`, `yum_repourls`, `compose_ids`, `flatpak`, `isolated`,
///   `koji_parent_build`, `arch_override` (used only for isolated and scratch builds),
///   `signing_intent`, `dependency_replacements`, `operator_csv_modifications_url`, and `release`
///   (only its part up to the first dot is used; without the parameter, the release of the NVR that
///   names the artifact).
/// * Parameters of packages: `arch_override`, `fail_fast`, `repo_id`, `skip_tag`, `wait_builds` and
///   `wait_repo`.
/// * A rebuilt parent image becomes `koji_parent_build`, unless the parameter is set. A prepared
///   repository is added to `compose_ids` or `yum_repourls`.
///
/// # Submitting exactly once
/// Koji starts a second task if the same request is sent twice. A `KojiBuildSystem` remembers its
/// last 1000 submissions and does not repeat them. After a restart the engine looks up the marker,
/// which is in the request of the task: `userdata.fm_attempt` for images,
/// `custom_user_metadata.fm_attempt` for packages. A lookup reads the tasks of our user since a day
/// before the request; it fails if these are more than 500,000.
///
/// # Cancel safety
/// If a [`submit`](BuildSystem::submit) future is dropped after the request was sent, the task may
/// exist. Nothing further is sent in its session. Treat it like [`Unclear`](Remedy::Unclear):
/// [`fence`](BuildSystem::fence) the session, then [`find`](BuildSystem::find) the task.
///
/// # Examples
///
/// ```
/// use freshmaker_redhat::koji::{KojiConfig, KojiBuildSystem};
/// use freshmaker::backend::BuildSystem;
///
/// let builds = KojiBuildSystem::new(KojiConfig::new("https://koji.example.org/kojihub"))?;
/// assert!(builds.capabilities().lookup);
/// # Ok::<(), freshmaker::backend::Error>(())
/// ```
#[derive(Debug)]
#[doc(alias = "brew")]
#[doc(alias = "osbs")]
pub struct KojiBuildSystem {
    client: Client,
    sessions: Sessions,
    observer: Observer,
    config: KojiConfig,
    recent: Mutex<VecDeque<(AttemptId, ExternalId)>>,
}

impl KojiBuildSystem {
    /// Creates a build system that uses this hub. Nothing is sent.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if a certificate file cannot be used.
    pub fn new(config: KojiConfig) -> Result<Self> {
        let client = Client::new(&config)?;
        Ok(Self {
            sessions: Sessions::new(client.clone(), &config),
            observer: Observer::new(client.clone(), config.topurl.clone()),
            client,
            config,
            recent: Mutex::default(),
        })
    }

    /// Takes the tokens for [`KojiLogin::Kerberos`](super::KojiLogin::Kerberos) from `negotiate`
    /// instead of the GSSAPI library of the system.
    #[must_use]
    #[doc(alias = "kerberos")]
    pub fn with_negotiate(self, negotiate: Arc<dyn Negotiate>) -> Self {
        Self { sessions: self.sessions.with_negotiate(negotiate), ..self }
    }

    fn submitted(&self, attempt: &AttemptId) -> Option<ExternalId> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().find(|(known, _)| known == attempt).map(|(_, id)| id.clone())
    }

    /// Releases the session of this request, in which nothing will be sent.
    fn unused(&self, request: &BuildRequest) {
        if let Some(session) = &request.session {
            self.sessions.free(session);
        }
    }

    fn remember(&self, attempt: &AttemptId, id: &ExternalId) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back((attempt.clone(), id.clone()));
    }
}

#[async_trait]
impl BuildSystem for KojiBuildSystem {
    fn capabilities(&self) -> Capabilities {
        // More submissions would only wait for a session in which another one is under way.
        let submissions = u32::try_from(self.config.sessions.max(1)).ok().and_then(NonZeroU32::new);
        Capabilities { lookup: true, settle: self.config.settle, poll: self.config.poll, submissions }
    }

    async fn session(&self) -> Result<Option<SessionId>> {
        self.sessions.name().await.map(Some)
    }

    async fn fence(&self, session: &SessionId) -> Result<()> {
        self.sessions.forget(session);
        let Ok(number) = session.as_str().parse::<i64>() else { return Ok(()) };
        let request = Request::new("logout", Vec::new()).named([("session_id", number.into())]);
        let mut other = self.sessions.check_out().await?;
        match self.sessions.read(&mut other, &request).await {
            Ok(_) => {}
            Err(CallError::Fault(fault)) if fault.denies_session() => {}
            Err(error) => return Err(error.into_error(Call::Read, &self.client.place("logout"))),
        }
        self.sessions.give_back(other);
        Ok(())
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        if let Some(id) = self.submitted(&request.attempt) {
            self.unused(request);
            return Ok(id);
        }
        let call = submission(request, &self.config.release_suffix).inspect_err(|_| self.unused(request))?;
        let session = match &request.session {
            None => self.sessions.name().await?,
            Some(session) => session.clone(),
        };
        match self.sessions.submit(&session, &call).await? {
            Value::Int(task) => {
                let id = ExternalId::new(task.to_string());
                self.remember(&request.attempt, &id);
                Ok(id)
            }
            other => {
                let text = format_args!("the answer is {}, not the number of a task", other.kind());
                Err(Error::new(Remedy::Unclear, self.client.place(&call.method), text))
            }
        }
    }

    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>> {
        let place = self.client.place("listTasks");
        let owner = self.sessions.user().await?;
        let created_after = seconds(since) - CLOCKS_APART.as_secs_f64();
        let states: Vec<_> = TaskState::ALL.into_iter().map(TaskState::number).collect();
        let opts = Value::record([
            ("method", method(request.kind).into()),
            ("owner", owner.into()),
            ("parent", Value::Nil),
            ("state", states.into()),
            ("createdAfter", created_after.into()),
            ("decode", true.into()),
        ]);
        let mut ids = Vec::new();
        for page in 0..PAGES_MAX {
            let offset = i64::try_from(page * PAGE).unwrap_or(i64::MAX);
            let query = [("order", "id".into()), ("limit", (PAGE as i64).into()), ("offset", offset.into())];
            let call = Request::new("listTasks", Vec::new())
                .named([("opts", opts.clone()), ("queryOpts", Value::record(query))]);
            let answer = self.client.call(&call).await.map_err(|error| error.into_error(Call::Read, &place))?;
            let corrupt = |error| Error::new(Remedy::Corrupt, &place, error);
            let tasks = answer.get::<&[Value]>(&[]).map_err(corrupt)?;
            // Tasks of other attempts may be as odd as they like.
            for task in tasks.iter().filter(|task| marker(task) == Some(request.attempt.as_str())) {
                let id: i64 = task.get(&["id"]).map_err(corrupt)?;
                ids.push(ExternalId::new(id.to_string()));
            }
            if tasks.len() < PAGE {
                return self.observed(&ids, &place).await;
            }
        }
        Err(Error::new(Remedy::Unavailable, place, format_args!("more than {} tasks", PAGES_MAX * PAGE)))
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        self.observer.observe(ids).await
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        let Some(task) = task_number(id) else { return Ok(()) };
        let mut session = self.sessions.check_out().await?;
        // Cancelling twice does no harm, so the engine may repeat this call; this adapter does not.
        let answer = session.call(&self.client, &Request::new("cancelTask", vec![task.into()]), Call::Read).await;
        match answer.map_err(|error| error.into_error(Call::Read, &self.client.place("cancelTask"))) {
            Err(error) if error.remedy != Remedy::NotFound => Err(error),
            Ok(_) | Err(_) => {
                self.sessions.give_back(session);
                Ok(())
            }
        }
    }
}

impl KojiBuildSystem {
    /// Returns the states of all these tasks, or an error if one is missing.
    async fn observed(&self, ids: &[ExternalId], place: &str) -> Result<Vec<Found>> {
        let found = self.observer.observe(ids).await?;
        if found.len() == ids.len() {
            return Ok(found);
        }
        Err(Error::new(Remedy::Unavailable, place, "the state of a task that the lookup found is not known"))
    }
}

/// Returns seconds since 1970, as the hub expects them.
fn seconds(at: Timestamp) -> f64 {
    to_micros(at) as f64 / 1e6
}

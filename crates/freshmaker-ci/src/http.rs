//! A build system over a small HTTP protocol, for any service that implements it.
//!
//! | request | answer |
//! |---|---|
//! | `POST /builds` with a [`BuildRequest`] as JSON | 200 or 201: the job that was started, or the one that exists with this `attempt` |
//! | `GET /builds?attempt=ATTEMPT` | 200: `{"builds": […]}`, all jobs with this `attempt`, whatever their state |
//! | `GET /builds/ID` | 200: the job; 404 if there is none |
//! | `POST /builds/ID/cancel` | 2xx: the job will end; 404 or 409 if it has ended |
//!
//! A job is
//!
//! ```json
//! {
//!   "id": "7",
//!   "attempt": "8f14e45f-ceea-4167-a5a3-c52cdd9d2b46",
//!   "state": "succeeded",
//!   "name": "registry.example.org/app@sha256:6a82…",
//!   "digest": "sha256:6a82…"
//! }
//! ```
//!
//! | field | value |
//! |---|---|
//! | `id` | text of at most 200 characters, never used for another job |
//! | `attempt` | that of the request: the marker |
//! | `state` | `queued`, `running`, `succeeded`, `failed` or `canceled` |
//! | `name`, `digest` | what a job that succeeded has made; both may be missing |
//! | `cause` | why it failed: `recipe` (the default), `machinery`, `interrupted` or `request`, which mean the classes of [`FailureClass`] in their order in the [guide](freshmaker::guide::build_system) |
//! | `message` | a sentence about the failure |
//!
//! A request that started nothing is answered by a 4xx status, with `{"message": "…"}` as its body;
//! 429 means "not now". A 5xx status leaves open whether a job was started. The login is a bearer
//! token. The header `Idempotency-Key` has the marker too, for services whose framework supports
//! that header.
//!
//! ```
//! use freshmaker_ci::Login;
//! use freshmaker_ci::http::{HttpBuildConfig, HttpBuildSystem};
//!
//! let mut config = HttpBuildConfig::new("https://builds.example.org/v1");
//! config.login = Login::TokenFile("/run/secrets/builds-token".into());
//! let builds = HttpBuildSystem::new(config)?;
//! # Ok::<(), freshmaker::backend::Error>(())
//! ```

use crate::Login;
use crate::client::{Ask, Client, each};
use async_trait::async_trait;
use freshmaker::artifact::Digest;
use freshmaker::backend::{BuildRequest, BuildSystem, Capabilities, Error, Found, Remedy, Result};
use freshmaker::rebuild::{ExternalId, Failure, FailureClass, Observed, Output};
use freshmaker::time::Timestamp;
use freshmaker_net::HttpConfig;
use serde::Deserialize;
use std::time::Duration;

/// Largest number of characters of an id.
const ID_MAX: usize = 200;

/// How to reach and use a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpBuildConfig {
    /// Base URL of the service (without `/builds`), certificates and bounds.
    pub http: HttpConfig,
    /// How to log in. Default: [`Login::None`].
    pub login: Login,
    /// How long a request that was sent may still take effect. Default: 60 s.
    pub settle: Duration,
    /// How often the state of a job is polled. Default: 10 s.
    pub poll: Duration,
}

impl HttpBuildConfig {
    /// Creates a configuration for the service at this URL, without a login.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            http: HttpConfig::new(url),
            login: Login::None,
            settle: Duration::from_secs(60),
            poll: Duration::from_secs(10),
        }
    }

    /// Checks what can be checked without the network: URL, certificates and token file.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming the file or the option.
    pub fn check_offline(&self) -> Result<()> {
        HttpBuildSystem::new(self.clone())?.client.check_login()
    }
}

/// A [`BuildSystem`] over the protocol of the [module documentation](self).
///
/// # Cancel safety
/// If a [`submit`](BuildSystem::submit) future is dropped after the request was sent, the job may
/// exist. Look it up with [`find`](BuildSystem::find).
#[derive(Debug)]
pub struct HttpBuildSystem {
    client: Client,
    config: HttpBuildConfig,
}

impl HttpBuildSystem {
    /// Creates a build system that uses this service. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if the address is not a URL or a certificate file
    /// cannot be used.
    pub fn new(config: HttpBuildConfig) -> Result<Self> {
        Ok(Self { client: Client::new("http", &config.http, &config.login, &[])?, config })
    }

    async fn observe(&self, id: &ExternalId) -> Result<Observed> {
        match self.client.ask(Ask::get(&["builds", id.as_str()])).await {
            Ok(answer) => {
                let place = answer.place.clone();
                let job: Job = answer.read().await?;
                if job.id != id.as_str() {
                    let text = format!("the answer is about the job {:.80?}", job.id);
                    return Err(Error::new(Remedy::Corrupt, place, text));
                }
                Ok(job.observed())
            }
            Err(error) if error.remedy == Remedy::NotFound => Ok(Observed::Vanished),
            Err(error) => Err(error),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Jobs {
    builds: Vec<Job>,
}

#[derive(Debug, Deserialize)]
struct Job {
    id: String,
    attempt: String,
    state: State,
    #[serde(default)]
    name: String,
    digest: Option<Digest>,
    #[serde(default)]
    cause: Cause,
    message: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Queued,
    Running,
    Succeeded,
    Failed,
    Canceled,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Cause {
    #[default]
    Recipe,
    Machinery,
    Interrupted,
    Request,
}

impl Cause {
    fn class(self) -> FailureClass {
        match self {
            Self::Recipe => FailureClass::Deterministic,
            Self::Machinery => FailureClass::Infrastructure,
            Self::Interrupted => FailureClass::Interrupted,
            Self::Request => FailureClass::Permanent,
        }
    }
}

impl Job {
    /// Returns the id.
    ///
    /// # Errors
    /// With this remedy, if the id cannot be used in a path.
    fn external(&self, remedy: Remedy, place: &str) -> Result<ExternalId> {
        // A path would drop segments that consist of dots.
        let is_dots = self.id.bytes().all(|byte| byte == b'.');
        if is_dots || self.id.len() > ID_MAX || self.id.chars().any(char::is_control) {
            return Err(Error::new(remedy, place, format!("{:.80?} cannot be the id of a job", self.id)));
        }
        Ok(ExternalId::new(self.id.as_str()))
    }

    fn observed(self) -> Observed {
        match self.state {
            State::Queued | State::Running => Observed::Running,
            State::Succeeded => Observed::Succeeded(Output { name: self.name, digest: self.digest, contents: None }),
            State::Canceled => Observed::Canceled,
            State::Failed => {
                let text = self.message.unwrap_or_else(|| format!("job {} failed and says nothing", self.id));
                Observed::Failed(Failure::new(self.cause.class(), text))
            }
        }
    }
}

#[async_trait]
impl BuildSystem for HttpBuildSystem {
    fn capabilities(&self) -> Capabilities {
        Capabilities { lookup: true, settle: self.config.settle, poll: self.config.poll, submissions: None }
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        let body = serde_json::to_value(request).map_err(|error| Error::new(Remedy::Rejected, "http", error))?;
        let ask = Ask::post(&["builds"]).body(body).key(request.attempt.as_str());
        let answer = self.client.ask(ask).await?;
        let place = answer.place.clone();
        let job: Job = answer.read().await?;
        if job.attempt != request.attempt.as_str() {
            let text = format!("the answer is about the attempt {:.80?}", job.attempt);
            return Err(Error::new(Remedy::Unclear, place, text));
        }
        job.external(Remedy::Unclear, &place)
    }

    async fn find(&self, request: &BuildRequest, _since: Timestamp) -> Result<Vec<Found>> {
        let marker = request.attempt.as_str();
        let answer = self.client.ask(Ask::get(&["builds"]).query(&[("attempt", marker)])).await?;
        let place = answer.place.clone();
        let jobs: Jobs = answer.read().await?;
        // A service that does not know the filter answers with all.
        let ours = jobs.builds.into_iter().filter(|job| job.attempt == marker);
        ours.map(|job| Ok(Found { external: job.external(Remedy::Corrupt, &place)?, observed: job.observed() }))
            .collect()
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        each(ids, ids.iter().map(|id| self.observe(id)).collect()).await
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        match self.client.ask(Ask::post(&["builds", id.as_str(), "cancel"])).await {
            // It has ended, or is gone.
            Err(error) if matches!(error.remedy, Remedy::NotFound | Remedy::Conflict) => Ok(()),
            asked => asked.map(drop),
        }
    }
}

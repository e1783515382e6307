//! A pipeline of GitLab CI, created with variables.
//!
//! # What the project needs
//!
//! ```yaml
//! workflow:
//!   name: Rebuild $FRESHMAKER_ATTEMPT
//!   rules:
//!     - if: $FRESHMAKER_ATTEMPT
//! freshmaker:
//!   script:
//!     - ./build-and-push # leaves the digest in the file `digest`
//!     - echo "{\"digest\":\"$(cat digest)\"}" >freshmaker.json
//!   artifacts:
//!     paths: [freshmaker.json]
//! ```
//!
//! * The variable `FRESHMAKER_ATTEMPT` is the marker. It must be part of the name of the pipeline:
//!   a submission whose answer was lost is found by that name. A pipeline whose name lacks it is
//!   cancelled at once, and its build fails with a text that says so.
//! * The variable `FRESHMAKER_REQUEST` is the [`BuildRequest`] as JSON; it has the parents with
//!   their digests.
//! * The file `freshmaker.json` among the artifacts of the job [`GitlabConfig::job`] describes the
//!   result, as `{"digest": "sha256:…", "name": "…"}`; both may be missing. Without the file the
//!   content counts as not known.
//!
//! # Rights
//! The token needs the scope `api` and a role that may run pipelines on the branch. The project
//! must let this role set variables of pipelines.
//!
//! # What becomes of a pipeline
//!
//! | status | the attempt |
//! |---|---|
//! | `success` | succeeded |
//! | `failed` | failed as the first job that failed: `script_failure` by its recipe ([`Deterministic`](FailureClass::Deterministic)), a wrong configuration for good ([`Permanent`](FailureClass::Permanent)), else by the machinery ([`Infrastructure`](FailureClass::Infrastructure)) |
//! | `skipped` | failed for good |
//! | `canceled` | cancelled |
//! | others | running, also while a person has to start a manual job |
//!
//! # Limits
//! GitLab 16.3 and newer, whose pipelines have names in the API. `freshmaker.json` has at most
//! [`bytes_max`](freshmaker_net::HttpConfig::bytes_max) bytes.

use crate::Login;
use crate::client::{Ask, Client, cancel_unmarked, check_names, each, not_submitted};
use async_trait::async_trait;
use freshmaker::artifact::Digest;
use freshmaker::backend::{BuildRequest, BuildSystem, Capabilities, Error, Found, Remedy, Result};
use freshmaker::rebuild::{ExternalId, Failure, FailureClass, Observed, Output};
use freshmaker::time::{Timestamp, earlier};
use freshmaker_net::HttpConfig;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// In front of all paths.
const API: [&str; 3] = ["api", "v4", "projects"];
/// Number of items on a page of a list.
const PAGE_ITEMS: usize = 100;
/// Largest number of pages of one list.
const PAGES_MAX: usize = 10;
/// The artifact that describes the result.
const TOLD: &str = "freshmaker.json";

/// How to reach and use a project.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GitlabConfig {
    /// Base URL of the server, certificates and bounds.
    pub http: HttpConfig,
    /// How to log in. Default: [`Login::None`], which GitLab refuses.
    pub login: Login,
    /// The project: its path, such as `group/images`, or its number.
    pub project: String,
    /// The branch or tag whose pipeline runs. Default: `main`.
    pub reference: String,
    /// The job with the artifact `freshmaker.json`. Default: `freshmaker`.
    pub job: String,
    /// How far the clock of the server may be behind ours. Default: 120 s.
    pub clock_skew: Duration,
    /// How long a request that was sent may still take effect. Default: 120 s.
    pub settle: Duration,
    /// How often the state of a pipeline is polled. Default: 20 s.
    pub poll: Duration,
}

impl GitlabConfig {
    /// Creates a configuration for a project of the server at this URL, without a login.
    pub fn new(url: impl Into<String>, project: impl Into<String>) -> Self {
        Self {
            http: HttpConfig::new(url),
            login: Login::None,
            project: project.into(),
            reference: "main".to_owned(),
            job: "freshmaker".to_owned(),
            clock_skew: Duration::from_secs(120),
            settle: Duration::from_secs(120),
            poll: Duration::from_secs(20),
        }
    }

    /// Checks what can be checked without the network: URL, certificates, token file and names.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming the file or the option.
    pub fn check_offline(&self) -> Result<()> {
        GitlabBuildSystem::new(self.clone())?.client.check_login()
    }
}

/// A [`BuildSystem`] that runs a pipeline for each attempt; see the [module documentation](self).
///
/// # Cancel safety
/// If a [`submit`](BuildSystem::submit) future is dropped after the request was sent, the pipeline
/// may exist. Look it up with [`find`](BuildSystem::find).
#[derive(Debug)]
pub struct GitlabBuildSystem {
    client: Client,
    config: GitlabConfig,
}

/// The answer to a submission.
#[derive(Debug, Deserialize)]
struct Created {
    id: u64,
}

#[derive(Debug, Deserialize)]
struct Pipeline {
    id: u64,
    name: Option<String>,
    status: String,
    web_url: Option<String>,
    yaml_errors: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Job {
    id: u64,
    name: String,
    status: String,
    failure_reason: Option<String>,
    #[serde(default)]
    allow_failure: bool,
}

#[derive(Debug, Deserialize)]
struct Told {
    #[serde(default)]
    name: String,
    digest: Option<Digest>,
}

impl Pipeline {
    fn has_marker(&self, marker: &str) -> bool {
        self.name.as_ref().is_some_and(|name| name.contains(marker))
    }

    fn place(&self) -> String {
        self.web_url.clone().unwrap_or_else(|| format!("pipeline {}", self.id))
    }
}

impl GitlabBuildSystem {
    /// Creates a build system that uses this project. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if the address is not a URL, a certificate file cannot
    /// be used, or a name is empty.
    pub fn new(config: GitlabConfig) -> Result<Self> {
        let names = [
            ("project", config.project.as_str()),
            ("reference", config.reference.as_str()),
            ("job", config.job.as_str()),
        ];
        check_names("gitlab", &names)?;
        Ok(Self { client: Client::new("gitlab", &config.http, &config.login, &[])?, config })
    }

    /// Checks that the login may see the pipelines of the project. Sends one request.
    ///
    /// # Errors
    /// The error of the request.
    pub async fn check(&self) -> Result<()> {
        let path = self.project(&["pipelines"]);
        self.client.ask(Ask::get(&path).query(&[("per_page", "1")])).await?.read::<Vec<Pipeline>>().await.map(drop)
    }

    fn project<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&API, [self.config.project.as_str()].as_slice(), more].concat()
    }

    /// Returns a pipeline; `None` if the project is there, and the pipeline is not.
    async fn pipeline(&self, id: &ExternalId) -> Result<Option<Pipeline>> {
        match self.client.ask(Ask::get(&self.project(&["pipelines", id.as_str()]))).await {
            Ok(answer) => answer.read().await.map(Some),
            Err(error) if error.remedy == Remedy::NotFound => {
                // GitLab says the same of what this login may not see: then nothing is known.
                self.check().await.map_err(|hidden| hidden.with_remedy(Remedy::Unavailable))?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn observe(&self, id: &ExternalId) -> Result<Observed> {
        match self.pipeline(id).await? {
            Some(pipeline) => self.observed(&pipeline).await,
            None => Ok(Observed::Vanished),
        }
    }

    async fn observed(&self, pipeline: &Pipeline) -> Result<Observed> {
        let failed =
            |class, text: String| Ok(Observed::Failed(Failure::new(class, format!("{text}: {}", pipeline.place()))));
        match pipeline.status.as_str() {
            "success" => {
                let Told { name, digest } = self.told(pipeline).await?;
                Ok(Observed::Succeeded(Output { name, digest, contents: None }))
            }
            "canceled" => Ok(Observed::Canceled),
            "skipped" => failed(FailureClass::Permanent, "the pipeline was skipped".to_owned()),
            "failed" => {
                if let Some(errors) = pipeline.yaml_errors.as_ref().filter(|errors| !errors.is_empty()) {
                    return failed(FailureClass::Permanent, errors.clone());
                }
                let jobs = self.jobs(pipeline, Some("failed")).await?;
                let Some(job) = jobs.iter().filter(|job| !job.allow_failure).min_by_key(|job| job.id) else {
                    return failed(FailureClass::Infrastructure, "the pipeline failed, and no job of it".to_owned());
                };
                let reason = job.failure_reason.as_deref().unwrap_or("unknown_failure");
                failed(class_of(reason), format!("job `{}` failed with `{reason}`", job.name))
            }
            _ => Ok(Observed::Running),
        }
    }

    /// Returns the description of the result in the artifact of the job; an empty one, if there is
    /// no artifact.
    async fn told(&self, pipeline: &Pipeline) -> Result<Told> {
        let nothing = Told { name: String::new(), digest: None };
        let jobs = self.jobs(pipeline, Some("success")).await?;
        let Some(job) = jobs.iter().find(|job| job.name == self.config.job && job.status == "success") else {
            return Ok(nothing);
        };
        let id = job.id.to_string();
        match self.client.ask(Ask::get(&self.project(&["jobs", &id, "artifacts", TOLD]))).await {
            Ok(answer) => answer.read().await,
            Err(error) if error.remedy == Remedy::NotFound => Ok(nothing),
            Err(error) => Err(error),
        }
    }

    /// Cancels a pipeline whose name lacks the marker, and says what to do. The answer to a
    /// submission has no name. A pipeline that cannot be read is let go: it was started, and its
    /// name is no worse than those of others.
    async fn expect_marker(&self, id: &ExternalId, marker: &str) -> Result<()> {
        match self.pipeline(id).await {
            Ok(Some(pipeline)) if !pipeline.has_marker(marker) => {
                let advice = "write $FRESHMAKER_ATTEMPT into `workflow: name`";
                Err(cancel_unmarked(self, id, format!("gitlab: {}", pipeline.place()), advice).await)
            }
            _ => Ok(()),
        }
    }

    /// Returns the jobs of a pipeline, without those that were repeated.
    async fn jobs(&self, pipeline: &Pipeline, scope: Option<&str>) -> Result<Vec<Job>> {
        let (id, items) = (pipeline.id.to_string(), PAGE_ITEMS.to_string());
        let path = self.project(&["pipelines", &id, "jobs"]);
        let mut all = Vec::new();
        for page in 1..=PAGES_MAX {
            let page = page.to_string();
            let mut query = vec![("per_page", items.as_str()), ("page", &page)];
            query.extend(scope.map(|scope| ("scope[]", scope)));
            let jobs: Vec<Job> = self.client.ask(Ask::get(&path).query(&query)).await?.read().await?;
            let is_last = jobs.len() < PAGE_ITEMS;
            all.extend(jobs);
            if is_last {
                return Ok(all);
            }
        }
        Err(too_many("jobs", &pipeline.place()))
    }
}

fn too_many(what: &str, place: &str) -> Error {
    let text = format!("there are more than {} {what}, which is the most that is read", PAGES_MAX * PAGE_ITEMS);
    Error::new(Remedy::Unavailable, format!("gitlab: {place}"), text)
}

/// Returns what the reason of a failed job means.
fn class_of(reason: &str) -> FailureClass {
    match reason {
        "script_failure" => FailureClass::Deterministic,
        "stale_schedule"
        | "archived_failure"
        | "ci_quota_exceeded"
        | "user_blocked"
        | "project_deleted"
        | "invalid_bridge_trigger"
        | "downstream_bridge_project_not_found"
        | "forward_deployment_failure"
        | "missing_dependency_failure"
        | "unmet_prerequisites"
        | "no_matching_runner" => FailureClass::Permanent,
        _ => FailureClass::Infrastructure,
    }
}

#[async_trait]
impl BuildSystem for GitlabBuildSystem {
    fn capabilities(&self) -> Capabilities {
        Capabilities { lookup: true, settle: self.config.settle, poll: self.config.poll, submissions: None }
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        let marker = request.attempt.as_str();
        let text = serde_json::to_string(request)
            .map_err(|error| Error::new(Remedy::Rejected, format!("gitlab: {}", request.artifact), error))?;
        let variables = [("FRESHMAKER_ATTEMPT", marker), ("FRESHMAKER_REQUEST", text.as_str())];
        let variables = variables.map(|(key, value)| json!({ "key": key, "value": value }));
        let body = json!({ "ref": self.config.reference, "variables": variables });
        let path = self.project(&["pipeline"]);
        let answer = self.client.ask(Ask::post(&path).body(body)).await.map_err(not_submitted)?;
        let id = ExternalId::new(answer.read::<Created>().await?.id.to_string());
        self.expect_marker(&id, marker).await?;
        Ok(id)
    }

    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>> {
        let marker = request.attempt.as_str();
        let since = earlier(since, self.config.clock_skew).format("%Y-%m-%dT%H:%M:%SZ").to_string();
        let items = PAGE_ITEMS.to_string();
        let path = self.project(&["pipelines"]);
        let mut found: Vec<Found> = Vec::new();
        for page in 1..=PAGES_MAX {
            let page = page.to_string();
            let query = [
                ("source", "api"),
                // What has begun since has also changed since.
                ("updated_after", &since),
                ("order_by", "id"),
                ("per_page", &items),
                ("page", &page),
            ];
            let pipelines: Vec<Pipeline> = self.client.ask(Ask::get(&path).query(&query)).await?.read().await?;
            for pipeline in pipelines.iter().filter(|pipeline| pipeline.has_marker(marker)) {
                let external = ExternalId::new(pipeline.id.to_string());
                if found.iter().all(|known| known.external != external) {
                    found.push(Found { external, observed: self.observed(pipeline).await? });
                }
            }
            if pipelines.len() < PAGE_ITEMS {
                return Ok(found);
            }
        }
        Err(too_many("pipelines", &format!("since {since}")))
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        each(ids, ids.iter().map(|id| self.observe(id)).collect()).await
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        match self.client.ask(Ask::post(&self.project(&["pipelines", id.as_str(), "cancel"]))).await {
            // It is gone. Cancelling what has ended is no error of GitLab.
            Err(error) if error.remedy == Remedy::NotFound => Ok(()),
            asked => asked.map(drop),
        }
    }
}

//! A workflow of GitHub Actions, started by `workflow_dispatch`.
//!
//! # What the workflow needs
//!
//! ```yaml
//! name: rebuild
//! run-name: Rebuild ${{ inputs.freshmaker_attempt }}
//! on:
//!   workflow_dispatch:
//!     inputs:
//!       freshmaker_attempt: { required: true, type: string }
//!       freshmaker_request: { required: true, type: string }
//! jobs:
//!   build:
//!     runs-on: ubuntu-latest
//!     env:
//!       IMAGE: ${{ fromJSON(inputs.freshmaker_request).artifact }}
//!     steps:
//!       - uses: actions/checkout@v4
//!       - run: ./build-and-push "$IMAGE" # leaves the digest in the file `digest`
//!       - run: echo "NAME=freshmaker-$(tr : - <digest)" >>"$GITHUB_ENV"
//!       - uses: actions/upload-artifact@v4
//!         with: { name: "${{ env.NAME }}", path: digest }
//! ```
//!
//! * `freshmaker_attempt` is the marker. It must be part of `run-name`: a submission whose answer
//!   was lost is found by the name of its run. A run whose name lacks it is cancelled at once, and
//!   its build fails with a text that says so.
//! * `freshmaker_request` is the [`BuildRequest`] as JSON; it has the parents with their digests.
//! * An artifact of the run with the name `freshmaker-ALGORITHM-HEX`, as in
//!   `freshmaker-sha256-6a82…`, names the digest of the result. Without it the content counts as
//!   not known.
//!
//! # Rights
//! The token needs *Actions: read and write* for the repository.
//!
//! # What becomes of a run
//!
//! | conclusion | the attempt |
//! |---|---|
//! | `success`, `neutral` | succeeded |
//! | `failure` | failed by its recipe ([`Deterministic`](FailureClass::Deterministic)) |
//! | `timed_out`, `stale` | failed by the machinery ([`Infrastructure`](FailureClass::Infrastructure)) |
//! | `startup_failure`, `skipped`, `action_required` | failed for good ([`Permanent`](FailureClass::Permanent)) |
//! | `cancelled` | cancelled |
//!
//! # Limits
//! The request has at most 60,000 bytes. Servers whose answer to `workflow_dispatch` has no run
//! ([`GithubConfig::run_details`]) have each submission looked up, after
//! [`settle`](GithubConfig::settle).

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
use std::num::NonZeroU32;
use std::time::Duration;

/// The API, and its version.
const HEADERS: &[(&str, &str)] = &[("Accept", "application/vnd.github+json"), ("X-GitHub-Api-Version", "2022-11-28")];
/// Largest number of bytes of the request in its input. All inputs may have 65,535 characters.
const REQUEST_BYTES_MAX: usize = 60_000;
/// Number of items on a page of a list.
const PAGE_ITEMS: usize = 100;
/// Largest number of pages of one list: GitHub shows no more than 1,000 runs of a search.
const PAGES_MAX: usize = 10;
/// How the name of the artifact with the digest begins.
const DIGEST_PREFIX: &str = "freshmaker-";

/// How to reach and use a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GithubConfig {
    /// Base URL of the API, certificates and bounds. Default: `https://api.github.com`. GitHub
    /// Enterprise Server has its API at `https://HOST/api/v3`.
    pub http: HttpConfig,
    /// How to log in. Default: [`Login::None`], which GitHub refuses.
    pub login: Login,
    /// The owner of the repository.
    pub owner: String,
    /// The repository.
    pub repository: String,
    /// The file name of the workflow in `.github/workflows`, or its number.
    pub workflow: String,
    /// The branch or tag whose workflow runs. Default: `main`.
    pub reference: String,
    /// Whether the server is asked for the run that it has started. Default: `true`. Servers that
    /// do not know this refuse the request.
    pub run_details: bool,
    /// How far the clock of the service may be behind ours. Default: 120 s.
    pub clock_skew: Duration,
    /// How long a request that was sent may still take effect. Default: 120 s.
    pub settle: Duration,
    /// How often the state of a run is polled. Default: 30 s: at 5,000 requests an hour, 40 runs
    /// can be followed.
    pub poll: Duration,
}

impl GithubConfig {
    /// Creates a configuration for a workflow on `github.com`, without a login.
    pub fn new(owner: impl Into<String>, repository: impl Into<String>, workflow: impl Into<String>) -> Self {
        Self {
            http: HttpConfig::new("https://api.github.com"),
            login: Login::None,
            owner: owner.into(),
            repository: repository.into(),
            workflow: workflow.into(),
            reference: "main".to_owned(),
            run_details: true,
            clock_skew: Duration::from_secs(120),
            settle: Duration::from_secs(120),
            poll: Duration::from_secs(30),
        }
    }

    /// Checks what can be checked without the network: URL, certificates, token file and names.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming the file or the option.
    pub fn check_offline(&self) -> Result<()> {
        GithubBuildSystem::new(self.clone())?.client.check_login()
    }
}

/// A [`BuildSystem`] that runs a workflow for each attempt; see the [module documentation](self).
///
/// # Cancel safety
/// If a [`submit`](BuildSystem::submit) future is dropped after the request was sent, the run may
/// exist. Look it up with [`find`](BuildSystem::find).
#[derive(Debug)]
#[doc(alias = "workflow_dispatch")]
pub struct GithubBuildSystem {
    client: Client,
    config: GithubConfig,
}

#[derive(Debug, Deserialize)]
struct Dispatched {
    workflow_run_id: u64,
}

#[derive(Debug, Deserialize)]
struct Runs {
    total_count: u64,
    workflow_runs: Vec<Run>,
}

#[derive(Debug, Deserialize)]
struct Run {
    id: u64,
    display_title: Option<String>,
    status: String,
    conclusion: Option<String>,
    html_url: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Artifacts {
    artifacts: Vec<Artifact>,
}

#[derive(Debug, Deserialize)]
struct Artifact {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Jobs {
    jobs: Vec<Job>,
}

#[derive(Debug, Deserialize)]
struct Job {
    name: String,
    conclusion: Option<String>,
    #[serde(default)]
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
struct Step {
    name: String,
    conclusion: Option<String>,
}

impl Run {
    fn has_marker(&self, marker: &str) -> bool {
        self.display_title.as_ref().is_some_and(|title| title.contains(marker))
    }

    fn place(&self) -> String {
        self.html_url.clone().unwrap_or_else(|| format!("run {}", self.id))
    }
}

impl GithubBuildSystem {
    /// Creates a build system that uses this workflow. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if the address is not a URL, a certificate file cannot
    /// be used, or a name is empty.
    pub fn new(config: GithubConfig) -> Result<Self> {
        let names = [
            ("owner", config.owner.as_str()),
            ("repository", config.repository.as_str()),
            ("workflow", config.workflow.as_str()),
            ("reference", config.reference.as_str()),
        ];
        check_names("github", &names)?;
        Ok(Self { client: Client::new("github", &config.http, &config.login, HEADERS)?, config })
    }

    /// Checks that the login may see the workflow, and that it is enabled. Sends one request.
    ///
    /// # Errors
    /// The error of the request; [`Unsupported`](Remedy::Unsupported) if the workflow is disabled.
    pub async fn check(&self) -> Result<()> {
        #[derive(Deserialize)]
        struct Workflow {
            state: String,
        }
        let answer = self.client.ask(Ask::get(&self.workflow(&[]))).await?;
        let place = answer.place.clone();
        match answer.read::<Workflow>().await?.state.as_str() {
            "active" => Ok(()),
            state => Err(Error::new(Remedy::Unsupported, place, format!("the workflow is {state}"))),
        }
    }

    fn repository<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["repos", self.config.owner.as_str(), self.config.repository.as_str(), "actions"], more].concat()
    }

    fn workflow<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&self.repository(&["workflows", &self.config.workflow]), more].concat()
    }

    /// Returns a run; `None` if the repository is there, and the run is not.
    async fn run(&self, id: &ExternalId) -> Result<Option<Run>> {
        match self.client.ask(Ask::get(&self.repository(&["runs", id.as_str()]))).await {
            Ok(answer) => answer.read().await.map(Some),
            Err(error) if error.remedy == Remedy::NotFound => {
                // GitHub says the same of what this login may not see: then nothing is known.
                match self.client.ask(Ask::get(&self.workflow(&[]))).await {
                    Ok(_) => Ok(None),
                    Err(hidden) => Err(hidden.with_remedy(Remedy::Unavailable)),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn observe(&self, id: &ExternalId) -> Result<Observed> {
        match self.run(id).await? {
            Some(run) => self.observed(&run).await,
            None => Ok(Observed::Vanished),
        }
    }

    async fn observed(&self, run: &Run) -> Result<Observed> {
        if run.status != "completed" {
            return Ok(Observed::Running);
        }
        let conclusion = run.conclusion.as_deref().unwrap_or_default();
        let class = match conclusion {
            "success" | "neutral" => {
                let digest = self.digest(run).await?;
                return Ok(Observed::Succeeded(Output { name: String::new(), digest, contents: None }));
            }
            "cancelled" => return Ok(Observed::Canceled),
            "failure" => {
                let what = self.failed(run).await?;
                let text = format!("{what} failed: {}", run.place());
                return Ok(Observed::Failed(Failure::new(FailureClass::Deterministic, text)));
            }
            "timed_out" | "stale" => FailureClass::Infrastructure,
            "startup_failure" | "skipped" | "action_required" => FailureClass::Permanent,
            other => {
                let text = format!("run {} has ended with the unknown conclusion {other:.80?}", run.id);
                return Err(Error::new(Remedy::Corrupt, "github", text));
            }
        };
        let text = format!("the run has ended with `{conclusion}`: {}", run.place());
        Ok(Observed::Failed(Failure::new(class, text)))
    }

    /// Returns the digest in the name of an artifact of the run; `None` if there is none.
    async fn digest(&self, run: &Run) -> Result<Option<Digest>> {
        let id = run.id.to_string();
        let items = PAGE_ITEMS.to_string();
        let path = self.repository(&["runs", &id, "artifacts"]);
        let answer = self.client.ask(Ask::get(&path).query(&[("per_page", &items)])).await?;
        let place = answer.place.clone();
        let told: Artifacts = answer.read().await?;
        let mut digests = told.artifacts.iter().filter_map(|artifact| digest_of(&artifact.name));
        match (digests.next(), digests.next()) {
            (first, None) => Ok(first),
            (_, Some(_)) => Err(Error::new(Remedy::Corrupt, place, "several artifacts of the run tell a digest")),
        }
    }

    /// Returns the first job and step that failed, in words.
    async fn failed(&self, run: &Run) -> Result<String> {
        let id = run.id.to_string();
        let items = PAGE_ITEMS.to_string();
        let path = self.repository(&["runs", &id, "jobs"]);
        let jobs: Jobs = self.client.ask(Ask::get(&path).query(&[("per_page", &items)])).await?.read().await?;
        let is_failure = |conclusion: &Option<String>| conclusion.as_deref() == Some("failure");
        let Some(job) = jobs.jobs.iter().find(|job| is_failure(&job.conclusion)) else {
            return Ok("the run".to_owned());
        };
        let step = job.steps.iter().find(|step| is_failure(&step.conclusion));
        Ok(match step {
            Some(step) => format!("step `{}` of job `{}`", step.name, job.name),
            None => format!("job `{}`", job.name),
        })
    }

    /// Cancels a run whose name lacks the marker, and says what to do. A run that cannot be read is
    /// let go: it was started, and its name is no worse than those of others.
    async fn expect_marker(&self, id: &ExternalId, marker: &str) -> Result<()> {
        match self.run(id).await {
            Ok(Some(run)) if !run.has_marker(marker) => {
                let advice = "write ${{ inputs.freshmaker_attempt }} into its `run-name`";
                Err(cancel_unmarked(self, id, format!("github: {}", run.place()), advice).await)
            }
            _ => Ok(()),
        }
    }
}

/// Returns the digest in the name of an artifact. Other artifacts may have names of this form, so
/// the length counts too.
fn digest_of(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.strip_prefix(DIGEST_PREFIX)?.split_once('-')?;
    if !matches!((algorithm, hex.len()), ("sha256", 64) | ("sha512", 128)) {
        return None;
    }
    format!("{algorithm}:{hex}").parse().ok()
}

#[async_trait]
impl BuildSystem for GithubBuildSystem {
    fn capabilities(&self) -> Capabilities {
        // GitHub asks for one request after the other that creates something.
        let submissions = NonZeroU32::new(1);
        Capabilities { lookup: true, settle: self.config.settle, poll: self.config.poll, submissions }
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        let refused = |text: String| Error::new(Remedy::Rejected, format!("github: {}", request.artifact), text);
        let text = serde_json::to_string(request).map_err(|error| refused(error.to_string()))?;
        if text.len() > REQUEST_BYTES_MAX {
            return Err(refused(format!(
                "the request has {} bytes, and inputs may have {REQUEST_BYTES_MAX}",
                text.len()
            )));
        }
        let marker = request.attempt.as_str();
        let inputs = json!({ "freshmaker_attempt": marker, "freshmaker_request": text });
        let mut body = json!({ "ref": self.config.reference, "inputs": inputs });
        if self.config.run_details {
            body["return_run_details"] = true.into();
        }
        let path = self.workflow(&["dispatches"]);
        let answer = self.client.ask(Ask::post(&path).body(body)).await.map_err(not_submitted)?;
        if answer.status == 204 {
            return Err(Error::new(
                Remedy::Unclear,
                answer.place,
                "the run is started, and the answer has no id of it",
            ));
        }
        let id = ExternalId::new(answer.read::<Dispatched>().await?.workflow_run_id.to_string());
        self.expect_marker(&id, marker).await?;
        Ok(id)
    }

    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>> {
        let marker = request.attempt.as_str();
        let since = earlier(since, self.config.clock_skew).format("%Y-%m-%dT%H:%M:%SZ");
        let (created, items) = (format!(">={since}"), PAGE_ITEMS.to_string());
        let path = self.workflow(&["runs"]);
        let (mut found, mut seen) = (Vec::new(), 0);
        for page in 1..=PAGES_MAX {
            let page = page.to_string();
            let query = [("event", "workflow_dispatch"), ("created", &created), ("per_page", &items), ("page", &page)];
            let runs: Runs = self.client.ask(Ask::get(&path).query(&query)).await?.read().await?;
            seen += runs.workflow_runs.len() as u64;
            for run in runs.workflow_runs.iter().filter(|run| run.has_marker(marker)) {
                let external = ExternalId::new(run.id.to_string());
                if found.iter().all(|known: &Found| known.external != external) {
                    found.push(Found { external, observed: self.observed(run).await? });
                }
            }
            if seen >= runs.total_count {
                return Ok(found);
            }
            if runs.workflow_runs.is_empty() {
                break;
            }
        }
        let text = format!("the list of runs since {since} is not complete: {seen} were shown");
        Err(Error::new(Remedy::Unavailable, "github: runs", text))
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        each(ids, ids.iter().map(|id| self.observe(id)).collect()).await
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        match self.client.ask(Ask::post(&self.repository(&["runs", id.as_str(), "cancel"]))).await {
            // It has ended, or is gone.
            Err(error) if matches!(error.remedy, Remedy::NotFound | Remedy::Conflict) => Ok(()),
            asked => asked.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_in_the_name_of_an_artifact() {
        let hex = "6a".repeat(32);
        assert_eq!(digest_of(&format!("freshmaker-sha256-{hex}")), format!("sha256:{hex}").parse().ok());
        for name in ["freshmaker-sha256-", "freshmaker-sha256-6a", "freshmaker-build-cafe", "logs"] {
            assert_eq!(digest_of(name), None, "{name}");
        }
    }
}

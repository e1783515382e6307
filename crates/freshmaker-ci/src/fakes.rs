//! Fakes of the three services for tests: they start jobs, end them as scripted, and can lose
//! answers.
//!
//! ```
//! use freshmaker_ci::fakes::{Course, FakeCi};
//! use freshmaker_ci::github::GithubBuildSystem;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let service = FakeCi::github().await?;
//! service.script("app", Course::Fails);
//! let builds = GithubBuildSystem::new(service.github_config());
//! assert!(builds.is_ok() && service.started().is_empty());
//! # Ok::<(), std::io::Error>(()) })?;
//! # Ok::<(), std::io::Error>(())
//! ```

use crate::github::GithubConfig;
use crate::gitlab::GitlabConfig;
use crate::http::HttpBuildConfig;
use freshmaker::artifact::Digest;
use freshmaker_testing::http::{Reply, Request, Server};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How the job of an artifact goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Course {
    /// It has succeeded when it is asked about, and tells a digest made of its attempt.
    #[default]
    Succeeds,
    /// The same, and it tells no digest.
    SucceedsSilently,
    /// It has failed by its recipe.
    Fails,
    /// It runs until it is cancelled.
    Hangs,
}

/// What goes wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request has its effect, and the answer is lost.
    Lost,
    /// The request has no effect, and is answered by this.
    Instead(Reply),
}

/// How jobs get their names, in which the marker is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// As the documentation asks for.
    ByMarker,
    /// As a workflow or pipeline whose author has not read it.
    Plain,
}

#[derive(Debug)]
struct Job {
    id: u64,
    attempt: String,
    artifact: String,
    canceled: bool,
}

#[derive(Debug)]
struct Service {
    jobs: Vec<Job>,
    courses: BTreeMap<String, Course>,
    faults: VecDeque<(String, Fault)>,
    naming: Naming,
    run_details: bool,
    gone: BTreeSet<u64>,
    token: Option<String>,
}

/// A service on a port of the local machine; it stops when it is dropped.
#[derive(Debug)]
pub struct FakeCi {
    server: Server,
    service: Arc<Mutex<Service>>,
}

impl FakeCi {
    /// Starts a GitHub with the workflow `rebuild.yml` in the repository `example/images`.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn github() -> io::Result<Self> {
        Self::start(github).await
    }

    /// Starts a GitLab with the project `example/images`.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn gitlab() -> io::Result<Self> {
        Self::start(gitlab).await
    }

    /// Starts a service that speaks the protocol of [`http`](crate::http).
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn http() -> io::Result<Self> {
        Self::start(http).await
    }

    async fn start(answer: fn(&mut Service, &Request) -> Reply) -> io::Result<Self> {
        let service = Service {
            jobs: Vec::new(),
            courses: BTreeMap::new(),
            faults: VecDeque::new(),
            naming: Naming::ByMarker,
            run_details: true,
            gone: BTreeSet::new(),
            token: None,
        };
        let service = Arc::new(Mutex::new(service));
        let behind = Arc::clone(&service);
        let server = Server::start(move |request| {
            let reply = reply(&mut lock(&behind), &request, answer);
            async move { reply }
        });
        Ok(Self { server: server.await?, service })
    }

    /// Returns the address.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Returns a configuration for this service as a GitHub, with times that suit tests.
    #[must_use]
    pub fn github_config(&self) -> GithubConfig {
        let mut config = GithubConfig::new("example", "images", "rebuild.yml");
        config.http.url = self.url();
        (config.settle, config.poll) = (Duration::from_millis(20), Duration::from_millis(20));
        config
    }

    /// Returns a configuration for this service as a GitLab, with times that suit tests.
    #[must_use]
    pub fn gitlab_config(&self) -> GitlabConfig {
        let mut config = GitlabConfig::new(self.url(), "example/images");
        (config.settle, config.poll) = (Duration::from_millis(20), Duration::from_millis(20));
        config
    }

    /// Returns a configuration for this service, with times that suit tests.
    #[must_use]
    pub fn http_config(&self) -> HttpBuildConfig {
        let mut config = HttpBuildConfig::new(self.url());
        (config.settle, config.poll) = (Duration::from_millis(20), Duration::from_millis(20));
        config
    }

    /// Says how jobs of an artifact go.
    pub fn script(&self, artifact: &str, course: Course) {
        lock(&self.service).courses.insert(artifact.to_owned(), course);
    }

    /// Lets the next request go wrong whose method and path contain this text.
    pub fn disturb(&self, request: &str, fault: Fault) {
        lock(&self.service).faults.push_back((request.to_owned(), fault));
    }

    /// Says how jobs are named from now on.
    pub fn name_jobs(&self, naming: Naming) {
        lock(&self.service).naming = naming;
    }

    /// Answers a dispatch without the run, as servers did before 2026.
    pub fn keep_runs_to_itself(&self) {
        lock(&self.service).run_details = false;
    }

    /// Accepts only this token from now on.
    pub fn require_token(&self, token: &str) {
        lock(&self.service).token = Some(token.to_owned());
    }

    /// Forgets a job.
    pub fn forget(&self, id: &str) {
        lock(&self.service).gone.extend(id.parse::<u64>());
    }

    /// Returns the attempt and the artifact of all jobs that were ever started.
    #[must_use]
    pub fn started(&self) -> Vec<(String, String)> {
        lock(&self.service).jobs.iter().map(|job| (job.attempt.clone(), job.artifact.clone())).collect()
    }

    /// Returns how many jobs have not ended.
    #[must_use]
    pub fn running(&self) -> usize {
        let service = lock(&self.service);
        service.jobs.iter().filter(|job| service.outcome(job) == Outcome::Runs).count()
    }
}

/// Locks a service, which is consistent after every request.
fn lock(service: &Mutex<Service>) -> MutexGuard<'_, Service> {
    service.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Runs,
    Succeeded,
    Failed,
    Canceled,
}

impl Service {
    fn course(&self, job: &Job) -> Course {
        self.courses.get(&job.artifact).copied().unwrap_or_default()
    }

    fn outcome(&self, job: &Job) -> Outcome {
        match self.course(job) {
            Course::Succeeds | Course::SucceedsSilently => Outcome::Succeeded,
            Course::Fails => Outcome::Failed,
            Course::Hangs if job.canceled => Outcome::Canceled,
            Course::Hangs => Outcome::Runs,
        }
    }

    fn start(&mut self, attempt: &str, artifact: &str) -> &Job {
        let id = self.jobs.len() as u64 + 1;
        self.jobs.push(Job { id, attempt: attempt.to_owned(), artifact: artifact.to_owned(), canceled: false });
        &self.jobs[self.jobs.len() - 1]
    }

    fn job(&self, id: &str) -> Option<&Job> {
        let id: u64 = id.parse().ok()?;
        self.jobs.iter().find(|job| job.id == id && !self.gone.contains(&id))
    }

    /// Cancels a job; says whether there was something to cancel.
    fn cancel(&mut self, id: &str) -> Option<bool> {
        let id = self.job(id)?.id;
        let runs = self.outcome(self.job(&id.to_string())?) == Outcome::Runs;
        for job in self.jobs.iter_mut().filter(|job| job.id == id) {
            job.canceled = true;
        }
        Some(runs)
    }

    fn name(&self, job: &Job) -> String {
        match self.naming {
            Naming::ByMarker => format!("Rebuild {}", job.attempt),
            Naming::Plain => "Rebuild".to_owned(),
        }
    }

    /// Returns the digest that the job tells.
    fn digest(&self, job: &Job) -> Option<Digest> {
        (self.course(job) == Course::Succeeds).then(|| Digest::of(job.attempt.as_bytes()))
    }
}

fn reply(service: &mut Service, request: &Request, answer: fn(&mut Service, &Request) -> Reply) -> Reply {
    let asked = format!("{} {}", request.method, request.path);
    let at = service.faults.iter().position(|(part, _)| asked.contains(part.as_str()));
    match at.and_then(|at| service.faults.remove(at)) {
        Some((_, Fault::Instead(reply))) => return reply,
        Some((_, Fault::Lost)) => {
            answer(service, request);
            return Reply::new(200).cut_after(0);
        }
        None => {}
    }
    let token = service.token.as_ref().map(|token| format!("Bearer {token}"));
    if token.is_some() && request.header("authorization") != token.as_deref() {
        return says(401, "Bad credentials");
    }
    answer(service, request)
}

fn says(status: u16, message: &str) -> Reply {
    shows(status, &json!({ "message": message }))
}

fn shows(status: u16, value: &Value) -> Reply {
    Reply::new(status).with_header("content-type", "application/json").with_body(value.to_string())
}

/// Returns a parameter of the query; tests have none that needs decoding.
fn parameter<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, it)| it)
}

/// Returns the page of a list that is asked for.
fn page<T: Clone>(request: &Request, all: &[T]) -> Vec<T> {
    let number = |name, default| parameter(request, name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (size, page): (usize, usize) = (number("per_page", 30), number("page", 1));
    all.iter().skip(size * (page.saturating_sub(1))).take(size).cloned().collect()
}

/// Returns the artifact of a request that was sent as text.
fn artifact(text: &Value) -> String {
    let request: Value = text.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    request["artifact"].as_str().unwrap_or_default().to_owned()
}

fn github(service: &mut Service, request: &Request) -> Reply {
    let Some(path) = request.path.strip_prefix("/repos/example/images/actions/") else { return says(404, "Not Found") };
    let parts: Vec<_> = path.split('/').collect();
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["workflows", "rebuild.yml"]) => shows(200, &json!({ "id": 1, "state": "active" })),
        ("POST", ["workflows", "rebuild.yml", "dispatches"]) => {
            let inputs = &body["inputs"];
            let Some(attempt) = inputs["freshmaker_attempt"].as_str() else {
                return says(422, "Required input 'freshmaker_attempt' not provided");
            };
            let asked = service.run_details && body["return_run_details"] == true;
            let id = service.start(attempt, &artifact(&inputs["freshmaker_request"])).id;
            if asked { shows(200, &json!({ "workflow_run_id": id })) } else { Reply::new(204) }
        }
        ("GET", ["workflows", "rebuild.yml", "runs"]) => {
            let all: Vec<_> = service.jobs.iter().rev().map(|job| github_run(service, job)).collect();
            shows(200, &json!({ "total_count": all.len(), "workflow_runs": page(request, &all) }))
        }
        ("POST", ["runs", id, "cancel"]) => match service.cancel(id) {
            Some(true) => Reply::new(202),
            Some(false) => says(409, "Cannot cancel a workflow run that is completed."),
            None => says(404, "Not Found"),
        },
        ("GET", ["runs", id, rest @ ..]) => {
            let Some(job) = service.job(id) else { return says(404, "Not Found") };
            match rest {
                [] => shows(200, &github_run(service, job)),
                ["artifacts"] => {
                    let told = service.digest(job).map(|digest| format!("freshmaker-{digest}").replace(':', "-"));
                    let told: Vec<_> = told.iter().map(|name| json!({ "name": name })).collect();
                    shows(200, &json!({ "total_count": told.len(), "artifacts": told }))
                }
                ["jobs"] => {
                    let steps = json!([{ "name": "compile", "conclusion": "failure" }]);
                    let jobs = json!([{ "name": "build", "conclusion": "failure", "steps": steps }]);
                    shows(200, &json!({ "total_count": 1, "jobs": jobs }))
                }
                _ => says(404, "Not Found"),
            }
        }
        _ => says(404, "Not Found"),
    }
}

fn github_run(service: &Service, job: &Job) -> Value {
    let (status, conclusion) = match service.outcome(job) {
        Outcome::Runs => ("in_progress", None),
        Outcome::Succeeded => ("completed", Some("success")),
        Outcome::Failed => ("completed", Some("failure")),
        Outcome::Canceled => ("completed", Some("cancelled")),
    };
    json!({
        "id": job.id,
        "display_title": service.name(job),
        "event": "workflow_dispatch",
        "status": status,
        "conclusion": conclusion,
        "html_url": format!("https://github.com/example/images/actions/runs/{}", job.id),
    })
}

fn gitlab(service: &mut Service, request: &Request) -> Reply {
    let Some(path) = request.path.strip_prefix("/api/v4/projects/example%2Fimages/") else {
        return says(404, "404 Project Not Found");
    };
    let parts: Vec<_> = path.split('/').collect();
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    match (request.method.as_str(), parts.as_slice()) {
        ("POST", ["pipeline"]) => {
            let variables = body["variables"].as_array().cloned().unwrap_or_default();
            let value = |key: &str| {
                let found = variables.iter().find(|variable| variable["key"] == key);
                found.map(|variable| variable["value"].clone()).unwrap_or_default()
            };
            let attempt = value("FRESHMAKER_ATTEMPT");
            let Some(attempt) = attempt.as_str() else {
                return shows(400, &json!({ "message": { "base": ["Pipeline filtered out by workflow rules."] } }));
            };
            // The answer of the real one has no name either.
            let id = service.start(attempt, &artifact(&value("FRESHMAKER_REQUEST"))).id;
            shows(201, &json!({ "id": id, "source": "api", "status": "created" }))
        }
        ("GET", ["pipelines"]) => {
            let all: Vec<_> = service.jobs.iter().rev().map(|job| gitlab_pipeline(service, job)).collect();
            shows(200, &Value::Array(page(request, &all)))
        }
        ("POST", ["pipelines", id, "cancel"]) => match service.cancel(id) {
            Some(_) => shows(201, &json!({})),
            None => says(404, "404 Not found"),
        },
        ("GET", ["pipelines", id, rest @ ..]) => {
            let Some(job) = service.job(id) else { return says(404, "404 Not found") };
            let is_failure = parameter(request, "scope%5B%5D") == Some("failed");
            match rest {
                [] => shows(200, &gitlab_pipeline(service, job)),
                ["jobs"] if is_failure => {
                    let failed = |id, name, allow| {
                        let (status, reason) = ("failed", "script_failure");
                        json!({ "id": id, "name": name, "status": status, "failure_reason": reason, "allow_failure": allow })
                    };
                    shows(200, &json!([failed(2, "compile", false), failed(1, "lint", true)]))
                }
                ["jobs"] => shows(200, &json!([{ "id": job.id, "name": "freshmaker", "status": "success" }])),
                _ => says(404, "404 Not found"),
            }
        }
        ("GET", ["jobs", id, "artifacts", "freshmaker.json"]) => {
            match service.job(id).and_then(|job| Some((job, service.digest(job)?))) {
                Some((job, digest)) => shows(200, &json!({ "digest": digest, "name": job.artifact })),
                None => says(404, "404 Not found"),
            }
        }
        _ => says(404, "404 Not found"),
    }
}

fn gitlab_pipeline(service: &Service, job: &Job) -> Value {
    let status = match service.outcome(job) {
        Outcome::Runs => "running",
        Outcome::Succeeded => "success",
        Outcome::Failed => "failed",
        Outcome::Canceled => "canceled",
    };
    json!({
        "id": job.id,
        "name": service.name(job),
        "source": "api",
        "status": status,
        "web_url": format!("https://gitlab.example.org/example/images/-/pipelines/{}", job.id),
        "yaml_errors": null,
    })
}

fn http(service: &mut Service, request: &Request) -> Reply {
    let parts: Vec<_> = request.path.trim_start_matches('/').split('/').collect();
    match (request.method.as_str(), parts.as_slice()) {
        ("POST", ["builds"]) => {
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let (Some(attempt), Some(artifact)) = (body["attempt"].as_str(), body["artifact"].as_str()) else {
                return says(422, "`attempt` and `artifact` are needed");
            };
            if let Some(job) = service.jobs.iter().find(|job| job.attempt == attempt) {
                return shows(200, &http_job(service, job));
            }
            let id = service.start(attempt, artifact).id.to_string();
            service.job(&id).map_or_else(|| says(500, "lost"), |job| shows(201, &http_job(service, job)))
        }
        ("GET", ["builds"]) => {
            let wanted = parameter(request, "attempt");
            let jobs = service.jobs.iter().filter(|job| wanted.is_none_or(|wanted| job.attempt == wanted));
            let jobs: Vec<_> = jobs.map(|job| http_job(service, job)).collect();
            shows(200, &json!({ "builds": jobs }))
        }
        ("GET", ["builds", id]) => {
            service.job(id).map_or_else(|| says(404, "no such job"), |job| shows(200, &http_job(service, job)))
        }
        ("POST", ["builds", id, "cancel"]) => match service.cancel(id) {
            Some(true) => shows(202, &json!({})),
            Some(false) => says(409, "it has ended"),
            None => says(404, "no such job"),
        },
        _ => says(404, "nothing is here"),
    }
}

fn http_job(service: &Service, job: &Job) -> Value {
    let state = match service.outcome(job) {
        Outcome::Runs => "running",
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Canceled => "canceled",
    };
    let mut told = json!({ "id": job.id.to_string(), "attempt": job.attempt, "state": state });
    if let Some(digest) = service.digest(job) {
        told["name"] = job.artifact.clone().into();
        told["digest"] = json!(digest);
    }
    if state == "failed" {
        told["message"] = "the compiler says no".into();
    }
    told
}

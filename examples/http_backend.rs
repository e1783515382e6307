//! A build system over HTTP: which error is which remedy. See `freshmaker::guide::build_system`.
use async_trait::async_trait;
use freshmaker::backend::{BuildRequest, BuildSystem, Capabilities, Error, Found, Remedy, Result};
use freshmaker::rebuild::{AttemptId, ExternalId, Failure, FailureClass, Observed, Output};
use freshmaker::time::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
enum HttpError {
    #[error("no connection")]
    NotSent,
    #[error("no answer")]
    NoAnswer,
}

#[async_trait]
trait Http: std::fmt::Debug + Send + Sync + 'static {
    async fn call(&self, method: &str, path: &str, body: Value) -> Result<(u16, Value), HttpError>;
}

#[derive(Debug)]
struct Farm<H>(H);

impl<H: Http> Farm<H> {
    async fn ask(&self, method: &str, path: &str, body: Value) -> Result<Value> {
        let error = |remedy, cause: &dyn std::fmt::Display| Error::new(remedy, format!("farm: {method} {path}"), cause);
        match self.0.call(method, path, body).await {
            Ok((200..300, answer)) => Ok(answer),
            Ok((status, answer)) => {
                let remedy = match status {
                    401 | 403 => Remedy::Unavailable,
                    429 => Remedy::NotNow,
                    404 => Remedy::NotFound,
                    408 => Remedy::Unclear,
                    400..500 => Remedy::Rejected,
                    _ => Remedy::Unclear,
                };
                Err(error(remedy, &format_args!("{status} {}", answer["message"])))
            }
            Err(cause @ HttpError::NotSent) => Err(error(Remedy::Unavailable, &cause)),
            Err(cause @ HttpError::NoAnswer) => Err(error(Remedy::Unclear, &cause)),
        }
    }
}

/// Reads a job: `{"id": "7", "state": "failed", "cause": "worker", "message": "…"}`
fn found(job: &Value) -> Result<Found> {
    let text = |key: &str| job[key].as_str().unwrap_or_default();
    let observed = match text("state") {
        "queued" | "running" => Observed::Running,
        "done" => Observed::Succeeded(Output {
            name: text("image").into(),
            digest: text("digest").parse().ok(),
            contents: None,
        }),
        "canceled" => Observed::Canceled,
        "failed" => {
            let class = match text("cause") {
                "recipe" => FailureClass::Deterministic,
                "preempted" => FailureClass::Interrupted,
                _ => FailureClass::Infrastructure,
            };
            Observed::Failed(Failure::new(class, text("message")))
        }
        other => {
            return Err(Error::new(Remedy::Corrupt, "farm", format!("job {}: unknown state {other:?}", job["id"])));
        }
    };
    Ok(Found { external: ExternalId::new(text("id")), observed })
}

#[async_trait]
impl<H: Http> BuildSystem for Farm<H> {
    fn capabilities(&self) -> Capabilities {
        // After a minute the service drops a request that it has not begun to handle.
        let (settle, poll) = (Duration::from_secs(60), Duration::from_secs(10));
        Capabilities { lookup: true, settle, poll, submissions: None }
    }
    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        let job = self.ask("POST", "/jobs", json!({ "marker": request.attempt, "request": request })).await?;
        Ok(found(&job)?.external)
    }
    async fn find(&self, request: &BuildRequest, _since: Timestamp) -> Result<Vec<Found>> {
        let jobs = self.ask("GET", &format!("/jobs?marker={}", request.attempt), Value::Null).await?;
        // All of them, or an error: an empty answer says that nothing was started.
        let all =
            jobs.as_array().ok_or_else(|| Error::new(Remedy::Corrupt, "farm: GET /jobs", "not a list of jobs"))?;
        all.iter().map(found).collect()
    }
    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        let mut all = Vec::new();
        for id in ids {
            match self.ask("GET", &format!("/jobs/{id}"), Value::Null).await {
                // A job that cannot be read counts as unchanged, and hides no other one.
                Ok(job) => all.extend(found(&job).inspect_err(|error| tracing::warn!(%error))),
                Err(error) if error.remedy == Remedy::NotFound => {
                    all.push(Found { external: id.clone(), observed: Observed::Vanished });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }
    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        match self.ask("DELETE", &format!("/jobs/{id}"), Value::Null).await {
            Err(error) if error.remedy == Remedy::NotFound => Ok(()), // it has ended
            asked => asked.map(drop),
        }
    }
}
/// The service: a request with the target `Fails` or `Hangs` makes a job that does so.
#[derive(Debug, Default)]
struct Service(std::sync::Mutex<Vec<Value>>);
#[async_trait]
impl Http for Service {
    async fn call(&self, method: &str, path: &str, body: Value) -> Result<(u16, Value), HttpError> {
        let mut jobs = self.0.lock().expect("no panic");
        if let ("POST", "/jobs") = (method, path) {
            let ending = match body["request"]["target"].as_str() {
                Some("Fails") => json!({ "state": "failed", "cause": "recipe", "message": "error 2" }),
                Some("Hangs") => json!({ "state": "running" }),
                _ => json!({ "state": "done", "image": "app:1", "digest": "sha256:".to_owned() + &"0".repeat(64) }),
            };
            if let Some(job) = jobs.iter().find(|job| job["marker"] == body["marker"]) {
                return Ok((200, job.clone()));
            }
            let mut job = ending;
            job["id"] = format!("job-{}", jobs.len()).into();
            job["marker"] = body["marker"].clone();
            jobs.push(job.clone());
            return Ok((201, job));
        }
        if let Some(marker) = path.strip_prefix("/jobs?marker=") {
            return Ok((200, jobs.iter().filter(|job| job["marker"] == marker).cloned().collect()));
        }
        let id = path.trim_start_matches("/jobs/");
        let Some(job) = jobs.iter_mut().find(|job| job["id"] == id) else { return Ok((404, Value::Null)) };
        if method == "DELETE" && job["state"] == "running" {
            job["state"] = "canceled".into();
        }
        Ok((200, job.clone()))
    }
}

/// A service that says one status to everything; 0: no connection, 1: no answer.
#[derive(Debug)]
struct Says(u16);

#[async_trait]
impl Http for Says {
    async fn call(&self, _: &str, _: &str, _: Value) -> Result<(u16, Value), HttpError> {
        match self.0 {
            0 => Err(HttpError::NotSent),
            1 => Err(HttpError::NoAnswer),
            status => Ok((status, json!({}))),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let marker = || AttemptId::from_random(fastrand::u128(..));
    let request = |ending| BuildRequest { target: format!("{ending:?}"), ..BuildRequest::new(marker(), "app") };
    freshmaker_testing::conformance::build_system(&Farm(Service::default()), &request).await;

    for status in [0, 1, 200, 401, 404, 408, 422, 429, 500, 502] {
        if let Err(error) = Farm(Says(status)).submit(&BuildRequest::new(marker(), "app")).await {
            println!("{status}: {:?}", error.remedy);
        }
    }
    let answer = Farm(Says(200)).find(&BuildRequest::new(marker(), "app"), Timestamp::default()).await;
    println!("lookup without a list: {:?}", answer.map_err(|error| error.remedy));
}

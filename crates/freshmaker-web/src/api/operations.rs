//! The state of the service: overview, what is stuck, health.

use super::paging::answer;
use super::views::{Listing, StuckView};
use crate::extract::Query;
use crate::problem::{Problem, ProblemCode};
use crate::web::Web;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use freshmaker::backend::{NewDocument, Overview, Remedy};
use freshmaker::client::Client;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// How much there is of everything.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OverviewView {
    messages_waiting: u64,
    messages_dead: u64,
    events_open: u64,
    builds_waiting: u64,
    builds_running: u64,
    builds_done: u64,
    builds_reused: u64,
    builds_failed: u64,
    builds_canceled: u64,
    notifications_waiting: u64,
    /// Whether there is nothing left to do.
    idle: bool,
}

impl From<Overview> for OverviewView {
    fn from(overview: Overview) -> Self {
        Self {
            idle: overview.is_idle(),
            messages_waiting: overview.messages_waiting,
            messages_dead: overview.messages_dead,
            events_open: overview.events_open,
            builds_waiting: overview.builds_waiting,
            builds_running: overview.builds_running,
            builds_done: overview.builds_done,
            builds_reused: overview.builds_reused,
            builds_failed: overview.builds_failed,
            builds_canceled: overview.builds_canceled,
            notifications_waiting: overview.notifications_waiting,
        }
    }
}

/// How much there is of everything.
#[utoipa::path(
    get,
    path = "/api/3/overview",
    tag = "operations",
    responses((status = 200, description = "The numbers of one moment", body = OverviewView))
)]
pub(crate) async fn overview(State(web): State<Web>) -> Result<Response, Problem> {
    let overview = web.ask(web.client().overview()).await?;
    Ok(Json(OverviewView::from(overview)).into_response())
}

/// For how long.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StuckQuery {
    /// What has not moved for so many seconds. Default: 3,600.
    #[serde(default = "hour")]
    #[param(value_type = Option<i64>, minimum = 0, maximum = 4_294_967_295_u32)]
    for_s: u32,
}

fn hour() -> u32 {
    3600
}

/// Lists what has not moved for a long time, why, and what a person can do.
#[utoipa::path(
    get,
    path = "/api/3/stuck",
    tag = "operations",
    params(StuckQuery),
    responses((status = 200, description = "At most 1,000 of each sort are looked at", body = Listing<StuckView>))
)]
pub(crate) async fn stuck(
    State(web): State<Web>,
    uri: Uri,
    Query(StuckQuery { for_s }): Query<StuckQuery>,
) -> Result<Response, Problem> {
    let stuck = web.ask(web.client().stuck(Duration::from_secs(for_s.into()))).await?;
    Ok(answer(&uri, stuck.into_iter().map(StuckView::from).collect(), None, None, Vec::new()))
}

/// Says that the process answers. It asks nobody.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "operations",
    responses((status = 200, description = "The process answers", body = String, content_type = "text/plain"))
)]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the service can do its work.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    ready: bool,
    checks: Vec<Check>,
}

/// One thing that the service needs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Check {
    /// `storage`, `documents` or `writes`.
    pub(crate) name: &'static str,
    pub(crate) ok: bool,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<&'static str>,
}

/// Says whether the service can do its work, and if not, what is wrong. The whole error is in the
/// log: everybody may ask here.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    responses(
        (status = 200, description = "It can", body = Readiness),
        (status = 503, description = "It cannot", body = Readiness)
    )
)]
pub(crate) async fn readyz(State(web): State<Web>) -> Response {
    let checks = checks(&web).await;
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { ProblemCode::Unavailable.status() };
    (status, Json(Readiness { ready, checks })).into_response()
}

/// What the service needs, and whether it has it. The whole error is in the log.
pub(crate) async fn checks(web: &Web) -> Vec<Check> {
    let storage = web.ask(web.client().overview()).await.map(drop);
    let documents = web.ask(web.tokens().list(None, 1)).await.map(drop);
    let writes = web.ask(write(web.client())).await;
    let check = |name, result: Result<(), Problem>| {
        if let Err(problem) = &result {
            tracing::warn!(check = name, problem = problem.logged(), "not ready");
        }
        Check { name, ok: result.is_ok(), problem: result.err().map(|problem| problem.code.title()) }
    };
    vec![check("storage", storage), check("documents", documents), check("writes", writes)]
}

/// The smallest write: it needs the lock, the right and the room of every write, and leaves
/// nothing.
async fn write(client: &Client) -> freshmaker::backend::Result<()> {
    const PLACE: (&str, &str) = ("web.readiness", "write");
    let documents = client.documents().await?;
    // One may be left of a process that died just then.
    let expected = documents.get(PLACE.0, PLACE.1).await?.map(|document| document.version);
    let document = NewDocument { expected, ..NewDocument::new(PLACE.0, PLACE.1, serde_json::Value::Null) };
    match documents.put(document).await {
        // Somebody else writes the same at this moment.
        Err(error) if error.remedy == Remedy::Conflict => return Ok(()),
        put => put?,
    };
    documents.remove(PLACE.0, PLACE.1).await.map(drop)
}

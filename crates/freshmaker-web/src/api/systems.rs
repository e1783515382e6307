//! Build systems: pauses, and how many builds each has.

use super::paging::answer;
use super::views::Listing;
use crate::auth::Caller;
use crate::extract::{JsonBody, List, Query, System};
use crate::problem::{Problem, ProblemBody};
use crate::web::Web;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use freshmaker::backend::{BuildCount, BuildFilter};
use freshmaker::client::Pause;
use freshmaker::rebuild::{BuildState, EventId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A build system to which nothing is submitted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PauseView {
    system: String,
    reason: String,
    by: String,
    since: DateTime<Utc>,
}

impl From<Pause> for PauseView {
    fn from(Pause { system, reason, by, since, .. }: Pause) -> Self {
        Self { system, reason, by, since }
    }
}

/// Lists the build systems that are paused.
#[utoipa::path(
    get,
    path = "/api/3/pauses",
    tag = "systems",
    responses(
        (status = 200, description = "All of them", body = Listing<PauseView>),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(crate) async fn pauses(State(web): State<Web>, uri: Uri) -> Result<Response, Problem> {
    let pauses = web.ask(web.client().pauses()).await?;
    Ok(answer(&uri, pauses.into_iter().map(PauseView::from).collect(), None, None, Vec::new()))
}

/// Why a build system is paused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPause {
    /// At most 1,000 characters of it are kept.
    pub(crate) reason: String,
}

/// Submits nothing more to a build system, until it is resumed. What it has already goes on.
#[utoipa::path(
    post,
    path = "/api/3/systems/{system}/pause",
    tag = "systems",
    params(("system" = String, Path, description = "The registered name of the build system")),
    request_body = NewPause,
    responses(
        (status = 204, description = "It is paused"),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(crate) async fn pause(
    State(web): State<Web>,
    caller: Caller,
    System(system): System,
    JsonBody(NewPause { reason }): JsonBody<NewPause>,
) -> Result<Response, Problem> {
    let reason: String = reason.chars().take(1000).collect();
    web.audited(&caller, "pause", &format!("system {system}"), async {
        web.change(web.client().pause(&system, &reason, caller.name())).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Ends the pause of a build system.
#[utoipa::path(
    post,
    path = "/api/3/systems/{system}/resume",
    tag = "systems",
    params(("system" = String, Path, description = "The registered name of the build system")),
    responses(
        (status = 204, description = "Builds are submitted again"),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(crate) async fn resume(
    State(web): State<Web>,
    caller: Caller,
    System(system): System,
) -> Result<Response, Problem> {
    web.audited(&caller, "resume", &format!("system {system}"), async {
        web.change(web.client().resume(&system)).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Which builds are counted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CountsQuery {
    /// In one of these states (those of `detail`), with commas between them.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    state: List<BuildState>,
    /// Caused by one of these events, with commas between them.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    event: List<i64>,
    /// In one of these build systems, with commas between them.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    system: List<String>,
}

/// How many builds there are for one reason.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CountView {
    system: String,
    state: &'static str,
    /// The code of the reason.
    reason: String,
    count: u64,
}

impl From<BuildCount> for CountView {
    fn from(BuildCount { system, state, reason_code, count }: BuildCount) -> Self {
        Self { system, state: state.as_str(), reason: reason_code, count }
    }
}

/// Counts builds by build system, state and reason: what waits for what, and what failed why.
#[utoipa::path(
    get,
    path = "/api/3/counts",
    tag = "systems",
    params(CountsQuery),
    responses(
        (status = 200, description = "By system, state and reason", body = Listing<CountView>),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(crate) async fn counts(
    State(web): State<Web>,
    uri: Uri,
    Query(CountsQuery { state, event, system }): Query<CountsQuery>,
) -> Result<Response, Problem> {
    let events = event.0.into_iter().map(EventId).collect();
    let filter = BuildFilter { states: state.0, events, systems: system.0, ..BuildFilter::default() };
    let counts = web.ask(web.client().count_builds(filter)).await?;
    Ok(answer(&uri, counts.into_iter().map(CountView::from).collect(), None, None, Vec::new()))
}

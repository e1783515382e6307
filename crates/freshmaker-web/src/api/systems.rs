//! Build systems: pauses, and how many builds each has.

use super::paging::answer;
use super::views::Listing;
use crate::auth::Caller;
use crate::extract::{JsonBody, List, Query, System};
use crate::problem::{Problem, ProblemBody, ProblemCode};
use crate::web::Web;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use freshmaker::backend::{BuildCount, BuildFilter};
use freshmaker::client::Pause;
use freshmaker::rebuild::{BuildState, EventId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::{IntoParams, ToSchema};

/// A build system to which nothing is submitted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PauseView {
    system: String,
    pub(crate) reason: String,
    pub(crate) by: String,
    pub(crate) since: DateTime<Utc>,
}

impl From<Pause> for PauseView {
    fn from(Pause { system, reason, by, since, .. }: Pause) -> Self {
        Self { system, reason, by, since }
    }
}

/// A build system, what runs in it, and what waits for it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SystemView {
    pub(crate) system: String,
    pub(crate) running: u64,
    pub(crate) ready: u64,
    pub(crate) blocked: u64,
    /// How many attempts may run at once, if that is configured here.
    pub(crate) limit: Option<u32>,
    pub(crate) pause: Option<PauseView>,
    /// When the last of its open builds is expected to end.
    pub(crate) drains: Option<DateTime<Utc>>,
}

/// Lists the build systems that have open builds, are paused, or have a limit that is configured.
#[utoipa::path(
    get,
    path = "/api/3/systems",
    tag = "systems",
    responses((status = 200, description = "All of them, by name", body = Listing<SystemView>))
)]
pub(crate) async fn list(State(web): State<Web>, uri: Uri) -> Result<Response, Problem> {
    let systems = systems(&web, &open_counts(&web).await?).await?;
    Ok(answer(&uri, systems, None, None, Vec::new()))
}

/// How many builds are open, by build system, state and reason.
pub(crate) async fn open_counts(web: &Web) -> Result<Vec<BuildCount>, Problem> {
    let states = BuildState::ALL.iter().copied().filter(|state| !state.is_terminal()).collect();
    web.ask(web.client().count_builds(BuildFilter { states, ..BuildFilter::default() })).await
}

/// The build systems, by name.
pub(crate) async fn systems(web: &Web, counts: &[BuildCount]) -> Result<Vec<SystemView>, Problem> {
    let pauses = web.ask(web.client().pauses()).await?;
    let limits = web.concurrency_limits();
    let open = web.open().await?;
    let names = counts.iter().map(|row| &row.system).chain(pauses.iter().map(|pause| &pause.system));
    let names: BTreeSet<String> = names.chain(limits.keys()).cloned().collect();
    let of = |name: &str, is: fn(BuildState) -> bool| -> u64 {
        counts.iter().filter(|row| row.system == name && is(row.state)).map(|row| row.count).sum()
    };
    let rows = names.into_iter().map(|name| SystemView {
        running: of(&name, |state| !state.is_queued()),
        ready: of(&name, |state| state == BuildState::Ready),
        blocked: of(&name, |state| state == BuildState::Blocked),
        limit: limits.get(&name).copied(),
        drains: open.forecast.systems().get(&name).copied().flatten(),
        pause: pauses.iter().find(|pause| pause.system == name).cloned().map(PauseView::from),
        system: name,
    });
    Ok(rows.collect())
}

/// Lists the build systems that are paused.
#[utoipa::path(
    get,
    path = "/api/3/pauses",
    tag = "systems",
    responses((status = 200, description = "All of them", body = Listing<PauseView>))
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

/// Refuses the name of a build system that nothing has: no build, no limit that is configured here,
/// no replica. As long as nothing has names, as in a new service without limits, there is none to
/// compare with, and all are taken.
async fn must_be_known(web: &Web, system: &str) -> Result<(), Problem> {
    let client = web.client();
    let counts = web.ask(client.count_builds(BuildFilter::default())).await?;
    let replicas = web.ask(client.replicas()).await?;
    let limited = replicas.iter().flat_map(|replica| replica.settings.keys());
    let limited = limited.filter_map(|setting| setting.strip_prefix("limit of ")).map(str::to_owned);
    let known = counts.into_iter().map(|row| row.system).chain(limited);
    let known: BTreeSet<String> = known.chain(web.concurrency_limits().into_keys()).collect();
    let is_known = known.is_empty() || known.contains(system);
    // A second pause is refused as such.
    if is_known || web.ask(client.pauses()).await?.iter().any(|pause| pause.system == system) {
        return Ok(());
    }
    let system: String = system.chars().take(NAME_MAX).collect();
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    Err(Problem::new(ProblemCode::NotFound, format!("no build system is called {system:?}; there are {known}")))
}

/// How many characters of an unknown name an error shows.
const NAME_MAX: usize = 100;

/// Submits nothing more to a build system, until it is resumed. What it has already goes on.
#[utoipa::path(
    post,
    path = "/api/3/systems/{system}/pause",
    tag = "systems",
    params(("system" = String, Path, description = "The registered name of the build system")),
    request_body = NewPause,
    responses(
        (status = 204, description = "It is paused"),
        (status = 404, description = "No build system is known by this name; `detail` has those that are", body = ProblemBody, content_type = "application/problem+json")
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
        must_be_known(&web, &system).await?;
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
    responses((status = 204, description = "Builds are submitted again"))
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
    responses((status = 200, description = "By system, state and reason", body = Listing<CountView>))
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

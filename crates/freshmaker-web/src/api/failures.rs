//! Artifacts that failed and were not built well since, by cause; and the retry of those with one
//! cause.

use super::events::{Part, retried};
use super::messages::Accepted;
use super::paging::answer;
use super::views::{BuildView, Listing};
use crate::auth::Caller;
use crate::extract::{JsonBody, Query, parsed};
use crate::problem::{self, Problem, ProblemCode};
use crate::web::Web;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use chrono::{DateTime, Utc};
use freshmaker::backend::{EventFilter, Paging, Remedy};
use freshmaker::client::{Client, FailureGroup, RetryPart, Sent};
use freshmaker::rebuild::{BuildId, EventId, EventRecord};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The most events that one request retries. The next request goes on with older ones.
pub(crate) const EVENTS_MAX: usize = 20;

/// Which failures.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FailuresQuery {
    /// Of builds that were planned at or after this moment.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<DateTime<Utc>>)]
    pub(crate) since: Option<DateTime<Utc>>,
}

/// Artifacts whose last build failed for one cause.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FailureView {
    system: String,
    /// The code of the reason.
    reason: String,
    /// How many artifacts there are.
    count: u64,
    /// The build that was planned last.
    newest: Option<BuildView>,
}

impl From<FailureGroup> for FailureView {
    fn from(FailureGroup { system, reason_code, count, newest, .. }: FailureGroup) -> Self {
        Self { system, reason: reason_code, count, newest: newest.map(BuildView::brief) }
    }
}

/// Lists what failed and was not built well since, by build system and reason, the largest group
/// first. An artifact counts once, by its last failed build. Builds that only failed because of
/// their dependencies do not count.
#[utoipa::path(
    get,
    path = "/api/3/failures",
    tag = "failures",
    params(FailuresQuery),
    responses((status = 200, description = "At most 50 groups", body = Listing<FailureView>))
)]
pub(crate) async fn list(
    State(web): State<Web>,
    uri: Uri,
    Query(FailuresQuery { since }): Query<FailuresQuery>,
) -> Result<Response, Problem> {
    let groups = web.ask(web.client().failures(since)).await?;
    Ok(answer(&uri, groups.into_iter().map(FailureView::from).collect(), None, None, Vec::new()))
}

/// One cause of failures.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cause {
    /// The build system.
    pub(crate) system: String,
    /// The code of the reason.
    pub(crate) reason: String,
    /// Of builds that were planned at or after this moment.
    #[serde(default)]
    pub(crate) since: Option<DateTime<Utc>>,
}

/// What is done over.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Retried {
    /// The message of each new event.
    items: Vec<Accepted>,
}

/// Does the failed parts of events over whose builds failed for one cause and were not built well
/// since: the 20 newest of these events that have ended and were not done over yet.
#[utoipa::path(
    post,
    path = "/api/3/failures/retry",
    tag = "failures",
    request_body = Cause,
    responses((status = 202, description = "The messages of the new events", body = Retried))
)]
pub(crate) async fn retry(
    State(web): State<Web>,
    caller: Caller,
    JsonBody(cause): JsonBody<Cause>,
) -> Result<Response, Problem> {
    let items = retried_by_cause(&web, &caller, &cause).await?.iter().map(Accepted::from).collect();
    Ok(problem::json(StatusCode::ACCEPTED, &[], Retried { items }))
}

/// Does over what failed for one cause, and returns the messages. Each event has
/// a row of its own in the audit log. If one of them cannot be stored, those before it are: to ask
/// again goes on with the others.
pub(crate) async fn retried_by_cause(web: &Web, caller: &Caller, cause: &Cause) -> Result<Vec<Sent>, Problem> {
    let mut messages = Vec::new();
    for event in not_retried(web, cause).await? {
        match retried(web, caller, event, &HeaderMap::new(), Part::Failed).await {
            Ok(message) => messages.push(message),
            // Its handler is not there any more, or others may ask for such events alone; the rest
            // does not suffer for it.
            Err(problem) if matches!(problem.code, ProblemCode::Rejected | ProblemCode::Forbidden) => {}
            Err(problem) => return Err(problem),
        }
    }
    if messages.is_empty() {
        let text = "no event with such failures has ended and was not done over yet";
        return Err(Problem::new(ProblemCode::Rejected, text));
    }
    Ok(messages)
}

/// The newest events with such failures that have ended and were not done over yet.
async fn not_retried(web: &Web, cause: &Cause) -> Result<Vec<EventId>, Problem> {
    let client = web.client();
    let groups = web.ask(client.failures(cause.since)).await?;
    let group = groups.into_iter().find(|group| group.system == cause.system && group.reason_code == cause.reason);
    let Some(group) = group else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for event in events_of(web, group.filter.ids).await? {
        if !event.state.is_terminal() || event.builds_failed == 0 {
            continue;
        }
        let message = RetryPart::Failed.message(event.id);
        match client.message(Client::LOCAL, &message).await {
            Ok(_) => {}
            Err(error) if error.remedy == Remedy::NotFound => found.push(event.id),
            Err(error) => return Err(error.into()),
        }
        if found.len() == EVENTS_MAX {
            break;
        }
    }
    Ok(found)
}

/// The events that want these builds, newest first: at most 1,000.
async fn events_of(web: &Web, builds: Vec<BuildId>) -> Result<Vec<EventRecord>, Problem> {
    if builds.is_empty() {
        return Ok(Vec::new());
    }
    let links = web.ask(web.client().links(builds)).await?;
    let mut ids: Vec<EventId> = links.causes.iter().map(|cause| cause.event).collect();
    ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
    ids.dedup();
    ids.truncate(Paging::LIMIT_MAX as usize);
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let filter = EventFilter { ids, ..EventFilter::default() };
    Ok(web.ask(web.client().events(filter, Paging::first(Paging::LIMIT_MAX))).await?.items)
}

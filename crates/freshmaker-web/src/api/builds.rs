//! Builds and attempts: lists, histories, and what people decide about them.

use super::etag::{self, must_match};
use super::events::history;
use super::paging::{Cursor, Limit, answer, paging, part};
use super::views::{AttemptView, BuildView, Listing, TransitionView, WaitsView};
use crate::auth::Caller;
use crate::extract::{JsonBody, List, Name, Number, Query};
use crate::problem::Problem;
use crate::web::Web;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use freshmaker::ArtifactId;
use freshmaker::backend::{BuildFilter, Error, Paging, Remedy, Result as Asked};
use freshmaker::rebuild::{AttemptId, BuildId, BuildRecord, BuildState, EventId, ExternalId, RowKey};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which builds.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BuildsQuery {
    /// In one of these states (those of `detail`), with commas between them: `READY,FAILED`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    state: List<BuildState>,
    /// Caused by one of these events, with commas between them.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    event: List<i64>,
    /// Of this artifact.
    artifact: Option<String>,
    /// In one of these build systems, with commas between them.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    system: List<String>,
    /// With one of these codes of reasons, with commas between them.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    reason: List<String>,
    /// The part of the list that a part before has named.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
    /// How many rows: 1 to 200.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Limit,
    /// Whether to count the rows of all parts.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    count: bool,
}

impl BuildsQuery {
    /// The rows that are asked for, and which part of them.
    pub(crate) fn filter(self) -> Result<(BuildFilter, Paging), Problem> {
        let Self { state, event, artifact, system, reason, cursor, limit, count } = self;
        let filter = BuildFilter {
            states: state.0,
            events: event.0.into_iter().map(EventId).collect(),
            artifacts: artifact.map(ArtifactId::new).into_iter().collect(),
            systems: system.0,
            reason_codes: reason.0,
            ..BuildFilter::default()
        };
        Ok((filter, paging(cursor.as_ref(), limit, count)?.brief()))
    }
}

/// Lists builds, newest first.
#[utoipa::path(
    get,
    path = "/api/3/builds",
    tag = "builds",
    params(BuildsQuery),
    responses((status = 200, description = "A part of the list", body = Listing<BuildView>))
)]
pub(crate) async fn list(
    State(web): State<Web>,
    uri: Uri,
    Query(query): Query<BuildsQuery>,
) -> Result<Response, Problem> {
    let (filter, paging) = query.filter()?;
    let page = web.ask(web.client().builds(filter, paging)).await?;
    Ok(part(&uri, page, BuildView::brief))
}

/// One build by its number.
pub(crate) async fn build(web: &Web, id: BuildId) -> Asked<BuildRecord> {
    let filter = BuildFilter { ids: vec![id], ..BuildFilter::default() };
    let found = web.client().builds(filter, Paging::first(1)).await?.items.pop();
    found.ok_or_else(|| Error::new(Remedy::NotFound, "client", format!("there is no build {id}")))
}

/// One build.
#[utoipa::path(
    get,
    path = "/api/3/builds/{id}",
    tag = "builds",
    params(
        ("id" = i64, Path, description = "Its number"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the version that the caller has")
    ),
    responses(
        (status = 200, description = "The build; its version is the ETag", body = BuildView),
        (status = 304, description = "It is in the version that `If-None-Match` names")
    )
)]
pub(crate) async fn one(State(web): State<Web>, Number(id): Number, headers: HeaderMap) -> Result<Response, Problem> {
    let build = web.ask(build(&web, BuildId(id))).await?;
    etag::answer(&headers, build.version, BuildView::whole(build))
}

/// What a build waits for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WaitingView {
    /// Why it does not go on. Not there if it runs, or has ended for another reason than a build
    /// that it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits: Option<WaitsView>,
}

/// What a build waits for: the way over its dependencies to the build that really holds it, why
/// that one does not go on, and the next moment that can change it. It follows from the present
/// rows.
#[utoipa::path(
    get,
    path = "/api/3/builds/{id}/waiting-for",
    tag = "builds",
    params(("id" = i64, Path, description = "The number of the build")),
    responses((status = 200, description = "Why it does not go on", body = WaitingView))
)]
pub(crate) async fn waiting_for(State(web): State<Web>, Number(id): Number) -> Result<Json<WaitingView>, Problem> {
    let waits = web.ask(web.client().waiting_for(BuildId(id))).await?;
    Ok(Json(WaitingView { waits: waits.map(WaitsView::from) }))
}

/// The submissions of a build, oldest first.
#[utoipa::path(
    get,
    path = "/api/3/builds/{id}/attempts",
    tag = "builds",
    params(("id" = i64, Path, description = "The number of the build")),
    responses((status = 200, description = "All of them", body = Listing<AttemptView>))
)]
pub(crate) async fn attempts(State(web): State<Web>, uri: Uri, Number(id): Number) -> Result<Response, Problem> {
    let rows = web.ask(web.client().attempts(BuildId(id))).await?;
    if rows.is_empty() {
        web.ask(build(&web, BuildId(id))).await?;
    }
    Ok(answer(&uri, rows.into_iter().map(AttemptView::from).collect(), None, None, Vec::new()))
}

/// The history of a build, oldest first.
#[utoipa::path(
    get,
    path = "/api/3/builds/{id}/transitions",
    tag = "builds",
    params(("id" = i64, Path, description = "The number of the build")),
    responses((status = 200, description = "The whole history", body = Listing<TransitionView>))
)]
pub(crate) async fn transitions(State(web): State<Web>, uri: Uri, Number(id): Number) -> Result<Response, Problem> {
    history(&web, &uri, &RowKey::Build(BuildId(id)), build(&web, BuildId(id))).await
}

/// The history of an attempt, oldest first.
#[utoipa::path(
    get,
    path = "/api/3/attempts/{id}/transitions",
    tag = "builds",
    params(("id" = String, Path, description = "The identity of the attempt")),
    responses((status = 200, description = "The whole history", body = Listing<TransitionView>))
)]
pub(crate) async fn attempt_transitions(State(web): State<Web>, uri: Uri, Name(id): Name) -> Result<Response, Problem> {
    let unknown =
        Error::new(Remedy::NotFound, "client", "there is no such attempt, or its history is not kept any more");
    let key = RowKey::Attempt(AttemptId::new(id));
    history(&web, &uri, &key, async { Err::<(), _>(unknown) }).await
}

/// Why something is given up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Why {
    /// One sentence for the history: 1 to 1,000 characters.
    pub(crate) why: String,
}

impl Why {
    /// The sentence, without spaces around it.
    ///
    /// # Errors
    /// `invalid` if it is empty or too long.
    pub(crate) fn checked(&self) -> Result<&str, Problem> {
        let why = self.why.trim();
        if (1..=1000).contains(&why.chars().count()) {
            return Ok(why);
        }
        let problem = Problem::new(crate::problem::ProblemCode::Invalid, "the body is not what is expected");
        Err(problem.at("/why", "it must have 1 to 1,000 characters"))
    }
}

/// Gives up a build that does not go on by itself: it fails, and what needs it fails with it. What
/// still runs in the build system is not looked at any more.
#[utoipa::path(
    post,
    path = "/api/3/builds/{id}/give-up",
    tag = "builds",
    params(
        ("id" = i64, Path, description = "The number of the build"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that was decided about")
    ),
    request_body = Why,
    responses((status = 200, description = "The build, which has ended", body = BuildView))
)]
pub(crate) async fn give_up(
    State(web): State<Web>,
    caller: Caller,
    Number(id): Number,
    headers: HeaderMap,
    JsonBody(why): JsonBody<Why>,
) -> Result<Response, Problem> {
    let id = BuildId(id);
    let why = why.checked()?;
    web.audited(&caller, "give up", &format!("build {id}"), async {
        if headers.contains_key(header::IF_MATCH) {
            must_match(&headers, web.ask(build(&web, id)).await?.version)?;
        }
        web.change(web.client().give_up(id, why, caller.name())).await
    })
    .await?;
    let build = web.ask(build(&web, id)).await?;
    etag::answer(&HeaderMap::new(), build.version, BuildView::whole(build))
}

/// What became of a submission without a clear answer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Resolution {
    /// The build system has it, under this id.
    Found {
        /// What the build system calls it.
        external_id: String,
    },
    /// The build system never got it. If that is wrong, the artifact is built twice.
    NeverSubmitted {},
}

/// Says what became of a submission without a clear answer, if the engine cannot find out.
#[utoipa::path(
    post,
    path = "/api/3/attempts/{id}/resolve",
    tag = "builds",
    params(("id" = String, Path, description = "The identity of the attempt")),
    request_body = Resolution,
    responses((status = 204, description = "It goes on as if the build system had been asked"))
)]
pub(crate) async fn resolve(
    State(web): State<Web>,
    caller: Caller,
    Name(id): Name,
    JsonBody(resolution): JsonBody<Resolution>,
) -> Result<StatusCode, Problem> {
    let (found, told) = match resolution {
        Resolution::Found { external_id } if external_id.trim().is_empty() => {
            let problem = Problem::new(crate::problem::ProblemCode::Invalid, "the body is not what is expected");
            return Err(problem.at("/external_id", "it must not be empty"));
        }
        Resolution::Found { external_id } => {
            (Some(ExternalId::new(external_id.as_str())), format!("found as {external_id}"))
        }
        Resolution::NeverSubmitted {} => (None, "never submitted".to_owned()),
    };
    let attempt = AttemptId::new(id.as_str());
    web.audited(&caller, "resolve", &format!("attempt {attempt}, {told}"), async {
        web.change(web.client().resolve(&attempt, found, caller.name())).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

//! Artifacts: their latest builds, and why they are rebuilt or not.

use super::paging::{Limit, answer};
use super::views::{BuildView, Listing};
use crate::extract::{Name, Query};
use crate::problem::{Problem, ProblemCode};
use crate::web::Web;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use freshmaker::ArtifactId;
use freshmaker::backend::{BuildFilter, Paging};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// How many builds.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LatestQuery {
    /// How many rows: 1 to 200.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Limit,
}

/// The latest builds of an artifact, newest first. For all of them see `/api/3/builds?artifact=`.
///
/// The slashes of an id may be sent as they are, or as `%2F`.
#[utoipa::path(
    get,
    path = "/api/3/artifacts/{id}",
    tag = "artifacts",
    params(("id" = String, Path, description = "The id of the artifact"), LatestQuery),
    responses((status = 200, description = "Its latest builds", body = Listing<BuildView>))
)]
pub(crate) async fn latest(
    State(web): State<Web>,
    uri: Uri,
    Name(id): Name,
    Query(LatestQuery { limit }): Query<LatestQuery>,
) -> Result<Response, Problem> {
    let filter = BuildFilter { artifacts: vec![ArtifactId::new(id)], ..BuildFilter::default() };
    let page = web.ask(web.client().builds(filter, Paging::first(limit.0))).await?;
    let unreadable = page.unreadable.into_iter().map(Into::into).collect();
    Ok(answer(&uri, page.items.into_iter().map(BuildView::brief).collect(), None, None, unreadable))
}

/// In which plan.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExplainQuery {
    /// The number of the event whose plan is looked at.
    event: i64,
}

/// Why an artifact is in a plan, or why not.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExplanationView {
    artifact: String,
    event: i64,
    /// A sentence; long chains are shortened.
    text: String,
    /// `changed`, `rebuilt`, `excluded` or `unaffected`, with every dependency over which changes
    /// reach it, or the exclusions that it follows.
    #[schema(value_type = Object)]
    explanation: Value,
}

/// Says why an artifact is rebuilt because of an event, or why it is not: from the stored plan.
#[utoipa::path(
    get,
    path = "/api/3/artifacts/{id}/explain",
    tag = "artifacts",
    params(("id" = String, Path, description = "The id of the artifact"), ExplainQuery),
    responses((status = 200, description = "The explanation", body = ExplanationView))
)]
pub(crate) async fn explain(
    State(web): State<Web>,
    Name(id): Name,
    Query(ExplainQuery { event }): Query<ExplainQuery>,
) -> Result<Response, Problem> {
    let plan = web.plan_of(event).await?;
    let artifact = ArtifactId::new(id.as_str());
    let explanation = plan.explain(&artifact);
    let text = explanation.to_string();
    let explanation = serde_json::to_value(&explanation)
        .map_err(|error| Problem::new(ProblemCode::Internal, format!("the explanation has no JSON form: {error}")))?;
    Ok(axum::Json(ExplanationView { artifact: id, event, text, explanation }).into_response())
}

/// Serves both routes below an id, whose slashes may be sent as they are. An artifact whose id ends
/// with `/explain` is asked for with its slashes as `%2F`.
pub(crate) async fn below(state: State<Web>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let explains = parts.uri.path().ends_with("/explain");
    let answer = async {
        let Name(mut id) = Name::from_request_parts(&mut parts, &()).await?;
        let uri = parts.uri.clone();
        if !explains {
            let query = Query::from_request_parts(&mut parts, &()).await?;
            return latest(state, uri, Name(id), query).await;
        }
        id.truncate(id.len() - "/explain".len());
        let query = Query::from_request_parts(&mut parts, &()).await?;
        explain(state, Name(id), query).await
    };
    answer.await.into_response()
}

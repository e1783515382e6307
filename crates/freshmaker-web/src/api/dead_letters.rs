//! Dead letters: messages that could not be read or handled.

use super::builds::Why;
use super::paging::{Cursor, Limit, paging, part};
use super::views::{Listing, MessageView};
use crate::auth::Caller;
use crate::extract::{JsonBody, Name, Query, Source};
use crate::problem::Problem;
use crate::web::Web;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use freshmaker::backend::Paging;
use serde::Deserialize;
use utoipa::IntoParams;

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeadLettersQuery {
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

impl DeadLettersQuery {
    /// Which part of the list is asked for.
    pub(crate) fn paging(self) -> Result<Paging, Problem> {
        paging(self.cursor.as_ref(), self.limit, self.count)
    }
}

/// Lists dead letters, newest first.
#[utoipa::path(
    get,
    path = "/api/3/dead-letters",
    tag = "messages",
    params(DeadLettersQuery),
    responses((status = 200, description = "A part of the list", body = Listing<MessageView>))
)]
pub(crate) async fn list(
    State(web): State<Web>,
    uri: Uri,
    Query(query): Query<DeadLettersQuery>,
) -> Result<Response, Problem> {
    let page = web.ask(web.client().dead_letters(query.paging()?)).await?;
    Ok(part(&uri, page, MessageView::brief))
}

/// Lets a dead letter be handled again, after what was wrong with it or its handlers was mended.
#[utoipa::path(
    post,
    path = "/api/3/dead-letters/{source}/{id}/requeue",
    tag = "messages",
    params(
        ("source" = String, Path, description = "Where the message came from"),
        ("id" = String, Path, description = "Its identity, with slashes as `%2F`")
    ),
    responses((status = 204, description = "It is handled again"))
)]
pub(crate) async fn requeue(
    State(web): State<Web>,
    caller: Caller,
    Source(source): Source,
    Name(id): Name,
) -> Result<StatusCode, Problem> {
    web.audited(&caller, "requeue", &format!("message {source}/{id}"), async {
        web.change(web.client().requeue(&source, &id)).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Puts a dead letter away that cannot be mended, or need not be.
#[utoipa::path(
    post,
    path = "/api/3/dead-letters/{source}/{id}/dismiss",
    tag = "messages",
    params(
        ("source" = String, Path, description = "Where the message came from"),
        ("id" = String, Path, description = "Its identity, with slashes as `%2F`")
    ),
    request_body = Why,
    responses((status = 204, description = "It is ignored from now on"))
)]
pub(crate) async fn dismiss(
    State(web): State<Web>,
    caller: Caller,
    Source(source): Source,
    Name(id): Name,
    JsonBody(why): JsonBody<Why>,
) -> Result<StatusCode, Problem> {
    let why = why.checked()?;
    web.audited(&caller, "dismiss", &format!("message {source}/{id}"), async {
        web.change(web.client().dismiss(&source, &id, why, caller.name())).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

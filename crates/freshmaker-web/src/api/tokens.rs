//! Tokens and the audit log, for administrators.

use super::paging::{Cursor, Limit, answer};
use super::views::Listing;
use crate::audit::{AuditRow, Part};
use crate::auth::{Caller, IssuedToken, NewToken, TokenInfo};
use crate::extract::{JsonBody, Name, Query};
use crate::problem::{self, Problem, ProblemBody, ProblemCode};
use crate::web::Web;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TokensQuery {
    /// The part of the list that a part before has named.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
    /// How many rows: 1 to 200.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Limit,
}

/// Lists the tokens that are valid, newest first. The secrets are not known any more.
#[utoipa::path(
    get,
    path = "/api/3/tokens",
    tag = "administration",
    params(TokensQuery),
    responses(
        (status = 200, description = "A part of the list", body = Listing<TokenInfo>),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(crate) async fn list(
    State(web): State<Web>,
    uri: Uri,
    Query(TokensQuery { cursor, limit }): Query<TokensQuery>,
) -> Result<Response, Problem> {
    let before = Cursor::number(cursor.as_ref())?;
    let (items, next) = web.ask(web.tokens().list(before, limit.0)).await?;
    let next = next.map(|number| Cursor(number.to_string()));
    Ok(answer(&uri, items, next.as_ref(), None, Vec::new()))
}

/// Issues a token. The answer has it; nobody can read it again.
#[utoipa::path(
    post,
    path = "/api/3/tokens",
    tag = "administration",
    request_body = NewToken,
    responses(
        (status = 201, description = "The token", body = IssuedToken),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(crate) async fn issue(
    State(web): State<Web>,
    caller: Caller,
    JsonBody(new): JsonBody<NewToken>,
) -> Result<Response, Problem> {
    let roles: Vec<_> = new.roles.iter().map(|role| role.as_str()).collect();
    let on =
        format!("token {}, roles {}", new.name, if roles.is_empty() { "none".to_owned() } else { roles.join(", ") });
    let issued = web
        .audited(&caller, "issue token", &on, async { web.change(web.tokens().issue(new, caller.name())).await })
        .await?;
    let headers =
        [(header::LOCATION, format!("tokens/{}", issued.info.id)), (header::CACHE_CONTROL, "no-store".to_owned())];
    Ok(problem::json(StatusCode::CREATED, &headers, issued))
}

/// Revokes a token, from now on.
#[utoipa::path(
    delete,
    path = "/api/3/tokens/{id}",
    tag = "administration",
    params(("id" = String, Path, description = "The id of the token")),
    responses(
        (status = 204, description = "It is not valid any more"),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(crate) async fn revoke(State(web): State<Web>, caller: Caller, Name(id): Name) -> Result<StatusCode, Problem> {
    web.audited(&caller, "revoke token", &format!("token {id}"), async {
        match web.change(web.tokens().revoke(&id)).await? {
            true => Ok(StatusCode::NO_CONTENT),
            false => Err(Problem::new(ProblemCode::NotFound, format!("there is no token {id}"))),
        }
    })
    .await
}

/// Which rows of the audit log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// `writes` (default) or `refusals`.
    #[serde(default)]
    #[param(inline)]
    pub(crate) part: Part,
    /// The part of the list that a part before has named.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
    /// How many rows: 1 to 200.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Limit,
}

impl AuditQuery {
    /// The rows that are asked for, and the way to the next ones.
    pub(crate) async fn rows(self, web: &Web) -> Result<(Vec<AuditRow>, Option<Cursor>), Problem> {
        let Self { part, cursor, limit } = self;
        let before = Cursor::number(cursor.as_ref())?;
        let mut rows = web.ask(web.audit().list(part, before, limit.0 + 1)).await?;
        let more = rows.len() > limit.0 as usize;
        rows.truncate(limit.0 as usize);
        let next = rows.last().filter(|_| more).map(|(number, _)| Cursor(number.to_string()));
        Ok((rows.into_iter().map(|(_, row)| row).collect(), next))
    }
}

/// Lists the audit log, newest first: every write, or every refusal.
#[utoipa::path(
    get,
    path = "/api/3/audit",
    tag = "administration",
    params(AuditQuery),
    responses(
        (status = 200, description = "A part of the list", body = Listing<AuditRow>),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(crate) async fn audit(
    State(web): State<Web>,
    uri: Uri,
    Query(query): Query<AuditQuery>,
) -> Result<Response, Problem> {
    let (rows, next) = query.rows(&web).await?;
    Ok(answer(&uri, rows, next.as_ref(), None, Vec::new()))
}

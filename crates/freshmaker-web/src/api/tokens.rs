//! Tokens and the audit log, for administrators.

use super::paging::{Cursor, LIMIT_MAX, Limit, answer};
use super::views::Listing;
use crate::audit::{AuditRow, Outcome, Part};
use crate::auth::{Caller, IssuedToken, NewToken, TokenInfo};
use crate::extract::{JsonBody, Name, Query};
use crate::problem::{self, Problem, ProblemCode};
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
    responses((status = 200, description = "A part of the list", body = Listing<TokenInfo>))
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
    responses((status = 201, description = "The token", body = IssuedToken))
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
    responses((status = 204, description = "It is not valid any more"))
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
    /// By somebody whose name has this text in it.
    who: Option<String>,
    /// Of operations whose name, or what they were done to, has this text in it.
    what: Option<String>,
    /// With this outcome: `begun`, `done`, `failed` or `refused`.
    #[param(inline)]
    outcome: Option<Outcome>,
    /// The part of the list that a part before has named.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
    /// How many rows: 1 to 200.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Limit,
}

impl AuditQuery {
    /// The most rows that are read at once, and searched for one answer. If fewer than were asked
    /// for are among them, the next part goes on behind them.
    const READ: u32 = LIMIT_MAX + 1;
    const LOOKED_MAX: u32 = 10 * Self::READ;

    /// The rows that are asked for, and the way to the next ones.
    pub(crate) async fn rows(self, web: &Web) -> Result<(Vec<AuditRow>, Option<Cursor>), Problem> {
        let limit = self.limit.0 as usize;
        let mut before = Cursor::number(self.cursor.as_ref())?;
        let (mut rows, mut looked) = (Vec::new(), 0);
        let mut more = true;
        while more && rows.len() <= limit && looked < Self::LOOKED_MAX {
            let read = web.ask(web.audit().list(self.part, before, Self::READ)).await?;
            more = read.len() == Self::READ as usize;
            looked += Self::READ;
            before = read.last().map_or(before, |(number, _)| Some(*number));
            rows.extend(read.into_iter().filter(|(_, row)| self.has(row)));
        }
        if rows.len() > limit {
            rows.truncate(limit);
            before = rows.last().map(|(number, _)| *number);
            more = true;
        }
        let next = before.filter(|_| more).map(|number| Cursor(number.to_string()));
        Ok((rows.into_iter().map(|(_, row)| row).collect(), next))
    }

    fn has(&self, row: &AuditRow) -> bool {
        let has = |wanted: &Option<String>, texts: &[&str]| {
            wanted.as_ref().is_none_or(|wanted| texts.iter().any(|text| text.contains(wanted)))
        };
        has(&self.who, &[&row.who])
            && has(&self.what, &[&row.what, &row.on])
            && self.outcome.is_none_or(|outcome| outcome == row.outcome)
    }
}

/// Lists the audit log, newest first: every write, or every refusal.
#[utoipa::path(
    get,
    path = "/api/3/audit",
    tag = "administration",
    params(AuditQuery),
    responses((status = 200, description = "A part of the list", body = Listing<AuditRow>))
)]
pub(crate) async fn audit(
    State(web): State<Web>,
    uri: Uri,
    Query(query): Query<AuditQuery>,
) -> Result<Response, Problem> {
    let (rows, next) = query.rows(&web).await?;
    Ok(answer(&uri, rows, next.as_ref(), None, Vec::new()))
}

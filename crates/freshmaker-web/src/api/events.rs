//! Events: lists, plans, histories, and what people decide about them.

use super::builds::Why;
use super::etag::{self, must_match};
use super::messages::{Accepted, accepted};
use super::paging::{Cursor, Limit, answer, paging, part};
use super::views::{EventView, ExclusionView, ForecastView, Listing, TransitionView};
use crate::auth::Caller;
use crate::extract::{JsonBody, List, MaybeJson, Number, Query, parsed};
use crate::problem::{Problem, ProblemBody};
use crate::web::Web;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use freshmaker::artifact::Digest;
use freshmaker::backend::{Error, EventFilter, Paging, Remedy, Result as Asked};
use freshmaker::client::{Client, RetryPart, Sent};
use freshmaker::plan::{Exclusion, Format};
use freshmaker::rebuild::{EventId, EventState, RowKey};
use freshmaker::{ArtifactId, Plan};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// In one of these states, with commas between them: `BUILDING,FAILED`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    state: List<EventState>,
    /// Of one of these kinds, with commas between them.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    kind: List<String>,
    /// About this.
    search_key: Option<String>,
    /// Asked for by one of these people, with commas between them.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    requester: List<String>,
    /// With one of these codes of reasons, with commas between them.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    reason: List<String>,
    /// Brought by this message.
    message_id: Option<String>,
    /// Stored at or after this moment.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<DateTime<Utc>>)]
    since: Option<DateTime<Utc>>,
    /// Stored before this moment.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<DateTime<Utc>>)]
    until: Option<DateTime<Utc>>,
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

impl EventsQuery {
    /// The rows that are asked for, and which part of them.
    pub(crate) fn filter(self) -> Result<(EventFilter, Paging), Problem> {
        let Self { state, kind, search_key, requester, reason, message_id, since, until, cursor, limit, count } = self;
        let filter = EventFilter {
            states: state.0,
            kinds: kind.0,
            search_keys: search_key.into_iter().collect(),
            message_ids: message_id.into_iter().collect(),
            requesters: requester.0,
            reason_codes: reason.0,
            created_from: since,
            created_until: until,
            ..EventFilter::default()
        };
        Ok((filter, paging(cursor.as_ref(), limit, count)?.brief()))
    }
}

/// Lists events, newest first.
#[utoipa::path(
    get,
    path = "/api/3/events",
    tag = "events",
    params(EventsQuery),
    responses((status = 200, description = "A part of the list", body = Listing<EventView>))
)]
pub(crate) async fn list(
    State(web): State<Web>,
    uri: Uri,
    Query(query): Query<EventsQuery>,
) -> Result<Response, Problem> {
    let (filter, paging) = query.filter()?;
    let page = web.ask(web.client().events_with_counts(filter, paging)).await?;
    Ok(part(&uri, page, |(event, counts)| EventView::brief(event, &counts)))
}

/// The form of an event, where it is the only one.
async fn whole(web: &Web, id: EventId) -> Asked<EventView> {
    let filter = EventFilter { ids: vec![id], ..EventFilter::default() };
    let page = web.client().events_with_counts(filter, Paging::first(1)).await?;
    page.must_be_readable()?;
    let found = page.items.into_iter().next();
    let (event, counts) =
        found.ok_or_else(|| Error::new(Remedy::NotFound, "client", format!("there is no event {id}")))?;
    Ok(EventView::whole(event, &counts))
}

/// One event.
#[utoipa::path(
    get,
    path = "/api/3/events/{id}",
    tag = "events",
    params(
        ("id" = i64, Path, description = "Its number"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the version that the caller has")
    ),
    responses(
        (status = 200, description = "The event; its version is the ETag", body = EventView),
        (status = 304, description = "It is in the version that `If-None-Match` names")
    )
)]
pub(crate) async fn one(State(web): State<Web>, Number(id): Number, headers: HeaderMap) -> Result<Response, Problem> {
    let event = web.ask(whole(&web, EventId(id))).await?;
    etag::answer(&headers, event.version, event)
}

/// When an event is expected to end.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExpectedView {
    #[serde(skip_serializing_if = "Option::is_none")]
    forecast: Option<ForecastView>,
    /// Why there is no forecast.
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<String>,
}

/// When an event is expected to end, by its open builds and the concurrency limits that are
/// configured. Retries and later events are not foreseen. The answer can be some seconds old.
#[utoipa::path(
    get,
    path = "/api/3/events/{id}/forecast",
    tag = "events",
    params(("id" = i64, Path, description = "The number of the event")),
    responses((status = 200, description = "The forecast, or why there is none", body = ExpectedView))
)]
pub(crate) async fn forecast(State(web): State<Web>, Number(id): Number) -> Result<Json<ExpectedView>, Problem> {
    let event = web.ask(web.client().event(EventId(id))).await?;
    let (mut forecast, mut why_not) = (None, Some("the event has no open builds".to_owned()));
    if !event.state.is_terminal() {
        let open = web.open().await?;
        forecast = open.forecast.event(event.id);
        why_not = open.why_no_times().or(why_not).filter(|_| forecast.is_none());
    }
    Ok(Json(ExpectedView { forecast: forecast.map(ForecastView::from), why_not }))
}

/// The form of a plan.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PlanQuery {
    /// `json` (default), `svg`, `dot`, `mermaid` or `text`.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>)]
    format: Option<Format>,
}

/// The plan that an event follows, for programs or as a picture.
#[utoipa::path(
    get,
    path = "/api/3/events/{id}/plan",
    tag = "events",
    params(
        ("id" = i64, Path, description = "The number of the event"), PlanQuery,
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the version that the caller has")
    ),
    responses(
        (status = 200, description = "The plan; its hash and form are the ETag", content(
            (Object = "application/json"), (String = "image/svg+xml"), (String = "text/plain"),
        )),
        (status = 304, description = "It is the one that `If-None-Match` names")
    )
)]
pub(crate) async fn plan(
    State(web): State<Web>,
    Number(id): Number,
    headers: HeaderMap,
    Query(PlanQuery { format }): Query<PlanQuery>,
) -> Result<Response, Problem> {
    let format = format.unwrap_or(Format::Json);
    let plan = web.plan_of(id).await?;
    let tag = etag::tag(format!("{}.{}", plan.hash(), format.as_str()));
    if etag::is_known(&headers, &tag)? {
        return Ok(etag::not_modified(tag));
    }
    let kind = match format {
        Format::Json => "application/json",
        Format::Svg => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    };
    let mut response = ([(header::CONTENT_TYPE, kind)], plan.render(format).to_string()).into_response();
    let headers = response.headers_mut();
    if let Ok(tag) = tag.parse() {
        headers.insert(header::ETAG, tag);
    }
    if format == Format::Svg {
        // The picture has its styles in itself, and nothing else.
        let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox";
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    }
    Ok(response)
}

/// Which exclusions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExcludedQuery {
    /// With one of these codes, with commas between them.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    code: List<String>,
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

/// Candidates of a plan, by name, and why they are not rebuilt.
type Excluded<'p> = Vec<(&'p ArtifactId, &'p Exclusion)>;

impl ExcludedQuery {
    /// The rows that are asked for, how many there are in all parts, and the way to the next part.
    pub(crate) fn rows<'p>(&self, plan: &'p Plan) -> (Excluded<'p>, usize, Option<Cursor>) {
        let has = |exclusion: &Exclusion| self.code.0.is_empty() || self.code.0.contains(&exclusion.code);
        let mut wanted: Excluded<'p> = plan.exclusions().filter(|(_, exclusion)| has(exclusion)).collect();
        wanted.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        let total = wanted.len();
        if let Some(Cursor(after)) = &self.cursor {
            wanted.retain(|(id, _)| id.as_str() > after.as_str());
        }
        let size = self.limit.0 as usize;
        let more = wanted.len() > size;
        wanted.truncate(size);
        let next = wanted.last().filter(|_| more).map(|(id, _)| Cursor(id.as_str().to_owned()));
        (wanted, total, next)
    }
}

/// Lists the candidates of an event that are not rebuilt, by name, and why.
#[utoipa::path(
    get,
    path = "/api/3/events/{id}/excluded",
    tag = "events",
    params(("id" = i64, Path, description = "The number of the event"), ExcludedQuery),
    responses((status = 200, description = "A part of the list", body = Listing<ExclusionView>))
)]
pub(crate) async fn excluded(
    State(web): State<Web>,
    uri: Uri,
    Number(id): Number,
    Query(query): Query<ExcludedQuery>,
) -> Result<Response, Problem> {
    let plan = web.plan_of(id).await?;
    let (rows, total, next) = query.rows(&plan);
    let items = rows.into_iter().map(|(id, exclusion)| ExclusionView::of(id, exclusion)).collect();
    Ok(answer(&uri, items, next.as_ref(), query.count.then_some(total as u64), Vec::new()))
}

/// The history of an event, oldest first.
#[utoipa::path(
    get,
    path = "/api/3/events/{id}/transitions",
    tag = "events",
    params(("id" = i64, Path, description = "The number of the event")),
    responses((status = 200, description = "The whole history", body = Listing<TransitionView>))
)]
pub(crate) async fn transitions(State(web): State<Web>, uri: Uri, Number(id): Number) -> Result<Response, Problem> {
    history(&web, &uri, &RowKey::Event(EventId(id)), web.client().event(EventId(id))).await
}

/// The history of something, if there is such a thing.
pub(crate) async fn history<T>(
    web: &Web,
    uri: &Uri,
    of: &RowKey,
    exists: impl Future<Output = freshmaker::backend::Result<T>>,
) -> Result<Response, Problem> {
    let rows = web.ask(web.client().transitions(of)).await?;
    if rows.is_empty() {
        web.ask(exists).await?;
    }
    Ok(answer(uri, rows.into_iter().map(TransitionView::from).collect(), None, None, Vec::new()))
}

/// Checks `If-Match` against the version of an event.
async fn matching(web: &Web, headers: &HeaderMap, id: EventId) -> Result<(), Problem> {
    if headers.contains_key(header::IF_MATCH) {
        must_match(headers, web.ask(web.client().event(id)).await?.version)?;
    }
    Ok(())
}

/// Why an event is cancelled.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cancellation {
    /// One sentence for the history: 1 to 1,000 characters.
    #[serde(default)]
    pub(crate) why: Option<String>,
}

/// Stops an event: what is not running is dropped, what runs is stopped, what other events want as
/// well goes on for them. That is for those who have asked for the event, and administrators. The
/// body may say why; the reasons of the event and its builds have that sentence. Returns the event,
/// which has `cancel_at` until everything has ended.
#[utoipa::path(
    post,
    path = "/api/3/events/{id}/cancel",
    tag = "events",
    params(
        ("id" = i64, Path, description = "The number of the event"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that was decided about")
    ),
    request_body = Option<Cancellation>,
    responses(
        (status = 200, description = "The event, which is being cancelled", body = EventView),
        (status = 412, description = "It is not in the version that `If-Match` names", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(crate) async fn cancel(
    State(web): State<Web>,
    caller: Caller,
    Number(id): Number,
    headers: HeaderMap,
    MaybeJson(cancellation): MaybeJson<Cancellation>,
) -> Result<Response, Problem> {
    let id = EventId(id);
    let why = cancellation.and_then(|given| given.why).map(|why| Why { why });
    let why = why.as_ref().map(Why::checked).transpose()?.unwrap_or_default();
    web.must_decide_about(&caller, "cancel", id).await?;
    web.audited(&caller, "cancel", &format!("event {id}"), async {
        matching(&web, &headers, id).await?;
        web.change(web.client().cancel_because(id, caller.name(), why)).await
    })
    .await?;
    let event = web.ask(whole(&web, id)).await?;
    etag::answer(&HeaderMap::new(), event.version, event)
}

/// What is confirmed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Confirmation {
    /// The hash of the plan that was looked at.
    #[schema(value_type = String)]
    plan: Digest,
}

/// Starts a plan that was too large to be started unasked, by the hash under which it was looked
/// at. A plan that has become another one is asked about again.
#[utoipa::path(
    post,
    path = "/api/3/events/{id}/confirm",
    tag = "events",
    params(
        ("id" = i64, Path, description = "The number of the event"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that was decided about")
    ),
    request_body = Confirmation,
    responses((status = 202, description = "The message that starts it", body = Accepted))
)]
pub(crate) async fn confirm(
    State(web): State<Web>,
    caller: Caller,
    Number(id): Number,
    headers: HeaderMap,
    JsonBody(Confirmation { plan }): JsonBody<Confirmation>,
) -> Result<Response, Problem> {
    let sent = confirmed(&web, &caller, EventId(id), &headers, &plan).await?;
    Ok(accepted("../../", &sent))
}

/// Starts a plan, and returns the message that does.
pub(crate) async fn confirmed(
    web: &Web,
    caller: &Caller,
    id: EventId,
    headers: &HeaderMap,
    plan: &Digest,
) -> Result<Sent, Problem> {
    web.permitted_again(caller, "confirm", id).await?;
    web.audited(caller, "confirm", &format!("event {id}, plan {plan}"), async {
        matching(web, headers, id).await?;
        web.decided(&Client::confirmation(id), web.client().confirm(id, plan)).await
    })
    .await
}

/// What is done over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retry {
    part: Part,
}

/// A part of an event.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// The artifacts whose builds did not end well.
    Failed,
    /// Everything.
    Whole,
}

/// Does an ended event over, the whole of it or its failed part.
#[utoipa::path(
    post,
    path = "/api/3/events/{id}/retry",
    tag = "events",
    params(
        ("id" = i64, Path, description = "The number of the event"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that was decided about")
    ),
    request_body = Retry,
    responses((status = 202, description = "The message of the new event", body = Accepted))
)]
pub(crate) async fn retry(
    State(web): State<Web>,
    caller: Caller,
    Number(id): Number,
    headers: HeaderMap,
    JsonBody(Retry { part }): JsonBody<Retry>,
) -> Result<Response, Problem> {
    let sent = retried(&web, &caller, EventId(id), &headers, part).await?;
    Ok(accepted("../../", &sent))
}

/// Does an ended event over, and returns the message of the new event.
pub(crate) async fn retried(
    web: &Web,
    caller: &Caller,
    id: EventId,
    headers: &HeaderMap,
    part: Part,
) -> Result<Sent, Problem> {
    let (part, name) = match part {
        Part::Failed => (RetryPart::Failed, "failed part"),
        Part::Whole => (RetryPart::Whole, "whole"),
    };
    web.permitted_again(caller, "retry", id).await?;
    web.audited(caller, "retry", &format!("event {id}, {name}"), async {
        matching(web, headers, id).await?;
        web.decided(&part.message(id), web.client().retry(id, part, caller.name())).await
    })
    .await
}

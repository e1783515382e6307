//! Cancelling an event.

use super::Api;
use super::address::{Number, Place};
use super::answer::{Answer, Failure};
use super::events::{self, NO_EVENT, ShownEvent};
use super::fields::Fields;
use super::load::Shown;
use freshmaker::backend::{EventFilter, Paging};
use freshmaker::rebuild::{EventId, EventRecord};
use freshmaker_web::axum::extract::State;
use freshmaker_web::axum::http::{HeaderMap, StatusCode};
use freshmaker_web::{Caller, ProblemCode, WholeBody};
use utoipa::ToSchema;

const NOT_YOURS: &str = "You must be an admin to cancel someone else's event.";

/// What is to be done with an event.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its description is used")]
pub(super) struct NewAction {
    action: Action,
}

#[derive(Debug, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its description is used")]
enum Action {
    Cancel,
}

/// Cancels an event. What it has started is stopped; the answer waits some seconds for that, and
/// has the state that is true then.
#[utoipa::path(
    patch,
    path = "/events/{id}",
    tag = "events",
    params(("id" = i64, Path, minimum = 0, description = "Its number")),
    request_body = NewAction,
    responses((status = 200, description = "The event", body = ShownEvent))
)]
pub(super) async fn patch(
    State(api): State<Api>,
    Number(id): Number,
    caller: Caller,
    place: Place,
    headers: HeaderMap,
    WholeBody(body): WholeBody,
) -> Answer {
    let fields = Fields::read(&headers, &body)?;
    match fields.get("action") {
        None => return Err(Failure::bad("Missing action in request. Don't know what to do with the event.")),
        Some(action) if action != "cancel" => return Err(Failure::bad("Unsupported action requested.")),
        Some(_) => fields.only::<NewAction>(&[])?,
    }
    let event = found(&api, EventId(id)).await?;
    if api.web.must_decide(&caller, "cancel", &event).await.is_err() {
        return Err(Failure::Refused(StatusCode::FORBIDDEN, NOT_YOURS.to_owned()));
    }
    must_run(&event)?;
    if event.cancel_at.is_none() {
        stop(&api, &caller, event.id).await?;
    }
    // Whether it has ended in time or not: the answer has what is stored.
    let _ = tokio::time::timeout(api.wait, api.web.client().wait_for_event(event.id)).await;
    events::shown(&api.web, event.id, &place.prefix, Shown::Builds).await
}

async fn found(api: &Api, id: EventId) -> Result<EventRecord, Failure> {
    let filter = EventFilter { ids: vec![id], ..EventFilter::default() };
    let mut found = api.web.ask(api.web.client().events(filter, Paging::first(1))).await?.items;
    found.pop().ok_or_else(|| Failure::not_found(NO_EVENT))
}

fn must_run(event: &EventRecord) -> Result<(), Failure> {
    if !event.state.is_terminal() {
        return Ok(());
    }
    Err(Failure::bad(format!("Event {} is {} and cannot be canceled.", event.id, event.state)))
}

async fn stop(api: &Api, caller: &Caller, id: EventId) -> Result<(), Failure> {
    let (web, client) = (&api.web, api.web.client());
    let on = format!("event {id}");
    match web.audited(caller, "cancel", &on, web.change(client.cancel(id, caller.name()))).await {
        // It has ended, or somebody else has cancelled it, since it was read.
        Err(problem) if problem.code == ProblemCode::Rejected => must_run(&found(api, id).await?),
        stopped => Ok(stopped?),
    }
}

//! Events, in version 1 or 2 of their form.

use super::Api;
use super::address::{Number, Place};
use super::answer::{self, Answer, Failure, told};
use super::filters::{self, EVENT_COLUMNS, EventQuery};
use super::load::Rows;
use super::order::{self, Order};
use super::paging::{Listing, PageQuery, Query};
use crate::forms::{Builds, EventForm, Forms};
use freshmaker::backend::{EventFilter, Page, Paging};
use freshmaker::rebuild::{EventId, EventRecord};
use freshmaker_web::Web;
use freshmaker_web::axum::extract::State;
use freshmaker_web::axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The answer for an unknown event.
pub(super) const NO_EVENT: &str = "No such event found.";

/// An event, and which of its rows cannot be read.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShownEvent {
    #[serde(flatten)]
    form: EventForm,
    /// Rows that belong here and cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
}

/// Lists events, the newest first.
#[utoipa::path(
    get,
    path = "/events/",
    tag = "events",
    params(PageQuery, EventQuery, ShownQuery),
    responses((status = 200, description = "A page of the list", body = Listing<EventForm>))
)]
pub(super) async fn list(State(api): State<Api>, place: Place, query: Query) -> Answer {
    let asked = query.read::<PageQuery>()?;
    let order = Order::read(asked.order_by(), &EVENT_COLUMNS)?;
    let (wanted, client, whole) = (asked.page(), api.web.client(), query.read::<ShownQuery>()?.whole(&place));
    let page = match filters::events(query.read()?)? {
        Some(filter) if order.is_by_number() => api.web.ask(client.events(filter, wanted.paging(order))).await?,
        Some(filter) => {
            let all = order::all(|paging| api.web.ask(client.events(filter.clone(), paging))).await?;
            Page { items: order.page(all.items, wanted, order::of_event), ..all }
        }
        None => nothing(),
    };
    let mut meta = wanted.meta(&query, &place, page.total.unwrap_or_default());
    let ids: Vec<_> = page.items.iter().map(|event| event.id).collect();
    let (mut items, unreadable) = forms(&api.web, page, &place.prefix, whole).await?;
    items.sort_by_key(|form| ids.iter().position(|id| *id == form.id));
    meta.unreadable = unreadable;
    Ok(told(StatusCode::OK, &Listing { items, meta }))
}

/// The answer to a question that nothing can fit.
pub(super) fn nothing<T>() -> Page<T> {
    Page { items: Vec::new(), next: None, total: Some(0), unreadable: Vec::new() }
}

/// Returns the forms of events, by number, and which rows cannot be read.
async fn forms(
    web: &Web,
    events: Page<EventRecord>,
    prefix: &str,
    whole: bool,
) -> Result<(Vec<EventForm>, Vec<String>), Failure> {
    let mut rows = Rows::of_events(events);
    let mut summaries = None;
    if whole {
        rows = rows.with_their_builds(web).await?;
    } else {
        summaries = Some(rows.summaries(web).await?);
    }
    let forms = Forms::new(&rows.rows, prefix);
    let mut shown: Vec<_> = rows.rows.events.keys().filter_map(|id| forms.event(*id)).collect();
    if let Some(mut summaries) = summaries {
        for form in &mut shown {
            form.builds = Builds::BuildsSummary(summaries.remove(&form.id).unwrap_or_default());
            if let Some(event) = rows.rows.events.get(&form.id) {
                form.state_reason = form.reason_of(&event.reason);
            }
        }
    }
    drop(forms);
    Ok((shown, rows.unreadable))
}

/// How an event is shown.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct ShownQuery {
    /// `True` to show all builds, `False` to show how many are in which state. If it is missing or
    /// something else: `True` in version 1, `False` in version 2.
    show_full_json: Vec<String>,
}

impl ShownQuery {
    /// Whether events are shown with all their builds. Only the two values of Python count.
    fn whole(&self, place: &Place) -> bool {
        match self.show_full_json.as_slice() {
            [one] if one == "True" => true,
            [one] if one == "False" => false,
            _ => place.version_1,
        }
    }
}

/// One event.
#[utoipa::path(
    get,
    path = "/events/{id}",
    tag = "events",
    params(("id" = i64, Path, minimum = 0, description = "Its number"), ShownQuery),
    responses((status = 200, description = "The event", body = ShownEvent))
)]
pub(super) async fn one(State(api): State<Api>, Number(id): Number, place: Place, query: Query) -> Answer {
    let whole = query.read::<ShownQuery>()?.whole(&place);
    shown(&api.web, EventId(id), &place.prefix, whole).await
}

/// Answers with one event.
pub(super) async fn shown(web: &Web, id: EventId, prefix: &str, whole: bool) -> Answer {
    let filter = EventFilter { ids: vec![id], ..EventFilter::default() };
    let page = web.ask(web.client().events(filter, Paging::first(1))).await?;
    let (mut items, unreadable) = forms(web, page, prefix, whole).await?;
    match items.pop() {
        Some(form) => Ok(answer::shown(form, unreadable, |form, unreadable| ShownEvent { form, unreadable })),
        None if unreadable.is_empty() => Err(Failure::not_found(NO_EVENT)),
        None => Err(Failure::Refused(StatusCode::INTERNAL_SERVER_ERROR, unreadable.join("; "))),
    }
}

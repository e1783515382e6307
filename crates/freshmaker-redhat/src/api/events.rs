//! Events, in version 1 or 2 of their form.

use super::Api;
use super::address::{Number, Place};
use super::answer::{self, Answer, Failure, told};
use super::filters::{self, EVENT_COLUMNS, EventQuery};
use super::load::{self, Shown, noted};
use super::order::{self, Order};
use super::paging::{Listing, PER_PAGE_MAX, PageQuery, Query, Wanted};
use crate::forms::EventForm;
use freshmaker::backend::{EventFilter, Page, Paging};
use freshmaker::rebuild::EventId;
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
    let (wanted, shown) = (asked.page(), query.read::<ShownQuery>()?.shown(&place));
    let page = match filters::events(query.read()?)? {
        Some(filter) if order.is_by_number() => {
            load::events(&api.web, filter, wanted.paging(order), &place.prefix, shown).await?
        }
        Some(filter) => ordered(&api.web, filter, (order, wanted), &place.prefix, shown).await?,
        None => nothing(),
    };
    let mut meta = wanted.meta(&query, &place, page.total.unwrap_or_default());
    meta.unreadable = noted(page.unreadable);
    Ok(told(StatusCode::OK, &Listing { items: page.items, meta }))
}

/// Returns the forms of a page of events in another order than that of their numbers.
async fn ordered(
    web: &Web,
    filter: EventFilter,
    (order, wanted): (Order, Wanted),
    prefix: &str,
    shown: Shown,
) -> Result<Page<EventForm>, Failure> {
    let all = order::all(|paging| web.ask(web.client().events(filter.clone(), paging))).await?;
    let page = order.page(all.items, wanted, order::of_event);
    let ids: Vec<_> = page.into_iter().map(|event| event.id).collect();
    if ids.is_empty() {
        return Ok(Page { items: Vec::new(), next: None, total: all.total, unreadable: all.unreadable });
    }
    let filter = EventFilter { ids: ids.clone(), ..EventFilter::default() };
    let mut page = load::events(web, filter, Paging::first(PER_PAGE_MAX), prefix, shown).await?;
    page.items.sort_by_key(|form| ids.iter().position(|id| *id == form.id));
    page.unreadable.extend(all.unreadable);
    Ok(Page { total: all.total, ..page })
}

/// The answer to a question that nothing can fit.
pub(super) fn nothing<T>() -> Page<T> {
    Page { items: Vec::new(), next: None, total: Some(0), unreadable: Vec::new() }
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
    /// How events show their builds. Only the two values of Python count.
    fn shown(&self, place: &Place) -> Shown {
        match self.show_full_json.as_slice() {
            [one] if one == "True" => Shown::Builds,
            [one] if one == "False" => Shown::Summary,
            _ if place.version_1 => Shown::Builds,
            _ => Shown::Summary,
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
    let how = query.read::<ShownQuery>()?.shown(&place);
    shown(&api.web, EventId(id), &place.prefix, how).await
}

/// Answers with one event.
pub(super) async fn shown(web: &Web, id: EventId, prefix: &str, shown: Shown) -> Answer {
    let filter = EventFilter { ids: vec![id], ..EventFilter::default() };
    let mut page = load::events(web, filter, Paging::first(1), prefix, shown).await?;
    let unreadable = noted(page.unreadable);
    match page.items.pop() {
        Some(form) => Ok(answer::shown(form, unreadable, |form, unreadable| ShownEvent { form, unreadable })),
        None if unreadable.is_empty() => Err(Failure::not_found(NO_EVENT)),
        None => Err(Failure::Refused(StatusCode::INTERNAL_SERVER_ERROR, unreadable.join("; "))),
    }
}

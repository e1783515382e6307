//! `/events`: the list of events, by what it can be narrowed to.

use super::answer;
use super::facets::{Facet, facets};
use super::frame::{Frame, Place};
use super::visit::Visit;
use super::{events, states, text};
use crate::api::events::EventsQuery;
use crate::api::paging::Cursor;
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::backend::{EventFilter, Page};
use freshmaker::rebuild::EventRecord;

#[derive(Template)]
#[template(path = "events.html")]
struct EventsPage {
    frame: Frame,
    facets: Vec<Facet>,
    total: u64,
    events: Vec<EventRecord>,
    unreadable: usize,
    fields: Vec<Field>,
    kept: Vec<(String, String)>,
    is_narrowed: bool,
    next: Option<String>,
    first: Option<String>,
}

/// A field of the form that narrows a list.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) hint: &'static str,
    pub(crate) value: String,
}

/// The fields of a form, filled with what was asked for.
pub(crate) fn fields(visit: &Visit, names: &[(&'static str, &'static str, &'static str)]) -> Vec<Field> {
    let value = |name| visit.value(name).unwrap_or_default().to_owned();
    names.iter().map(|(name, label, hint)| Field { name, label, hint, value: value(name) }).collect()
}

/// What the form does not show and keeps.
pub(crate) fn kept(visit: &Visit, fields: &[Field]) -> Vec<(String, String)> {
    let shown = |name: &str| name == "cursor" || fields.iter().any(|field| field.name == name);
    visit.query.iter().filter(|(name, _)| !shown(name)).cloned().collect()
}

/// How many of the builds of an event have ended, of how many.
pub(crate) fn progress(event: &EventRecord) -> Option<(u32, u32)> {
    let ended = event.builds_done + event.builds_failed;
    let all = ended + event.builds_open;
    (all > 0).then_some((ended, all))
}

pub(crate) async fn page(visit: Visit) -> Result<Response, Problem> {
    let web = &visit.web;
    let after = visit.position().await?;
    let query: EventsQuery = visit.read()?;
    let (filter, paging) = query.filter()?;
    let all = EventFilter { states: Vec::new(), kinds: Vec::new(), reason_codes: Vec::new(), ..filter.clone() };
    let counts = web.ask(web.client().count_events(all)).await?;
    let rows: Vec<_> =
        counts.iter().map(|row| ([row.state.as_str(), &row.kind, &row.reason_code], row.count)).collect();
    let (facets, total) = facets(&visit, [("State", "state"), ("Kind", "kind"), ("Reason", "reason")], &rows);
    let Page { items, next, unreadable, .. } = web.ask(web.client().events(filter, paging)).await?;
    let fields = fields(
        &visit,
        &[
            ("search_key", "About", "debian:12"),
            ("requester", "Asked for by", "alice"),
            ("since", "From", "2026-01-31T00:00:00Z"),
            ("until", "Until", "2026-02-01T00:00:00Z"),
        ],
    );
    let page = EventsPage {
        frame: visit
            .frame(Place::Events, "Events")
            .json(format!("api/3/events?{}", visit.query_text()).trim_end_matches('?'))
            .live(after),
        facets,
        total,
        events: items,
        unreadable: unreadable.len(),
        kept: kept(&visit, &fields),
        fields,
        is_narrowed: !visit.query.is_empty(),
        next: next.map(|number| visit.query_with("cursor", &Cursor(number.to_string()).encoded())),
        first: visit.value("cursor").map(|_| visit.query_with("cursor", "")),
    };
    answer(&visit, &page)
}

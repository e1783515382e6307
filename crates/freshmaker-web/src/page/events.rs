//! `/events`: the list of events, with its filters.

use super::answer;
use super::decided::confirmed;
use super::frame::{Frame, Place};
use super::list::{List, Parts};
use super::visit::Visit;
use super::{events, states, text};
use crate::api::events::EventsQuery;
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::backend::{EventCount, EventFilter, Paging};
use freshmaker::rebuild::{EventId, EventRecord};
use std::collections::BTreeSet;

#[derive(Template)]
#[template(path = "events.html")]
struct EventsPage {
    frame: Frame,
    list: List,
    parts: Parts,
    events: Vec<EventRecord>,
    confirmed: BTreeSet<EventId>,
}

/// How many of the builds of an event have ended, of how many.
pub(crate) fn progress(event: &EventRecord) -> Option<(u32, u32)> {
    let ended = event.builds_done + event.builds_failed;
    let all = ended + event.builds_open;
    (all > 0).then_some((ended, all))
}

/// How many of the events that have asked first were confirmed: they do not ask any more, and are
/// still in the list.
async fn note_of_asking(visit: &Visit, filter: &EventFilter, counts: &[EventCount]) -> Result<Option<String>, Problem> {
    if !counts.iter().any(|row| row.reason_code == states::ASKS) {
        return Ok(None);
    }
    let web = &visit.web;
    let reason_codes = vec![states::ASKS.to_owned()];
    let asking = EventFilter { reason_codes, ..filter.clone() };
    let asking = web.ask(web.client().events(asking, Paging::first(Paging::LIMIT_MAX))).await?.items;
    let confirmed = confirmed(visit, &asking).await?.len() as u64;
    Ok((confirmed > 0).then(|| format!("{} confirmed", text::grouped(&confirmed))))
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
    let facets = [("State", "state"), ("Kind", "kind"), ("Reason", "reason")];
    let fields = [
        ("search_key", "About", "debian:12"),
        ("requester", "Asked for by", "alice"),
        ("since", "From", "2026-01-31T00:00:00Z"),
        ("until", "Until", "2026-02-01T00:00:00Z"),
    ];
    let mut list = List::new(&visit, facets, &rows, &fields);
    if let Some(note) = note_of_asking(&visit, &filter, &counts).await? {
        list.note(states::ASKS, &note);
    }
    let found = web.ask(web.client().events(filter, paging)).await?;
    let page = EventsPage {
        frame: visit.frame(Place::Events, "Events").json(visit.with_query("api/3/events")).live(after),
        list,
        parts: Parts::of(&visit, &found),
        confirmed: confirmed(&visit, &found.items).await?,
        events: found.items,
    };
    answer(&visit, &page)
}

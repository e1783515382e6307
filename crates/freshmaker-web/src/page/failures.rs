//! `/failures`: what failed, by cause.

use super::answer;
use super::frame::{Frame, Place};
use super::visit::Visit;
use super::{links, states, text};
use crate::auth::Allowed;
use crate::problem::{Problem, ProblemCode};
use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Utc};
use freshmaker::backend::{EventFilter, Paging};
use freshmaker::client::FailureGroup;
use freshmaker::rebuild::{EventId, EventRecord};

#[derive(Template)]
#[template(path = "failures.html")]
struct FailuresPage {
    frame: Frame,
    groups: Vec<Group>,
    since: String,
    may_decide: bool,
}

/// Failed builds with one cause.
struct Group {
    group: FailureGroup,
    /// The events that want the newest one.
    events: Vec<EventRecord>,
}

pub(crate) async fn page(visit: Visit) -> Result<Response, Problem> {
    let (web, client) = (&visit.web, visit.web.client());
    let after = visit.position().await?;
    let since = visit.value("since").map(str::parse::<DateTime<Utc>>).transpose().map_err(|error| {
        Problem::new(ProblemCode::BadParameter, "the query cannot be read").parameter("since", error.to_string())
    })?;
    let found = web.ask(client.failures(since)).await?;
    let newest: Vec<_> = found.iter().filter_map(|group| group.newest.as_ref()).map(|build| build.id).collect();
    let links = if newest.is_empty() { Default::default() } else { web.ask(client.links(newest)).await? };
    let mut ids: Vec<EventId> = links.causes.iter().map(|cause| cause.event).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(Paging::LIMIT_MAX as usize);
    let filter = EventFilter { ids, ..EventFilter::default() };
    let events = if filter.ids.is_empty() {
        Vec::new()
    } else {
        web.ask(client.events(filter, Paging::first(Paging::LIMIT_MAX))).await?.items
    };
    let groups = found.into_iter().map(|group| {
        let newest = group.newest.as_ref().map(|build| build.id);
        let of: Vec<_> = links.causes.iter().filter(|cause| Some(cause.build) == newest).collect();
        let wants = |event: &&EventRecord| of.iter().any(|cause| cause.event == event.id);
        Group { events: events.iter().filter(wants).cloned().collect(), group }
    });
    let page = FailuresPage {
        frame: visit.frame(Place::Failures, "Failures by cause").json("api/3/counts?state=FAILED").live(after),
        groups: groups.collect(),
        since: visit.value("since").unwrap_or_default().to_owned(),
        may_decide: visit.may(Allowed::REBUILDERS),
    };
    answer(&visit, &page)
}

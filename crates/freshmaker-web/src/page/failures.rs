//! `/failures`: what failed and was not built well since, by cause, and events that failed by
//! themselves.

use super::answer;
use super::frame::{Frame, Place};
use super::visit::Visit;
use super::{links, states, text};
use crate::api::failures::{EVENTS_MAX, FailuresQuery};
use crate::auth::Allowed;
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::backend::{EventFilter, Paging};
use freshmaker::client::{FailureGroup, RetryPart};
use freshmaker::rebuild::{EventRecord, EventState};
use freshmaker::time::Timestamp;

/// The most events without builds that failed, as listed.
const FAILED_MAX: usize = 20;

/// How many of the newest failed events are read.
const LOOKED_AT: u32 = 100;

#[derive(Template)]
#[template(path = "failures.html")]
struct FailuresPage {
    frame: Frame,
    groups: Vec<FailureGroup>,
    /// Events that failed by themselves.
    events: Vec<EventRecord>,
    since: String,
    may_decide: bool,
}

pub(crate) async fn page(visit: Visit) -> Result<Response, Problem> {
    let after = visit.position().await?;
    let FailuresQuery { since } = visit.read()?;
    let page = FailuresPage {
        events: failed_events(&visit, since, FAILED_MAX).await?,
        groups: visit.web.ask(visit.web.client().failures(since)).await?,
        frame: visit.frame(Place::Failures, "Failures by cause").json(visit.with_query("api/3/failures")).live(after),
        since: visit.value("since").unwrap_or_default().to_owned(),
        may_decide: visit.may(Allowed::REBUILDERS),
    };
    answer(&visit, &page)
}

/// Events that failed because their handlers did, or their plans could not be made, and that no
/// person has retried: the newest first.
pub(super) async fn failed_events(
    visit: &Visit,
    since: Option<Timestamp>,
    most: usize,
) -> Result<Vec<EventRecord>, Problem> {
    let web = &visit.web;
    let filter = EventFilter { states: vec![EventState::Failed], created_from: since, ..EventFilter::default() };
    let found = web.ask(web.client().events(filter, Paging::first(LOOKED_AT))).await?.items;
    let mut failed = Vec::new();
    for event in found.into_iter().filter(|event| event.builds_failed == 0) {
        let [whole, part] = [RetryPart::Whole, RetryPart::Failed].map(|part| part.message(event.id));
        if failed.len() < most && !web.is_sent(&whole).await? && !web.is_sent(&part).await? {
            failed.push(event);
        }
    }
    Ok(failed)
}

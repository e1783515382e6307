//! Searches the plans of past events, newest first, within bounds.

use super::visit::Visit;
use crate::problem::Problem;
use freshmaker::Plan;
use freshmaker::backend::{EventFilter, Paging};
use freshmaker::rebuild::EventRecord;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// The most events whose plans are searched.
const EVENTS_MAX: usize = 300;

/// The most events that are read at once.
const PART: u32 = 50;

/// How long plans are read for one request.
const TIME_MAX: Duration = Duration::from_secs(2);

/// How far was looked back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Past {
    pub(crate) events: usize,
    /// Whether no event is older.
    pub(crate) is_all: bool,
}

/// Shows the plans of events, from the newest one on, until enough was seen.
pub(super) async fn look_back(
    visit: &Visit,
    mut look: impl FnMut(EventRecord, Arc<Plan>) -> ControlFlow<()>,
) -> Result<Past, Problem> {
    let web = &visit.web;
    let until = web.elapsed() + TIME_MAX;
    let mut paging = Paging::first(PART);
    let mut past = Past::default();
    loop {
        let page = web.ask(web.client().events(EventFilter::default(), paging)).await?;
        for event in page.items {
            if past.events >= EVENTS_MAX || web.elapsed() > until {
                return Ok(past);
            }
            past.events += 1;
            let Some(plan) = web.plan_of_event(&event).await? else { continue };
            if look(event, plan).is_break() {
                return Ok(past);
            }
        }
        match page.next {
            Some(next) => paging = paging.behind(next),
            None => return Ok(Past { is_all: true, ..past }),
        }
    }
}

//! `/queue`: the build systems, what runs in them, and what waits for them.

use super::answer;
use super::frame::{Frame, Place};
use super::visit::Visit;
use super::{links, text};
use crate::api::systems::{SystemView, open_counts, systems};
use crate::auth::Allowed;
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::backend::{BuildCount, BuildFilter, Paging};
use freshmaker::rebuild::{BuildRecord, BuildState};
use freshmaker::time::Timestamp;

/// With more open builds than are read at once: of so many that could start the first are shown.
const READY_MAX: u32 = 200;
/// The most builds that could start and are shown; the others are in `/builds`.
const SHOWN_MAX: usize = 20;

#[derive(Template)]
#[template(path = "queue.html")]
struct QueuePage {
    frame: Frame,
    systems: Vec<SystemView>,
    no_times: Option<String>,
    waits: Vec<BuildCount>,
    next: Vec<(BuildRecord, Option<Timestamp>)>,
    may_pause: bool,
}

pub(crate) async fn page(visit: Visit) -> Result<Response, Problem> {
    let web = &visit.web;
    let client = web.client();
    let after = visit.position().await?;
    let counts = open_counts(web).await?;
    let open = web.open().await?;
    let mut next: Vec<_> = if open.too_many.is_none() {
        open.rows.builds.values().filter(|build| build.state == BuildState::Ready).cloned().collect()
    } else {
        let ready = BuildFilter { states: vec![BuildState::Ready], ..BuildFilter::default() };
        web.ask(client.builds(ready, Paging::first(READY_MAX).oldest_first().brief())).await?.items
    };
    next.sort_by_key(|build| std::cmp::Reverse(build.priority));
    next.truncate(SHOWN_MAX);
    let starts = |build: &BuildRecord| open.forecast.build(build.id)?.start;
    let next = next.into_iter().map(|build| (starts(&build), build)).map(|(start, build)| (build, start)).collect();
    let systems = systems(web, &counts).await?;
    let mut waits: Vec<_> = counts.into_iter().filter(|row| row.state.is_queued()).collect();
    waits.sort_by_key(|row| std::cmp::Reverse(row.count));
    let page = QueuePage {
        frame: visit.frame(Place::Queue, "Queue and capacity").json("api/3/systems").live(after).every(10),
        systems,
        no_times: open.why_no_times(),
        waits,
        next,
        may_pause: visit.may(Allowed::ADMINS),
    };
    answer(&visit, &page)
}

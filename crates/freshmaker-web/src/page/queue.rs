//! `/queue`: the build systems, what runs in them, and what waits for them.

use super::answer;
use super::frame::{Frame, Place};
use super::open::Open;
use super::visit::Visit;
use super::{links, text};
use crate::auth::Allowed;
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::backend::{BuildCount, BuildFilter, Paging};
use freshmaker::client::Pause;
use freshmaker::rebuild::{BuildRecord, BuildState};
use freshmaker::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// So many builds that could start are shown; others are in `/builds`.
const READY_MAX: u32 = 200;
const SHOWN_MAX: usize = 20;

#[derive(Template)]
#[template(path = "queue.html")]
struct QueuePage {
    frame: Frame,
    systems: Vec<SystemRow>,
    waits: Vec<BuildCount>,
    next: Vec<(BuildRecord, Option<Timestamp>)>,
    may_pause: bool,
}

/// One build system.
struct SystemRow {
    name: String,
    running: u64,
    ready: u64,
    blocked: u64,
    limit: Option<u32>,
    pause: Option<Pause>,
    /// When the last of its open builds is expected to end.
    drains: Option<Timestamp>,
}

pub(crate) async fn page(visit: Visit) -> Result<Response, Problem> {
    let web = &visit.web;
    let client = web.client();
    let after = visit.position().await?;
    let states: Vec<_> = BuildState::ALL.iter().copied().filter(|state| !state.is_terminal()).collect();
    let counts = web.ask(client.count_builds(BuildFilter { states, ..BuildFilter::default() })).await?;
    let pauses = web.ask(client.pauses()).await?;
    let limits = visit.web.config().page.as_ref().map(|page| page.limits.clone()).unwrap_or_default();
    let mut waits: Vec<_> = counts.iter().filter(|row| row.state.is_queued()).cloned().collect();
    waits.sort_by_key(|row| std::cmp::Reverse(row.count));
    let ready = BuildFilter { states: vec![BuildState::Ready], ..BuildFilter::default() };
    let mut next = web.ask(client.builds(ready, Paging::first(READY_MAX).oldest_first())).await?.items;
    next.sort_by_key(|build| std::cmp::Reverse(build.priority));
    next.truncate(SHOWN_MAX);
    let open = visit.open().await?;
    let starts = |build: &BuildRecord| open.as_ref().and_then(|open| open.forecast.build(build.id)?.start);
    let next = next.into_iter().map(|build| (starts(&build), build)).map(|(start, build)| (build, start)).collect();
    let page = QueuePage {
        frame: visit.frame(Place::Queue, "Queue and capacity").json("api/3/counts").live(after).every(10),
        systems: systems(&counts, &pauses, &limits, open.as_deref()),
        waits,
        next,
        may_pause: visit.may(Allowed::ADMINS),
    };
    answer(&visit, &page)
}

fn systems(
    counts: &[BuildCount],
    pauses: &[Pause],
    limits: &BTreeMap<String, u32>,
    open: Option<&Open>,
) -> Vec<SystemRow> {
    let names = counts.iter().map(|row| &row.system).chain(pauses.iter().map(|pause| &pause.system));
    let names: BTreeSet<String> = names.chain(limits.keys()).cloned().collect();
    let of = |name: &str, is: fn(BuildState) -> bool| -> u64 {
        counts.iter().filter(|row| row.system == name && is(row.state)).map(|row| row.count).sum()
    };
    let rows = names.into_iter().map(|name| SystemRow {
        running: of(&name, |state| !state.is_queued()),
        ready: of(&name, |state| state == BuildState::Ready),
        blocked: of(&name, |state| state == BuildState::Blocked),
        limit: limits.get(&name).copied(),
        drains: open.and_then(|open| open.forecast.systems().get(&name).copied().flatten()),
        pause: pauses.iter().find(|pause| pause.system == name).cloned(),
        name,
    });
    rows.collect()
}

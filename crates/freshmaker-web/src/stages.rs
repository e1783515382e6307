//! How long events took, stage by stage, and which builds were saved.
//!
//! Everything is read from stored rows when metrics are requested, so it does not matter which
//! process runs the engine, and nothing is lost if that process dies. Each process that serves
//! metrics observes each event once: after its end, if the event ended after the process started.
//! Numbers begin at zero with the process, as counters of Prometheus may.
//!
//! *Invariant:* an event is observed only after everything about it was read, so that after a
//! failed or dropped query the event is read again and does not count twice.

use crate::api::views::name_of;
use crate::metrics::{Histogram, head, labels, line};
use crate::problem::Problem;
use crate::rows::{Beside, received_at};
use crate::web::Web;
use freshmaker::backend::{BuildFilter, EventFilter, Page, Paging};
use freshmaker::rebuild::{BuildId, BuildMode, BuildRecord, BuildState, EventId, EventRecord, EventState};
use freshmaker::time::{Timestamp, since};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::Mutex;

/// Upper bounds of the buckets of stages, in seconds: a second to a week.
const STAGE_BOUNDS: [f64; 10] = [1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0, 21_600.0, 86_400.0, 604_800.0];

/// Upper bounds of the buckets of fixes, in seconds: 15 minutes to 90 days.
const FIX_BOUNDS: [f64; 11] = [
    900.0,
    3600.0,
    14_400.0,
    43_200.0,
    86_400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    1_209_600.0,
    2_592_000.0,
    7_776_000.0,
];

/// The most events that are observed for one answer; the others are observed for the next.
const EVENTS_A_SCRAPE: usize = 100;

/// The most open events that are followed. Events beyond are not observed.
const OPEN_MAX: usize = 20_000;

/// From the message to the decision, from there to the first submission, from there to the end.
const STAGES: [&str; 3] = ["received_to_planned", "planned_to_started", "started_to_ended"];

/// How a build was saved: it was caused by an earlier event, or its inputs had not changed.
const SAVED: [&str; 2] = ["shared", "reused"];

/// What was observed since the start.
#[derive(Debug)]
pub(crate) struct Stages {
    started: Timestamp,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Events up to this number are open, observed, or of the time before the start. `None` before
    /// the first question.
    up_to: Option<i64>,
    /// Not ended when they were looked at last.
    open: BTreeSet<EventId>,
    totals: Totals,
}

#[derive(Clone, Debug)]
struct Totals {
    stages: [Histogram<10>; 3],
    fixes: BTreeMap<(String, String), Histogram<11>>,
    saved: [u64; 2],
}

impl Default for Totals {
    fn default() -> Self {
        Self { stages: [Histogram::new(&STAGE_BOUNDS); 3], fixes: BTreeMap::new(), saved: [0; 2] }
    }
}

impl Stages {
    /// Observes events that end from this moment on.
    pub(crate) fn new(started: Timestamp) -> Self {
        Self { started, seen: Mutex::default() }
    }

    /// Observes what has ended since the last time, and writes what was observed so far.
    pub(crate) async fn write(&self, text: &mut String, web: &Web) -> Result<(), Problem> {
        let mut seen = self.seen.lock().await;
        seen.begin(web, self.started).await?;
        seen.find_new(web).await?;
        seen.observe_ended(web).await?;
        seen.totals.write(text);
        Ok(())
    }
}

fn states(ended: bool) -> Vec<EventState> {
    EventState::ALL.iter().copied().filter(|state| state.is_terminal() == ended).collect()
}

impl Seen {
    /// Notes the events that were stored before the start and are open.
    async fn begin(&mut self, web: &Web, started: Timestamp) -> Result<(), Problem> {
        if self.up_to.is_some() {
            return Ok(());
        }
        let before = EventFilter { created_until: Some(started), ..EventFilter::default() };
        let last = web.ask(web.client().events(before.clone(), Paging::first(1))).await?;
        let (mut open, filter) = (BTreeSet::new(), EventFilter { states: states(false), ..before });
        let mut paging = Paging::first(Paging::LIMIT_MAX);
        loop {
            let Page { items, next, .. } = web.ask(web.client().events(filter.clone(), paging)).await?;
            open.extend(items.into_iter().map(|event| event.id));
            let Some(next) = next.filter(|_| open.len() < OPEN_MAX) else { break };
            paging = paging.behind(next);
        }
        // All at once: this future may be dropped at every await.
        (self.open, self.up_to) = (open, Some(last.items.first().map_or(0, |event| event.id.0)));
        Ok(())
    }

    /// Notes the events that were stored since the last time.
    async fn find_new(&mut self, web: &Web) -> Result<(), Problem> {
        while self.open.len() < OPEN_MAX {
            let paging = Paging::first(Paging::LIMIT_MAX).oldest_first();
            let paging = self.up_to.map_or(paging, |number| paging.behind(number));
            let Page { items, next, .. } = web.ask(web.client().events(EventFilter::default(), paging)).await?;
            // A row that cannot be read is passed over.
            self.up_to = next.or(items.last().map(|event| event.id.0)).or(self.up_to);
            self.open.extend(items.into_iter().map(|event| event.id));
            if next.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Observes those of the open events that have ended.
    async fn observe_ended(&mut self, web: &Web) -> Result<(), Problem> {
        let open: Vec<_> = self.open.iter().copied().collect();
        let mut ended = Vec::new();
        for some in open.chunks(Paging::LIMIT_MAX as usize) {
            let filter = EventFilter { ids: some.to_vec(), states: states(true), ..EventFilter::default() };
            let paging = Paging::first(EVENTS_A_SCRAPE as u32).oldest_first();
            ended.extend(web.ask(web.client().events(filter, paging)).await?.items);
            if ended.len() >= EVENTS_A_SCRAPE {
                break;
            }
        }
        ended.truncate(EVENTS_A_SCRAPE);
        let rows = Rows::of(web, &ended).await?;
        for event in ended {
            self.open.remove(&event.id);
            if event.mode == BuildMode::Real {
                self.totals.observe(&event, &rows);
            }
        }
        Ok(())
    }
}

/// What was read about events that have ended.
#[derive(Debug, Default)]
struct Rows {
    received: BTreeMap<EventId, Timestamp>,
    builds: BTreeMap<BuildId, BuildRecord>,
    /// The builds of each event; and whether the event was the first that caused it.
    caused: BTreeMap<EventId, Vec<(BuildId, bool)>>,
    /// When each build was submitted first.
    started: BTreeMap<BuildId, Timestamp>,
}

impl Rows {
    async fn of(web: &Web, events: &[EventRecord]) -> Result<Self, Problem> {
        let (client, mut rows) = (web.client(), Self::default());
        for event in events {
            let received = web.ask(received_at(client, event)).await?;
            rows.received.extend(received.map(|at| (event.id, at)));
        }
        let ids = events.iter().filter(|event| event.builds_done + event.builds_failed > 0);
        let ids: Vec<_> = ids.map(|event| event.id).collect();
        if ids.is_empty() {
            return Ok(rows);
        }
        let filter = BuildFilter { events: ids, ..BuildFilter::default() };
        let mut paging = Paging::first(Paging::LIMIT_MAX);
        loop {
            let Page { items, next, .. } = web.ask(client.builds(filter.clone(), paging)).await?;
            rows.add(web, items).await?;
            let Some(next) = next else { return Ok(rows) };
            paging = paging.behind(next);
        }
    }

    async fn add(&mut self, web: &Web, builds: Vec<BuildRecord>) -> Result<(), Problem> {
        let ids: Vec<_> = builds.iter().map(|build| build.id).collect();
        let beside = web.ask(Beside::of(web.client(), ids)).await?;
        for (build, events) in beside.causes {
            for (place, event) in events.into_iter().enumerate() {
                self.caused.entry(event).or_default().push((build, place == 0));
            }
        }
        for (build, attempts) in beside.attempts {
            let first = attempts.iter().map(|attempt| attempt.intent_at).min();
            self.started.extend(first.map(|at| (build, at)));
        }
        self.builds.extend(builds.into_iter().map(|build| (build.id, build)));
        Ok(())
    }
}

impl Totals {
    fn observe(&mut self, event: &EventRecord, rows: &Rows) {
        let planned = event.created_at;
        let received = rows.received.get(&event.id).copied();
        if let Some(received) = received {
            self.stages[0].add(since(planned, received));
        }
        let caused = rows.caused.get(&event.id).map_or([].as_slice(), Vec::as_slice);
        let started = caused.iter().filter_map(|(build, _)| rows.started.get(build)).min();
        if let Some((started, done)) = started.copied().zip(event.done_at) {
            // What an earlier event had started already did not wait for this one.
            let started = started.max(planned);
            self.stages[1].add(since(started, planned));
            self.stages[2].add(since(done, started));
        }
        for (build, is_first) in caused {
            let state = rows.builds.get(build).map(|build| build.state);
            self.saved[0] += u64::from(!is_first && state == Some(BuildState::Done));
            self.saved[1] += u64::from(state == Some(BuildState::Reused));
        }
        let fixed = event.state == EventState::Complete && event.builds_failed == 0 && event.builds_done > 0;
        if let Some(done) = event.done_at.filter(|_| fixed) {
            let took: Duration = since(done, received.unwrap_or(planned));
            let key = (name_of(&event.envelope.severity), event.envelope.kind.clone());
            self.fixes.entry(key).or_insert_with(|| Histogram::new(&FIX_BOUNDS)).add(took);
        }
    }

    fn write(&self, text: &mut String) {
        let name = "freshmaker_stage_seconds";
        head(text, name, "histogram", "How long events that have ended were in each stage.");
        for (stage, times) in STAGES.iter().zip(&self.stages) {
            times.write(text, name, &labels(&[("stage", stage)]));
        }
        let name = "freshmaker_advisory_to_fixed_seconds";
        head(
            text,
            name,
            "histogram",
            "Time from the message to the end of the last build, of events without a failure.",
        );
        for ((severity, kind), times) in &self.fixes {
            times.write(text, name, &labels(&[("severity", severity), ("kind", kind)]));
        }
        let name = "freshmaker_builds_saved_total";
        head(
            text,
            name,
            "counter",
            "Builds of events that did not have to run, because of another event or no change.",
        );
        for (how, count) in SAVED.iter().zip(self.saved) {
            line(text, name, &labels(&[("how", how)]), count);
        }
    }
}

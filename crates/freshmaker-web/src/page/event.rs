//! `/events/{id}`: what happened, what is rebuilt because of it, how far that is, and what is not
//! rebuilt and why.

use super::answer;
use super::frame::{Frame, Place};
use super::visit::Visit;
use super::{links, states, text};
use crate::api::paging::LIMIT_MAX;
use crate::api::views;
use crate::auth::Allowed;
use crate::extract::Number;
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::backend::{BuildCount, BuildFilter};
use freshmaker::plan::Exclusion;
use freshmaker::rebuild::{BuildState, EventId, EventRecord, RowKey, Transition};
use freshmaker::time::{Timestamp, since};
use freshmaker::{ArtifactId, Plan};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A sentence names so many artifacts.
const NAMES_MAX: usize = 3;

/// So many builds of a critical path are shown.
const PATH_MAX: usize = 8;

/// A history shows so many rows, the latest.
const HISTORY_MAX: usize = 50;

#[derive(Template)]
#[template(path = "event.html")]
struct EventPage {
    frame: Frame,
    event: EventRecord,
    subject: Subject,
    bar: Vec<Segment>,
    groups: Vec<BuildCount>,
    codes: Vec<Code>,
    excluded: usize,
    plan: Option<Arc<Plan>>,
    history: Vec<Transition>,
    history_hidden: usize,
    in_event: String,
    may_decide: bool,
}

impl EventPage {
    /// From the decision to the end.
    fn took(&self, end: &Timestamp) -> Duration {
        since(*end, self.event.created_at)
    }
}

/// Why an event rebuilds what it does.
#[derive(Clone, Debug, Default)]
struct Subject {
    builds: usize,
    changed: Vec<ArtifactId>,
    changed_hidden: usize,
}

impl Subject {
    fn of(plan: &Plan) -> Self {
        let changed: Vec<_> = plan.changed().map(|(id, _)| id.clone()).take(NAMES_MAX).collect();
        Self { builds: plan.len(), changed_hidden: plan.changed().count() - changed.len(), changed }
    }
}

/// A part of the bar that shows how far an event is.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) class: &'static str,
    pub(crate) word: &'static str,
    pub(crate) count: u64,
    /// Where it begins and how wide it is, in thousandths of the bar.
    pub(crate) from: u64,
    pub(crate) width: u64,
}

/// How far builds are, as parts of a bar: what went wrong first, what is to come last.
pub(crate) fn bar(counts: &[BuildCount]) -> Vec<Segment> {
    let words = [
        ("fail", "failed"),
        ("done", "done"),
        ("same", "not needed"),
        ("stop", "cancelled"),
        ("run", "running"),
        ("wait", "waiting"),
    ];
    let all: u64 = counts.iter().map(|row| row.count).sum();
    let (mut before, mut bar) = (0, Vec::new());
    for (class, word) in words {
        let count = counts.iter().filter(|row| states::class_of(&row.state) == class).map(|row| row.count).sum::<u64>();
        if count > 0 {
            let from = before * 1000 / all;
            before += count;
            bar.push(Segment { class, word, count, from, width: before * 1000 / all - from });
        }
    }
    bar
}

/// Candidates that are not rebuilt for one reason.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) code: String,
    pub(crate) count: usize,
    /// The first by name, and its sentence.
    pub(crate) first: ArtifactId,
    pub(crate) text: String,
}

pub(crate) fn codes(plan: &Plan) -> Vec<Code> {
    let mut codes: BTreeMap<&str, Code> = BTreeMap::new();
    for (id, Exclusion { code, text, .. }) in plan.exclusions() {
        let new = || Code { code: code.clone(), count: 0, first: id.clone(), text: text.clone() };
        codes.entry(code).or_insert_with(new).count += 1;
    }
    let mut codes: Vec<_> = codes.into_values().collect();
    codes.sort_by_key(|code| std::cmp::Reverse(code.count));
    codes
}

/// What comes first in a list of groups of builds.
fn order(state: BuildState) -> usize {
    let order = [
        BuildState::Failed,
        BuildState::DependencyFailed,
        BuildState::Canceling,
        BuildState::Verifying,
        BuildState::Building,
        BuildState::Submitting,
        BuildState::Ready,
        BuildState::Blocked,
    ];
    order.iter().position(|known| *known == state).unwrap_or(order.len())
}

pub(crate) async fn page(visit: Visit, Number(id): Number) -> Result<Response, Problem> {
    let (web, id) = (&visit.web, EventId(id));
    let after = visit.position().await?;
    let event = web.ask(web.client().event(id)).await?;
    let plan = web.plan_of_event(&event).await?;
    let filter = BuildFilter { events: vec![id], ..BuildFilter::default() };
    let mut groups = web.ask(web.client().count_builds(filter)).await?;
    let bar = bar(&groups);
    groups.sort_by_key(|row| (order(row.state), std::cmp::Reverse(row.count)));
    let mut history = web.ask(web.client().transitions(&RowKey::Event(id))).await?;
    let history_hidden = history.len().saturating_sub(HISTORY_MAX);
    history.drain(..history_hidden);
    let title = format!("Event {id}: {}", text::plain(&event.envelope.search_key));
    let page = EventPage {
        frame: visit.frame(Place::Events, title).json(format!("api/3/events/{id}")).live(after),
        subject: plan.as_deref().map(Subject::of).unwrap_or_default(),
        codes: plan.as_deref().map(codes).unwrap_or_default(),
        excluded: plan.as_ref().map_or(0, |plan| plan.exclusions().count()),
        event,
        bar,
        groups,
        plan,
        history,
        history_hidden,
        in_event: format!("?event={id}"),
        may_decide: visit.may(Allowed::REBUILDERS),
    };
    answer(&visit, &page)
}

#[derive(Template)]
#[template(path = "not_rebuilt.html")]
struct NotRebuiltPage {
    frame: Frame,
    event: EventId,
    codes: Vec<Code>,
    chosen: Option<String>,
    rows: Vec<(ArtifactId, Exclusion)>,
    total: usize,
    next: Option<String>,
    in_event: String,
}

/// What is not rebuilt because of an event, by name, and why.
pub(crate) async fn not_rebuilt(visit: Visit, Number(id): Number) -> Result<Response, Problem> {
    let plan = visit.web.plan_of(id).await?;
    let chosen = visit.value("code").map(str::to_owned);
    let behind = visit.value("behind").unwrap_or_default();
    let wanted = |exclusion: &Exclusion| chosen.as_ref().is_none_or(|code| *code == exclusion.code);
    let total = plan.exclusions().filter(|(_, exclusion)| wanted(exclusion)).count();
    // They are in the order of their names.
    let rest = plan.exclusions().filter(|(id, exclusion)| wanted(exclusion) && id.as_str() > behind);
    let mut rows: Vec<_> =
        rest.take(LIMIT_MAX as usize + 1).map(|(id, exclusion)| (id.clone(), exclusion.clone())).collect();
    let more = rows.len() > LIMIT_MAX as usize;
    rows.truncate(LIMIT_MAX as usize);
    let json = match &chosen {
        Some(code) => format!("api/3/events/{id}/excluded?code={}", links::encoded(code)),
        None => format!("api/3/events/{id}/excluded"),
    };
    let next = rows.last().filter(|_| more).map(|(id, _)| visit.query_with("behind", id.as_str()));
    let page = NotRebuiltPage {
        frame: visit.frame(Place::Events, format!("Event {id}: not rebuilt")).json(json),
        event: EventId(id),
        codes: codes(&plan),
        chosen,
        rows,
        total,
        next,
        in_event: format!("?event={id}"),
    };
    answer(&visit, &page)
}

#[derive(Template)]
#[template(path = "graph.html")]
struct GraphPage {
    frame: Frame,
    event: EventId,
    summary: String,
}

/// The plan of an event as a picture.
pub(crate) async fn graph(visit: Visit, Number(id): Number) -> Result<Response, Problem> {
    let plan = visit.web.plan_of(id).await?;
    let summary = format!("{} in {}", text::count(&plan.len(), "build"), text::count(&plan.waves().count(), "wave"));
    let page = GraphPage {
        frame: visit.frame(Place::Events, format!("Event {id}: graph")).json(format!("api/3/events/{id}/plan")),
        event: EventId(id),
        summary,
    };
    answer(&visit, &page)
}

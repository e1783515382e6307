//! `/events/{id}`: what happened, what is rebuilt because of it, how far that is, and what is not
//! rebuilt and why.

use super::answer;
use super::bar::{Segment, bar};
use super::decided::{Decided, confirmation};
use super::frame::{Frame, Place};
use super::graph::{self, Drawn};
use super::visit::Visit;
use super::{links, states, text};
use crate::api::views;
use crate::auth::Allowed;
use crate::extract::Number;
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::backend::{BuildFilter, Paging};
use freshmaker::client::{Client, MarkGroup, RetryPart};
use freshmaker::event::Event;
use freshmaker::handler::RebuildRequested;
use freshmaker::plan::{Mark, PlanNode};
use freshmaker::rebuild::{
    BuildId, BuildRecord, BuildState, EventForecast, EventId, EventRecord, RowKey, Transition, Waiting, WaitingFor,
};
use freshmaker::time::{Timestamp, since};
use freshmaker::{ArtifactId, Plan};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The most artifacts that a sentence names.
const NAMES_MAX: usize = 3;

/// The most builds of a critical path that are shown.
const PATH_MAX: usize = 8;

/// The most builds of each group that are shown.
const FIRST: u32 = 3;

/// How many rows a history shows, the latest ones.
const HISTORY_MAX: usize = 50;

#[derive(Template)]
#[template(path = "event.html")]
struct EventPage {
    frame: Frame,
    event: EventRecord,
    subject: Subject,
    bar: Vec<Segment>,
    groups: Vec<Group>,
    forecast: Option<EventForecast>,
    no_times: Option<String>,
    critical: Vec<Critical>,
    critical_hidden: usize,
    codes: Vec<Code>,
    excluded: usize,
    plan: Option<Arc<Plan>>,
    drawn: Option<Drawn>,
    history: Vec<Transition>,
    history_hidden: usize,
    in_event: String,
    may_decide: bool,
    may_cancel: bool,
    before: Before,
    /// How many of its builds failed, and how many were cancelled.
    failed: u64,
    canceled: u64,
}

/// What was decided about an event before.
#[derive(Debug, Default)]
struct Before {
    confirmed: Option<Decided>,
    retried: Option<Decided>,
    retried_whole: Option<Decided>,
    /// The event that asked for what this one does.
    confirms: Option<EventId>,
}

impl Before {
    async fn of(visit: &Visit, event: &EventRecord) -> Result<Self, Problem> {
        let mut before = Self::default();
        if event.source == Client::LOCAL {
            before.confirms = Client::confirmed_by(&event.message_id);
        }
        if event.state.is_terminal() {
            before.confirmed = match event.reason.code == states::ASKS {
                true => confirmation(visit, event.id).await?,
                false => None,
            };
            before.retried = Decided::of(visit, &RetryPart::Failed.message(event.id)).await?;
            before.retried_whole = Decided::of(visit, &RetryPart::Whole.message(event.id)).await?;
        }
        Ok(before)
    }
}

impl EventPage {
    /// From the decision to the end.
    fn took(&self, end: &Timestamp) -> Duration {
        since(*end, self.event.created_at)
    }

    /// Whether it was asked for, and no change is the cause.
    fn is_asked_for(&self) -> bool {
        self.event.envelope.requester.is_some() || self.event.envelope.kind == RebuildRequested::KIND
    }

    /// What did not end well, for the button that retries it.
    fn not_well(&self) -> &'static str {
        match (self.failed, self.canceled) {
            (0, 0) => "",
            (_, 0) => "what failed",
            (0, _) => "what was cancelled",
            _ => "what failed or was cancelled",
        }
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

/// Builds with one mark for one reason.
#[derive(Debug)]
struct Group {
    mark: Mark,
    code: String,
    count: u64,
    /// The query that lists them all.
    query: String,
    /// The first of them, with what they wait for.
    first: Vec<(BuildRecord, Option<WaitingFor>)>,
}

/// A build on the critical path.
#[derive(Debug)]
struct Critical {
    artifact: ArtifactId,
    /// Not there if it has ended, or is not known.
    build: Option<(BuildId, BuildState)>,
    /// Whether it is of another event, and here because its end makes room within the limit.
    is_foreign: bool,
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
    let groups = plan.excluded_by_code().into_iter();
    let codes = groups.filter_map(|group| {
        let (first, exclusion) = *group.artifacts.first()?;
        let (code, text) = (group.code.to_owned(), exclusion.text.clone());
        Some(Code { code, count: group.artifacts.len(), first: first.clone(), text })
    });
    codes.collect()
}

pub(crate) async fn page(visit: Visit, Number(id): Number) -> Result<Response, Problem> {
    let (web, id) = (&visit.web, EventId(id));
    let after = visit.position().await?;
    let event = web.ask(web.client().event(id)).await?;
    let plan = web.plan_of_event(&event).await?;
    let marks = web.ask(web.client().marks(id)).await?;
    let open = if event.state.is_terminal() { Arc::default() } else { web.open().await? };
    let forecast = open.forecast.event(id);
    let mut critical = critical(&visit, forecast.as_ref(), plan.as_deref()).await?;
    // The last one decides, so what is left out is before it.
    let critical_hidden = critical.len().saturating_sub(PATH_MAX);
    if critical_hidden > 0 {
        critical.drain(PATH_MAX - 1..critical.len() - 1);
    }
    let drawn = match &plan {
        Some(plan) => graph::within_event(&visit, &event, plan).await?,
        None => None,
    };
    let mut history = web.ask(web.client().transitions(&RowKey::Event(id))).await?;
    let history_hidden = history.len().saturating_sub(HISTORY_MAX);
    history.drain(..history_hidden);
    let title = format!("Event {id}: {}", text::plain(&event.envelope.search_key));
    let may_cancel = visit.caller.may_decide(&event);
    let of_mark = |mark| marks.iter().filter(|group| group.mark == mark).map(|group| group.count).sum();
    let page = EventPage {
        before: Before::of(&visit, &event).await?,
        failed: of_mark(Mark::Failed),
        canceled: of_mark(Mark::Canceled),
        frame: visit.frame(Place::Events, title).json(format!("api/3/events/{id}")).live(after),
        subject: plan.as_deref().map(Subject::of).unwrap_or_default(),
        bar: bar(&marks.iter().map(|group| (group.mark, group.count))),
        groups: groups(&visit, id, marks, &open.rows.waiting(Some(&open.forecast))).await?,
        forecast,
        no_times: open.why_no_times(),
        critical,
        critical_hidden,
        codes: plan.as_deref().map(codes).unwrap_or_default(),
        excluded: plan.as_ref().map_or(0, |plan| plan.exclusions().count()),
        event,
        plan,
        drawn,
        history,
        history_hidden,
        in_event: format!("?event={id}"),
        may_decide: visit.may(Allowed::REBUILDERS),
        may_cancel,
    };
    answer(&visit, &page)
}

/// The groups of builds, each with its first ones.
async fn groups(
    visit: &Visit,
    event: EventId,
    mut marks: Vec<MarkGroup>,
    waiting: &Waiting<'_>,
) -> Result<Vec<Group>, Problem> {
    let web = &visit.web;
    // What failed by itself is the cause of the rest.
    let is_followed = |group: &MarkGroup| group.reason_code == states::DEPENDENCY_FAILED;
    marks.sort_by_key(|group| (group.mark != Mark::Failed, is_followed(group)));
    let mut groups = Vec::with_capacity(marks.len());
    for group in marks {
        let states: Vec<_> = group.filter.states.iter().map(|state| state.as_str()).collect();
        let code = links::encoded(&group.reason_code);
        let query = format!("event={event}&state={}&reason={code}", states.join(","));
        let filter: BuildFilter = group.filter;
        let first = web.ask(web.client().builds(filter, Paging::first(FIRST).oldest_first())).await?.items;
        // What was read a moment ago may be about an earlier state.
        let is_waiting = group.mark == Mark::Waiting;
        let waits = |build: &BuildRecord| is_waiting.then(|| waiting.of(build.id)).flatten();
        let first = first.into_iter().map(|build| (waits(&build), build)).map(|(waits, build)| (build, waits));
        let first = first.collect();
        groups.push(Group { mark: group.mark, code: group.reason_code, count: group.count, query, first });
    }
    Ok(groups)
}

/// The builds that decide when the event ends; of the plan if nothing is open. What was expected a
/// moment ago may have ended since, so their rows are read anew.
async fn critical(
    visit: &Visit,
    forecast: Option<&EventForecast>,
    plan: Option<&Plan>,
) -> Result<Vec<Critical>, Problem> {
    let Some(EventForecast { critical_path: path, .. }) = forecast else {
        let builds = plan.map(Plan::critical_builds).unwrap_or_default();
        let planned =
            |node: &&PlanNode| Critical { artifact: node.artifact.id.clone(), build: None, is_foreign: false };
        return Ok(builds.iter().map(planned).collect());
    };
    let ids: Vec<_> = path.iter().copied().take(Paging::LIMIT_MAX as usize).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let filter = BuildFilter { ids, ..BuildFilter::default() };
    let rows = visit.web.ask(visit.web.client().builds(filter, Paging::first(Paging::LIMIT_MAX))).await?.items;
    let rows: BTreeMap<_, _> = rows.into_iter().map(|build| (build.id, build)).collect();
    let open = path.iter().filter_map(|id| rows.get(id)).filter(|build| !build.state.is_terminal());
    let shown = |build: &BuildRecord| Critical {
        artifact: build.key.artifact.clone(),
        build: Some((build.id, build.state)),
        is_foreign: plan.is_some_and(|plan| plan.node(&build.key.artifact).is_none()),
    };
    Ok(open.map(shown).collect())
}

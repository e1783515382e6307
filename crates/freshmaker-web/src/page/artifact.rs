//! `/artifacts/{id}`: why the artifact is rebuilt or not, its parents, its children, and its
//! builds.

use super::answer;
use super::build::outlook;
use super::frame::{Frame, Place};
use super::past::{Past, look_back};
use super::states::Chip;
use super::visit::Visit;
use super::{links, states, text};
use crate::auth::Allowed;
use crate::extract::Name;
use crate::problem::{Problem, ProblemCode};
use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use freshmaker::backend::{BuildFilter, EventFilter, Paging};
use freshmaker::plan::Explanation;
use freshmaker::rebuild::{BuildId, BuildRecord, EventId, EventRecord, ExpectedBuild, WaitingFor};
use freshmaker::{ArtifactId, Plan};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The most builds that are listed; `/builds?artifact=` has all.
const BUILDS_MAX: u32 = 20;

/// How many of the latest events are asked for their plans about the artifact. Only if none of them
/// has to do with it, older ones are.
const EVENTS_MAX: u32 = 6;

/// The most parents or children that are listed.
const RELATIVES_MAX: usize = 50;

/// The most characters of a sentence; longer names are cut within it.
const ANSWER_MAX: usize = 2000;

#[derive(Template)]
#[template(path = "artifact.html")]
struct ArtifactPage {
    frame: Frame,
    /// What its newest build waits for, and when that is expected to end.
    waits: Option<WaitingFor>,
    expected: Option<ExpectedBuild>,
    id: ArtifactId,
    builds: Vec<BuildRecord>,
    answers: Vec<Answer>,
    lineage: Option<Lineage>,
    /// How far was looked back, if the latest events say nothing.
    past: Option<Past>,
    asked: Option<i64>,
    all_builds: String,
    may_preview: bool,
}

const UNAFFECTED: Chip = Chip::new("stop", "UNAFFECTED");

/// Why an event rebuilds the artifact, or why not.
struct Answer {
    event: EventRecord,
    chip: Chip,
    /// The build that the event caused.
    build: Option<BuildId>,
    text: String,
}

/// What an artifact is built from and what is built from it, in one plan.
struct Lineage {
    event: EventId,
    in_event: String,
    parents: Vec<(ArtifactId, String)>,
    children: Vec<ArtifactId>,
    children_hidden: usize,
}

impl Lineage {
    /// How many relatives it has.
    fn width(&self) -> usize {
        self.parents.len() + self.children.len() + self.children_hidden
    }
}

pub(crate) async fn page(visit: Visit, Name(id): Name) -> Result<Response, Problem> {
    let web = &visit.web;
    let client = web.client();
    let after = visit.position().await?;
    let id = ArtifactId::new(id);
    let filter = BuildFilter { artifacts: vec![id.clone()], ..BuildFilter::default() };
    let builds = web.ask(client.builds(filter, Paging::first(BUILDS_MAX))).await?.items;
    let asked = visit.value("event").map(str::parse::<i64>).transpose().map_err(|_| {
        let problem = Problem::new(ProblemCode::BadParameter, "the query cannot be read");
        problem.parameter("event", "it is not the number of an event")
    })?;
    let events = match asked {
        Some(event) => vec![web.ask(client.event(EventId(event))).await?],
        None => related(&visit, &builds).await?,
    };
    let mut found = Vec::new();
    for event in events {
        let Some(plan) = web.plan_of_event(&event).await? else { continue };
        // What an event has nothing to do with is worth a row only to who asks about that event.
        if asked.is_some() || is_mentioned(&plan, &id) {
            found.push((event, plan));
        }
    }
    let mut past = None;
    if found.is_empty() {
        let look = |event, plan: Arc<Plan>| match is_mentioned(&plan, &id) {
            true => {
                found.push((event, plan));
                ControlFlow::Break(())
            }
            false => ControlFlow::Continue(()),
        };
        past = Some(look_back(&visit, look).await?);
    }
    let lineages = found.iter().filter_map(|(event, plan)| lineage_of(plan, &id, event.id));
    let lineage = lineages.rev().max_by_key(Lineage::width);
    let mut answers = Vec::with_capacity(found.len());
    for (event, plan) in found {
        answers.push(explained(&visit, &plan, &id, event).await?);
    }
    let path = links::encoded(id.as_str());
    let json = match asked {
        Some(event) => format!("api/3/artifacts/{path}/explain?event={event}"),
        None => format!("api/3/artifacts/{path}"),
    };
    let (waits, expected) = match builds.first() {
        Some(newest) => outlook(&visit, newest).await?,
        None => (None, None),
    };
    let page = ArtifactPage {
        waits,
        expected,
        frame: visit.frame(Place::Other, text::plain(id.as_str())).json(json).live(after),
        all_builds: format!("artifact={path}"),
        id,
        builds,
        answers,
        lineage,
        past,
        asked,
        may_preview: visit.may(Allowed::REBUILDERS),
    };
    let is_unknown = page.is_unknown();
    let mut response = answer(&visit, &page)?;
    if is_unknown && response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}

impl ArtifactPage {
    /// Whether nothing that was looked at has to do with an artifact of this name.
    fn is_unknown(&self) -> bool {
        self.builds.is_empty() && self.answers.is_empty()
    }
}

/// The events that may have something to say about an artifact: the causes of its builds, and the
/// latest ones, newest first.
async fn related(visit: &Visit, builds: &[BuildRecord]) -> Result<Vec<EventRecord>, Problem> {
    let web = &visit.web;
    let mut events = web.ask(web.client().events(EventFilter::default(), Paging::first(EVENTS_MAX))).await?.items;
    let newest: Vec<_> = builds.iter().take(EVENTS_MAX as usize).map(|build| build.id).collect();
    if !newest.is_empty() {
        let links = web.ask(web.client().links(newest)).await?;
        let mut ids: Vec<_> = links.causes.iter().map(|cause| cause.event).collect();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        ids.dedup();
        ids.retain(|id| events.iter().all(|event| event.id != *id));
        ids.truncate(EVENTS_MAX as usize);
        if !ids.is_empty() {
            let filter = EventFilter { ids, ..EventFilter::default() };
            events.extend(web.ask(web.client().events(filter, Paging::first(EVENTS_MAX))).await?.items);
        }
    }
    events.sort_by_key(|event| std::cmp::Reverse(event.id));
    Ok(events)
}

fn is_mentioned(plan: &Plan, id: &ArtifactId) -> bool {
    !matches!(plan.explain(id), Explanation::Unaffected)
}

/// What a plan says about an artifact, with the state of the build that its event caused.
async fn explained(visit: &Visit, plan: &Plan, id: &ArtifactId, event: EventRecord) -> Result<Answer, Problem> {
    let web = &visit.web;
    let explanation = plan.explain(id);
    let build = match &explanation {
        Explanation::Rebuilt { .. } => {
            let filter = BuildFilter { artifacts: vec![id.clone()], events: vec![event.id], ..BuildFilter::default() };
            web.ask(web.client().builds(filter, Paging::first(1))).await?.items.pop()
        }
        _ => None,
    };
    let chip = match (&explanation, &build) {
        (Explanation::Changed, _) => Chip::new("done", "CHANGED"),
        (Explanation::Rebuilt { .. }, Some(build)) => states::build(&build.state),
        // A person has to confirm the plan, or its builds are not kept any more.
        (Explanation::Rebuilt { .. }, None) => Chip::new("ask", "IN THE PLAN"),
        (Explanation::Excluded { .. }, _) => Chip::new("ask", "NOT REBUILT"),
        _ => UNAFFECTED,
    };
    let text = match &explanation {
        Explanation::Unaffected => "no change of this event reaches it".to_owned(),
        Explanation::Changed => "it is what changed".to_owned(),
        explanation => explanation.to_string().chars().take(ANSWER_MAX).collect(),
    };
    Ok(Answer { event, chip, build: build.map(|build| build.id), text })
}

fn lineage_of(plan: &Plan, id: &ArtifactId, event: EventId) -> Option<Lineage> {
    let node = plan.node(id);
    let mut children: Vec<_> =
        plan.nodes().filter(|child| child.parent(id).is_some()).map(|child| child.artifact.id.clone()).collect();
    if node.is_none() && children.is_empty() {
        return None;
    }
    let parents = node.map(|node| node.parents.as_slice()).unwrap_or_default();
    let parents = parents.iter().take(RELATIVES_MAX).map(|parent| {
        let kinds: Vec<_> =
            parent.kinds.iter().map(|kind| crate::api::views::name_of(kind).replace('_', " ")).collect();
        (parent.id.clone(), kinds.join(", "))
    });
    let children_hidden = children.len().saturating_sub(RELATIVES_MAX);
    children.truncate(RELATIVES_MAX);
    Some(Lineage { event, in_event: format!("?event={event}"), parents: parents.collect(), children, children_hidden })
}

//! `/artifacts/{id}`: why it is rebuilt or not, what it is made of, and what becomes of it.

use super::answer;
use super::frame::{Frame, Place};
use super::states::Chip;
use super::visit::Visit;
use super::{links, states, text};
use crate::auth::Allowed;
use crate::extract::Name;
use crate::problem::{Problem, ProblemCode};
use askama::Template;
use axum::response::Response;
use freshmaker::backend::{BuildFilter, EventFilter, Paging};
use freshmaker::plan::Explanation;
use freshmaker::rebuild::{BuildRecord, EventId, EventRecord};
use freshmaker::{ArtifactId, Plan};
use std::sync::Arc;

/// So many builds are listed; `/builds?artifact=` has all.
const BUILDS_MAX: u32 = 20;

/// The plans of so many of the latest events are asked about the artifact.
const EVENTS_MAX: u32 = 6;

/// So many relatives are listed.
const RELATIVES_MAX: usize = 50;

/// A sentence has so many characters; longer names are cut within it.
const ANSWER_MAX: usize = 2000;

#[derive(Template)]
#[template(path = "artifact.html")]
struct ArtifactPage {
    frame: Frame,
    id: ArtifactId,
    builds: Vec<BuildRecord>,
    answers: Vec<Answer>,
    lineage: Option<Lineage>,
    asked: Option<i64>,
    all_builds: String,
    may_preview: bool,
}

const UNAFFECTED: Chip = Chip::new("stop", "UNAFFECTED");

/// Why an event rebuilds the artifact, or why not.
struct Answer {
    event: EventRecord,
    chip: Chip,
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

pub(crate) async fn page(visit: Visit, Name(id): Name) -> Result<Response, Problem> {
    let web = &visit.web;
    let client = web.client();
    let after = visit.position().await?;
    let id = ArtifactId::new(id);
    let filter = BuildFilter { artifacts: vec![id.clone()], ..BuildFilter::default() };
    let builds = web.ask(client.builds(filter, Paging::first(BUILDS_MAX))).await?.items;
    let asked = visit.value("event").map(str::parse::<i64>).transpose().map_err(|error| {
        Problem::new(ProblemCode::BadParameter, "the query cannot be read").parameter("event", error.to_string())
    })?;
    let events = match asked {
        Some(event) => vec![web.ask(client.event(EventId(event))).await?],
        None => related(&visit, &builds).await?,
    };
    let (mut answers, mut lineage) = (Vec::new(), None);
    for event in events {
        let Some(plan) = web.plan_of_event(&event).await? else { continue };
        let answer = explained(&plan, &id, event);
        if lineage.is_none() {
            lineage = lineage_of(&plan, &id, answer.event.id);
        }
        // What an event has nothing to do with is worth a row only to who asks about that event.
        if asked.is_some() || answer.chip != UNAFFECTED {
            answers.push(answer);
        }
    }
    let path = links::encoded(id.as_str());
    let json = match asked {
        Some(event) => format!("api/3/artifacts/{path}/explain?event={event}"),
        None => format!("api/3/artifacts/{path}"),
    };
    let page = ArtifactPage {
        frame: visit.frame(Place::Other, text::plain(id.as_str())).json(json).live(after),
        all_builds: format!("artifact={path}"),
        id,
        builds,
        answers,
        lineage,
        asked,
        may_preview: visit.may(Allowed::REBUILDERS),
    };
    answer(&visit, &page)
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

fn explained(plan: &Arc<Plan>, id: &ArtifactId, event: EventRecord) -> Answer {
    let explanation = plan.explain(id);
    let chip = match &explanation {
        Explanation::Changed => Chip::new("done", "CHANGED"),
        Explanation::Rebuilt { .. } => Chip::new("run", "REBUILT"),
        Explanation::Excluded { .. } => Chip::new("ask", "NOT REBUILT"),
        _ => UNAFFECTED,
    };
    let text = match &explanation {
        Explanation::Unaffected => "no change of this event reaches it".to_owned(),
        Explanation::Changed => "it is what changed".to_owned(),
        explanation => explanation.to_string().chars().take(ANSWER_MAX).collect(),
    };
    Answer { event, chip, text }
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

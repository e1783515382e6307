//! `/events/{id}/graph`: the plan of an event as a picture, with the states of its builds laid over
//! it: whole, around one artifact, or only what failed, waits or is critical.

use super::answer;
use super::frame::{Frame, Place};
use super::links;
use super::text;
use super::visit::Visit;
use crate::extract::Number;
use crate::problem::{Problem, ProblemCode};
use askama::Template;
use askama::filters::HtmlSafe;
use axum::response::Response;
use freshmaker::Plan;
use freshmaker::backend::{BuildFilter, Paging};
use freshmaker::plan::{Diagram, Mark};
use freshmaker::rebuild::{BuildId, BuildState, EventId, EventRecord};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

/// The states of so many builds are read for a picture.
const BUILDS_MAX: usize = 20_000;

/// How far a neighbourhood reaches, if nothing else is asked for, and at most.
const DEPTH: usize = 2;
const DEPTH_MAX: usize = 20;

/// A picture: what the renderer of the core has written, who escapes everything that it takes over.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    svg: String,
    pub(crate) boxes: usize,
    pub(crate) hidden: usize,
}

impl Drawn {
    fn of(diagram: &Diagram, all: usize) -> Self {
        Self { svg: diagram.svg().to_string(), boxes: diagram.len(), hidden: all - diagram.len() }
    }
}

impl Display for Drawn {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.svg)
    }
}

impl HtmlSafe for Drawn {}

#[derive(Template)]
#[template(path = "graph.html")]
struct GraphPage {
    frame: Frame,
    event: EventId,
    summary: String,
    drawn: Drawn,
    focus: String,
    depth: usize,
    shows: Vec<Show>,
}

/// One choice of what is drawn.
struct Show {
    name: &'static str,
    query: String,
    is_chosen: bool,
}

const SHOWS: [(&str, &str); 4] = [
    ("", "everything"),
    ("failed", "what failed"),
    ("waiting", "what waits or runs"),
    ("critical", "the critical path"),
];

pub(crate) async fn page(visit: Visit, Number(id): Number) -> Result<Response, Problem> {
    let after = visit.position().await?;
    let event = visit.web.ask(visit.web.client().event(EventId(id))).await?;
    let none = || Problem::new(ProblemCode::NotFound, format!("event {id} has no plan: its handler gave none"));
    let plan = visit.web.plan_of_event(&event).await?.ok_or_else(none)?;
    let whole = diagram(&visit, &event, &plan).await?;
    let all = whole.len();
    let focus = visit.value("focus").unwrap_or_default().to_owned();
    let depth = match visit.value("depth") {
        None => DEPTH,
        Some(text) => text.parse().ok().filter(|depth| (1..=DEPTH_MAX).contains(depth)).ok_or_else(|| {
            let text = format!("{text:?} is not a number from 1 to {DEPTH_MAX}");
            Problem::new(ProblemCode::BadParameter, "the query cannot be read").parameter("depth", text)
        })?,
    };
    let show = visit.value("show").unwrap_or_default();
    let narrowed = match show {
        "failed" => whole.only(&[Mark::Failed], false),
        "waiting" => whole.only(&[Mark::Waiting, Mark::Running], false),
        "critical" => whole.only(&[], true),
        _ => whole,
    };
    let narrowed = if focus.is_empty() { narrowed } else { narrowed.focus(&focus, depth) };
    let shows = SHOWS.iter().map(|(value, name)| Show {
        name,
        query: visit.query_with("show", value),
        is_chosen: *value == show,
    });
    let (builds, waves) = (text::count(&plan.len(), "build"), text::count(&plan.waves().count(), "wave"));
    let page = GraphPage {
        frame: visit
            .frame(Place::Events, format!("Event {id}: graph"))
            .json(format!("api/3/events/{id}/plan"))
            .live(after),
        event: event.id,
        summary: format!("{builds} in {waves}"),
        drawn: Drawn::of(&narrowed, all),
        focus,
        depth,
        shows: shows.collect(),
    };
    answer(&visit, &page)
}

/// The picture within the page of an event, if the plan is small enough to be drawn whole.
pub(crate) async fn within_event(visit: &Visit, event: &EventRecord, plan: &Plan) -> Result<Option<Drawn>, Problem> {
    if plan.is_empty() || plan.len() + plan.changed().count() > Diagram::BOXES_MAX {
        return Ok(None);
    }
    let diagram = diagram(visit, event, plan).await?;
    Ok(Some(Drawn::of(&diagram, diagram.len())))
}

/// A plan with the states of the builds of its event. Boxes lead to builds, or to artifacts that
/// are not built.
async fn diagram(visit: &Visit, event: &EventRecord, plan: &Plan) -> Result<Diagram, Problem> {
    let builds = builds(visit, event.id).await?;
    let mut diagram = plan.diagram();
    diagram.mark(|one| builds.get(&one.key).map(|(_, state)| (*state).into()));
    diagram.link(|one| match builds.get(&one.key) {
        Some((id, _)) => Some(format!("{}builds/{id}", visit.root)),
        None => links::artifact_path(&one.key.as_str().into()).map(|path| format!("{}{path}", visit.root)),
    });
    Ok(diagram)
}

/// The latest builds of an event, by the names of their artifacts.
async fn builds(visit: &Visit, event: EventId) -> Result<BTreeMap<String, (BuildId, BuildState)>, Problem> {
    let web = &visit.web;
    let filter = BuildFilter { events: vec![event], ..BuildFilter::default() };
    let mut found = BTreeMap::new();
    let mut paging = Paging::first(Paging::LIMIT_MAX).oldest_first();
    loop {
        let page = web.ask(web.client().builds(filter.clone(), paging)).await?;
        found.extend(
            page.items.into_iter().map(|build| (build.key.artifact.as_str().to_owned(), (build.id, build.state))),
        );
        match page.next {
            Some(next) if found.len() < BUILDS_MAX => paging = paging.behind(next),
            _ => return Ok(found),
        }
    }
}

//! `/events/{id}/graph`: the plan of an event as a picture, with the states of its builds laid over
//! it: whole, around one artifact, or only what failed, waits or is critical.

use super::answer;
use super::frame::{Frame, Place};
use super::list::Parts;
use super::visit::Visit;
use super::{links, states, text};
use crate::api::paging::{Cursor, LIMIT_MAX};
use crate::extract::Number;
use crate::problem::{Problem, ProblemCode};
use askama::Template;
use askama::filters::HtmlSafe;
use axum::response::Response;
use freshmaker::Plan;
use freshmaker::artifact::Digest;
use freshmaker::backend::{BuildFilter, Paging};
use freshmaker::plan::{Diagram, DiagramBox, Mark};
use freshmaker::rebuild::{BuildId, BuildRecord, BuildState, EventId, EventRecord};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::{Arc, Mutex, PoisonError};

/// The most builds whose states are read for a picture.
const BUILDS_MAX: usize = 20_000;

/// How far a neighbourhood reaches, if nothing else is asked for, and at most.
const DEPTH: usize = 2;
const DEPTH_MAX: usize = 20;

/// The most pictures that are kept, each of at most about 400 KB.
const PICTURES_MAX: usize = 32;

/// The pictures that were drawn last, the latest at the end, by a digest of all that is in them. To
/// draw 400 boxes takes longer than all the rest of a page, and what has not changed is asked for
/// again and again.
static PICTURES: Mutex<Vec<(Digest, Drawn)>> = Mutex::new(Vec::new());

/// A picture: what the renderer of the core has written, who escapes everything that it takes over.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    svg: Arc<str>,
    pub(crate) boxes: usize,
    pub(crate) hidden: usize,
}

impl Drawn {
    fn of(diagram: &Diagram, all: usize) -> Self {
        Self { svg: diagram.svg().to_string().into(), boxes: diagram.len(), hidden: all - diagram.len() }
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
    wave: Option<Wave>,
    parts: Parts,
}

/// The boxes of one wave as a list, by name.
struct Wave {
    /// As the picture calls it.
    name: String,
    boxes: Vec<DiagramBox>,
    total: usize,
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
    let whole = diagram(&visit, &event, &plan, &builds(&visit, event.id).await?);
    let all = whole.len();
    let focus = visit.value("focus").unwrap_or_default().to_owned();
    let depth = match visit.value("depth") {
        None => DEPTH,
        Some(text) => number("depth", text, DEPTH_MAX)?,
    };
    let show = visit.value("show").unwrap_or_default();
    let narrowed = match show {
        "failed" => whole.only(&[Mark::Failed], false),
        "waiting" => whole.only(&[Mark::Waiting, Mark::Running], false),
        "critical" => whole.only(&[], true),
        _ => whole,
    };
    let narrowed = if focus.is_empty() { narrowed } else { narrowed.focus(&focus, depth) };
    let (narrowed, wave, next) = match visit.value("wave") {
        None => (narrowed, None, None),
        Some(text) => {
            let number = number("wave", text, Diagram::WAVES_MAX + 1)?;
            let name = narrowed.wave_name(number - 1);
            let boxes = narrowed.wave(number - 1);
            let (wave, next) = Wave::of(&visit, name, &boxes)?;
            (boxes, Some(wave), next)
        }
    };
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
        wave,
        parts: Parts::new(&visit, next.as_ref()),
    };
    answer(&visit, &page)
}

/// A number of the query, from 1 on.
fn number(parameter: &str, text: &str, most: usize) -> Result<usize, Problem> {
    text.parse().ok().filter(|number| (1..=most).contains(number)).ok_or_else(|| {
        let text = format!("{text:?} is not a number from 1 to {most}");
        Problem::new(ProblemCode::BadParameter, "the query cannot be read").parameter(parameter, text)
    })
}

impl Wave {
    /// A part of the boxes of a wave, and the way to the next part.
    fn of(visit: &Visit, name: String, diagram: &Diagram) -> Result<(Self, Option<Cursor>), Problem> {
        let after: CursorQuery = visit.read()?;
        let mut boxes: Vec<_> = diagram.boxes().iter().collect();
        boxes.sort_by(|one, other| one.key.cmp(&other.key));
        if let Some(Cursor(after)) = after.cursor {
            boxes.retain(|one| one.key > after);
        }
        let more = boxes.len() > LIMIT_MAX as usize;
        boxes.truncate(LIMIT_MAX as usize);
        let next = boxes.last().filter(|_| more).map(|one| Cursor(one.key.clone()));
        Ok((Self { name, boxes: boxes.into_iter().cloned().collect(), total: diagram.len() }, next))
    }
}

/// Where a part of the list begins; the other parameters are read one by one.
#[derive(Deserialize)]
struct CursorQuery {
    cursor: Option<Cursor>,
}

/// The picture within the page of an event, if the plan is small enough to be drawn whole.
pub(crate) async fn within_event(visit: &Visit, event: &EventRecord, plan: &Plan) -> Result<Option<Drawn>, Problem> {
    if plan.is_empty() || plan.len() + plan.changed().count() > Diagram::BOXES_MAX {
        return Ok(None);
    }
    let builds = builds(visit, event.id).await?;
    let of: String = builds.iter().map(|(name, (id, state))| format!("{name}\n{id} {state}\n")).collect();
    let key = Digest::of(format!("{:?} {} {}\n{of}", event.plan, event.id, visit.root).as_bytes());
    let draw = || {
        let diagram = diagram(visit, event, plan, &builds);
        Drawn::of(&diagram, diagram.len())
    };
    Ok(Some(kept(key, draw)))
}

/// A picture that was drawn before, or is now.
fn kept(key: Digest, draw: impl FnOnce() -> Drawn) -> Drawn {
    let pictures = || PICTURES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, drawn)) = pictures().iter().find(|(known, _)| *known == key) {
        return drawn.clone();
    }
    let drawn = draw();
    let mut pictures = pictures();
    let too_many = (pictures.len() + 1).saturating_sub(PICTURES_MAX);
    pictures.drain(..too_many);
    pictures.push((key, drawn.clone()));
    drawn
}

/// A plan with the states of the builds of its event. Boxes lead to builds, or to artifacts that
/// are not built.
fn diagram(visit: &Visit, event: &EventRecord, plan: &Plan, builds: &Builds) -> Diagram {
    let mut diagram = plan.diagram();
    diagram.mark(|one| builds.get(&one.key).map(|(_, state)| (*state).into()));
    diagram.link(|one| match builds.get(&one.key) {
        Some((id, _)) => Some(format!("{}builds/{id}", visit.root)),
        None => links::artifact_path(&one.key.as_str().into()).map(|path| format!("{}{path}", visit.root)),
    });
    let root = &visit.root;
    diagram.link_waves(|wave| Some(format!("{root}events/{}/graph?wave={}", event.id, wave + 1)));
    diagram
}

/// The latest builds of an event, by the names of their artifacts.
type Builds = BTreeMap<String, (BuildId, BuildState)>;

async fn builds(visit: &Visit, event: EventId) -> Result<Builds, Problem> {
    let web = &visit.web;
    let filter = BuildFilter { events: vec![event], ..BuildFilter::default() };
    let page = |paging| web.ask(web.client().builds(filter.clone(), paging));
    let all = Paging::first(Paging::LIMIT_MAX).oldest_first().brief().collect(BUILDS_MAX, page).await?;
    let named = |build: BuildRecord| (build.key.artifact.as_str().to_owned(), (build.id, build.state));
    Ok(all.items.into_iter().map(named).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_drawn_once_and_the_oldest_is_forgotten() {
        let key = |number: usize| Digest::of(format!("picture {number}").as_bytes());
        let drawn = |boxes| Drawn { svg: "<svg/>".into(), boxes, hidden: 0 };
        for number in 0..=PICTURES_MAX {
            assert_eq!(kept(key(number), || drawn(number)).boxes, number);
        }
        assert_eq!(kept(key(PICTURES_MAX), || drawn(0)).boxes, PICTURES_MAX, "it is known");
        assert_eq!(kept(key(0), || drawn(7)).boxes, 7, "it was forgotten");
        assert_eq!(PICTURES.lock().unwrap().len(), PICTURES_MAX);
    }
}

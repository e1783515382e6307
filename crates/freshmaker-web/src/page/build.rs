//! `/builds/{id}`: one artifact being rebuilt: because of what, what it waits for, and how its
//! attempts went.

use super::answer;
use super::frame::{Frame, Place};
use super::visit::Visit;
use super::{links, states, text};
use crate::auth::Allowed;
use crate::extract::Number;
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::backend::{BuildCount, BuildFilter, EventFilter, Paging};
use freshmaker::plan::Mark;
use freshmaker::rebuild::{
    AttemptRecord, AttemptState, BuildId, BuildRecord, BuildState, Cause, DependencyKind, EventId, ExpectedBuild,
    RowKey, Transition, WaitKind, WaitingFor,
};
use std::collections::BTreeMap;

/// The most builds that are listed of those that are needed, and of those that wait.
const NEIGHBOURS_MAX: usize = 50;

/// How many rows a history shows, the latest ones.
const HISTORY_MAX: usize = 50;

#[derive(Template)]
#[template(path = "build.html")]
struct BuildPage {
    frame: Frame,
    build: BuildRecord,
    waits: Option<WaitingFor>,
    expected: Option<ExpectedBuild>,
    causes: Vec<Cause>,
    /// What the events of the causes are about.
    about: BTreeMap<EventId, String>,
    needs: Vec<Needed>,
    needs_hidden: usize,
    children: Vec<BuildRecord>,
    children_by_state: Vec<BuildCount>,
    attempts: Vec<Shown>,
    history: Vec<Transition>,
    history_hidden: usize,
    may_repair: bool,
    may_preview: bool,
}

/// A build that another one waits for, or has waited for.
struct Needed {
    build: BuildRecord,
    kind: DependencyKind,
    satisfied: bool,
}

/// An attempt, and where the build system shows it.
struct Shown {
    attempt: AttemptRecord,
    link: Option<String>,
    /// Whether a person may say what became of it.
    is_unclear: bool,
}

impl BuildPage {
    /// Where the build system shows the last attempt of a build that failed, and what that is.
    fn failed_in(&self) -> Option<(&str, &str)> {
        let last = self.attempts.last().filter(|_| self.build.state == BuildState::Failed)?;
        Some((&last.attempt.system, last.link.as_deref()?))
    }

    /// Whether all that it needs is there, and it has not ended.
    fn needs_nothing_more(&self) -> bool {
        let all = self.needs_hidden == 0 && self.needs.iter().all(|needed| needed.satisfied);
        all && !self.build.state.is_terminal()
    }

    /// The event with which a build that failed can be retried.
    fn retried_with(&self) -> Option<EventId> {
        let may = self.may_preview && Mark::from(self.build.state) == Mark::Failed;
        self.causes.iter().find(|cause| cause.live).filter(|_| may).map(|cause| cause.event)
    }

    /// Whether it can be given up: it waits, and nothing of it runs.
    fn can_be_given_up(&self) -> bool {
        matches!(
            self.build.state,
            BuildState::Blocked | BuildState::Ready | BuildState::Verifying | BuildState::Canceling
        )
    }
}

pub(crate) async fn page(visit: Visit, Number(id): Number) -> Result<Response, Problem> {
    let (web, id) = (&visit.web, BuildId(id));
    let client = web.client();
    let after = visit.position().await?;
    let build = web.ask(crate::api::builds::build(web, id)).await?;
    let waits = web.ask(client.waiting_for(id)).await?;
    let links = web.ask(client.links(vec![id])).await?;
    let mut needs = Vec::new();
    let parents: Vec<_> = links.dependencies.iter().filter(|link| link.child == id).collect();
    for (parent, link) in records(&visit, parents.iter().map(|link| link.parent).collect())
        .await?
        .iter()
        .filter_map(|build| parents.iter().find(|link| link.parent == build.id).map(|link| (build, link)))
    {
        needs.push(Needed { build: parent.clone(), kind: link.kind, satisfied: link.satisfied });
    }
    needs.sort_by_key(|needed| needed.satisfied);
    let needs_hidden = parents.len().saturating_sub(needs.len());
    let of_children = BuildFilter { parents: vec![id], ..BuildFilter::default() };
    let children_by_state = web.ask(client.count_builds(of_children.clone())).await?;
    let children = web.ask(client.builds(of_children, Paging::first(NEIGHBOURS_MAX as u32))).await?.items;
    let attempts = web.ask(client.attempts(id)).await?;
    let attempts = attempts.into_iter().map(|attempt| shown(&visit, attempt)).collect();
    let mut history = web.ask(client.transitions(&RowKey::Build(id))).await?;
    let history_hidden = history.len().saturating_sub(HISTORY_MAX);
    history.drain(..history_hidden);
    let title = format!("Build {id}: {}", text::plain(build.key.artifact.as_str()));
    let page = BuildPage {
        frame: visit.frame(Place::Builds, title).json(format!("api/3/builds/{id}")).live(after),
        expected: outlook(&visit, &build).await?.1,
        build,
        waits,
        about: about(&visit, &links.causes).await?,
        causes: links.causes,
        needs,
        needs_hidden,
        children,
        children_by_state,
        attempts,
        history,
        history_hidden,
        may_repair: visit.may(Allowed::ADMINS),
        may_preview: visit.may(Allowed::REBUILDERS),
    };
    answer(&visit, &page)
}

/// What the first events of these causes are about.
async fn about(visit: &Visit, causes: &[Cause]) -> Result<BTreeMap<EventId, String>, Problem> {
    let ids: Vec<_> = causes.iter().map(|cause| cause.event).take(NEIGHBOURS_MAX).collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let filter = EventFilter { ids, ..EventFilter::default() };
    let paging = Paging::first(NEIGHBOURS_MAX as u32).brief();
    let events = visit.web.ask(visit.web.client().events(filter, paging)).await?.items;
    Ok(events.into_iter().map(|event| (event.id, event.envelope.search_key)).collect())
}

/// What a build waits for, and when it is expected to end, as far as that is known.
pub(super) async fn outlook(
    visit: &Visit,
    build: &BuildRecord,
) -> Result<(Option<WaitingFor>, Option<ExpectedBuild>), Problem> {
    if build.state.is_terminal() {
        return Ok((None, None));
    }
    let open = visit.web.open().await?;
    let is_waiting = Mark::from(build.state) == Mark::Waiting;
    let waits = is_waiting.then(|| open.rows.waiting(Some(&open.forecast)).of(build.id)).flatten();
    Ok((waits, open.forecast.build(build.id).copied()))
}

/// The rows of builds; not more than are shown.
async fn records(visit: &Visit, mut ids: Vec<BuildId>) -> Result<Vec<BuildRecord>, Problem> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    ids.truncate(NEIGHBOURS_MAX);
    let filter = BuildFilter { ids, ..BuildFilter::default() };
    let web = &visit.web;
    Ok(web.ask(web.client().builds(filter, Paging::first(NEIGHBOURS_MAX as u32))).await?.items)
}

fn shown(visit: &Visit, attempt: AttemptRecord) -> Shown {
    let template = visit.web.config().page.as_ref().and_then(|page| page.links.get(&attempt.system));
    let id = attempt.external.as_ref().map(|id| id.unshared().unwrap_or_else(|| id.clone()));
    let link = template.zip(id).map(|(template, id)| template.replace("{id}", &links::encoded(id.as_str())));
    let is_unclear = matches!(attempt.state, AttemptState::Unknown | AttemptState::Resolving | AttemptState::Intent);
    Shown { attempt, link, is_unclear }
}

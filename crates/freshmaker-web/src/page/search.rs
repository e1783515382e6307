//! `/search`: leads from a name or a number to the page that it means.

use super::answer;
use super::frame::{Frame, Place};
use super::past::{Past, look_back};
use super::see_other;
use super::visit::Visit;
use super::{links, states, text};
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::ArtifactId;
use freshmaker::backend::{BuildFilter, EventFilter, Paging};
use freshmaker::plan::Explanation;
use freshmaker::rebuild::{BuildId, BuildRecord, EventId, EventRecord, ExternalId};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// The most hits of each sort that are listed.
const HITS_MAX: u32 = 20;

/// The most artifacts that are listed because their names contain the text.
const NAMES_MAX: usize = 50;

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    frame: Frame,
    wanted: String,
    events: Vec<EventRecord>,
    builds: Vec<BuildRecord>,
    named: Named,
}

/// Artifacts whose names contain what was searched for.
#[derive(Debug, Default)]
struct Named {
    artifacts: Vec<ArtifactId>,
    /// Whether there are more of them.
    is_cut: bool,
    /// In the plans of how many events was looked.
    past: Past,
}

/// Looks a text up as a number of an event or a build, as the subject of an event, as the name of
/// an artifact or of an output, and as the id of an attempt in its build system; else as a part of
/// the name of an artifact.
pub(crate) async fn page(visit: Visit) -> Result<Response, Problem> {
    let wanted = visit.value("q").unwrap_or_default().trim().to_owned();
    let (events, builds) = exact(&visit, &wanted).await?;
    if let Some(path) = only_hit(&events, &builds) {
        return see_other(&format!("./{path}"));
    }
    let mut named = Named::default();
    if events.is_empty() && builds.is_empty() && !wanted.is_empty() {
        named = by_part(&visit, &wanted).await?;
        let whole = named.artifacts.iter().find(|id| id.as_str() == wanted);
        if let Some(path) = whole.and_then(links::artifact_path) {
            return see_other(&format!("./{path}"));
        }
    }
    let json = format!("api/3/events?search_key={}", links::encoded(&wanted));
    let page = SearchPage {
        frame: visit.frame(Place::Other, format!("Search: {}", text::plain(&wanted))).json(json),
        wanted,
        events,
        builds,
        named,
    };
    answer(&visit, &page)
}

/// What has exactly this number, name or identity.
async fn exact(visit: &Visit, wanted: &str) -> Result<(Vec<EventRecord>, Vec<BuildRecord>), Problem> {
    let (web, client) = (&visit.web, visit.web.client());
    let (mut events, mut builds) = (Vec::new(), Vec::new());
    if wanted.is_empty() {
        return Ok((events, builds));
    }
    let (sort, number) = numbered(wanted);
    let mut by_event = vec![EventFilter { search_keys: vec![wanted.to_owned()], ..EventFilter::default() }];
    let mut by_build = vec![
        BuildFilter { names: vec![wanted.to_owned()], ..BuildFilter::default() },
        BuildFilter { outputs: vec![wanted.to_owned()], ..BuildFilter::default() },
        BuildFilter { externals: vec![ExternalId::new(wanted)], ..BuildFilter::default() },
    ];
    if let Some(number) = number {
        if sort != "build" {
            by_event.insert(0, EventFilter { ids: vec![EventId(number)], ..EventFilter::default() });
        }
        if sort != "event" {
            by_build.insert(0, BuildFilter { ids: vec![BuildId(number)], ..BuildFilter::default() });
        }
    }
    let first = Paging::first(HITS_MAX).brief();
    for filter in by_event {
        events.extend(web.ask(client.events(filter, first)).await?.items);
    }
    for filter in by_build {
        builds.extend(web.ask(client.builds(filter, first)).await?.items);
    }
    events.dedup_by_key(|event: &mut EventRecord| event.id);
    builds.sort_by_key(|build: &BuildRecord| std::cmp::Reverse(build.id));
    builds.dedup_by_key(|build| build.id);
    Ok((events, builds))
}

/// The number in `7`, `#7`, `event 7` or `build #7`, and of what.
fn numbered(wanted: &str) -> (&str, Option<i64>) {
    let (sort, number) = wanted.split_once(' ').unwrap_or(("", wanted));
    let sort = ["event", "build"].into_iter().find(|known| known.eq_ignore_ascii_case(sort));
    let number = if sort.is_some() { number } else { wanted };
    (sort.unwrap_or_default(), number.trim().trim_start_matches('#').parse().ok())
}

/// Artifacts of the newest builds, and of the plans of the latest events, whose names contain a
/// text, whether in large letters or small ones.
async fn by_part(visit: &Visit, wanted: &str) -> Result<Named, Problem> {
    let (web, part) = (&visit.web, wanted.to_lowercase());
    let newest =
        web.ask(web.client().builds(BuildFilter::default(), Paging::first(Paging::LIMIT_MAX).brief())).await?.items;
    let mut found = BTreeSet::new();
    let fits = |id: &ArtifactId| id.as_str().to_lowercase().contains(&part);
    found.extend(newest.into_iter().map(|build| build.key.artifact).filter(&fits));
    let (whole, mut seen) = (ArtifactId::new(wanted), BTreeSet::new());
    let past = look_back(visit, |event, plan| {
        // Many events have one plan.
        if seen.insert(event.plan) {
            let ids = plan.nodes().map(|node| &node.artifact.id).chain(plan.changed().map(|(id, _)| id));
            let ids = ids.chain(plan.exclusions().map(|(id, _)| id));
            found.extend(ids.filter(|id| fits(id)).take(NAMES_MAX).cloned());
            // A plan may have more such names than are taken.
            if !matches!(plan.explain(&whole), Explanation::Unaffected) {
                found.insert(whole.clone());
            }
        }
        let enough = found.contains(&whole) || found.len() >= NAMES_MAX;
        if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let past = past.await?;
    let is_cut = found.len() > NAMES_MAX;
    // The whole name is looked for among them all.
    let whole = found.take(&whole);
    Ok(Named { artifacts: whole.into_iter().chain(found).take(NAMES_MAX).collect(), is_cut, past })
}

/// The page of the one thing that was found. Builds of one artifact are one thing.
fn only_hit(events: &[EventRecord], builds: &[BuildRecord]) -> Option<String> {
    match (events, builds) {
        ([event], []) => Some(format!("events/{}", event.id)),
        ([], [build]) => Some(format!("builds/{}", build.id)),
        ([], [first, rest @ ..]) => {
            let id: &ArtifactId = &first.key.artifact;
            rest.iter().all(|build| build.key.artifact == *id).then(|| links::artifact_path(id)).flatten()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_say_of_what_they_are() {
        for (text, sort, number) in [
            ("7", "", Some(7)),
            ("#7", "", Some(7)),
            ("event 7", "event", Some(7)),
            ("Build  #7", "build", Some(7)),
            ("base 7", "", None),
            ("event", "", None),
        ] {
            assert_eq!(numbered(text), (sort, number), "{text}");
        }
    }
}

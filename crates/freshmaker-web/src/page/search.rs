//! `/search`: from a name or a number to the one page that it means.

use super::answer;
use super::frame::{Frame, Place};
use super::see_other;
use super::visit::Visit;
use super::{links, states, text};
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::ArtifactId;
use freshmaker::backend::{BuildFilter, EventFilter, Paging};
use freshmaker::rebuild::{BuildId, BuildRecord, EventId, EventRecord, ExternalId};

/// So many hits of each sort are listed.
const HITS_MAX: u32 = 20;

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    frame: Frame,
    wanted: String,
    events: Vec<EventRecord>,
    builds: Vec<BuildRecord>,
}

/// Looks a text up as a number of an event or a build, as the subject of an event, as the name of
/// an artifact or of an output, and as the id of an attempt in its build system.
pub(crate) async fn page(visit: Visit) -> Result<Response, Problem> {
    let (web, client) = (&visit.web, visit.web.client());
    let wanted = visit.value("q").unwrap_or_default().trim().to_owned();
    let (mut events, mut builds) = (Vec::new(), Vec::new());
    if !wanted.is_empty() {
        let first = Paging::first(HITS_MAX);
        let number = wanted.trim_start_matches('#').parse::<i64>().ok();
        let mut by_event = vec![EventFilter { search_keys: vec![wanted.clone()], ..EventFilter::default() }];
        let mut by_build = vec![
            BuildFilter { names: vec![wanted.clone()], ..BuildFilter::default() },
            BuildFilter { outputs: vec![wanted.clone()], ..BuildFilter::default() },
            BuildFilter { externals: vec![ExternalId::new(wanted.as_str())], ..BuildFilter::default() },
        ];
        if let Some(number) = number {
            by_event.insert(0, EventFilter { ids: vec![EventId(number)], ..EventFilter::default() });
            by_build.insert(0, BuildFilter { ids: vec![BuildId(number)], ..BuildFilter::default() });
        }
        for filter in by_event {
            events.extend(web.ask(client.events(filter, first)).await?.items);
        }
        for filter in by_build {
            builds.extend(web.ask(client.builds(filter, first)).await?.items);
        }
        events.dedup_by_key(|event: &mut EventRecord| event.id);
        builds.sort_by_key(|build: &BuildRecord| std::cmp::Reverse(build.id));
        builds.dedup_by_key(|build| build.id);
    }
    if let Some(path) = only_hit(&events, &builds) {
        return see_other(&format!("./{path}"));
    }
    let json = format!("api/3/events?search_key={}", links::encoded(&wanted));
    let page = SearchPage {
        frame: visit.frame(Place::Other, format!("Search: {}", text::plain(&wanted))).json(json),
        wanted,
        events,
        builds,
    };
    answer(&visit, &page)
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

//! Rows for forms, in the same number of storage calls however many there are.
//!
//! Builds are read in parts of [`Paging::LIMIT_MAX`] rows; everything else in one call.

use super::answer::Failure;
use freshmaker::artifact::ArtifactKind;
use freshmaker::backend::{BuildFilter, Page, Paging, Violation};
use freshmaker::rebuild::{BuildId, BuildRecord, EventId, EventRecord, Neighbourhood};
use freshmaker_web::Web;
use std::collections::{BTreeMap, BTreeSet};

/// No answer shows more builds.
const BUILDS_MAX: usize = 10_000;

/// Rows, and which of them cannot be read.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) rows: Neighbourhood,
    pub(super) unreadable: Vec<String>,
}

/// How many builds of an event are in each state that occurs, and the `total`.
pub(super) type Summary = BTreeMap<&'static str, usize>;

impl Rows {
    /// Takes the rows of a page, and notes those that cannot be read.
    fn note<T>(&mut self, page: Page<T>) -> Vec<T> {
        let Page { items, unreadable, .. } = page;
        for Violation { rule, text } in unreadable {
            tracing::error!(rule, text, "a row is left out of an answer");
            self.unreadable.push(text);
        }
        items
    }

    /// Events without their builds.
    pub(super) fn of_events(events: Page<EventRecord>) -> Self {
        let mut rows = Self::default();
        let events = rows.note(events);
        rows.rows.events = events.into_iter().map(|event| (event.id, event)).collect();
        rows
    }

    /// Adds all builds of the events.
    pub(super) async fn with_their_builds(mut self, web: &Web) -> Result<Self, Failure> {
        let events: Vec<_> = self.rows.events.keys().copied().collect();
        if events.is_empty() {
            return Ok(self);
        }
        let builds = self.all(web, BuildFilter { events, ..BuildFilter::default() }).await?;
        self.with_builds(web, builds).await
    }

    /// Builds of a list.
    pub(super) async fn of_builds(web: &Web, builds: Page<BuildRecord>) -> Result<Self, Failure> {
        let mut rows = Self::default();
        let builds = rows.note(builds);
        rows.with_builds(web, builds).await
    }

    /// Adds builds with what their forms show: causes, attempts, and the builds that they need.
    async fn with_builds(mut self, web: &Web, builds: Vec<BuildRecord>) -> Result<Self, Failure> {
        let ids: Vec<_> = builds.iter().map(|build| build.id).collect();
        self.rows.builds.extend(builds.into_iter().map(|build| (build.id, build)));
        if ids.is_empty() {
            return Ok(self);
        }
        let links = web.ask(web.client().links(ids.clone())).await?;
        let shown: BTreeSet<BuildId> = ids.iter().copied().collect();
        let needs = links.dependencies.into_iter().filter(|dependency| shown.contains(&dependency.child));
        self.rows.dependencies = needs.map(|need| ((need.parent, need.child), need)).collect();
        self.rows.causes = links.causes.into_iter().map(|cause| ((cause.build, cause.event), cause)).collect();
        let parents: BTreeSet<_> = self.rows.dependencies.keys().map(|(parent, _)| *parent).collect();
        let parents: Vec<_> = parents.difference(&shown).copied().collect();
        if !parents.is_empty() {
            let parents = self.all(web, BuildFilter { ids: parents, ..BuildFilter::default() }).await?;
            self.rows.builds.extend(parents.into_iter().map(|build| (build.id, build)));
        }
        let attempts = web.ask(web.client().attempts_of(ids)).await?;
        self.rows.attempts = attempts.into_iter().map(|attempt| (attempt.id.clone(), attempt)).collect();
        Ok(self)
    }

    async fn all(&mut self, web: &Web, filter: BuildFilter) -> Result<Vec<BuildRecord>, Failure> {
        let page = |paging| web.ask(web.client().builds(filter.clone(), paging));
        let all = Paging::first(Paging::LIMIT_MAX).collect(BUILDS_MAX + 1, page).await?;
        if all.items.len() > BUILDS_MAX {
            let text = format!("The answer would have more than {BUILDS_MAX} builds");
            return Err(Failure::bad(format!("{text}: use \"show_full_json=False\", or ask for fewer events.")));
        }
        Ok(self.note(all))
    }

    /// Counts the builds of the events. Repositories that are prepared for builds are not counted,
    /// because they have no form.
    pub(super) async fn summaries(&mut self, web: &Web) -> Result<BTreeMap<EventId, Summary>, Failure> {
        let events: Vec<_> = self.rows.events.keys().copied().collect();
        let mut counts: BTreeMap<(EventId, &'static str), u64> = BTreeMap::new();
        if !events.is_empty() {
            for count in web.ask(web.client().count_caused(events.clone())).await? {
                *counts.entry((count.event, count.state.public().as_str())).or_default() += count.count;
            }
        }
        if !counts.is_empty() {
            let kinds = vec![ArtifactKind::Repository];
            let others = self.all(web, BuildFilter { events, kinds, ..BuildFilter::default() }).await?;
            let states: BTreeMap<_, _> = others.iter().map(|build| (build.id, build.state.public().as_str())).collect();
            if !states.is_empty() {
                let links = web.ask(web.client().links(states.keys().copied().collect())).await?;
                for cause in links.causes {
                    let state = states.get(&cause.build).and_then(|state| counts.get_mut(&(cause.event, *state)));
                    state.into_iter().for_each(|count| *count = count.saturating_sub(1));
                }
            }
        }
        let mut summaries: BTreeMap<EventId, Summary> = BTreeMap::new();
        for event in self.rows.events.keys() {
            summaries.entry(*event).or_default().insert("total", 0);
        }
        for ((event, state), count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let summary = summaries.entry(event).or_default();
            summary.insert(state, count);
            *summary.entry("total").or_default() += count;
        }
        Ok(summaries)
    }
}

//! Forms of rows, in the same number of storage calls however many there are.
//!
//! Builds of events are read in parts of [`Paging::LIMIT_MAX`] rows; everything else in one call.

use super::answer::Failure;
use crate::forms::{BuildForm, Builds, EventForm, type_name};
use freshmaker::backend::{BuildFilter, CausedCount, EventFilter, Page, Paging, Violation};
use freshmaker::rebuild::EventId;
use freshmaker_web::Web;
use std::collections::BTreeMap;

/// No answer shows more builds.
const BUILDS_MAX: usize = 10_000;

/// How events show their builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Each in its form.
    Builds,
    /// How many are in each state that occurs, and in `total`.
    Summary,
}

/// Returns the texts about rows that cannot be read, and logs them.
pub(super) fn noted(unreadable: Vec<Violation>) -> Vec<String> {
    let note = |Violation { rule, text }| {
        tracing::error!(rule, text, "a row is left out of an answer");
        text
    };
    unreadable.into_iter().map(note).collect()
}

/// Returns the forms of events.
pub(super) async fn events(
    web: &Web,
    filter: EventFilter,
    paging: Paging,
    prefix: &str,
    shown: Shown,
) -> Result<Page<EventForm>, Failure> {
    if shown == Shown::Summary {
        let page = web.ask(web.client().events_with_counts(filter, paging)).await?;
        return Ok(page.map(|(event, counts)| EventForm::of(&event, summary(&counts), prefix)));
    }
    let mut page = web.ask(web.client().events(filter, paging)).await?;
    let ids = page.items.iter().map(|event| event.id).collect();
    let mut builds = builds_of(web, ids, prefix, &mut page.unreadable).await?;
    Ok(page.map(|event| {
        let builds = builds.remove(&event.id).unwrap_or_default();
        EventForm::of(&event, Builds::Builds(builds), prefix)
    }))
}

/// Counts the builds of an event, without repositories that are prepared for builds: these have no
/// form.
fn summary(counts: &[CausedCount]) -> Builds {
    let mut summary = BTreeMap::from([("total", 0)]);
    for count in counts.iter().filter(|count| type_name(count.kind).is_some()) {
        let builds = usize::try_from(count.count).unwrap_or(usize::MAX);
        *summary.entry(count.state.public().as_str()).or_default() += builds;
        *summary.entry("total").or_default() += builds;
    }
    Builds::BuildsSummary(summary)
}

/// Returns the forms of all builds of each event, by number.
async fn builds_of(
    web: &Web,
    events: Vec<EventId>,
    prefix: &str,
    unreadable: &mut Vec<Violation>,
) -> Result<BTreeMap<EventId, Vec<BuildForm>>, Failure> {
    let mut forms: BTreeMap<_, Vec<_>> = events.iter().map(|event| (*event, Vec::new())).collect();
    if events.is_empty() {
        return Ok(forms);
    }
    let filter = BuildFilter { events, ..BuildFilter::default() };
    let page = |paging| web.ask(web.client().builds_with_links(filter.clone(), paging));
    let all = Paging::first(Paging::LIMIT_MAX).oldest_first().collect(BUILDS_MAX + 1, page).await?;
    if all.items.len() > BUILDS_MAX {
        let text = format!("The answer would have more than {BUILDS_MAX} builds");
        return Err(Failure::bad(format!("{text}: use \"show_full_json=False\", or ask for fewer events.")));
    }
    unreadable.extend(all.unreadable);
    for (build, links) in &all.items {
        for event in links.wanted_by.iter().chain(&links.withdrawn_by) {
            let shown = forms.get_mut(event).into_iter();
            shown.for_each(|shown| shown.extend(BuildForm::of(build, links, prefix)));
        }
    }
    Ok(forms)
}

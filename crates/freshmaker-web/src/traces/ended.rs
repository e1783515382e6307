//! What has ended, and its spans.

use super::TraceConfig;
use super::spans::{Span, Writer};
use crate::rows::{Beside, received_at};
use freshmaker::backend::{BuildFilter, EventFilter, Page, Paging, Result};
use freshmaker::client::Client;
use freshmaker::rebuild::{BuildId, BuildRecord, EventId, EventState, Notification, PublicBuildState, RowKey};
use freshmaker::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

/// How many of the newest events are searched if changes are missing.
const SEARCHED: usize = 10_000;

/// Events and builds that have ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    events: BTreeSet<EventId>,
    builds: BTreeSet<BuildId>,
}

impl Ended {
    /// Notes what a change says, if it is an end.
    pub(super) fn note(&mut self, change: &Notification) {
        let state = change.body.get("state").and_then(Value::as_str).unwrap_or_default();
        match &change.of {
            RowKey::Event(id) if state.parse().is_ok_and(EventState::is_terminal) => drop(self.events.insert(*id)),
            RowKey::Build(id) if state.parse().is_ok_and(is_end) => drop(self.builds.insert(*id)),
            RowKey::Event(_) | RowKey::Build(_) | RowKey::Attempt(_) => {}
        }
    }

    /// Adds the newest events that ended at this moment or later, with all their builds.
    pub(super) async fn search(&mut self, client: &Client, from: Timestamp) -> Result<()> {
        let (mut paging, mut looked) = (Paging::first(Paging::LIMIT_MAX), 0);
        while looked < SEARCHED {
            let Page { items, next, .. } = client.events(EventFilter::default(), paging).await?;
            looked += items.len();
            let ended = items.into_iter().filter(|event| event.done_at.is_some_and(|done| done >= from));
            for event in ended {
                self.events.insert(event.id);
                let filter = BuildFilter { events: vec![event.id], ..BuildFilter::default() };
                self.builds.extend(builds(client, filter).await?.into_iter().map(|build| build.id));
            }
            let Some(next) = next else { break };
            paging = paging.behind(next);
        }
        Ok(())
    }

    /// Makes the spans of everything that was noted. Rows that are not there any more have none.
    pub(super) async fn spans(self, client: &Client, config: &TraceConfig) -> Result<Vec<Span>> {
        let mut writer = Writer::new(config);
        let events: Vec<EventId> = self.events.into_iter().collect();
        for some in events.chunks(Paging::LIMIT_MAX as usize) {
            let filter = EventFilter { ids: some.to_vec(), ..EventFilter::default() };
            for event in client.events(filter, Paging::first(Paging::LIMIT_MAX)).await?.items {
                let received = received_at(client, &event).await?;
                writer.event(&event, received);
            }
        }
        let ids: Vec<BuildId> = self.builds.into_iter().collect();
        for some in ids.chunks(Paging::LIMIT_MAX as usize) {
            let builds = builds(client, BuildFilter { ids: some.to_vec(), ..BuildFilter::default() }).await?;
            let beside = Beside::of(client, some.to_vec()).await?;
            builds.iter().for_each(|build| writer.build(build, &beside));
        }
        Ok(writer.spans)
    }
}

fn is_end(state: PublicBuildState) -> bool {
    matches!(state, PublicBuildState::Done | PublicBuildState::Failed | PublicBuildState::Canceled)
}

/// All builds of a filter.
async fn builds(client: &Client, filter: BuildFilter) -> Result<Vec<BuildRecord>> {
    let page = |paging| client.builds(filter.clone(), paging);
    Ok(Paging::first(Paging::LIMIT_MAX).collect(usize::MAX, page).await?.items)
}

//! What earlier events have rebuilt for the same advisory.

use crate::image::{is_modular, is_older};
use crate::messages::errata::{AdvisoryRpmsSigned, AdvisoryStatusChanged};
use crate::messages::request::ManualRebuild;
use freshmaker::artifact::{ArtifactKind, Nvr};
use freshmaker::backend::{EventFilter, Result};
use freshmaker::event::Event;
use freshmaker::handler::History;
use freshmaker::plan::RebuildReason;
use freshmaker::rebuild::{BuildRecord, EventId, EventRecord, EventState};
use std::collections::{BTreeMap, BTreeSet};

/// The longest chain of requests that each refer to an earlier event. A longer one means that the
/// stored numbers make no sense.
const CHAIN_MAX: usize = 100;

/// An image that was rebuilt.
#[derive(Clone, Debug)]
pub(super) struct Rebuild {
    /// The rebuilt image.
    pub(super) nvr: Nvr,
    /// Packages that it was rebuilt for.
    demands: BTreeSet<Nvr>,
}

/// Rebuilt images, by what they are the rebuilds of.
pub(super) type Rebuilds = BTreeMap<Nvr, Rebuild>;

impl Rebuild {
    /// Returns whether it was rebuilt for these packages or newer ones. The builds of an advisory
    /// can change after images were rebuilt.
    pub(super) fn has(&self, wanted: &BTreeSet<Nvr>) -> bool {
        let same = |one: &Nvr, other: &Nvr| one.name() == other.name() && is_modular(one) == is_modular(other);
        wanted.iter().all(|fix| self.demands.iter().any(|had| same(had, fix) && !is_older(had, fix)))
    }
}

/// Returns the advisory that an event rebuilds images for; `None` for other events.
pub(super) fn advisory_of(event: &EventRecord) -> Option<u64> {
    let known = [AdvisoryStatusChanged::KIND, AdvisoryRpmsSigned::KIND, ManualRebuild::KIND];
    let known = known.contains(&event.envelope.kind.as_str());
    event.envelope.payload.get("errata_id").filter(|_| known)?.as_u64()
}

/// Returns the earlier event that a request refers to.
fn stands_on(event: &EventRecord) -> Option<EventId> {
    let request = event.envelope.kind == ManualRebuild::KIND;
    event.envelope.payload.get("freshmaker_event_id").filter(|_| request)?.as_i64().map(EventId)
}

/// Returns the events of an advisory in these states, newest first.
async fn events(history: &History, advisory: u64, states: Vec<EventState>) -> Result<Vec<EventRecord>> {
    let filter = EventFilter { states, search_keys: vec![advisory.to_string()], ..EventFilter::default() };
    let mut events = history.events(filter).await?;
    events.retain(|event| advisory_of(event) == Some(advisory));
    Ok(events)
}

/// Returns the events of an advisory that have not ended.
pub(super) async fn running(history: &History, advisory: u64) -> Result<Vec<EventId>> {
    let open = EventState::ALL.iter().copied().filter(|state| !state.is_terminal()).collect();
    Ok(events(history, advisory, open).await?.into_iter().map(|event| event.id).collect())
}

/// Returns the images that events of an advisory have rebuilt for their own sake. Of several
/// rebuilds of an image the latest counts.
pub(super) async fn rebuilt_for(history: &History, advisory: u64) -> Result<Rebuilds> {
    let mut rebuilds = Rebuilds::new();
    for event in events(history, advisory, Vec::new()).await? {
        let builds = history.built_by(event.id).await?;
        add(&mut rebuilds, builds.iter().filter(|build| build.because == RebuildReason::DirectlyAffected));
    }
    Ok(rebuilds)
}

/// Returns the images that an event has rebuilt, and those of the events that it refers to. The
/// rebuilds of the event itself count before those of the others.
pub(super) async fn rebuilt_by(history: &History, event: EventId) -> Result<Rebuilds> {
    let mut rebuilds = Rebuilds::new();
    let mut next = Some(event);
    for _ in 0..CHAIN_MAX {
        let Some(id) = next else { break };
        let Some(event) = history.event(id).await? else { break };
        add(&mut rebuilds, history.built_by(id).await?.iter());
        // An event refers to an earlier one only.
        next = stands_on(&event).filter(|below| *below < id);
    }
    Ok(rebuilds)
}

fn add<'b>(rebuilds: &mut Rebuilds, builds: impl Iterator<Item = &'b BuildRecord>) {
    for build in builds.filter(|build| build.kind == ArtifactKind::Image) {
        let name = build.output.as_ref().map(|output| output.name.as_str()).unwrap_or_default();
        match (build.key.artifact.as_str().parse::<Nvr>(), name.parse()) {
            (Ok(original), Ok(nvr)) => {
                let demands = build.demands.clone();
                rebuilds.entry(original).or_insert(Rebuild { nvr, demands });
            }
            // It is rebuilt again.
            _ => tracing::warn!(build = build.id.0, name, "the result of a build has no name of an image"),
        }
    }
}

//! Packages of advisories that have not shipped, which are in no repository yet.

use super::{ImageComposes, Unshipped};
use crate::contracts::{Advisories, Advisory};
use crate::handlers::earlier::advisory_of;
use crate::handlers::rpm_advisory::SHIPPED;
use crate::image::Selection;
use crate::messages::errata::AdvisoryRpmsSigned;
use crate::messages::request::ManualRebuild;
use freshmaker::artifact::{ArtifactKind, Nvr};
use freshmaker::backend::{EventFilter, Remedy, Result};
use freshmaker::event::Event;
use freshmaker::handler::History;
use freshmaker::plan::Plan;
use freshmaker::rebuild::EventState;
use std::collections::{BTreeMap, BTreeSet};

impl ImageComposes {
    /// Returns the composes of an advisory that has not shipped, for all selected images, and of
    /// the advisories of earlier events that have not shipped either, for the images that these
    /// events build too.
    ///
    /// Only requests of people, and signed advisories, are about advisories that have not shipped,
    /// so only events of these are looked at.
    pub(super) async fn unshipped(
        &self,
        advisories: &dyn Advisories,
        advisory: &Advisory,
        selection: &Selection,
        history: &History,
    ) -> Result<Unshipped> {
        let names: BTreeSet<String> = selection.images().iter().map(|image| image.nvr.name().to_owned()).collect();
        if advisory.state == SHIPPED || names.is_empty() {
            return Ok(Vec::new());
        }
        let own = self.of_advisory(advisory, &advisories.builds(advisory.id).await?).await?;
        let mut unshipped = vec![(names.clone(), own)];
        for (id, shared) in others(history, advisory.id, &names).await? {
            let other = match advisories.advisory(id).await {
                Ok(other) if other.state == SHIPPED => continue,
                Ok(other) => other,
                // Nobody can take packages of an advisory that was deleted.
                Err(error) if error.remedy == Remedy::NotFound => continue,
                Err(error) => return Err(error),
            };
            unshipped.push((shared, self.of_advisory(&other, &advisories.builds(id).await?).await?));
        }
        Ok(unshipped)
    }
}

/// Returns the other advisories of events that build images of these names, each with those names.
async fn others(history: &History, own: u64, names: &BTreeSet<String>) -> Result<BTreeMap<u64, BTreeSet<String>>> {
    let states = vec![EventState::Initialized, EventState::Building, EventState::Complete];
    let mut others: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for event in history.events(EventFilter { states, ..EventFilter::default() }).await? {
        let early = [AdvisoryRpmsSigned::KIND, ManualRebuild::KIND].contains(&event.envelope.kind.as_str());
        let Some(id) = advisory_of(&event).filter(|id| *id != own && early) else { continue };
        let Some(plan) = history.plan(event.id).await? else { continue };
        let shared: BTreeSet<String> = images(&plan).filter(|name| names.contains(name)).collect();
        if !shared.is_empty() && takes_from_tags(&plan) {
            others.entry(id).or_default().extend(shared);
        }
    }
    Ok(others)
}

fn images(plan: &Plan) -> impl Iterator<Item = String> {
    let images = plan.nodes().filter(|node| node.artifact.kind == ArtifactKind::Image);
    images.filter_map(|node| Some(node.artifact.id.as_str().parse::<Nvr>().ok()?.name().to_owned()))
}

/// Returns whether the advisory of a plan had not shipped when it was made: it has a compose of a
/// tag.
fn takes_from_tags(plan: &Plan) -> bool {
    plan.nodes().any(|node| node.artifact.parameters.get("source_type") == Some(&"tag".into()))
}

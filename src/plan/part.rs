//! The part of a plan that is retried.
//!
//! When only the failed part of an event is retried, the handler makes a whole new plan, and the
//! engine cuts it down here to the artifacts that failed and what they need
//! (`engine::retry_event`). So the part is planned from the present state of the catalogs, and what
//! was built well is used as it is.

use super::nodes::Nodes;
use super::{Changed, Exclusion, Plan, PlanCycle, PlanNode};
use crate::artifact::{ArtifactId, ArtifactKind};
use crate::reason::Reason;
use crate::rebuild::Output;
use std::collections::{BTreeMap, BTreeSet};

impl Plan {
    /// Returns the part of this plan that builds these artifacts, and what they need of it: the
    /// repositories that are prepared for them, and everything that they are made from and that is
    /// not in `made`.
    ///
    /// All other builds are excluded for this reason. If a build of the part has one of them as
    /// parent, that parent counts as changed, with the content and name in `made`. Cost:
    /// O((n + m) log n).
    ///
    /// Example: `base` and `app` were built by an earlier event, `site` has failed.
    ///
    /// ```
    /// use freshmaker::artifact::Digest;
    /// use freshmaker::rebuild::Output;
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Reason};
    /// use std::collections::BTreeMap;
    ///
    /// let image = |name| Artifact::new(name, ArtifactKind::Image).with_source(name, None);
    /// let edges = [("app", "base"), ("site", "app")];
    /// let edges = edges.map(|(child, parent)| (child.into(), parent.into(), EdgeKind::ParentImage));
    /// let plan = ArtifactGraph::of(["base", "app", "site"].map(image), edges)?.planner().rebuild("base").plan()?;
    ///
    /// let output = Output { name: "app-1".into(), digest: Some(Digest::of(b"app")), contents: None };
    /// let made = BTreeMap::from([("base".into(), Output::default()), ("app".into(), output)]);
    /// let part = plan.part(&["site".into()].into(), &made, &Reason::new("built_before", "event 7 has built it"));
    /// assert_eq!(part.len(), 1);
    /// let site = part.node(&"site".into()).unwrap();
    /// assert_eq!(site.parent(&"app".into()).unwrap().name.as_deref(), Some("app-1"));
    /// assert_eq!(part.excluded(&"base".into()).unwrap().code, "built_before");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn part(&self, of: &BTreeSet<ArtifactId>, made: &BTreeMap<ArtifactId, Output>, why: &Reason) -> Self {
        let kept = self.with_needs(of, made);
        let mut plan = self.clone();
        let mut nodes: Vec<PlanNode> =
            self.nodes.values().filter(|node| kept.contains(&node.artifact.id)).cloned().collect();
        for parent in nodes.iter_mut().flat_map(|node| &mut node.parents) {
            if kept.contains(&parent.id) || !self.nodes.contains_key(&parent.id) {
                continue;
            }
            if let Some(output) = made.get(&parent.id) {
                parent.digest.clone_from(&output.digest);
                parent.name = Some(output.name.clone()).filter(|name| !name.is_empty());
            }
            plan.changed.insert(parent.id.clone(), Changed { digest: parent.digest.clone() });
        }
        number_waves(&mut nodes);
        let dropped = self.nodes.keys().filter(|id| !kept.contains(*id));
        plan.excluded.extend(dropped.map(|id| (id.clone(), Exclusion::from(why.clone()))));
        plan.cycles = self.cycles.iter().filter_map(|cycle| part_of_cycle(cycle, &kept)).collect();
        plan.nodes = Nodes::sorted(nodes);
        plan
    }

    /// Returns these artifacts, if they are built, and those of their parents that must be built
    /// too.
    fn with_needs(&self, of: &BTreeSet<ArtifactId>, made: &BTreeMap<ArtifactId, Output>) -> BTreeSet<ArtifactId> {
        let mut kept = BTreeSet::new();
        let mut open: Vec<&PlanNode> = of.iter().filter_map(|id| self.nodes.get(id)).collect();
        while let Some(node) = open.pop() {
            if kept.insert(node.artifact.id.clone()) {
                let parents = node.parents.iter().filter_map(|parent| self.nodes.get(&parent.id));
                let is_there = |parent: &PlanNode| made.contains_key(&parent.artifact.id);
                let repository = |parent: &PlanNode| parent.artifact.kind == ArtifactKind::Repository;
                open.extend(parents.filter(|parent| repository(parent) || !is_there(parent)));
            }
        }
        kept
    }
}

/// Numbers the waves without gaps. Their order stays, so that what waited still waits.
fn number_waves(nodes: &mut [PlanNode]) {
    let waves: BTreeSet<u32> = nodes.iter().map(|node| node.wave).collect();
    let numbers: BTreeMap<u32, u32> = waves.into_iter().zip(0..).collect();
    for node in nodes {
        node.wave = numbers.get(&node.wave).copied().unwrap_or(node.wave);
    }
}

/// Returns what is left of a cycle; `None` if its members no longer depend on each other.
fn part_of_cycle(cycle: &PlanCycle, kept: &BTreeSet<ArtifactId>) -> Option<PlanCycle> {
    let members: Vec<_> = cycle.members.iter().filter(|id| kept.contains(*id)).cloned().collect();
    let both = |(child, parent): &&(ArtifactId, ArtifactId)| kept.contains(child) && kept.contains(parent);
    let broken: Vec<_> = cycle.broken.iter().filter(both).cloned().collect();
    let is_group = cycle.broken.is_empty();
    (members.len() > 1 && (is_group || !broken.is_empty())).then_some(PlanCycle { members, broken })
}

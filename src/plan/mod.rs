//! The plan of a rebuild: which artifacts, in which order, why each is in and each other candidate out.

mod breaking;
mod diff;
mod estimate;
mod explain;
mod gate;
mod members;
mod nodes;
mod planner;
mod render;
mod selection;
mod sequence;
mod stored;

pub use diff::{Aspect, Change, CyclesDiff, Difference, NodeDiff, PlanDiff};
pub use estimate::{Estimates, Observation};
pub use explain::{Derivation, Excluded, Explanation, Start, Step};
pub use gate::{Ask, Gate};
pub use planner::{PlanError, Planner};
pub use render::{Format, UnknownFormat};
pub use sequence::CyclePolicy;

use crate::artifact::{Artifact, ArtifactId, Digest, Nvr};
use crate::graph::EdgeKind;
use crate::reason::Reason;
use nodes::Nodes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Why an artifact is rebuilt. The numbers are stored and shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuildReason {
    /// Not recorded.
    #[default]
    Unknown,
    /// Something it depends on was rebuilt.
    Dependency,
    /// What changed, or was asked for, is in it.
    DirectlyAffected,
}

impl RebuildReason {
    /// The stored number: 0 unknown, 1 directly affected, 2 dependency.
    #[must_use]
    pub fn number(self) -> i16 {
        match self {
            Self::Unknown => 0,
            Self::DirectlyAffected => 1,
            Self::Dependency => 2,
        }
    }

    /// The reason of a stored number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Unknown, Self::DirectlyAffected, Self::Dependency].into_iter().find(|reason| reason.number() == number)
    }
}

/// Something that changed and so started the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Its new content, if the event said so or the catalog knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// One thing an artifact is built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanParent {
    /// The parent.
    pub id: ArtifactId,
    /// In which roles it is used, without repetition.
    pub kinds: Vec<EdgeKind>,
    /// Content to use if the parent is not rebuilt by this plan: what it changed to, else its present content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What its rebuild is called in its build system; known once that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// One build-to-be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanNode {
    /// What is built, as the graph describes it. Shared with the graph and with clones of the plan.
    pub artifact: Arc<Artifact>,
    /// Why, in one word.
    pub reason: RebuildReason,
    /// Why, in names: the changed or rebuilt parents that put it into the plan.
    pub because: Vec<ArtifactId>,
    /// Why it was asked for itself, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Reason>,
    /// Everything it is built from, by name.
    pub parents: Vec<PlanParent>,
    /// Packages that the result must contain, or newer ones.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub demands: BTreeSet<Nvr>,
    /// Its distance from the start: every parent that it waits for is in an earlier wave.
    pub wave: u32,
    /// How long its build will probably take.
    #[serde(default)]
    pub estimate: Duration,
    /// Expected time from the start of this build to the end of the last one that waits for it.
    pub rank: Duration,
}

impl PlanNode {
    /// The parent of this name.
    #[must_use]
    pub fn parent(&self, id: &ArtifactId) -> Option<&PlanParent> {
        self.parents.binary_search_by(|parent| parent.id.cmp(id)).ok().map(|position| &self.parents[position])
    }
}

/// Why a candidate is not in the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// Stable code: `no_recipe`, `policy`, `parent_not_rebuilt`, `pinned_by_digest`, …
    pub code: String,
    /// The reason as a sentence.
    pub text: String,
    /// The excluded artifact that this one would only follow, if that is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<ArtifactId>,
}

impl From<Reason> for Exclusion {
    fn from(Reason { code, text }: Reason) -> Self {
        Self { code, text, follows: None }
    }
}

/// Artifacts of a plan that depend on each other in a cycle, and what was given up to order them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanCycle {
    /// Who is in the cycle, by name.
    pub members: Vec<ArtifactId>,
    /// The dependencies that are not waited for, as (child, parent). Empty if the members are one group, in which none waits for another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<(ArtifactId, ArtifactId)>,
}

/// A validated DAG of builds-to-be.
///
/// Made by [`ArtifactGraph::plan`](crate::ArtifactGraph::plan) or a [`Planner`]; never changes afterwards. Two equal plans have
/// the same [`hash`](Plan::hash) on any machine.
///
/// Its serialised form names its version. Forms of versions 1 and 2 can be read, and become version 2. Any other is refused, and so is a plan
/// that contradicts itself (a reason that names nothing, waves that do not follow the dependencies, …), with an error that names the place.
///
/// ```
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactId, ArtifactKind, EdgeKind, Policy};
///
/// let mut graph = ArtifactGraph::new();
/// graph.insert(Artifact::new("debian", ArtifactKind::Image));
/// graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
/// graph.insert(Artifact::new("vendor/agent", ArtifactKind::Image));
/// graph.depend("app", "debian", EdgeKind::ParentImage)?;
/// graph.depend("vendor/agent", "debian", EdgeKind::ParentImage)?;
///
/// let plan = graph.plan(&[ArtifactId::new("debian")], &Policy::allow_all())?;
/// assert!(plan.node(&"app".into()).is_some());
/// assert_eq!(plan.excluded(&"vendor/agent".into()).unwrap().code, "no_recipe");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "stored::Stored")]
pub struct Plan {
    version: u32,
    changed: BTreeMap<ArtifactId, Changed>,
    nodes: Nodes,
    excluded: BTreeMap<ArtifactId, Exclusion>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cycles: Vec<PlanCycle>,
}

/// The version of the plan's serialised form.
pub const PLAN_VERSION: u32 = 2;

impl Plan {
    /// The code of the reason of a repository that is prepared for those that take packages from it.
    pub const PREREQUISITE: &'static str = "prerequisite";

    /// What started it, by name.
    pub fn changed(&self) -> impl Iterator<Item = (&ArtifactId, &Changed)> {
        self.changed.iter()
    }

    /// The builds-to-be, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &PlanNode> {
        self.nodes.values()
    }

    /// The build-to-be of an artifact.
    #[must_use]
    pub fn node(&self, id: &ArtifactId) -> Option<&PlanNode> {
        self.nodes.get(id)
    }

    /// How many builds it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is nothing to build.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The candidates that are out, with the reason, by name.
    pub fn exclusions(&self) -> impl Iterator<Item = (&ArtifactId, &Exclusion)> {
        self.excluded.iter()
    }

    /// Why this candidate is out.
    #[must_use]
    pub fn excluded(&self, id: &ArtifactId) -> Option<&Exclusion> {
        self.excluded.get(id)
    }

    /// The builds of this plan that a build-to-be waits for: its parents in earlier waves.
    ///
    /// A parent that is rebuilt but not waited for lies in a cycle, see [`cycles`](Self::cycles).
    pub fn needs<'a>(&'a self, node: &'a PlanNode) -> impl Iterator<Item = &'a PlanNode> {
        node.parents.iter().filter_map(|parent| self.nodes.get(&parent.id)).filter(|parent| parent.wave < node.wave)
    }

    /// Cycles among the builds, and how they were resolved.
    #[must_use]
    pub fn cycles(&self) -> &[PlanCycle] {
        &self.cycles
    }

    /// Builds that could run at the same time, wave after wave.
    pub fn waves(&self) -> impl Iterator<Item = Vec<&PlanNode>> {
        let mut waves: BTreeMap<u32, Vec<&PlanNode>> = BTreeMap::new();
        for node in self.nodes.values() {
            waves.entry(node.wave).or_default().push(node);
        }
        waves.into_values()
    }

    /// The longest chain of expected build times: no number of builders finishes sooner.
    #[must_use]
    pub fn critical_path(&self) -> Duration {
        self.nodes.values().map(|node| node.rank).max().unwrap_or_default()
    }

    /// The builds of the longest chain, each waiting for the one before it; the first by name if several are as long.
    ///
    /// Its length is the [`critical_path`](Self::critical_path). To make one of them faster is the only way to make the whole faster.
    #[must_use]
    pub fn critical_builds(&self) -> Vec<&PlanNode> {
        let mut next: BTreeMap<&ArtifactId, &PlanNode> = BTreeMap::new();
        for node in self.nodes.values() {
            for parent in self.needs(node) {
                let longest = next.entry(&parent.artifact.id).or_insert(node);
                if longest.rank < node.rank {
                    *longest = node;
                }
            }
        }
        let mut chain = Vec::new();
        let mut here =
            self.nodes.values().reduce(|longest, node| if longest.rank < node.rank { node } else { longest });
        while let Some(node) = here {
            chain.push(node);
            here = next.get(&node.artifact.id).copied();
        }
        chain
    }

    /// No schedule with so many builders can be shorter: the larger of the critical path and the work divided by them.
    #[must_use]
    pub fn lower_bound(&self, builders: u32) -> Duration {
        let work = self.nodes.values().fold(Duration::ZERO, |work, node| work.saturating_add(node.estimate));
        self.critical_path().max(work / builders.max(1))
    }

    /// No schedule can be shorter if each build system has so many builders: the largest of the critical path and, for each system, its work
    /// divided by its builders. A system is named as the artifacts name it; `None` is the one of artifacts that name none.
    ///
    /// ```
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind};
    /// use std::time::Duration;
    ///
    /// let mut graph = ArtifactGraph::new();
    /// for name in ["a", "b", "c"] {
    ///     let image = Artifact::new(name, ArtifactKind::Image).with_source(name, None).with_system("slow");
    ///     graph.insert(image.with_estimate(Duration::from_secs(60)));
    /// }
    /// let plan = graph.planner().rebuild("a").rebuild("b").rebuild("c").plan()?;
    /// assert_eq!(plan.lower_bound_by(|system| if system == Some("slow") { 1 } else { 10 }), Duration::from_secs(180));
    /// # Ok::<(), freshmaker::plan::PlanError>(())
    /// ```
    #[must_use]
    pub fn lower_bound_by(&self, builders: impl Fn(Option<&str>) -> u32) -> Duration {
        let mut work: BTreeMap<Option<&str>, Duration> = BTreeMap::new();
        for node in self.nodes.values() {
            let work = work.entry(node.artifact.system.as_deref()).or_default();
            *work = work.saturating_add(node.estimate);
        }
        let busiest = work.into_iter().map(|(system, work)| work / builders(system).max(1)).max();
        self.critical_path().max(busiest.unwrap_or_default())
    }

    /// Parents outside the plan whose content nobody has told, by name.
    #[must_use]
    pub fn unknown_contents(&self) -> BTreeSet<ArtifactId> {
        let parents = self.nodes.values().flat_map(|node| &node.parents);
        let unknown = parents.filter(|parent| parent.digest.is_none() && !self.nodes.contains_key(&parent.id));
        unknown.map(|parent| parent.id.clone()).collect()
    }

    /// The same plan, with these contents where nobody has told them.
    #[must_use]
    pub fn with_contents(mut self, contents: &BTreeMap<ArtifactId, Digest>) -> Self {
        for parent in
            self.nodes.values_mut().flat_map(|node| &mut node.parents).filter(|parent| parent.digest.is_none())
        {
            parent.digest = contents.get(&parent.id).cloned();
        }
        self
    }

    /// The name of what this plan does: two plans that build the same for the same reasons in the same order have the same one on any machine.
    ///
    /// How long it will take is no part of it. That is learnt anew from every build, and somebody may have to confirm this name.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut plan = self.clone();
        for node in plan.nodes.values_mut() {
            (node.estimate, node.rank) = (Duration::ZERO, Duration::ZERO);
        }
        // Maps are ordered and the form has no floats, so equal plans have equal bytes; serialising cannot fail for such a form.
        Digest::of(&serde_json::to_vec(&plan).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_keep_their_numbers() {
        for (reason, number) in
            [(RebuildReason::Unknown, 0), (RebuildReason::DirectlyAffected, 1), (RebuildReason::Dependency, 2)]
        {
            assert_eq!(reason.number(), number);
            assert_eq!(RebuildReason::from_number(number), Some(reason));
        }
        assert!(RebuildReason::DirectlyAffected > RebuildReason::Dependency, "the stronger reason wins a join");
    }
}

//! The plan of a rebuild: which artifacts, in which order, why each is in and each other candidate
//! out.
//!
//! A [`Plan`] is made by [`ArtifactGraph::plan`](crate::ArtifactGraph::plan) from what changed, or
//! by a [`Planner`] from more than that. It is a value: nothing here asks a catalog, a storage or a
//! build system, and a plan never changes.
//!
//! # How a plan is made
//!
//! 1. *Selection.* From what changed, a walk goes from parents to children. An artifact without a
//!    recipe, or one that the policy forbids, is excluded with a reason, and the walk does not go
//!    on from it. What could only be reached through it is excluded as well and names it.
//! 2. *Prerequisites.* Repositories that are prepared on demand are added for what takes packages
//!    from them.
//! 3. *Order.* Strongly connected components among the selected artifacts are handled by the
//!    [`CyclePolicy`]: they are an error, one group, or broken at dependencies that may be given
//!    up. Then each build gets its wave, the longest path to it, and its rank, the longest path
//!    from it weighted with [`Estimates`].
//! 4. *Reasons.* Each build names the changed or rebuilt parents that put it into the plan.
//!
//! For n artifacts of the graph and m dependencies of what is reached, this takes O(n + m), a sort
//! of the names that the plan mentions, and the time to write the plan: names are compared once,
//! and all steps after that work on positions.
//!
//! # What can be asked of a plan
//!
//! | question | method |
//! |---|---|
//! | What is built, and what is not? | [`Plan::nodes`], [`Plan::exclusions`] |
//! | What can be built at the same time? | [`Plan::waves`] |
//! | Why is this artifact in, or why not? | [`Plan::explain`] |
//! | How many are out for which reason? | [`Plan::excluded_by_code`] |
//! | How long will it take at least? | [`Plan::lower_bound`] |
//! | Because of which builds? | [`Plan::critical_builds`] |
//! | How long will it take with a number of builders? | [`Plan::forecast`] |
//! | What would be different? ("what if") | [`Plan::diff`] |
//! | Does a person have to confirm it? | [`Plan::gate`], [`Plan::hash`] |
//! | How does it look? | [`Plan::render`], [`Plan::diagram`] on a page |
//!
//! # A worked example
//!
//! ```
//! use freshmaker::plan::CyclePolicy;
//! use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
//! use std::time::Duration;
//!
//! let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
//! let package = |name: &str, takes: u64| {
//!     Artifact::new(name, ArtifactKind::Rpm).with_source(name, None).with_estimate(minutes(takes))
//! };
//! // libc -> gcc -> app, libc -> app; "blob" has no recipe, and "tool" only follows it.
//! let graph = ArtifactGraph::of(
//!     [
//!         package("libc", 10),
//!         package("gcc", 60),
//!         package("app", 5),
//!         Artifact::new("blob", ArtifactKind::Rpm),
//!         package("tool", 5),
//!     ],
//!     [
//!         ("gcc".into(), "libc".into(), EdgeKind::Link),
//!         ("app".into(), "gcc".into(), EdgeKind::BuildDependency),
//!         ("app".into(), "libc".into(), EdgeKind::Link),
//!         ("blob".into(), "libc".into(), EdgeKind::Link),
//!         ("tool".into(), "blob".into(), EdgeKind::BuildDependency),
//!     ],
//! )?;
//! let plan = graph.planner().rebuild("libc").cycles(CyclePolicy::Reject).plan()?;
//!
//! let waves: Vec<usize> = plan.waves().map(|wave| wave.len()).collect();
//! assert_eq!(waves, [1, 1, 1], "app waits for gcc, which waits for libc");
//! assert_eq!(plan.node(&"libc".into()).unwrap().rank, minutes(10 + 60 + 5));
//! assert_eq!(plan.excluded(&"blob".into()).unwrap().code, "no_recipe");
//! assert_eq!(plan.excluded(&"tool".into()).unwrap().follows, Some("blob".into()));
//! // Along links only, gcc and app do not wait for each other.
//! let linked = graph.planner().rebuild("libc").along(EdgeKind::Link).plan()?;
//! assert_eq!(linked.waves().map(|wave| wave.len()).collect::<Vec<_>>(), [1, 2]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod breaking;
mod diff;
mod estimate;
mod explain;
mod gate;
mod hashing;
mod members;
mod nodes;
mod part;
mod planner;
mod render;
mod roles;
mod selection;
mod sequence;
mod stored;

pub use diff::{Aspect, Change, CyclesDiff, Difference, NodeDiff, PlanDiff};
pub use estimate::{Estimates, Observation};
pub use explain::{Derivation, Excluded, ExcludedGroup, Explanation, Start, Step};
pub use gate::{Ask, Gate};
pub(crate) use hashing::Hashing;
pub use planner::{PlanError, Planner};
pub(crate) use render::short;
pub use render::{Diagram, DiagramBox, Format, Mark, UnknownFormat};
pub use roles::Roles;
pub use sequence::CyclePolicy;

use crate::artifact::{Artifact, ArtifactId, Digest, Nvr};
use crate::reason::Reason;
use nodes::Nodes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Why an artifact is rebuilt, in one word. The numbers are stored and shown. The order is by
/// strength, not by number: where builds are joined, the stronger reason wins.
///
/// ```
/// use freshmaker::RebuildReason;
///
/// assert!(RebuildReason::DirectlyAffected > RebuildReason::Dependency);
/// assert_eq!(RebuildReason::from_number(1), Some(RebuildReason::DirectlyAffected));
/// assert_eq!(RebuildReason::from_number(7), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuildReason {
    /// Not recorded.
    #[default]
    Unknown,
    /// An artifact that it depends on is rebuilt.
    Dependency,
    /// It depends directly on what changed, or was asked for.
    DirectlyAffected,
}

impl RebuildReason {
    /// Returns the stored number: 0 unknown, 1 directly affected, 2 dependency.
    #[must_use]
    pub fn number(self) -> i16 {
        match self {
            Self::Unknown => 0,
            Self::DirectlyAffected => 1,
            Self::Dependency => 2,
        }
    }

    /// Returns the reason of a stored number; `None` for any other number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Unknown, Self::DirectlyAffected, Self::Dependency].into_iter().find(|reason| reason.number() == number)
    }
}

/// A change that started the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Its new content, if the event said so or the catalog knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// One artifact that another one is built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanParent {
    /// The parent.
    pub id: ArtifactId,
    /// The roles in which it is used, strongest first, without repetition.
    pub kinds: Roles,
    /// Content to use if the parent is not rebuilt by this plan: what it changed to, else its
    /// present content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Its name in its build system. That of a rebuild is known when it has ended, that of another
    /// parent if the [planner](Planner::known_as) was given it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A planned build: one node of a plan.
///
/// *Invariant:* `because` and `parents` are sorted by name without repetition, and each reason is
/// also a parent. *Invariant:* a parent that the plan rebuilds is in an earlier wave, or the
/// dependency is given up in one of [`Plan::cycles`], or no change is carried along it.
/// *Invariant:* `rank` is at least `estimate`.
///
/// ```
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, RebuildReason};
///
/// let mut graph = ArtifactGraph::new();
/// graph.insert(Artifact::new("debian", ArtifactKind::Image));
/// graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
/// graph.depend("app", "debian", EdgeKind::ParentImage)?;
///
/// let plan = graph.planner().changed("debian", None).plan()?;
/// let node = plan.node(&"app".into()).expect("it is built on debian");
/// assert_eq!((node.reason, node.wave), (RebuildReason::DirectlyAffected, 0));
/// assert_eq!(node.because, ["debian".into()]);
/// assert!(node.parent(&"debian".into()).is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanNode {
    /// The artifact, as the graph describes it. Shared with the graph and with clones of the plan.
    pub artifact: Arc<Artifact>,
    /// Why it is rebuilt, in one word.
    pub reason: RebuildReason,
    /// The changed or rebuilt parents that put it into the plan, by name. Empty for an artifact
    /// that was only asked for.
    pub because: Vec<ArtifactId>,
    /// Why it was asked for itself, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Reason>,
    /// Why it cannot be built although it should be, if that is known already. Its build fails at
    /// once with this reason, and what waits for it fails too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impediment: Option<Reason>,
    /// All artifacts that it is built from, by name.
    pub parents: Vec<PlanParent>,
    /// Packages that the result must contain, or newer ones.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub demands: BTreeSet<Nvr>,
    /// The number of its wave, from 0: every parent that it waits for is in an earlier wave.
    pub wave: u32,
    /// How long its build will probably take.
    #[serde(default)]
    pub estimate: Duration,
    /// The expected time from the start of this build to the end of the last build that waits for
    /// it, directly or indirectly.
    pub rank: Duration,
}

impl PlanNode {
    /// Returns the parent of this name; `None` if the artifact is not built from it.
    #[must_use]
    pub fn parent(&self, id: &ArtifactId) -> Option<&PlanParent> {
        self.parents.binary_search_by(|parent| parent.id.cmp(id)).ok().map(|position| &self.parents[position])
    }
}

/// Why a candidate is not in the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// Stable code, such as `no_recipe`, `policy` or `parent_not_rebuilt`; see
    /// [the list](crate::reason).
    pub code: String,
    /// The reason as a sentence.
    pub text: String,
    /// The excluded parent through which the change would have reached this artifact, if that is
    /// the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<ArtifactId>,
}

impl From<Reason> for Exclusion {
    fn from(Reason { code, text }: Reason) -> Self {
        Self { code, text, follows: None }
    }
}

/// Artifacts of a plan that depend on each other, and the dependencies that were given up to order
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanCycle {
    /// The members of the strongly connected component, by name.
    pub members: Vec<ArtifactId>,
    /// The dependencies that are not waited for, as (child, parent), by name. Empty if the members
    /// are one group, in which none waits for another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<(ArtifactId, ArtifactId)>,
}

/// A validated DAG of builds that are to be made.
///
/// A plan is made by [`ArtifactGraph::plan`](crate::ArtifactGraph::plan) or a [`Planner`] and never
/// changes afterwards. Two equal plans have the same [`hash`](Plan::hash) on any machine.
///
/// The serialized form names its version. Forms of versions 1 and 2 can be read, and become version
/// 2. Any other version is refused, and so is a plan that contradicts itself (a reason that names
/// nothing, waves that do not follow the dependencies, …), with an error that names the place.
///
/// *Invariant:* no artifact is both built and excluded. *Invariant:* each build can be reached from
/// something that changed or was asked for. *Invariant:* everything that is a list of names is
/// sorted.
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
///
/// let text = serde_json::to_string(&plan)?;
/// assert_eq!(serde_json::from_str::<freshmaker::Plan>(&text)?, plan);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "rebuild order")]
#[doc(alias = "build order")]
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
    /// The code of the reason of a repository that is prepared for the artifacts that take packages
    /// from it.
    pub const PREREQUISITE: &'static str = "prerequisite";

    /// The code of the reason of an artifact that was asked for with
    /// [`Planner::rebuild`], without a reason of the handler's own.
    pub const REQUESTED: &'static str = "requested";

    /// Returns what started the plan, by name.
    pub fn changed(&self) -> impl Iterator<Item = (&ArtifactId, &Changed)> {
        self.changed.iter()
    }

    /// Returns the planned builds, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &PlanNode> {
        self.in_order()
    }

    /// As [`nodes`](Self::nodes), as an iterator that can be kept.
    pub(crate) fn in_order(&self) -> std::slice::Iter<'_, PlanNode> {
        self.nodes.values()
    }

    /// Returns the planned build of an artifact; `None` if the plan does not build it.
    #[must_use]
    pub fn node(&self, id: &ArtifactId) -> Option<&PlanNode> {
        self.nodes.get(id)
    }

    /// Returns the number of builds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns whether there is nothing to build.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Returns the candidates that are not in the plan, with the reason of each, by name.
    pub fn exclusions(&self) -> impl Iterator<Item = (&ArtifactId, &Exclusion)> {
        self.excluded.iter()
    }

    /// Returns why this candidate is out; `None` if it is built, or if no change reaches it.
    #[must_use]
    pub fn excluded(&self, id: &ArtifactId) -> Option<&Exclusion> {
        self.excluded.get(id)
    }

    /// Returns the builds of this plan that a planned build waits for: its parents in earlier
    /// waves.
    ///
    /// A parent that is rebuilt but not waited for is in a cycle, see [`cycles`](Self::cycles), or
    /// no change is carried along the dependency.
    ///
    /// ```
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
    ///
    /// let package = |name| Artifact::new(name, ArtifactKind::Rpm).with_source(name, None);
    /// let linked = ("tool".into(), "lib".into(), EdgeKind::Link);
    /// let graph = ArtifactGraph::of(["lib", "tool"].map(package), [linked])?;
    /// let plan = graph.planner().rebuild("lib").plan()?;
    /// let tool = plan.node(&"tool".into()).unwrap();
    /// assert_eq!(plan.needs(tool).next().unwrap().artifact.id, "lib".into());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn needs<'a>(&'a self, node: &'a PlanNode) -> impl Iterator<Item = &'a PlanNode> {
        node.parents.iter().filter_map(|parent| self.nodes.get(&parent.id)).filter(|parent| parent.wave < node.wave)
    }

    /// Returns the cycles among the builds, and how they were resolved.
    #[doc(alias = "SCC")]
    #[doc(alias = "strongly connected components")]
    #[must_use]
    pub fn cycles(&self) -> &[PlanCycle] {
        &self.cycles
    }

    /// Returns the builds wave after wave. Those of one wave can run at the same time; a scheduler
    /// need not wait for a whole wave, since [`needs`](Self::needs) says what each build waits for.
    ///
    /// ```
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
    ///
    /// let package = |name| Artifact::new(name, ArtifactKind::Rpm).with_source(name, None);
    /// let graph = ArtifactGraph::of(["lib", "left", "right", "app"].map(package), [
    ///     ("left".into(), "lib".into(), EdgeKind::Link),
    ///     ("right".into(), "lib".into(), EdgeKind::Link),
    ///     ("app".into(), "left".into(), EdgeKind::Link),
    ///     ("app".into(), "right".into(), EdgeKind::Link),
    /// ])?;
    /// let plan = graph.planner().rebuild("lib").plan()?;
    /// assert_eq!(plan.waves().map(|wave| wave.len()).collect::<Vec<_>>(), [1, 2, 1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "levels")]
    #[doc(alias = "topological sort")]
    pub fn waves(&self) -> impl Iterator<Item = Vec<&PlanNode>> {
        let mut waves: BTreeMap<u32, Vec<&PlanNode>> = BTreeMap::new();
        for node in self.nodes.values() {
            waves.entry(node.wave).or_default().push(node);
        }
        waves.into_values()
    }

    /// Returns the length of the critical path in expected build times: no number of builders
    /// finishes sooner.
    #[doc(alias = "makespan")]
    #[must_use]
    pub fn critical_path(&self) -> Duration {
        self.nodes.values().map(|node| node.rank).max().unwrap_or_default()
    }

    /// Returns the builds of the critical path, each waiting for the one before it. If several
    /// paths are as long, the first by name is taken at each step.
    ///
    /// Its length is the [`critical_path`](Self::critical_path). The whole plan only becomes faster
    /// if one of these builds does. The critical path method (Kelley and Walker 1959): ranks are
    /// known already, so the path follows the largest rank among the children. Cost: O(m log n) for
    /// m dependencies.
    ///
    /// ```
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
    /// use std::time::Duration;
    ///
    /// let package = |name: &str, seconds| {
    ///     let estimate = Duration::from_secs(seconds);
    ///     Artifact::new(name, ArtifactKind::Rpm).with_source(name, None).with_estimate(estimate)
    /// };
    /// let link = |child: &str, parent: &str| (child.into(), parent.into(), EdgeKind::Link);
    /// let times = [("lib", 10), ("small", 1), ("large", 90), ("app", 5)];
    /// let packages = times.map(|(name, seconds)| package(name, seconds));
    /// let edges = [("small", "lib"), ("large", "lib"), ("app", "small"), ("app", "large")];
    /// let edges = edges.map(|(child, parent)| link(child, parent));
    /// let plan = ArtifactGraph::of(packages, edges)?.planner().rebuild("lib").plan()?;
    ///
    /// let chain = plan.critical_builds();
    /// let chain: Vec<_> = chain.iter().map(|node| node.artifact.id.as_str()).collect();
    /// assert_eq!(chain, ["lib", "large", "app"]);
    /// assert_eq!(plan.critical_path(), Duration::from_secs(105));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "longest path")]
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

    /// Returns a lower bound for the duration with this many builders: the larger of the critical
    /// path and the work divided by the number of builders. All build systems share these builders;
    /// 0 count as 1. For a number of each system see [`lower_bound_by`](Self::lower_bound_by).
    #[must_use]
    pub fn lower_bound(&self, builders: u32) -> Duration {
        let work = self.nodes.values().fold(Duration::ZERO, |work, node| work.saturating_add(node.estimate));
        self.critical_path().max(work / builders.max(1))
    }

    /// Returns a lower bound for the duration if each build system has this many builders: the
    /// largest of the critical path and, for each system, its work divided by its builders.
    ///
    /// A system is named as the artifacts name it; `None` is the system of artifacts that name
    /// none.
    ///
    /// ```
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind};
    /// use std::time::Duration;
    ///
    /// let mut graph = ArtifactGraph::new();
    /// for name in ["a", "b", "c"] {
    ///     let image = Artifact::new(name, ArtifactKind::Image).with_source(name, None);
    ///     graph.insert(image.with_system("slow").with_estimate(Duration::from_secs(60)));
    /// }
    /// let plan = graph.planner().rebuild("a").rebuild("b").rebuild("c").plan()?;
    /// let bound = plan.lower_bound_by(|system| if system == Some("slow") { 1 } else { 10 });
    /// assert_eq!(bound, Duration::from_secs(180));
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

    /// Returns the parents outside the plan whose content is not known, by name.
    #[must_use]
    pub fn unknown_contents(&self) -> BTreeSet<ArtifactId> {
        let parents = self.nodes.values().flat_map(|node| &node.parents);
        let unknown = parents.filter(|parent| parent.digest.is_none() && !self.nodes.contains_key(&parent.id));
        unknown.map(|parent| parent.id.clone()).collect()
    }

    /// Returns the same plan with these contents where the content of a parent is not known.
    ///
    /// ```
    /// use freshmaker::artifact::Digest;
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
    /// use std::collections::BTreeMap;
    ///
    /// let mut graph = ArtifactGraph::new();
    /// graph.insert(Artifact::new("node", ArtifactKind::Image));
    /// graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
    /// graph.depend("app", "node", EdgeKind::BuilderStage)?;
    /// let plan = graph.planner().rebuild("app").plan()?;
    /// assert_eq!(plan.unknown_contents(), ["node".into()].into());
    /// let contents = BTreeMap::from([("node".into(), Digest::of(b"layers"))]);
    /// assert!(plan.with_contents(&contents).unknown_contents().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_contents(mut self, contents: &BTreeMap<ArtifactId, Digest>) -> Self {
        for parent in
            self.nodes.values_mut().flat_map(|node| &mut node.parents).filter(|parent| parent.digest.is_none())
        {
            parent.digest = contents.get(&parent.id).cloned();
        }
        self
    }

    /// Returns the hash of the plan: two plans that build the same for the same reasons in the same
    /// order have the same hash on any machine.
    ///
    /// Estimates are not part of it: they change with every build, and a hash that a person is
    /// asked to confirm must stay valid.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut hashing = Hashing::new(self);
        loop {
            if let Some(hash) = hashing.step() {
                return hash;
            }
        }
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

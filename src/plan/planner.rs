//! The planner: collects what a plan is to be made of, and makes it.
//!
//! The steps of `Planner::plan`, each a module: `selection` decides which artifacts are in,
//! `members` numbers them in the order of names, `sequence` gives waves and ranks. Then the nodes
//! are written, in the order of names: with the parents that put each into the plan, demands,
//! estimates, and the reason if an artifact was asked for.
//!
//! The planner asks no catalog: the graph has to contain everything that may be affected, and all
//! parents of that (`ArtifactGraph::affected_by`).

use super::estimate::Estimates;
use super::members::{Members, Named, Position};
use super::nodes::Nodes;
use super::selection::Selection;
use super::sequence::{CyclePolicy, Sequence};
use super::{Changed, Exclusion, PLAN_VERSION, Plan, PlanNode, PlanParent, RebuildReason};
use crate::artifact::{ArtifactId, Digest, Nvr};
use crate::graph::{ArtifactGraph, CsrError, Cycle, EdgeKinds};
use crate::policy::{Facts, Policy};
use crate::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Says why no plan can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// An artifact that was named as changed or to be rebuilt is not in the graph.
    #[error("no artifact {0} is known to the catalog")]
    Unknown(ArtifactId),
    /// Artifacts to be rebuilt depend on each other, and the [`CyclePolicy`] does not allow it. The
    /// first cycle by name is named.
    #[error("affected artifacts depend on each other in a cycle: {0}")]
    Cycle(Cycle),
    /// There are more dependencies than can be numbered.
    #[error("the plan is too large: {0}")]
    TooLarge(CsrError),
}

/// Makes a [`Plan`] from a graph: say what changed or what to rebuild, then call
/// [`plan`](Self::plan). A planner can be used again; each call makes the same plan.
///
/// Names are looked up as the graph does: an alias stands for its artifact.
///
/// ```
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
///
/// let mut graph = ArtifactGraph::new();
/// graph.insert(Artifact::new("lib", ArtifactKind::Rpm).with_source("lib.git", None));
/// graph.insert(Artifact::new("tool", ArtifactKind::Rpm).with_source("tool.git", None));
/// graph.depend("tool", "lib", EdgeKind::BuildDependency)?;
///
/// assert_eq!(graph.planner().changed("lib", None).plan()?.len(), 1);
/// assert_eq!(graph.planner().rebuild("lib").plan()?.len(), 2);
/// assert_eq!(graph.planner().rebuild("lib").without_dependents().plan()?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "what-if")]
#[derive(Clone, Debug)]
#[must_use]
pub struct Planner<'a> {
    pub(super) graph: &'a ArtifactGraph,
    pub(super) changed: BTreeMap<ArtifactId, Changed>,
    pub(super) rebuild: BTreeMap<ArtifactId, (RebuildReason, Reason)>,
    pub(super) excluded: BTreeMap<ArtifactId, Reason>,
    demands: BTreeMap<ArtifactId, BTreeSet<Nvr>>,
    known_as: BTreeMap<ArtifactId, String>,
    pub(super) impediments: BTreeMap<ArtifactId, Reason>,
    pub(super) policy: Policy,
    pub(super) facts: Facts,
    pub(super) dependents: bool,
    pub(super) kinds: EdgeKinds,
    pub(super) depth: u32,
    cycles: CyclePolicy,
    estimates: Estimates,
}

impl ArtifactGraph {
    /// Returns the plan that follows from new content of these artifacts: everything that depends
    /// on them and that the policy allows. Cycles are an error; a [`planner`](Self::planner) can
    /// allow them.
    ///
    /// # Errors
    /// [`PlanError::Unknown`] for an artifact that is not in the graph, [`PlanError::Cycle`] if
    /// artifacts to be rebuilt depend on each other.
    #[doc(alias = "impact")]
    pub fn plan(&self, changed: &[ArtifactId], policy: &Policy) -> Result<Plan, PlanError> {
        changed.iter().fold(self.planner().policy(policy), |planner, id| planner.changed(id.clone(), None)).plan()
    }

    /// Starts a plan with more options than [`plan`](Self::plan) has.
    pub fn planner(&self) -> Planner<'_> {
        Planner {
            graph: self,
            changed: BTreeMap::new(),
            rebuild: BTreeMap::new(),
            excluded: BTreeMap::new(),
            demands: BTreeMap::new(),
            known_as: BTreeMap::new(),
            impediments: BTreeMap::new(),
            policy: Policy::allow_all(),
            facts: Facts::default(),
            dependents: true,
            kinds: EdgeKinds::ALL,
            depth: u32::MAX,
            cycles: CyclePolicy::default(),
            estimates: Estimates::default(),
        }
    }
}

impl Planner<'_> {
    /// Says that this artifact has new content, which was not made by this plan; artifacts that
    /// depend on it are affected. The digest is the new content, if it is known; else the one in
    /// the graph counts.
    ///
    /// The changed artifact itself is rebuilt only if another change reaches it.
    pub fn changed(mut self, id: impl Into<ArtifactId>, digest: Option<Digest>) -> Self {
        self.changed.insert(self.canonical(id.into()), Changed { digest });
        self
    }

    /// Requests a rebuild of this artifact itself, and of what depends on it.
    pub fn rebuild(self, id: impl Into<ArtifactId>) -> Self {
        self.rebuild_as(id, RebuildReason::DirectlyAffected, Reason::new(Plan::REQUESTED, "it was asked for"))
    }

    /// Requests a rebuild of this artifact itself, for a reason of the caller, and of what depends
    /// on it.
    ///
    /// ```
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, Reason, RebuildReason};
    ///
    /// let mut graph = ArtifactGraph::new();
    /// graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
    /// let why = Reason::new("contains_fixed", "it has curl 8.1, which was fixed");
    /// let plan = graph.planner().rebuild_as("app", RebuildReason::DirectlyAffected, why).plan()?;
    /// let node = plan.node(&"app".into()).unwrap();
    /// assert_eq!(node.asked.as_ref().unwrap().code, "contains_fixed");
    /// # Ok::<(), freshmaker::plan::PlanError>(())
    /// ```
    pub fn rebuild_as(mut self, id: impl Into<ArtifactId>, reason: RebuildReason, why: Reason) -> Self {
        self.rebuild.insert(self.canonical(id.into()), (reason, why));
        self
    }

    /// Excludes this artifact, for a reason of the caller. It need not be in the graph. Artifacts
    /// that a change reaches only through it are excluded as well.
    ///
    /// ```
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Reason};
    ///
    /// let package = |name| Artifact::new(name, ArtifactKind::Rpm).with_source(name, None);
    /// let graph = ArtifactGraph::of(["lib", "tool", "app"].map(package), [
    ///     ("tool".into(), "lib".into(), EdgeKind::Link),
    ///     ("app".into(), "tool".into(), EdgeKind::Link),
    /// ])?;
    /// let frozen = Reason::new("frozen", "the release is frozen");
    /// let plan = graph.planner().rebuild("lib").exclude("tool", frozen).plan()?;
    /// assert_eq!(plan.len(), 1);
    /// assert_eq!(plan.excluded(&"tool".into()).unwrap().code, "frozen");
    /// assert_eq!(plan.excluded(&"app".into()).unwrap().code, "parent_not_rebuilt");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn exclude(mut self, id: impl Into<ArtifactId>, why: Reason) -> Self {
        self.excluded.insert(self.canonical(id.into()), why);
        self
    }

    /// Demands that the result of this artifact, if it is rebuilt, contains this package or a newer
    /// one. The [`Verifier`](crate::backend::Verifier) of its build system checks that. Several
    /// packages can be demanded of one artifact.
    pub fn demand(mut self, id: impl Into<ArtifactId>, package: Nvr) -> Self {
        self.demands.entry(self.canonical(id.into())).or_default().insert(package);
        self
    }

    /// Gives the name under which the build system knows an artifact that is not rebuilt. Builds on
    /// that artifact get the name with their request, as they do for a parent that is rebuilt.
    ///
    /// ```
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
    ///
    /// let mut graph = ArtifactGraph::new();
    /// graph.insert(Artifact::new("base", ArtifactKind::Image));
    /// graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
    /// graph.depend("app", "base", EdgeKind::ParentImage)?;
    /// let plan = graph.planner().rebuild("app").known_as("base", "base-9.4-17").plan()?;
    /// let app = plan.node(&"app".into()).unwrap();
    /// assert_eq!(app.parent(&"base".into()).unwrap().name.as_deref(), Some("base-9.4-17"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn known_as(mut self, id: impl Into<ArtifactId>, name: impl Into<String>) -> Self {
        self.known_as.insert(self.canonical(id.into()), name.into());
        self
    }

    /// Says that this artifact cannot be built, for a reason of the caller, for example because its
    /// recipe could not be looked up. If it is to be rebuilt, it becomes a part of the plan, also
    /// without a recipe; its build fails at once, and so do the builds on it. With an
    /// [exclusion](Self::exclude) the event would end as if all was well.
    ///
    /// ```
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, RebuildReason, Reason};
    ///
    /// let mut graph = ArtifactGraph::new();
    /// graph.insert(Artifact::new("app", ArtifactKind::Image));
    /// let affected = Reason::new("affected", "it contains curl 8.1, older than curl 8.2");
    /// let why = Reason::new("lookup_error", "its build has no task in Koji");
    /// let planner = graph.planner().rebuild_as("app", RebuildReason::DirectlyAffected, affected);
    /// let plan = planner.impeded("app", why).plan()?;
    /// let node = plan.node(&"app".into()).unwrap();
    /// assert_eq!(node.impediment.as_ref().unwrap().code, "lookup_error");
    /// # Ok::<(), freshmaker::plan::PlanError>(())
    /// ```
    pub fn impeded(mut self, id: impl Into<ArtifactId>, why: Reason) -> Self {
        self.impediments.insert(self.canonical(id.into()), why);
        self
    }

    /// Limits the plan to the artifacts that were named, without what depends on them.
    pub fn without_dependents(mut self) -> Self {
        self.dependents = false;
        self
    }

    /// Carries changes on only along edges of these kinds, which alone decide on the order. The
    /// default is all kinds. The parents of a build are listed with all their kinds nevertheless.
    ///
    /// ```
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
    ///
    /// let package = |name| Artifact::new(name, ArtifactKind::Rpm).with_source(name, None);
    /// let graph = ArtifactGraph::of(["lib", "linked", "built"].map(package), [
    ///     ("linked".into(), "lib".into(), EdgeKind::Link),
    ///     ("built".into(), "lib".into(), EdgeKind::BuildDependency),
    /// ])?;
    /// // The interface of lib has changed: a transition.
    /// let plan = graph.planner().changed("lib", None).along(EdgeKind::Link).plan()?;
    /// assert_eq!(plan.nodes().next().unwrap().artifact.id, "linked".into());
    /// assert_eq!(plan.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "transition")]
    pub fn along(mut self, kinds: impl Into<EdgeKinds>) -> Self {
        self.kinds = kinds.into();
        self
    }

    /// Carries changes on over at most this many edges. The default is no limit. Packages that are
    /// linked against a library whose interface has changed are within 1.
    pub fn within(mut self, depth: u32) -> Self {
        self.depth = depth;
        self
    }

    /// Sets how cycles are handled. The default is [`CyclePolicy::Reject`].
    pub fn cycles(mut self, cycles: CyclePolicy) -> Self {
        self.cycles = cycles;
        self
    }

    /// Sets the estimates of how long builds take. The default are those of the graph alone.
    pub fn estimates(mut self, estimates: &Estimates) -> Self {
        self.estimates = estimates.clone();
        self
    }

    /// Sets the rules that say what may be rebuilt. The default allows everything.
    pub fn policy(mut self, policy: &Policy) -> Self {
        self.policy = policy.clone();
        self
    }

    /// Adds facts about the event, which rules of the policy can use in addition to those of each
    /// artifact.
    pub fn facts(mut self, facts: Facts) -> Self {
        self.facts = facts;
        self
    }

    /// Returns the plan. It is empty if nothing has to be rebuilt.
    ///
    /// Cost: O(n + m) for n artifacts of the graph and m dependencies of what is reached, and the
    /// sorting of the names that the plan mentions.
    ///
    /// # Errors
    /// [`PlanError::Unknown`] for an artifact that is not in the graph, [`PlanError::Cycle`] if the
    /// [`CyclePolicy`] does not allow a cycle, [`PlanError::TooLarge`] for more than 2³²
    /// dependencies.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        if let Some(unknown) = self.changed.keys().chain(self.rebuild.keys()).find(|id| self.graph.get(id).is_none()) {
            return Err(PlanError::Unknown(unknown.clone()));
        }
        let Selection { included, prepared, mut excluded } = Selection::of(self);
        let changed = self.changes();
        let members = Members::of(self.graph, &included, &changed, &self.estimates);
        let sequence = Sequence::of(self.graph, &members, self.kinds, self.cycles)?;
        let mut nodes = Vec::with_capacity(included.len());
        for &position in &members.members {
            let Named { id, index, .. } = members.at(position);
            let (because, followed) = self.because(&members, position);
            let parents = members.parents(position).iter().map(|(parent, kinds)| {
                let Named { id, digest, .. } = members.at(*parent);
                let name = self.known_as.get(id).filter(|_| !members.is_member(*parent)).cloned();
                PlanParent { id: id.clone(), kinds: (*kinds).into(), digest: digest.cloned(), name }
            });
            let asked = self.rebuild.get(id);
            let prerequisite = || {
                let text = "what is rebuilt takes packages from it";
                prepared.contains(index).then(|| Reason::new(Plan::PREREQUISITE, text))
            };
            nodes.push(PlanNode {
                artifact: Arc::clone(members.artifact(position)),
                reason: asked.map_or(followed, |(reason, _)| followed.max(*reason)),
                because,
                asked: asked.map(|(_, why)| why.clone()).or_else(prerequisite),
                parents: parents.collect(),
                impediment: self.impediments.get(id).cloned(),
                demands: self.demands.get(id).cloned().unwrap_or_default(),
                wave: sequence.waves[position],
                estimate: members.estimates[position],
                rank: sequence.ranks[position],
            });
        }
        let nodes = Nodes::sorted(nodes);
        self.explain_notes(&changed, &nodes, &mut excluded);
        Ok(Plan { version: PLAN_VERSION, changed, nodes, excluded, cycles: sequence.cycles })
    }

    /// The parents that put a member into the plan, by name, and how it follows from them.
    fn because(&self, members: &Members<'_>, position: Position) -> (Vec<ArtifactId>, RebuildReason) {
        let row = members.parents(position);
        let mut because = Vec::with_capacity(row.len());
        let mut followed = RebuildReason::Dependency;
        let carries = row.iter().filter(|(parent, kinds)| *parent != position && !kinds.common(self.kinds).is_empty());
        for &(parent, _) in carries {
            let Named { id, changed, .. } = members.at(parent);
            if *changed || members.is_member(parent) {
                because.push(id.clone());
                followed = if *changed { RebuildReason::DirectlyAffected } else { followed };
            }
        }
        (because, followed)
    }

    fn canonical(&self, id: ArtifactId) -> ArtifactId {
        self.graph.canonical(&id).cloned().unwrap_or(id)
    }

    /// What changed, with the content in the graph where the event does not name one.
    fn changes(&self) -> BTreeMap<ArtifactId, Changed> {
        let changed = self.changed.iter().map(|(id, changed)| {
            let present = || self.graph.get(id).and_then(|artifact| artifact.digest.clone());
            (id.clone(), Changed { digest: changed.digest.clone().or_else(present) })
        });
        changed.collect()
    }

    /// Candidates that nothing reaches only because the catalog noted a reason.
    fn explain_notes(
        &self,
        changed: &BTreeMap<ArtifactId, Changed>,
        nodes: &Nodes,
        excluded: &mut BTreeMap<ArtifactId, Exclusion>,
    ) {
        for (child, note) in self.graph.all_notes() {
            let reached = changed.contains_key(&note.parent) || nodes.contains_key(&note.parent);
            if reached && !nodes.contains_key(child) {
                excluded.entry(child.clone()).or_insert_with(|| Reason::new(&note.code, &note.text).into());
            }
        }
    }
}

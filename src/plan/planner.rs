use super::{Changed, PLAN_VERSION, Plan, PlanNode, PlanParent, RebuildReason};
use crate::artifact::{Artifact, ArtifactId, ArtifactKind, Digest};
use crate::graph::{ArtifactGraph, Cycle};
use crate::policy::{Facts, Policy};
use crate::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// What is said to have changed is not in the graph.
    #[error("no artifact {0} is known to the catalog")]
    Unknown(ArtifactId),
    /// Affected artifacts depend on each other in a circle, so no order is right.
    #[error("affected artifacts depend on each other in a circle: {0}")]
    Cycle(Cycle),
}

/// Makes a [`Plan`] from a graph: say what changed or what to rebuild, then [`plan`](Self::plan).
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
#[derive(Clone, Debug)]
#[must_use]
pub struct Planner<'a> {
    graph: &'a ArtifactGraph,
    changed: BTreeMap<ArtifactId, Changed>,
    rebuild: BTreeMap<ArtifactId, (RebuildReason, Reason)>,
    excluded: BTreeMap<ArtifactId, Reason>,
    policy: Policy,
    facts: Facts,
    dependents: bool,
}

impl ArtifactGraph {
    /// The plan that follows from new content of these artifacts: everything that depends on them and that the policy allows.
    ///
    /// # Errors
    /// [`PlanError::Unknown`] for an artifact that is not in the graph, [`PlanError::Cycle`] if no order is right.
    pub fn plan(&self, changed: &[ArtifactId], policy: &Policy) -> Result<Plan, PlanError> {
        changed.iter().fold(self.planner().policy(policy), |planner, id| planner.changed(id.clone(), None)).plan()
    }

    /// Starts a plan with more to say than [`plan`](Self::plan) takes.
    pub fn planner(&self) -> Planner<'_> {
        Planner {
            graph: self,
            changed: BTreeMap::new(),
            rebuild: BTreeMap::new(),
            excluded: BTreeMap::new(),
            policy: Policy::allow_all(),
            facts: Facts::default(),
            dependents: true,
        }
    }
}

impl Planner<'_> {
    /// This artifact has new content, made by somebody else; what depends on it is affected.
    pub fn changed(mut self, id: impl Into<ArtifactId>, digest: Option<Digest>) -> Self {
        self.changed.insert(self.canonical(id.into()), Changed { digest });
        self
    }

    /// This artifact itself is to be rebuilt, and then what depends on it.
    pub fn rebuild(self, id: impl Into<ArtifactId>) -> Self {
        self.rebuild_as(id, RebuildReason::DirectlyAffected, Reason::new("requested", "it was asked for"))
    }

    /// This artifact itself is to be rebuilt for a reason that the caller knows better, and then what depends on it.
    pub fn rebuild_as(mut self, id: impl Into<ArtifactId>, reason: RebuildReason, why: Reason) -> Self {
        self.rebuild.insert(self.canonical(id.into()), (reason, why));
        self
    }

    /// This artifact is not to be rebuilt, for a reason that the caller knows. It need not be in the graph.
    pub fn exclude(mut self, id: impl Into<ArtifactId>, why: Reason) -> Self {
        self.excluded.insert(self.canonical(id.into()), why);
        self
    }

    /// Only what was named is rebuilt.
    pub fn without_dependents(mut self) -> Self {
        self.dependents = false;
        self
    }

    /// The rules of what may be rebuilt.
    pub fn policy(mut self, policy: &Policy) -> Self {
        self.policy = policy.clone();
        self
    }

    /// Facts about the event, which the policy's rules may ask for beside those of each artifact.
    pub fn facts(mut self, facts: Facts) -> Self {
        self.facts = facts;
        self
    }

    /// The plan.
    ///
    /// # Errors
    /// [`PlanError::Unknown`] for an artifact that is not in the graph, [`PlanError::Cycle`] if no order is right.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        if let Some(unknown) = self.changed.keys().chain(self.rebuild.keys()).find(|id| self.graph.get(id).is_none()) {
            return Err(PlanError::Unknown(unknown.clone()));
        }
        let order = self.ordered_candidates()?;
        let mut plan = Plan {
            version: PLAN_VERSION,
            changed: self.changed.clone(),
            nodes: BTreeMap::new(),
            excluded: self.excluded.clone(),
            cycles: Vec::new(),
        };
        for (id, changed) in &mut plan.changed {
            let present = self.graph.get(id).and_then(|artifact| artifact.digest.clone());
            changed.digest = changed.digest.take().or(present);
        }
        for id in &order {
            let Some(artifact) = self.graph.get(id) else { continue };
            match self.decide(artifact, &plan) {
                Ok(node) => drop(plan.nodes.insert(id.clone(), node)),
                Err(Some(exclusion)) => drop(plan.excluded.insert(id.clone(), exclusion)),
                Err(None) => {}
            }
        }
        self.explain_notes(&mut plan);
        rank(&mut plan, &order);
        Ok(plan)
    }

    fn canonical(&self, id: ArtifactId) -> ArtifactId {
        self.graph.canonical(&id).cloned().unwrap_or(id)
    }

    /// Everything that may have to be rebuilt, parents before children.
    fn ordered_candidates(&self) -> Result<Vec<ArtifactId>, PlanError> {
        let mut candidates: BTreeSet<_> = self.rebuild.keys().cloned().collect();
        if self.dependents {
            let seeds: Vec<_> = self.changed.keys().chain(self.rebuild.keys()).cloned().collect();
            candidates.extend(self.graph.dependents(&seeds));
        }
        let parents_among = |id: &ArtifactId| {
            self.graph
                .parents(id)
                .into_iter()
                .map(|(parent, _)| parent)
                .filter(|parent| candidates.contains(*parent))
                .collect::<BTreeSet<_>>()
                .len()
        };
        let mut waiting: BTreeMap<&ArtifactId, usize> = candidates.iter().map(|id| (id, parents_among(id))).collect();
        let mut ready: Vec<&ArtifactId> = waiting.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
        let mut order = Vec::with_capacity(candidates.len());
        while let Some(id) = ready.pop() {
            order.push(id.clone());
            let children: BTreeSet<_> = self.graph.children(id).into_iter().map(|(child, _)| child).collect();
            for child in children {
                if let Some((child, count)) = candidates.get(child).and_then(|c| waiting.get_mut(c).map(|n| (c, n))) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(child);
                    }
                }
            }
        }
        if order.len() == candidates.len() {
            return Ok(order);
        }
        let cycles = self.graph.cycles().into_iter();
        let mut of_ours = cycles.filter(|cycle| cycle.members().iter().any(|member| candidates.contains(member)));
        // Whatever Kahn's algorithm leaves over has a cycle among its ancestors, and that cycle is among the candidates.
        match of_ours.next() {
            Some(cycle) => Err(PlanError::Cycle(cycle)),
            None => Ok(order),
        }
    }

    /// The build-to-be, the reason why not, or nothing if no change reaches the artifact.
    fn decide(&self, artifact: &Artifact, plan: &Plan) -> Result<PlanNode, Option<Reason>> {
        if let Some(why) = self.excluded.get(&artifact.id) {
            return Err(Some(why.clone()));
        }
        let asked = self.rebuild.get(&artifact.id);
        let parents = self.parents(artifact, plan);
        let because: Vec<_> = parents
            .iter()
            .map(|parent| &parent.id)
            .filter(|id| plan.changed.contains_key(*id) || plan.nodes.contains_key(*id))
            .cloned()
            .collect();
        if because.is_empty() && asked.is_none() {
            return Err(parents.iter().find_map(|parent| plan.excluded.get(&parent.id).map(|_| &parent.id)).map(
                |parent| {
                    Reason::new("parent_not_rebuilt", format!("it would only follow {parent}, which is not rebuilt"))
                },
            ));
        }
        if !artifact.buildable() {
            let text = "the catalog has no recipe for it: somebody else builds it";
            return Err(Some(Reason::new("no_recipe", text)));
        }
        let verdict = self.policy.judge(&self.facts.clone().about(artifact));
        if !verdict.allowed {
            return Err(Some(Reason::new("policy", verdict.to_string())));
        }
        let direct = because.iter().any(|id| plan.changed.contains_key(id));
        let followed = if direct { RebuildReason::DirectlyAffected } else { RebuildReason::Dependency };
        let wave = because.iter().filter_map(|id| plan.nodes.get(id)).map(|parent| parent.wave + 1).max().unwrap_or(0);
        Ok(PlanNode {
            artifact: artifact.clone(),
            reason: asked.map_or(followed, |(reason, _)| followed.max(*reason)),
            because,
            asked: asked.map(|(_, why)| why.clone()),
            parents,
            wave,
            estimate: estimate(artifact),
            rank: Duration::ZERO,
        })
    }

    fn parents(&self, artifact: &Artifact, plan: &Plan) -> Vec<PlanParent> {
        let mut parents: Vec<PlanParent> = Vec::new();
        for (id, kind) in self.graph.parents(&artifact.id) {
            match parents.last_mut().filter(|last| last.id == *id) {
                Some(last) => last.kinds.push(kind),
                None => parents.push(PlanParent {
                    id: id.clone(),
                    kinds: vec![kind],
                    digest: plan
                        .changed
                        .get(id)
                        .and_then(|changed| changed.digest.clone())
                        .or_else(|| self.graph.get(id).and_then(|parent| parent.digest.clone())),
                }),
            }
        }
        parents
    }

    /// Candidates that nothing reaches only because the catalog noted a reason.
    fn explain_notes(&self, plan: &mut Plan) {
        for (child, note) in self.graph.all_notes() {
            let reached = plan.changed.contains_key(&note.parent) || plan.nodes.contains_key(&note.parent);
            if reached && !plan.nodes.contains_key(child) {
                plan.excluded.entry(child.clone()).or_insert_with(|| Reason::new(&note.code, &note.text));
            }
        }
    }
}

/// How long a build takes that has no history, by kind: enough to order by, replaced by history as soon as there is some.
#[must_use]
fn estimate(artifact: &Artifact) -> Duration {
    artifact.estimate.unwrap_or(match artifact.kind {
        ArtifactKind::Repository => Duration::from_secs(120),
        _ => Duration::from_secs(600),
    })
}

fn rank(plan: &mut Plan, order: &[ArtifactId]) {
    let mut after: BTreeMap<ArtifactId, Duration> = BTreeMap::new();
    for id in order.iter().rev() {
        let Some(node) = plan.nodes.get_mut(id) else { continue };
        node.rank = node.estimate + after.get(id).copied().unwrap_or_default();
        for parent in &node.parents {
            let longest = after.entry(parent.id.clone()).or_default();
            *longest = node.rank.max(*longest);
        }
    }
}

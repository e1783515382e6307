//! The second step of planning: in which wave each selected artifact is built, and its rank.
//!
//! Called by `planner` with the `members`; everything here works on positions. Cycles are found
//! here, and refused, accepted as groups, or broken by `breaking`, as the `CyclePolicy` says. The
//! waves and ranks are written into the plan; what a build waits for follows from the waves alone
//! (`Plan::needs`).
//!
//! *Invariant:* whatever is done about cycles, a build only waits for builds of earlier waves, so
//! no plan can make builds wait for each other.

use super::PlanCycle;
use super::breaking::{Edge, break_cycle};
use super::members::{Members, Position};
use super::planner::PlanError;
use crate::graph::{Affected, ArtifactGraph, Csr, Cycle, EdgeKinds, Index as _, Table};
use std::collections::BTreeSet;
use std::time::Duration;

/// What a plan does about artifacts that depend on each other.
///
/// An artifact that depends on itself is no cycle: it is built with its own earlier version.
/// Artifacts that depend on each other only along kinds that the plan does not follow are no cycle
/// either, see [`Planner::along`](super::Planner::along).
///
/// ```
/// use freshmaker::plan::{CyclePolicy, PlanError};
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
///
/// let package = |name| Artifact::new(name, ArtifactKind::Rpm).with_source(name, None);
/// let graph = ArtifactGraph::of(["libc", "perl", "automake"].map(package), [
///     ("perl".into(), "libc".into(), EdgeKind::Link),
///     ("automake".into(), "perl".into(), EdgeKind::RuntimeContent),
///     ("libc".into(), "automake".into(), EdgeKind::BuildDependency),
/// ])?;
/// let planner = || graph.planner().rebuild("libc");
///
/// assert!(matches!(planner().plan(), Err(PlanError::Cycle(cycle)) if cycle.members().len() == 3));
/// let group = planner().cycles(CyclePolicy::Group).plan()?;
/// assert_eq!((group.waves().count(), group.cycles().len()), (1, 1));
/// let broken = planner().cycles(CyclePolicy::Break(EdgeKind::BuildDependency.into())).plan()?;
/// assert_eq!(broken.waves().count(), 3);
/// assert_eq!(broken.cycles()[0].broken, [("libc".into(), "automake".into())]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "SCC")]
#[doc(alias = "strongly connected components")]
#[doc(alias = "feedback arc set")]
#[doc(alias = "circular dependency")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CyclePolicy {
    /// Cycles are an error, which names the members and a path through them. Of several cycles the
    /// first by name is reported.
    #[default]
    Reject,
    /// The members of a cycle are one group. They are in one wave, and none waits for another: each
    /// is built with the earlier versions of the others. Artifacts after the group wait for those
    /// members that they depend on.
    Group,
    /// Dependencies of these kinds are given up where that is necessary: they are not waited for.
    ///
    /// The rule: the members are put into a sequence by the greedy heuristic of Eades, Lin and
    /// Smyth (1993), the first by name where it leaves a choice. Then dependencies are taken one by
    /// one: first those that are also of another kind, then those that agree with the sequence,
    /// then by their strongest kind in the order of [`EdgeKind::ALL`](crate::EdgeKind::ALL), then
    /// by name. A dependency that would close a cycle with those taken before is given up. If that
    /// is not allowed for its kinds, there is no plan.
    ///
    /// To find as few dependencies as possible is NP-hard (feedback arc set, Karp 1972). The
    /// heuristic gives up less than half of the dependencies of a cycle; of Debian 12 it gives up
    /// 1,774 of 51,812.
    Break(EdgeKinds),
}

/// In which order the members of a plan are built; tables have a row for each position.
///
/// *Invariant:* a member whose dependency on another one is not given up is in a later wave.
pub(super) struct Sequence {
    pub(super) waves: Table<Position, u32>,
    pub(super) ranks: Table<Position, Duration>,
    pub(super) cycles: Vec<PlanCycle>,
}

impl Sequence {
    /// Returns the sequence of these members.
    ///
    /// 1. The dependencies among the members become a [`Csr`] by position.
    /// 2. One question to it, with everything as changed, returns waves and cycles.
    /// 3. Cycles are refused, accepted as groups, or broken; then the question is asked again.
    /// 4. Ranks follow from the waves, last wave first.
    ///
    /// Cost: O(n + m) for n positions and m dependencies, and O(m log m) within cycles that are
    /// broken.
    pub(super) fn of(
        graph: &ArtifactGraph,
        members: &Members<'_>,
        kinds: EdgeKinds,
        policy: CyclePolicy,
    ) -> Result<Self, PlanError> {
        let mut csr = csr(members, kinds, &BTreeSet::new())?;
        let everything: Vec<_> = (0..csr.nodes()).collect();
        let mut affected = csr.affected(&everything);
        let mut found: Vec<Vec<Position>> = affected.cycles().map(positions).collect();
        // By the name of the first member: no artifact is in two of them.
        found.sort_unstable();
        let mut cycles = Vec::new();
        match policy {
            CyclePolicy::Reject => {
                let all = found.iter().map(|cycle| Cycle::among(graph, &members.indices(cycle), kinds));
                if let Some(cycle) = all.min() {
                    return Err(PlanError::Cycle(cycle));
                }
            }
            CyclePolicy::Group => {
                let group = |cycle: &Vec<Position>| PlanCycle { members: members.names(cycle), broken: Vec::new() };
                cycles.extend(found.iter().map(group));
            }
            CyclePolicy::Break(breakable) => {
                let edges = edges(members, kinds);
                let mut all_broken = BTreeSet::new();
                for (cycle, inside) in found.iter().zip(within(&found, members, &edges)) {
                    let broken = break_cycle(cycle, &inside, breakable).map_err(|hard| {
                        PlanError::Cycle(Cycle::among(graph, &members.indices(&hard), kinds.without(breakable)))
                    })?;
                    let name = |position: &Position| members.at(*position).id.clone();
                    let named = broken.iter().map(|(child, parent)| (name(child), name(parent)));
                    cycles.push(PlanCycle { members: members.names(cycle), broken: named.collect() });
                    all_broken.extend(broken);
                }
                csr = self::csr(members, kinds, &all_broken)?;
                affected = csr.affected(&everything);
            }
        }
        Ok(Self::measured(&csr, &affected, &members.estimates, cycles))
    }

    fn measured(csr: &Csr, affected: &Affected, durations: &Table<Position, Duration>, cycles: Vec<PlanCycle>) -> Self {
        let nanos = |duration: &Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let nanos: Vec<_> = durations.as_slice().iter().map(nanos).collect();
        let mut waves = Table::filled(0, durations.len());
        for (number, wave) in (0..).zip(affected.waves()) {
            wave.iter().for_each(|node| waves[Position::of(*node)] = number);
        }
        let ranks: Vec<_> = csr.ranks(affected, &nanos).into_iter().map(Duration::from_nanos).collect();
        Self { waves, ranks: ranks.into(), cycles }
    }
}

/// Nodes of a graph of positions, in ascending order, which is that of their names.
fn positions(nodes: &[u32]) -> Vec<Position> {
    let mut positions: Vec<_> = nodes.iter().copied().map(Position::of).collect();
    positions.sort_unstable();
    positions
}

/// The dependencies of these kinds among the members.
fn edges(members: &Members<'_>, kinds: EdgeKinds) -> Vec<Edge> {
    members.dependencies(kinds).map(|(parent, child, kinds)| Edge { parent, child, kinds }).collect()
}

/// The dependencies within each cycle.
fn within<'a>(cycles: &[Vec<Position>], members: &Members<'_>, edges: &'a [Edge]) -> Vec<Vec<&'a Edge>> {
    let mut cycle_of = Table::filled(usize::MAX, members.positions());
    for (number, cycle) in cycles.iter().enumerate() {
        cycle.iter().for_each(|position| cycle_of[*position] = number);
    }
    let mut within = vec![Vec::new(); cycles.len()];
    for edge in edges.iter().filter(|edge| cycle_of[edge.parent] == cycle_of[edge.child]) {
        if let Some(inside) = within.get_mut(cycle_of[edge.parent]) {
            inside.push(edge);
        }
    }
    within
}

/// The graph of the members by position, without these dependencies, each a child and a parent. A
/// position that is no member is a node without edges.
fn csr(members: &Members<'_>, kinds: EdgeKinds, broken: &BTreeSet<(Position, Position)>) -> Result<Csr, PlanError> {
    let kept = members.dependencies(kinds);
    let kept = kept.filter(|(parent, child, _)| broken.is_empty() || !broken.contains(&(*child, *parent)));
    let mut pairs = Vec::with_capacity(members.dependencies_max());
    kept.for_each(|(parent, child, _)| pairs.push((parent.number(), child.number())));
    let nodes = u32::try_from(members.positions()).unwrap_or(u32::MAX);
    Csr::new(nodes, &pairs).map_err(PlanError::TooLarge)
}

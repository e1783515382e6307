use super::PlanCycle;
use super::planner::PlanError;
use crate::artifact::ArtifactId;
use crate::graph::{ArtifactGraph, Csr, Cycle, DynamicGraph, EdgeKind, EdgeKinds, FrozenGraph};
use std::collections::BTreeSet;
use std::time::Duration;

/// What a plan does about artifacts that depend on each other in a circle.
///
/// An artifact that depends on itself is no circle: it is built with what there was before.
///
/// ```
/// use freshmaker::plan::{CyclePolicy, PlanError};
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
///
/// let packages = ["libc", "perl", "automake"].map(|name| Artifact::new(name, ArtifactKind::Rpm).with_source(name, None));
/// let graph = ArtifactGraph::of(packages, [
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CyclePolicy {
    /// There is no plan, but an error that names the members and a way around.
    #[default]
    Reject,
    /// The members of a circle are one group. They are in one wave, and none waits for another: each is built with what there was before. What comes after
    /// the group waits for those members that it depends on.
    Group,
    /// Dependencies of these kinds are given up where that is necessary: they are not waited for.
    ///
    /// The rule: within a circle dependencies are taken one by one, first those that are also of another kind, then by their strongest kind in the order of
    /// [`EdgeKind::ALL`], then by the names of child and parent. One that would close a circle with those taken before is given up. If that is not allowed for
    /// its kinds, there is no plan.
    Break(EdgeKinds),
}

/// In which order the members of a plan are built; everything in the order of the members.
pub(super) struct Sequence {
    pub(super) waves: Vec<u32>,
    pub(super) ranks: Vec<Duration>,
    pub(super) cycles: Vec<PlanCycle>,
}

/// A dependency between members of a plan.
struct Edge {
    /// The place of the parent among the members.
    parent: u32,
    child: u32,
    kinds: EdgeKinds,
}

impl Sequence {
    /// The sequence of these members, given by number in ascending order, with the duration of each.
    pub(super) fn of(
        graph: &ArtifactGraph,
        members: &[u32],
        kinds: EdgeKinds,
        policy: CyclePolicy,
        durations: &[Duration],
    ) -> Result<Self, PlanError> {
        let mut edges = edges(graph, members, kinds);
        let mut frozen = FrozenGraph::new(&csr(members, &edges)?);
        let circles: Vec<Vec<u32>> = frozen.cycles().map(<[u32]>::to_vec).collect();
        let numbers = |circle: &[u32]| circle.iter().map(|place| members[*place as usize]).collect::<Vec<_>>();
        let mut cycles = Vec::new();
        match policy {
            CyclePolicy::Reject => {
                let all = circles.iter().map(|circle| Cycle::among(graph, &numbers(circle), kinds));
                if let Some(cycle) = all.min() {
                    return Err(PlanError::Cycle(cycle));
                }
            }
            CyclePolicy::Group => {
                cycles.extend(
                    circles
                        .iter()
                        .map(|circle| PlanCycle { members: names(graph, &numbers(circle)), broken: Vec::new() }),
                );
            }
            CyclePolicy::Break(breakable) => {
                for circle in &circles {
                    let broken = Breaking { graph, members, edges: &edges, breakable }
                        .run(circle)
                        .map_err(|hard| PlanError::Cycle(Cycle::among(graph, &hard, kinds.without(breakable))))?;
                    let mut named: Vec<_> = broken
                        .iter()
                        .filter_map(|(parent, child)| {
                            let id = |place: u32| Some(graph.numbered(members[place as usize])?.id.clone());
                            Some((id(*child)?, id(*parent)?))
                        })
                        .collect();
                    named.sort_unstable();
                    cycles.push(PlanCycle { members: names(graph, &numbers(circle)), broken: named });
                    edges.retain(|edge| !broken.contains(&(edge.parent, edge.child)));
                }
                frozen = FrozenGraph::new(&csr(members, &edges)?);
            }
        }
        cycles.sort_unstable_by(|a, b| a.members.cmp(&b.members));
        Ok(Self::measured(&frozen, durations, cycles))
    }

    fn measured(frozen: &FrozenGraph, durations: &[Duration], cycles: Vec<PlanCycle>) -> Self {
        let everything: Vec<_> = (0..frozen.nodes()).collect();
        let nanos: Vec<_> = durations.iter().map(|it| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX)).collect();
        let mut search = frozen.search();
        let mut waves = vec![0; durations.len()];
        for (number, wave) in (0..).zip(search.affected(&everything).waves()) {
            wave.iter().for_each(|place| waves[*place as usize] = number);
        }
        let ranks = search.ranks(&nanos);
        let ranks = everything.iter().map(|place| Duration::from_nanos(ranks.get(*place))).collect();
        Self { waves, ranks, cycles }
    }
}

/// The dependencies of these kinds among the members.
fn edges(graph: &ArtifactGraph, members: &[u32], kinds: EdgeKinds) -> Vec<Edge> {
    let place = |number: u32| members.binary_search(&number).ok().and_then(|place| u32::try_from(place).ok());
    let mut edges = Vec::new();
    for (child, number) in (0..).zip(members) {
        for (parent, found) in graph.numbered_parents(*number) {
            let kinds = found.common(kinds);
            if let Some(parent) = place(parent).filter(|_| !kinds.is_empty()) {
                edges.push(Edge { parent, child, kinds });
            }
        }
    }
    edges
}

fn csr(members: &[u32], edges: &[Edge]) -> Result<Csr, PlanError> {
    let pairs: Vec<_> = edges.iter().map(|edge| (edge.parent, edge.child)).collect();
    let nodes = u32::try_from(members.len()).unwrap_or(u32::MAX);
    Csr::new(nodes, &pairs).map_err(PlanError::TooLarge)
}

fn names(graph: &ArtifactGraph, numbers: &[u32]) -> Vec<ArtifactId> {
    let mut names: Vec<_> =
        numbers.iter().filter_map(|number| graph.numbered(*number)).map(|artifact| artifact.id.clone()).collect();
    names.sort_unstable();
    names
}

/// The rule of [`CyclePolicy::Break`].
struct Breaking<'a> {
    graph: &'a ArtifactGraph,
    members: &'a [u32],
    edges: &'a [Edge],
    breakable: EdgeKinds,
}

impl Breaking<'_> {
    /// The dependencies, parent and child, that are given up within a circle; or the numbers of members that are in a circle without them.
    fn run(&self, circle: &[u32]) -> Result<BTreeSet<(u32, u32)>, Vec<u32>> {
        let mut local: Vec<_> = circle.iter().copied().zip(0..).collect();
        local.sort_unstable();
        let number = |place: u32| local.binary_search_by_key(&place, |(place, _)| *place).ok().map(|at| local[at].1);
        let inside = self.edges.iter().filter_map(|edge| Some((edge, number(edge.parent)?, number(edge.child)?)));
        let mut taken: Vec<_> = inside.filter(|(_, parent, child)| parent != child).collect();
        taken.sort_by_cached_key(|(edge, ..)| self.rank(edge));
        let mut graph = DynamicGraph::new();
        for _ in circle {
            graph.add(0);
        }
        let mut broken = BTreeSet::new();
        for (edge, parent, child) in taken {
            if !graph.closes_cycle(parent, child) {
                graph.insert(parent, child);
            } else if edge.kinds.without(self.breakable).is_empty() {
                broken.insert((edge.parent, edge.child));
            } else {
                graph.insert(parent, child);
                let members = graph.component(parent).iter().map(|at| self.members[circle[*at as usize] as usize]);
                return Err(members.collect());
            }
        }
        Ok(broken)
    }

    fn rank(&self, edge: &Edge) -> (bool, Option<EdgeKind>, Option<&ArtifactId>, Option<&ArtifactId>) {
        let name = |place: u32| self.graph.numbered(self.members[place as usize]).map(|artifact| &artifact.id);
        let may_break = edge.kinds.without(self.breakable).is_empty();
        (may_break, edge.kinds.iter().next(), name(edge.child), name(edge.parent))
    }
}

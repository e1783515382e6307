use super::PlanCycle;
use super::breaking::{Edge, break_circle};
use super::planner::PlanError;
use crate::artifact::ArtifactId;
use crate::graph::{ArtifactGraph, Csr, Cycle, EdgeKinds, FrozenGraph};
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
    /// The rule: the members are put into a sequence by the greedy heuristic of Eades, Lin and Smyth (1993), the first by name where it leaves a choice. Then
    /// dependencies are taken one by one: first those that are also of another kind, then those that agree with the sequence, then by their strongest kind in the
    /// order of [`EdgeKind::ALL`](crate::EdgeKind::ALL), then by name. One that would close a circle with those taken before is given up. If that is not
    /// allowed for its kinds, there is no plan.
    Break(EdgeKinds),
}

/// In which order the members of a plan are built; everything in the order of the members.
pub(super) struct Sequence {
    pub(super) waves: Vec<u32>,
    pub(super) ranks: Vec<Duration>,
    pub(super) cycles: Vec<PlanCycle>,
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
                let mut all_broken = BTreeSet::new();
                for (circle, inside) in circles.iter().zip(within(&circles, members.len(), &edges)) {
                    let mut places = circle.clone();
                    // Their order decides where the rule leaves a choice, so it is that of the names.
                    places.sort_unstable_by_key(|place| graph.numbered(members[*place as usize]).map(|it| &it.id));
                    let broken = break_circle(&places, &inside, breakable).map_err(|hard| {
                        PlanError::Cycle(Cycle::among(graph, &numbers(&hard), kinds.without(breakable)))
                    })?;
                    let id = |place: u32| Some(graph.numbered(members[place as usize])?.id.clone());
                    let named = broken.iter().filter_map(|(parent, child)| Some((id(*child)?, id(*parent)?)));
                    let mut named: Vec<_> = named.collect();
                    named.sort_unstable();
                    cycles.push(PlanCycle { members: names(graph, &numbers(circle)), broken: named });
                    all_broken.extend(broken);
                }
                edges.retain(|edge| !all_broken.contains(&(edge.parent, edge.child)));
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

/// The dependencies within each circle.
fn within<'a>(circles: &[Vec<u32>], members: usize, edges: &'a [Edge]) -> Vec<Vec<&'a Edge>> {
    let mut circle_of = vec![usize::MAX; members];
    for (number, circle) in circles.iter().enumerate() {
        circle.iter().for_each(|place| circle_of[*place as usize] = number);
    }
    let mut within = vec![Vec::new(); circles.len()];
    for edge in edges.iter().filter(|edge| circle_of[edge.parent as usize] == circle_of[edge.child as usize]) {
        if let Some(inside) = within.get_mut(circle_of[edge.parent as usize]) {
            inside.push(edge);
        }
    }
    within
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

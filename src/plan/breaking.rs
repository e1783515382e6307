//! Where cycles are broken: which dependencies of a cycle are given up by `CyclePolicy::Break`.
//!
//! Called by `sequence` for each cycle, which then orders the members again without the
//! dependencies that were given up. The choice is fixed by kinds and names, so that equal graphs
//! give equal plans.
//!
//! *Invariant:* only dependencies of the permitted kinds are given up. *Invariant:* each of them
//! would close a cycle with those that are kept, so none is given up without need.

use super::members::Position;
use crate::graph::{Csr, DynamicGraph, EdgeKinds};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// A dependency between two members of a plan.
pub(super) struct Edge {
    pub(super) parent: Position,
    pub(super) child: Position,
    pub(super) kinds: EdgeKinds,
}

/// The rule of [`CyclePolicy::Break`](super::CyclePolicy::Break) for the members of one cycle, in
/// ascending order, and the dependencies between them.
///
/// Returns the dependencies that are given up, as (child, parent). The rest is acyclic, and each
/// dependency that is given up would close a cycle with the rest.
///
/// The dependencies are added to a [`DynamicGraph`] one by one, the most important ones first; it
/// says of each whether it would close a cycle. Cost: O(m log m) for m dependencies and the
/// searches of the dynamic graph.
///
/// # Errors
/// Members that are in a cycle even without the dependencies that may be given up.
pub(super) fn break_cycle(
    cycle: &[Position],
    edges: &[&Edge],
    breakable: EdgeKinds,
) -> Result<BTreeSet<(Position, Position)>, Vec<Position>> {
    let number = |position: Position| cycle.binary_search(&position).ok().and_then(|at| u32::try_from(at).ok());
    let inside = edges.iter().filter_map(|edge| Some((number(edge.parent)?, number(edge.child)?, edge)));
    let mut inside: Vec<_> = inside.filter(|(parent, child, _)| parent != child).collect();
    let pairs: Vec<_> = inside.iter().map(|(parent, child, _)| (*parent, *child)).collect();
    let place = greedy(&Csr::of(cycle.len(), &pairs));
    inside.sort_unstable_by_key(|(parent, child, edge)| {
        let may_break = edge.kinds.without(breakable).is_empty();
        (may_break, place[*parent as usize] > place[*child as usize], edge.kinds.iter().next(), *child, *parent)
    });
    let mut kept = DynamicGraph::new();
    for _ in cycle {
        kept.add(0);
    }
    let mut broken = BTreeSet::new();
    for (parent, child, edge) in inside {
        if !kept.closes_cycle(parent, child) {
            kept.insert(parent, child);
        } else if edge.kinds.without(breakable).is_empty() {
            broken.insert((edge.child, edge.parent));
        } else {
            kept.insert(parent, child);
            return Err(kept.component(parent).iter().map(|number| cycle[*number as usize]).collect());
        }
    }
    Ok(broken)
}

/// A sequence of nodes against which few edges lead, as the place of each node: sinks go to the
/// end, sources to the beginning, and else the node goes next that has the most edges out of it
/// less those into it.
///
/// The heuristic of Eades, Lin and Smyth (1993) for the feedback arc set problem, with an ordered
/// set instead of buckets: O((n + m) log n) for n nodes and m edges. Of nodes whose turn is the
/// same, the one with the lowest number is taken. A worked example, with the edges 0-1, 1-2, 2-0,
/// 0-2:
///
/// 1. The degrees (out, in) are 0: (2, 1), 1: (1, 1), 2: (1, 2); there is no sink and no source.
/// 2. 0 has the largest surplus, so it gets the first place. Left are 1: (1, 0) and 2: (0, 1).
/// 3. 2 is a sink now and gets the last place; 1 gets the place between.
/// 4. Against the sequence 0, 1, 2 leads only 2-0: to give it up is enough.
fn greedy(graph: &Csr) -> Vec<usize> {
    let nodes = graph.nodes();
    let degrees = |node| Degrees { out: graph.children(node).len(), into: graph.parents(node).len() };
    let mut degrees: Vec<_> = (0..nodes).map(degrees).collect();
    let mut open: BTreeSet<_> = (0..nodes).map(|node| (degrees[node as usize].turn(), node)).collect();
    let (mut place, mut first, mut last) = (vec![usize::MAX; degrees.len()], 0, degrees.len());
    while let Some((_, node)) = open.pop_first() {
        if degrees[node as usize].out == 0 {
            last -= 1;
            place[node as usize] = last;
        } else {
            place[node as usize] = first;
            first += 1;
        }
        let below = graph.children(node).iter().map(|child| (*child, 0, 1));
        let above = graph.parents(node).iter().map(|parent| (*parent, 1, 0));
        for (other, out, into) in below.chain(above) {
            let degrees = &mut degrees[other as usize];
            if open.remove(&(degrees.turn(), other)) {
                degrees.out -= out;
                degrees.into -= into;
                open.insert((degrees.turn(), other));
            }
        }
    }
    place
}

/// How many edges to nodes that have no place yet lead out of a node, and into it.
struct Degrees {
    out: usize,
    into: usize,
}

impl Degrees {
    /// Whose turn it is: sinks, then sources, then the others by how much more leads out of them
    /// than into them.
    fn turn(&self) -> (u8, Reverse<usize>, usize) {
        match (self.out, self.into) {
            (0, _) => (0, Reverse(0), 0),
            (_, 0) => (1, Reverse(0), 0),
            (out, into) => (2, Reverse(out.saturating_sub(into)), into.saturating_sub(out)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_a_place_and_few_edges_lead_against_them() {
        let mut rng = fastrand::Rng::with_seed(2);
        for _ in 0..200 {
            let nodes = rng.usize(1..9);
            let mut edges: BTreeSet<_> = (0..rng.usize(..20))
                .map(|_| (rng.usize(..nodes) as u32, rng.usize(..nodes) as u32))
                .filter(|(parent, child)| parent != child)
                .collect();
            let against = |edges: &BTreeSet<(u32, u32)>| {
                let edges: Vec<_> = edges.iter().copied().collect();
                let place = greedy(&Csr::of(nodes, &edges));
                let mut sorted = place.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..nodes).collect::<Vec<_>>());
                edges.iter().filter(|(parent, child)| place[*parent as usize] > place[*child as usize]).count()
            };
            assert!(2 * against(&edges) <= edges.len(), "less than half of {edges:?}");
            edges.retain(|(parent, child)| parent < child);
            assert_eq!(against(&edges), 0, "what has no cycle has nothing to give up");
        }
    }
}

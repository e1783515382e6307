use crate::graph::{DynamicGraph, EdgeKinds};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// A dependency between two members of a plan, by their places among the members.
pub(super) struct Edge {
    pub(super) parent: u32,
    pub(super) child: u32,
    pub(super) kinds: EdgeKinds,
}

/// The rule of [`CyclePolicy::Break`](super::CyclePolicy::Break) for the members of one circle, in the order of their names, and the dependencies between
/// them: those, parent and child, that are given
/// up; or members that are in a circle without them.
pub(super) fn break_circle(
    circle: &[u32],
    edges: &[&Edge],
    breakable: EdgeKinds,
) -> Result<BTreeSet<(u32, u32)>, Vec<u32>> {
    let mut numbers: Vec<(u32, u32)> = circle.iter().copied().zip(0..).collect();
    numbers.sort_unstable();
    let number = |place: u32| numbers.binary_search_by_key(&place, |(place, _)| *place).ok().map(|at| numbers[at].1);
    let inside = edges.iter().filter_map(|edge| Some((number(edge.parent)?, number(edge.child)?, edge)));
    let mut inside: Vec<_> = inside.filter(|(parent, child, _)| parent != child).collect();
    let place = greedy(circle.len(), inside.iter().map(|(parent, child, _)| (*parent, *child)));
    inside.sort_unstable_by_key(|(parent, child, edge)| {
        let may_break = edge.kinds.without(breakable).is_empty();
        (may_break, place[*parent as usize] > place[*child as usize], edge.kinds.iter().next(), *child, *parent)
    });
    let mut kept = DynamicGraph::new();
    for _ in circle {
        kept.add(0);
    }
    let mut broken = BTreeSet::new();
    for (parent, child, edge) in inside {
        if !kept.closes_cycle(parent, child) {
            kept.insert(parent, child);
        } else if edge.kinds.without(breakable).is_empty() {
            broken.insert((edge.parent, edge.child));
        } else {
            kept.insert(parent, child);
            return Err(kept.component(parent).iter().map(|number| circle[*number as usize]).collect());
        }
    }
    Ok(broken)
}

/// A sequence of nodes against which few edges lead, as the place of each: sinks go to the end, sources to the beginning, and else the node with the most edges
/// out of it less those into it.
fn greedy(nodes: usize, edges: impl Iterator<Item = (u32, u32)>) -> Vec<usize> {
    let (mut children, mut parents) = (vec![Vec::new(); nodes], vec![Vec::new(); nodes]);
    for (parent, child) in edges {
        children[parent as usize].push(child);
        parents[child as usize].push(parent);
    }
    let mut degrees: Vec<_> =
        (0..nodes).map(|node| Degrees { out: children[node].len(), into: parents[node].len() }).collect();
    let mut open: BTreeSet<_> = (0..nodes).map(|node| (degrees[node].turn(), node)).collect();
    let (mut place, mut first, mut last) = (vec![usize::MAX; nodes], 0, nodes);
    while let Some((_, node)) = open.pop_first() {
        if degrees[node].out == 0 {
            last -= 1;
            place[node] = last;
        } else {
            place[node] = first;
            first += 1;
        }
        let below = children[node].iter().map(|child| (*child as usize, 0, 1));
        let above = parents[node].iter().map(|parent| (*parent as usize, 1, 0));
        for (other, out, into) in below.chain(above) {
            if open.remove(&(degrees[other].turn(), other)) {
                degrees[other].out -= out;
                degrees[other].into -= into;
                open.insert((degrees[other].turn(), other));
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
    /// Whose turn it is: sinks, then sources, then the others by how much more leads out of them than into them.
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
                let place = greedy(nodes, edges.iter().copied());
                let mut sorted = place.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..nodes).collect::<Vec<_>>());
                edges.iter().filter(|(parent, child)| place[*parent as usize] > place[*child as usize]).count()
            };
            assert!(2 * against(&edges) <= edges.len(), "less than half of {edges:?}");
            edges.retain(|(parent, child)| parent < child);
            assert_eq!(against(&edges), 0, "what has no circle has nothing to give up");
        }
    }
}

//! How components are united and divided.

use super::DynamicGraph;
use crate::graph::csr::Csr;
use std::collections::BTreeSet;

/// If more than one in this many members breaks away from a component, the component is searched as
/// a whole.
const WHOLE_ABOVE: usize = 8;

/// Stands for a component while it is found out what belongs to it.
const NOWHERE: u32 = u32::MAX;

/// The end from which a search has reached a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reached {
    #[default]
    Not,
    /// From the start, along the edges.
    Forwards,
    /// From the target, against the edges.
    Backwards,
}

/// How a search from both ends has ended.
enum Search {
    /// A path leads from the start to the target.
    Met,
    /// No path does, and these are all nodes that can be reached from the one end within the
    /// component.
    Exhausted(Reached, Vec<u32>),
}

impl DynamicGraph {
    /// Makes one component of several, of which the first has the place for all. The one with the
    /// most neighbours takes in the others, so that the edges of a hub are not moved.
    ///
    /// Cost: O(d log d) for the d edges of the components that are taken in, and their members.
    pub(super) fn unite(&mut self, cycle: &[u32]) {
        let Some(&into) = cycle.iter().max_by_key(|component| self.between.degree(**component)) else { return };
        let mut moved = Vec::new();
        for &component in cycle.iter().filter(|component| **component != into) {
            let children: Vec<_> = self.between.children(component).filter(|(child, _)| *child != into).collect();
            let parents: Vec<_> = self.between.parents(component).filter(|(parent, _)| *parent != into).collect();
            self.between.isolate(component);
            for (child, edges) in children {
                let known = self.between.get(into, child).unwrap_or_default();
                self.between.set(into, child, known + edges);
            }
            for (parent, edges) in parents {
                let known = self.between.get(parent, into).unwrap_or_default();
                self.between.set(parent, into, known + edges);
            }
            let members = std::mem::take(&mut self.members[component as usize]);
            members.iter().for_each(|member| self.component_of[*member as usize] = into);
            self.free.push(component);
            moved.extend(members);
        }
        self.order.rename(cycle[0], into);
        self.members[into as usize].extend_from_slice(&moved);
        // Edges between these are within a component now, and no part of a chain.
        for &node in &moved {
            for parent in self.parents_within(node, into) {
                self.lower(parent, self.ranks[node as usize]);
            }
        }
        moved.into_iter().for_each(|node| self.recompute(node));
    }

    /// Divides the component of two nodes if, without the edge between them, it is no component any
    /// more.
    ///
    /// Without that edge every member still leads to the parent, and the child still leads to every
    /// member, because a shortest path does not come back to where it started. So the component
    /// holds if and only if a path still leads from the parent to the child.
    ///
    /// A worked example, with the cycle 0-1-2-0 and the edge 2-0 removed (parent 2, child 0):
    ///
    /// 1. The search asks for a path from 2 to 0. From 2 no edge is left, so the forward side is
    ///    exhausted with {2}: 2 has broken away at the end of the component.
    /// 2. Beside 2, against the edges, lies 1. Is 1 still in the component of the child 0? A search
    ///    from 1 to 0 finds 2 only, which is known to be away: 1 has broken away, too.
    /// 3. Components among the nodes that are away, {2, 1}, are {1} and {2}, parents first.
    /// 4. The rest is {0}. The order is {0}, {1}, {2} at the place of the old component.
    ///
    /// In a component as small as this one, step 2 ends at [`WHOLE_ABOVE`], and components are
    /// searched among all members instead.
    pub(super) fn divide(&mut self, parent: u32, child: u32) -> bool {
        let whole = self.component_of[parent as usize];
        let Search::Exhausted(end, part) = self.search(parent, child) else { return false };
        // What leads to the child has broken away, or what the parent leads to; the other one of
        // the two is in the rest.
        let rest = if end == Reached::Backwards { parent } else { child };
        let (parts, rest_at) = match self.breaking_away(part, end, rest) {
            Some(away) if end == Reached::Backwards => (self.parts(&away), usize::MAX),
            Some(away) => (self.parts(&away), 0),
            None => {
                let mut parts = self.parts(&self.members[whole as usize]);
                let largest = (0..parts.len()).max_by_key(|part| parts[*part].len()).unwrap_or_default();
                parts.remove(largest);
                (parts, largest)
            }
        };
        let moved: Vec<_> = parts.iter().flatten().copied().collect();
        let mut sequence: Vec<_> = parts.into_iter().map(|part| self.split_off(whole, part)).collect();
        let component_of = &self.component_of;
        self.members[whole as usize].retain(|node| component_of[*node as usize] == whole);
        sequence.insert(rest_at.min(sequence.len()), whole);
        self.order.divide(whole, &sequence);
        // Edges into and out of what was moved are in chains now, which only makes these longer.
        for &node in &moved {
            for above in self.parents(node).collect::<Vec<_>>() {
                if self.component_of[above as usize] != self.component_of[node as usize] {
                    self.raise(above, self.ranks[node as usize]);
                }
            }
        }
        moved.into_iter().for_each(|node| self.recompute(node));
        true
    }

    /// Finds all that has broken away from the component of `rest`, beginning with what a search
    /// has found; `None` if that is much, and to search the whole component is faster.
    ///
    /// What was found backwards is reached from nothing else, so what else has broken away lies
    /// behind it. What was found forwards is the mirror image.
    fn breaking_away(&mut self, part: Vec<u32>, end: Reached, rest: u32) -> Option<Vec<u32>> {
        let whole = self.component_of[rest as usize];
        let limit = self.members[whole as usize].len() / WHOLE_ABOVE;
        let (mut away, mut staying, mut next) = (part, BTreeSet::new(), 0);
        // So that no search goes there again.
        away.iter().for_each(|node| self.component_of[*node as usize] = NOWHERE);
        let mut few = away.len() <= limit;
        while let Some(&node) = away.get(next).filter(|_| few) {
            next += 1;
            let beside = if end == Reached::Backwards { self.links.children(node) } else { self.links.parents(node) };
            for (node, ()) in beside.collect::<Vec<_>>() {
                if self.component_of[node as usize] != whole || node == rest || !staying.insert(node) {
                    continue;
                }
                let (from, to) = if end == Reached::Backwards { (rest, node) } else { (node, rest) };
                match self.search(from, to) {
                    Search::Met => {}
                    Search::Exhausted(side, found) if side == end => {
                        found.iter().for_each(|node| self.component_of[*node as usize] = NOWHERE);
                        away.extend(found);
                    }
                    Search::Exhausted(..) => few = false,
                }
            }
            few &= away.len() <= limit;
        }
        away.iter().for_each(|node| self.component_of[*node as usize] = whole);
        few.then_some(away)
    }

    /// Searches a path between two nodes of a component from both ends, edge by edge in turn,
    /// because the searches usually meet soon. Cost: O(edges seen by the side that ends first).
    fn search(&mut self, from: u32, to: u32) -> Search {
        let component = self.component_of[from as usize];
        let mut reached = [vec![from], vec![to]];
        let mut next = [0, 0];
        let mut edges = [self.links.children(from), self.links.parents(to)];
        self.reached[from as usize] = Reached::Forwards;
        self.reached[to as usize] = Reached::Backwards;
        let mut turn = 0;
        let met = loop {
            let side = if turn == 0 { Reached::Forwards } else { Reached::Backwards };
            match edges[turn].next() {
                Some((node, ())) if self.component_of[node as usize] == component => {
                    let known = &mut self.reached[node as usize];
                    if *known == Reached::Not {
                        *known = side;
                        reached[turn].push(node);
                    } else if *known != side {
                        break None;
                    }
                    turn = 1 - turn;
                }
                Some(_) => turn = 1 - turn,
                None => {
                    next[turn] += 1;
                    let Some(&node) = reached[turn].get(next[turn]) else { break Some(side) };
                    edges[turn] = if turn == 0 { self.links.children(node) } else { self.links.parents(node) };
                }
            }
        };
        reached.iter().flatten().for_each(|node| self.reached[*node as usize] = Reached::Not);
        let [forwards, backwards] = reached;
        match met {
            None => Search::Met,
            Some(Reached::Forwards) => Search::Exhausted(Reached::Forwards, forwards),
            Some(side) => Search::Exhausted(side, backwards),
        }
    }

    fn parents_within(&self, node: u32, component: u32) -> Vec<u32> {
        self.parents(node).filter(|parent| self.component_of[*parent as usize] == component).collect()
    }

    /// Returns the components that some nodes with the edges between them consist of, parents
    /// first.
    fn parts(&self, nodes: &[u32]) -> Vec<Vec<u32>> {
        let mut local: Vec<_> = nodes.iter().copied().zip(0..).collect();
        local.sort_unstable();
        let number = |node: u32| local.binary_search_by_key(&node, |(node, _)| *node).ok().map(|at| local[at].1);
        let edges: Vec<(u32, u32)> = nodes
            .iter()
            .zip(0..)
            .flat_map(|(node, from)| self.links.children(*node).map(move |(child, ())| (from, child)))
            .filter_map(|(from, child)| number(child).map(|to| (from, to)))
            .collect();
        let size = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        let found = Csr::new(size, &edges).map(|part| part.components()).unwrap_or_default();
        found.iter().map(|members| members.iter().map(|member| nodes[*member as usize]).collect()).collect()
    }

    /// Makes some members of a component a component of their own, which has no place yet.
    fn split_off(&mut self, whole: u32, part: Vec<u32>) -> u32 {
        let new = self.new_component(Vec::new());
        part.iter().for_each(|node| self.component_of[*node as usize] = new);
        for &node in &part {
            let component_of = |(node, ()): (u32, ())| self.component_of[node as usize];
            let children: Vec<_> = self.links.children(node).map(component_of).collect();
            let parents: Vec<_> = self.links.parents(node).map(component_of).collect();
            for below in children.into_iter().filter(|below| *below != new) {
                self.count_up(new, below);
                if below != whole {
                    self.count_down(whole, below);
                }
            }
            for above in parents.into_iter().filter(|above| *above != new) {
                self.count_up(above, new);
                if above != whole {
                    self.count_down(above, whole);
                }
            }
        }
        self.members[new as usize] = part;
        new
    }
}

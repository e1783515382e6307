//! A graph that changes, with an order and ranks that follow each change.

mod cycles;
mod order;
mod ranks;

use super::csr::Csr;
use super::frozen::FrozenGraph;
use super::links::Links;
use cycles::Reached;
use order::Order;
use ranks::Touched;
use std::fmt;

/// A graph of numbered nodes that changes edge by edge.
///
/// At any time it knows the strongly connected components, a topological order of them, and for
/// each node the longest chain of durations that starts with it. After a change, only what the
/// change concerns is computed again. Everything equals what a [`FrozenGraph`] made of the same
/// edges says.
///
/// The order is kept over components instead of nodes: an edge that closes a cycle unites
/// components, and the removal of an edge can divide one. The algorithms:
///
/// * Order and cycles after an insertion: a two-way search between the ends of the edge, after
///   Haeupler, Kavitha, Mathew, Sen and Tarjan (2012), within the region of the order that Pearce
///   and Kelly (2006) call affected.
/// * Components after a removal: searches from both ends in step, as Even and Shiloach (1981) do
///   for undirected graphs.
/// * Longest chains: changes are carried from children to parents in reverse topological order, as
///   in Katriel, Michel and Van Hentenryck (2005).
///
/// *Invariant:* an edge between two components leads from a lower to a higher place in the order.
/// *Invariant:* the rank of a node is its duration and the largest rank of its children in other
/// components.
///
/// ```
/// use freshmaker::graph::{DynamicGraph, EdgeChange};
///
/// let mut graph = DynamicGraph::new();
/// let [base, tool, app] = [10, 20, 30].map(|minutes| graph.add(minutes));
/// graph.insert(base, tool);
/// graph.insert(tool, app);
/// assert!(graph.precedes(base, app) && graph.closes_cycle(app, base));
/// assert_eq!(graph.rank(base), 60);
///
/// assert_eq!(graph.insert(app, tool), EdgeChange::United);
/// assert_eq!((graph.component(tool).len(), graph.rank(base)), (2, 30), "a cycle has no order");
/// assert_eq!(graph.remove(app, tool), EdgeChange::Divided);
/// assert_eq!(graph.rank(base), 60);
/// ```
#[doc(alias = "incremental topological sort")]
#[doc(alias = "online topological ordering")]
#[doc(alias = "what-if")]
#[derive(Clone, Default)]
pub struct DynamicGraph {
    links: Links<()>,
    /// The component of each node.
    component_of: Vec<u32>,
    /// The members of each component; none for a number that is free.
    members: Vec<Vec<u32>>,
    free: Vec<u32>,
    /// How many edges lead from one component to another.
    between: Links<u32>,
    order: Order,
    durations: Vec<u64>,
    ranks: Vec<u64>,
    touched: Touched,
    /// Where a search has been, while it runs.
    reached: Vec<Reached>,
}

/// What the insertion or the removal of an edge has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EdgeChange {
    /// Nothing: an inserted edge was there, a removed edge was not, or one of the nodes is unknown.
    Nothing,
    /// The edge was inserted or removed; the components are the same as before.
    Edge,
    /// The inserted edge closed a cycle: components were united.
    United,
    /// The removed edge held a cycle together: a component was divided.
    Divided,
}

impl DynamicGraph {
    /// Returns a graph without nodes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a graph with the nodes and edges of another one and the duration of each node; a
    /// missing duration counts nothing, and repeated edges are one. Cost: O(n + m log m), much less
    /// than edge by edge.
    ///
    /// ```
    /// use freshmaker::graph::{Csr, DynamicGraph};
    ///
    /// let graph = DynamicGraph::of(&Csr::new(3, &[(2, 1), (1, 0)])?, &[5, 5, 5]);
    /// let order: Vec<&[u32]> = graph.components().collect();
    /// assert_eq!((order, graph.rank(2)), (vec![&[2][..], &[1], &[0]], 15));
    /// # Ok::<(), freshmaker::graph::CsrError>(())
    /// ```
    #[must_use]
    pub fn of(csr: &Csr, durations: &[u64]) -> Self {
        let frozen = FrozenGraph::new(csr);
        let mut graph = Self::default();
        for node in 0..csr.nodes() {
            graph.add(durations.get(node as usize).copied().unwrap_or_default());
        }
        let mut number = 0;
        let mut at = 0;
        while at < csr.nodes() {
            let component = frozen.component(at);
            let members = frozen.order()[component.start as usize..component.end as usize].to_vec();
            members.iter().for_each(|member| graph.component_of[*member as usize] = number);
            graph.members[number as usize] = members;
            number += 1;
            at = component.end;
        }
        for unused in (number..csr.nodes()).rev() {
            graph.order.forget(unused);
            graph.members[unused as usize].clear();
            graph.free.push(unused);
        }
        for child in 0..csr.nodes() {
            for &parent in csr.parents(child) {
                if graph.links.get(parent, child).is_none() {
                    graph.link(parent, child);
                }
            }
        }
        let everything: Vec<_> = (0..csr.nodes()).collect();
        let mut search = frozen.search();
        search.affected(&everything);
        let ranks = search.ranks(&graph.durations);
        graph.ranks = everything.iter().map(|node| ranks.get(*node)).collect();
        graph
    }

    /// Adds a node with its duration, in any unit, and returns its number: the count of those
    /// before.
    pub fn add(&mut self, duration: u64) -> u32 {
        let node = self.nodes();
        self.links.add();
        self.durations.push(duration);
        self.ranks.push(duration);
        self.reached.push(Reached::Not);
        let component = self.new_component(vec![node]);
        self.order.append(component);
        self.component_of.push(component);
        node
    }

    /// Returns the number of nodes.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        // Memory cannot hold more than can be numbered.
        u32::try_from(self.links.nodes()).unwrap_or(u32::MAX)
    }

    /// Returns the number of edges.
    #[must_use]
    pub fn edges(&self) -> usize {
        self.links.edges()
    }

    /// Returns what is built from this node, by number. Empty for a number that is no node.
    pub fn children(&self, node: u32) -> impl Iterator<Item = u32> {
        self.known(node).then(|| self.links.children(node)).into_iter().flatten().map(|(child, ())| child)
    }

    /// Returns what this node is built from, by number. Empty for a number that is no node.
    pub fn parents(&self, node: u32) -> impl Iterator<Item = u32> {
        self.known(node).then(|| self.links.parents(node)).into_iter().flatten().map(|(parent, ())| parent)
    }

    /// Returns the nodes of the strongly connected component of this node, itself among them, in no
    /// specified order. Empty for a number that is no node.
    #[doc(alias = "SCC")]
    #[must_use]
    pub fn component(&self, node: u32) -> &[u32] {
        let component = self.component_of.get(node as usize);
        component.map(|component| self.members[*component as usize].as_slice()).unwrap_or_default()
    }

    /// Returns all components, parents before children.
    #[doc(alias = "topological sort")]
    pub fn components(&self) -> impl Iterator<Item = &[u32]> {
        self.order.iter().map(|component| self.members[component as usize].as_slice())
    }

    /// Returns whether the first node comes before the other one in the order. A child never comes
    /// before its parent; of two members of a cycle, neither comes before the other. Cost: O(1).
    #[must_use]
    pub fn precedes(&self, first: u32, then: u32) -> bool {
        let place = |node: u32| self.component_of.get(node as usize).map(|component| self.order.place(*component));
        matches!((place(first), place(then)), (Some(first), Some(then)) if first < then)
    }

    /// Returns the longest chain of durations that starts with this node, in which no two members
    /// of a cycle follow each other. Sums stop at the largest number. 0 for a number that is no
    /// node.
    #[doc(alias = "critical path")]
    #[doc(alias = "longest path")]
    #[must_use]
    pub fn rank(&self, node: u32) -> u64 {
        self.ranks.get(node as usize).copied().unwrap_or_default()
    }

    /// Returns whether this edge, if it were inserted, would be in a cycle. `false` if one of the
    /// nodes is unknown. Nothing changes; memory for the search is why it takes `&mut self`.
    ///
    /// Cost: that of a search from both ends in turn within the affected region; O(1) if the edge
    /// agrees with the order.
    #[doc(alias = "what-if")]
    #[must_use]
    pub fn closes_cycle(&mut self, parent: u32, child: u32) -> bool {
        if !self.known(parent) || !self.known(child) {
            return false;
        }
        let (parent, child) = (self.component_of[parent as usize], self.component_of[child as usize]);
        parent == child || self.order.reaches(&self.between, child, parent)
    }

    /// Adds an edge from a parent to the child that is built from it.
    ///
    /// Cost: O(1) besides the storage of the edge if it agrees with the order, else O(k log k) for
    /// the k edges and components that the search sees on the side that is exhausted first; and the
    /// ranks that change.
    pub fn insert(&mut self, parent: u32, child: u32) -> EdgeChange {
        if !self.known(parent) || !self.known(child) || self.links.get(parent, child).is_some() {
            return EdgeChange::Nothing;
        }
        self.link(parent, child);
        let (above, below) = (self.component_of[parent as usize], self.component_of[child as usize]);
        if above == below {
            return EdgeChange::Edge;
        }
        let cycle = self.order.insert(&self.between, above, below);
        if cycle.is_empty() {
            self.raise(parent, self.ranks[child as usize]);
        } else {
            self.unite(&cycle);
        }
        self.settle();
        if cycle.is_empty() { EdgeChange::Edge } else { EdgeChange::United }
    }

    /// Removes an edge.
    ///
    /// Cost: the other edges of the two nodes are not walked over, unless the edge was in a cycle,
    /// or began the longest chain of its parent.
    pub fn remove(&mut self, parent: u32, child: u32) -> EdgeChange {
        if !self.known(parent) || !self.known(child) || self.links.remove(parent, child).is_none() {
            return EdgeChange::Nothing;
        }
        let (above, below) = (self.component_of[parent as usize], self.component_of[child as usize]);
        let divided = if above == below {
            parent != child && self.divide(parent, child)
        } else {
            self.count_down(above, below);
            self.lower(parent, self.ranks[child as usize]);
            false
        };
        self.settle();
        if divided { EdgeChange::Divided } else { EdgeChange::Edge }
    }

    /// Changes the duration of a node, and the ranks that follow from it.
    pub fn set_duration(&mut self, node: u32, duration: u64) {
        if self.known(node) {
            self.durations[node as usize] = duration;
            self.recompute(node);
            self.settle();
        }
    }

    fn known(&self, node: u32) -> bool {
        node < self.nodes()
    }

    fn new_component(&mut self, members: Vec<u32>) -> u32 {
        if let Some(free) = self.free.pop() {
            self.members[free as usize] = members;
            return free;
        }
        self.between.add();
        self.members.push(members);
        u32::try_from(self.members.len() - 1).unwrap_or(u32::MAX)
    }

    fn link(&mut self, parent: u32, child: u32) {
        self.links.set(parent, child, ());
        self.count_up(self.component_of[parent as usize], self.component_of[child as usize]);
    }

    fn count_up(&mut self, above: u32, below: u32) {
        if above != below {
            let edges = self.between.get(above, below).unwrap_or_default();
            self.between.set(above, below, edges + 1);
        }
    }

    fn count_down(&mut self, above: u32, below: u32) {
        match self.between.get(above, below) {
            Some(edges) if edges > 1 => self.between.set(above, below, edges - 1),
            _ => drop(self.between.remove(above, below)),
        }
    }
}

impl fmt::Debug for DynamicGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicGraph").field("nodes", &self.nodes()).field("edges", &self.edges()).finish()
    }
}

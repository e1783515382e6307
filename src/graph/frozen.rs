use super::components::Components;
use super::csr::{Csr, Rows};
use super::search::Search;
use std::fmt;
use std::ops::Range;

/// A graph that is prepared for many questions: its nodes are renumbered so that each comes after
/// what it is built from.
///
/// What a change affects is then one sweep over memory in one direction, and the critical path one
/// sweep in the other. Outside, nodes keep the numbers of the [`Csr`] that the graph was made from.
/// Self-loops are left out, since they order nothing. To prepare costs as much as several
/// questions; for one question use [`Csr::affected`].
///
/// *Invariant:* positions are a topological order of the components, and the members of a cycle
/// have adjacent positions.
///
/// A worked example of the renumbering, with the edges 4-0, 0-1, 1-2, 2-1, 2-3:
///
/// 1. Components are found children first: {3}, {2, 1}, {0}, {4}.
/// 2. Positions are given from the end: 3 gets position 4, {1, 2} get 2 and 3, 0 gets 1, 4 gets 0.
/// 3. Every edge now leads from a lower position to a higher one, except within the cycle 2..4.
/// 4. "What does 0 affect" looks at positions 1, 2, 3 and 4 in this order, and never back.
///
/// ```
/// use freshmaker::graph::{Csr, FrozenGraph};
///
/// let graph = FrozenGraph::new(&Csr::new(5, &[(4, 0), (0, 1), (1, 2), (2, 1), (2, 3)])?);
/// let mut search = graph.search();
/// let waves: Vec<Vec<u32>> = search.affected(&[0]).waves().map(|wave| wave.to_vec()).collect();
/// assert_eq!(waves.len(), 3, "the cycle of 1 and 2 is one wave");
///
/// // Minutes for each node: 3 waits for 2, which is in a cycle with 1 and does not wait for it.
/// let ranks = search.ranks(&[30_u32, 10, 20, 5, 100]);
/// assert_eq!((ranks.get(0), ranks.get(2), ranks.longest()), (30 + 10, 20 + 5, 40));
/// # Ok::<(), freshmaker::graph::CsrError>(())
/// ```
#[doc(alias = "condensation")]
#[doc(alias = "what-if")]
#[derive(Clone)]
pub struct FrozenGraph {
    /// The node at each position.
    pub(super) node_at: Vec<u32>,
    /// The position of each node.
    pub(super) position: Vec<u32>,
    /// By position.
    pub(super) children: Rows,
    /// By position.
    pub(super) parents: Rows,
    /// By position, for graphs with cycles: each component on which another one depends, once, by
    /// its first position; kept at the first position of the other one. Levels are the same within
    /// a component, so they follow from these rows alone.
    outer: Option<Rows>,
    /// The positions of each component of more than one member.
    pub(super) cycles: Vec<Range<u32>>,
    /// How many waves the change of everything would have.
    pub(super) depth: u32,
}

impl FrozenGraph {
    /// Prepares a graph: components by the algorithm of Tarjan (1972), positions from the end to
    /// the beginning, rows by position. Cost: O(n + m).
    #[must_use]
    pub fn new(csr: &Csr) -> Self {
        let nodes = csr.nodes();
        let mut node_at = vec![0; nodes as usize];
        let mut position = vec![0; nodes as usize];
        let mut cycles = Vec::new();
        let mut free = nodes;
        let mut search = Components::among(&csr.children, |_| true);
        for node in 0..nodes {
            search.search(node, |members| {
                let end = free;
                for &member in members {
                    free -= 1;
                    node_at[free as usize] = member;
                    position[member as usize] = free;
                }
                if members.len() > 1 {
                    cycles.push(free..end);
                }
            });
        }
        cycles.reverse();
        let renumbered = |rows: &Rows| {
            let mut sorted = Rows::with_capacity(nodes as usize, rows.edges());
            for &node in &node_at {
                let others = rows.row(node).iter().filter(|other| **other != node);
                sorted.push(others.map(|other| position[*other as usize]));
            }
            sorted
        };
        let (children, parents) = (renumbered(&csr.children), renumbered(&csr.parents));
        let mut graph = Self { node_at, position, children, parents, outer: None, cycles, depth: 0 };
        graph.outer = (!graph.cycles.is_empty()).then(|| graph.condensed());
        graph.depth = super::search::depth(&graph);
        graph
    }

    /// Returns the number of nodes.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        // As many as could be numbered when it was made.
        self.node_at.len() as u32
    }

    /// Returns the number of edges, without self-loops.
    #[must_use]
    pub fn edges(&self) -> usize {
        self.children.edges()
    }

    /// Returns all nodes in topological order: each after what it is built from, except that the
    /// members of a cycle follow each other.
    #[doc(alias = "topological sort")]
    #[must_use]
    pub fn order(&self) -> &[u32] {
        &self.node_at
    }

    /// Returns how many waves the change of everything would have.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// Returns the cycles: strongly connected components of more than one member.
    #[doc(alias = "SCC")]
    pub fn cycles(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.cycles.iter().map(|range| &self.node_at[range.start as usize..range.end as usize])
    }

    /// Returns what is built from this node. Empty for a number that is no node.
    pub fn children(&self, node: u32) -> impl Iterator<Item = u32> {
        self.neighbours(&self.children, node)
    }

    /// Returns what this node is built from. Empty for a number that is no node.
    pub fn parents(&self, node: u32) -> impl Iterator<Item = u32> {
        self.neighbours(&self.parents, node)
    }

    /// Returns memory for questions to this graph, in the size of its nodes. Keep it for further
    /// questions.
    #[must_use]
    pub fn search(&self) -> Search<'_> {
        Search::new(self)
    }

    /// Returns how much memory the graph takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let numbers = self.node_at.capacity() + self.position.capacity();
        numbers * size_of::<u32>()
            + self.cycles.capacity() * size_of::<Range<u32>>()
            + self.children.bytes()
            + self.parents.bytes()
            + self.outer.as_ref().map_or(0, Rows::bytes)
    }

    /// The rows that levels follow from.
    #[inline]
    pub(super) fn levelling(&self) -> &Rows {
        self.outer.as_ref().unwrap_or(&self.parents)
    }

    /// The parents of each component, without repetition. Cost: O(n + m); a mark for each component
    /// says which one has taken it last.
    fn condensed(&self) -> Rows {
        let mut first: Vec<u32> = (0..self.nodes()).collect();
        for cycle in &self.cycles {
            first[cycle.start as usize..cycle.end as usize].fill(cycle.start);
        }
        let mut taken_by = vec![u32::MAX; first.len()];
        let mut rows = Rows::with_capacity(first.len(), 0);
        let mut at = 0;
        while at < self.nodes() {
            let component = self.component(at);
            let parents = self.parents.span(component.start, component.end).iter();
            rows.push(parents.map(|parent| first[*parent as usize]).filter(|parent| {
                *parent != component.start && std::mem::replace(&mut taken_by[*parent as usize], at) != at
            }));
            component.clone().skip(1).for_each(|_| rows.push(std::iter::empty()));
            at = component.end;
        }
        rows.shrink();
        rows
    }

    /// The positions of the component of a position.
    #[inline]
    pub(super) fn component(&self, position: u32) -> Range<u32> {
        let next = self.cycles.partition_point(|cycle| cycle.end <= position);
        match self.cycles.get(next) {
            Some(cycle) if cycle.start <= position => cycle.clone(),
            _ => position..position + 1,
        }
    }

    fn neighbours<'a>(&'a self, rows: &'a Rows, node: u32) -> impl Iterator<Item = u32> + 'a {
        let position = self.position.get(node as usize);
        let row = position.map(|position| rows.row(*position)).unwrap_or_default();
        row.iter().map(|position| self.node_at[*position as usize])
    }
}

impl fmt::Debug for FrozenGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrozenGraph").field("nodes", &self.nodes()).field("edges", &self.edges()).finish()
    }
}

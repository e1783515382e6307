use super::links::{Links, Neighbours};
use std::fmt;

/// Why a list of edges is no graph: an edge names a node that is not there, or there are more edges
/// than 32 bits can number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// An edge names a node that is not there.
    #[error("the edge from {parent} to {child} names a node that is not among the {nodes}")]
    NoSuchNode {
        /// Where the edge starts.
        parent: u32,
        /// Where the edge ends.
        child: u32,
        /// How many nodes there are.
        nodes: u32,
    },
    /// Nodes and edges are numbered with 32 bits.
    #[error("{0} edges are more than the {max} that can be numbered", max = u32::MAX)]
    TooManyEdges(usize),
}

/// The edges of one direction as compressed sparse rows: four bytes for each edge and each node.
///
/// *Invariant:* `starts` has one entry more than there are rows and never descends; the row of a
/// node is `targets[starts[node]..starts[node + 1]]`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Rows {
    starts: Vec<u32>,
    targets: Vec<u32>,
}

impl Rows {
    /// Starts rows that are pushed one after the other.
    pub(super) fn with_capacity(nodes: usize, edges: usize) -> Self {
        let mut starts = Vec::with_capacity(nodes + 1);
        starts.push(0);
        Self { starts, targets: Vec::with_capacity(edges) }
    }

    /// Adds the next row. The caller has made sure that all edges can be numbered.
    pub(super) fn push(&mut self, row: impl Iterator<Item = u32>) {
        self.targets.extend(row);
        self.starts.push(u32::try_from(self.targets.len()).unwrap_or(u32::MAX));
    }

    /// Gives back the memory that was not needed.
    pub(super) fn shrink(&mut self) {
        self.targets.shrink_to_fit();
    }

    /// Sorts edges into rows by counting sort; edges of one row keep their order. Cost: O(n + m).
    ///
    /// A worked example, with two rows and the edges 1-7, 0-8, 1-9:
    ///
    /// 1. Row 0 has one edge and row 1 has two, so the rows end at 1 and 3.
    /// 2. Edge 1-7 takes the place before the end of row 1, which is 2; the end of row 1 is now 2.
    /// 3. Edge 0-8 takes place 0, and edge 1-9 place 1. The targets are 8, 9, 7, and each "end" has
    ///    moved to the start of its row: 0 and 1.
    /// 4. Places are taken from the end of a row, so callers pass the edges in reverse to keep
    ///    their order.
    fn sorted(nodes: u32, edges: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut starts = vec![0_u32; nodes as usize + 1];
        for (row, _) in edges.clone() {
            starts[row as usize] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut targets = vec![0_u32; sum as usize];
        // From the end of each row to its beginning, which leaves the starts where they belong.
        for (row, target) in edges {
            let at = &mut starts[row as usize];
            *at -= 1;
            targets[*at as usize] = target;
        }
        Self { starts, targets }
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub(super) fn edges(&self) -> usize {
        self.targets.len()
    }

    #[inline]
    pub(super) fn row(&self, node: u32) -> &[u32] {
        self.span(node, node + 1)
    }

    /// The rows of some nodes with adjacent numbers, one after the other.
    #[inline]
    pub(super) fn span(&self, from: u32, to: u32) -> &[u32] {
        &self.targets[self.starts[from as usize] as usize..self.starts[to as usize] as usize]
    }

    pub(super) fn bytes(&self) -> usize {
        (self.starts.capacity() + self.targets.capacity()) * size_of::<u32>()
    }
}

/// A graph of numbered nodes that does not change: compressed sparse rows in both directions, eight
/// bytes for each edge and each node.
///
/// It is made at once from a list of edges, or by
/// [`ArtifactGraph::csr`](crate::ArtifactGraph::csr). An edge goes from a parent to the child that
/// is built from it. Nodes are the numbers below [`nodes`](Self::nodes); self-loops, cycles and
/// repeated edges are normal.
///
/// A `Csr` answers a single question at once. For many questions about one graph,
/// [`FrozenGraph`](super::FrozenGraph) prepares itself first. The algorithms of petgraph run on a
/// reference to it: `&Csr` implements its traits for walks in both directions.
///
/// *Invariant:* both directions have the same edges.
///
/// ```
/// use freshmaker::graph::Csr;
///
/// // 0 is the base of 1 and 2, and both are parents of 3.
/// let graph = Csr::new(4, &[(0, 1), (0, 2), (1, 3), (2, 3)])?;
/// let affected = graph.affected(&[0]);
/// let waves: Vec<&[u32]> = affected.waves().collect();
/// assert_eq!(waves, [&[0][..], &[1, 2], &[3]]);
/// assert!(petgraph::algo::has_path_connecting(&graph, 0, 3, None));
/// # Ok::<(), freshmaker::graph::CsrError>(())
/// ```
#[doc(alias = "compressed sparse row")]
#[doc(alias = "adjacency list")]
#[derive(Clone, PartialEq, Eq)]
pub struct Csr {
    pub(super) children: Rows,
    pub(super) parents: Rows,
}

impl Csr {
    /// Returns the graph of this many nodes with these edges, each from a parent to a child. Cost:
    /// O(n + m).
    ///
    /// # Errors
    /// [`CsrError`] if an edge names a node that is not there, or if there are more edges than can
    /// be numbered.
    ///
    /// # Examples
    /// ```
    /// use freshmaker::graph::{Csr, CsrError};
    ///
    /// let graph = Csr::new(3, &[(0, 2), (0, 1), (0, 1)])?;
    /// assert_eq!(graph.children(0), [2, 1, 1], "as they were given");
    /// assert_eq!((graph.parents(1), graph.edges()), (&[0, 0][..], 3));
    /// let error = Csr::new(3, &[(0, 3)]).unwrap_err();
    /// assert_eq!(error, CsrError::NoSuchNode { parent: 0, child: 3, nodes: 3 });
    /// # Ok::<(), CsrError>(())
    /// ```
    pub fn new(nodes: u32, edges: &[(u32, u32)]) -> Result<Self, CsrError> {
        if u32::try_from(edges.len()).is_err() {
            return Err(CsrError::TooManyEdges(edges.len()));
        }
        match edges.iter().find(|(parent, child)| *parent.max(child) >= nodes) {
            Some(&(parent, child)) => Err(CsrError::NoSuchNode { parent, child, nodes }),
            None => Ok(Self::sorted(nodes, edges.iter().copied())),
        }
    }

    /// The graph of edges of which the caller is sure: all ends are below the number of nodes, and
    /// nobody can hold as many nodes or edges as could not be numbered.
    pub(crate) fn of(nodes: usize, edges: &[(u32, u32)]) -> Self {
        Self::sorted(u32::try_from(nodes).unwrap_or(u32::MAX), edges.iter().copied())
    }

    /// Edges between nodes below this number, of which the caller is sure.
    fn sorted(nodes: u32, edges: impl DoubleEndedIterator<Item = (u32, u32)> + Clone) -> Self {
        let children = Rows::sorted(nodes, edges.clone().rev());
        Self { children, parents: Rows::sorted(nodes, edges.rev().map(|(parent, child)| (child, parent))) }
    }

    /// The part of a graph that consists of some nodes; a node gets its position in the list as its
    /// number. A node that is in the list twice is there once.
    ///
    /// `numbers` is memory for all nodes of the whole graph, filled with zeros, and is left so.
    pub(super) fn part(parents: &Rows, nodes: &mut Vec<u32>, numbers: &mut [u32]) -> Self {
        let mut count = 0;
        nodes.retain(|node| {
            let number = &mut numbers[*node as usize];
            let new = *number == 0;
            count += u32::from(new);
            *number = if new { count } else { *number };
            new
        });
        let mut edges = Vec::new();
        for (child, node) in (0..).zip(nodes.iter()) {
            let inside = parents.row(*node).iter().map(|parent| numbers[*parent as usize]);
            edges.extend(inside.filter(|number| *number > 0).map(|number| (number - 1, child)));
        }
        nodes.iter().for_each(|node| numbers[*node as usize] = 0);
        Self::sorted(count, edges.iter().copied())
    }

    /// The edges for which this says yes.
    pub(super) fn from_links<V: Copy>(links: &Links<V>, mut wanted: impl FnMut(V) -> bool) -> Self {
        let nodes = u32::try_from(links.nodes()).unwrap_or(u32::MAX);
        let mut rows = |row: fn(&Links<V>, u32) -> Neighbours<'_, V>| {
            let mut rows = Rows::with_capacity(links.nodes(), links.edges());
            for node in 0..nodes {
                rows.push(row(links, node).filter(|(_, value)| wanted(*value)).map(|(other, _)| other));
            }
            rows
        };
        Self { children: rows(Links::children), parents: rows(Links::parents) }
    }

    /// Returns the number of nodes.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        // As many as could be numbered when it was made.
        self.children.len() as u32
    }

    /// Returns the number of edges; a repeated edge counts each time.
    #[must_use]
    pub fn edges(&self) -> usize {
        self.children.edges()
    }

    /// Returns what is built from this node, in the order of the edges as they were given. Empty
    /// for a number that is no node.
    #[must_use]
    pub fn children(&self, node: u32) -> &[u32] {
        if node < self.nodes() { self.children.row(node) } else { &[] }
    }

    /// Returns what this node is built from, in the order of the edges as they were given. Empty
    /// for a number that is no node.
    #[must_use]
    pub fn parents(&self, node: u32) -> &[u32] {
        if node < self.nodes() { self.parents.row(node) } else { &[] }
    }

    /// Returns how much memory the graph takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.children.bytes() + self.parents.bytes()
    }
}

impl fmt::Debug for Csr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Csr").field("nodes", &self.nodes()).field("edges", &self.edges()).finish()
    }
}

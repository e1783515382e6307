//! The same questions by other means.

use freshmaker::graph::Csr;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Bfs, NodeFiltered};

/// How many nodes a breadth-first walk from here finds: a byte for each node, no branch for what
/// was seen before.
pub(crate) fn walk(graph: &Csr, root: u32) -> usize {
    let nodes = graph.nodes() as usize;
    let (mut seen, mut queue) = (vec![0_u8; nodes], vec![0_u32; nodes + 1]);
    queue[0] = root;
    seen[root as usize] = 1;
    let (mut next, mut length) = (0, 1);
    while next < length {
        for &child in graph.children(queue[next]) {
            queue[length] = child;
            length += usize::from(seen[child as usize] == 0);
            seen[child as usize] = 1;
        }
        next += 1;
    }
    length
}

/// Looks at the edges between some nodes once.
pub(crate) fn walk_among(graph: &Csr, nodes: &[u32]) -> usize {
    let mut inside = vec![0_u8; graph.nodes() as usize];
    nodes.iter().for_each(|node| inside[*node as usize] = 1);
    let edges = nodes.iter().flat_map(|node| graph.parents(*node));
    edges.map(|parent| usize::from(inside[*parent as usize])).sum()
}

pub(crate) struct Petgraph(DiGraph<(), ()>);

impl Petgraph {
    pub(crate) fn new(nodes: u32, edges: &[(u32, u32)]) -> Self {
        let mut graph = DiGraph::with_capacity(nodes as usize, edges.len());
        for _ in 0..nodes {
            graph.add_node(());
        }
        for (parent, child) in edges {
            graph.add_edge(NodeIndex::new(*parent as usize), NodeIndex::new(*child as usize), ());
        }
        Self(graph)
    }

    /// How many nodes each wave has: closure, components of the closure, longest way over
    /// components.
    pub(crate) fn waves(&self, root: u32) -> Vec<usize> {
        let graph = &self.0;
        let mut reached = vec![false; graph.node_count()];
        let mut walk = Bfs::new(graph, NodeIndex::new(root as usize));
        while let Some(node) = walk.next(graph) {
            reached[node.index()] = true;
        }
        let part = NodeFiltered::from_fn(graph, |node: NodeIndex| reached[node.index()]);
        let components = petgraph::algo::kosaraju_scc(&part);
        let mut of = vec![0; graph.node_count()];
        for (number, members) in components.iter().enumerate() {
            members.iter().for_each(|node| of[node.index()] = number);
        }
        let (mut level, mut waves) = (vec![0_usize; components.len()], Vec::new());
        for (number, members) in components.iter().enumerate().rev() {
            if waves.len() <= level[number] {
                waves.resize(level[number] + 1, 0);
            }
            waves[level[number]] += members.len();
            for child in members.iter().flat_map(|node| graph.neighbors(*node)) {
                let child = of[child.index()];
                if child != number {
                    level[child] = level[child].max(level[number] + 1);
                }
            }
        }
        waves
    }
}

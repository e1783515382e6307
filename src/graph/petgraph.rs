//! The traits of petgraph for a [`Csr`], so that its algorithms run on it.
//!
//! They are implemented for `Csr` and `&Csr`: neighbours in both directions, node identifiers and
//! maps of visited nodes. Edges have no identity of their own, so algorithms that need weights of
//! edges do not apply. A node identifier is the number of the node, and edges go from parent to
//! child, as everywhere here: `Direction::Incoming` leads to what a node is built from.
//!
//! ```
//! use freshmaker::graph::Csr;
//! use petgraph::algo::{dominators, toposort};
//!
//! let graph = Csr::new(4, &[(0, 1), (0, 2), (1, 3), (2, 3)])?;
//! assert_eq!(toposort(&graph, None).map_err(|_| "a cycle").unwrap()[0], 0);
//! let tree = dominators::simple_fast(&graph, 0);
//! assert_eq!(tree.immediate_dominator(3), Some(0), "neither 1 nor 2 alone carries each change");
//! # Ok::<(), freshmaker::graph::CsrError>(())
//! ```

use super::csr::Csr;
use petgraph::visit::{
    GraphBase, IntoNeighbors, IntoNeighborsDirected, IntoNodeIdentifiers, NodeCompactIndexable, NodeCount,
    NodeIndexable, Visitable,
};
use petgraph::{Direction, Graph};
use std::iter::Copied;
use std::ops::Range;
use std::slice;

/// petgraph's own set of visited nodes.
type Visited = <Graph<(), ()> as Visitable>::Map;

impl GraphBase for Csr {
    type EdgeId = (u32, u32);
    type NodeId = u32;
}

impl<'a> IntoNeighbors for &'a Csr {
    type Neighbors = Copied<slice::Iter<'a, u32>>;

    fn neighbors(self, node: u32) -> Self::Neighbors {
        self.neighbors_directed(node, Direction::Outgoing)
    }
}

impl<'a> IntoNeighborsDirected for &'a Csr {
    type NeighborsDirected = Copied<slice::Iter<'a, u32>>;

    fn neighbors_directed(self, node: u32, direction: Direction) -> Self::NeighborsDirected {
        let row = match direction {
            Direction::Outgoing => Csr::children(self, node),
            Direction::Incoming => Csr::parents(self, node),
        };
        row.iter().copied()
    }
}

impl IntoNodeIdentifiers for &Csr {
    type NodeIdentifiers = Range<u32>;

    fn node_identifiers(self) -> Self::NodeIdentifiers {
        0..self.nodes()
    }
}

impl NodeCount for Csr {
    fn node_count(&self) -> usize {
        self.nodes() as usize
    }
}

impl NodeIndexable for Csr {
    fn node_bound(&self) -> usize {
        self.nodes() as usize
    }

    fn to_index(&self, node: u32) -> usize {
        node as usize
    }

    fn from_index(&self, index: usize) -> u32 {
        // petgraph asks for what is below the bound only.
        u32::try_from(index).unwrap_or(u32::MAX)
    }
}

impl NodeCompactIndexable for Csr {}

impl Visitable for Csr {
    type Map = Visited;

    fn visit_map(&self) -> Visited {
        Visited::with_capacity(self.nodes() as usize)
    }

    fn reset_map(&self, map: &mut Visited) {
        map.clear();
        map.grow(self.nodes() as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use petgraph::algo::{kosaraju_scc, toposort};
    use petgraph::visit::VisitMap;

    #[test]
    fn algorithms_of_petgraph_run_on_it() {
        let graph = Csr::new(4, &[(3, 2), (2, 1), (1, 0), (3, 0)]).unwrap();
        assert_eq!(toposort(&graph, None).unwrap(), [3, 2, 1, 0]);
        let cycle = Csr::new(3, &[(0, 1), (1, 0), (1, 2)]).unwrap();
        assert_eq!(kosaraju_scc(&cycle).len(), 2);
        assert!(Visited::with_capacity(3).visit(1_u32));
    }
}

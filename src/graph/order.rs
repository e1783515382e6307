//! Orders and longest chains of a [`Csr`] that is asked once.

use super::{Affected, Csr, Weight};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

impl Csr {
    /// Returns the nodes in topological order, without those that are in a cycle or behind one.
    ///
    /// Kahn's algorithm (Kahn 1962) with a heap: of several nodes whose parents have all been
    /// taken, the one with the lowest number is next, so the order is the lexicographically
    /// smallest one. A node that depends on itself is in a cycle here. If the answer has as many
    /// nodes as the graph, the graph is acyclic. Cost: O(n log n + m) for n nodes and m edges.
    ///
    /// ```
    /// use freshmaker::graph::Csr;
    ///
    /// // 2 is the base of 0 and 1; 3 and 4 need each other, and 5 needs 4.
    /// let graph = Csr::new(6, &[(2, 0), (2, 1), (3, 4), (4, 3), (4, 5)])?;
    /// assert_eq!(graph.topological_order(), [2, 0, 1]);
    /// # Ok::<(), freshmaker::graph::CsrError>(())
    /// ```
    #[doc(alias = "topological sort")]
    #[doc(alias = "toposort")]
    #[doc(alias = "Kahn")]
    #[must_use]
    pub fn topological_order(&self) -> Vec<u32> {
        let mut waits: Vec<_> = (0..self.nodes()).map(|node| self.parents(node).len()).collect();
        let free = (0..self.nodes()).filter(|node| self.parents(*node).is_empty());
        let mut free: BinaryHeap<_> = free.map(Reverse).collect();
        let mut order = Vec::with_capacity(waits.len());
        while let Some(Reverse(node)) = free.pop() {
            order.push(node);
            for &child in self.children(node) {
                waits[child as usize] -= 1;
                if waits[child as usize] == 0 {
                    free.push(Reverse(child));
                }
            }
        }
        order
    }

    /// For each node of an answer of [`affected`](Self::affected) the longest chain that starts
    /// with it, by number: its own duration and those of what waits for it. A node that is not in
    /// the answer has the default weight, and a missing duration counts nothing.
    ///
    /// The critical path method (Kelley & Walker 1959), backwards through the waves. **Invariant:**
    /// a chain only leads to later waves, so it never has two members of one cycle.
    /// Cost: O(n + m) for n nodes and m edges.
    ///
    /// ```
    /// use freshmaker::graph::Csr;
    ///
    /// // 1 takes longest, and 3 waits for it.
    /// let graph = Csr::new(4, &[(0, 1), (0, 2), (1, 3), (2, 3)])?;
    /// let ranks = graph.ranks(&graph.affected(&[0]), &[10_u32, 30, 20, 5]);
    /// assert_eq!(ranks, [45, 35, 25, 5]);
    /// # Ok::<(), freshmaker::graph::CsrError>(())
    /// ```
    #[doc(alias = "critical path")]
    #[doc(alias = "longest path")]
    #[must_use]
    pub fn ranks<W: Weight>(&self, affected: &Affected, durations: &[W]) -> Vec<W> {
        let nodes = self.nodes() as usize;
        let (mut levels, mut ranks) = (vec![0_u32; nodes], vec![W::default(); nodes]);
        for (level, wave) in (1..).zip(affected.waves()) {
            wave.iter().for_each(|node| levels[*node as usize] = level);
        }
        for &node in affected.nodes().iter().rev() {
            let level = levels[node as usize];
            let later = self.children.row(node).iter().filter(|child| levels[**child as usize] > level);
            let rest = later.fold(W::default(), |rest, child| rest.max(ranks[*child as usize]));
            ranks[node as usize] = durations.get(node as usize).copied().unwrap_or_default().then(rest);
        }
        ranks
    }
}

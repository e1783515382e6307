use super::csr::{Csr, Rows};

/// The state of a node whose component is known, or that is left aside from the start; larger than
/// every visit.
const ASIDE: u32 = u32::MAX;

/// A search for strongly connected components: the algorithm of Tarjan (1972) in the
/// space-efficient form of Pearce (2016), with one number for each node. The depth-first search
/// keeps a stack of its own, so the depth of a graph is no limit. Cost: O(n + m) for n nodes and m
/// edges.
///
/// Components are found children before parents: each one after all that can be reached from it,
/// which is a reverse topological order of the condensation.
///
/// *Invariant:* the state of an entered node is the earliest visit that it is known to reach within
/// its component. A node whose state is still its own visit when the search leaves it is the root
/// of its component.
///
/// A worked example, with the edges 0-1, 1-2, 2-1, 2-3, from 0:
///
/// 1. The search enters 0, 1 and 2 as visits 1, 2 and 3. The edge 2-1 leads to visit 2, so the
///    state of 2 becomes 2.
/// 2. The edge 2-3 enters 3 as visit 4. 3 has no edges and its state is its visit: {3} is a
///    component.
/// 3. The search leaves 2: its state 2 is earlier than its visit 3, so 2 waits on the stack `open`.
/// 4. The search leaves 1: its state is its visit 2, so 1 and what was visited later, {2, 1}, are a
///    component. Then it leaves 0: {0} is one.
/// 5. The order is {3}, {1, 2}, {0}: children before parents.
pub(super) struct Components<'a> {
    rows: &'a Rows,
    /// 0 where the search has not been, then the earliest visit known to belong to the same
    /// component, finally [`ASIDE`].
    state: Vec<u32>,
    visits: u32,
    open: Vec<u32>,
    frames: Vec<Frame>,
}

struct Frame {
    node: u32,
    visit: u32,
    next: usize,
}

impl<'a> Components<'a> {
    /// Prepares a search in these rows. Nodes for which `there` says `false` do not exist for it,
    /// and neither do their edges.
    pub(super) fn among(rows: &'a Rows, mut there: impl FnMut(u32) -> bool) -> Self {
        let nodes = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let state = (0..nodes).map(|node| if there(node) { 0 } else { ASIDE }).collect();
        Self { rows, state, visits: 0, open: Vec::new(), frames: Vec::new() }
    }

    /// Hands on the components that are reached from this node and were not found before.
    pub(super) fn search(&mut self, from: u32, mut emit: impl FnMut(&[u32])) {
        if self.state[from as usize] != 0 {
            return;
        }
        self.enter(from);
        while let Some(frame) = self.frames.last_mut() {
            let row = self.rows.row(frame.node);
            let mut low = self.state[frame.node as usize];
            let mut deeper = None;
            while let Some(&child) = row.get(frame.next) {
                let state = self.state[child as usize];
                if state == 0 {
                    // Looked at again when the search comes back.
                    deeper = Some(child);
                    break;
                }
                low = low.min(state);
                frame.next += 1;
            }
            self.state[frame.node as usize] = low;
            match deeper {
                Some(child) => self.enter(child),
                None => self.leave(&mut emit),
            }
        }
    }

    fn enter(&mut self, node: u32) {
        self.visits += 1;
        self.state[node as usize] = self.visits;
        self.frames.push(Frame { node, visit: self.visits, next: 0 });
    }

    fn leave(&mut self, emit: &mut impl FnMut(&[u32])) {
        let Some(Frame { node, visit, .. }) = self.frames.pop() else { return };
        if self.state[node as usize] < visit {
            // A member of a component whose root is still entered.
            self.open.push(node);
            return;
        }
        // The other members were visited after this one, and lie on top.
        let others = self.open.iter().rev().take_while(|open| self.state[**open as usize] >= visit).count();
        let start = self.open.len() - others;
        self.open.push(node);
        for member in &self.open[start..] {
            self.state[*member as usize] = ASIDE;
        }
        emit(&self.open[start..]);
        self.open.truncate(start);
    }
}

impl Csr {
    /// Returns the strongly connected components, parents before children: a topological order of
    /// the graph in which each component is one node.
    ///
    /// In a component of more than one member, every member depends on every other. The order of
    /// members is not specified. The algorithm is that of Tarjan (1972) in the form of Pearce
    /// (2016). Cost: O(n + m).
    ///
    /// ```
    /// use freshmaker::graph::Csr;
    ///
    /// let graph = Csr::new(4, &[(0, 1), (1, 2), (2, 1), (2, 3)])?;
    /// let sizes: Vec<usize> = graph.components().iter().map(|members| members.len()).collect();
    /// assert_eq!(sizes, [1, 2, 1]);
    /// # Ok::<(), freshmaker::graph::CsrError>(())
    /// ```
    #[doc(alias = "SCC")]
    #[doc(alias = "strongly connected components")]
    #[doc(alias = "tarjan")]
    #[doc(alias = "condensation")]
    #[must_use]
    pub fn components(&self) -> Vec<Box<[u32]>> {
        let mut search = Components::among(&self.children, |_| true);
        let mut found = Vec::new();
        for node in 0..self.nodes() {
            search.search(node, |members| found.push(Box::from(members)));
        }
        found.reverse();
        found
    }
}

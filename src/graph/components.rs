use super::csr::{Csr, Rows};

/// The state of what the search has done with, or leaves aside from the start; larger than every visit.
const ASIDE: u32 = u32::MAX;

/// Strongly connected components: Tarjan's algorithm in the form of Pearce (2016), with one number for each node and a stack of its own, so that depth is
/// no limit.
///
/// Components come children before parents: each one after all that can be reached from it.
pub(super) struct Components<'a> {
    rows: &'a Rows,
    /// 0 where the search has not been, then the earliest visit known to belong to the same component, finally [`ASIDE`].
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
    /// A search in these rows, in which nodes for which this says `false` and their edges do not exist.
    pub(super) fn among(rows: &'a Rows, mut there: impl FnMut(u32) -> bool) -> Self {
        let nodes = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let state = (0..nodes).map(|node| if there(node) { 0 } else { ASIDE }).collect();
        Self { rows, state, visits: 0, open: Vec::new(), frames: Vec::new() }
    }

    /// The components that are reached from here and were not found before.
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
    /// The strongly connected components, parents before children: an order in which everything comes after what it is built from, but for cycles.
    ///
    /// Each is handed on as its members; in one with more than one, every member depends on every other.
    ///
    /// ```
    /// use freshmaker::graph::Csr;
    ///
    /// let graph = Csr::new(4, &[(0, 1), (1, 2), (2, 1), (2, 3)])?;
    /// let sizes: Vec<usize> = graph.components().iter().map(|members| members.len()).collect();
    /// assert_eq!(sizes, [1, 2, 1]);
    /// # Ok::<(), freshmaker::graph::CsrError>(())
    /// ```
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

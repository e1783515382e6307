use super::components::Components;
use super::csr::{Csr, Rows};
use std::ops::Range;

/// What a change affects, wave after wave: the answer, in numbers, of [`Csr::affected`] or
/// [`Search::affected`](super::Search::affected).
///
/// The first wave has the nodes that were named, unless they depend on each other. Each further
/// wave has the nodes whose affected parents are all in earlier waves, except that the members of a
/// cycle are in one wave, next to each other.
///
/// *Invariant:* each affected node is in exactly one wave. *Invariant:* an edge between affected
/// nodes leads to a later wave, or its ends are in one cycle, or they are the same node.
/// *Invariant:* no wave is empty.
///
/// ```
/// use freshmaker::graph::Csr;
///
/// // 1 and 2 need each other.
/// let graph = Csr::new(5, &[(0, 1), (1, 2), (2, 1), (2, 3), (0, 3)])?;
/// let affected = graph.affected(&[0]);
/// assert_eq!(affected.nodes().len(), 4, "4 is not affected");
/// assert_eq!(affected.waves().map(<[u32]>::len).collect::<Vec<_>>(), [1, 2, 1]);
/// assert_eq!(affected.cycles().len(), 1);
/// # Ok::<(), freshmaker::graph::CsrError>(())
/// ```
#[doc(alias = "levels")]
#[doc(alias = "batches")]
#[doc(alias = "topological generations")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    pub(super) nodes: Vec<u32>,
    /// Where each wave ends.
    pub(super) ends: Vec<u32>,
    pub(super) cycles: Vec<Range<u32>>,
}

impl Affected {
    /// Returns all affected nodes, wave after wave. The order within a wave is not specified.
    #[must_use]
    pub fn nodes(&self) -> &[u32] {
        &self.nodes
    }

    /// Returns the waves, first to last.
    pub fn waves(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        (0..self.ends.len()).map(|wave| {
            let start = if wave == 0 { 0 } else { self.ends[wave - 1] as usize };
            &self.nodes[start..self.ends[wave] as usize]
        })
    }

    /// Returns the cycles among the affected nodes: components of more than one member.
    pub fn cycles(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.cycles.iter().map(|range| &self.nodes[range.start as usize..range.end as usize])
    }

    /// The answer about some nodes and no others, for both kinds of graphs.
    pub(super) fn among(parents: &Rows, nodes: &mut Vec<u32>, numbers: &mut [u32]) -> Self {
        let part = Csr::part(parents, nodes, numbers);
        let everything: Vec<_> = (0..part.nodes()).collect();
        let mut affected = part.affected(&everything);
        affected.nodes.iter_mut().for_each(|node| *node = nodes[*node as usize]);
        affected
    }

    /// Starts an answer with at most this many waves. The answer is made by counting sort: first
    /// [`count`](Self::count) everything, then [`place`](Self::place) it.
    pub(super) fn start(&mut self, waves: u32) {
        self.nodes.clear();
        self.cycles.clear();
        self.ends.clear();
        // The first place of a wave is where the one before ends, so the count of each stands one
        // further up.
        self.ends.resize(waves as usize + 1, 0);
    }

    /// Counts this many nodes on this level; 1 is the first wave.
    #[inline]
    pub(super) fn count(&mut self, level: u32, nodes: u32) {
        self.ends[level as usize] += nodes;
    }

    /// Makes room for what was counted, except on level 0, which is no wave.
    pub(super) fn lay_out(&mut self) {
        let mut sum = 0;
        self.ends[0] = 0;
        for end in &mut self.ends {
            sum += *end;
            *end = sum;
        }
        self.nodes.resize(sum as usize, 0);
    }

    #[inline]
    pub(super) fn place(&mut self, level: u32, node: u32) {
        let at = &mut self.ends[level as usize - 1];
        self.nodes[*at as usize] = node;
        *at += 1;
    }

    /// Places the members of a cycle next to each other.
    pub(super) fn place_cycle(&mut self, level: u32, members: impl Iterator<Item = u32>) {
        let start = self.ends[level as usize - 1];
        members.for_each(|member| self.place(level, member));
        self.cycles.push(start..self.ends[level as usize - 1]);
    }

    /// Ends the answer: by now the start of each wave has been moved to its end.
    pub(super) fn finish(&mut self) {
        self.ends.pop();
        let waves = self.ends.partition_point(|end| (*end as usize) < self.nodes.len());
        self.ends.truncate(waves + usize::from(!self.nodes.is_empty()));
        self.cycles.sort_unstable_by_key(|range| range.start);
    }
}

impl Csr {
    /// Returns what new content of these nodes affects, the nodes themselves included. Numbers that
    /// are no nodes are passed over.
    ///
    /// Kahn's algorithm (1962) takes all nodes that are not in a cycle or behind one; only what is
    /// left over is searched for components. Cost: O(n) to clear memory for n nodes, then O(edges
    /// of what is affected).
    ///
    /// A worked example, with the edges 0-1, 1-2, 2-1, 2-3, from 0:
    ///
    /// 1. A walk from 0 reaches 0, 1, 2 and 3 and counts the edges into each: 0, 2, 1 and 1.
    /// 2. 0 waits for nothing: it is taken, on level 1, and 1 waits for one edge less. Nothing else
    ///    is free.
    /// 3. Among 1, 2 and 3, components are found, parents first: {1, 2} and {3}.
    /// 4. {1, 2} is one level after its highest parent 0, on level 2; {3} is on level 3.
    /// 5. The waves are 0; 1 and 2; 3.
    #[doc(alias = "impact")]
    #[doc(alias = "topological sort")]
    #[doc(alias = "reverse dependencies")]
    #[must_use]
    pub fn affected(&self, changed: &[u32]) -> Affected {
        let mut walk = Walk::over(self, changed);
        walk.peel();
        if walk.order.len() < walk.reached.len() {
            walk.unravel();
        }
        walk.answer()
    }

    /// Returns the waves in which these nodes, and no others, can be built, as far as they depend
    /// on each other by direct edges. Numbers that are no nodes are passed over. Cost: O(n + edges
    /// of the nodes).
    ///
    /// ```
    /// use freshmaker::graph::Csr;
    ///
    /// // 0 is a library, and 1 and 2 are linked against it.
    /// let graph = Csr::new(4, &[(0, 1), (0, 2), (1, 2), (2, 3)])?;
    /// let relinked = graph.among(graph.children(0));
    /// assert_eq!(relinked.waves().collect::<Vec<_>>(), [[1], [2]]);
    /// # Ok::<(), freshmaker::graph::CsrError>(())
    /// ```
    #[doc(alias = "induced subgraph")]
    #[must_use]
    pub fn among(&self, nodes: &[u32]) -> Affected {
        let mut numbers = vec![0; self.nodes() as usize];
        let mut nodes: Vec<_> = nodes.iter().copied().filter(|node| *node < self.nodes()).collect();
        Affected::among(&self.parents, &mut nodes, &mut numbers)
    }
}

/// One walk over what is affected, in the order of Kahn (1962) as far as there are no cycles, then
/// component after component.
///
/// *Invariant:* `waits` of a node is the number of edges from affected nodes that do not lead from
/// a taken node.
struct Walk<'a> {
    graph: &'a Csr,
    reached: Vec<u32>,
    /// How many edges from affected nodes lead into a node and have not been walked yet.
    waits: Vec<u32>,
    order: Vec<u32>,
    /// Where in the order the cycles lie.
    cycles: Vec<Range<usize>>,
    /// From 1.
    levels: Vec<u32>,
}

/// Marks a node that was named before the walk has counted its edges.
const NAMED: u32 = 1 << 31;

impl<'a> Walk<'a> {
    fn over(graph: &'a Csr, changed: &[u32]) -> Self {
        let nodes = graph.nodes() as usize;
        let mut waits = vec![0_u32; nodes];
        // One place more, so that the branch-free step below can always write.
        let mut reached = vec![0_u32; nodes + 1];
        let mut length = 0;
        for &node in changed.iter().filter(|node| **node < graph.nodes()) {
            reached[length] = node;
            length += usize::from(waits[node as usize] == 0);
            waits[node as usize] = NAMED;
        }
        let named = length;
        let mut next = 0;
        while next < length {
            for &child in graph.children.row(reached[next]) {
                let waits = &mut waits[child as usize];
                reached[length] = child;
                length += usize::from(*waits == 0);
                *waits += 1;
            }
            next += 1;
        }
        reached.truncate(length);
        for node in &reached[..named] {
            waits[*node as usize] -= NAMED;
        }
        Self { graph, reached, waits, order: Vec::new(), cycles: Vec::new(), levels: vec![0; nodes] }
    }

    /// Takes nodes that wait for nothing, level by level. The node that lets a child go is one of
    /// the highest level among the parents of the child, so the child is one level higher.
    fn peel(&mut self) {
        let mut order = vec![0_u32; self.reached.len() + 1];
        let mut length = 0;
        for &node in self.reached.iter().filter(|node| self.waits[**node as usize] == 0) {
            order[length] = node;
            length += 1;
        }
        let (mut next, mut level) = (0, 0);
        while next < length {
            level += 1;
            let end = length;
            while next < end {
                let node = order[next];
                self.levels[node as usize] = level;
                for &child in self.graph.children.row(node) {
                    let waits = &mut self.waits[child as usize];
                    *waits -= 1;
                    order[length] = child;
                    length += usize::from(*waits == 0);
                }
                next += 1;
            }
        }
        order.truncate(length);
        self.order = order;
    }

    /// Takes the rest component by component, parents first.
    fn unravel(&mut self) {
        let mut search = Components::among(&self.graph.children, |node| self.waits[node as usize] > 0);
        let (mut members, mut ends) = (Vec::new(), Vec::new());
        for &node in self.reached.iter().filter(|node| self.waits[**node as usize] > 0) {
            search.search(node, |component| {
                members.extend_from_slice(component);
                ends.push(members.len());
            });
        }
        for at in (0..ends.len()).rev() {
            let component = &members[if at == 0 { 0 } else { ends[at - 1] }..ends[at]];
            // No member of the component has a level yet, and every node before it has one.
            let parents = component.iter().flat_map(|node| self.graph.parents.row(*node));
            let level = parents.map(|parent| self.levels[*parent as usize]).max().unwrap_or_default() + 1;
            for node in component {
                self.levels[*node as usize] = level;
            }
            if component.len() > 1 {
                self.cycles.push(self.order.len()..self.order.len() + component.len());
            }
            self.order.extend_from_slice(component);
        }
    }

    fn answer(&self) -> Affected {
        let level = |node: u32| self.levels[node as usize];
        let mut affected = Affected::default();
        affected.start(self.order.iter().map(|node| level(*node)).max().unwrap_or_default());
        self.order.iter().for_each(|node| affected.count(level(*node), 1));
        affected.lay_out();
        let mut at = 0;
        for cycle in &self.cycles {
            self.order[at..cycle.start].iter().for_each(|node| affected.place(level(*node), *node));
            affected.place_cycle(level(self.order[cycle.start]), self.order[cycle.clone()].iter().copied());
            at = cycle.end;
        }
        self.order[at..].iter().for_each(|node| affected.place(level(*node), *node));
        affected.finish();
        affected
    }
}

use super::affected::Affected;
use super::csr::Rows;
use super::frozen::FrozenGraph;
use std::ops::Range;
use std::time::Duration;

/// A search that has walked over one edge in this many stops walking and sweeps over the whole
/// graph, which is then faster: to walk jumps through memory, to sweep reads it in order. Measured.
const SWEEP_ABOVE: usize = 24;

/// Questions to a [`FrozenGraph`], with the memory for their answers.
///
/// A question walks from what changed along the edges. If that reaches much, it sweeps over all
/// later positions instead and asks the parents of each, as direction-optimizing breadth-first
/// search does (Beamer, Asanović and Patterson 2012). Cost: O(edges of the answer) and a sort of
/// the answer if it is small, else O(n + m) with a small constant: each edge is read once, in the
/// order of memory.
///
/// *Invariant:* between two questions no level is set but those of the latest answer, so a small
/// question never costs more than what it and the one before it reach.
///
/// A worked example of a sweep, with positions 0 to 3, the edges 0-1, 0-2, 1-3, 2-3, from 1:
///
/// 1. Position 1 has level 1, and all others have none (0).
/// 2. The sweep begins at 1. Position 2 has the parent 0, which has no level: 2 is not affected.
/// 3. Position 3 has the parents 1 and 2 with levels 1 and 0: it gets 1 + 1 = 2.
/// 4. The waves are the positions of level 1 and those of level 2.
/// 5. For ranks the sweep goes back from 3 to 1: the rank of a position is its duration and the
///    largest rank of its children.
///
/// ```
/// use freshmaker::graph::{Csr, FrozenGraph};
///
/// let graph = FrozenGraph::new(&Csr::new(4, &[(0, 1), (0, 2), (1, 3), (2, 3)])?);
/// let mut search = graph.search();
/// for (changed, affected) in [(0, 4), (1, 2), (3, 1)] {
///     assert_eq!(search.affected(&[changed]).nodes().len(), affected);
/// }
/// # Ok::<(), freshmaker::graph::CsrError>(())
/// ```
#[doc(alias = "what-if")]
#[derive(Clone, Debug)]
pub struct Search<'a> {
    graph: &'a FrozenGraph,
    /// By position: 0 for what is not affected, else the number of its wave, from 1.
    small: Vec<u8>,
    /// The same for graphs with more waves than a byte can count.
    large: Vec<u32>,
    /// The affected positions in ascending order, or all from the first to the end of the graph.
    found: Found,
    affected: Affected,
    /// By position, all zeros between two questions.
    numbers: Vec<u32>,
}

/// Where the answer lies.
///
/// *Invariant:* a level outside of it is 0. `Few` is in ascending order, so that walking over it is
/// walking in topological order; it contains a component as a whole or not at all.
#[derive(Clone, Debug)]
enum Found {
    Few(Vec<u32>),
    From(u32),
}

/// The number of a wave: a byte where that is enough, because bytes of a million nodes fit into a
/// cache.
trait Level: Copy + Ord + Default + Into<u32> {
    const FIRST: Self;

    /// The level of what has a parent on this one; the first level has no parents, and stays
    /// nothing.
    fn next(self) -> Self;
}

impl Level for u8 {
    const FIRST: Self = 1;

    #[inline]
    fn next(self) -> Self {
        self + Self::from(self > 0)
    }
}

impl Level for u32 {
    const FIRST: Self = 1;

    #[inline]
    fn next(self) -> Self {
        self + Self::from(self > 0)
    }
}

/// What durations are counted in. Sums stop at the largest number instead of overflowing.
///
/// *Invariant:* `then` never descends in either argument, and the default is the weight of nothing.
pub trait Weight: Copy + Ord + Default {
    /// This and the other one after it.
    #[must_use]
    fn then(self, other: Self) -> Self;
}

impl Weight for u32 {
    #[inline]
    fn then(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl Weight for u64 {
    #[inline]
    fn then(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl Weight for Duration {
    #[inline]
    fn then(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

/// For each affected node the longest chain that starts with it, from [`Search::ranks`].
///
/// The members of a cycle do not wait for each other, so no chain has two of them.
///
/// ```
/// use freshmaker::graph::{Csr, FrozenGraph};
///
/// let graph = FrozenGraph::new(&Csr::new(3, &[(0, 1), (1, 2)])?);
/// let mut search = graph.search();
/// search.affected(&[1]);
/// let ranks = search.ranks(&[7_u64, 20, 5]);
/// assert_eq!((ranks.get(0), ranks.get(1), ranks.longest()), (0, 25, 25));
/// # Ok::<(), freshmaker::graph::CsrError>(())
/// ```
#[doc(alias = "critical path")]
#[derive(Clone, Debug)]
pub struct Ranks<'a, W> {
    graph: &'a FrozenGraph,
    /// By position.
    ranks: Vec<W>,
    longest: W,
}

impl<W: Weight> Ranks<'_, W> {
    /// Returns the longest chain that starts with this node: its own duration and those of what
    /// waits for it. Returns the default for a node that is not affected.
    #[must_use]
    pub fn get(&self, node: u32) -> W {
        let position = self.graph.position.get(node as usize);
        position.map(|position| self.ranks[*position as usize]).unwrap_or_default()
    }

    /// Returns the critical path: the longest chain of all.
    #[doc(alias = "critical path")]
    #[must_use]
    pub fn longest(&self) -> W {
        self.longest
    }
}

impl<'a> Search<'a> {
    pub(super) fn new(graph: &'a FrozenGraph) -> Self {
        let nodes = graph.node_at.len();
        let fits = graph.depth < u32::from(u8::MAX);
        let (small, large) = if fits { (vec![0; nodes], Vec::new()) } else { (Vec::new(), vec![0; nodes]) };
        Self { graph, small, large, found: Found::Few(Vec::new()), affected: Affected::default(), numbers: Vec::new() }
    }

    /// Returns what new content of these nodes affects, the nodes themselves included. Numbers that
    /// are no nodes are passed over. The answer has the same sets as that of
    /// [`Csr::affected`](super::Csr::affected).
    #[doc(alias = "impact")]
    #[doc(alias = "reverse dependencies")]
    pub fn affected(&mut self, changed: &[u32]) -> &Affected {
        let named: Vec<_> =
            changed.iter().filter_map(|node| self.graph.position.get(*node as usize).copied()).collect();
        if self.large.is_empty() {
            find(self.graph, &mut self.small, &mut self.found, &named);
            answer(self.graph, &self.small, &self.found, &mut self.affected);
        } else {
            find(self.graph, &mut self.large, &mut self.found, &named);
            answer(self.graph, &self.large, &self.found, &mut self.affected);
        }
        &self.affected
    }

    /// Returns the waves in which these nodes, and no others, can be built, as far as they depend
    /// on each other by direct edges. [`ranks`](Self::ranks) still speaks of the latest answer of
    /// [`affected`](Self::affected).
    pub fn among(&mut self, nodes: &[u32]) -> Affected {
        let mut positions: Vec<_> =
            nodes.iter().filter_map(|node| self.graph.position.get(*node as usize).copied()).collect();
        self.numbers.resize(self.graph.node_at.len(), 0);
        let mut among = Affected::among(&self.graph.parents, &mut positions, &mut self.numbers);
        among.nodes.iter_mut().for_each(|position| *position = self.graph.node_at[*position as usize]);
        among
    }

    /// Returns the longest chains among what the latest answer of [`affected`](Self::affected) has,
    /// given the duration of every node, by number. A missing duration counts nothing.
    ///
    /// The critical path method (Kelley and Walker 1959), children before parents. Cost: that of
    /// the question.
    #[doc(alias = "critical path")]
    #[doc(alias = "longest path")]
    pub fn ranks<W: Weight>(&self, durations: &[W]) -> Ranks<'a, W> {
        if self.large.is_empty() {
            ranks(self.graph, &self.small, &self.found, durations)
        } else {
            ranks(self.graph, &self.large, &self.found, durations)
        }
    }
}

/// Returns how many levels there are if everything is named.
pub(super) fn depth(graph: &FrozenGraph) -> u32 {
    let mut levels = vec![u32::FIRST; graph.node_at.len()];
    Found::From(0).forwards(graph, &mut SetLevels { parents: graph.levelling(), levels: &mut levels });
    levels.into_iter().max().unwrap_or_default()
}

/// Sets the levels of what is affected, and clears those of the answer before.
///
/// 1. A walk marks what can be reached, as long as the budget lasts. Its marks are no levels.
/// 2. The marks are cleared, and what is named gets the first level.
/// 3. If the walk ended, levels are pushed along the edges of the few positions that it found, in
///    ascending order. Else every position from the first named one on asks its parents.
fn find<L: Level>(graph: &FrozenGraph, levels: &mut [L], found: &mut Found, named: &[u32]) {
    found.clear(levels);
    let mut few = std::mem::replace(found, Found::From(0)).into_memory();
    let walked = walk(graph, levels, &mut few, named);
    few.iter().for_each(|position| levels[*position as usize] = L::default());
    named.iter().for_each(|position| levels[*position as usize] = L::FIRST);
    *found = match (walked, named.iter().min()) {
        (Walked::TooMuch, Some(first)) => Found::From(graph.component(*first).start),
        _ => {
            few.sort_unstable();
            Found::Few(few)
        }
    };
    match found {
        // Of what is swept, most is affected: to ask the parents writes each level once. Of the
        // parents of a few, most are not.
        Found::From(_) => found.forwards(graph, &mut SetLevels { parents: graph.levelling(), levels }),
        Found::Few(_) => found.forwards(graph, &mut PushLevels { children: &graph.children, levels }),
    }
}

enum Walked {
    Everything,
    TooMuch,
}

/// Collects what can be reached, marked by any level, until the budget of edges is used up.
fn walk<L: Level>(graph: &FrozenGraph, marks: &mut [L], reached: &mut Vec<u32>, named: &[u32]) -> Walked {
    let mut reach = |reached: &mut Vec<u32>, position: u32| {
        let mark = &mut marks[position as usize];
        if *mark == L::default() {
            *mark = L::FIRST;
            reached.push(position);
        }
    };
    named.iter().for_each(|position| reach(reached, *position));
    let mut budget = graph.children.edges() / SWEEP_ABOVE;
    let mut next = 0;
    while let Some(&position) = reached.get(next) {
        let row = graph.children.row(position);
        let Some(left) = budget.checked_sub(row.len()) else { return Walked::TooMuch };
        budget = left;
        row.iter().for_each(|child| reach(reached, *child));
        next += 1;
    }
    Walked::Everything
}

/// Writes the answer by counting sort: count the positions of each level, then place them.
fn answer<L: Level>(graph: &FrozenGraph, levels: &[L], found: &Found, affected: &mut Affected) {
    affected.start(graph.depth);
    found.forwards(graph, &mut Count { levels, affected });
    affected.lay_out();
    found.forwards(graph, &mut Place { levels, affected, node_at: &graph.node_at });
    affected.finish();
}

fn ranks<'a, L: Level, W: Weight>(
    graph: &'a FrozenGraph,
    levels: &[L],
    found: &Found,
    durations: &[W],
) -> Ranks<'a, W> {
    let ranks = vec![W::default(); graph.node_at.len()];
    let mut pass = Rank { graph, levels, durations, ranks, longest: W::default(), chains: Vec::new() };
    found.backwards(graph, &mut pass);
    Ranks { graph, ranks: pass.ranks, longest: pass.longest }
}

/// What is done with each component on a way through a graph. The sweep, the count and the
/// placement walk in the same way and are compiled into one plain loop each.
trait Pass {
    /// A component of one member.
    fn one(&mut self, position: u32);

    /// A component of several members.
    fn cycle(&mut self, positions: Range<u32>);
}

impl Found {
    /// Sets the levels of an answer to 0.
    fn clear<L: Level>(&self, levels: &mut [L]) {
        match self {
            Self::From(first) => levels[*first as usize..].fill(L::default()),
            Self::Few(positions) => positions.iter().for_each(|position| levels[*position as usize] = L::default()),
        }
    }

    fn into_memory(self) -> Vec<u32> {
        match self {
            Self::From(_) => Vec::new(),
            Self::Few(mut positions) => {
                positions.clear();
                positions
            }
        }
    }

    /// Walks from parents to children, component by component.
    fn forwards(&self, graph: &FrozenGraph, pass: &mut impl Pass) {
        match self {
            Self::From(first) => {
                let mut at = *first;
                for cycle in &graph.cycles[graph.cycles.partition_point(|cycle| cycle.end <= at)..] {
                    (at..cycle.start).for_each(|position| pass.one(position));
                    pass.cycle(cycle.clone());
                    at = cycle.end;
                }
                (at..graph.nodes()).for_each(|position| pass.one(position));
            }
            Self::Few(positions) => {
                let mut at = 0;
                while let Some(&position) = positions.get(at) {
                    at += visit(graph, position, pass);
                }
            }
        }
    }

    /// Walks from children to parents, component by component.
    fn backwards(&self, graph: &FrozenGraph, pass: &mut impl Pass) {
        match self {
            Self::From(first) => {
                let mut end = graph.nodes();
                for cycle in graph.cycles.iter().rev().take_while(|cycle| cycle.end > *first) {
                    (cycle.end..end).rev().for_each(|position| pass.one(position));
                    pass.cycle(cycle.clone());
                    end = cycle.start;
                }
                (*first..end).rev().for_each(|position| pass.one(position));
            }
            Self::Few(positions) => {
                let mut end = positions.len();
                while let Some(&position) = positions[..end].last() {
                    end -= visit(graph, position, pass);
                }
            }
        }
    }
}

/// Hands on the component of a position, and returns how many members it has.
fn visit(graph: &FrozenGraph, position: u32, pass: &mut impl Pass) -> usize {
    let component = graph.component(position);
    let members = component.len();
    if members == 1 {
        pass.one(position);
    } else {
        pass.cycle(component);
    }
    members
}

/// The level of a position is one more than the highest level of its parents; what is named has at
/// least the first level.
struct SetLevels<'a, L> {
    parents: &'a Rows,
    levels: &'a mut [L],
}

impl<L: Level> Pass for SetLevels<'_, L> {
    #[inline(always)]
    fn one(&mut self, position: u32) {
        let row = self.parents.row(position);
        let highest = row.iter().fold(L::default(), |highest, parent| highest.max(self.levels[*parent as usize]));
        let level = &mut self.levels[position as usize];
        *level = highest.next().max(*level);
    }

    fn cycle(&mut self, positions: Range<u32>) {
        // The first member has the row of all.
        self.one(positions.start);
        let members = &mut self.levels[positions.start as usize..positions.end as usize];
        let level = members.iter().copied().max().unwrap_or_default();
        members.fill(level);
    }
}

/// The same from the other side, for positions that are all affected: each tells its level to its
/// children.
struct PushLevels<'a, L> {
    children: &'a Rows,
    levels: &'a mut [L],
}

impl<L: Level> PushLevels<'_, L> {
    fn push(&mut self, level: L, position: u32, from: u32) {
        for child in self.children.row(position).iter().filter(|child| **child >= from) {
            let known = &mut self.levels[*child as usize];
            *known = level.next().max(*known);
        }
    }
}

impl<L: Level> Pass for PushLevels<'_, L> {
    #[inline(always)]
    fn one(&mut self, position: u32) {
        self.push(self.levels[position as usize], position, position);
    }

    fn cycle(&mut self, positions: Range<u32>) {
        let members = &mut self.levels[positions.start as usize..positions.end as usize];
        let level = members.iter().copied().max().unwrap_or_default();
        members.fill(level);
        positions.clone().for_each(|position| self.push(level, position, positions.end));
    }
}

struct Count<'a, L> {
    levels: &'a [L],
    affected: &'a mut Affected,
}

impl<L: Level> Pass for Count<'_, L> {
    #[inline(always)]
    fn one(&mut self, position: u32) {
        // Level 0 is counted like any other, which is faster than to look, and has no place in the
        // answer.
        self.affected.count(self.levels[position as usize].into(), 1);
    }

    fn cycle(&mut self, positions: Range<u32>) {
        let level = self.levels[positions.start as usize].into();
        self.affected.count(level, positions.end - positions.start);
    }
}

struct Place<'a, L> {
    levels: &'a [L],
    affected: &'a mut Affected,
    node_at: &'a [u32],
}

impl<L: Level> Pass for Place<'_, L> {
    #[inline(always)]
    fn one(&mut self, position: u32) {
        let level = self.levels[position as usize];
        if level > L::default() {
            self.affected.place(level.into(), self.node_at[position as usize]);
        }
    }

    fn cycle(&mut self, positions: Range<u32>) {
        let level = self.levels[positions.start as usize];
        if level > L::default() {
            let members = &self.node_at[positions.start as usize..positions.end as usize];
            self.affected.place_cycle(level.into(), members.iter().copied());
        }
    }
}

/// The longest chain from each position, from the end to the beginning.
struct Rank<'a, L, W> {
    graph: &'a FrozenGraph,
    levels: &'a [L],
    durations: &'a [W],
    ranks: Vec<W>,
    longest: W,
    /// Those of a cycle, until all of them are known.
    chains: Vec<W>,
}

impl<L: Level, W: Weight> Rank<'_, L, W> {
    /// Returns the longest chain from here over positions that are not before `from`.
    #[inline(always)]
    fn chain(&self, position: u32, from: u32) -> W {
        let row = self.graph.children.row(position).iter().filter(|child| **child >= from);
        let rest = row.fold(W::default(), |rest, child| rest.max(self.ranks[*child as usize]));
        let duration = self.durations.get(self.graph.node_at[position as usize] as usize).copied();
        duration.unwrap_or_default().then(rest)
    }
}

impl<L: Level, W: Weight> Pass for Rank<'_, L, W> {
    #[inline(always)]
    fn one(&mut self, position: u32) {
        if self.levels[position as usize] > L::default() {
            let chain = self.chain(position, position);
            self.ranks[position as usize] = chain;
            self.longest = self.longest.max(chain);
        }
    }

    fn cycle(&mut self, positions: Range<u32>) {
        if self.levels[positions.start as usize] > L::default() {
            self.chains.clear();
            for position in positions.clone() {
                let chain = self.chain(position, positions.end);
                self.chains.push(chain);
                self.longest = self.longest.max(chain);
            }
            self.ranks[positions.start as usize..positions.end as usize].copy_from_slice(&self.chains);
        }
    }
}

use std::slice;

/// The most neighbours in one block, a sorted vector; more are kept in several blocks.
const BLOCK_MAX: usize = 256;

/// The neighbours of a node in the order of their numbers, with what is known about each edge.
///
/// A B+ tree of two levels: blocks of at most [`BLOCK_MAX`] entries, one after the other, so that
/// to walk over a hub is to read memory in order. **Invariant:** no block of several is empty, and
/// entries ascend strictly over all blocks. For d neighbours, to find, add or remove one costs
/// O(log d) comparisons and moves at most a block and the list of blocks: O(d / [`BLOCK_MAX`]).
#[derive(Clone, Debug)]
enum Row<V> {
    /// At most one block.
    One(Vec<(u32, V)>),
    /// At least two blocks, until entries are removed.
    Several(Vec<Vec<(u32, V)>>),
}

impl<V: Copy> Row<V> {
    fn get(&self, node: u32) -> Option<V> {
        let block = match self {
            Self::One(block) => block,
            Self::Several(blocks) => blocks.get(holder(blocks, node))?,
        };
        find(block, node).ok().map(|at| block[at].1)
    }

    /// Adds a neighbour or changes its value; says whether it is new.
    fn set(&mut self, node: u32, value: V) -> bool {
        match self {
            Self::One(block) => {
                let new = insert(block, node, value);
                if block.len() > BLOCK_MAX {
                    let rest = block.split_off(block.len() / 2);
                    *self = Self::Several(vec![std::mem::take(block), rest]);
                }
                new
            }
            Self::Several(blocks) => {
                let at = holder(blocks, node);
                let Some(block) = blocks.get_mut(at) else {
                    blocks.push(vec![(node, value)]);
                    return true;
                };
                let new = insert(block, node, value);
                if block.len() > BLOCK_MAX {
                    let rest = block.split_off(block.len() / 2);
                    blocks.insert(at + 1, rest);
                }
                new
            }
        }
    }

    fn remove(&mut self, node: u32) -> Option<V> {
        match self {
            Self::One(block) => find(block, node).ok().map(|at| block.remove(at).1),
            Self::Several(blocks) => {
                let at = holder(blocks, node);
                let block = blocks.get_mut(at)?;
                let found = find(block, node).ok().map(|at| block.remove(at).1);
                if block.is_empty() {
                    blocks.remove(at);
                }
                found
            }
        }
    }

    /// A measure of how many neighbours there are: exact for one block, at least that else.
    fn weight(&self) -> usize {
        match self {
            Self::One(block) => block.len(),
            Self::Several(blocks) => blocks.len() * BLOCK_MAX,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::One(block) => block.len(),
            Self::Several(blocks) => blocks.iter().map(Vec::len).sum(),
        }
    }

    fn iter(&self) -> Neighbours<'_, V> {
        match self {
            Self::One(block) => Neighbours { block: block.iter(), rest: [].iter() },
            Self::Several(blocks) => Neighbours { block: [].iter(), rest: blocks.iter() },
        }
    }
}

/// The block that has a node, if any has it: the last one that does not begin after it.
fn holder<V>(blocks: &[Vec<(u32, V)>], node: u32) -> usize {
    let after = blocks.partition_point(|block| block.first().is_some_and(|(first, _)| *first <= node));
    after.saturating_sub(1)
}

fn find<V>(block: &[(u32, V)], node: u32) -> Result<usize, usize> {
    block.binary_search_by_key(&node, |(key, _)| *key)
}

/// Adds an entry or changes its value; says whether it is new.
fn insert<V>(block: &mut Vec<(u32, V)>, node: u32, value: V) -> bool {
    // Edges usually come in the order of their nodes.
    if block.last().is_none_or(|(last, _)| *last < node) {
        block.push((node, value));
        return true;
    }
    match find(block, node) {
        Ok(at) => {
            block[at].1 = value;
            false
        }
        Err(at) => {
            block.insert(at, (node, value));
            true
        }
    }
}

/// The neighbours of a node in the order of their numbers.
#[derive(Clone, Debug)]
pub(super) struct Neighbours<'a, V> {
    block: slice::Iter<'a, (u32, V)>,
    rest: slice::Iter<'a, Vec<(u32, V)>>,
}

impl<V: Copy> Iterator for Neighbours<'_, V> {
    type Item = (u32, V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.block.next() {
                return Some(*entry);
            }
            self.block = self.rest.next()?.iter();
        }
    }

    /// Block by block, which compilers turn into a plain loop.
    #[inline]
    fn fold<B, F: FnMut(B, Self::Item) -> B>(self, init: B, mut f: F) -> B {
        let first = self.block.fold(init, |sum, entry| f(sum, *entry));
        self.rest.flatten().fold(first, |sum, entry| f(sum, *entry))
    }
}

/// Edges between numbered nodes that come and go, with at most one value for each ordered pair.
///
/// *Invariant:* both directions have the same edges, and `edges` counts them once.
#[derive(Clone, Debug)]
pub(super) struct Links<V> {
    children: Vec<Row<V>>,
    parents: Vec<Row<V>>,
    edges: usize,
}

impl<V> Default for Links<V> {
    fn default() -> Self {
        Self { children: Vec::new(), parents: Vec::new(), edges: 0 }
    }
}

impl<V: Copy> Links<V> {
    /// Adds a node without neighbours; its number is the count of those before.
    pub(super) fn add(&mut self) {
        self.children.push(Row::One(Vec::new()));
        self.parents.push(Row::One(Vec::new()));
    }

    /// Returns the number of nodes.
    pub(super) fn nodes(&self) -> usize {
        self.children.len()
    }

    /// Returns the number of edges.
    pub(super) fn edges(&self) -> usize {
        self.edges
    }

    /// Returns the value of an edge.
    pub(super) fn get(&self, parent: u32, child: u32) -> Option<V> {
        // The shorter row is the faster one.
        let (children, parents) = (&self.children[parent as usize], &self.parents[child as usize]);
        if children.weight() < parents.weight() { children.get(child) } else { parents.get(parent) }
    }

    /// Adds an edge, or changes its value.
    pub(super) fn set(&mut self, parent: u32, child: u32, value: V) {
        self.parents[child as usize].set(parent, value);
        self.edges += usize::from(self.children[parent as usize].set(child, value));
    }

    /// Removes an edge.
    pub(super) fn remove(&mut self, parent: u32, child: u32) -> Option<V> {
        let value = self.parents[child as usize].remove(parent)?;
        self.children[parent as usize].remove(child);
        self.edges -= 1;
        Some(value)
    }

    /// Removes all edges of a node.
    pub(super) fn isolate(&mut self, node: u32) {
        let (children, parents): (Vec<_>, Vec<_>) = (self.children(node).collect(), self.parents(node).collect());
        for (child, _) in children {
            self.remove(node, child);
        }
        for (parent, _) in parents {
            self.remove(parent, node);
        }
    }

    /// How many neighbours a node has.
    pub(super) fn degree(&self, node: u32) -> usize {
        self.children[node as usize].len() + self.parents[node as usize].len()
    }

    pub(super) fn children(&self, node: u32) -> Neighbours<'_, V> {
        self.children[node as usize].iter()
    }

    pub(super) fn parents(&self, node: u32) -> Neighbours<'_, V> {
        self.parents[node as usize].iter()
    }
}

use std::collections::{BTreeMap, btree_map};
use std::slice;

/// Up to so many neighbours are kept in a sorted vector, which is smaller and faster to walk than a tree.
const FEW: usize = 48;

/// The neighbours of a node, by number, with what is known about each edge. To remove one does not walk over the others.
#[derive(Clone, Debug)]
enum Row<V> {
    Few(Vec<(u32, V)>),
    Many(BTreeMap<u32, V>),
}

impl<V: Copy> Row<V> {
    fn get(&self, node: u32) -> Option<V> {
        match self {
            Self::Few(row) => row.binary_search_by_key(&node, |(key, _)| *key).ok().map(|at| row[at].1),
            Self::Many(row) => row.get(&node).copied(),
        }
    }

    fn set(&mut self, node: u32, value: V) {
        match self {
            Self::Few(row) => match row.binary_search_by_key(&node, |(key, _)| *key) {
                Ok(at) => row[at].1 = value,
                Err(at) if row.len() < FEW => row.insert(at, (node, value)),
                Err(_) => {
                    let mut many: BTreeMap<_, _> = std::mem::take(row).into_iter().collect();
                    many.insert(node, value);
                    *self = Self::Many(many);
                }
            },
            Self::Many(row) => drop(row.insert(node, value)),
        }
    }

    fn remove(&mut self, node: u32) -> Option<V> {
        match self {
            Self::Few(row) => row.binary_search_by_key(&node, |(key, _)| *key).ok().map(|at| row.remove(at).1),
            Self::Many(row) => row.remove(&node),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Few(row) => row.len(),
            Self::Many(row) => row.len(),
        }
    }

    fn iter(&self) -> Neighbours<'_, V> {
        match self {
            Self::Few(row) => Neighbours::Few(row.iter()),
            Self::Many(row) => Neighbours::Many(row.iter()),
        }
    }
}

/// The neighbours of a node in the order of their numbers.
#[derive(Clone, Debug)]
pub(super) enum Neighbours<'a, V> {
    Few(slice::Iter<'a, (u32, V)>),
    Many(btree_map::Iter<'a, u32, V>),
}

impl<V: Copy> Iterator for Neighbours<'_, V> {
    type Item = (u32, V);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(row) => row.next().copied(),
            Self::Many(row) => row.next().map(|(node, value)| (*node, *value)),
        }
    }
}

/// Edges between numbered nodes that come and go, with at most one value for each ordered pair.
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
    /// A further node without neighbours; its number is the count of those before.
    pub(super) fn add(&mut self) {
        self.children.push(Row::Few(Vec::new()));
        self.parents.push(Row::Few(Vec::new()));
    }

    /// How many nodes there are.
    pub(super) fn nodes(&self) -> usize {
        self.children.len()
    }

    /// How many edges there are.
    pub(super) fn edges(&self) -> usize {
        self.edges
    }

    /// The value of an edge.
    pub(super) fn get(&self, parent: u32, child: u32) -> Option<V> {
        // The shorter row is the faster one.
        let (children, parents) = (&self.children[parent as usize], &self.parents[child as usize]);
        if children.len() < parents.len() { children.get(child) } else { parents.get(parent) }
    }

    /// Adds an edge, or changes its value.
    pub(super) fn set(&mut self, parent: u32, child: u32, value: V) {
        let before = self.parents[child as usize].len();
        self.parents[child as usize].set(parent, value);
        self.children[parent as usize].set(child, value);
        self.edges += self.parents[child as usize].len() - before;
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

use super::Affected;
use super::csr::Csr;

/// A [`Csr`] whose nodes are keys of any ordered type, for small graphs of rows, names or
/// positions.
///
/// **Invariant:** the number of a node is the rank of its key, so whatever is ordered by number
/// is ordered by key. Repeated edges count once more and change no answer; an edge from a key to
/// itself is a cycle of one member for [`topological_order`](Self::topological_order) and none
/// for [`cycles`](Self::cycles).
///
/// Construction sorts the keys: O((n + m) log n) for n keys and m edges.
///
/// ```
/// use freshmaker::graph::KeyedGraph;
///
/// // "c" and "d" need each other, and "e" needs "d".
/// let edges = [("a", "b"), ("a", "c"), ("c", "d"), ("d", "c"), ("d", "e")];
/// let graph = KeyedGraph::new(["z"], edges);
/// assert_eq!(graph.topological_order(), ["a", "b", "z"], "the rest is in a cycle, or behind it");
/// assert_eq!(graph.cycles(), [["c", "d"]]);
/// assert_eq!(graph.reached_from(["d"]), ["c", "d", "e"]);
/// ```
#[derive(Clone, Debug)]
pub struct KeyedGraph<K> {
    /// Ascending.
    keys: Vec<K>,
    csr: Csr,
}

impl<K: Copy + Ord> KeyedGraph<K> {
    /// Makes the graph of these edges, each from a parent to a child, and of these keys, which may
    /// be without edges.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = K>, edges: impl IntoIterator<Item = (K, K)>) -> Self {
        let edges: Vec<(K, K)> = edges.into_iter().collect();
        let ends = edges.iter().flat_map(|(parent, child)| [*parent, *child]);
        let mut keys: Vec<K> = keys.into_iter().chain(ends).collect();
        keys.sort_unstable();
        keys.dedup();
        let number = |key: &K| number(&keys, key);
        let pairs: Vec<_> =
            edges.into_iter().filter_map(|(parent, child)| Some((number(&parent)?, number(&child)?))).collect();
        let csr = Csr::of(keys.len(), &pairs);
        Self { keys, csr }
    }

    /// Every key that is neither in a cycle nor behind one, parents before children, and the
    /// smallest key first where there is a choice. See [`Csr::topological_order`].
    #[doc(alias = "topological sort")]
    #[doc(alias = "toposort")]
    #[must_use]
    pub fn topological_order(&self) -> Vec<K> {
        self.named(&self.csr.topological_order())
    }

    /// Returns the strongly connected components, each in ascending order, parents before children.
    /// A key that is in no cycle is a component of its own. See [`Csr::components`].
    #[doc(alias = "SCC")]
    #[must_use]
    pub fn components(&self) -> Vec<Vec<K>> {
        self.csr.components().iter().map(|members| self.sorted(members)).collect()
    }

    /// Returns the strongly connected components of more than one key, each in ascending order,
    /// parents before children.
    #[must_use]
    pub fn cycles(&self) -> Vec<Vec<K>> {
        let mut components = self.components();
        components.retain(|members| members.len() > 1);
        components
    }

    /// These keys and everything that can be reached from them along the edges, in ascending
    /// order. A key that is no node is passed over. See [`Csr::affected`].
    #[doc(alias = "transitive closure")]
    #[must_use]
    pub fn reached_from(&self, keys: impl IntoIterator<Item = K>) -> Vec<K> {
        let from: Vec<_> = keys.into_iter().filter_map(|key| number(&self.keys, &key)).collect();
        self.sorted(Affected::nodes(&self.csr.affected(&from)))
    }

    fn sorted(&self, numbers: &[u32]) -> Vec<K> {
        let mut keys = self.named(numbers);
        keys.sort_unstable();
        keys
    }

    fn named(&self, numbers: &[u32]) -> Vec<K> {
        numbers.iter().map(|number| self.keys[*number as usize]).collect()
    }
}

/// The rank of a key.
fn number<K: Ord>(keys: &[K], key: &K) -> Option<u32> {
    keys.binary_search(key).ok().and_then(|at| u32::try_from(at).ok())
}

use super::links::Neighbours;
use super::{ArtifactGraph, ArtifactIndex, EdgeKinds, Index};
use crate::artifact::ArtifactId;
use std::collections::BTreeMap;

/// A question about what can be reached from some artifacts, from [`ArtifactGraph::closure`].
///
/// The answer is found by breadth-first search (Moore 1959), which visits nearer artifacts first,
/// so the distance of each is the length of a shortest path. Cost: O(n) to prepare for n artifacts,
/// then O(edges of what is reached), and a sort by name.
///
/// A worked example, for the graph below without limits, from zlib:
///
/// 1. zlib is at distance 0. Its children curl and git are at distance 1.
/// 2. From curl, git is found again at distance 2. It has a distance already, so nothing changes.
/// 3. git has no children. The answer is curl: 1, git: 1.
/// 4. Along `Link` only, the edge from zlib to git does not exist, so git is found in step 2.
///
/// ```
/// use freshmaker::graph::EdgeKinds;
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
///
/// let packages = ["zlib", "curl", "git"].map(|name| Artifact::new(name, ArtifactKind::Rpm));
/// let graph = ArtifactGraph::of(packages, [
///     ("curl".into(), "zlib".into(), EdgeKind::Link),
///     ("git".into(), "curl".into(), EdgeKind::Link),
///     ("git".into(), "zlib".into(), EdgeKind::BuildDependency),
/// ])?;
///
/// let everything = graph.closure(&["zlib".into()]).dependents();
/// assert_eq!(everything[&"git".into()], 1, "the shortest path counts");
/// let linked = graph.closure(&["zlib".into()]).along(EdgeKind::Link).dependents();
/// assert_eq!(linked[&"git".into()], 2);
/// let near = graph.closure(&["zlib".into()]).along(EdgeKind::Link).within(1).dependents();
/// assert!(near.keys().eq([&"curl".into()]));
/// assert_eq!(graph.closure(&["git".into()]).dependencies().len(), 2);
/// # Ok::<(), freshmaker::graph::UnknownArtifact>(())
/// ```
#[doc(alias = "transitive closure")]
#[doc(alias = "reachability")]
#[derive(Clone, Debug)]
#[must_use]
pub struct Closure<'a> {
    graph: &'a ArtifactGraph,
    from: Vec<u32>,
    kinds: EdgeKinds,
    depth: u32,
}

impl<'a> Closure<'a> {
    pub(super) fn new(graph: &'a ArtifactGraph, from: Vec<u32>) -> Self {
        Self { graph, from, kinds: EdgeKinds::ALL, depth: u32::MAX }
    }

    /// Follows edges only if they are of at least one of these kinds. The default is all kinds.
    pub fn along(mut self, kinds: impl Into<EdgeKinds>) -> Self {
        self.kinds = kinds.into();
        self
    }

    /// Limits the distance to this many edges. The default is no limit; 0 reaches nothing.
    pub fn within(mut self, depth: u32) -> Self {
        self.depth = depth;
        self
    }

    /// Returns what is directly or indirectly built from the artifacts, with the distance of each:
    /// how many edges a shortest path has.
    ///
    /// The artifacts themselves are not in it, unless a path leads back to them.
    #[doc(alias = "reverse dependencies")]
    #[must_use]
    pub fn dependents(&self) -> BTreeMap<ArtifactId, u32> {
        self.named(self.walk(|number| self.graph.links().children(number)))
    }

    /// Returns what the artifacts are directly or indirectly built from, with the distance of each:
    /// how many edges a shortest path has.
    ///
    /// The artifacts themselves are not in it, unless a path leads back to them.
    #[must_use]
    pub fn dependencies(&self) -> BTreeMap<ArtifactId, u32> {
        self.named(self.walk(|number| self.graph.links().parents(number)))
    }

    /// The dependents by index, nearest first.
    pub(crate) fn indices(&self) -> impl Iterator<Item = ArtifactIndex> {
        let found = self.walk(|number| self.graph.links().children(number));
        found.into_iter().map(|(number, _)| ArtifactIndex::of(number))
    }

    fn walk(&self, row: impl Fn(u32) -> Neighbours<'a, EdgeKinds>) -> Vec<(u32, u32)> {
        let mut seen = vec![false; self.graph.links().nodes()];
        let mut found = Vec::new();
        let (mut next, mut starts) = (0, self.from.iter());
        loop {
            // First from the artifacts themselves, which are not found by that.
            let (number, distance) = match starts.next() {
                Some(start) => (*start, 0),
                None if next < found.len() => {
                    next += 1;
                    found[next - 1]
                }
                None => return found,
            };
            if distance < self.depth {
                row(number).for_each(|(other, kinds)| {
                    let seen = &mut seen[other as usize];
                    // That something depends on itself leads nowhere.
                    if !*seen && other != number && !kinds.common(self.kinds).is_empty() {
                        *seen = true;
                        found.push((other, distance + 1));
                    }
                });
            }
        }
    }

    fn named(&self, found: Vec<(u32, u32)>) -> BTreeMap<ArtifactId, u32> {
        let named = found.into_iter().filter_map(|(number, distance)| Some((self.graph.numbered(number)?, distance)));
        named.map(|(artifact, distance)| (artifact.id.clone(), distance)).collect()
    }
}

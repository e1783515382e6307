use super::links::Neighbours;
use super::{ArtifactGraph, ArtifactIndex, EdgeKinds, Index};
use crate::artifact::ArtifactId;
use std::collections::BTreeMap;

/// A question about what can be reached from some artifacts, from [`ArtifactGraph::closure`].
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
/// assert_eq!(everything[&"git".into()], 1, "the shortest way counts");
/// let linked = graph.closure(&["zlib".into()]).along(EdgeKind::Link).dependents();
/// assert_eq!(linked[&"git".into()], 2);
/// let near = graph.closure(&["zlib".into()]).along(EdgeKind::Link).within(1).dependents();
/// assert!(near.keys().eq([&"curl".into()]));
/// assert_eq!(graph.closure(&["git".into()]).dependencies().len(), 2);
/// # Ok::<(), freshmaker::graph::UnknownArtifact>(())
/// ```
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

    /// Follows edges only if they are of one of these kinds.
    pub fn along(mut self, kinds: impl Into<EdgeKinds>) -> Self {
        self.kinds = kinds.into();
        self
    }

    /// Goes no further than so many edges.
    pub fn within(mut self, depth: u32) -> Self {
        self.depth = depth;
        self
    }

    /// What is directly or indirectly built from the artifacts, with the distance: how many edges the shortest way has.
    ///
    /// The artifacts themselves are not in it, unless a way leads back to them.
    #[must_use]
    pub fn dependents(&self) -> BTreeMap<ArtifactId, u32> {
        self.named(self.walk(|number| self.graph.links().children(number)))
    }

    /// What the artifacts are directly or indirectly built from, with the distance: how many edges the shortest way has.
    ///
    /// The artifacts themselves are not in it, unless a way leads back to them.
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
                for (other, _) in row(number).filter(|(_, kinds)| !kinds.common(self.kinds).is_empty()) {
                    // That something depends on itself leads nowhere.
                    if other != number && !std::mem::replace(&mut seen[other as usize], true) {
                        found.push((other, distance + 1));
                    }
                }
            }
        }
    }

    fn named(&self, found: Vec<(u32, u32)>) -> BTreeMap<ArtifactId, u32> {
        let named = found.into_iter().filter_map(|(number, distance)| Some((self.graph.numbered(number)?, distance)));
        named.map(|(artifact, distance)| (artifact.id.clone(), distance)).collect()
    }
}

use super::{ArtifactGraph, ArtifactIndex, EdgeKinds, Index};
use crate::artifact::ArtifactId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

/// The most members that a message names; a cycle can have thousands.
const SHOWN: usize = 12;

/// Artifacts that depend on each other: a strongly connected component of more than one, with one
/// path around as an example. Returned by [`ArtifactGraph::cycles`] and by a plan that is refused.
///
/// As text it names at most twelve members and at most twelve steps of the path.
///
/// ```
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
///
/// let graph = ArtifactGraph::of(
///     ["automake", "libc", "perl"].map(|name| Artifact::new(name, ArtifactKind::Rpm)),
///     [
///         ("perl".into(), "libc".into(), EdgeKind::Link),
///         ("automake".into(), "perl".into(), EdgeKind::RuntimeContent),
///         ("libc".into(), "automake".into(), EdgeKind::BuildDependency),
///     ],
/// )?;
/// let cycle = &graph.cycles()[0];
/// assert_eq!(cycle.members().len(), 3);
/// assert_eq!(cycle.example()[0], ("automake".into(), EdgeKind::BuildDependency.into()));
/// assert!(cycle.to_string().starts_with(
///     "automake, libc, perl (automake -[build_dependency]-> libc -[link]-> perl -[",
/// ));
/// # Ok::<(), freshmaker::graph::UnknownArtifact>(())
/// ```
#[doc(alias = "SCC")]
#[doc(alias = "strongly connected component")]
#[doc(alias = "circular dependency")]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cycle {
    members: Vec<ArtifactId>,
    example: Vec<(ArtifactId, EdgeKinds)>,
}

impl Cycle {
    /// The cycle of these artifacts, all of one component of at least two.
    pub(crate) fn among(graph: &ArtifactGraph, members: &[ArtifactIndex], kinds: EdgeKinds) -> Self {
        let named = members.iter().filter_map(|index| Some((graph.at(*index)?.id.clone(), index.number())));
        let mut named: Vec<_> = named.collect();
        named.sort_unstable();
        let inside: BTreeSet<_> = members.iter().map(|index| index.number()).collect();
        let example = named.first().map(|(_, first)| shortest(graph, *first, &inside, kinds)).unwrap_or_default();
        Self { members: named.into_iter().map(|(id, _)| id).collect(), example }
    }

    /// Returns the members, by name.
    #[must_use]
    pub fn members(&self) -> &[ArtifactId] {
        &self.members
    }

    /// Returns a shortest path around, starting with the first member by name: each artifact on it,
    /// and why the next one depends on it. After the last artifact follows the first.
    #[must_use]
    pub fn example(&self) -> &[(ArtifactId, EdgeKinds)] {
        &self.example
    }
}

/// Finds a shortest path from a member back to itself, by breadth-first search within the
/// component. Of several children the first by name is taken, so the path is the same in every run.
/// Cost: O(edges of the component), and a sort of the children of each node.
///
/// A worked example, with the edges a-c, a-b, b-a, c-b, from a:
///
/// 1. The queue is a. Its children by name are b and c; both remember a as the node before them.
/// 2. The queue is b, c. The child of b is a, which remembers b: the path is closed.
/// 3. Read backwards from a: b, then a. The answer is a, b.
fn shortest(
    graph: &ArtifactGraph,
    first: u32,
    inside: &BTreeSet<u32>,
    kinds: EdgeKinds,
) -> Vec<(ArtifactId, EdgeKinds)> {
    let mut before: BTreeMap<u32, (u32, EdgeKinds)> = BTreeMap::new();
    let mut queue = VecDeque::from([first]);
    while let Some(number) = queue.pop_front().filter(|_| !before.contains_key(&first)) {
        let mut children: Vec<_> = graph
            .links()
            .children(number)
            .map(|(child, edge)| (child, edge.common(kinds)))
            .filter(|(child, edge)| !edge.is_empty() && *child != number && inside.contains(child))
            .filter_map(|(child, edge)| Some((&graph.numbered(child)?.id, child, edge)))
            .collect();
        children.sort_unstable();
        for (_, child, edge) in children {
            before.entry(child).or_insert_with(|| {
                queue.push_back(child);
                (number, edge)
            });
        }
    }
    let mut way = Vec::new();
    let mut at = first;
    while let Some((parent, edge)) = before.get(&at).copied() {
        way.extend(graph.numbered(parent).map(|artifact| (artifact.id.clone(), edge)));
        at = parent;
        if at == first {
            break;
        }
    }
    way.reverse();
    way
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, member) in self.members.iter().take(SHOWN).enumerate() {
            write!(f, "{}{member}", if position == 0 { "" } else { ", " })?;
        }
        if let Some(more) = self.members.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            write!(f, " and {more} more")?;
        }
        for (position, (parent, kinds)) in self.example.iter().take(SHOWN).enumerate() {
            let names: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
            write!(f, "{}{parent} -[{}]-> ", if position == 0 { " (" } else { "" }, names.join(", "))?;
        }
        match self.example.first() {
            Some((first, _)) if self.example.len() <= SHOWN => write!(f, "{first})"),
            Some(_) => f.write_str("…)"),
            None => Ok(()),
        }
    }
}

use super::{ArtifactGraph, ArtifactIndex, EdgeKinds, Index};
use crate::artifact::ArtifactId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

/// So many members are named in a message; a circle can have thousands.
const SHOWN: usize = 12;

/// Artifacts that depend on each other in a circle.
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

    /// The members, by name.
    #[must_use]
    pub fn members(&self) -> &[ArtifactId] {
        &self.members
    }

    /// A shortest way around, from the first member on: each member on it and why the next one depends on it; the next one of the last is the first.
    #[must_use]
    pub fn example(&self) -> &[(ArtifactId, EdgeKinds)] {
        &self.example
    }
}

/// A shortest way from a member back to itself, by the names of what lies on it.
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

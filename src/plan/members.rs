//! What a plan is about, by position instead of by name.

use super::Changed;
use super::estimate::Estimates;
use crate::artifact::{Artifact, ArtifactId, Digest};
use crate::graph::{ArtifactGraph, ArtifactIndex, EdgeKinds, Index as _, Table, index};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

index! {
    /// The position of an artifact among those that a plan names: its members and their parents.
    ///
    /// **Invariant:** positions are in the order of names, so what is sorted by position is sorted
    /// by name, without a comparison of names.
    Position
}

/// The artifacts that a plan rebuilds and the parents of these, by [`Position`].
///
/// Names are compared once, to give out the positions. All later steps (sequence, reasons, parents
/// of each node) use positions, which are small and lie next to each other in memory.
///
/// A worked example, with the artifacts of the graph 0: tool, 1: app, 2: lib, where app is built
/// from tool and lib, and app is rebuilt:
///
/// 1. The plan names app (1), and its parents tool (0) and lib (2).
/// 2. By name they are app, lib, tool: positions 0, 1 and 2. The members are position 0.
/// 3. The parents of position 0 are tool and lib: positions 2 and 1, sorted 1, 2.
/// 4. They are written into the plan as lib, tool: by name, without another comparison of names.
///
/// *Invariant:* the rows of parents are sorted, and those of positions that are no members are
/// empty.
pub(super) struct Members<'a> {
    /// In ascending order, which is that of their names.
    pub(super) members: Vec<Position>,
    /// How long the build of each position will probably take; nothing for what is no member.
    pub(super) estimates: Table<Position, Duration>,
    named: Table<Position, Named<'a>>,
    artifacts: Table<Position, &'a Arc<Artifact>>,
    /// Whether each position is a member; beside `named`, because bytes fit into a cache.
    is_member: Table<Position, bool>,
    /// Where the parents of each position begin in `parents`; one more at the end.
    starts: Vec<u32>,
    parents: Vec<(Position, EdgeKinds)>,
}

/// An artifact that a plan names: what its dependents have to know about it. Kept apart from the
/// artifact, which is several times as large, because it is read once for each dependency.
pub(super) struct Named<'a> {
    pub(super) index: ArtifactIndex,
    pub(super) id: ArtifactId,
    /// Its content: what it changed to, else its present one.
    pub(super) digest: Option<&'a Digest>,
    /// Whether it is what changed.
    pub(super) changed: bool,
}

impl<'a> Members<'a> {
    /// Cost: O(n + m) for n positions and m dependencies, besides
    /// [`sort_by_name`](ArtifactGraph::sort_by_name).
    pub(super) fn of(
        graph: &'a ArtifactGraph,
        included: &[ArtifactIndex],
        changed: &'a BTreeMap<ArtifactId, Changed>,
        estimates: &Estimates,
    ) -> Self {
        let mut is_member = graph.table(false);
        let mut is_named = graph.table(false);
        let mut named = Vec::with_capacity(included.len());
        let mut edges = 0;
        for &index in included {
            is_member[index] = true;
            for artifact in [index].into_iter().chain(graph.parents_at(index).map(|(parent, _)| parent)) {
                edges += 1;
                if !std::mem::replace(&mut is_named[artifact], true) {
                    named.push(artifact);
                }
            }
        }
        graph.sort_by_name(&mut named);
        let mut position_of = graph.table(Position::of(0));
        let mut members = Self {
            members: Vec::with_capacity(included.len()),
            estimates: Table::with_capacity(named.len()),
            named: Table::with_capacity(named.len()),
            artifacts: Table::with_capacity(named.len()),
            is_member: Table::with_capacity(named.len()),
            starts: vec![0],
            parents: Vec::with_capacity(edges - included.len()),
        };
        for (index, artifact) in named.iter().filter_map(|index| Some((*index, graph.shared(*index)?))) {
            let Artifact { id, digest, .. } = &**artifact;
            let member = is_member[index];
            let position = members.named.push(Named { index, id: id.clone(), digest: digest.as_ref(), changed: false });
            position_of[index] = position;
            members.artifacts.push(artifact);
            members.is_member.push(member);
            members.estimates.push(if member { estimates.of(artifact) } else { Duration::ZERO });
            if member {
                members.members.push(position);
            }
        }
        for (id, change) in changed {
            if let Some(index) = graph.index(id).filter(|index| is_named[*index]) {
                let named = &mut members.named[position_of[index]];
                named.changed = true;
                named.digest = change.digest.as_ref().or(named.digest);
            }
        }
        members.connect(graph, &position_of);
        members
    }

    /// Fills in the parents of each member, by name.
    fn connect(&mut self, graph: &ArtifactGraph, position_of: &Table<ArtifactIndex, Position>) {
        for (position, named) in self.named.iter() {
            let first = self.parents.len();
            if self.is_member[position] {
                let row = graph.parents_at(named.index);
                self.parents.extend(row.map(|(parent, kinds)| (position_of[parent], kinds)));
                let row = &mut self.parents[first..];
                // Catalogs often tell artifacts by name, so that numbers have their order already.
                if !row.is_sorted_by_key(|(parent, _)| *parent) {
                    row.sort_unstable_by_key(|(parent, _)| *parent);
                }
            }
            // Memory cannot hold more than can be numbered.
            self.starts.push(u32::try_from(self.parents.len()).unwrap_or(u32::MAX));
        }
    }

    /// How many positions there are.
    pub(super) fn positions(&self) -> usize {
        self.named.len()
    }

    /// How many dependencies the members have, of all kinds and on whatever artifacts.
    pub(super) fn dependencies_max(&self) -> usize {
        self.parents.len()
    }

    /// The dependencies of these kinds among the members: parent, child, and of which kinds.
    pub(super) fn dependencies(&self, kinds: EdgeKinds) -> impl Iterator<Item = (Position, Position, EdgeKinds)> {
        self.members.iter().flat_map(move |&child| {
            let row = self.parents(child).iter().map(move |(parent, found)| (*parent, child, found.common(kinds)));
            row.filter(|(parent, _, kinds)| self.is_member[*parent] && !kinds.is_empty())
        })
    }

    /// The artifact at a position.
    pub(super) fn artifact(&self, position: Position) -> &'a Arc<Artifact> {
        self.artifacts[position]
    }

    /// Whether the artifact at a position is rebuilt.
    pub(super) fn is_member(&self, position: Position) -> bool {
        self.is_member[position]
    }

    pub(super) fn at(&self, position: Position) -> &Named<'a> {
        &self.named[position]
    }

    /// What an artifact is built from, by name, with all reasons. Nothing if it is no member.
    pub(super) fn parents(&self, position: Position) -> &[(Position, EdgeKinds)] {
        let at = position.number() as usize;
        &self.parents[self.starts[at] as usize..self.starts[at + 1] as usize]
    }

    /// The names at these positions.
    pub(super) fn names(&self, positions: &[Position]) -> Vec<ArtifactId> {
        positions.iter().map(|position| self.at(*position).id.clone()).collect()
    }

    /// The numbers of these artifacts in the graph.
    pub(super) fn indices(&self, positions: &[Position]) -> Vec<ArtifactIndex> {
        positions.iter().map(|position| self.at(*position).index).collect()
    }
}

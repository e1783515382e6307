//! What depends on what: a graph of artifacts with any number of parents each.

mod cycles;
mod kind;

pub use cycles::Cycle;
pub use kind::{EdgeKind, EdgeKinds};

use crate::artifact::{Artifact, ArtifactId};
use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// An edge that needs an artifact the graph does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the graph has no artifact {0}")]
pub struct UnknownArtifact(pub ArtifactId);

/// Artifacts and the reasons why they depend on each other. The graph is a value: cheap questions, no I/O.
///
/// Edges point from a parent to the child that is built from it, so following them finds what a change affects.
///
/// ```
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactId, ArtifactKind, EdgeKind, Policy};
///
/// let mut graph = ArtifactGraph::new();
/// for (image, source) in [("debian", None), ("python", Some("python/")), ("app", Some("app/"))] {
///     let artifact = Artifact::new(image, ArtifactKind::Image);
///     graph.insert(match source {
///         Some(location) => artifact.with_source(location, None),
///         None => artifact,
///     });
/// }
/// graph.depend("python", "debian", EdgeKind::ParentImage)?;
/// graph.depend("app", "python", EdgeKind::ParentImage)?;
/// graph.depend("app", "debian", EdgeKind::BuilderStage)?;
///
/// let plan = graph.plan(&[ArtifactId::new("debian")], &Policy::allow_all())?;
/// assert_eq!(plan.waves().count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ArtifactGraph {
    graph: StableDiGraph<Artifact, EdgeKind>,
    index: BTreeMap<ArtifactId, NodeIndex>,
    notes: BTreeMap<ArtifactId, BTreeSet<Note>>,
    aliases: BTreeMap<ArtifactId, ArtifactId>,
}

/// Something a catalog knows about a dependency that is not an edge, kept so that a plan can say why not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Note {
    /// The artifact on which the dependency would be.
    pub parent: ArtifactId,
    /// Stable code of the reason, `pinned_by_digest` for example.
    pub code: String,
    /// The reason as a sentence.
    pub text: String,
}

impl ArtifactGraph {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an artifact, or replaces the description of one that is there (its edges stay).
    pub fn insert(&mut self, artifact: Artifact) {
        if let Some(&node) = self.index.get(&artifact.id) {
            self.graph[node] = artifact;
        } else {
            let id = artifact.id.clone();
            let node = self.graph.add_node(artifact);
            self.index.insert(id, node);
        }
    }

    /// Says that `child` is built from `parent`. Saying it twice changes nothing.
    ///
    /// # Errors
    /// [`UnknownArtifact`] if one of the two was not inserted.
    pub fn depend(
        &mut self,
        child: impl Into<ArtifactId>,
        parent: impl Into<ArtifactId>,
        kind: EdgeKind,
    ) -> Result<(), UnknownArtifact> {
        let (child, parent) = (self.node(&child.into())?, self.node(&parent.into())?);
        let known = self.graph.edges_connecting(parent, child).any(|edge| *edge.weight() == kind);
        if !known {
            self.graph.add_edge(parent, child, kind);
        }
        Ok(())
    }

    /// Says that another name means the same artifact. An artifact's own name is never an alias of another.
    ///
    /// # Errors
    /// [`UnknownArtifact`] if the artifact was not inserted.
    pub fn alias(&mut self, alias: impl Into<ArtifactId>, id: impl Into<ArtifactId>) -> Result<(), UnknownArtifact> {
        let (alias, id) = (alias.into(), id.into());
        let node = self.node(&id)?;
        if !self.index.contains_key(&alias) {
            self.aliases.insert(alias, self.graph[node].id.clone());
        }
        Ok(())
    }

    /// The artifact's own name, if this is it or an alias of it.
    #[must_use]
    pub fn canonical(&self, name: &ArtifactId) -> Option<&ArtifactId> {
        self.lookup(name).map(|node| &self.graph[node].id)
    }

    /// Records why `child` does *not* follow changes of a parent.
    ///
    /// # Errors
    /// [`UnknownArtifact`] if the child was not inserted.
    pub fn note(&mut self, child: &ArtifactId, note: Note) -> Result<(), UnknownArtifact> {
        self.node(child)?;
        self.notes.entry(child.clone()).or_default().insert(note);
        Ok(())
    }

    /// Removes an artifact with its edges and notes.
    pub fn remove(&mut self, id: &ArtifactId) -> Option<Artifact> {
        let node = self.index.remove(id)?;
        self.notes.remove(id);
        self.aliases.retain(|_, target| target != id);
        self.graph.remove_node(node)
    }

    /// Adds everything another graph knows. Its descriptions win, except that an external artifact never replaces one that can be built.
    pub fn merge(&mut self, other: &Self) {
        for artifact in other.graph.node_weights() {
            let ours_is_better = self.get(&artifact.id).is_some_and(|ours| ours.buildable() && !artifact.buildable());
            if !ours_is_better {
                self.insert(artifact.clone());
            }
        }
        for (child, parent, kind) in other.edges() {
            // Both ends were inserted above.
            let _ = self.depend(child.clone(), parent.clone(), kind);
        }
        for (child, notes) in &other.notes {
            self.notes.entry(child.clone()).or_default().extend(notes.iter().cloned());
        }
        for (alias, id) in &other.aliases {
            let _ = self.alias(alias.clone(), id.clone());
        }
    }

    /// The description of an artifact.
    #[must_use]
    pub fn get(&self, id: &ArtifactId) -> Option<&Artifact> {
        self.lookup(id).map(|node| &self.graph[node])
    }

    /// How many artifacts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// All artifacts, by name.
    pub fn artifacts(&self) -> impl Iterator<Item = &Artifact> {
        self.index.values().map(|&node| &self.graph[node])
    }

    /// All dependencies as (child, parent, kind), by name.
    pub fn edges(&self) -> impl Iterator<Item = (&ArtifactId, &ArtifactId, EdgeKind)> {
        self.index
            .keys()
            .flat_map(|child| self.parents(child).into_iter().map(move |(parent, kind)| (child, parent, kind)))
    }

    /// What a catalog noted about dependencies this artifact does not follow.
    pub fn notes(&self, child: &ArtifactId) -> impl Iterator<Item = &Note> {
        self.notes.get(child).into_iter().flatten()
    }

    /// All such notes, by the artifact that has them.
    pub fn all_notes(&self) -> impl Iterator<Item = (&ArtifactId, &Note)> {
        self.notes.iter().flat_map(|(child, notes)| notes.iter().map(move |note| (child, note)))
    }

    /// What the artifact is built from, by name.
    #[must_use]
    pub fn parents(&self, id: &ArtifactId) -> Vec<(&ArtifactId, EdgeKind)> {
        self.neighbours(id, Direction::Incoming)
    }

    /// What is built from the artifact, by name.
    #[must_use]
    pub fn children(&self, id: &ArtifactId) -> Vec<(&ArtifactId, EdgeKind)> {
        self.neighbours(id, Direction::Outgoing)
    }

    /// Everything that directly or indirectly is built from one of these artifacts, without themselves unless a cycle leads back.
    #[must_use]
    pub fn dependents(&self, of: &[ArtifactId]) -> BTreeSet<ArtifactId> {
        let mut found = BTreeSet::new();
        let mut queue: VecDeque<_> = of.iter().filter_map(|id| self.lookup(id)).collect();
        while let Some(node) = queue.pop_front() {
            for child in self.graph.neighbors_directed(node, Direction::Outgoing) {
                if found.insert(self.graph[child].id.clone()) {
                    queue.push_back(child);
                }
            }
        }
        found
    }

    /// The part of the graph made of these artifacts and all that depend on them, with every parent those have.
    ///
    /// Enough to plan a rebuild from: the parents that are not themselves affected are in it, without their own parents.
    #[must_use]
    pub fn affected_by(&self, changed: &[ArtifactId]) -> Self {
        let mut wanted = self.dependents(changed);
        wanted.extend(changed.iter().filter_map(|id| self.canonical(id).cloned()));
        let wanted: Vec<_> = wanted.into_iter().collect();
        let mut part = self.described(&wanted);
        for (child, note) in self.all_notes() {
            if wanted.binary_search(&note.parent).is_ok() {
                part.merge_note(self, child, note);
            }
        }
        for (alias, id) in &self.aliases {
            let _ = part.alias(alias.clone(), id.clone());
        }
        part
    }

    /// The part of the graph made of these artifacts, their direct parents, and what is noted about them.
    #[must_use]
    pub fn described(&self, ids: &[ArtifactId]) -> Self {
        let mut part = Self::new();
        for id in ids {
            for found in self.parents(id).into_iter().map(|(parent, _)| parent).chain([id]) {
                if let Some(artifact) = self.get(found).filter(|artifact| part.get(&artifact.id).is_none()) {
                    part.insert(artifact.clone());
                }
            }
            for (parent, kind) in self.parents(id) {
                // Both ends were inserted above.
                let _ = part.depend(id.clone(), parent.clone(), kind);
            }
            for note in self.notes(id) {
                let _ = part.note(id, note.clone());
            }
        }
        part
    }

    /// The same graph, in which each name as it was asked for leads to the artifact that was found for it.
    #[must_use]
    pub fn answering(mut self, asked: &[ArtifactId], found: &[ArtifactId]) -> Self {
        for (name, id) in asked.iter().zip(found) {
            // What was not found has no other name either.
            let _ = self.alias(name.clone(), id.clone());
        }
        self
    }

    /// The petgraph graph underneath, parent to child, for algorithms that are not offered here.
    #[must_use]
    pub fn as_petgraph(&self) -> &StableDiGraph<Artifact, EdgeKind> {
        &self.graph
    }

    /// Groups of artifacts that depend on each other in a circle, each sorted by name.
    #[must_use]
    pub fn cycles(&self) -> Vec<Cycle> {
        cycles::find(&self.graph)
    }

    fn merge_note(&mut self, from: &Self, child: &ArtifactId, note: &Note) {
        if let Some(artifact) = from.get(child).filter(|_| self.get(child).is_none()) {
            self.insert(artifact.clone());
        }
        let _ = self.note(child, note.clone());
    }

    fn node(&self, id: &ArtifactId) -> Result<NodeIndex, UnknownArtifact> {
        self.lookup(id).ok_or_else(|| UnknownArtifact(id.clone()))
    }

    fn lookup(&self, name: &ArtifactId) -> Option<NodeIndex> {
        self.index.get(name).or_else(|| self.index.get(self.aliases.get(name)?)).copied()
    }

    fn neighbours(&self, id: &ArtifactId, direction: Direction) -> Vec<(&ArtifactId, EdgeKind)> {
        let Some(node) = self.lookup(id) else { return Vec::new() };
        let mut found: Vec<_> = self
            .graph
            .edges_directed(node, direction)
            .map(|edge| {
                let other = if direction == Direction::Incoming { edge.source() } else { edge.target() };
                (&self.graph[other].id, *edge.weight())
            })
            .collect();
        found.sort_unstable();
        found
    }
}

use super::links::{Links, Neighbours};
use super::{ArtifactIndex, Closure, Csr, Cycle, EdgeKind, EdgeKinds, FrozenGraph, Index, Table};
use crate::artifact::{Artifact, ArtifactId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// An edge that needs an artifact the graph does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the graph has no artifact {0}")]
pub struct UnknownArtifact(pub ArtifactId);

/// Artifacts and the reasons why they depend on each other. The graph is a value: cheap questions, no I/O.
///
/// Edges point from a parent to the child that is built from it, so following them finds what a change affects. Circles and artifacts that depend on
/// themselves are normal; what a plan does about them says its [`CyclePolicy`](crate::plan::CyclePolicy).
///
/// Inside, artifacts are numbers. For many questions about a large graph, take these: [`csr`](Self::csr) and [`frozen`](Self::frozen) give graphs of numbers,
/// [`number`](Self::number) and [`numbered`](Self::numbered) lead there and back.
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
    /// By number; nothing where one was removed.
    artifacts: Vec<Option<Artifact>>,
    numbers: BTreeMap<ArtifactId, u32>,
    free: Vec<u32>,
    links: Links<EdgeKinds>,
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

    /// The graph of these artifacts and dependencies, each a child, the parent it is built from, and why.
    ///
    /// # Errors
    /// [`UnknownArtifact`] if a dependency names an artifact that is not among them.
    pub fn of(
        artifacts: impl IntoIterator<Item = Artifact>,
        dependencies: impl IntoIterator<Item = (ArtifactId, ArtifactId, EdgeKind)>,
    ) -> Result<Self, UnknownArtifact> {
        let mut graph = Self::new();
        artifacts.into_iter().for_each(|artifact| graph.insert(artifact));
        for (child, parent, kind) in dependencies {
            graph.depend(child, parent, kind)?;
        }
        Ok(graph)
    }

    /// Adds an artifact, or replaces the description of one that is there (its edges stay).
    pub fn insert(&mut self, artifact: Artifact) {
        let number = self.numbers.get(&artifact.id).copied().unwrap_or_else(|| {
            let number = self.free.pop().unwrap_or_else(|| {
                self.links.add();
                self.artifacts.push(None);
                // Nobody can hold as many as could not be numbered.
                u32::try_from(self.artifacts.len() - 1).unwrap_or(u32::MAX)
            });
            self.numbers.insert(artifact.id.clone(), number);
            number
        });
        self.artifacts[number as usize] = Some(artifact);
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
        let (child, parent) = (self.known(&child.into())?, self.known(&parent.into())?);
        let kinds = self.links.get(parent, child).unwrap_or_default();
        self.links.set(parent, child, kinds.with(kind));
        Ok(())
    }

    /// Says that `child` is not built from `parent` any more, as far as these kinds go. What was not said changes nothing.
    ///
    /// # Errors
    /// [`UnknownArtifact`] if one of the two was not inserted.
    pub fn forget(
        &mut self,
        child: &ArtifactId,
        parent: &ArtifactId,
        kinds: impl Into<EdgeKinds>,
    ) -> Result<(), UnknownArtifact> {
        let (child, parent) = (self.known(child)?, self.known(parent)?);
        if let Some(known) = self.links.get(parent, child) {
            let rest = known.without(kinds.into());
            if rest.is_empty() {
                self.links.remove(parent, child);
            } else {
                self.links.set(parent, child, rest);
            }
        }
        Ok(())
    }

    /// Says that another name means the same artifact. An artifact's own name is never an alias of another.
    ///
    /// # Errors
    /// [`UnknownArtifact`] if the artifact was not inserted.
    pub fn alias(&mut self, alias: impl Into<ArtifactId>, id: impl Into<ArtifactId>) -> Result<(), UnknownArtifact> {
        let (alias, id) = (alias.into(), id.into());
        let id = self.canonical(&id).cloned().ok_or(UnknownArtifact(id))?;
        if !self.numbers.contains_key(&alias) {
            self.aliases.insert(alias, id);
        }
        Ok(())
    }

    /// The artifact's own name, if this is it or an alias of it.
    #[must_use]
    pub fn canonical(&self, name: &ArtifactId) -> Option<&ArtifactId> {
        self.get(name).map(|artifact| &artifact.id)
    }

    /// Records why `child` does *not* follow changes of a parent.
    ///
    /// # Errors
    /// [`UnknownArtifact`] if the child was not inserted.
    pub fn note(&mut self, child: &ArtifactId, note: Note) -> Result<(), UnknownArtifact> {
        self.known(child)?;
        self.notes.entry(child.clone()).or_default().insert(note);
        Ok(())
    }

    /// Removes an artifact with its edges and notes.
    pub fn remove(&mut self, id: &ArtifactId) -> Option<Artifact> {
        let number = self.numbers.remove(id)?;
        self.notes.remove(id);
        self.aliases.retain(|_, target| target != id);
        self.links.isolate(number);
        self.free.push(number);
        self.artifacts[number as usize].take()
    }

    /// Adds everything another graph knows. Its descriptions win, except that an external artifact never replaces one that can be built.
    pub fn merge(&mut self, other: &Self) {
        for artifact in other.artifacts.iter().flatten() {
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
        self.number(id).and_then(|number| self.numbered(number))
    }

    /// How many artifacts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// All artifacts, by name.
    pub fn artifacts(&self) -> impl Iterator<Item = &Artifact> {
        self.numbers.values().filter_map(|number| self.numbered(*number))
    }

    /// All dependencies as (child, parent, kind), by name.
    pub fn edges(&self) -> impl Iterator<Item = (&ArtifactId, &ArtifactId, EdgeKind)> {
        self.numbers
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
        self.named(self.number(id).map(|number| self.links.parents(number)))
    }

    /// What is built from the artifact, by name.
    #[must_use]
    pub fn children(&self, id: &ArtifactId) -> Vec<(&ArtifactId, EdgeKind)> {
        self.named(self.number(id).map(|number| self.links.children(number)))
    }

    /// Everything that directly or indirectly is built from one of these artifacts, without themselves unless a cycle leads back.
    #[must_use]
    pub fn dependents(&self, of: &[ArtifactId]) -> BTreeSet<ArtifactId> {
        self.closure(of).dependents().into_keys().collect()
    }

    /// Everything that one of these artifacts is directly or indirectly built from, without themselves unless a cycle leads back.
    #[must_use]
    pub fn dependencies(&self, of: &[ArtifactId]) -> BTreeSet<ArtifactId> {
        self.closure(of).dependencies().into_keys().collect()
    }

    /// Starts a question about what can be reached from these artifacts, with limits on how.
    pub fn closure(&self, of: &[ArtifactId]) -> Closure<'_> {
        Closure::new(self, of.iter().filter_map(|id| self.number(id)).collect())
    }

    /// The part of the graph made of these artifacts and all that depend on them, with every parent those have.
    ///
    /// Enough to plan a rebuild from: the parents that are not themselves affected are in it, without their own parents, except for repositories that
    /// are prepared on demand: those will be, so it is said what of.
    #[must_use]
    pub fn affected_by(&self, changed: &[ArtifactId]) -> Self {
        let mut wanted = self.dependents(changed);
        wanted.extend(changed.iter().filter_map(|id| self.canonical(id).cloned()));
        self.add_prerequisites(&mut wanted);
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

    /// The number of an artifact in graphs made of this one. It stays the same until the artifact is removed, and may then be given to another.
    #[must_use]
    pub fn number(&self, name: &ArtifactId) -> Option<u32> {
        self.numbers.get(name).or_else(|| self.numbers.get(self.aliases.get(name)?)).copied()
    }

    /// The artifact of a number.
    #[must_use]
    pub fn numbered(&self, number: u32) -> Option<&Artifact> {
        self.artifacts.get(number as usize)?.as_ref()
    }

    /// The edges of these kinds between numbers. A number that no artifact has any more has no edges.
    ///
    /// Parents and children are in the order of their numbers.
    #[must_use]
    pub fn csr(&self, kinds: EdgeKinds) -> Csr {
        Csr::from_links(&self.links, |edge| !edge.common(kinds).is_empty())
    }

    /// The same, prepared for many questions about what a change affects.
    #[must_use]
    pub fn frozen(&self, kinds: EdgeKinds) -> FrozenGraph {
        FrozenGraph::new(&self.csr(kinds))
    }

    /// Groups of artifacts that depend on each other in a circle, each sorted by name. An artifact that depends on itself is none.
    #[must_use]
    pub fn cycles(&self) -> Vec<Cycle> {
        let components = self.csr(EdgeKinds::ALL).components();
        let several = components.iter().filter(|members| members.len() > 1);
        let cycles = several.map(|members| {
            let members: Vec<_> = members.iter().copied().map(ArtifactIndex::of).collect();
            Cycle::among(self, &members, EdgeKinds::ALL)
        });
        let mut cycles: Vec<_> = cycles.collect();
        cycles.sort_unstable();
        cycles
    }

    pub(super) fn links(&self) -> &Links<EdgeKinds> {
        &self.links
    }

    /// The index of the artifact that has this name or this alias.
    pub(crate) fn index(&self, name: &ArtifactId) -> Option<ArtifactIndex> {
        self.number(name).map(ArtifactIndex::of)
    }

    /// The artifact at an index.
    pub(crate) fn at(&self, index: ArtifactIndex) -> Option<&Artifact> {
        self.numbered(index.number())
    }

    /// A table with this value for each index.
    pub(crate) fn table<T: Clone>(&self, value: T) -> Table<ArtifactIndex, T> {
        Table::filled(value, self.artifacts.len())
    }

    /// The parents of an artifact by index, with all reasons.
    pub(crate) fn parents_at(&self, index: ArtifactIndex) -> impl Iterator<Item = (ArtifactIndex, EdgeKinds)> {
        self.links.parents(index.number()).map(|(parent, kinds)| (ArtifactIndex::of(parent), kinds))
    }

    /// The children of an artifact by index, as far as they depend on it for one of these
    /// reasons, without the artifact itself.
    pub(crate) fn children_at(
        &self,
        index: ArtifactIndex,
        kinds: EdgeKinds,
    ) -> impl Iterator<Item = ArtifactIndex> + use<'_> {
        let row = self.links.children(index.number());
        let row = row.filter(move |(child, edge)| *child != index.number() && !edge.common(kinds).is_empty());
        row.map(|(child, _)| ArtifactIndex::of(child))
    }

    /// Sorts artifacts by name.
    ///
    /// Names are compared only if the artifacts are few. Otherwise the map of all names, which is
    /// in this order already, is walked over once: O(min(k log k, n)) for k of n artifacts.
    pub(crate) fn sort_by_name(&self, indices: &mut Vec<ArtifactIndex>) {
        let comparisons = indices.len().saturating_mul(indices.len().checked_ilog2().unwrap_or_default() as usize);
        if comparisons < self.numbers.len() {
            indices.sort_unstable_by_key(|index| self.at(*index).map(|artifact| &artifact.id));
            return;
        }
        let mut wanted = self.table(false);
        indices.iter().for_each(|index| wanted[*index] = true);
        indices.clear();
        indices.extend(self.numbers.values().copied().map(ArtifactIndex::of).filter(|index| wanted[*index]));
    }

    /// Repositories that will be prepared for these, and for each other.
    fn add_prerequisites(&self, wanted: &mut BTreeSet<ArtifactId>) {
        let mut open: Vec<_> = wanted.iter().cloned().collect();
        while let Some(id) = open.pop() {
            for (parent, kind) in self.parents(&id) {
                if kind == EdgeKind::Repository
                    && self.get(parent).is_some_and(Artifact::on_demand)
                    && wanted.insert(parent.clone())
                {
                    open.push(parent.clone());
                }
            }
        }
    }

    fn merge_note(&mut self, from: &Self, child: &ArtifactId, note: &Note) {
        if let Some(artifact) = from.get(child).filter(|_| self.get(child).is_none()) {
            self.insert(artifact.clone());
        }
        let _ = self.note(child, note.clone());
    }

    fn known(&self, id: &ArtifactId) -> Result<u32, UnknownArtifact> {
        self.number(id).ok_or_else(|| UnknownArtifact(id.clone()))
    }

    /// Neighbours with their names, once for each kind.
    fn named(&self, row: Option<Neighbours<'_, EdgeKinds>>) -> Vec<(&ArtifactId, EdgeKind)> {
        let row = row.into_iter().flatten();
        let artifacts = row.filter_map(|(number, kinds)| Some((&self.numbered(number)?.id, kinds)));
        let mut found: Vec<_> = artifacts.flat_map(|(id, kinds)| kinds.iter().map(move |kind| (id, kind))).collect();
        found.sort_unstable();
        found
    }
}

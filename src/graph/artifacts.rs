use super::links::{Links, Neighbours};
use super::{ArtifactIndex, Closure, Csr, Cycle, EdgeKind, EdgeKinds, FrozenGraph, Index, Table};
use crate::artifact::{Artifact, ArtifactId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An edge that needs an artifact the graph does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the graph has no artifact {0}")]
pub struct UnknownArtifact(pub ArtifactId);

/// Artifacts and the reasons why they depend on each other. The graph is a value: cheap questions,
/// no I/O.
///
/// Edges point from a parent to the child that is built from it, so following them finds what a
/// change affects. Cycles and artifacts that depend on themselves are normal; what a plan does
/// about them is its [`CyclePolicy`](crate::plan::CyclePolicy).
///
/// Inside, artifacts are numbers. For many questions about a large graph, use these:
/// [`csr`](Self::csr) and [`frozen`](Self::frozen) return graphs of numbers, and
/// [`number`](Self::number) and [`numbered`](Self::numbered) translate.
///
/// *Invariant:* both ends of an edge are artifacts of the graph, there is at most one edge for each
/// ordered pair, and its set of kinds is not empty. *Invariant:* an alias leads to an artifact of
/// the graph and is not the name of another one.
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
#[doc(alias = "dependency graph")]
#[doc(alias = "DAG")]
#[derive(Clone, Debug, Default)]
pub struct ArtifactGraph {
    /// By number; nothing where one was removed.
    artifacts: Vec<Option<Arc<Artifact>>>,
    /// By number, whether there is a recipe; beside `artifacts`, because bytes fit into a cache.
    buildable: Vec<bool>,
    numbers: BTreeMap<ArtifactId, u32>,
    free: Vec<u32>,
    links: Links<EdgeKinds>,
    /// Every kind of which there was an edge.
    kinds: EdgeKinds,
    notes: BTreeMap<ArtifactId, BTreeSet<Note>>,
    aliases: BTreeMap<ArtifactId, ArtifactId>,
}

/// Something a catalog knows about a dependency that is not an edge, kept so that a plan can say
/// why it does not follow it.
///
/// ```
/// use freshmaker::graph::Note;
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, Policy};
///
/// let mut graph = ArtifactGraph::new();
/// graph.insert(Artifact::new("debian", ArtifactKind::Image));
/// graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
/// let note = Note {
///     parent: "debian".into(),
///     code: "pinned_by_digest".into(),
///     text: "FROM names a digest, so a new debian changes nothing".into(),
/// };
/// graph.note(&"app".into(), note)?;
/// let plan = graph.plan(&["debian".into()], &Policy::allow_all())?;
/// assert_eq!(plan.excluded(&"app".into()).unwrap().code, "pinned_by_digest");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    /// Returns an empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the graph of these artifacts and dependencies; each dependency is a child, the
    /// parent that it is built from, and why.
    ///
    /// # Errors
    /// [`UnknownArtifact`] if a dependency names an artifact that is not among them.
    ///
    /// # Examples
    /// ```
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
    ///
    /// let packages = ["zlib", "curl"].map(|name| Artifact::new(name, ArtifactKind::Rpm));
    /// let linked = ("curl".into(), "zlib".into(), EdgeKind::Link);
    /// assert_eq!(ArtifactGraph::of(packages.clone(), [linked])?.len(), 2);
    /// let wrong = ("curl".into(), "openssl".into(), EdgeKind::Link);
    /// assert!(ArtifactGraph::of(packages, [wrong]).is_err());
    /// # Ok::<(), freshmaker::graph::UnknownArtifact>(())
    /// ```
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

    /// Adds an artifact. If one of this name is there, its description is replaced and its edges
    /// stay. Cost: O(log n) comparisons of names.
    pub fn insert(&mut self, artifact: Artifact) {
        self.insert_shared(Arc::new(artifact));
    }

    fn insert_shared(&mut self, artifact: Arc<Artifact>) {
        let number = self.numbers.get(&artifact.id).copied().unwrap_or_else(|| {
            let number = self.free.pop().unwrap_or_else(|| {
                self.links.add();
                self.artifacts.push(None);
                self.buildable.push(false);
                // Memory cannot hold more than can be numbered.
                u32::try_from(self.artifacts.len() - 1).unwrap_or(u32::MAX)
            });
            self.numbers.insert(artifact.id.clone(), number);
            number
        });
        self.buildable[number as usize] = artifact.buildable();
        self.artifacts[number as usize] = Some(artifact);
    }

    /// Records that `child` is built from `parent` for this reason. To record it twice changes
    /// nothing; another kind is added to the kinds of the same edge.
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
        self.kinds = self.kinds.with(kind);
        let kinds = self.links.get(parent, child).unwrap_or_default();
        self.links.set(parent, child, kinds.with(kind));
        Ok(())
    }

    /// Removes these kinds from the edge between `child` and `parent`, and the edge with its last
    /// kind. If there is no such edge, nothing changes.
    ///
    /// # Errors
    /// [`UnknownArtifact`] if one of the two was not inserted.
    ///
    /// # Examples
    /// ```
    /// use freshmaker::graph::EdgeKinds;
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
    ///
    /// let mut graph = ArtifactGraph::new();
    /// ["app", "debian"].map(|name| graph.insert(Artifact::new(name, ArtifactKind::Image)));
    /// graph.depend("app", "debian", EdgeKind::ParentImage)?;
    /// graph.depend("app", "debian", EdgeKind::BuilderStage)?;
    /// graph.forget(&"app".into(), &"debian".into(), EdgeKind::BuilderStage)?;
    /// assert_eq!(graph.parents(&"app".into()), [(&"debian".into(), EdgeKind::ParentImage)]);
    /// graph.forget(&"app".into(), &"debian".into(), EdgeKinds::ALL)?;
    /// assert!(graph.parents(&"app".into()).is_empty());
    /// # Ok::<(), freshmaker::graph::UnknownArtifact>(())
    /// ```
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

    /// Records another name of an artifact. If an artifact has this name already, nothing changes.
    /// All methods that take a name accept aliases, and answer with the artifact's own name.
    ///
    /// # Errors
    /// [`UnknownArtifact`] if the artifact was not inserted.
    ///
    /// # Examples
    /// ```
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind};
    ///
    /// let mut graph = ArtifactGraph::new();
    /// graph.insert(Artifact::new("docker.io/library/debian:12", ArtifactKind::Image));
    /// graph.alias("debian:bookworm", "docker.io/library/debian:12")?;
    /// let name = graph.canonical(&"debian:bookworm".into());
    /// assert_eq!(name, Some(&"docker.io/library/debian:12".into()));
    /// # Ok::<(), freshmaker::graph::UnknownArtifact>(())
    /// ```
    pub fn alias(&mut self, alias: impl Into<ArtifactId>, id: impl Into<ArtifactId>) -> Result<(), UnknownArtifact> {
        let (alias, id) = (alias.into(), id.into());
        let id = self.canonical(&id).cloned().ok_or(UnknownArtifact(id))?;
        if !self.numbers.contains_key(&alias) {
            self.aliases.insert(alias, id);
        }
        Ok(())
    }

    /// Returns the artifact's own name for its name or an alias of it; `None` for an unknown name.
    #[must_use]
    pub fn canonical(&self, name: &ArtifactId) -> Option<&ArtifactId> {
        self.get(name).map(|artifact| &artifact.id)
    }

    /// Records why `child` does *not* follow changes of a parent, see [`Note`]. The parent need not
    /// be in the graph.
    ///
    /// # Errors
    /// [`UnknownArtifact`] if the child was not inserted.
    pub fn note(&mut self, child: &ArtifactId, note: Note) -> Result<(), UnknownArtifact> {
        self.known(child)?;
        self.notes.entry(child.clone()).or_default().insert(note);
        Ok(())
    }

    /// Removes an artifact with its edges, notes and aliases, and returns its description; `None`
    /// if its name is unknown. An alias does not remove it. Its number may be given to another
    /// artifact.
    pub fn remove(&mut self, id: &ArtifactId) -> Option<Artifact> {
        let number = self.numbers.remove(id)?;
        self.notes.remove(id);
        self.aliases.retain(|_, target| target != id);
        self.links.isolate(number);
        self.free.push(number);
        self.artifacts[number as usize].take().map(Arc::unwrap_or_clone)
    }

    /// Adds everything that another graph has: artifacts, edges, notes and aliases.
    ///
    /// If both describe an artifact, the other description replaces the one here, except that an
    /// external artifact never replaces one that can be built.
    ///
    /// # Examples
    /// ```
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind};
    ///
    /// let mut ours = ArtifactGraph::new();
    /// ours.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
    /// let mut theirs = ArtifactGraph::new();
    /// theirs.insert(Artifact::new("app", ArtifactKind::Image));
    /// theirs.insert(Artifact::new("debian", ArtifactKind::Image));
    /// ours.merge(&theirs);
    /// assert_eq!(ours.len(), 2);
    /// assert!(ours.get(&"app".into()).unwrap().buildable(), "the recipe is kept");
    /// ```
    pub fn merge(&mut self, other: &Self) {
        for artifact in other.artifacts.iter().flatten() {
            let ours_is_better = self.get(&artifact.id).is_some_and(|ours| ours.buildable() && !artifact.buildable());
            if !ours_is_better {
                self.insert_shared(Arc::clone(artifact));
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

    /// Returns the description of an artifact, by its name or an alias; `None` for an unknown name.
    #[must_use]
    pub fn get(&self, id: &ArtifactId) -> Option<&Artifact> {
        self.number(id).and_then(|number| self.numbered(number))
    }

    /// Returns the number of artifacts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Returns whether the graph has no artifacts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Returns all artifacts, by name.
    pub fn artifacts(&self) -> impl Iterator<Item = &Artifact> {
        self.numbers.values().filter_map(|number| self.numbered(*number))
    }

    /// Returns all dependencies as (child, parent, kind), by name: an edge of several kinds appears
    /// once for each of them.
    pub fn edges(&self) -> impl Iterator<Item = (&ArtifactId, &ArtifactId, EdgeKind)> {
        self.numbers
            .keys()
            .flat_map(|child| self.parents(child).into_iter().map(move |(parent, kind)| (child, parent, kind)))
    }

    /// Returns what a catalog noted about dependencies that this artifact does not follow.
    pub fn notes(&self, child: &ArtifactId) -> impl Iterator<Item = &Note> {
        self.notes.get(child).into_iter().flatten()
    }

    /// Returns all notes with the artifacts that have them, by name.
    pub fn all_notes(&self) -> impl Iterator<Item = (&ArtifactId, &Note)> {
        self.notes.iter().flat_map(|(child, notes)| notes.iter().map(move |note| (child, note)))
    }

    /// Returns what the artifact is built from, by name, once for each kind. Empty for an unknown
    /// name.
    #[must_use]
    pub fn parents(&self, id: &ArtifactId) -> Vec<(&ArtifactId, EdgeKind)> {
        self.named(self.number(id).map(|number| self.links.parents(number)))
    }

    /// Returns what is built from the artifact, by name, once for each kind. Empty for an unknown
    /// name.
    #[must_use]
    pub fn children(&self, id: &ArtifactId) -> Vec<(&ArtifactId, EdgeKind)> {
        self.named(self.number(id).map(|number| self.links.children(number)))
    }

    /// Returns everything that is directly or indirectly built from one of these artifacts. The
    /// artifacts themselves are in the answer only if a cycle leads back to them; unknown names are
    /// passed over.
    ///
    /// Use [`closure`](Self::closure) to limit the kinds of edges or the distance.
    ///
    /// # Examples
    /// ```
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
    ///
    /// let graph = ArtifactGraph::of(
    ///     ["debian", "python", "app"].map(|name| Artifact::new(name, ArtifactKind::Image)),
    ///     [
    ///         ("python".into(), "debian".into(), EdgeKind::ParentImage),
    ///         ("app".into(), "python".into(), EdgeKind::ParentImage),
    ///     ],
    /// )?;
    /// assert!(graph.dependents(&["debian".into()]).contains(&"app".into()));
    /// assert!(graph.dependents(&["app".into()]).is_empty());
    /// assert_eq!(graph.dependencies(&["app".into()]).len(), 2);
    /// # Ok::<(), freshmaker::graph::UnknownArtifact>(())
    /// ```
    #[doc(alias = "reverse dependencies")]
    #[doc(alias = "transitive closure")]
    #[doc(alias = "descendants")]
    #[must_use]
    pub fn dependents(&self, of: &[ArtifactId]) -> BTreeSet<ArtifactId> {
        self.closure(of).dependents().into_keys().collect()
    }

    /// Returns everything that one of these artifacts is directly or indirectly built from. The
    /// artifacts themselves are in the answer only if a cycle leads back to them; unknown names are
    /// passed over.
    #[doc(alias = "ancestors")]
    #[must_use]
    pub fn dependencies(&self, of: &[ArtifactId]) -> BTreeSet<ArtifactId> {
        self.closure(of).dependencies().into_keys().collect()
    }

    /// Starts a question about what can be reached from these artifacts, with limits on how.
    /// Unknown names are passed over.
    #[doc(alias = "what-if")]
    pub fn closure(&self, of: &[ArtifactId]) -> Closure<'_> {
        Closure::new(self, of.iter().filter_map(|id| self.number(id)).collect())
    }

    /// Returns the part of the graph that consists of these artifacts and all that depend on them,
    /// with every parent that those have. It is enough to plan a rebuild from.
    ///
    /// Parents that are not affected themselves are in it without their own parents, except for
    /// repositories that are prepared on demand: those will be prepared, so their parents are
    /// needed.
    ///
    /// # Examples
    /// ```
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
    ///
    /// let graph = ArtifactGraph::of(
    ///     ["debian", "node", "app", "other"].map(|name| Artifact::new(name, ArtifactKind::Image)),
    ///     [
    ///         ("app".into(), "debian".into(), EdgeKind::ParentImage),
    ///         ("app".into(), "node".into(), EdgeKind::BuilderStage),
    ///         ("other".into(), "node".into(), EdgeKind::ParentImage),
    ///     ],
    /// )?;
    /// let part = graph.affected_by(&["debian".into()]);
    /// assert!(part.get(&"node".into()).is_some(), "app is built from it");
    /// assert!(part.get(&"other".into()).is_none(), "a new debian does not reach it");
    /// # Ok::<(), freshmaker::graph::UnknownArtifact>(())
    /// ```
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

    /// Returns the part of the graph that consists of these artifacts, their direct parents, and
    /// what is noted about them.
    #[must_use]
    pub fn described(&self, ids: &[ArtifactId]) -> Self {
        let mut part = Self::new();
        for id in ids {
            for found in self.parents(id).into_iter().map(|(parent, _)| parent).chain([id]) {
                let artifact = self.index(found).and_then(|index| self.shared(index));
                if let Some(artifact) = artifact.filter(|artifact| part.get(&artifact.id).is_none()) {
                    part.insert_shared(Arc::clone(artifact));
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

    /// Returns the same graph, in which each name that was asked for is an alias of the artifact
    /// that was found for it. The two lists belong together by position.
    #[must_use]
    pub fn answering(mut self, asked: &[ArtifactId], found: &[ArtifactId]) -> Self {
        for (name, id) in asked.iter().zip(found) {
            // What was not found has no other name either.
            let _ = self.alias(name.clone(), id.clone());
        }
        self
    }

    /// Returns the number of an artifact in graphs made of this one; `None` for an unknown name.
    ///
    /// The number stays the same until the artifact is removed, and may then be given to another
    /// one.
    #[must_use]
    pub fn number(&self, name: &ArtifactId) -> Option<u32> {
        self.numbers.get(name).or_else(|| self.numbers.get(self.aliases.get(name)?)).copied()
    }

    /// Returns the artifact of a number; `None` for a number that no artifact has.
    #[must_use]
    pub fn numbered(&self, number: u32) -> Option<&Artifact> {
        self.artifacts.get(number as usize)?.as_deref()
    }

    /// Returns the edges of these kinds between numbers. A number that no artifact has any more is
    /// a node without edges. Parents and children are in the order of their numbers. Cost: O(n +
    /// m).
    ///
    /// # Examples
    /// ```
    /// use freshmaker::graph::EdgeKinds;
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
    ///
    /// let graph = ArtifactGraph::of(
    ///     ["zlib", "curl", "git"].map(|name| Artifact::new(name, ArtifactKind::Rpm)),
    ///     [
    ///         ("curl".into(), "zlib".into(), EdgeKind::Link),
    ///         ("git".into(), "curl".into(), EdgeKind::BuildDependency),
    ///     ],
    /// )?;
    /// let number = |name: &str| graph.number(&name.into()).unwrap();
    /// assert_eq!(graph.csr(EdgeKinds::ALL).affected(&[number("zlib")]).nodes().len(), 3);
    /// let linked = graph.csr(EdgeKind::Link.into());
    /// assert_eq!(linked.children(number("zlib")), [number("curl")]);
    /// assert!(linked.children(number("curl")).is_empty());
    /// # Ok::<(), freshmaker::graph::UnknownArtifact>(())
    /// ```
    #[must_use]
    pub fn csr(&self, kinds: EdgeKinds) -> Csr {
        Csr::from_links(&self.links, |edge| !edge.common(kinds).is_empty())
    }

    /// Returns the edges of these kinds, prepared for many questions about what a change affects.
    #[doc(alias = "what-if")]
    #[must_use]
    pub fn frozen(&self, kinds: EdgeKinds) -> FrozenGraph {
        FrozenGraph::new(&self.csr(kinds))
    }

    /// Returns groups of artifacts that depend on each other, each sorted by name: the strongly
    /// connected components of more than one artifact. An artifact that depends on itself is none.
    #[doc(alias = "SCC")]
    #[doc(alias = "strongly connected components")]
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

    /// Kinds of which there are edges; others may be among them, but no edge is of a missing kind.
    pub(crate) fn kinds(&self) -> EdgeKinds {
        self.kinds
    }

    /// The index of the artifact that has this name or this alias.
    pub(crate) fn index(&self, name: &ArtifactId) -> Option<ArtifactIndex> {
        self.number(name).map(ArtifactIndex::of)
    }

    /// The artifact at an index.
    pub(crate) fn at(&self, index: ArtifactIndex) -> Option<&Artifact> {
        self.numbered(index.number())
    }

    /// Whether the artifact at an index can be built.
    pub(crate) fn buildable(&self, index: ArtifactIndex) -> bool {
        self.buildable[index.number() as usize]
    }

    /// The artifact at an index, to be kept without a copy.
    pub(crate) fn shared(&self, index: ArtifactIndex) -> Option<&Arc<Artifact>> {
        self.artifacts.get(index.number() as usize)?.as_ref()
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
        let artifact = from.index(child).and_then(|index| from.shared(index));
        if let Some(artifact) = artifact.filter(|_| self.get(child).is_none()) {
            self.insert_shared(Arc::clone(artifact));
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

use super::{Error, Remedy, Result};
use crate::artifact::ArtifactId;
use crate::graph::ArtifactGraph;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::fmt;

/// What a catalog knows about the names in a question.
#[derive(Clone, Debug, Default)]
pub struct CatalogAnswer {
    /// The artifacts, and what depends on them or is a parent of them. Each name that was asked and
    /// is known is a name or an [alias](ArtifactGraph::alias) in it.
    pub graph: ArtifactGraph,
    /// The names that the catalog does not know, each with a sentence for people: `there is no
    /// image debbian; similar names are debian`.
    pub unknown: BTreeMap<ArtifactId, String>,
}

impl CatalogAnswer {
    /// Makes the answer of a catalog that has everything at hand.
    ///
    /// `find` returns the canonical name for a name that was asked for, or the sentence about an
    /// unknown one; `cut` returns the part of the graph for the canonical names.
    pub fn cut(
        asked: &[ArtifactId],
        find: impl Fn(&ArtifactId) -> Result<ArtifactId, String>,
        cut: impl FnOnce(&[ArtifactId]) -> ArtifactGraph,
    ) -> Self {
        let (mut known, mut found, mut unknown) = (Vec::new(), Vec::new(), BTreeMap::new());
        for name in asked {
            match find(name) {
                Ok(id) => {
                    known.push(name.clone());
                    found.push(id);
                }
                Err(text) => {
                    unknown.insert(name.clone(), text);
                }
            }
        }
        Self { graph: cut(&found).answering(&known, &found), unknown }
    }

    /// Returns the graph of an answer in which every name is known.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) if a name is unknown; the error has the sentences about all
    /// unknown names.
    pub fn complete(self) -> Result<ArtifactGraph> {
        if self.unknown.is_empty() {
            return Ok(self.graph);
        }
        let sentences: Vec<_> = self.unknown.into_values().collect();
        Err(Error::new(Remedy::NotFound, "catalog", sentences.join("; ")))
    }

    /// Adds the answer of another catalog; what is unknown to one of them may be known to the
    /// other.
    pub(crate) fn merge(&mut self, other: Self) {
        self.graph.merge(&other.graph);
        for (name, sentence) in other.unknown {
            self.unknown.entry(name).or_insert(sentence);
        }
    }

    /// Limits the list of unknown names to these: others were asked on the way, and a name that one
    /// catalog knows is known.
    pub(crate) fn about(mut self, names: &[ArtifactId]) -> Self {
        let Self { graph, unknown } = &mut self;
        unknown.retain(|name, _| names.contains(name) && graph.canonical(name).is_none());
        self
    }
}

/// A source of artifacts and of their dependencies: a directory of recipes, a service, a database.
///
/// # Contract
/// * One call answers for all names; an unknown name is listed in the answer, and is no error.
/// * Names come as people write them; in the answer an [alias](ArtifactGraph::alias) leads from a
///   name as it was asked to the canonical one.
///
/// A catalog that has the whole graph in memory makes its answers with
/// [`affected_by`](ArtifactGraph::affected_by) and [`described`](ArtifactGraph::described):
///
/// ```
/// use async_trait::async_trait;
/// use freshmaker::backend::{Catalog, CatalogAnswer, Result};
/// use freshmaker::{ArtifactGraph, ArtifactId};
///
/// #[derive(Debug)]
/// struct Inventory(ArtifactGraph);
///
/// impl Inventory {
///     fn find(&self, asked: &ArtifactId) -> Result<ArtifactId, String> {
///         let names = [asked.clone(), format!("{asked}:latest").into()];
///         let found = names.into_iter().find(|name| self.0.get(name).is_some());
///         found.ok_or_else(|| format!("there is no image {asked}"))
///     }
/// }
///
/// #[async_trait]
/// impl Catalog for Inventory {
///     async fn dependents(&self, of: &[ArtifactId]) -> Result<CatalogAnswer> {
///         Ok(CatalogAnswer::cut(of, |name| self.find(name), |found| self.0.affected_by(found)))
///     }
///     async fn describe(&self, ids: &[ArtifactId]) -> Result<CatalogAnswer> {
///         Ok(CatalogAnswer::cut(ids, |name| self.find(name), |found| self.0.described(found)))
///     }
/// }
/// # futures_util::FutureExt::now_or_never(async {
/// # use freshmaker::{Artifact, ArtifactKind};
/// let mut graph = ArtifactGraph::new();
/// graph.insert(Artifact::new("debian:latest", ArtifactKind::Image));
/// let answer = Inventory(graph).describe(&["debian".into(), "fedora".into()]).await?;
/// assert_eq!(answer.graph.canonical(&"debian".into()), Some(&"debian:latest".into()));
/// assert_eq!(answer.unknown[&"fedora".into()], "there is no image fedora");
/// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
/// ```
#[async_trait]
pub trait Catalog: fmt::Debug + Send + Sync + 'static {
    /// Returns the artifacts with these names, everything that directly or indirectly depends on
    /// them, the repositories that are prepared on demand for those, and all parents of all of
    /// these.
    async fn dependents(&self, of: &[ArtifactId]) -> Result<CatalogAnswer>;

    /// Returns the artifacts with these names and their direct parents.
    async fn describe(&self, ids: &[ArtifactId]) -> Result<CatalogAnswer>;
}

use super::Result;
use crate::artifact::ArtifactId;
use crate::graph::ArtifactGraph;
use async_trait::async_trait;
use std::fmt;

/// Who knows which artifacts there are and what they are built from.
///
/// # Contract
/// Names come as people write them; in the answer an [alias](ArtifactGraph::alias) leads from a
/// name as it was asked to the canonical one.
///
/// Whoever can read all of it cuts the answers out with [`affected_by`](ArtifactGraph::affected_by)
/// and [`described`](ArtifactGraph::described), and adds the aliases with
/// [`answering`](ArtifactGraph::answering):
///
/// ```
/// use async_trait::async_trait;
/// use freshmaker::backend::{Catalog, Error, Remedy, Result};
/// use freshmaker::{ArtifactGraph, ArtifactId};
///
/// #[derive(Debug)]
/// struct Inventory(ArtifactGraph);
///
/// impl Inventory {
///     fn find(&self, asked: &[ArtifactId]) -> Result<Vec<ArtifactId>> {
///         let find = |id: &ArtifactId| {
///             let found = [id.clone(), format!("{id}:latest").into()].into_iter().find(|name| self.0.get(name).is_some());
///             found.ok_or_else(|| Error::new(Remedy::NotFound, "inventory", format!("there is no image {id}")))
///         };
///         asked.iter().map(find).collect()
///     }
/// }
///
/// #[async_trait]
/// impl Catalog for Inventory {
///     async fn dependents(&self, of: &[ArtifactId]) -> Result<ArtifactGraph> {
///         let found = self.find(of)?;
///         Ok(self.0.affected_by(&found).answering(of, &found))
///     }
///     async fn describe(&self, ids: &[ArtifactId]) -> Result<ArtifactGraph> {
///         let found = self.find(ids)?;
///         Ok(self.0.described(&found).answering(ids, &found))
///     }
/// }
/// # futures_util::FutureExt::now_or_never(async {
/// # use freshmaker::{Artifact, ArtifactKind};
/// let mut graph = ArtifactGraph::new();
/// graph.insert(Artifact::new("debian:latest", ArtifactKind::Image));
/// let answer = Inventory(graph).describe(&["debian".into()]).await?;
/// assert_eq!(answer.canonical(&"debian".into()), Some(&"debian:latest".into()));
/// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
/// ```
#[async_trait]
pub trait Catalog: fmt::Debug + Send + Sync + 'static {
    /// The artifacts with these names, everything that directly or indirectly depends on them, the
    /// repositories that are prepared on demand for those, and every parent that all these have.
    ///
    /// # Errors
    /// [`NotFound`](super::Remedy::NotFound) if a name means nothing here.
    async fn dependents(&self, of: &[ArtifactId]) -> Result<ArtifactGraph>;

    /// The artifacts with these names and their direct parents.
    ///
    /// # Errors
    /// [`NotFound`](super::Remedy::NotFound) if a name means nothing here.
    async fn describe(&self, ids: &[ArtifactId]) -> Result<ArtifactGraph>;
}

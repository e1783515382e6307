use super::Result;
use crate::artifact::ArtifactId;
use crate::graph::ArtifactGraph;
use async_trait::async_trait;
use std::fmt;

/// Who knows which artifacts there are and what they are built from.
///
/// # Contract
/// Names come as people write them; in the answer an [alias](ArtifactGraph::alias) leads from a name as it was asked to the canonical one.
#[async_trait]
pub trait Catalog: fmt::Debug + Send + Sync + 'static {
    /// The artifacts with these names, everything that directly or indirectly depends on them, and every parent those have.
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

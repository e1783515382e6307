//! The catalog of the service: the tree as it was read last, with what the registries have.

use crate::records::Records;
use async_trait::async_trait;
use freshmaker::Artifact;
use freshmaker::artifact::{ArtifactId, Digest};
use freshmaker::backend::{Catalog, CatalogAnswer, Result};
use freshmaker_local::files::FilesCatalog;
use freshmaker_oci::poll::last_seen;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

/// A tree, and the revisions of its images: what their build contexts contain.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) files: FilesCatalog,
    pub(crate) revisions: BTreeMap<ArtifactId, Digest>,
    /// What is wrong with it, as sentences.
    pub(crate) problems: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct LiveCatalog {
    current: Arc<RwLock<Arc<Read>>>,
    records: Records,
}

impl LiveCatalog {
    pub(crate) fn new(read: Read, records: Records) -> Self {
        Self { current: Arc::new(RwLock::new(Arc::new(read))), records }
    }

    /// Returns the tree as it was read last.
    pub(crate) fn current(&self) -> Arc<Read> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on, this is the tree.
    pub(crate) fn replace(&self, read: Read) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
    }

    /// Adds what is known about the contents of images, and of what they are built.
    async fn filled(&self, mut answer: CatalogAnswer, read: &Read) -> Result<CatalogAnswer> {
        let artifacts: Vec<_> = answer.graph.artifacts().cloned().collect();
        for mut artifact in artifacts {
            if let (Some(source), Some(revision)) = (&mut artifact.source, read.revisions.get(&artifact.id)) {
                source.revision = Some(revision.to_string());
            }
            artifact.digest = self.digest(&artifact).await?;
            answer.graph.insert(artifact);
        }
        Ok(answer)
    }

    /// Returns the present content of an image: what its tag named when it was asked for or moved
    /// last, else what this service has published.
    async fn digest(&self, artifact: &Artifact) -> Result<Option<Digest>> {
        let Ok(image) = artifact.id.as_str().parse() else { return Ok(artifact.digest.clone()) };
        if let Some(seen) = last_seen(self.records.client(), &image).await? {
            return Ok(Some(seen));
        }
        let record = if artifact.buildable() { self.records.of(&artifact.id).await? } else { None };
        Ok(record.map(|record| record.digest).or_else(|| artifact.digest.clone()))
    }
}

#[async_trait]
impl Catalog for LiveCatalog {
    async fn dependents(&self, of: &[ArtifactId]) -> Result<CatalogAnswer> {
        let read = self.current();
        self.filled(read.files.dependents(of).await?, &read).await
    }

    async fn describe(&self, ids: &[ArtifactId]) -> Result<CatalogAnswer> {
        let read = self.current();
        self.filled(read.files.describe(ids).await?, &read).await
    }
}

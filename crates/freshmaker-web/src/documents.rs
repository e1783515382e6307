//! Where tokens and the audit log are kept: the documents of the storage.

use freshmaker::Client;
use freshmaker::backend::{Document, NewDocument, Result};

/// The documents of a client's storage.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    client: Client,
}

impl Store {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(crate) async fn get(&self, kind: &str, id: &str) -> Result<Option<Document>> {
        self.client.documents().await?.get(kind, id).await
    }

    pub(crate) async fn list(&self, kind: &str, before: Option<i64>, limit: u32) -> Result<Vec<Document>> {
        self.client.documents().await?.list(kind, before, limit).await
    }

    pub(crate) async fn put(&self, document: NewDocument) -> Result<Document> {
        self.client.documents().await?.put(document).await
    }

    pub(crate) async fn remove(&self, kind: &str, id: &str) -> Result<bool> {
        self.client.documents().await?.remove(kind, id).await
    }
}

use super::{Error, Remedy, Result};
use crate::rebuild::Version;
use crate::store::PLACE;
use crate::time::Timestamp;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A small value that programs around an engine keep in its storage: a token, a preview, a pause, a
/// line of an audit log. The storage does not interpret its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its kind, such as `token`.
    pub kind: String,
    /// Its id, unique within its kind.
    pub id: String,
    /// Its number: a document that was made later has a larger one.
    pub number: i64,
    /// How often it was changed.
    pub version: Version,
    /// Its body.
    pub body: serde_json::Value,
    /// When it was made, by the clock of the storage.
    pub created_at: Timestamp,
    /// From this moment on it is gone.
    pub expires_at: Option<Timestamp>,
}

/// A document to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDocument {
    /// Its kind: at most [`Self::KIND_MAX`] bytes.
    pub kind: String,
    /// Its id, unique within its kind: at most [`Self::ID_MAX`] bytes.
    pub id: String,
    /// The version that the stored document must have; `None` if no document of this kind and id
    /// may exist.
    pub expected: Option<Version>,
    /// Its body: at most [`Self::BODY_MAX`] bytes as JSON.
    pub body: serde_json::Value,
    /// From this moment on it is gone.
    pub expires_at: Option<Timestamp>,
    /// How many documents of this kind are kept at most, with this one; beyond, the oldest are
    /// removed. `None` keeps all.
    pub keep: Option<u32>,
}

impl NewDocument {
    /// The longest kind, in bytes.
    pub const KIND_MAX: usize = 64;

    /// The longest id, in bytes.
    pub const ID_MAX: usize = 512;

    /// The largest body, in bytes of its JSON.
    pub const BODY_MAX: usize = 4 << 20;

    /// Makes a document that must not exist yet, and that is kept until it is removed.
    ///
    /// ```
    /// use freshmaker::backend::{Documents, NewDocument, Storage};
    /// use freshmaker::memory::MemoryStorage;
    ///
    /// # futures_util::FutureExt::now_or_never(async {
    /// let storage = MemoryStorage::new();
    /// let documents = storage.documents();
    /// let first = documents.put(NewDocument::new("pause", "koji", "outage".into())).await?;
    /// let changed = NewDocument { expected: Some(first.version), ..NewDocument::new("pause", "koji", "moved".into()) };
    /// assert_eq!(documents.put(changed).await?.version, 1);
    /// assert_eq!(documents.list("pause", None, 10).await?.len(), 1);
    /// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
    /// ```
    #[must_use]
    pub fn new(kind: impl Into<String>, id: impl Into<String>, body: serde_json::Value) -> Self {
        Self { kind: kind.into(), id: id.into(), expected: None, body, expires_at: None, keep: None }
    }

    /// Returns the body as it is stored, for authors of storages.
    ///
    /// # Errors
    /// [`Rejected`](super::Remedy::Rejected) if the document is larger than the limits.
    pub fn text(&self) -> Result<String> {
        let text = self.body.to_string();
        let sizes = [
            ("kind", self.kind.len(), Self::KIND_MAX),
            ("id", self.id.len(), Self::ID_MAX),
            ("body", text.len(), Self::BODY_MAX),
        ];
        match sizes.into_iter().find(|(_, size, most)| size > most) {
            None => Ok(text),
            Some((field, size, most)) => {
                let text =
                    format!("the {field} of a document of kind {:.64?} has {size} bytes, more than {most}", self.kind);
                Err(Error::new(Remedy::Rejected, PLACE, text))
            }
        }
    }
}

/// Keeps [`Document`]s.
///
/// # Contract
/// * Each call is one transaction: of two calls that put the same document at the same time, the
///   later one is a [`Conflict`](super::Remedy::Conflict).
/// * An expired document does not exist for any call; it is removed when another document of its
///   kind is put.
/// * A document whose row cannot be read is [`Corrupt`](super::Remedy::Corrupt) if it is asked for
///   by its id, and left out of lists; it can be removed.
#[doc(alias = "key-value")]
#[async_trait]
pub trait Documents: fmt::Debug + Send + Sync + 'static {
    /// Returns one document.
    async fn get(&self, kind: &str, id: &str) -> Result<Option<Document>>;

    /// Returns documents of a kind, newest first: at most `limit`, and only those with a number
    /// below `before`.
    async fn list(&self, kind: &str, before: Option<i64>, limit: u32) -> Result<Vec<Document>>;

    /// Makes or changes a document, and returns it.
    ///
    /// # Errors
    /// [`Conflict`](super::Remedy::Conflict) if the stored one does not have the expected version,
    /// [`Rejected`](super::Remedy::Rejected) if it is larger than the limits.
    async fn put(&self, document: NewDocument) -> Result<Document>;

    /// Removes a document; returns whether it existed.
    async fn remove(&self, kind: &str, id: &str) -> Result<bool>;
}

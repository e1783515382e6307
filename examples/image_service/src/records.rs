//! Records of each image, stored beside the rows of the engine: what was published, from which
//! parents, and whether a person holds the image back.

use freshmaker::artifact::{ArtifactId, Digest, ImageReference};
use freshmaker::backend::{Document, Error, NewDocument, Remedy, Result};
use freshmaker::client::Client;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

const RECORD: &str = "image-record";
const HOLD: &str = "image-hold";

/// How many earlier contents of an image are remembered.
const EARLIER_MAX: usize = 32;
/// How many images can be held at once.
const HOLDS_MAX: u32 = 1000;
/// How often a change is made anew because somebody else made one at the same time.
const TRIES: usize = 5;

/// What is known about the present content of an image that this service has published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What the tag names.
    pub(crate) digest: Digest,
    /// What a container gets from it.
    pub(crate) content: Digest,
    /// The contents of the parents that it was built on, by name. If a later build made the same
    /// from other parents, those of the later build.
    pub(crate) parents: BTreeMap<String, Digest>,
    /// What the build context contained.
    #[serde(default)]
    pub(crate) revision: Option<String>,
    /// The commit that had the build context, if the tree is that of a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) commit: Option<String>,
    /// The attempt that built on these parents.
    pub(crate) attempt: String,
    /// What a later build made that has the same content, and so was not published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) same: Option<Digest>,
    /// What is the same then, if not the whole content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) same_by: Option<String>,
    /// What the tag named before, the latest last.
    #[serde(default)]
    pub(crate) earlier: Vec<Digest>,
    /// What somebody has rolled back from since it was published last, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rejected: Vec<Digest>,
}

impl Record {
    /// Whether the tag names this, or named it before.
    pub(crate) fn knows(&self, digest: &Digest) -> bool {
        self.digest == *digest || self.earlier.contains(digest) || self.rejected.contains(digest)
    }

    /// Returns the latest content that the tag can go back to: not one that was rolled back from.
    pub(crate) fn good_before(&self) -> Option<&Digest> {
        self.earlier.iter().rev().find(|digest| !self.rejected.contains(digest))
    }

    /// Returns what is known after `next` is published instead of this.
    fn followed_by(&self, next: Self) -> Self {
        let mut earlier = self.earlier.clone();
        for digest in [&self.digest].into_iter().chain(&next.earlier) {
            earlier.retain(|known| known != digest);
            earlier.push(digest.clone());
        }
        earlier.retain(|digest| *digest != next.digest);
        let surplus = earlier.len().saturating_sub(EARLIER_MAX);
        earlier.drain(..surplus);
        let mut rejected = self.rejected.clone();
        rejected.extend(next.rejected.iter().filter(|digest| !self.rejected.contains(digest)).cloned());
        rejected.retain(|digest| *digest != next.digest);
        let surplus = rejected.len().saturating_sub(EARLIER_MAX);
        rejected.drain(..surplus);
        Self { earlier, rejected, ..next }
    }
}

/// An image that a person holds back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hold {
    pub(crate) reason: String,
    pub(crate) by: String,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, by } = self;
        if reason.is_empty() { write!(f, "held by {by}") } else { write!(f, "held by {by}: {reason}") }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Records {
    client: Client,
}

impl Records {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) async fn of(&self, image: &ArtifactId) -> Result<Option<Record>> {
        let document = self.client.documents().await?.get(RECORD, image.as_str()).await?;
        Ok(document.as_ref().and_then(read))
    }

    /// Stores what is about to be published. It is stored before the tag moves, so that a handler
    /// that gets the event of the move knows that this service has made it.
    pub(crate) async fn publish(&self, image: &ArtifactId, next: &Record) -> Result<()> {
        self.change(RECORD, image.as_str(), |before: Option<Record>| match before {
            Some(before) => before.followed_by(next.clone()),
            None => next.clone(),
        })
        .await
    }

    pub(crate) async fn hold(&self, image: &ImageReference, hold: &Hold) -> Result<()> {
        self.change(HOLD, &image.to_string(), |_: Option<Hold>| hold.clone()).await
    }

    /// Ends a hold; returns whether there was one.
    pub(crate) async fn release(&self, image: &ImageReference) -> Result<bool> {
        self.client.documents().await?.remove(HOLD, &image.to_string()).await
    }

    pub(crate) async fn held(&self, image: &ArtifactId) -> Result<Option<Hold>> {
        let document = self.client.documents().await?.get(HOLD, image.as_str()).await?;
        // A hold holds, whatever its text is.
        let unreadable = || Hold { reason: "held".to_owned(), by: "somebody".to_owned() };
        Ok(document.map(|document| read(&document).unwrap_or_else(unreadable)))
    }

    pub(crate) async fn holds(&self) -> Result<BTreeMap<String, Hold>> {
        let found = self.client.documents().await?.list(HOLD, None, HOLDS_MAX).await?;
        let unreadable = || Hold { reason: "held".to_owned(), by: "somebody".to_owned() };
        Ok(found.into_iter().map(|found| (found.id.clone(), read(&found).unwrap_or_else(unreadable))).collect())
    }

    async fn change<T: Serialize + DeserializeOwned>(
        &self,
        kind: &str,
        id: &str,
        next: impl Fn(Option<T>) -> T,
    ) -> Result<()> {
        let documents = self.client.documents().await?;
        for _ in 0..TRIES {
            let before = documents.get(kind, id).await?;
            let body = serde_json::to_value(next(before.as_ref().and_then(read)))
                .map_err(|error| Error::new(Remedy::Corrupt, format!("{kind} {id}"), error))?;
            let expected = before.map(|before| before.version);
            match documents.put(NewDocument { expected, ..NewDocument::new(kind, id, body) }).await {
                Err(error) if error.remedy == Remedy::Conflict => {}
                stored => return stored.map(drop),
            }
        }
        Err(Error::new(Remedy::Unavailable, format!("{kind} {id}"), "others change it all the time"))
    }
}

fn read<T: DeserializeOwned>(document: &Document) -> Option<T> {
    T::deserialize(&document.body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use freshmaker::memory::MemoryStorage;
    use std::sync::Arc;

    fn record(digest: &[u8]) -> Record {
        Record {
            digest: Digest::of(digest),
            content: Digest::of(b"content"),
            parents: BTreeMap::new(),
            revision: None,
            commit: None,
            attempt: "1".to_owned(),
            same: None,
            same_by: None,
            earlier: Vec::new(),
            rejected: Vec::new(),
        }
    }

    #[tokio::test]
    async fn what_was_published_is_remembered_up_to_a_bound() {
        let records = Records::new(Client::new(Arc::new(MemoryStorage::new())));
        let image = ArtifactId::from("registry.example.org/app:1");
        assert_eq!(records.of(&image).await.unwrap(), None);
        for number in 0..50_u8 {
            records.publish(&image, &record(&[number])).await.unwrap();
        }
        let kept = records.of(&image).await.unwrap().unwrap();
        assert_eq!((kept.earlier.len(), &kept.digest), (EARLIER_MAX, &Digest::of(&[49])));
        assert!(kept.knows(&Digest::of(&[48])) && !kept.knows(&Digest::of(&[3])));
        records.publish(&image, &record(&[48])).await.unwrap();
        let back = records.of(&image).await.unwrap().unwrap();
        assert_eq!((&back.digest, back.earlier.last()), (&Digest::of(&[48]), Some(&Digest::of(&[49]))));
        assert!(!back.earlier.contains(&back.digest));
    }

    #[tokio::test]
    async fn what_was_rolled_back_from_is_not_gone_back_to() {
        let records = Records::new(Client::new(Arc::new(MemoryStorage::new())));
        let image = ArtifactId::from("registry.example.org/app:1");
        let [a, b, c] = [b"a", b"b", b"c"].map(|content| record(content));
        for published in [&a, &b, &c] {
            records.publish(&image, published).await.unwrap();
        }
        for (bad, good, next) in [(&c, &b, Some(&a)), (&b, &a, None)] {
            let back = Record { rejected: vec![bad.digest.clone()], ..good.clone() };
            assert_eq!(records.of(&image).await.unwrap().unwrap().good_before(), Some(&good.digest));
            records.publish(&image, &back).await.unwrap();
            let kept = records.of(&image).await.unwrap().unwrap();
            assert_eq!(kept.good_before(), next.map(|next| &next.digest));
            assert!(kept.knows(&bad.digest));
        }
        // What is published again is no longer rejected.
        records.publish(&image, &c).await.unwrap();
        records.publish(&image, &record(b"d")).await.unwrap();
        assert_eq!(records.of(&image).await.unwrap().unwrap().good_before(), Some(&c.digest));
    }

    #[tokio::test]
    async fn a_hold_ends_when_it_is_released() {
        let records = Records::new(Client::new(Arc::new(MemoryStorage::new())));
        let image: ImageReference = "registry.example.org/app:1".parse().unwrap();
        let hold = Hold { reason: "broken".to_owned(), by: "kim".to_owned() };
        records.hold(&image, &hold).await.unwrap();
        assert_eq!(records.held(&ArtifactId::from(&image)).await.unwrap(), Some(hold));
        assert_eq!(records.holds().await.unwrap().len(), 1);
        assert!(records.release(&image).await.unwrap() && !records.release(&image).await.unwrap());
        assert_eq!(records.held(&ArtifactId::from(&image)).await.unwrap(), None);
    }
}

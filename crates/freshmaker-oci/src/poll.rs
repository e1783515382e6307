//! Polls registries for tags with new content: for registries that send no notifications, and for
//! changes that happened while the service was stopped.

use crate::client::OciClient;
use fastrand::Rng;
use freshmaker::artifact::{Digest, ImageReference};
use freshmaker::backend::{Clock, Document, Error, NewDocument, Remedy, Result};
use freshmaker::client::{Client, Sent};
use freshmaker::engine::SystemClock;
use freshmaker::handler::ImagePushed;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The kind of the [`Document`]s in which the poller keeps what it saw, one for each reference.
pub const SEEN: &str = "oci-seen";

/// The shortest pause between two rounds, whatever is configured.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// How many documents are read at once.
const PAGE: u32 = 500;
/// How many earlier digests of a reference are remembered.
const EARLIER_MAX: usize = 32;

/// What a [`Poller`] does with a reference that it sees for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FirstSight {
    /// Remembers what it is, and sends nothing: a new service must not rebuild everything.
    #[default]
    Remember,
    /// Sends it like a change.
    Send,
}

/// How a [`Poller`] asks.
///
/// In serde formats, durations are numbers of seconds, with fractions if needed.
///
/// ```
/// use freshmaker_oci::poll::PollConfig;
///
/// let config: PollConfig = serde_json::from_str(r#"{"interval": 900, "spread": 300}"#)?;
/// assert_eq!(config.interval.as_secs(), 900);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct PollConfig {
    /// The pause between two rounds, at least 1 s. Default: 15 min.
    #[serde(deserialize_with = "seconds")]
    pub interval: Duration,
    /// The requests of a round are spread over this time, each at a random moment. Default: 1 min.
    #[serde(deserialize_with = "seconds")]
    pub spread: Duration,
    /// How many requests one registry gets at the same time, at least 1. Default: 4.
    pub parallel: usize,
    /// After this many failures of a registry in one round, its other images are not asked for in
    /// that round. An image that the registry does not have is no such failure. Default: 3.
    pub failures_max: u32,
    /// What is done at first sight. Default: it is remembered.
    pub first_sight: FirstSight,
}

impl Default for PollConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(900),
            spread: Duration::from_secs(60),
            parallel: 4,
            failures_max: 3,
            first_sight: FirstSight::default(),
        }
    }
}

fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// What one round of a [`Poller`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Round {
    /// How many references are what they were.
    pub unchanged: usize,
    /// What was remembered at first sight.
    pub first_seen: Vec<ImageReference>,
    /// What has new content; an event is stored for each.
    pub changed: Vec<(ImageReference, Digest)>,
    /// What could not be asked, and why. It is asked again in the next round.
    pub failed: Vec<(ImageReference, Error)>,
    /// What was not asked because its registry failed too often in this round.
    pub skipped: Vec<ImageReference>,
}

/// What a document of the kind [`SEEN`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    digest: Digest,
    /// How often the digest has changed.
    #[serde(default)]
    changes: u64,
    /// Earlier digests, the latest one last.
    #[serde(default)]
    earlier: Vec<Digest>,
}

impl Seen {
    fn first(digest: Digest) -> Self {
        Self { digest, changes: 0, earlier: Vec::new() }
    }

    fn next(&self, digest: Digest) -> Self {
        let mut earlier = self.earlier.clone();
        earlier.push(self.digest.clone());
        let surplus = earlier.len().saturating_sub(EARLIER_MAX);
        earlier.drain(..surplus);
        Self { digest, changes: self.changes + 1, earlier }
    }

    /// The identity of the event about this change. What a tag names for the second time is another
    /// change, so it has the number of the change as well.
    fn identity(&self, image: &ImageReference) -> String {
        let again = if self.earlier.contains(&self.digest) { format!("#{}", self.changes) } else { String::new() };
        format!("oci/{image}@{}{again}", self.digest)
    }
}

/// Returns what the pollers of a storage saw last under a reference; `None` if they never saw it.
///
/// # Errors
/// Those of the storage.
pub async fn last_seen(client: &Client, image: &ImageReference) -> Result<Option<Digest>> {
    let document = client.documents().await?.get(SEEN, &image.to_string()).await?;
    Ok(document.and_then(|document| Seen::deserialize(document.body).ok()).map(|seen| seen.digest))
}

/// Remembers what a tag names without an event about it: for a program that has moved the tag
/// itself, and knows what follows from that. Call it after the tag has moved.
///
/// # Errors
/// Those of the storage; [`Conflict`](Remedy::Conflict) if a poller stored something at the same
/// time. Then an event about the change may come.
pub async fn remember(client: &Client, image: &ImageReference, digest: Digest) -> Result<()> {
    let before = client.documents().await?.get(SEEN, &image.to_string()).await?;
    let read = before.as_ref().and_then(|document| Seen::deserialize(&document.body).ok());
    let now = match read {
        Some(seen) if seen.digest == digest => return Ok(()),
        Some(seen) => seen.next(digest),
        None => Seen::first(digest),
    };
    store(client, image, &now, before.as_ref()).await
}

async fn store(client: &Client, image: &ImageReference, now: &Seen, before: Option<&Document>) -> Result<()> {
    let body = serde_json::to_value(now)
        .map_err(|error| Error::new(Remedy::Corrupt, format!("oci: poller, {image}"), error))?;
    let expected = before.map(|document| document.version);
    let document = NewDocument { expected, ..NewDocument::new(SEEN, image.to_string(), body) };
    client.documents().await?.put(document).await.map(drop)
}

/// Asks registries what tags name, and sends an [`ImagePushed`] for each that names something new.
///
/// What was seen is kept in the storage, in one [`Document`] for each reference, so changes during
/// a stop are found afterwards. The event is stored before the document, under the identity
/// `oci/<reference>@<digest>`: after a crash in between it is stored again, which is the same as
/// once. A reference with a digest is never asked for.
///
/// ```no_run
/// use freshmaker::client::Client;
/// use freshmaker::memory::MemoryStorage;
/// use freshmaker_oci::poll::{PollConfig, Poller};
/// use freshmaker_oci::{OciClient, OciConfig};
/// use std::sync::Arc;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let registries = OciClient::new(OciConfig::of_user())?;
/// let client = Client::new(Arc::new(MemoryStorage::new()));
/// let images = ["debian:12".parse()?, "registry.example.org/base:1".parse()?];
/// let mut poller = Poller::new(registries, client, images, PollConfig::default());
/// let round = poller.round().await?;
/// println!("{} new, {} failed", round.changed.len(), round.failed.len());
/// poller.run().await; // until it is dropped
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Poller {
    registries: OciClient,
    client: Client,
    images: BTreeSet<ImageReference>,
    config: PollConfig,
    clock: Arc<dyn Clock>,
    rng: Rng,
}

impl Poller {
    /// Creates a poller. Nothing is sent. References that are there twice count once.
    pub fn new(
        registries: OciClient,
        client: Client,
        images: impl IntoIterator<Item = ImageReference>,
        config: PollConfig,
    ) -> Self {
        let images = images.into_iter().filter(|image| image.digest().is_none()).collect();
        Self { registries, client, images, config, clock: Arc::new(SystemClock), rng: Rng::new() }
    }

    /// Takes the time from this clock and the moments of requests from this generator, for tests.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>, rng: Rng) -> Self {
        Self { clock, rng, ..self }
    }

    /// Asks for each reference once, spread over [`PollConfig::spread`].
    ///
    /// Registries are asked independently of each other: a slow one delays only its own images.
    ///
    /// # Errors
    /// Those of the storage. Errors of registries are part of the result.
    ///
    /// # Cancel safety
    /// What was found before the future is dropped is stored; the rest is found in the next round.
    pub async fn round(&mut self) -> Result<Round> {
        let mut seen = self.seen().await?;
        let mut by_registry: BTreeMap<&str, Vec<(Duration, &ImageReference)>> = BTreeMap::new();
        for image in &self.images {
            let offset = self.config.spread.mul_f64(self.rng.f64());
            by_registry.entry(image.registry()).or_default().push((offset, image));
        }
        let (begin, poller) = (self.clock.elapsed(), &*self);
        let asking = by_registry.into_values().map(|images| poller.ask(begin, images));
        // Each registry asks for a few images at once; all registries run beside each other.
        let mut answers = stream::select_all(asking.map(Box::pin));
        let mut round = Round::default();
        while let Some((image, answer)) = answers.next().await {
            match answer {
                None => round.skipped.push(image.clone()),
                Some(Err(error)) => round.failed.push((image.clone(), error)),
                Some(Ok(digest)) => self.saw(image, digest, seen.remove(&image.to_string()), &mut round).await?,
            }
        }
        round.first_seen.sort();
        round.changed.sort();
        round.failed.sort_by(|(one, _), (other, _)| one.cmp(other));
        round.skipped.sort();
        Ok(round)
    }

    /// Does rounds for ever, with [`PollConfig::interval`] between them. A round that fails is
    /// logged, and the next one comes.
    ///
    /// # Cancel safety
    /// As for [`round`](Self::round).
    pub async fn run(mut self) {
        loop {
            match self.round().await {
                Ok(round) => {
                    for (image, error) in &round.failed {
                        tracing::warn!(%image, %error, "a registry could not be asked");
                    }
                    tracing::info!(
                        unchanged = round.unchanged,
                        first_seen = round.first_seen.len(),
                        changed = round.changed.len(),
                        failed = round.failed.len(),
                        skipped = round.skipped.len(),
                        "registries were asked"
                    );
                }
                Err(error) => tracing::warn!(%error, "a round over the registries failed"),
            }
            self.clock.sleep(self.config.interval.max(INTERVAL_MIN)).await;
        }
    }

    /// Asks one registry for its images; `None` for those that are skipped.
    fn ask<'a>(
        &'a self,
        begin: Duration,
        mut images: Vec<(Duration, &'a ImageReference)>,
    ) -> impl futures_util::Stream<Item = (&'a ImageReference, Option<Result<Digest>>)> + 'a {
        images.sort();
        let failures = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let most = self.config.failures_max;
        let due = stream::iter(images).then(move |(offset, image)| async move {
            let passed = self.clock.elapsed().saturating_sub(begin);
            if let Some(left) = offset.checked_sub(passed).filter(|left| !left.is_zero()) {
                self.clock.sleep(left).await;
            }
            image
        });
        let asked = due.map(move |image| {
            let failures = Arc::clone(&failures);
            async move {
                if failures.load(std::sync::atomic::Ordering::Relaxed) >= most {
                    return (image, None);
                }
                let answer = self.registries.head(image).await;
                if let Err(error) = &answer
                    && matches!(error.remedy, Remedy::Unavailable | Remedy::NotNow)
                {
                    failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                (image, Some(answer))
            }
        });
        asked.buffer_unordered(self.config.parallel.max(1))
    }

    /// Compares the digest that the registry answered with the one that was seen before, and stores
    /// a new one.
    async fn saw(
        &self,
        image: &ImageReference,
        digest: Digest,
        before: Option<Document>,
        round: &mut Round,
    ) -> Result<()> {
        // A document that cannot be read is one that was never there, but for its version.
        let read = before.as_ref().and_then(|document| Seen::deserialize(&document.body).ok());
        let now = match &read {
            Some(seen) if seen.digest == digest => {
                round.unchanged += 1;
                return Ok(());
            }
            Some(seen) => seen.next(digest),
            None => Seen::first(digest),
        };
        let is_sent = read.is_some() || self.config.first_sight == FirstSight::Send;
        if is_sent {
            let event = ImagePushed { image: image.to_string(), digest: Some(now.digest.clone()) };
            match self.client.send_as(now.identity(image), &event).await? {
                Sent::New(_) => tracing::debug!(%image, digest = %now.digest, "new content"),
                Sent::Known(_) => tracing::debug!(%image, digest = %now.digest, "new content, known already"),
            }
        }
        match store(&self.client, image, &now, before.as_ref()).await {
            // Another poller of this storage was faster; it has sent the same.
            Err(error) if error.remedy == Remedy::Conflict => {}
            stored => stored?,
        }
        match is_sent {
            true => round.changed.push((image.clone(), now.digest)),
            false => round.first_seen.push(image.clone()),
        }
        Ok(())
    }

    /// Returns the documents of all references, by reference.
    async fn seen(&self) -> Result<BTreeMap<String, Document>> {
        let documents = self.client.documents().await?;
        let (mut found, mut before) = (BTreeMap::new(), None);
        loop {
            let page = documents.list(SEEN, before, PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            before = page.last().map(|document| document.number);
            found.extend(page.into_iter().map(|document| (document.id.clone(), document)));
            if is_last {
                return Ok(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_that_comes_back_is_another_change() {
        let image: ImageReference = "debian:12".parse().unwrap();
        let [a, b] = [b"a", b"b"].map(|content| Digest::of(content));
        let first = Seen::first(a.clone());
        let second = first.next(b.clone());
        let third = second.next(a.clone());
        let fourth = third.next(b.clone());
        let name = format!("oci/{image}");
        let identities = [&first, &second, &third, &fourth].map(|seen| seen.identity(&image));
        assert_eq!(
            identities,
            [format!("{name}@{a}"), format!("{name}@{b}"), format!("{name}@{a}#2"), format!("{name}@{b}#3")]
        );
        let many = (0..100_u8).fold(first, |seen, number| seen.next(Digest::of(&[number])));
        assert_eq!((many.changes, many.earlier.len()), (100, EARLIER_MAX));
    }
}

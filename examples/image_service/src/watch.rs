//! Finds out by itself what has changed: in the registries, in the tree, and while the service was
//! down.

use crate::Result;
use crate::condition::{Condition, Look, Standing};
use crate::config::Mend;
use crate::entry::plain;
use crate::git::Checkouts;
use crate::hooks::Wakes;
use crate::live::{LiveCatalog, Read};
use crate::records::Records;
use crate::site::{SYSTEM, Site};
use crate::sources::Sources;
use crate::tree::Recipes;
use freshmaker::artifact::{ArtifactId, Digest, ImageReference};
use freshmaker::backend::{Clock, Document, NewDocument, Remedy};
use freshmaker::client::Client;
use freshmaker::handler::{RebuildRequested, SourceChanged};
use freshmaker_oci::OciClient;
use freshmaker_oci::poll::{Poller, Round};
use futures_util::future::{Either, join, select};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The kind of the documents with the revisions of images that were seen.
const SOURCE: &str = "image-source";
/// The kind of the documents with what was asked for because it was missing or stale.
const MEND: &str = "image-mend";
/// How many images can be missing or stale at once.
const MENDS_MAX: u32 = 10_000;
/// Who asks for what nobody else has asked for, and who pauses when there is no space.
const SELF: &str = "image_service";
/// The shortest pause between two looks, whatever is configured.
const PAUSE_MIN: Duration = Duration::from_millis(200);

/// How long the tree may take to be fetched.
pub(crate) const FETCH: Duration = Duration::from_secs(300);
/// A day in seconds.
const DAY: i64 = 86_400;

/// What a document of the kind [`SOURCE`] says.
#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    revision: Digest,
    /// How often it has changed, so that what comes back is another change.
    changes: u64,
}

/// What is known of the fetches of a repository.
#[derive(Debug, Default)]
struct Fetches {
    /// When the next one is due, on the clock's count; at once, if never.
    next: Option<Duration>,
    /// Why the last one failed.
    error: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) site: Arc<Site>,
    pub(crate) live: LiveCatalog,
    pub(crate) records: Records,
    pub(crate) registries: OciClient,
    pub(crate) clock: Arc<dyn Clock>,
    /// What makes it look at once.
    pub(crate) wakes: Wakes,
    /// Whether all images are to be looked at as soon as nothing else is to be done.
    pub(crate) is_due: AtomicBool,
}

impl Watch {
    /// Watches until it is dropped.
    pub(crate) async fn run(&self) {
        join(self.registries(), self.tree()).await;
    }

    fn client(&self) -> &Client {
        self.records.client()
    }

    async fn registries(&self) {
        let config = &self.site.config;
        let (mut last, mut frozen) = (None, BTreeSet::new());
        loop {
            let still = self.frozen();
            if frozen.difference(&still).next().is_some() {
                // What has changed meanwhile is stale.
                self.is_due.store(true, Ordering::Relaxed);
            }
            frozen = still;
            match self.round().await {
                Ok(round) => tell(&round),
                Err(error) => tracing::warn!(%error, "a round over the registries failed"),
            }
            if let Err(error) = self.guard_space().await {
                tracing::warn!(%error, "the free space is not known");
            }
            let now = self.clock.elapsed();
            let is_time = last.is_none_or(|last| now >= last + config.start.interval.duration());
            if is_time || self.is_due.load(Ordering::Relaxed) {
                match self.mend().await {
                    Ok(true) => last = Some(now),
                    // Builds are under way, and may mend what is wrong.
                    Ok(false) => {}
                    Err(error) => tracing::warn!(%error, "the images could not be looked at"),
                }
            }
            let (pause, woken) =
                (self.clock.sleep(config.poll.interval.max(PAUSE_MIN)), pin!(self.wakes.registries.notified()));
            select(pause, woken).await;
        }
    }

    /// Returns the images of the tree that are frozen now.
    fn frozen(&self) -> BTreeSet<ArtifactId> {
        let (read, now) = (self.live.current(), self.clock.now());
        let images = read.revisions.keys();
        images.filter(|image| self.site.config.freeze.iter().any(|freeze| freeze.holds(image, now))).cloned().collect()
    }

    async fn round(&self) -> freshmaker::backend::Result<Round> {
        let images = followed(&self.live.current());
        let poller = Poller::new(self.registries.clone(), self.client().clone(), images, self.site.config.poll.clone());
        poller.with_clock(Arc::clone(&self.clock), fastrand::Rng::new()).round().await
    }

    /// Pauses the builds while there is too little space, and ends the pause that it made.
    async fn guard_space(&self) -> Result<()> {
        let free = rustix::fs::statvfs(&self.site.config.state)?;
        let free_mib = free.f_bavail.saturating_mul(free.f_frsize) >> 20;
        let wanted = self.site.config.build.free_mib;
        let pauses = self.client().pauses().await?;
        let paused = pauses.iter().find(|pause| pause.system == SYSTEM);
        match paused {
            None if free_mib < wanted => {
                let state = self.site.config.state.display();
                let reason = format!("only {free_mib} MiB are free in {state}, and {wanted} are wanted");
                tracing::warn!(reason, "no builds are started");
                self.client().pause(SYSTEM, &reason, SELF).await?;
            }
            Some(pause) if pause.by == SELF && free_mib >= wanted => self.client().resume(SYSTEM).await?,
            _ => {}
        }
        Ok(())
    }

    /// Asks for what is missing or stale although nothing has happened; returns whether it could
    /// look.
    async fn mend(&self) -> Result<bool> {
        if !self.client().overview().await?.is_idle() {
            return Ok(false);
        }
        self.is_due.store(false, Ordering::Relaxed);
        let Some((root, naming)) = self.site.tree()? else { return Ok(true) };
        let recipes =
            tokio::task::spawn_blocking(move || Recipes::scan(&root, &naming).map_err(|error| error.to_string()));
        let recipes = recipes.await??;
        let (read, snapshot) = (self.live.current(), self.registries.snapshot());
        let revisions = &read.revisions;
        let look = Look { recipes: &recipes, revisions, records: &self.records, snapshot: &snapshot };
        let conditions = look.all().await;
        let (held, frozen) = (self.records.holds().await?, self.frozen());
        let start = &self.site.config.start;
        let wrong: Vec<&Condition> = conditions
            .iter()
            .filter(|condition| match condition.standing {
                Standing::Missing => start.missing == Mend::Rebuild,
                Standing::Stale => start.stale == Mend::Rebuild,
                _ => false,
            })
            .filter(|condition| !held.contains_key(condition.image.as_str()))
            .filter(|condition| !frozen.contains(&condition.image))
            .collect();
        for condition in conditions.iter().filter(|condition| condition.standing == Standing::Error) {
            tracing::warn!(image = %condition.image, why = condition.because.join("; "), "its state is not known");
            self.is_due.store(true, Ordering::Relaxed);
        }
        let (artifacts, remembered): (Vec<_>, Vec<_>) = self.unasked(&wrong).await?.into_iter().unzip();
        if artifacts.is_empty() {
            return Ok(true);
        }
        tracing::info!(images = artifacts.len(), "missing or stale images are rebuilt");
        let event = RebuildRequested { artifacts, dependents: true, requester: Some(SELF.to_owned()) };
        self.client().send(&event).await?;
        for document in remembered {
            self.client().documents().await?.put(document).await?;
        }
        Ok(true)
    }

    /// Leaves out what was asked for today in the same condition, and of which nothing was
    /// published since then: what a build did not mend, the next one will hardly. Forgets what is
    /// not wrong any more. Returns the images with what is to be remembered of each.
    async fn unasked(&self, wrong: &[&Condition]) -> freshmaker::backend::Result<Vec<(String, NewDocument)>> {
        let documents = self.client().documents().await?;
        for document in documents.list(MEND, None, MENDS_MAX).await? {
            if !wrong.iter().any(|condition| condition.image.as_str() == document.id) {
                documents.remove(MEND, &document.id).await?;
            }
        }
        let (today, read) = (self.clock.now().timestamp() / DAY, self.live.current());
        let mut unasked = Vec::new();
        for condition in wrong {
            let id = condition.image.as_str();
            let attempt = self.records.of(&condition.image).await?.map(|record| record.attempt);
            let revision = read.revisions.get(&condition.image);
            let body = json!({ "day": today, "because": condition.because, "revision": revision, "attempt": attempt });
            let before = documents.get(MEND, id).await?;
            if before.as_ref().is_none_or(|before| before.body != body) {
                let expected = before.map(|before| before.version);
                let document = NewDocument { expected, ..NewDocument::new(MEND, id, body) };
                unasked.push((id.to_owned(), document));
            }
        }
        Ok(unasked)
    }

    async fn tree(&self) {
        let mut sources = Sources::default();
        let mut unsettled = BTreeMap::new();
        let mut fetches = Fetches::default();
        loop {
            if let Some(checkouts) = self.site.checkouts() {
                self.fetch_commit(&checkouts, &mut fetches).await;
            }
            let site = Arc::clone(&self.site);
            let reading = tokio::task::spawn_blocking(move || {
                let read = sources.read(&site).map_err(|error| error.to_string());
                (sources, read)
            });
            sources = match reading.await {
                Ok((sources, Ok(read))) => {
                    self.live.replace(read);
                    if let Err(error) = self.compare(&mut unsettled).await {
                        tracing::warn!(%error, "changes of the tree could not be stored");
                    }
                    sources
                }
                Ok((sources, Err(error))) => {
                    tracing::warn!(error, "the tree cannot be read; what was read last counts");
                    sources
                }
                Err(error) => {
                    tracing::warn!(%error, "the tree cannot be read; what was read last counts");
                    Sources::default()
                }
            };
            let pause = self.clock.sleep(self.site.config.tree.interval.duration().max(PAUSE_MIN));
            if let Either::Right(_) = select(pause, pin!(self.wakes.tree.notified())).await {
                fetches.next = None;
                self.fetch().await;
            }
        }
    }

    /// Fetches the branch, if it is time to. What does not change is said once.
    async fn fetch_commit(&self, checkouts: &Checkouts, fetches: &mut Fetches) {
        let now = self.clock.elapsed();
        if fetches.next.is_some_and(|next| now < next) {
            return;
        }
        let fetched = match select(pin!(checkouts.fetch()), self.clock.sleep(FETCH)).await {
            Either::Left((fetched, _)) => fetched.map_err(|error| error.to_string()),
            Either::Right(_) => Err("it was not fetched in time".to_owned()),
        };
        let interval = self.site.config.tree.git.as_ref().map_or(FETCH, |git| git.interval.duration());
        fetches.next = Some(self.clock.elapsed() + interval.max(PAUSE_MIN));
        match fetched {
            Ok(commit) => {
                if let Some(commit) = commit {
                    tracing::info!(commit, "the tree was fetched");
                } else if fetches.error.is_some() {
                    tracing::info!("the tree can be fetched again");
                }
                fetches.error = None;
            }
            Err(error) if fetches.error.as_ref() != Some(&error) => {
                tracing::warn!(error, "the tree cannot be fetched; the last commit counts");
                fetches.error = Some(error);
            }
            Err(_) => {}
        }
    }

    /// Runs what brings the tree up to date. If that fails, the tree stays as it is.
    async fn fetch(&self) {
        let Some((program, arguments)) = self.site.config.hooks.fetch.split_first() else { return };
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).current_dir(&self.site.config.tree.path).stdin(Stdio::null()).kill_on_drop(true);
        match select(pin!(command.output()), self.clock.sleep(FETCH)).await {
            Either::Left((Ok(output), _)) if output.status.success() => tracing::info!("the tree was fetched"),
            Either::Left((Ok(output), _)) => {
                let said = String::from_utf8_lossy(&output.stderr).chars().take(500).collect::<String>();
                tracing::warn!(status = %output.status, said = plain(&said), "the tree could not be fetched");
            }
            Either::Left((Err(error), _)) => tracing::warn!(%error, "the tree could not be fetched"),
            Either::Right(_) => tracing::warn!("the tree was not fetched in time"),
        }
    }

    /// Sends an event for each image whose files have changed, and have settled.
    async fn compare(&self, unsettled: &mut BTreeMap<ArtifactId, Digest>) -> freshmaker::backend::Result<()> {
        let read = self.live.current();
        unsettled.retain(|image, _| read.revisions.contains_key(image));
        for (image, revision) in &read.revisions {
            let document = self.client().documents().await?.get(SOURCE, image.as_str()).await?;
            let seen = document.as_ref().and_then(|document| Seen::deserialize(&document.body).ok());
            let Some(seen) = seen else {
                // The image is new here: whether the registry has it is found out soon.
                self.is_due.store(true, Ordering::Relaxed);
                self.wakes.registries.notify_one();
                self.saw(image, &Seen { revision: revision.clone(), changes: 0 }, document.as_ref()).await?;
                continue;
            };
            if seen.revision == *revision {
                unsettled.remove(image);
                continue;
            }
            // The files of a commit do not change.
            let is_whole = self.site.config.tree.git.is_some();
            if unsettled.insert(image.clone(), revision.clone()).as_ref() != Some(revision) && !is_whole {
                continue;
            }
            let next = Seen { revision: revision.clone(), changes: seen.changes + 1 };
            let event = SourceChanged { artifact: image.to_string(), revision: Some(revision.to_string()) };
            let identity = format!("tree/{image}@{revision}#{}", next.changes);
            self.client().send_as(identity, &event).await?;
            self.saw(image, &next, document.as_ref()).await?;
            unsettled.remove(image);
        }
        Ok(())
    }

    async fn saw(&self, image: &ArtifactId, seen: &Seen, before: Option<&Document>) -> freshmaker::backend::Result<()> {
        let body = serde_json::to_value(seen).unwrap_or_default();
        let expected = before.map(|before| before.version);
        let document = NewDocument { expected, ..NewDocument::new(SOURCE, image.as_str(), body) };
        self.client().documents().await?.put(document).await.map(drop)
    }
}

/// Returns the images whose tags are asked for: those of the tree, and what they are built from.
pub(crate) fn followed(read: &Read) -> BTreeSet<ImageReference> {
    let images = read.files.graph().artifacts().filter_map(|artifact| artifact.id.as_str().parse().ok());
    images.filter(|image: &ImageReference| image.digest().is_none() && image.registry() != "localhost").collect()
}

fn tell(round: &Round) {
    // What a registry does not have is not asked for in vain: it may have it later.
    for (image, error) in round.failed.iter().filter(|(_, error)| error.remedy != Remedy::NotFound) {
        tracing::warn!(%image, %error, "a registry could not be asked");
    }
    for (image, digest) in &round.changed {
        tracing::info!(%image, %digest, "new content");
    }
    tracing::debug!(unchanged = round.unchanged, first_seen = round.first_seen.len(), "registries were asked");
}

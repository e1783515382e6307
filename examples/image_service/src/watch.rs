//! Polls the registries and the tree for changes, also for those that happened while the service
//! was stopped: each `interval` of `[poll]` (60 seconds in the file that `init` writes, 15 minutes
//! if not set), and at once after a web hook.

mod mend;

use crate::Result;
use crate::entry::plain;
use crate::fix::FixAvailable;
use crate::git::Checkouts;
use crate::hooks::Wakes;
use crate::live::{LiveCatalog, Read};
use crate::machine::Memory;
use crate::quiet::Quiets;
use crate::records::Records;
use crate::site::{SYSTEM, Site};
use crate::sources::Sources;
use freshmaker::artifact::{ArtifactId, Digest, ImageReference};
use freshmaker::backend::{Clock, Document, EventFilter, NewDocument, Paging, Remedy};
use freshmaker::client::Client;
use freshmaker::event::Event;
use freshmaker::handler::{ImagePushed, SourceChanged};
use freshmaker::time::{earlier, since};
use freshmaker_oci::OciClient;
use freshmaker_oci::poll::{Poller, Round};
use futures_util::future::{Either, join, join_all, select};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::pin::pin;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The kind of the documents with the revisions of images that were seen.
const SOURCE: &str = "image-source";
/// Who asks for what nobody else has asked for, and who pauses when there is no space.
pub(crate) const SELF: &str = "image_service";
/// The shortest pause between two looks, whatever is configured.
const PAUSE_MIN: Duration = Duration::from_millis(200);

/// How long the tree may take to be fetched.
pub(crate) const FETCH: Duration = Duration::from_secs(300);
/// About what it is said that the tree cannot be read.
const TREE: &str = "the tree";
/// About what it is said that there are no images.
const IMAGES: &str = "the images";

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
    /// What is said once, and not in every round.
    pub(crate) said: Said,
    /// What is known to be wrong with the tree.
    pub(crate) problems: Mutex<BTreeSet<String>>,
}

impl Watch {
    /// Watches until it is dropped.
    pub(crate) async fn run(&self) {
        join(self.registries(), self.tree()).await;
    }

    fn client(&self) -> &Client {
        self.records.client()
    }

    /// Asks the registries, each in rounds of its own, so that none waits for another one; and
    /// looks at all images when they have answered, or have had the time of a round to.
    async fn registries(&self) {
        let (last, waiting) = (Cell::new(None), RefCell::new(BTreeSet::new()));
        let (mut work, mut asked) = (FuturesUnordered::new(), BTreeSet::new());
        let mut is_looking = false;
        loop {
            for (registry, images) in by_registry(&self.live.current()) {
                if asked.insert(registry.clone()) {
                    work.push(async move { Step::Asked(registry, self.round(images).await) }.boxed_local());
                }
            }
            let sleep = self.clock.sleep(self.site.config.poll.interval.max(PAUSE_MIN));
            let woken = pin!(self.wakes.registries.notified());
            let mut pause = pin!(select(sleep, woken));
            let mut has_looked = is_looking;
            loop {
                if asked.is_empty() && !has_looked {
                    (has_looked, is_looking) = (true, true);
                    work.push(async { self.look(&last, &waiting).await }.boxed_local());
                }
                if work.is_empty() {
                    pause.as_mut().await;
                    break;
                }
                match select(pause.as_mut(), work.next()).await {
                    Either::Left(_) => break,
                    Either::Right((Some(Step::Asked(registry, round)), _)) => {
                        asked.remove(&registry);
                        self.told(&registry, round);
                    }
                    Either::Right(_) => is_looking = false,
                }
            }
            if !has_looked && !is_looking {
                is_looking = true;
                work.push(async { self.look(&last, &waiting).await }.boxed_local());
            }
        }
    }

    /// Looks at what follows from the time, and at all images if it is time to.
    async fn look(&self, last: &Cell<Option<Duration>>, waiting: &RefCell<BTreeSet<ArtifactId>>) -> Step {
        let still = match self.waiting().await {
            Ok(still) => still,
            Err(error) => {
                tracing::warn!(%error, "which images have to wait is not known");
                return Step::Looked;
            }
        };
        let thawed: Vec<_> = waiting.replace(still.clone()).difference(&still).cloned().collect();
        if !thawed.is_empty() {
            // What has changed meanwhile is stale, whatever was tried before.
            self.is_due.store(true, Ordering::Relaxed);
            if let Err(error) = self.forget(&thawed).await {
                tracing::warn!(%error, "what was tried before a freeze is not forgotten");
            }
        }
        if (!thawed.is_empty() || last.get().is_none())
            && let Err(error) = self.fix_thawed().await
        {
            tracing::warn!(%error, "the fixes that a freeze held up are not known");
        }
        if let Err(error) = self.guard_machine().await {
            tracing::warn!(%error, "the free space is not known");
        }
        let now = self.clock.elapsed();
        let is_time = last.get().is_none_or(|last| now >= last + self.site.config.start.interval.duration());
        if is_time || self.is_due.load(Ordering::Relaxed) {
            match self.mend().await {
                Ok(true) => last.set(Some(now)),
                // Messages are under way, and may mend what is wrong.
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the images could not be looked at"),
            }
        }
        Step::Looked
    }

    /// Forgets that images were asked for.
    async fn forget(&self, images: &[ArtifactId]) -> freshmaker::backend::Result<()> {
        for image in images {
            self.client().documents().await?.remove(mend::KIND, image.as_str()).await?;
        }
        Ok(())
    }

    /// Logs what a round has found.
    fn told(&self, registry: &str, round: freshmaker::backend::Result<Round>) {
        let round = match round {
            Ok(round) => round,
            Err(error) => return tracing::warn!(%error, registry, "a round over the registries failed"),
        };
        if !round.first_seen.is_empty() {
            // What was missing before may have failed because of it.
            self.is_due.store(true, Ordering::Relaxed);
        }
        // What a registry does not have is not asked for in vain: it may have it later.
        let failed = round.failed.iter().filter(|(_, error)| error.remedy != Remedy::NotFound);
        let failed: BTreeMap<String, String> =
            failed.map(|(image, error)| (image.to_string(), error.to_string())).collect();
        let is_skipped = |key: &str| round.skipped.iter().any(|image| image.to_string() == key);
        let start = format!("{registry}/");
        self.said.forget(|key| key.starts_with(&start) && !failed.contains_key(key) && !is_skipped(key));
        for (image, error) in &failed {
            if self.said.is_new(image, error) {
                tracing::warn!(image, error, "a registry could not be asked");
            }
        }
        for (image, digest) in &round.changed {
            tracing::info!(%image, %digest, "new content");
        }
        tracing::debug!(
            registry,
            unchanged = round.unchanged,
            first_seen = round.first_seen.len(),
            "a registry was asked"
        );
    }

    /// Returns the images of the tree that are frozen now.
    fn frozen(&self) -> BTreeSet<ArtifactId> {
        let (read, now) = (self.live.current(), self.clock.now());
        let images = read.revisions.keys();
        images.filter(|image| self.site.config.freeze.iter().any(|freeze| freeze.holds(image, now))).cloned().collect()
    }

    /// Returns the images of the tree that are not to be rebuilt now without being asked for: those
    /// that are frozen or held, and those whose bases have changed within their quiet period.
    async fn waiting(&self) -> freshmaker::backend::Result<BTreeSet<ArtifactId>> {
        let mut waiting = self.frozen();
        waiting.extend(self.records.holds().await?.into_keys().map(ArtifactId::new));
        let (quiets, now) = (Quiets::of(&self.site.config), self.clock.now());
        let Some(longest) = quiets.longest_of_groups() else { return Ok(waiting) };
        let mut changed = BTreeMap::new();
        let kinds = vec![ImagePushed::KIND.to_owned()];
        let filter = EventFilter { kinds, created_from: Some(earlier(now, longest)), ..EventFilter::default() };
        let page = |paging| self.client().events(filter.clone(), paging);
        // The newest are the first.
        for event in Paging::first(Paging::LIMIT_MAX).collect(usize::MAX, page).await?.items {
            changed.entry(event.envelope.search_key.to_string()).or_insert(event.created_at);
        }
        let read = self.live.current();
        let graph = read.files.graph();
        for (image, at) in changed {
            // The tree may not use it any more.
            let Some(image) = read.files.canonical(&ArtifactId::new(image)) else { continue };
            let dependents = graph.dependents(std::slice::from_ref(image)).into_iter().filter(|built| built != image);
            waiting.extend(dependents.filter(|built| quiets.period(built) > since(now, at)));
        }
        Ok(waiting)
    }

    /// Asks again for the fixes that a freeze has held up, of images that are not frozen any more:
    /// no look at the image would find out that it lacks one.
    async fn fix_thawed(&self) -> Result<()> {
        let (frozen, read) = (self.frozen(), self.live.current());
        let kinds = vec![FixAvailable::KIND.to_owned()];
        let filter = EventFilter { kinds, ..EventFilter::default() };
        for event in self.client().events(filter, Paging::first(Paging::LIMIT_MAX)).await?.items {
            let Some(plan) = self.client().plan(event.id).await? else { continue };
            let Ok(fix) = event.envelope.open::<FixAvailable>() else { continue };
            for image in &fix.images {
                let Some(id) = read.files.canonical(&ArtifactId::new(image.as_str())) else { continue };
                let is_held_up = plan.excluded(id).is_some_and(|reason| reason.code == "frozen");
                if is_held_up && !frozen.contains(id) {
                    let again = FixAvailable { images: vec![image.clone()], ..fix.clone() };
                    // Once for each event: what is stored already is not stored again.
                    self.client().send_as(format!("thawed/{}/{image}", event.id), &again).await?;
                }
            }
        }
        Ok(())
    }

    async fn round(&self, images: BTreeSet<ImageReference>) -> freshmaker::backend::Result<Round> {
        let poller = Poller::new(self.registries.clone(), self.client().clone(), images, self.site.config.poll.clone());
        poller.with_clock(Arc::clone(&self.clock), fastrand::Rng::new()).round().await
    }

    /// Returns what there is too little of for another build, as a sentence.
    fn shortage(&self) -> Result<Option<String>> {
        let (state, build) = (&self.site.config.state, &self.site.config.build);
        let free = rustix::fs::statvfs(state)?;
        let (free_mib, wanted) = (free.f_bavail.saturating_mul(free.f_frsize) >> 20, build.free_mib);
        if free_mib < wanted {
            let state = state.display();
            return Ok(Some(format!("only {free_mib} MiB are free in {state}, and {wanted} are wanted")));
        }
        let wanted = build.free_memory_mib;
        let memory = Memory::now().map(|memory| memory.available).filter(|available| *available < wanted);
        Ok(memory.map(|memory| format!("only {memory} MiB of memory are available, and {wanted} are wanted")))
    }

    /// Pauses the builds while there is too little space or memory, and ends the pause that it
    /// made.
    async fn guard_machine(&self) -> Result<()> {
        let shortage = self.shortage()?;
        let pauses = self.client().pauses().await?;
        let paused = pauses.iter().find(|pause| pause.system == SYSTEM);
        match (paused, shortage) {
            (None, Some(reason)) => {
                tracing::warn!(reason, "no builds are started");
                self.client().pause(SYSTEM, &reason, SELF).await?;
            }
            (Some(pause), None) if pause.by == SELF => self.client().resume(SYSTEM).await?,
            _ => {}
        }
        Ok(())
    }

    async fn tree(&self) {
        let mut sources = Sources::default();
        let mut unsettled = BTreeMap::new();
        let mut repositories: Vec<_> =
            self.site.checkouts().into_iter().map(|checkouts| (checkouts, Fetches::default())).collect();
        let interval = self.site.config.trees.iter().map(|tree| tree.interval.duration()).min();
        let interval = interval.unwrap_or_default().max(PAUSE_MIN);
        loop {
            join_all(repositories.iter_mut().map(|(checkouts, fetches)| self.fetch_commit(checkouts, fetches))).await;
            let site = Arc::clone(&self.site);
            let reading = tokio::task::spawn_blocking(move || {
                let read = sources.read(&site).map_err(|error| error.to_string());
                (sources, read)
            });
            sources = match reading.await {
                Ok((sources, Ok(read))) => {
                    self.said.forget(|about| about == TREE || about == IMAGES && !read.revisions.is_empty());
                    self.tell_problems(&read.problems);
                    if read.revisions.is_empty() && self.said.is_new(IMAGES, "none") {
                        tracing::warn!("the tree has no images: nothing is kept fresh");
                    }
                    self.live.replace(read);
                    if let Err(error) = self.compare(&mut unsettled).await {
                        tracing::warn!(%error, "changes of the tree could not be stored");
                    }
                    sources
                }
                Ok((sources, Err(error))) => {
                    if self.said.is_new(TREE, &error) {
                        tracing::warn!(error = plain(&error), "the tree cannot be read; what was read last counts");
                    }
                    sources
                }
                Err(error) => {
                    tracing::warn!(%error, "the tree cannot be read; what was read last counts");
                    Sources::default()
                }
            };
            let pause = self.clock.sleep(interval);
            if let Either::Right(_) = select(pause, pin!(self.wakes.tree.notified())).await {
                repositories.iter_mut().for_each(|(_, fetches)| fetches.next = None);
                join_all(self.site.config.trees.iter().map(|tree| self.fetch(&tree.path))).await;
            }
        }
    }

    /// Logs what was not wrong with the tree before.
    fn tell_problems(&self, problems: &BTreeSet<String>) {
        let mut known = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        for problem in problems.difference(&known) {
            tracing::warn!(problem = plain(problem), "something is wrong with the tree");
        }
        known.clone_from(problems);
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
        fetches.next = Some(self.clock.elapsed() + checkouts.interval().max(PAUSE_MIN));
        let url = checkouts.url();
        match fetched {
            Ok(commit) => {
                if let Some(commit) = commit {
                    tracing::info!(url, commit, "the tree was fetched");
                } else if fetches.error.is_some() {
                    tracing::info!(url, "the tree can be fetched again");
                }
                fetches.error = None;
            }
            Err(error) if fetches.error.as_ref() != Some(&error) => {
                tracing::warn!(url, error, "the tree cannot be fetched; the last commit counts");
                fetches.error = Some(error);
            }
            Err(_) => {}
        }
    }

    /// Runs what brings the tree up to date. If that fails, the tree stays as it is.
    async fn fetch(&self, tree: &Path) {
        let Some((program, arguments)) = self.site.config.hooks.fetch.split_first() else { return };
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).current_dir(tree).stdin(Stdio::null()).kill_on_drop(true);
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
            let source = read.files.graph().get(image).and_then(|artifact| artifact.source.as_ref());
            let is_whole = source.is_some_and(|source| self.site.is_of_commit(Path::new(&source.location)));
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

/// Returns the same, by registry.
fn by_registry(read: &Read) -> BTreeMap<String, BTreeSet<ImageReference>> {
    let mut found = BTreeMap::<String, BTreeSet<ImageReference>>::new();
    for image in followed(read) {
        found.entry(image.registry().to_owned()).or_default().insert(image);
    }
    found
}

/// What has come to its end while registries are asked.
enum Step {
    /// A round over one registry.
    Asked(String, freshmaker::backend::Result<Round>),
    /// The look at all images.
    Looked,
}

/// What was said last about each thing, so that it is not said again and again.
#[derive(Debug, Default)]
pub(crate) struct Said(Mutex<BTreeMap<String, String>>);

impl Said {
    /// Whether something else was said about this, or nothing.
    fn is_new(&self, about: &str, text: &str) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(about.to_owned(), text.to_owned()).is_none_or(|before| before != text)
    }

    fn forget(&self, is_over: impl Fn(&str) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|about, _| !is_over(about));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_change_is_said_once() {
        let said = Said::default();
        assert!(said.is_new("r.example.org/app", "no route") && !said.is_new("r.example.org/app", "no route"));
        assert!(said.is_new("r.example.org/app", "no such host") && said.is_new("other.example.org/app", "no route"));
        said.forget(|about| about.starts_with("r."));
        assert!(said.is_new("r.example.org/app", "no such host") && !said.is_new("other.example.org/app", "no route"));
    }
}

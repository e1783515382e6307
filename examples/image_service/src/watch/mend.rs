//! Asks for what is missing or stale although nothing has happened.

use super::{SELF, Watch};
use crate::Result;
use crate::ask::open_builds;
use crate::condition::{Condition, Look, Standing};
use crate::config::Mend;
use crate::tree::Recipes;
use freshmaker::artifact::{ArtifactId, ImageReference};
use freshmaker::backend::NewDocument;
use freshmaker::handler::RebuildRequested;
use freshmaker_oci::Snapshot;
use freshmaker_oci::poll::last_seen;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// The kind of the documents with what was asked for because it was missing or stale.
pub(super) const KIND: &str = "image-mend";
/// How many images can be missing or stale at once.
const IMAGES_MAX: u32 = 10_000;
/// A day in seconds.
const DAY: i64 = 86_400;

impl Watch {
    /// Asks for what is missing or stale although nothing has happened; returns whether it could
    /// look.
    pub(super) async fn mend(&self) -> Result<bool> {
        if self.client().overview().await?.messages_waiting != 0 {
            return Ok(false);
        }
        self.is_due.store(false, Ordering::Relaxed);
        // Before the look: what ends meanwhile may mend what is seen.
        let mut open = open_builds(self.client()).await?;
        let trees = self.site.trees()?;
        let recipes = tokio::task::spawn_blocking(move || Recipes::of_trees(&trees).map_err(|error| error.to_string()));
        let recipes = recipes.await??;
        let (read, snapshot) = (self.live.current(), self.registries.snapshot());
        let revisions = &read.revisions;
        let look = Look { recipes: &recipes, revisions, records: &self.records, snapshot: &snapshot };
        let conditions = look.all().await;
        let held = self.records.holds().await?;
        let start = &self.site.config.start;
        let wrong: Vec<&Condition> = conditions
            .iter()
            .filter(|condition| match condition.standing {
                Standing::Missing => start.missing == Mend::Rebuild,
                Standing::Stale => start.stale == Mend::Rebuild,
                _ => false,
            })
            .filter(|condition| !held.contains_key(condition.image.as_str()))
            .collect();
        self.tell_unknown(&conditions, &recipes);
        let Some(wrong) = self.ripe(wrong, &recipes, &snapshot).await? else { return Ok(false) };
        // What was planned during the look was seen as it was before.
        open.extend(open_builds(self.client()).await?);
        self.forget_right(&wrong).await?;
        // What is built already, or waits to be, is looked at when that has ended.
        let (busy, idle): (Vec<_>, Vec<_>) =
            wrong.into_iter().partition(|condition| open.contains_key(&condition.image));
        if !busy.is_empty() {
            self.is_due.store(true, Ordering::Relaxed);
        }
        let (artifacts, remembered): (Vec<_>, Vec<_>) = self.unasked(&idle, &recipes).await?.into_iter().unzip();
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

    /// Leaves out what has to wait, and what is built on a base whose new content no poll has told
    /// of: that may have to wait too. `None` if messages are under way, which may mend what is
    /// wrong.
    ///
    /// *Invariant:* the message about a base is stored before what was seen of it, so that no
    /// message is missed that is counted after what was seen was read.
    async fn ripe<'c>(
        &self,
        wrong: Vec<&'c Condition>,
        recipes: &Recipes,
        snapshot: &Snapshot,
    ) -> freshmaker::backend::Result<Option<Vec<&'c Condition>>> {
        let mut told = Vec::new();
        for condition in wrong {
            if self.is_told(&condition.image, recipes, snapshot).await? {
                told.push(condition);
            }
        }
        if self.client().overview().await?.messages_waiting != 0 {
            self.is_due.store(true, Ordering::Relaxed);
            return Ok(None);
        }
        let waiting = self.waiting().await?;
        told.retain(|condition| !waiting.contains(&condition.image));
        Ok(Some(told))
    }

    /// Whether polls have told what the parents of an image are now.
    async fn is_told(
        &self,
        image: &ArtifactId,
        recipes: &Recipes,
        snapshot: &Snapshot,
    ) -> freshmaker::backend::Result<bool> {
        let recipe = image.as_str().parse().ok().and_then(|image| recipes.of(&image));
        for parent in recipe.iter().flat_map(|recipe| &recipe.parents) {
            let Some(seen) = last_seen(self.client(), &parent.image).await? else { continue };
            if snapshot.head(&parent.image).await.is_ok_and(|now| now != seen) {
                self.is_due.store(true, Ordering::Relaxed);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Logs which images cannot be judged, and has them looked at again soon.
    fn tell_unknown(&self, conditions: &[Condition], recipes: &Recipes) {
        // Those of cycles are reported as problems of the tree.
        let is_unknown =
            |condition: &&Condition| condition.standing == Standing::Error && recipes.cycle(&condition.image).is_none();
        let of = |image: &ArtifactId| format!("state of {image}");
        let unknown: BTreeMap<_, _> = conditions
            .iter()
            .filter(is_unknown)
            .map(|condition| (of(&condition.image), condition.because.join("; ")))
            .collect();
        self.said.forget(|key| key.starts_with("state of ") && !unknown.contains_key(key));
        let mut alike = BTreeMap::<String, Vec<&Condition>>::new();
        for condition in conditions.iter().filter(is_unknown) {
            let why = condition.because.join("; ");
            if self.said.is_new(&of(&condition.image), &why) {
                alike.entry(apart_from(&condition.image, &why)).or_default().push(condition);
            }
            self.is_due.store(true, Ordering::Relaxed);
        }
        for images in alike.values() {
            let why = images[0].because.join("; ");
            tracing::warn!(image = %images[0].image, images = images.len(), why, "the state of images is not known");
        }
    }

    /// Forgets that images were asked for that are not wrong any more.
    async fn forget_right(&self, wrong: &[&Condition]) -> freshmaker::backend::Result<()> {
        let documents = self.client().documents().await?;
        for document in documents.list(KIND, None, IMAGES_MAX).await? {
            if !wrong.iter().any(|condition| condition.image.as_str() == document.id) {
                documents.remove(KIND, &document.id).await?;
            }
        }
        Ok(())
    }

    /// Leaves out what was asked for today in the same condition, whose parents are what they were
    /// then, and of which nothing was published since: what a build did not mend, the next one will
    /// hardly. Returns the images with what is to be remembered of each.
    async fn unasked(
        &self,
        wrong: &[&Condition],
        recipes: &Recipes,
    ) -> freshmaker::backend::Result<Vec<(String, NewDocument)>> {
        let documents = self.client().documents().await?;
        let (today, read) = (self.clock.now().timestamp() / DAY, self.live.current());
        let mut unasked = Vec::new();
        for condition in wrong {
            let id = condition.image.as_str();
            let attempt = self.records.of(&condition.image).await?.map(|record| record.attempt);
            let revision = read.revisions.get(&condition.image);
            let recipe = id.parse().ok().and_then(|image| recipes.of(&image));
            let mut parents = BTreeMap::new();
            for parent in recipe.iter().flat_map(|recipe| &recipe.parents) {
                parents.insert(parent.image.to_string(), last_seen(self.client(), &parent.image).await?);
            }
            let body = json!({ "day": today, "because": condition.because, "revision": revision, "attempt": attempt,
                "parents": parents });
            let before = documents.get(KIND, id).await?;
            if before.as_ref().is_none_or(|before| before.body != body) {
                let expected = before.map(|before| before.version);
                let document = NewDocument { expected, ..NewDocument::new(KIND, id, body) };
                unasked.push((id.to_owned(), document));
            }
        }
        Ok(unasked)
    }
}

/// Returns what is said of an image without its name, so that what a registry fails at is said once
/// and not for each image.
fn apart_from(image: &ArtifactId, why: &str) -> String {
    let repository = image.as_str().parse::<ImageReference>().map(|image| image.repository().to_owned());
    repository.map_or_else(|_| why.to_owned(), |repository| why.replace(&repository, "…"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_fails_at_is_the_same_for_all_its_images() {
        let why = |name: &str| format!("oci: HEAD r.example.org/v2/team/{name}/manifests/1: no route");
        let of = |name: &str| apart_from(&format!("r.example.org/team/{name}:1").as_str().into(), &why(name));
        assert_eq!(of("app"), of("web"));
        assert_ne!(of("app"), apart_from(&"r.example.org/team/app:1".into(), "its index is broken"));
    }
}

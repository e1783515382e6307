//! The handlers: which images are rebuilt because of which event.

use crate::fix::FixAvailable;
use crate::freeze::Freeze;
use crate::quiet::Quiets;
use crate::records::{Hold, Records};
use crate::tree::from_each_other;
use async_trait::async_trait;
use freshmaker::artifact::{ArtifactId, Digest};
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker::engine::EngineBuilder;
use freshmaker::handler::{Context, Decision, Handler, HandlerResult, ImagePushed, RebuildRequested, SourceChanged};
use freshmaker::plan::Planner;
use freshmaker::time::since;
use freshmaker::{ArtifactGraph, Reason, RebuildReason};
use freshmaker_oci::OciClient;
use freshmaker_oci::poll::last_seen;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Registers the handlers.
///
/// A base is waited for until it has been the same for the shortest of the quiet periods of what is
/// built on it. Images with a longer one are left out, and are found to be stale when it is over.
///
/// What a base is now is asked of the registries, if an event does not say it and they are given.
pub(crate) fn on(
    builder: EngineBuilder,
    records: &Records,
    registries: Option<OciClient>,
    freezes: &[Freeze],
    quiets: Quiets,
) -> EngineBuilder {
    let handlers = Handlers { records: records.clone(), registries, freezes: freezes.into(), quiets };
    builder
        .on_as::<ImagePushed, _>("image-pushed", handlers.clone())
        .on_as::<SourceChanged, _>("source-changed", handlers.clone())
        .on_as::<FixAvailable, _>("fix-available", handlers.clone())
        .on_as::<RebuildRequested, _>("rebuild-requested", handlers)
}

#[derive(Clone, Debug)]
struct Handlers {
    records: Records,
    registries: Option<OciClient>,
    freezes: Arc<[Freeze]>,
    quiets: Quiets,
}

impl Handlers {
    /// Returns a planner that leaves out what is held or frozen, and what is built from itself. All
    /// of it is found to be stale when that ends.
    async fn planner<'g>(&self, graph: &'g ArtifactGraph, cx: &Context) -> Result<Planner<'g>> {
        let mut planner = cx.planner(graph).await?;
        for (image, Hold { reason, by }) in self.records.holds().await? {
            let text = format!("{by} holds it: {reason}; `image_service release {image}` ends that");
            planner = planner.exclude(image, Reason::new("held", text));
        }
        for artifact in graph.artifacts().filter(|artifact| artifact.buildable()) {
            if let Some(freeze) = self.freezes.iter().find(|freeze| freeze.holds(&artifact.id, cx.now())) {
                planner = planner.exclude(artifact.id.clone(), Reason::new("frozen", freeze.because.clone()));
            }
        }
        for cycle in graph.cycles() {
            let why = Reason::new("cycle", from_each_other(&cycle));
            for member in cycle.members() {
                planner = planner.exclude(member.clone(), why.clone());
            }
        }
        Ok(planner)
    }

    /// Returns what an event says a base is now; if it does not, what its registry says.
    async fn digest(&self, event: &ImagePushed) -> Result<Option<Digest>> {
        let (None, Some(registries), Ok(image)) = (&event.digest, &self.registries, event.image.parse()) else {
            return Ok(event.digest.clone());
        };
        match registries.head(&image).await {
            Ok(digest) => Ok(Some(digest)),
            Err(error) if error.remedy == Remedy::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Says why an event about a base is skipped: because a later one follows.
    ///
    /// # Errors
    /// The event has to wait.
    async fn settled(&self, event: &ImagePushed, graph: &ArtifactGraph, cx: &Context) -> Result<Option<String>> {
        let quiet = self.periods(graph, event).map(|(_, period)| period).min().unwrap_or_default();
        if quiet.is_zero() {
            return Ok(None);
        }
        if since(cx.now(), cx.received().at) < quiet {
            let text = format!("it waits until {} has been the same for {} s", event.image, quiet.as_secs_f64());
            return Err(Error::new(Remedy::NotNow, "the quiet period", text));
        }
        let Ok(image) = event.image.parse() else { return Ok(None) };
        let seen = last_seen(self.records.client(), &image).await?;
        let is_past = seen.is_some() && event.digest.is_some() && seen != event.digest;
        Ok(is_past.then(|| "it has changed again since then".to_owned()))
    }

    /// Returns the images that are built on what an event is about, with their quiet periods.
    fn periods<'g>(
        &self,
        graph: &'g ArtifactGraph,
        event: &ImagePushed,
    ) -> impl Iterator<Item = (&'g ArtifactId, Duration)> {
        let about = graph.canonical(&ArtifactId::new(event.image.as_str()));
        let built = graph.artifacts().filter(move |artifact| artifact.buildable() && Some(&artifact.id) != about);
        built.map(|artifact| (&artifact.id, self.quiets.period(&artifact.id)))
    }

    /// Returns the images that were published after they were built on this content of a base, and
    /// those that were built on these, with the content that they have now: an event that tells of
    /// the base once more rebuilds none of them, but what is built on them if that has failed.
    async fn up_to_date(
        &self,
        graph: &ArtifactGraph,
        base: &ArtifactId,
        digest: Option<&Digest>,
    ) -> Result<BTreeMap<ArtifactId, Option<Digest>>> {
        let mut found = BTreeMap::new();
        let mut next = vec![(base.clone(), digest.cloned())];
        while let Some((parent, digest)) = next.pop() {
            for child in self.built_on(graph, &parent, digest.as_ref()).await? {
                let now = graph.get(&child).and_then(|artifact| artifact.digest.clone());
                if found.insert(child.clone(), now.clone()).is_none() {
                    next.push((child, now));
                }
            }
        }
        Ok(found)
    }

    /// Returns the images that were published after they were built on this content of a parent.
    async fn built_on(
        &self,
        graph: &ArtifactGraph,
        parent: &ArtifactId,
        digest: Option<&Digest>,
    ) -> Result<Vec<ArtifactId>> {
        let mut found = Vec::new();
        let parent = graph.canonical(parent).unwrap_or(parent);
        for (child, _) in graph.children(parent) {
            let Some(artifact) = graph.get(child) else { continue };
            let Some(record) = self.records.of(child).await? else { continue };
            let revision = artifact.source.as_ref().and_then(|source| source.revision.as_ref());
            let is_built = digest.is_some() && record.parents.get(parent.as_str()) == digest;
            if is_built && artifact.digest.as_ref() == Some(&record.digest) && record.revision.as_ref() == revision {
                found.push(child.clone());
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl Handler<ImagePushed> for Handlers {
    async fn handle(&self, event: ImagePushed, cx: Context) -> HandlerResult {
        let image = ArtifactId::new(event.image.as_str());
        let graph = cx.catalog().dependents(std::slice::from_ref(&image)).await?;
        if let Some(why) = self.settled(&event, &graph, &cx).await? {
            return Ok(Decision::Skip(why));
        }
        let digest = self.digest(&event).await?;
        let own = graph.get(&image).filter(|artifact| artifact.buildable());
        if let (Some(own), Some(digest)) = (own, &digest) {
            let record = self.records.of(&own.id).await?;
            if record.is_some_and(|record| record.knows(digest)) {
                return Ok(Decision::Skip("this service has published it, and its plan has what follows".to_owned()));
            }
        }
        let mut planner = self.planner(&graph, &cx).await?;
        let passed = since(cx.now(), cx.received().at);
        for (child, period) in self.periods(&graph, &event).filter(|(_, period)| *period > passed) {
            let text = format!("it waits until {} has been the same for {} s", event.image, period.as_secs_f64());
            planner = planner.exclude(child.clone(), Reason::new("quiet", text));
        }
        for (child, now) in self.up_to_date(&graph, &image, digest.as_ref()).await? {
            let text = "it was built on exactly this content, from the same files".to_owned();
            planner = planner.exclude(child.clone(), Reason::new("built_on_it", text)).changed(child, now);
        }
        Ok(Decision::Rebuild(planner.changed(image, digest).plan()?))
    }
}

#[async_trait]
impl Handler<SourceChanged> for Handlers {
    async fn handle(&self, event: SourceChanged, cx: Context) -> HandlerResult {
        let id = ArtifactId::new(event.artifact);
        let why = Reason::new("source_changed", "its files have changed");
        // The revision is the one that the catalog knows: what is in the directory is built.
        let graph = cx.catalog().dependents(std::slice::from_ref(&id)).await?;
        Ok(Decision::Rebuild(
            self.planner(&graph, &cx).await?.rebuild_as(id, RebuildReason::DirectlyAffected, why).plan()?,
        ))
    }
}

#[async_trait]
impl Handler<FixAvailable> for Handlers {
    async fn handle(&self, event: FixAvailable, cx: Context) -> HandlerResult {
        let images: Vec<_> = event.images.into_iter().map(ArtifactId::new).collect();
        if images.is_empty() {
            return Ok(Decision::Skip(format!("{} names no image", event.advisory)));
        }
        let graph = cx.catalog().dependents(&images).await?;
        let why = Reason::new("fix", format!("{} is fixed, and it contains what that is about", event.advisory));
        let planner = images.into_iter().fold(self.planner(&graph, &cx).await?, |planner, image| {
            planner.rebuild_as(image, RebuildReason::DirectlyAffected, why.clone())
        });
        Ok(Decision::Rebuild(planner.plan()?))
    }
}

#[async_trait]
impl Handler<RebuildRequested> for Handlers {
    async fn handle(&self, event: RebuildRequested, cx: Context) -> HandlerResult {
        let artifacts: Vec<_> = event.artifacts.into_iter().map(ArtifactId::new).collect();
        if artifacts.is_empty() {
            return Ok(Decision::Skip("the request names no image".to_owned()));
        }
        let graph = cx.catalog().dependents(&artifacts).await?;
        let planner = self.planner(&graph, &cx).await?.facts(cx.facts().with("manual", "true"));
        let planner = artifacts.into_iter().fold(planner, Planner::rebuild);
        let planner = if event.dependents { planner } else { planner.without_dependents() };
        Ok(Decision::Rebuild(planner.plan()?))
    }
}

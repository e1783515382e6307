use super::{Context, Decision, HandlerResult};
use crate::artifact::{ArtifactId, Digest};
use crate::event::Event;
use crate::plan::RebuildReason;
use crate::reason::Reason;
use serde::{Deserialize, Serialize};

/// Says that an image has new content, because it was pushed to a registry.
///
/// Its kind is `image.pushed`, and its JSON form `{"image": "debian:12", "digest": "sha256:…"}`.
/// Unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagePushed {
    /// The image, in any form that the catalog understands, for example `debian:12`.
    pub image: String,
    /// The digest of the new content; `None` (the default) if the sender does not know it.
    #[serde(default)]
    pub digest: Option<Digest>,
}

impl Event for ImagePushed {
    const KIND: &'static str = "image.pushed";

    fn search_key(&self) -> Option<String> {
        Some(self.image.clone())
    }
}

/// Says that the recipe of an artifact has changed.
///
/// Its kind is `source.changed`, and its JSON form `{"artifact": "app", "revision": "4f2c"}`.
/// Unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceChanged {
    /// The artifact, in any form that the catalog understands.
    pub artifact: String,
    /// The new revision; `None` (the default) if the sender does not know it.
    #[serde(default)]
    pub revision: Option<String>,
}

impl Event for SourceChanged {
    const KIND: &'static str = "source.changed";

    fn search_key(&self) -> Option<String> {
        Some(match &self.revision {
            Some(revision) => format!("{}?#{revision}", self.artifact),
            None => self.artifact.clone(),
        })
    }
}

/// Handles [`ImagePushed`]: rebuilds all artifacts that depend on the image, but not the image
/// itself.
///
/// If no artifact depends on the image, the event is skipped with the code `nothing_to_rebuild`.
///
/// # Errors
/// The errors of the catalog, such as an image that no catalog knows; the errors of the storage;
/// and [`PlanError`](crate::plan::PlanError).
pub async fn rebuild_dependents(event: ImagePushed, cx: Context) -> HandlerResult {
    let image = ArtifactId::new(event.image);
    let graph = cx.catalog().dependents(std::slice::from_ref(&image)).await?;
    Ok(Decision::Rebuild(cx.planner(&graph).await?.changed(image, event.digest).plan()?))
}

/// Handles [`SourceChanged`]: rebuilds the artifact and all artifacts that depend on it.
///
/// The build uses the revision of the event, or that of the catalog if the event has none.
///
/// # Errors
/// The errors of the catalog, such as an artifact that no catalog knows; the errors of the storage;
/// and [`PlanError`](crate::plan::PlanError).
pub async fn rebuild_artifact(event: SourceChanged, cx: Context) -> HandlerResult {
    let id = ArtifactId::new(event.artifact);
    let why = Reason::new("source_changed", "its source has changed");
    let mut graph = cx.catalog().dependents(std::slice::from_ref(&id)).await?;
    if let (Some(revision), Some(mut artifact)) = (event.revision, graph.get(&id).cloned()) {
        if let Some(source) = &mut artifact.source {
            source.revision = Some(revision);
        }
        graph.insert(artifact);
    }
    Ok(Decision::Rebuild(cx.planner(&graph).await?.rebuild_as(id, RebuildReason::DirectlyAffected, why).plan()?))
}

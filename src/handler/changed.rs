use super::{Context, Decision, HandlerResult};
use crate::artifact::{ArtifactId, Digest};
use crate::event::Event;
use serde::{Deserialize, Serialize};

/// An image has new content: somebody pushed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagePushed {
    /// The image, as people write it.
    pub image: String,
    /// Its new content, if the sender knows.
    #[serde(default)]
    pub digest: Option<Digest>,
}

impl Event for ImagePushed {
    const KIND: &'static str = "image.pushed";

    fn search_key(&self) -> Option<String> {
        Some(self.image.clone())
    }
}

/// The recipe of an artifact has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceChanged {
    /// The artifact, as people write it.
    pub artifact: String,
    /// The new revision, if the sender knows.
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

/// Rebuilds everything that depends on the image.
///
/// # Errors
/// Those of the catalog, and [`PlanError`](crate::plan::PlanError).
pub async fn rebuild_dependents(event: ImagePushed, cx: Context) -> HandlerResult {
    let image = ArtifactId::new(event.image);
    let graph = cx.catalog().dependents(std::slice::from_ref(&image)).await?;
    Ok(Decision::Rebuild(cx.planner(&graph).await?.changed(image, event.digest).plan()?))
}

/// Rebuilds the artifact, at its new revision, and everything that depends on it.
///
/// # Errors
/// Those of the catalog, and [`PlanError`](crate::plan::PlanError).
pub async fn rebuild_artifact(event: SourceChanged, cx: Context) -> HandlerResult {
    let id = ArtifactId::new(event.artifact);
    let mut graph = cx.catalog().dependents(std::slice::from_ref(&id)).await?;
    if let (Some(revision), Some(mut artifact)) = (event.revision, graph.get(&id).cloned()) {
        if let Some(source) = &mut artifact.source {
            source.revision = Some(revision);
        }
        graph.insert(artifact);
    }
    Ok(Decision::Rebuild(cx.planner(&graph).await?.rebuild(id).plan()?))
}

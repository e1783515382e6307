use super::{AffectedImages, Wanted};
use crate::contracts::Advisory;
use crate::messages::errata::AdvisoryStatusChanged;
use async_trait::async_trait;
use freshmaker::handler::{Context, Decision, Handler, HandlerResult};

/// The status of an advisory whose packages are available to everyone.
pub(super) const SHIPPED: &str = "SHIPPED_LIVE";

/// Rebuilds the container images that a shipped advisory affects, see [`AffectedImages`].
///
/// The message can be early or late: the advisory counts as `SHIPPED_LIVE`, whatever the Errata
/// Tool says by now.
///
/// ```
/// use freshmaker::Engine;
/// use freshmaker_redhat::handlers::{self, AffectedImages, RebuildImagesOfAdvisory};
/// use freshmaker_redhat::image::ImageSearch;
/// use freshmaker_redhat::contracts::{Advisories, ContentSets, Images, Recipes};
/// use freshmaker_redhat::messages;
/// use std::sync::Arc;
///
/// fn wire(
///     advisories: Arc<dyn Advisories>,
///     content_sets: Arc<dyn ContentSets>,
///     images: Arc<dyn Images>,
///     recipes: Arc<dyn Recipes>,
/// ) -> freshmaker::engine::EngineBuilder {
///     let search = ImageSearch::new(images, recipes);
///     let affected = AffectedImages::new(advisories, content_sets, search);
///     Engine::builder()
///         .parsers(messages::parsers(["VirtualTopic.eng"]))
///         .facts(handlers::FACTS)
///         .on(RebuildImagesOfAdvisory(affected))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RebuildImagesOfAdvisory(pub AffectedImages);

#[async_trait]
impl Handler<AdvisoryStatusChanged> for RebuildImagesOfAdvisory {
    async fn handle(&self, event: AdvisoryStatusChanged, cx: Context) -> HandlerResult {
        if event.to != SHIPPED {
            return Ok(Decision::Ignore);
        }
        let advisory = self.0.advisory(u64::try_from(event.errata_id)?).await?;
        let advisory = Advisory { state: event.to, ..advisory };
        self.0.decide(&advisory, &Wanted::default(), cx.facts(), &cx).await
    }
}

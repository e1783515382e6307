use crate::image::ImageSearch;
use crate::lookup::{Advisories, Advisory, ContentSets};
use crate::messages::errata::AdvisoryStatusChanged;
use async_trait::async_trait;
use freshmaker::handler::{Context, Decision, Handler, HandlerResult};
use std::sync::Arc;

/// The status of an advisory whose packages are available to everyone.
const SHIPPED: &str = "SHIPPED_LIVE";

/// Rebuilds the container images that contain a package which an advisory fixes.
///
/// * Only advisories that ship packages or modules count. The message can be late: what counts is
///   that it says `SHIPPED_LIVE`.
/// * The fixed packages are those that the CVEs of the advisory affect, or all of its packages. An
///   image must contain an older one, from a content set that the advisory ships to.
/// * The policy judges the advisory first; if it blocks all images, nothing is looked up. Then it
///   judges each affected image. An image that is only rebuilt as a parent is not judged, because
///   what is built on it would keep the unfixed package.
/// * Images are rebuilt from their base up. Why one is rebuilt or left out is said by the codes of
///   [`image`](crate::image).
/// * The fixed packages that replace an installed one are
///   [demands](freshmaker::plan::Planner::demand) on the rebuilt image.
///
/// ```
/// use freshmaker::Engine;
/// use freshmaker_redhat::handlers::{self, RebuildImagesOfAdvisory};
/// use freshmaker_redhat::image::ImageSearch;
/// use freshmaker_redhat::lookup::{Advisories, ContentSets, Images, Recipes};
/// use freshmaker_redhat::messages;
/// use std::sync::Arc;
///
/// fn wire(
///     advisories: Arc<dyn Advisories>,
///     content_sets: Arc<dyn ContentSets>,
///     images: Arc<dyn Images>,
///     recipes: Arc<dyn Recipes>,
/// ) -> freshmaker::EngineBuilder {
///     let search = ImageSearch::new(images, recipes);
///     Engine::builder()
///         .parsers(messages::parsers(["VirtualTopic.eng"]))
///         .facts(handlers::FACTS)
///         .on(RebuildImagesOfAdvisory::new(advisories, content_sets, search))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RebuildImagesOfAdvisory {
    advisories: Arc<dyn Advisories>,
    content_sets: Arc<dyn ContentSets>,
    search: ImageSearch,
}

impl RebuildImagesOfAdvisory {
    /// Asks these about advisories, content sets and images.
    #[must_use]
    pub fn new(advisories: Arc<dyn Advisories>, content_sets: Arc<dyn ContentSets>, search: ImageSearch) -> Self {
        Self { advisories, content_sets, search }
    }
}

#[async_trait]
impl Handler<AdvisoryStatusChanged> for RebuildImagesOfAdvisory {
    async fn handle(&self, event: AdvisoryStatusChanged, cx: Context) -> HandlerResult {
        if event.to != SHIPPED {
            return Ok(Decision::Ignore);
        }
        let advisory = self.advisories.advisory(u64::try_from(event.errata_id)?).await?;
        if let Some(why) = unsuited(&advisory) {
            return Ok(Decision::Skip(why));
        }
        let facts = advisory.facts(cx.facts());
        if let Some(verdict) = cx.policy().blocks_all(&facts.clone().with("kind", "image")) {
            return Ok(Decision::Skip(format!("{} is {verdict}", advisory.name)));
        }
        let fixed = self.advisories.fixed_packages(advisory.id).await?;
        if fixed.is_empty() {
            return Ok(Decision::Skip(format!("{} has no packages", advisory.name)));
        }
        let mut content_sets = self.advisories.repositories(advisory.id).await?;
        content_sets.append(&mut self.content_sets.content_sets(&content_sets).await?);
        let found = self.search.find(&fixed, &content_sets).await?;
        let selection = found.judged_by(cx.policy(), &facts).select()?;
        Ok(Decision::Rebuild(selection.planner().facts(facts).estimates(&cx.estimates().await?).plan()?))
    }
}

/// Returns why no images are rebuilt for such an advisory.
fn unsuited(advisory: &Advisory) -> Option<String> {
    let Advisory { name, content_types, reporter, .. } = advisory;
    if reporter.starts_with("botas") {
        return Some(format!("{name} ships operator bundles, which are not rebuilt yet"));
    }
    let suited = content_types.iter().any(|kind| matches!(kind.as_str(), "rpm" | "module"));
    let kinds: Vec<_> = content_types.iter().map(String::as_str).collect();
    (!suited).then(|| format!("{name} ships no packages or modules, but [{}]", kinds.join(", ")))
}

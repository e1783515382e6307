use crate::image::{CatalogImage, ImageSearch, Releases};
use crate::lookup::{Advisories, Advisory, ContentSets};
use freshmaker::Reason;
use freshmaker::artifact::Nvr;
use freshmaker::handler::{Context, Decision, HandlerResult};
use freshmaker::policy::Facts;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Plans the rebuild of the container images that an advisory affects. The handlers of this module
/// share it.
///
/// * Only advisories that ship packages or modules count.
/// * The policy judges the advisory first; if it blocks all images, nothing is looked up. Then it
///   judges each affected image. An image that is only rebuilt as a parent is not judged, because
///   what is built on it would keep the unfixed package.
/// * The fixed packages are those that the CVEs of the advisory affect, or all of its packages. An
///   image must contain an older one, from a content set that the advisory ships to.
/// * Images are rebuilt from their base up. Why one is rebuilt or left out is said by the codes of
///   [`image`](crate::image).
/// * The fixed packages that replace an installed one are
///   [demands](freshmaker::plan::Planner::demand) on the rebuilt image.
///
/// See [`RebuildImagesOfAdvisory`](super::RebuildImagesOfAdvisory) for an example.
#[derive(Clone, Debug)]
pub struct AffectedImages {
    advisories: Arc<dyn Advisories>,
    content_sets: Arc<dyn ContentSets>,
    search: ImageSearch,
}

impl AffectedImages {
    /// Asks these about advisories, content sets and images.
    #[must_use]
    pub fn new(advisories: Arc<dyn Advisories>, content_sets: Arc<dyn ContentSets>, search: ImageSearch) -> Self {
        Self { advisories, content_sets, search }
    }

    /// Returns an advisory.
    ///
    /// # Errors
    /// Those of [`Advisories::advisory`].
    pub async fn advisory(&self, id: u64) -> freshmaker::backend::Result<Advisory> {
        self.advisories.advisory(id).await
    }

    /// Returns the decision to rebuild the images that this advisory affects, or why none is. If
    /// `only` names images, no other is rebuilt for its own sake; they have the code `not_asked`,
    /// and names that the advisory does not affect have the code `not_affected`.
    ///
    /// `facts` are those about the event; the ones of the advisory are added.
    ///
    /// # Errors
    /// If a service cannot be asked, or what it says about images makes no sense.
    pub async fn decide(&self, advisory: &Advisory, only: &BTreeSet<Nvr>, facts: Facts, cx: &Context) -> HandlerResult {
        if let Some(why) = advisory.unsuited() {
            return Ok(Decision::Skip(why));
        }
        let facts = advisory.facts(facts);
        if let Some(verdict) = cx.policy().blocks_all(&facts.clone().with("kind", "image")) {
            return Ok(Decision::Skip(format!("{} is {verdict}", advisory.name)));
        }
        let fixed = self.advisories.fixed_packages(advisory.id).await?;
        if fixed.is_empty() {
            return Ok(Decision::Skip(format!("{} has no packages", advisory.name)));
        }
        let mut content_sets = self.advisories.repositories(advisory.id).await?;
        if content_sets.is_empty() {
            return Ok(Decision::Skip(format!("{} ships to no repository", advisory.name)));
        }
        content_sets.append(&mut self.content_sets.content_sets(&content_sets).await?);
        let found = self.search.find(&fixed, &content_sets).await?;
        let selection = among(found, only).judged_by(cx.policy(), &facts).select()?;
        let mut planner = selection.planner().facts(facts).estimates(&cx.estimates().await?);
        for image in only.iter().filter(|image| !selection.mentions(image)) {
            let why = Reason::new("not_affected", format!("{} does not affect it", advisory.name));
            planner = planner.exclude(image.to_string(), why);
        }
        Ok(Decision::Rebuild(planner.plan()?))
    }
}

/// Rejects all images but these, if there are any.
fn among(found: Releases, only: &BTreeSet<Nvr>) -> Releases {
    let asked = |image: &CatalogImage| only.is_empty() || only.contains(image.nvr());
    found.reject(|image| (!asked(image)).then(|| Reason::new("not_asked", "the request names other images")))
}

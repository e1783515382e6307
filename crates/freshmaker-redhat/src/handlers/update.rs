use crate::contracts::PackageBuilds;
use crate::image::ImageSearch;
use crate::messages::bodhi::UpdateStable;
use async_trait::async_trait;
use freshmaker::Reason;
use freshmaker::artifact::Nvr;
use freshmaker::handler::{Context, Decision, Handler, HandlerResult};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rebuilds the container images that contain packages which an update of a distribution replaces.
///
/// Listens to updates that became stable ([`UpdateStable`]). It asks which packages the builds of
/// the update made, and for the images that contain an older one of the same distribution: an image
/// of `fc40` is not rebuilt because of a package of `fc41`. Then images are rebuilt as for an
/// advisory, see [`AffectedImages`](super::AffectedImages).
///
/// * The rules of the policy have the facts `update_id` and `update_release`. If they block all
///   images, nothing is looked up.
/// * A build whose packages are not known is listed among the exclusions of the plan, by its name
///   and with the reason. If the packages of no build are known, the event fails.
/// * An update without packages, such as one of modules or images, leads to nothing.
///
/// ```
/// use freshmaker_redhat::handlers::RebuildImagesOfUpdate;
/// use freshmaker_redhat::image::ImageSearch;
/// use freshmaker_redhat::koji::{KojiConfig, KojiImages, KojiRecipes};
/// use std::sync::Arc;
///
/// let koji = KojiConfig::new("https://koji.example.org/kojihub");
/// let images = Arc::new(KojiImages::new(&koji)?);
/// let search = ImageSearch::new(images.clone(), Arc::new(KojiRecipes::new(&koji)?));
/// let engine = freshmaker::Engine::builder().on(RebuildImagesOfUpdate::new(images, search));
/// # drop(engine);
/// # Ok::<(), freshmaker::backend::Error>(())
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "bodhi")]
pub struct RebuildImagesOfUpdate {
    packages: Arc<dyn PackageBuilds>,
    search: ImageSearch,
}

impl RebuildImagesOfUpdate {
    /// Asks this build system about packages, and searches images with `search`.
    #[must_use]
    pub fn new(packages: Arc<dyn PackageBuilds>, search: ImageSearch) -> Self {
        Self { packages, search: search.of_one_distribution() }
    }
}

#[async_trait]
impl Handler<UpdateStable> for RebuildImagesOfUpdate {
    async fn handle(&self, event: UpdateStable, cx: Context) -> HandlerResult {
        let facts = cx.facts().with("update_id", &event.update_id).with("update_release", &event.release);
        if let Some(verdict) = cx.policy().blocks_all(&facts.clone().with("kind", "image")) {
            return Ok(Decision::Skip(format!("{} is {verdict}", event.update_id)));
        }
        let (mut builds, mut unknown) = (BTreeSet::new(), BTreeMap::new());
        for text in &event.builds {
            match text.parse::<Nvr>() {
                Ok(nvr) => drop(builds.insert(nvr)),
                Err(error) => drop(unknown.insert(text.clone(), error.to_string())),
            }
        }
        let mut fixed = BTreeSet::new();
        for (build, packages) in self.packages.packages(&builds).await? {
            match packages {
                Ok(packages) => fixed.extend(packages),
                Err(why) => drop(unknown.insert(build.to_string(), why)),
            }
        }
        if fixed.is_empty() {
            let why: Vec<_> = unknown.into_iter().map(|(build, why)| format!("{build}: {why}")).collect();
            return if why.is_empty() { Ok(Decision::Ignore) } else { Err(why.join("; ").into()) };
        }
        let found = self.search.find(&fixed, &BTreeSet::new()).await?;
        let selection = found.judged_by(cx.policy(), &facts).select()?;
        let mut planner = selection.planner().facts(facts).estimates(&cx.estimates().await?);
        for (build, why) in unknown {
            planner = planner.exclude(build, Reason::new("lookup_error", why));
        }
        let plan = planner.plan()?;
        // Most updates are of packages that no image contains.
        let none = plan.is_empty() && plan.exclusions().next().is_none();
        Ok(if none { Decision::Ignore } else { Decision::Rebuild(plan) })
    }
}

use super::earlier;
use crate::contracts::{Advisories, Advisory, ContentSets};
use crate::image::{ImageSearch, Releases, Selection};
use async_trait::async_trait;
use freshmaker::Reason;
use freshmaker::artifact::Nvr;
use freshmaker::backend::BoxError;
use freshmaker::handler::{Context, Decision, HandlerResult, History};
use freshmaker::policy::Facts;
use freshmaker::rebuild::EventId;
use futures_util::future::try_join;
use std::collections::BTreeSet;
use std::fmt;
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
/// * An image that an event of this advisory has rebuilt for its own sake, with the packages that
///   are fixed now, is not rebuilt again, and others are built on that rebuild. This needs a
///   [history](Context::history), and [`Wanted`] can ask for something else.
/// * Without `ImageComposes`, images are rebuilt with the repositories that their recipes name.
///
/// See [`RebuildImagesOfAdvisory`](super::RebuildImagesOfAdvisory) for an example.
#[derive(Clone, Debug)]
pub struct AffectedImages {
    advisories: Arc<dyn Advisories>,
    content_sets: Arc<dyn ContentSets>,
    search: ImageSearch,
    pub(super) prepares: Option<Arc<dyn Prepare>>,
}

/// Who prepares what selected images are built with.
#[async_trait]
pub(super) trait Prepare: fmt::Debug + Send + Sync {
    /// Adds to the selection of an advisory's images, made from these releases, what each of them
    /// needs. More can be asked about this and other advisories, and about earlier events.
    async fn prepare(
        &self,
        advisory: &Advisory,
        advisories: &dyn Advisories,
        history: &History,
        releases: &Releases,
        selection: Selection,
    ) -> Result<Selection, BoxError>;
}

/// Which images of an advisory are wanted, and which earlier rebuilds are used. By default all that
/// the advisory affects, and those that events of the advisory have rebuilt for their own sake are
/// not rebuilt again.
///
/// ```
/// use freshmaker::rebuild::EventId;
/// use freshmaker_redhat::handlers::Wanted;
///
/// let repeated = Wanted::default().on_top_of(EventId(7));
/// let named = Wanted::default().only(["app-container-1-7".parse()?].into());
/// assert_ne!(repeated, named);
/// # Ok::<(), freshmaker::artifact::NvrError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Wanted {
    only: BTreeSet<Nvr>,
    on_top_of: Option<EventId>,
    again: bool,
}

impl Wanted {
    /// Rebuilds only these images for their own sake, even if they were rebuilt before; their
    /// parents are rebuilt as always. An empty set changes nothing.
    pub fn only(mut self, images: BTreeSet<Nvr>) -> Self {
        self.only = images;
        self
    }

    /// Uses what this event has rebuilt, and what the events have that it was itself made on top
    /// of, instead of rebuilding it again.
    pub fn on_top_of(mut self, event: EventId) -> Self {
        self.on_top_of = Some(event);
        self
    }

    /// Rebuilds also images that events of this advisory have rebuilt before.
    pub fn again(mut self) -> Self {
        self.again = true;
        self
    }
}

impl AffectedImages {
    /// Asks these about advisories, content sets and images.
    #[must_use]
    pub fn new(advisories: Arc<dyn Advisories>, content_sets: Arc<dyn ContentSets>, search: ImageSearch) -> Self {
        Self { advisories, content_sets, search, prepares: None }
    }

    /// Returns whether packages can be had that are in no repository.
    pub(super) fn prepares_composes(&self) -> bool {
        self.prepares.is_some()
    }

    /// Returns an advisory.
    ///
    /// # Errors
    /// Those of [`Advisories::advisory`].
    pub async fn advisory(&self, id: u64) -> freshmaker::backend::Result<Advisory> {
        self.advisories.advisory(id).await
    }

    /// Returns the repositories that an advisory ships to, and their content sets; nothing if there
    /// are no repositories.
    async fn content_sets_of(&self, advisory: &Advisory) -> freshmaker::backend::Result<BTreeSet<String>> {
        let mut names = self.advisories.repositories(advisory.id).await?;
        if !names.is_empty() {
            names.append(&mut self.content_sets.content_sets(&names).await?);
        }
        Ok(names)
    }

    /// Returns the decision to rebuild the images that this advisory affects, or why none is. If
    /// `wanted` names images, these alone are looked up, offered or not, and no other is rebuilt
    /// for its own sake; names that the advisory does not affect have the code `not_affected`.
    /// Images that are not rebuilt because they were before have the code `already_rebuilt`.
    ///
    /// `facts` are those about the event; the ones of the advisory are added.
    ///
    /// # Errors
    /// If a service cannot be asked, or what it says about images makes no sense.
    pub async fn decide(&self, advisory: &Advisory, wanted: &Wanted, facts: Facts, cx: &Context) -> HandlerResult {
        if let Some(why) = advisory.unsuited() {
            return Ok(Decision::Skip(why));
        }
        let facts = advisory.facts(facts);
        if let Some(verdict) = cx.policy().blocks_all(&facts.clone().with("kind", "image")) {
            return Ok(Decision::Skip(format!("{} is {verdict}", advisory.name)));
        }
        let (fixed, content_sets) =
            try_join(self.advisories.fixed_packages(advisory.id), self.content_sets_of(advisory)).await?;
        if fixed.is_empty() {
            return Ok(Decision::Skip(format!("{} has no packages", advisory.name)));
        }
        if content_sets.is_empty() {
            return Ok(Decision::Skip(format!("{} ships to no repository", advisory.name)));
        }
        let found = match &wanted.only {
            none if none.is_empty() => self.search.find(&fixed, &content_sets).await?,
            named => self.search.find_named(named, &fixed, &content_sets).await?,
        };
        let releases = found.judged_by(cx.policy(), &facts);
        let (releases, selection) = on_earlier_rebuilds(releases, advisory, wanted, cx).await?;
        let selection = match &self.prepares {
            Some(prepares) => {
                prepares.prepare(advisory, &*self.advisories, &cx.history(), &releases, selection).await?
            }
            None => selection,
        };
        let mut planner = selection.planner().facts(facts).estimates(&cx.estimates().await?);
        for image in wanted.only.iter().filter(|image| !selection.mentions(image)) {
            let why = Reason::new("not_affected", "the catalog of images does not have it");
            planner = planner.exclude(image.to_string(), why);
        }
        Ok(Decision::Rebuild(planner.plan()?))
    }
}

/// Selects images, without those that were rebuilt before and need not be rebuilt again.
async fn on_earlier_rebuilds(
    releases: Releases,
    advisory: &Advisory,
    wanted: &Wanted,
    cx: &Context,
) -> Result<(Releases, Selection), BoxError> {
    let selection = releases.select()?;
    let mut rebuilds = match wanted.on_top_of {
        Some(event) => earlier::rebuilt_by(&cx.history(), event).await?,
        None => earlier::Rebuilds::new(),
    };
    if wanted.only.is_empty() && !wanted.again {
        for (original, rebuild) in earlier::rebuilt_for(&cx.history(), advisory.id).await? {
            rebuilds.entry(original).or_insert(rebuild);
        }
    }
    let images = selection.images().iter();
    let done = images.filter_map(|image| Some((&image.nvr, rebuilds.get(&image.nvr)?, &image.demands)));
    let done: Vec<(Nvr, Nvr)> = done
        .filter(|(_, rebuild, demands)| rebuild.has(demands))
        .map(|(original, rebuild, _)| (original.clone(), rebuild.nvr.clone()))
        .collect();
    if done.is_empty() {
        return Ok((releases, selection));
    }
    let releases = done.into_iter().fold(releases, |all, (original, rebuild)| all.already_rebuilt(original, rebuild));
    let selection = releases.select()?;
    Ok((releases, selection))
}

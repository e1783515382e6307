//! Selects the releases of images that are rebuilt, step by step; each step is a file beside this.

use super::choice::Choice;
use super::fixes::Fixes;
use super::index::Index;
use super::latest::Latest;
use super::selection::Selection;
use super::wiring::Wiring;
use super::{CatalogImage, content_sets, stand_ins};
use freshmaker::Reason;
use freshmaker::artifact::Nvr;
use freshmaker::policy::{Facts, Policy};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Most images of one selection. More than this means that everything was added instead of the
/// affected images.
pub const IMAGES_MAX: usize = 200_000;

/// Most parents of one image. Build tools support far fewer stages.
pub const PARENTS_MAX: usize = 1_000;

/// What becomes of releases that are newer than the latest released one of their group. They are
/// not released themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NewerReleases {
    /// They stay, so nothing is built on an older release than before.
    #[default]
    Keep,
    /// The latest released one replaces them, as it replaces older ones. So nothing is built on a
    /// release that is not released.
    Replace,
}

/// Says why no selection was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// There are more images than [`IMAGES_MAX`].
    #[error("{count} images, at most {IMAGES_MAX}")]
    TooManyImages {
        /// How many images were added.
        count: usize,
    },
    /// An image has more parents than [`PARENTS_MAX`].
    #[error("{image} has {count} parents, at most {PARENTS_MAX}")]
    TooManyParents {
        /// The image.
        image: Nvr,
        /// How many parents it has.
        count: usize,
    },
}

/// Collects what a catalog knows about releases of images, and [selects](Self::select) those to
/// rebuild.
///
/// ```
/// use freshmaker::EdgeKind;
/// use freshmaker_redhat::image::{CatalogImage, Releases};
///
/// let ubi = CatalogImage::new("ubi9-container-9.4-1123".parse()?).with_source("ubi9.git", None);
/// let app = CatalogImage::new("app-container-1-7".parse()?).with_source("app.git", None);
/// let selection = Releases::new()
///     .with(ubi.with_rpm("bash-5.1.8-6.el9".parse()?))
///     .with(
///         app.with_rpm("bash-5.1.8-6.el9".parse()?)
///             .with_parent("ubi9-container-9.4-1123".parse()?, EdgeKind::ParentImage)
///             .affected(),
///     )
///     .fixing("bash-5.1.8-9.el9".parse()?)
///     .select()?;
/// let plan = selection.planner().plan()?;
/// assert_eq!(plan.waves().count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Releases {
    images: BTreeMap<Nvr, CatalogImage>,
    fixes: Fixes,
    content_sets: BTreeSet<String>,
    already_rebuilt: BTreeMap<Nvr, Nvr>,
    newer: NewerReleases,
}

impl Releases {
    /// Makes an empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an image: an affected one, a parent, or a release that could be used instead.
    ///
    /// Several descriptions of one NVR are united, so each may leave out what another one has.
    pub fn with(mut self, image: CatalogImage) -> Self {
        self.insert(image);
        self
    }

    /// Adds an image like [`with`](Self::with), for loops.
    pub fn insert(&mut self, image: CatalogImage) {
        match self.images.get_mut(&image.nvr) {
            Some(known) => known.unite(image),
            None => drop(self.images.insert(image.nvr.clone(), image)),
        }
    }

    /// Adds a package that has the fix. An image with an older package of the same name needs the
    /// fix. Without any such package, every image needs it.
    pub fn fixing(mut self, rpm: Nvr) -> Self {
        self.fixes.insert(rpm);
        self
    }

    /// Leaves packages of other distributions alone, see
    /// [`ImageSearch::of_one_distribution`](super::ImageSearch::of_one_distribution).
    pub fn of_one_distribution(mut self) -> Self {
        self.fixes.leave_other_distributions();
        self
    }

    /// Adds a content set that offers the fix. An image that only has other content sets is not
    /// used instead of an unfixed image. If none is added, content sets do not matter.
    pub fn in_content_set(mut self, content_set: impl Into<String>) -> Self {
        self.content_sets.insert(content_set.into());
        self
    }

    /// Adds an image that has been rebuilt with the fix already, and its rebuild. Other images are
    /// built on the rebuild.
    pub fn already_rebuilt(mut self, original: Nvr, rebuild: Nvr) -> Self {
        self.already_rebuilt.insert(original, rebuild);
        self
    }

    /// Lets the policy judge each affected image, by these facts and [its
    /// own](CatalogImage::facts). One that is blocked is not rebuilt for its own sake, with the
    /// code `policy` and the verdict.
    pub fn judged_by(self, policy: &Policy, facts: &Facts) -> Self {
        if policy.is_empty() {
            return self;
        }
        self.reject(|image| {
            let facts = image.facts(facts.clone());
            // Without a recipe not all facts of the image are known.
            let blocked = match image.error {
                Some(_) => policy.blocks_all(&facts),
                None => Some(policy.judge(&facts)).filter(|verdict| !verdict.allowed),
            };
            blocked.map(|verdict| Reason::new("policy", verdict.to_string()))
        })
    }

    /// Asks this about each affected image that was added before. With a reason it is not rebuilt
    /// for its own sake, as after [`CatalogImage::rejected`]; one that was rejected before keeps
    /// its reason.
    pub fn reject(mut self, why: impl Fn(&CatalogImage) -> Option<Reason>) -> Self {
        for image in self.images.values_mut().filter(|image| image.affected && image.rejected.is_none()) {
            image.rejected = why(image);
        }
        self
    }

    /// Takes these images, of which each is under its own name, instead of those that were added.
    pub(super) fn of(mut self, images: BTreeMap<Nvr, CatalogImage>) -> Self {
        self.images = images;
        self
    }

    /// Says of each of these images why it cannot be rebuilt, as
    /// [`CatalogImage::with_lookup_error`] does. One with an earlier error keeps that.
    pub fn with_lookup_errors(mut self, errors: BTreeMap<Nvr, String>) -> Self {
        for (nvr, error) in errors {
            if let Some(image) = self.images.get_mut(&nvr) {
                image.error.get_or_insert(error);
            }
        }
        self
    }

    /// Sets what becomes of releases that are newer than the latest released one;
    /// [`Keep`](NewerReleases::Keep) by default.
    pub fn newer_releases(mut self, newer: NewerReleases) -> Self {
        self.newer = newer;
        self
    }

    /// Returns the images to rebuild and their parents, and the reason for every image that is left
    /// out.
    ///
    /// The result does not depend on the order in which images were added. Images that are said to
    /// be built from each other cannot be rebuilt: their parents count as unknown, which is their
    /// [lookup error](CatalogImage::with_lookup_error).
    ///
    /// # Errors
    /// [`SelectError`] if there are too many images or parents.
    pub fn select(&self) -> Result<Selection, SelectError> {
        self.check()?;
        let mut images = Cow::Borrowed(&self.images);
        loop {
            match self.select_among(&images) {
                Ok(selection) => return Ok(selection),
                // Members of a cycle are in no further one, so this ends.
                Err(cycles) => forget_parents(images.to_mut(), &cycles),
            }
        }
    }

    /// Selects images if they have no cycle.
    ///
    /// # Errors
    /// The members of each cycle.
    fn select_among(&self, images: &BTreeMap<Nvr, CatalogImage>) -> Result<Selection, Vec<Vec<Nvr>>> {
        let index = Index::new(images, &self.fixes);
        let choice = Choice::new(&index);
        let latest = Latest::find(&index, &choice.chosen, self.newer);
        let todo = |place: &usize| !self.already_rebuilt.contains_key(index.nvr(*place));
        let chosen = choice.chosen.iter().copied().filter(todo);
        let roots = chosen.map(|place| latest.successor(&index, place).unwrap_or(place)).filter(todo).collect();
        let named = |cycles: Vec<BTreeSet<usize>>| -> Vec<Vec<Nvr>> {
            cycles.iter().map(|members| members.iter().map(|place| index.nvr(*place).clone()).collect()).collect()
        };
        let mut wiring = Wiring::new(&index, &latest, &self.already_rebuilt);
        let (wires, order) = wiring.wire(&roots).map_err(named)?;
        wiring.stand_ins = stand_ins::find(&index, &wires, &order, &roots, &self.fixes, &self.content_sets);
        // Without stand-ins the second round would be the same as the first.
        let (wires, order) =
            if wiring.stand_ins.is_empty() { (wires, order) } else { wiring.wire(&roots).map_err(named)? };
        Ok(Selection::new(&self.fixes, &choice, &wiring, &wires, &order, content_sets::complete(&index)))
    }

    fn check(&self) -> Result<(), SelectError> {
        if self.images.len() > IMAGES_MAX {
            return Err(SelectError::TooManyImages { count: self.images.len() });
        }
        match self.images.values().find(|image| image.parents.len() > PARENTS_MAX) {
            Some(image) => Err(SelectError::TooManyParents { image: image.nvr.clone(), count: image.parents.len() }),
            None => Ok(()),
        }
    }
}

/// Largest number of members of a cycle that an error names.
const NAMED_MAX: usize = 5;

/// Forgets the parents of the members of these cycles, and says so as their lookup error.
fn forget_parents(images: &mut BTreeMap<Nvr, CatalogImage>, cycles: &[Vec<Nvr>]) {
    for members in cycles {
        let names: Vec<_> = members.iter().take(NAMED_MAX).map(ToString::to_string).collect();
        let more = members.len() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let error = format!("images are said to be built from each other: {}{more}", names.join(", "));
        for member in members {
            if let Some(image) = images.get_mut(member) {
                image.parents.clear();
                image.error.get_or_insert_with(|| error.clone());
            }
        }
    }
}

use super::choice::Choice;
use super::fixes::Fixes;
use super::index::Index;
use super::latest::Latest;
use super::selection::Selection;
use super::wiring::Wiring;
use super::{CatalogImage, content_sets, stand_ins};
use freshmaker::artifact::Nvr;
use std::collections::{BTreeMap, BTreeSet};

/// Most images that are looked at together; beyond it somebody has asked for everything instead of for what is affected.
pub const IMAGES_MAX: usize = 200_000;

/// Most parents of one image: build tools give up on far fewer stages.
pub const PARENTS_MAX: usize = 1_000;

/// What happens to releases that are newer than the latest released one of their group, and so not released themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NewerReleases {
    /// They stay: nothing is built on something older than before.
    #[default]
    Keep,
    /// They are replaced by the latest released one, like older ones: nothing is built on what is not released.
    Replace,
}

/// Why nothing was selected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// More images than anybody can mean.
    #[error("{count} images, at most {IMAGES_MAX}")]
    TooManyImages {
        /// How many were told.
        count: usize,
    },
    /// More parents than an image can have.
    #[error("{image} has {count} parents, at most {PARENTS_MAX}")]
    TooManyParents {
        /// The image.
        image: Nvr,
        /// How many parents it is said to have.
        count: usize,
    },
    /// By what the catalog says, these images were built from each other.
    #[error("images are said to be built from each other: {}", .members.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Circle {
        /// Who is in the circle, by name.
        members: Vec<Nvr>,
    },
}

/// What a catalog knows about releases of images, and what they should contain: the question of which images are rebuilt, on what.
///
/// ```
/// use freshmaker::EdgeKind;
/// use freshmaker_redhat::image::{CatalogImage, Releases};
///
/// let ubi = CatalogImage::new("ubi9-container-9.4-1123".parse()?).with_source("ubi9.git", None);
/// let app = CatalogImage::new("app-container-1-7".parse()?).with_source("app.git", None);
/// let selection = Releases::new()
///     .with(ubi.with_rpm("bash-5.1.8-6.el9".parse()?))
///     .with(app.with_rpm("bash-5.1.8-6.el9".parse()?).with_parent("ubi9-container-9.4-1123".parse()?, EdgeKind::ParentImage).affected())
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
    /// Nothing told yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an image: an affected one, a parent, or a release that could be used instead. Several descriptions of one NVR unite; what one
    /// leaves out, another tells.
    pub fn with(mut self, image: CatalogImage) -> Self {
        self.insert(image);
        self
    }

    /// The same, for loops.
    pub fn insert(&mut self, image: CatalogImage) {
        match self.images.get_mut(&image.nvr) {
            Some(known) => known.unite(image),
            None => drop(self.images.insert(image.nvr.clone(), image)),
        }
    }

    /// A package with the fix; an image that has an older one of the same name needs it. Without any, every image does.
    pub fn fixing(mut self, rpm: Nvr) -> Self {
        self.fixes.insert(rpm);
        self
    }

    /// A content set in which the fix is offered. Images of which all content sets are others do not stand in for unfixed ones.
    pub fn in_content_set(mut self, content_set: impl Into<String>) -> Self {
        self.content_sets.insert(content_set.into());
        self
    }

    /// An image that has been rebuilt with the fix, and its rebuild, which is what others are built on now.
    pub fn already_rebuilt(mut self, original: Nvr, rebuild: Nvr) -> Self {
        self.already_rebuilt.insert(original, rebuild);
        self
    }

    /// What happens to releases that are newer than the latest released one.
    pub fn newer_releases(mut self, newer: NewerReleases) -> Self {
        self.newer = newer;
        self
    }

    /// Which images are rebuilt, on what, and why the others are not. The order in which things were told makes no difference.
    ///
    /// # Errors
    /// [`SelectError`] if the catalog told too much, or a circle.
    pub fn select(&self) -> Result<Selection, SelectError> {
        self.check()?;
        let index = Index::new(&self.images, &self.fixes);
        let choice = Choice::new(&index, &self.fixes);
        let latest = Latest::find(&index, &choice.chosen, self.newer);
        let todo = |place: &usize| !self.already_rebuilt.contains_key(index.nvr(*place));
        let chosen = choice.chosen.iter().copied().filter(todo);
        let roots = chosen.map(|place| latest.successor(&index, place).unwrap_or(place)).filter(todo).collect();
        let circle = |members: Vec<usize>| SelectError::Circle {
            members: members.into_iter().map(|place| index.nvr(place).clone()).collect(),
        };
        let mut wiring = Wiring::new(&index, &latest, &self.already_rebuilt);
        let (wires, order) = wiring.wire(&roots).map_err(circle)?;
        wiring.stand_ins = stand_ins::find(&index, &wires, &order, &roots, &self.fixes, &self.content_sets);
        let (wires, order) = wiring.wire(&roots).map_err(circle)?;
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

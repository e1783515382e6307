//! Finds the images that may be affected, and everything that they are built on and with.

use super::fixes::Fixes;
use super::{CatalogImage, IMAGES_MAX, NewerReleases, Releases};
use crate::contracts::{Containing, Images, Recipes};
use freshmaker::Reason;
use freshmaker::artifact::Nvr;
use freshmaker::backend::{Error, Remedy, Result};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Most images from a released one down to the base that it is built on, one on the other. A longer
/// chain means that the catalog answers nonsense.
const LAYERS_MAX: usize = 100;

/// Finds the images that a fix concerns, and everything that [`Releases`] needs to know about them:
/// the images that contain an unfixed package, the images that those are built from as long as they
/// contain one too, how each can be built again, and published images that could be used instead.
///
/// Catalogs leave the epochs of packages out. A package without one is taken to have the epoch of
/// its fix; otherwise no image would ever have a fix whose epoch is not 0.
///
/// A parent of which the catalog has no content sets gets those of the nearest image that is built
/// on it, unless an older release has some.
///
/// An image whose recipe is not known is kept with the reason, and so is a parent that the catalog
/// does not have. The packages of such a parent come from the build system.
///
/// The number of requests grows with the number of layers, not with that of images: for each layer
/// one call of [`Images::images`] and one of [`Recipes::recipes`].
///
/// ```
/// use freshmaker_redhat::image::ImageSearch;
/// use freshmaker_redhat::contracts::{Images, Recipes};
/// use std::collections::BTreeSet;
/// use std::sync::Arc;
///
/// async fn example(images: Arc<dyn Images>, recipes: Arc<dyn Recipes>) -> freshmaker::HandlerResult {
///     let fixed = BTreeSet::from(["bash-5.1.8-9.el9".parse()?]);
///     let content_sets = BTreeSet::from(["rhel-9-baseos-rpms".to_owned()]);
///     let search = ImageSearch::new(images, recipes);
///     let selection = search.find(&fixed, &content_sets).await?.select()?;
///     Ok(freshmaker::Decision::Rebuild(selection.planner().plan()?))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct ImageSearch {
    images: Arc<dyn Images>,
    recipes: Arc<dyn Recipes>,
    system: Option<String>,
    one_distribution: bool,
    newer: NewerReleases,
}

/// What was found so far.
#[derive(Default)]
struct Found {
    images: BTreeMap<Nvr, CatalogImage>,
    fixes: Fixes,
    /// Names of the fixed packages.
    packages: BTreeSet<String>,
}

impl Found {
    fn needs_fix(&self, nvr: &Nvr) -> bool {
        self.images.get(nvr).is_some_and(|image| self.fixes.find(image.rpms.as_ref()).needs_fix())
    }

    /// Adds a description of an image, which may be known already.
    fn add(&mut self, mut image: CatalogImage) {
        image.rpms = image.rpms.map(|rpms| rpms.into_iter().map(|rpm| self.fixes.with_epoch(rpm)).collect());
        match self.images.get_mut(&image.nvr) {
            Some(known) => known.unite(image),
            None => drop(self.images.insert(image.nvr.clone(), image)),
        }
    }
}

impl Found {
    /// Lets parents without content sets have those of the nearest image that is built on them. Of
    /// several that are equally near, the first by name counts.
    fn lend_content_sets(&mut self) {
        let own = |(nvr, image): (&Nvr, &CatalogImage)| (!image.content_sets.is_empty()).then(|| nvr.clone());
        let mut waiting: VecDeque<(Nvr, Nvr)> =
            self.images.iter().filter_map(own).map(|nvr| (nvr.clone(), nvr)).collect();
        let mut lenders: BTreeMap<Nvr, Nvr> = waiting.iter().cloned().collect();
        while let Some((child, lender)) = waiting.pop_front() {
            // A parent without a fix is only used by images that need the fix as well.
            let Some(image) = self.images.get(&child).filter(|_| self.needs_fix(&child)) else { continue };
            for (parent, _) in &image.parents {
                if self.images.contains_key(parent) && !lenders.contains_key(parent) {
                    lenders.insert(parent.clone(), lender.clone());
                    waiting.push_back((parent.clone(), lender.clone()));
                }
            }
        }
        for (nvr, lender) in lenders.iter().filter(|(nvr, lender)| nvr != lender) {
            let lent = self.images[lender].content_sets.clone();
            if let Some(image) = self.images.get_mut(nvr) {
                image.borrowed_content_sets.extend(lent);
            }
        }
    }
}

impl ImageSearch {
    /// Searches in this catalog, and asks this build system for recipes.
    #[must_use]
    pub fn new(images: Arc<dyn Images>, recipes: Arc<dyn Recipes>) -> Self {
        Self { images, recipes, system: None, one_distribution: false, newer: NewerReleases::default() }
    }

    /// Names the build system that builds the images, by the name under which it is registered. An
    /// engine with several build systems needs it.
    #[must_use]
    pub fn with_system(mut self, name: impl Into<String>) -> Self {
        self.system = Some(name.into());
        self
    }

    /// Leaves packages of other distributions alone: `curl-8-1.fc41` is no fix of `curl-7-1.fc40`.
    /// The release of a package tells its distribution; one that does not may be of any.
    ///
    /// Without this, a fix counts for all distributions if none of the fixes is for the one of the
    /// installed package.
    #[must_use]
    pub fn of_one_distribution(mut self) -> Self {
        self.one_distribution = true;
        self
    }

    /// Sets what becomes of releases that are newer than the latest released one;
    /// [`Keep`](NewerReleases::Keep) by default.
    #[must_use]
    pub fn newer_releases(mut self, newer: NewerReleases) -> Self {
        self.newer = newer;
        self
    }

    /// Returns what is known about the images that contain an older package than one of `fixed`,
    /// and use one of these content sets.
    ///
    /// # Errors
    /// If the catalog or the build system cannot be asked; [`Corrupt`](Remedy::Corrupt) if they
    /// name more than [`IMAGES_MAX`] images, or a parent of a parent without end.
    pub async fn find(&self, fixed: &BTreeSet<Nvr>, content_sets: &BTreeSet<String>) -> Result<Releases> {
        let mut found = self.nothing_found(fixed);
        let wanted = Containing { packages: found.packages.clone(), content_sets: content_sets.clone() };
        self.images.containing(&wanted).await?.into_iter().for_each(|image| found.add(image));
        self.complete(found, fixed, content_sets).await
    }

    /// Returns what is known about these images, offered or not, as [`find`](Self::find) does about
    /// all. One that uses none of the content sets, if there are any, is
    /// [rejected](CatalogImage::rejected) with the code `not_affected`. Images that the catalog
    /// does not have are left out.
    ///
    /// # Errors
    /// Those of [`find`](Self::find).
    pub async fn find_named(
        &self,
        named: &BTreeSet<Nvr>,
        fixed: &BTreeSet<Nvr>,
        content_sets: &BTreeSet<String>,
    ) -> Result<Releases> {
        let mut found = self.nothing_found(fixed);
        for mut image in self.images.images(named, &found.packages).await? {
            if !named.contains(&image.nvr) {
                continue;
            }
            (image.affected, image.named) = (true, true);
            if !content_sets.is_empty() && image.content_sets.is_disjoint(content_sets) {
                let text = "it uses no content set that the fixed packages are shipped to";
                image.rejected = Some(Reason::new("not_affected", text));
            }
            found.add(image);
        }
        self.complete(found, fixed, content_sets).await
    }

    fn nothing_found(&self, fixed: &BTreeSet<Nvr>) -> Found {
        let mut found = Found::default();
        if self.one_distribution {
            found.fixes.leave_other_distributions();
        }
        for rpm in fixed {
            found.packages.insert(rpm.name().to_owned());
            found.fixes.insert(rpm.clone());
        }
        found
    }

    /// Adds to the images in question what they are built from, and what could be used instead.
    async fn complete(
        &self,
        mut found: Found,
        fixed: &BTreeSet<Nvr>,
        content_sets: &BTreeSet<String>,
    ) -> Result<Releases> {
        let mut layer: BTreeSet<Nvr> = found.images.keys().filter(|nvr| found.needs_fix(nvr)).cloned().collect();
        for _ in 0..LAYERS_MAX {
            if layer.is_empty() {
                self.stand_ins(&mut found).await?;
                found.lend_content_sets();
                let system = self.system.as_deref();
                found.images.values_mut().for_each(|image| image.artifact.system = system.map(str::to_owned));
                return Ok(self.releases(found, fixed, content_sets));
            }
            let parents = self.resolve(&mut found, &layer).await?;
            let new: BTreeSet<Nvr> = parents.into_iter().filter(|nvr| !found.images.contains_key(nvr)).collect();
            self.describe(&mut found, &new).await?;
            if found.images.len() > IMAGES_MAX {
                let text = format!("{} images are concerned, at most {IMAGES_MAX}", found.images.len());
                return Err(Error::new(Remedy::Corrupt, "the catalog of images", text));
            }
            layer = new.into_iter().filter(|nvr| found.needs_fix(nvr)).collect();
        }
        let text = format!("more than {LAYERS_MAX} images are built on each other: {}", texts(&layer));
        Err(Error::new(Remedy::Corrupt, "the catalog of images", text))
    }

    /// Adds the recipes of these images, and returns the images that they are built from.
    async fn resolve(&self, found: &mut Found, layer: &BTreeSet<Nvr>) -> Result<BTreeSet<Nvr>> {
        let mut recipes = self.recipes.recipes(layer).await?;
        let mut parents = BTreeSet::new();
        for nvr in layer {
            let Some(image) = found.images.get_mut(nvr) else { continue };
            match recipes.remove(nvr) {
                Some(Ok(recipe)) => image.learn(recipe),
                Some(Err(text)) => image.error = Some(text),
                None => image.error = Some("nothing is known about how it is built".to_owned()),
            }
            parents.extend(image.parents.iter().map(|(parent, _)| parent.clone()));
        }
        Ok(parents)
    }

    /// Adds these images with their packages. Those that the catalog does not have are asked for
    /// from the build system.
    async fn describe(&self, found: &mut Found, nvrs: &BTreeSet<Nvr>) -> Result<()> {
        if nvrs.is_empty() {
            return Ok(());
        }
        for image in self.images.images(nvrs, &found.packages).await? {
            if nvrs.contains(&image.nvr) {
                found.add(image);
            }
        }
        let unknown = nvrs.iter().filter(|nvr| found.images.get(*nvr).is_none_or(|image| image.rpms.is_none()));
        let unknown: BTreeSet<Nvr> = unknown.cloned().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let mut installed = self.recipes.installed(&unknown).await?;
        for nvr in unknown {
            let image = CatalogImage::new(nvr.clone());
            let image = match installed.remove(&nvr) {
                Some(Ok(rpms)) => {
                    let named = rpms.into_iter().filter(|rpm| found.packages.contains(rpm.name()));
                    named.fold(image.with_known_rpms(), CatalogImage::with_rpm)
                }
                Some(Err(text)) => image.with_lookup_error(text),
                None => image.with_lookup_error("its packages are not known"),
            };
            found.add(image);
        }
        Ok(())
    }

    fn releases(&self, found: Found, fixed: &BTreeSet<Nvr>, content_sets: &BTreeSet<String>) -> Releases {
        let releases = Releases::new().of(found.images);
        let releases = fixed.iter().cloned().fold(releases, Releases::fixing);
        let releases = if self.one_distribution { releases.of_one_distribution() } else { releases };
        content_sets.iter().fold(releases.newer_releases(self.newer), |releases, set| releases.in_content_set(set))
    }

    /// Adds published images that could be used instead of images that are only parents.
    async fn stand_ins(&self, found: &mut Found) -> Result<()> {
        let parents = found.images.values().filter(|image| !image.affected && found.needs_fix(&image.nvr));
        let names: BTreeSet<(String, String)> =
            parents.map(|image| (image.nvr.name().to_owned(), image.nvr.version().to_owned())).collect();
        if names.is_empty() {
            return Ok(());
        }
        for image in self.images.offered(&names, &found.packages).await? {
            // Such an image is only used as it is: its own parents and recipe do not matter.
            if !found.images.contains_key(&image.nvr) && !found.fixes.find(image.rpms.as_ref()).needs_fix() {
                found.add(image);
            }
        }
        Ok(())
    }
}

fn texts(nvrs: &BTreeSet<Nvr>) -> String {
    nvrs.iter().take(5).map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

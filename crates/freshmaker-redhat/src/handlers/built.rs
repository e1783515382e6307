use super::family::{Family, group};
use crate::contracts::{BuiltImage, Each, ImageBuilds, Recipe, Recipes, TaskBuild};
use crate::image::{CatalogImage, Releases};
use freshmaker::Reason;
use freshmaker::artifact::Nvr;
use freshmaker::backend::{BoxError, Error, Remedy, Result};
use freshmaker::graph::EdgeKind;
use freshmaker::handler::{Context, Decision, HandlerResult};
use freshmaker::plan::Plan;
use freshmaker::policy::Facts;
use freshmaker::time::earlier;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Most images from one that is named down to its base, one on the other.
const LAYERS_MAX: usize = 100;

/// Most images that one decision asks about.
const IMAGES_MAX: usize = 10_000;

/// The parameter of a build in Koji that names the image to build on.
const PARENT: &str = "koji_parent_build";

/// Plans rebuilds of images by what the build system knows about its builds: no catalog is asked.
/// The handlers of this module share it.
///
/// * An image is rebuilt from the commit, for the target and with the parameters of the build that
///   it is a rebuild of.
/// * Builds of one name and version are releases of one image. What was built on an earlier release
///   is rebuilt on the rebuild of the newest one.
/// * An image that was built on another version of its parent is not moved to a new version.
/// * An image whose recipe is not known fails, and with it what would be built on it; both name the
///   reason.
/// * The policy judges each image that is rebuilt for its own sake.
/// * Why an image is in the plan or not is said by the codes of [`image`](crate::image); one that
///   was named has [`Plan::REQUESTED`].
///
/// ```
/// use freshmaker_redhat::handlers::{BuiltImages, RebuildNamedImages};
/// use freshmaker_redhat::contracts::{ImageBuilds, Recipes};
/// use std::sync::Arc;
///
/// fn wire(builds: Arc<dyn ImageBuilds>, recipes: Arc<dyn Recipes>) -> freshmaker::engine::EngineBuilder {
///     let images = BuiltImages::new(builds, recipes).with_system("koji");
///     freshmaker::Engine::builder().on(RebuildNamedImages(images))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct BuiltImages {
    builds: Arc<dyn ImageBuilds>,
    recipes: Arc<dyn Recipes>,
    system: Option<String>,
    within: Duration,
}

/// Images that are to be rebuilt, and what was left out before their releases were compared.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    releases: Releases,
    /// Images that were considered, and are not rebuilt.
    left_out: BTreeMap<Nvr, Reason>,
    /// Images of which it is not known whether they are built on what is rebuilt.
    unsure: BTreeMap<Nvr, Reason>,
}

/// What the image is that others are built on.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Root {
    /// A build that another system has made, which is used as it is.
    Outside,
    /// An image that is itself rebuilt, with this recipe and for this reason.
    Rebuilt(Box<std::result::Result<Recipe, String>>, Reason),
}

impl BuiltImages {
    /// Asks these about builds and recipes.
    #[must_use]
    pub fn new(builds: Arc<dyn ImageBuilds>, recipes: Arc<dyn Recipes>) -> Self {
        Self { builds, recipes, system: None, within: Duration::from_secs(180 * 24 * 3600) }
    }

    /// Names the build system that builds the images, by the name under which it is registered. An
    /// engine with several build systems needs it.
    #[must_use]
    pub fn with_system(mut self, name: impl Into<String>) -> Self {
        self.system = Some(name.into());
        self
    }

    /// Sets how long ago an image may have been built to be rebuilt because of its parent; 180 days
    /// by default. Older ones are not maintained any more.
    #[must_use]
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Returns the newest build of each name from a branch, or why there is none.
    pub(super) async fn newest_from_branch(
        &self,
        names: &BTreeSet<String>,
        branch: &str,
    ) -> Result<BTreeMap<String, std::result::Result<Nvr, String>>> {
        self.builds.newest_from_branch(names, branch).await
    }

    pub(super) async fn of_task(&self, task: i64) -> Result<TaskBuild> {
        self.builds.of_task(task).await
    }

    /// Returns how one image was built.
    pub(super) async fn recipe(&self, image: &Nvr) -> Result<std::result::Result<Recipe, String>> {
        let found = self.recipes.recipes(&[image.clone()].into()).await?.remove(image);
        Ok(found.unwrap_or_else(unknown))
    }

    /// Returns the named images, and those between them: built on one, and below another one.
    ///
    /// # Errors
    /// If the build system cannot be asked, or names parents of parents without end.
    pub(super) async fn related(&self, named: &BTreeSet<Nvr>, target: Option<&str>) -> Result<Wanted> {
        let newest: BTreeMap<_, _> = named.iter().map(|nvr| (group(nvr), nvr)).collect();
        // A build that a named one replaces leads nowhere: the named one has parents of its own.
        let stands_for = |nvr: &Nvr| newest.get(&group(nvr)).is_some_and(|named| nvr.by_release(named).is_le());
        let mut known: Each<Recipe> = Each::new();
        let mut layer = named.clone();
        for _ in 0..LAYERS_MAX {
            if layer.is_empty() {
                return Ok(self.between(named, &known, &stands_for, target));
            }
            let mut recipes = self.recipes.recipes(&layer).await?;
            known.extend(layer.into_iter().map(|nvr| {
                let recipe = recipes.remove(&nvr).unwrap_or_else(unknown);
                (nvr, recipe)
            }));
            if known.len() > IMAGES_MAX {
                return Err(too_many(known.len()));
            }
            let parents = known.values().flatten().flat_map(|recipe| &recipe.parents).map(|(parent, _)| parent);
            layer = parents.filter(|nvr| !known.contains_key(*nvr) && !stands_for(nvr)).cloned().collect();
        }
        let text = format!("more than {LAYERS_MAX} images are built on each other");
        Err(Error::new(Remedy::Corrupt, "the build system", text))
    }

    fn between(
        &self,
        named: &BTreeSet<Nvr>,
        known: &Each<Recipe>,
        stands_for: &dyn Fn(&Nvr) -> bool,
        target: Option<&str>,
    ) -> Wanted {
        let mut family = Family::default();
        for (nvr, recipe) in known {
            recipe.iter().flat_map(|recipe| &recipe.parents).for_each(|(parent, _)| family.add(nvr, parent));
        }
        let all = family.members().filter(|nvr| stands_for(nvr)).cloned().collect::<Vec<_>>();
        let above = family.descendants(all);
        let mut wanted = Wanted::default();
        for (nvr, recipe) in known.iter().filter(|(nvr, _)| named.contains(*nvr) || above.contains(*nvr)) {
            let image = self.image(nvr, recipe.clone(), target);
            let image = if named.contains(nvr) {
                image.affected().because(Reason::new(Plan::REQUESTED, "it was asked for"))
            } else {
                let text = "it is built on an image that was asked for, and one that was asked for is built on it";
                image.because(Reason::new("between", text))
            };
            wanted.releases.insert(image);
        }
        // Builds that named ones stand for: what was built on them is built on the named ones.
        for nvr in family.members().filter(|nvr| stands_for(nvr) && !named.contains(*nvr)) {
            wanted.releases.insert(CatalogImage::new(nvr.clone()));
        }
        for nvr in family.members().filter(|nvr| named.iter().any(|named| other_version(named, nvr))) {
            let text = "another version of it was asked for, and what is built on this one stays there";
            wanted.left_out.insert(nvr.clone(), Reason::new("other_version", text));
        }
        wanted
    }

    /// Describes an image with its recipe.
    fn image(&self, nvr: &Nvr, recipe: std::result::Result<Recipe, String>, target: Option<&str>) -> CatalogImage {
        let image = CatalogImage::new(nvr.clone());
        let Recipe { mut artifact, parents, .. } = match recipe {
            Ok(recipe) => recipe,
            Err(text) => return image.with_lookup_error(text),
        };
        artifact.system.clone_from(&self.system);
        if let Some(target) = target {
            target.clone_into(&mut artifact.target);
        }
        let image = image.with_artifact(artifact);
        parents.into_iter().fold(image, |image, (parent, kind)| image.with_parent(parent, kind))
    }

    /// Returns the images that are built on this one, and on those, as far as they were built since
    /// the time that counts.
    ///
    /// # Errors
    /// If the build system cannot be asked, or more than 10,000 images follow.
    pub(super) async fn built_on(&self, parent: &Nvr, root: Root, cx: &Context) -> Result<Wanted> {
        let listed = self.builds.newest_since(earlier(cx.now(), self.within)).await?;
        let (family, mut wanted) = children(&listed, parent, &root);
        let mut below = family.descendants([parent.clone()]);
        below.retain(|nvr| group(nvr) != group(parent));
        if below.len() > IMAGES_MAX {
            return Err(too_many(below.len()));
        }
        wanted.left_out.retain(|nvr, _| !below.contains(nvr) && group(nvr) != group(parent));
        let mut recipes = if below.is_empty() { Each::new() } else { self.recipes.recipes(&below).await? };
        let newest: BTreeMap<_, _> = below.iter().map(|nvr| (group(nvr), nvr)).collect();
        for nvr in &below {
            let recipe = recipes.remove(nvr).unwrap_or_else(unknown);
            self.follow(&mut wanted.releases, nvr, recipe, (parent, &root), &newest);
        }
        if let Root::Rebuilt(recipe, why) = root {
            wanted.releases.insert(self.image(parent, *recipe, None).affected().because(why));
        }
        Ok(wanted)
    }

    /// Adds an image that is rebuilt because of its parents, and the earlier releases of those.
    fn follow(
        &self,
        releases: &mut Releases,
        nvr: &Nvr,
        mut recipe: std::result::Result<Recipe, String>,
        (parent, root): (&Nvr, &Root),
        newest: &BTreeMap<(String, String), &Nvr>,
    ) {
        let mut on = BTreeSet::new();
        let declared: Vec<_> = recipe.iter().flat_map(|recipe| recipe.parents.clone()).collect();
        for (declared, kind) in declared {
            if root.replaces(&declared, parent) {
                on.insert(parent.to_string());
                if !matches!(root, Root::Outside) {
                    releases.insert(CatalogImage::new(declared));
                    continue;
                }
                *releases = std::mem::take(releases).already_rebuilt(declared, parent.clone());
                if let (EdgeKind::ParentImage, Ok(recipe)) = (kind, &mut recipe) {
                    recipe.artifact = recipe.artifact.clone().with_parameter(PARENT, parent.to_string());
                }
            } else if let Some(newest) = newest.get(&group(&declared)) {
                on.insert(newest.to_string());
                releases.insert(CatalogImage::new(declared));
            }
        }
        let on: Vec<_> = on.into_iter().collect();
        let why = Reason::new("parent_rebuilt", format!("it is built on {}", on.join(", ")));
        releases.insert(self.image(nvr, recipe, None).affected().because(why));
    }
}

impl Root {
    /// Whether what was built on this release is to be built on the root.
    fn replaces(&self, declared: &Nvr, parent: &Nvr) -> bool {
        let order = declared.by_release(parent);
        group(declared) == group(parent) && if matches!(self, Self::Outside) { order.is_lt() } else { order.is_le() }
    }
}

/// Returns what is built on what, by the newest release of each image, and why images that name
/// this parent are not built on it.
fn children(listed: &[BuiltImage], parent: &Nvr, root: &Root) -> (Family, Wanted) {
    let (mut family, mut wanted) = (Family::default(), Wanted::default());
    let newest: BTreeMap<_, _> = listed.iter().map(|image| (group(&image.nvr), &image.nvr)).collect();
    for BuiltImage { nvr, parents, unknown_parent } in listed {
        if let Some(text) = unknown_parent {
            wanted.unsure.insert(nvr.clone(), Reason::new("lookup_error", text));
        }
        for (declared, _) in parents {
            if root.replaces(declared, parent) {
                family.add(nvr, parent);
            } else if group(declared) == group(parent) {
                let text = format!("it is built on {declared}");
                wanted.left_out.insert(nvr.clone(), Reason::new("newer_parent", text));
            } else {
                family.add(nvr, newest.get(&group(declared)).copied().unwrap_or(declared));
            }
            if other_version(parent, declared) {
                let text = format!("it is built on {declared}, and {parent} is another version of that");
                wanted.left_out.insert(nvr.clone(), Reason::new("other_version", text));
            }
        }
    }
    (family, wanted)
}

impl Wanted {
    /// Returns the plan, after the policy has judged each image by these facts; `None` if no image
    /// has to do with it.
    ///
    /// # Errors
    /// If what the build system says about images makes no sense, or the storage cannot be asked.
    pub(super) async fn plan(self, facts: Facts, cx: &Context) -> std::result::Result<Option<Plan>, BoxError> {
        let Self { releases, left_out, unsure } = self;
        let selection = releases.judged_by(cx.policy(), &facts).select()?;
        let none = selection.images().is_empty() && selection.exclusions().next().is_none();
        if none && left_out.is_empty() {
            return Ok(None);
        }
        let planner = selection.planner().facts(facts).estimates(&cx.estimates().await?);
        let others = left_out.into_iter().chain(unsure).filter(|(nvr, _)| !selection.mentions(nvr));
        let planner = others.fold(planner, |planner, (nvr, why)| planner.exclude(nvr, why));
        Ok(Some(planner.plan()?))
    }

    /// Returns the decision to rebuild these images, or that the event concerns nothing.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub(super) async fn decide(self, facts: Facts, cx: &Context) -> HandlerResult {
        let plan = self.plan(facts, cx).await?;
        Ok(plan.map_or(Decision::Ignore, Decision::Rebuild))
    }
}

/// Whether these are of one image, and of different versions of it.
fn other_version(one: &Nvr, other: &Nvr) -> bool {
    one.name() == other.name() && one.version() != other.version()
}

fn unknown<T>() -> std::result::Result<T, String> {
    Err("nothing is known about how it is built".to_owned())
}

fn too_many(count: usize) -> Error {
    Error::new(Remedy::Corrupt, "the build system", format!("{count} images are concerned, at most {IMAGES_MAX}"))
}

//! Builds of images and packages that a test writes down, as a build system knows them.

use super::world::nvr;
use async_trait::async_trait;
use freshmaker::artifact::{Artifact, ArtifactKind, Nvr};
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker::graph::EdgeKind;
use freshmaker::time::Timestamp;
use freshmaker_redhat::contracts::{BuiltImage, Each, ImageBuilds, PackageBuilds, Recipe, Recipes, TaskBuild};
use freshmaker_redhat::handlers::BuiltImages;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// A finished build of an image.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Built {
    pub(super) branch: &'static str,
    pub(super) parents: &'static [&'static str],
    pub(super) builders: &'static [&'static str],
    /// Why its recipe cannot be told.
    pub(super) broken: Option<&'static str>,
    /// Why its parents cannot be told.
    pub(super) orphan: Option<&'static str>,
}

/// Built from the branch `main` on these.
pub(super) const fn on(parents: &'static [&'static str]) -> Built {
    Built { branch: "main", parents, builders: &[], broken: None, orphan: None }
}

#[derive(Debug, Default)]
pub(super) struct Farm {
    pub(super) images: BTreeMap<Nvr, Built>,
    pub(super) tasks: BTreeMap<i64, TaskBuild>,
    /// The packages that builds made.
    pub(super) packages: BTreeMap<Nvr, Vec<&'static str>>,
    /// How often each question was asked, and about how many things at once.
    pub(super) calls: Mutex<Vec<(&'static str, usize)>>,
    /// The next questions that fail, as if the service were away.
    pub(super) outages: Mutex<usize>,
}

impl Farm {
    pub(super) fn new(images: &[(&str, Built)]) -> Self {
        let images = images.iter().map(|(name, built)| (nvr(name), *built)).collect();
        Self { images, ..Self::default() }
    }

    fn called(&self, name: &'static str, things: usize) -> Result<()> {
        self.calls.lock().unwrap().push((name, things));
        let mut outages = self.outages.lock().unwrap();
        if *outages == 0 {
            return Ok(());
        }
        *outages -= 1;
        Err(Error::new(Remedy::Unavailable, "Koji", "it is away"))
    }

    fn parents(built: &Built) -> BTreeSet<(Nvr, EdgeKind)> {
        let parents = built.parents.iter().map(|parent| (nvr(parent), EdgeKind::ParentImage));
        parents.chain(built.builders.iter().map(|parent| (nvr(parent), EdgeKind::BuilderStage))).collect()
    }
}

pub(super) fn built(farm: &Arc<Farm>) -> BuiltImages {
    BuiltImages::new(farm.clone(), farm.clone())
}

#[async_trait]
impl ImageBuilds for Farm {
    async fn newest_from_branch(
        &self,
        names: &BTreeSet<String>,
        branch: &str,
    ) -> Result<BTreeMap<String, std::result::Result<Nvr, String>>> {
        self.called("newest_from_branch", names.len())?;
        let newest = |name: &String| {
            let made = self.images.iter().filter(|(nvr, built)| nvr.name() == name && built.branch == branch);
            let newest = made.map(|(nvr, _)| nvr.clone()).max_by(Nvr::by_release);
            newest.ok_or_else(|| format!("no build of {name}"))
        };
        Ok(names.iter().map(|name| (name.clone(), newest(name))).collect())
    }

    async fn of_task(&self, task: i64) -> Result<TaskBuild> {
        self.called("of_task", 1)?;
        let found = self.tasks.get(&task).cloned();
        found.ok_or_else(|| Error::new(Remedy::NotFound, "Koji", format!("there is no task {task}")))
    }

    async fn newest_since(&self, _: Timestamp) -> Result<Vec<BuiltImage>> {
        self.called("newest_since", 1)?;
        let mut newest: BTreeMap<_, &Nvr> = BTreeMap::new();
        for nvr in self.images.keys() {
            let known = newest.entry((nvr.name(), nvr.version())).or_insert(nvr);
            if nvr.by_release(known).is_gt() {
                *known = nvr;
            }
        }
        let image = |nvr: &Nvr| {
            let built = &self.images[nvr];
            let parents = if built.orphan.is_some() { BTreeSet::new() } else { Self::parents(built) };
            BuiltImage { nvr: nvr.clone(), parents, unknown_parent: built.orphan.map(str::to_owned) }
        };
        Ok(newest.into_values().map(image).collect())
    }
}

#[async_trait]
impl Recipes for Farm {
    async fn recipes(&self, images: &BTreeSet<Nvr>) -> Result<Each<Recipe>> {
        self.called("recipes", images.len())?;
        let recipe = |image: &Nvr| {
            let built = self.images.get(image).ok_or_else(|| format!("Koji has no build {image}"))?;
            if let Some(why) = built.broken {
                return Err(why.to_owned());
            }
            let mut artifact = Artifact::new(image.to_string(), ArtifactKind::Image)
                .with_source(
                    format!("git://src/containers/{}", image.name().trim_end_matches("-container")),
                    Some("c0ffee"),
                )
                .with_parameter("git_branch", built.branch);
            artifact.target = format!("{}-candidate", built.branch);
            Ok(Recipe { artifact, parents: Self::parents(built), composes: BTreeSet::new() })
        };
        Ok(images.iter().map(|image| (image.clone(), recipe(image))).collect())
    }

    async fn installed(&self, images: &BTreeSet<Nvr>) -> Result<Each<BTreeSet<Nvr>>> {
        Ok(images.iter().map(|image| (image.clone(), Err("not asked here".to_owned()))).collect())
    }
}

#[async_trait]
impl PackageBuilds for Farm {
    async fn packages(&self, builds: &BTreeSet<Nvr>) -> Result<Each<BTreeSet<Nvr>>> {
        self.called("packages", builds.len())?;
        let made = |build: &Nvr| {
            let made = self.packages.get(build).ok_or_else(|| format!("Koji has no build {build}"))?;
            Ok(made.iter().map(|package| nvr(package)).collect())
        };
        Ok(builds.iter().map(|build| (build.clone(), made(build))).collect())
    }
}

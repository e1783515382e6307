//! Advisories and images that a test writes down, behind the contracts that handlers ask.

use async_trait::async_trait;
use freshmaker::artifact::{Artifact, ArtifactKind, Nvr};
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker::graph::EdgeKind;
use freshmaker::handler::Context;
use freshmaker::memory::MemoryCatalog;
use freshmaker::plan::Plan;
use freshmaker::{ArtifactGraph, Policy};
use freshmaker_redhat::contracts::{
    Advisories, Advisory, AdvisoryBuilds, Containing, ContentSets, Each, Images, Ingredients, PackageOrigins, Recipe,
    Recipes, TaggedBuild,
};
use freshmaker_redhat::handlers::AffectedImages;
use freshmaker_redhat::image::{CatalogImage, ImageSearch, Publication};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

pub(super) fn nvr(text: &str) -> Nvr {
    text.parse().unwrap()
}

/// An image as catalog and build system know it.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) rpms: &'static [&'static str],
    pub(super) parents: &'static [&'static str],
    pub(super) builders: &'static [&'static str],
    pub(super) unoffered: bool,
    /// Whether it is published nowhere.
    pub(super) unpublished: bool,
    /// The repository that has it; that of its name if there is none here.
    pub(super) repository: Option<&'static str>,
    pub(super) unknown_to_catalog: bool,
    pub(super) broken: Option<&'static str>,
    /// Composes that it was built with.
    pub(super) composes: &'static [i64],
    /// Content sets; `baseos` if there are none here, and none at all if this is [`NO_SETS`].
    pub(super) content_sets: &'static [&'static str],
    pub(super) flatpak: bool,
    /// Why nobody knows where its packages come from.
    pub(super) of_unknown_origin: Option<&'static str>,
}

/// The catalog names no content set.
pub(super) const NO_SETS: &[&str] = &["none"];

/// A build of packages, and the tag in which it is the latest of its name.
type Tagged = (&'static str, Option<&'static str>);

#[derive(Debug)]
pub(super) struct World {
    pub(super) advisory: Advisory,
    pub(super) fixed: &'static [&'static str],
    pub(super) repositories: &'static [&'static str],
    /// The builds of the advisory.
    pub(super) builds: Vec<Tagged>,
    /// Other advisories, and the builds of each.
    pub(super) others: Vec<(Advisory, Vec<Tagged>)>,
    pub(super) images: BTreeMap<Nvr, Known>,
    pub(super) calls: Mutex<BTreeMap<&'static str, Vec<usize>>>,
    /// Those of its builds that are not signed.
    pub(super) unsigned: &'static [&'static str],
    /// The next questions about the advisory that fail, as if the tool were away.
    pub(super) outages: Mutex<usize>,
    /// Whether images are asked for without content sets.
    pub(super) without_content_sets: bool,
}

impl World {
    /// An important advisory of RHEL that fixes these packages.
    pub(super) fn new(fixed: &'static [&'static str], images: &[(&str, Known)]) -> Self {
        let advisory = Advisory {
            id: 28484,
            name: "RHSA-2017:28484".into(),
            state: "SHIPPED_LIVE".into(),
            content_types: ["rpm".to_owned()].into(),
            security_impact: "important".into(),
            product: "RHEL".into(),
            ..Advisory::default()
        };
        let images = images.iter().map(|(name, known)| (nvr(name), known.clone())).collect();
        Self {
            advisory,
            fixed,
            repositories: &["rhel-baseos__x86_64"],
            builds: vec![("bash-5.1-9.el9", Some("rhel-9.4.0"))],
            others: Vec::new(),
            images,
            calls: Mutex::default(),
            unsigned: &[],
            outages: Mutex::default(),
            without_content_sets: false,
        }
    }

    fn called(&self, name: &'static str, things: usize) {
        self.calls.lock().unwrap().entry(name).or_default().push(things);
    }

    fn may_be_away(&self) -> Result<()> {
        let mut outages = self.outages.lock().unwrap();
        if *outages == 0 {
            return Ok(());
        }
        *outages -= 1;
        Err(Error::new(Remedy::Unavailable, "the Errata Tool", "it is away"))
    }

    fn describe(&self, image: &Nvr, packages: &BTreeSet<String>) -> Option<CatalogImage> {
        let known = self.images.get(image).filter(|known| !known.unknown_to_catalog)?;
        let rpms = known.rpms.iter().map(|rpm| nvr(rpm)).filter(|rpm| packages.contains(rpm.name()));
        let described = CatalogImage::new(image.clone()).in_repository(known.repository.unwrap_or(image.name()));
        let sets: &[&str] = match known.content_sets {
            [] => &["baseos"],
            NO_SETS => &[],
            sets => sets,
        };
        let described = sets.iter().fold(described, |image, set| image.with_content_set(*set));
        let described = rpms.fold(described.with_known_rpms(), CatalogImage::with_rpm);
        Some(described.with_publication(match known {
            Known { unpublished: true, .. } => Publication::Unpublished,
            Known { unoffered: true, .. } => Publication::Unknown,
            _ => Publication::Released,
        }))
    }
}

#[async_trait]
impl Advisories for World {
    async fn advisory(&self, id: u64) -> Result<Advisory> {
        self.called("advisory", 1);
        self.may_be_away()?;
        let mut all = std::iter::once(&self.advisory).chain(self.others.iter().map(|(advisory, _)| advisory));
        let found = all.find(|advisory| advisory.id == id).cloned();
        found.ok_or_else(|| Error::new(Remedy::NotFound, "the Errata Tool", format!("there is no advisory {id}")))
    }

    async fn fixed_packages(&self, _: u64) -> Result<BTreeSet<Nvr>> {
        self.called("fixed_packages", 1);
        Ok(self.fixed.iter().map(|rpm| nvr(rpm)).collect())
    }

    async fn builds(&self, id: u64) -> Result<BTreeSet<Nvr>> {
        self.called("builds", 1);
        let other = self.others.iter().find(|(advisory, _)| advisory.id == id);
        let builds = other.map_or(&self.builds, |(_, builds)| builds);
        Ok(builds.iter().map(|(build, _)| nvr(build)).collect())
    }

    async fn repositories(&self, _: u64) -> Result<BTreeSet<String>> {
        self.called("repositories", 1);
        Ok(self.repositories.iter().map(|id| (*id).to_owned()).collect())
    }
}

#[async_trait]
impl AdvisoryBuilds for World {
    async fn unsigned_builds(&self, _: u64) -> Result<BTreeSet<Nvr>> {
        self.called("unsigned_builds", 1);
        self.may_be_away()?;
        Ok(self.unsigned.iter().map(|build| nvr(build)).collect())
    }

    async fn advisories_of_build(&self, build: &Nvr) -> Result<BTreeSet<u64>> {
        self.called("advisories_of_build", 1);
        self.may_be_away()?;
        if self.builds.iter().any(|(known, _)| nvr(known) == *build) {
            return Ok([self.advisory.id].into());
        }
        Err(Error::new(Remedy::NotFound, "the Errata Tool", format!("there is no build {build}")))
    }
}

#[async_trait]
impl ContentSets for World {
    async fn content_sets(&self, repositories: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        self.called("content_sets", repositories.len());
        Ok(["baseos".to_owned()].into())
    }
}

#[async_trait]
impl Images for World {
    async fn containing(&self, wanted: &Containing) -> Result<Vec<CatalogImage>> {
        self.called("containing", wanted.packages.len());
        let both = ["baseos", "rhel-baseos__x86_64"].map(str::to_owned).into();
        assert_eq!(wanted.content_sets, if self.without_content_sets { BTreeSet::new() } else { both });
        let has = |known: &Known| known.rpms.iter().any(|rpm| wanted.packages.contains(nvr(rpm).name()));
        let offered = self.images.iter().filter(|(_, known)| !known.unoffered && has(known));
        Ok(offered.filter_map(|(nvr, _)| self.describe(nvr, &wanted.packages)).map(CatalogImage::affected).collect())
    }

    async fn images(&self, nvrs: &BTreeSet<Nvr>, packages: &BTreeSet<String>) -> Result<Vec<CatalogImage>> {
        self.called("images", nvrs.len());
        Ok(nvrs.iter().filter_map(|nvr| self.describe(nvr, packages)).collect())
    }

    async fn offered(
        &self,
        names_and_versions: &BTreeSet<(String, String)>,
        packages: &BTreeSet<String>,
    ) -> Result<Vec<CatalogImage>> {
        self.called("offered", names_and_versions.len());
        let wanted = |nvr: &Nvr| names_and_versions.contains(&(nvr.name().to_owned(), nvr.version().to_owned()));
        let offered = self.images.iter().filter(|(nvr, known)| !known.unoffered && wanted(nvr));
        Ok(offered.filter_map(|(nvr, _)| self.describe(nvr, packages)).collect())
    }
}

#[async_trait]
impl Recipes for World {
    async fn recipes(&self, images: &BTreeSet<Nvr>) -> Result<Each<Recipe>> {
        self.called("recipes", images.len());
        let recipe = |image: &Nvr| {
            let known = self.images.get(image).ok_or_else(|| format!("Koji has no build {image}"))?;
            if let Some(why) = known.broken {
                return Err(why.to_owned());
            }
            let artifact = Artifact::new(image.to_string(), ArtifactKind::Image);
            let parents = known.parents.iter().map(|parent| (nvr(parent), EdgeKind::ParentImage));
            let builders = known.builders.iter().map(|parent| (nvr(parent), EdgeKind::BuilderStage));
            let mut artifact = artifact.with_source(format!("git/{}", image.name()), Some("c0ffee"));
            if known.flatpak {
                artifact = artifact.with_parameter("flatpak", true);
            }
            let composes = known.composes.iter().copied().collect();
            Ok(Recipe { artifact, parents: parents.chain(builders).collect(), composes })
        };
        Ok(images.iter().map(|image| (image.clone(), recipe(image))).collect())
    }

    async fn installed(&self, images: &BTreeSet<Nvr>) -> Result<Each<BTreeSet<Nvr>>> {
        self.called("installed", images.len());
        let rpms = |image: &Nvr| {
            let known = self.images.get(image).ok_or_else(|| format!("Koji has no build {image}"))?;
            Ok(known.rpms.iter().map(|rpm| nvr(rpm)).collect())
        };
        Ok(images.iter().map(|image| (image.clone(), rpms(image))).collect())
    }
}

/// Each package comes from a build of its own name, whose packages are itself and `NAME-libs`.
#[async_trait]
impl PackageOrigins for World {
    async fn ingredients(&self, images: &BTreeSet<Nvr>) -> Result<Each<Ingredients>> {
        self.called("ingredients", images.len());
        let of = |image: &Nvr| {
            let known = self.images.get(image).ok_or_else(|| format!("Koji has no build {image}"))?;
            match known.of_unknown_origin {
                Some(why) => Err(why.to_owned()),
                None => Ok(Ingredients {
                    builds: known.rpms.iter().map(|rpm| nvr(rpm)).collect(),
                    packages: known.rpms.iter().map(|rpm| nvr(rpm).name().to_owned()).collect(),
                    arches: ["s390x", "x86_64"].map(str::to_owned).into(),
                }),
            }
        };
        Ok(images.iter().map(|image| (image.clone(), of(image))).collect())
    }

    async fn tagged(&self, builds: &BTreeSet<Nvr>) -> Result<Each<TaggedBuild>> {
        self.called("tagged", builds.len());
        let of = |build: &Nvr| {
            let mut all = self.builds.iter().chain(self.others.iter().flat_map(|(_, builds)| builds));
            let (_, tag) =
                all.find(|(known, _)| nvr(known) == *build).ok_or_else(|| format!("Koji has no build {build}"))?;
            let packages = [build.name().to_owned(), format!("{}-libs", build.name())].into();
            Ok(TaggedBuild { packages, tag: tag.map(str::to_owned) })
        };
        Ok(builds.iter().map(|build| (build.clone(), of(build))).collect())
    }
}

/// What the handlers share, over this world.
pub(super) fn affected(world: &Arc<World>) -> AffectedImages {
    AffectedImages::new(world.clone(), world.clone(), ImageSearch::new(world.clone(), world.clone()))
}

/// A context without a catalog.
pub(super) fn context(policy: Policy) -> Context {
    let catalog = Arc::new(MemoryCatalog::new(ArtifactGraph::new()));
    Context::outside(catalog, policy, freshmaker::time::from_micros(0))
}

pub(super) fn old(parents: &'static [&'static str]) -> Known {
    Known { rpms: OLD, parents, ..Known::default() }
}

pub(super) const FIXED: &[&str] = &["bash-5.1-9.el9"];
const OLD: &[&str] = &["bash-5.1-6.el9", "sed-4-1.el9"];

/// A base, two layers on it, an image with the fix, and one without the package.
pub(super) fn layers() -> Vec<(&'static str, Known)> {
    vec![
        ("base-container-9-1", old(&[])),
        ("python-container-3-1", old(&["base-container-9-1"])),
        ("app-container-1-1", old(&["python-container-3-1"])),
        ("fresh-container-1-1", Known { rpms: FIXED, ..Known::default() }),
        ("other-container-1-1", Known { rpms: &["sed-4-1.el9"], ..Known::default() }),
    ]
}

pub(super) fn waves(plan: &Plan) -> Vec<Vec<String>> {
    plan.waves().map(|wave| wave.iter().map(|node| node.artifact.id.to_string()).collect()).collect()
}

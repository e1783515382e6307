//! What handlers ask about advisories and images, as narrow contracts.
//!
//! A handler holds an `Arc<dyn …>` of the contracts that it needs, and never names a service. The
//! adapters of this crate implement them; a team with a catalog of its own implements those that it
//! replaces.
//!
//! | contract | question | services |
//! |---|---|---|
//! | [`Advisories`] | what does an advisory fix, and where does it ship to? | Errata Tool |
//! | [`ContentSets`] | which content sets have these repositories? | Pulp |
//! | [`Images`] | which images contain these packages? | Lightblue, Pyxis, Koji |
//! | [`ImageRepositories`] | which images of this repository are rebuilt? | Lightblue, Pyxis |
//! | [`Recipes`] | how was this image built, and from which images? | Koji |
//! | [`Composes`] | what are these composes made from? | ODCS |
//! | [`PackageOrigins`] | which builds do packages come from, and where are those tagged? | Koji |
//! | [`ImageBuilds`] | which builds of images are there, and what is built on what? | Koji |
//! | [`PackageBuilds`] | which packages did this build make? | Koji |
//! | [`InstalledPackages`] | does this rebuilt image have these packages? | Koji, Lightblue, Pyxis |
//! | [`AdvisoryBuilds`] | which builds does an advisory have, and are they signed? | Errata Tool |
//! | [`ShippedAdvisories`] | which advisories have shipped since then? | Errata Tool |
//! | [`Modules`] | which modules contain these packages? | MBS |
//!
//! Every method answers for many items at once, so that one decision makes few requests. All are
//! read-only and may be repeated. A method fails if the service cannot be asked, or if its answer
//! as a whole makes no sense. An error about one item is part of the answer, for this item alone.

mod builds;
mod extra;
mod installed;
mod repositories;

use crate::image::CatalogImage;
use async_trait::async_trait;
use freshmaker::artifact::{Artifact, Nvr};
use freshmaker::backend::Result;
use freshmaker::graph::EdgeKind;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use builds::{AdvisoryBuilds, BuiltImage, ImageBuilds, PackageBuilds, ShippedAdvisories, TaskBuild};
pub use extra::WithRepositories;
pub use installed::InstalledPackages;
pub use repositories::{ImageRepositories, RebuiltRepository, TaggedImage};

/// An advisory, as far as rebuilds depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advisory {
    /// Its number, as in messages.
    pub id: u64,
    /// Its name with its revision, such as `RHSA-2018:2838-08`.
    pub name: String,
    /// Its state in the Errata Tool, such as `QE` or `SHIPPED_LIVE`.
    pub state: String,
    /// What it ships: `rpm`, `module`, `docker`.
    pub content_types: BTreeSet<String>,
    /// Its security impact in lower case: `critical`, `important`, `moderate`, `low`, `none`, or
    /// empty if it has none.
    pub security_impact: String,
    /// Short name of its product, such as `RHEL`.
    pub product: String,
    /// Name of its release, such as `RHEL-7.4.0`.
    pub release: String,
    /// Who reported it.
    pub reporter: String,
    /// CVEs that it fixes.
    pub cves: BTreeSet<String>,
    /// Whether one of its bugs has the flag `hightouch+`, which marks a major incident.
    pub has_hightouch_bug: bool,
}

/// What is known about advisories.
#[async_trait]
pub trait Advisories: fmt::Debug + Send + Sync {
    /// Returns an advisory.
    ///
    /// # Errors
    /// [`NotFound`](freshmaker::backend::Remedy::NotFound) if there is none with this number,
    /// [`Corrupt`](freshmaker::backend::Remedy::Corrupt) if its description lacks something or
    /// contradicts itself.
    async fn advisory(&self, id: u64) -> Result<Advisory>;

    /// Returns the binary packages that have the fix: those that the CVEs of the advisory affect,
    /// or all of the advisory if its CVEs name none.
    ///
    /// # Errors
    /// As [`advisory`](Self::advisory).
    async fn fixed_packages(&self, id: u64) -> Result<BTreeSet<Nvr>>;

    /// Returns the builds of packages that the advisory ships, by the names of their source
    /// packages.
    ///
    /// # Errors
    /// As [`advisory`](Self::advisory).
    async fn builds(&self, id: u64) -> Result<BTreeSet<Nvr>>;

    /// Returns the ids of the package repositories that the advisory ships to.
    ///
    /// # Errors
    /// As [`advisory`](Self::advisory).
    async fn repositories(&self, id: u64) -> Result<BTreeSet<String>>;
}

/// What is known about package repositories.
#[async_trait]
pub trait ContentSets: fmt::Debug + Send + Sync {
    /// Returns the content sets of these repositories. Repositories that are not known, or have
    /// none, add nothing.
    ///
    /// # Errors
    /// If the service cannot be asked.
    async fn content_sets(&self, repositories: &BTreeSet<String>) -> Result<BTreeSet<String>>;
}

/// Which images are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Containing {
    /// Names of packages, without version. An image must contain one of them.
    pub packages: BTreeSet<String>,
    /// Content sets. An image must use one of them; if there are none, all images count.
    pub content_sets: BTreeSet<String>,
}

/// What is known about released container images.
///
/// Architectures of one image are one [`CatalogImage`]: their content sets, repositories and
/// packages are united.
#[async_trait]
pub trait Images: fmt::Debug + Send + Sync {
    /// Returns the images that are offered to users and rebuilt automatically, and that contain one
    /// of these packages, marked as [affected](CatalogImage::affected). Each comes with its
    /// installed packages of these names.
    ///
    /// # Errors
    /// If the catalog cannot be asked.
    async fn containing(&self, wanted: &Containing) -> Result<Vec<CatalogImage>>;

    /// Returns these images, offered or not, with their installed packages of these names. Images
    /// that the catalog does not have are left out.
    ///
    /// # Errors
    /// If the catalog cannot be asked.
    async fn images(&self, nvrs: &BTreeSet<Nvr>, packages: &BTreeSet<String>) -> Result<Vec<CatalogImage>>;

    /// Returns the images that are offered and have one of these names and versions
    /// (`ubi9-container-9.4`), with their installed packages of these names.
    ///
    /// # Errors
    /// If the catalog cannot be asked.
    async fn offered(
        &self,
        names_and_versions: &BTreeSet<(String, String)>,
        packages: &BTreeSet<String>,
    ) -> Result<Vec<CatalogImage>>;
}

/// How an image was built.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Its source with the commit, target and parameters; the id is that of the image.
    pub artifact: Artifact,
    /// The images that it was built from.
    pub parents: BTreeSet<(Nvr, EdgeKind)>,
    /// Numbers of the composes that its packages came from.
    pub composes: BTreeSet<i64>,
}

/// How images were built, and what is in them.
#[async_trait]
pub trait Recipes: fmt::Debug + Send + Sync {
    /// Returns the recipe of each of these images, or why it is not known, in a sentence.
    ///
    /// # Errors
    /// If the service cannot be asked. What is wrong with one image is part of the answer.
    async fn recipes(&self, images: &BTreeSet<Nvr>) -> Result<Each<Recipe>>;

    /// Returns the packages that are installed in each of these images, of all architectures, or
    /// why they are not known. Callers ask for images that the catalog does not have.
    ///
    /// # Errors
    /// If the service cannot be asked. What is wrong with one image is part of the answer.
    async fn installed(&self, images: &BTreeSet<Nvr>) -> Result<Each<BTreeSet<Nvr>>>;
}

/// An answer for each image or build that was asked about: what was found, or in a sentence why
/// nothing was.
pub type Each<T> = BTreeMap<Nvr, std::result::Result<T, String>>;

/// What a compose is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ComposeSource {
    /// Content sets of Pulp, whose contents continue to change.
    ContentSets,
    /// The packages of a tag.
    Tag,
    /// Modules.
    Modules,
    /// Builds.
    Builds,
    /// A configuration that only the service knows.
    Configuration,
}

/// A compose, as far as rebuilds depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownCompose {
    /// What it is made from.
    pub source: ComposeSource,
    /// The names of its sources: content sets, modules, or a tag.
    pub names: BTreeSet<String>,
}

/// What is known about composes, which are package repositories that were made for builds.
#[async_trait]
pub trait Composes: fmt::Debug + Send + Sync {
    /// Returns each of these composes by its number, in any state, or in a sentence why nothing can
    /// be said about it: the service does not know it, or its answer about it makes no sense.
    ///
    /// # Errors
    /// If the service cannot be asked. What is wrong with one compose is part of the answer.
    async fn composes(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, std::result::Result<KnownCompose, String>>>;
}

/// What the packages in an image were made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ingredients {
    /// The builds that the packages come from.
    pub builds: BTreeSet<Nvr>,
    /// The names of the packages.
    pub packages: BTreeSet<String>,
    /// The architectures of the image.
    pub arches: BTreeSet<String>,
}

/// A build of packages, and where it can be taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaggedBuild {
    /// The names of its packages, source packages included.
    pub packages: BTreeSet<String>,
    /// The tag in which it is the latest build of its name, if there is one. A tag for packages
    /// that are to be released (`rhel-9.4.0-candidate`) counts, and the tag of the same name
    /// without `-candidate` is preferred to it, because its packages are signed.
    pub tag: Option<String>,
}

/// What is known about the builds that packages come from.
#[async_trait]
pub trait PackageOrigins: fmt::Debug + Send + Sync {
    /// Returns what the packages in each of these images were made from, or in a sentence why that
    /// is not known.
    ///
    /// # Errors
    /// If the service cannot be asked. What is wrong with one image is part of the answer.
    async fn ingredients(&self, images: &BTreeSet<Nvr>) -> Result<Each<Ingredients>>;

    /// Returns the packages and the tag of each of these builds, or in a sentence why they are not
    /// known.
    ///
    /// # Errors
    /// If the service cannot be asked. What is wrong with one build is part of the answer.
    async fn tagged(&self, builds: &BTreeSet<Nvr>) -> Result<Each<TaggedBuild>>;
}

/// A stream of a module, as described by its latest build that is ready.
///
/// ```
/// use freshmaker_redhat::contracts::Module;
///
/// let module = Module {
///     name: "perl".to_owned(),
///     stream: "5.26".to_owned(),
///     source: "https://src.example.org/modules/perl".to_owned(),
///     commit: "f1d2d2f9".to_owned(),
///     components: [("perl-libs".to_owned(), Some("f29".to_owned()))].into(),
/// };
/// assert_eq!(module.id(), "perl:5.26");
/// assert!(module.takes("perl-libs", Some("f29")) && !module.takes("perl-libs", Some("f30")));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Its stream, which is also the branch of its metadata.
    pub stream: String,
    /// The repository of its metadata.
    pub source: String,
    /// The commit that the latest build was made from.
    pub commit: String,
    /// The packages that it is built from, each with the branch or commit that its metadata name.
    pub components: BTreeMap<String, Option<String>>,
}

impl Module {
    /// Returns name and stream, joined by a colon.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}:{}", self.name, self.stream)
    }

    /// Returns whether the module takes this package from this branch. A package without a branch
    /// in the metadata, and `None` here, fit every branch.
    #[must_use]
    pub fn takes(&self, package: &str, branch: Option<&str>) -> bool {
        match (self.components.get(package), branch) {
            (None, _) => false,
            (Some(Some(from)), Some(branch)) => from == branch,
            (Some(_), _) => true,
        }
    }
}

/// What is known about modules.
#[async_trait]
pub trait Modules: fmt::Debug + Send + Sync {
    /// Returns the modules whose latest build has one of these packages as a component.
    ///
    /// # Errors
    /// If the service cannot be asked.
    async fn containing(&self, packages: &BTreeSet<String>) -> Result<Vec<Module>>;

    /// Returns a stream of a module; `None` if no build of it is ready.
    ///
    /// # Errors
    /// If the service cannot be asked.
    async fn module(&self, name: &str, stream: &str) -> Result<Option<Module>>;
}

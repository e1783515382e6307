//! Reads released container images from [Lightblue](https://github.com/lightblue-platform).
//!
//! [`Lightblue`] implements [`Images`] by queries of the entities `containerRepository` and
//! `containerImage`.
//!
//! ```no_run
//! use freshmaker_redhat::lightblue::{Lightblue, LightblueConfig};
//! use freshmaker_redhat::contracts::{Containing, Images};
//!
//! # async fn example() -> freshmaker::backend::Result<()> {
//! let mut config = LightblueConfig::new("https://lightblue.example.com");
//! config.http.tls.client_cert = Some("/etc/freshmaker/lightblue.pem".into());
//! config.image_version = "0.0.11".to_owned();
//! let lightblue = Lightblue::new(config)?;
//! let wanted = Containing {
//!     packages: ["openssl-libs".to_owned()].into(),
//!     content_sets: ["rhel-9-for-x86_64-baseos-rpms".to_owned()].into(),
//! };
//! for image in lightblue.containing(&wanted).await? {
//!     println!("{}", image.nvr());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Which images are offered and rebuilt
//! [`containing`](Images::containing) first asks for the repositories: those that are published, in
//! one of the configured release categories and of one of the configured vendors, and the
//! configured exceptions. Those without `auto_rebuild_tags` are passed over. It then asks for the
//! published images in them, 100 repositories at a time. A query can only ask for images that have
//! one of the tags in some repository, so the answer is checked: an image counts if one of its
//! repositories is among those above, and the image has one of the tags of that repository there.
//! Packages and content sets are checked again as well.
//!
//! # What an image is
//! * Lightblue has an object for each architecture. Objects with one NVR are one image: its content
//!   sets, repositories, labels and packages are united.
//! * An object without the NVR of a build (`brew.build`), or whose text there is not an NVR, cannot
//!   be an image. Each call counts such objects and logs them once.
//! * Packages are those of the names that were asked for. If no architecture has a manifest, or no
//!   names were asked for, the packages are unknown. A manifest without packages of these names
//!   means that the image contains none. Packages have no epoch, because the manifests have none:
//!   give the packages with a fix without epochs too.
//! * Publication: [`Released`](crate::image::Publication::Released) if the image is published in a
//!   published repository that is generally available, and not also a beta, a technology preview or
//!   deprecated; [`Published`](crate::image::Publication::Published) if it is published in another
//!   published repository; else [`Unpublished`](crate::image::Publication::Unpublished). So it is
//!   for images in the configured exceptions.
//! * The parent is the one in `parent_brew_build`, if there is one. How the image is built is a
//!   question for [`Recipes`](crate::contracts::Recipes).
//! * An installed package or a parent whose name makes no sense is a
//!   [lookup error](CatalogImage::with_lookup_error) of its image, which then has unknown packages.
//!   A field of a wrong type is an error of the whole call, because it means that the service is
//!   another than the one that this module knows.
//!
//! # Requests
//! Every question is asked in pages. An answer that lacks objects which the service counted, that
//! shrinks while it is read, or that has no end is an error, never a shorter answer. Nothing is
//! kept from one call to the next.

mod client;
mod query;
mod record;

use crate::contracts::{Containing, ImageRepositories, Images, InstalledPackages, RebuiltRepository, TaggedImage};
use crate::image::{CatalogImage, Unmet};
pub use crate::released::UnpublishedRepository;
use crate::released::{self, Image, Repositories, Repository, chunks};
use crate::rest::field::Read;
use async_trait::async_trait;
use client::Client;
use freshmaker::artifact::Nvr;
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::HttpConfig;
use futures_util::{StreamExt, TryStreamExt};
use query::Question;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Number of repositories in one query, as the service is used to.
const REPOSITORIES_A_QUERY: usize = 100;
/// Number of builds in one query.
const BUILDS_A_QUERY: usize = 100;
/// Number of names and versions in one query. Each is a regular expression.
const RELEASES_A_QUERY: usize = 50;

/// Says how to reach and use a Lightblue.
///
/// ```
/// use freshmaker_redhat::lightblue::{LightblueConfig, UnpublishedRepository};
///
/// let mut config = LightblueConfig::new("https://lightblue.example.com");
/// config.http.tls.client_cert = Some("/etc/freshmaker/lightblue.pem".into());
/// config.unpublished_exceptions.insert(UnpublishedRepository {
///     registry: "registry.example.com".to_owned(),
///     repository: "rhel8/support-tools".to_owned(),
/// });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LightblueConfig {
    /// Base URL of the service (without `/rest/data`), certificates and bounds. The service knows
    /// its users by their client certificates.
    pub http: HttpConfig,
    /// Version of the entity `containerRepository`. Default: empty, which means the service's
    /// default.
    pub repository_version: String,
    /// Version of the entity `containerImage`. Default: empty, which means the service's default.
    pub image_version: String,
    /// Release categories of repositories whose images are rebuilt; if empty, all. Default:
    /// `Generally Available`, `Tech Preview` and `Beta`.
    pub release_categories: BTreeSet<String>,
    /// Vendors of repositories whose images are rebuilt; if empty, all. Default: `redhat`.
    pub vendors: BTreeSet<String>,
    /// Unpublished repositories whose images are rebuilt all the same. Default: none.
    pub unpublished_exceptions: BTreeSet<UnpublishedRepository>,
    /// Registries that only builds use. An image does not count as offered for being in one of
    /// them, whatever tags it has there. Default: none.
    pub build_registries: BTreeSet<String>,
    /// Number of objects on one page of an answer. Default: 500. The service can have a lower
    /// limit, which it names in its error.
    pub page: u32,
    /// Number of queries that run at the same time within one call. Default: 4.
    pub parallel: usize,
}

impl LightblueConfig {
    /// Creates a configuration for the service at this URL, with the default versions of entities.
    /// A request may take 600 s, because the service needs minutes for some.
    pub fn new(url: impl Into<String>) -> Self {
        let mut http = HttpConfig::new(url);
        http.timeout = Duration::from_secs(600);
        Self {
            http,
            repository_version: String::new(),
            image_version: String::new(),
            release_categories: ["Generally Available", "Tech Preview", "Beta"].map(str::to_owned).into(),
            vendors: ["redhat".to_owned()].into(),
            unpublished_exceptions: BTreeSet::new(),
            build_registries: BTreeSet::new(),
            page: 500,
            parallel: 4,
        }
    }

    /// Checks what can be checked without the network: URL, certificates, versions, exceptions and
    /// bounds.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming the file or the option.
    pub fn check_offline(&self) -> Result<()> {
        HttpConfig::check_url(&self.http.url)?;
        let refused = |text: String| Err(Error::new(Remedy::Unsupported, self.http.url.as_str(), text));
        for (option, version) in
            [("repository_version", &self.repository_version), ("image_version", &self.image_version)]
        {
            if !version.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
                return refused(format!("`{option}` is not a version: {version:?}"));
            }
        }
        if self.page == 0 || self.parallel == 0 {
            return refused("`page` and `parallel` must be greater than 0".to_owned());
        }
        released::check_exceptions(&self.unpublished_exceptions).or_else(|text| refused(text.to_owned()))?;
        Client::new(self).map(drop)
    }
}

/// Reads released images from a Lightblue; see the [module documentation](self).
///
/// ```
/// use freshmaker_redhat::lightblue::{Lightblue, LightblueConfig};
/// use freshmaker_redhat::contracts::Images;
/// use std::sync::Arc;
///
/// let lightblue = Lightblue::new(LightblueConfig::new("https://lightblue.example.com"))?;
/// let images: Arc<dyn Images> = Arc::new(lightblue);
/// # drop(images);
/// # Ok::<(), freshmaker::backend::Error>(())
/// ```
///
/// # Errors
/// All methods fail in the same ways:
/// * [`Unavailable`](Remedy::Unavailable): the service did not answer, answered 401, 404 or 5xx, or
///   reported an error of its own.
/// * [`NotNow`](Remedy::NotNow): the service refuses (403, 429, no access to a field).
/// * [`Unsupported`](Remedy::Unsupported): the service does not know a field or an entity, usually
///   because of a wrong version in the configuration, or the page is too large for it.
/// * [`Rejected`](Remedy::Rejected): another definite no (4xx), or more than 100 pages.
/// * [`Corrupt`](Remedy::Corrupt): the answer makes no sense, or is not complete.
#[derive(Debug)]
pub struct Lightblue {
    client: Client,
    config: LightblueConfig,
}

impl Lightblue {
    /// Creates a client of this service. Nothing is connected yet.
    ///
    /// # Errors
    /// As [`LightblueConfig::check_offline`].
    pub fn new(config: LightblueConfig) -> Result<Self> {
        config.check_offline()?;
        Ok(Self { client: Client::new(&config)?, config })
    }

    /// Asks several questions at the same time and returns all objects of their answers.
    async fn ask<T: Send>(&self, questions: Vec<Question>, read: fn(&Value) -> Read<T>) -> Result<Vec<T>> {
        let answers = questions.into_iter().map(|question| self.client.find(question, read));
        let answers = futures_util::stream::iter(answers).buffered(self.config.parallel);
        Ok(answers.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }
}

#[async_trait]
impl released::Catalog for Lightblue {
    fn name(&self) -> &'static str {
        "lightblue"
    }

    fn build_registries(&self) -> &BTreeSet<String> {
        &self.config.build_registries
    }

    fn release_categories(&self) -> &BTreeSet<String> {
        &self.config.release_categories
    }

    fn unpublished_exceptions(&self) -> &BTreeSet<UnpublishedRepository> {
        &self.config.unpublished_exceptions
    }

    async fn offered_repositories(&self) -> Result<Vec<Repository>> {
        self.client.find(query::offered_repositories(&self.config), record::repository).await
    }

    async fn named_repositories(&self, names: BTreeSet<String>) -> Result<Vec<Repository>> {
        let questions = chunks(names, REPOSITORIES_A_QUERY);
        let questions = questions.iter().map(|names| query::named_repositories(names)).collect();
        self.ask(questions, record::repository).await
    }

    async fn own_repositories(&self, names: BTreeSet<String>) -> Result<Vec<Repository>> {
        let questions = chunks(names, REPOSITORIES_A_QUERY);
        let questions = questions.iter().map(|names| query::own_repositories(names, &self.config.vendors));
        self.ask(questions.collect(), record::repository).await
    }

    async fn images_in(&self, repositories: &Repositories, wanted: &Containing) -> Result<Vec<Image>> {
        let question = |names: &[String], tags: &BTreeSet<String>| {
            query::images_in(names, tags, &wanted.packages, &wanted.content_sets)
        };
        let parts = repositories.parts(REPOSITORIES_A_QUERY);
        let questions = parts.iter().map(|(names, tags)| question(names, tags)).collect();
        self.ask(questions, record::image).await
    }

    async fn images_of(&self, builds: &BTreeSet<String>, packages: &BTreeSet<String>) -> Result<Vec<Image>> {
        let questions = chunks(builds.iter().cloned(), BUILDS_A_QUERY);
        let questions = questions.iter().map(|builds| query::images_of(builds, packages)).collect();
        self.ask(questions, record::image).await
    }

    async fn releases_of(
        &self,
        names_and_versions: &BTreeSet<(String, String)>,
        packages: &BTreeSet<String>,
    ) -> Result<Vec<Image>> {
        let questions = chunks(names_and_versions.iter().cloned(), RELEASES_A_QUERY);
        let questions = questions.iter().map(|releases| query::releases_of(releases, packages)).collect();
        self.ask(questions, record::image).await
    }
}

#[async_trait]
impl Images for Lightblue {
    async fn containing(&self, wanted: &Containing) -> Result<Vec<CatalogImage>> {
        released::containing(self, wanted).await
    }

    async fn images(&self, nvrs: &BTreeSet<Nvr>, packages: &BTreeSet<String>) -> Result<Vec<CatalogImage>> {
        released::images(self, nvrs, packages).await
    }

    async fn offered(
        &self,
        names_and_versions: &BTreeSet<(String, String)>,
        packages: &BTreeSet<String>,
    ) -> Result<Vec<CatalogImage>> {
        released::offered(self, names_and_versions, packages).await
    }
}

/// Packages are compared without epochs, because the manifests have none.
#[async_trait]
impl InstalledPackages for Lightblue {
    fn service(&self) -> &'static str {
        released::Catalog::name(self)
    }

    async fn unmet(&self, image: &Nvr, demands: &BTreeSet<Nvr>) -> Result<Option<Vec<Unmet>>> {
        released::unmet(self, image, demands).await
    }
}

#[async_trait]
impl ImageRepositories for Lightblue {
    async fn rebuilt(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, std::result::Result<RebuiltRepository, String>>> {
        released::rebuilt(self, names).await
    }

    async fn images_in(&self, repository: &RebuiltRepository) -> Result<Vec<TaggedImage>> {
        released::images_in(self, repository).await
    }
}

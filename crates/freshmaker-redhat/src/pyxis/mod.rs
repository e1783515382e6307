//! Reads released container images from Pyxis, the catalog behind `catalog.redhat.com`.
//!
//! [`Pyxis`] implements [`Images`] by queries of its GraphQL interface: `find_repositories` and
//! `find_images`. Its REST interface is not needed for that.
//!
//! ```no_run
//! use freshmaker_redhat::contracts::{Containing, Images};
//! use freshmaker_redhat::pyxis::{Pyxis, PyxisConfig};
//!
//! # async fn example() -> freshmaker::backend::Result<()> {
//! let mut config = PyxisConfig::new("https://graphql.pyxis.example.com");
//! config.http.tls.client_cert = Some("/etc/freshmaker/pyxis.pem".into());
//! let pyxis = Pyxis::new(config)?;
//! let wanted = Containing {
//!     packages: ["openssl-libs".to_owned()].into(),
//!     content_sets: ["rhel-9-for-x86_64-baseos-rpms".to_owned()].into(),
//! };
//! for image in pyxis.containing(&wanted).await? {
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
//! published images in them, 20 repositories at a time. An image counts if it has one of the tags
//! of a repository in that same repository, one of the packages, and one of the content sets. A tag
//! with a date of its removal does not count. An architecture that lacks the tag, the packages or
//! the content sets itself is not looked at.
//!
//! # What an image is
//! * Pyxis has an object for each architecture. Objects with one NVR are one image: its content
//!   sets, repositories, labels and packages are united.
//! * An object without the NVR of a build (`brew.build`) cannot be an image that Koji has built;
//!   those of Konflux have none. Each call counts such objects and logs them once.
//! * Packages are those of the names that were asked for. If no architecture has a manifest, or no
//!   names were asked for, the packages are unknown. Packages have no epoch.
//! * Publication: [`Released`](crate::image::Publication::Released) if the image is published in a
//!   published repository that is generally available, and not also a beta, a technology preview or
//!   deprecated; [`Published`](crate::image::Publication::Published) if it is published in another
//!   published repository; else [`Unpublished`](crate::image::Publication::Unpublished).
//! * The parent is the one in `parent_brew_build`, if there is one.
//! * An installed package or a parent whose name makes no sense is a
//!   [lookup error](CatalogImage::with_lookup_error) of its image. A field of a wrong type, and a
//!   manifest that the service could not read, are errors of the whole call.
//!
//! # Requests
//! Every question is asked in pages, in the order of the objects' ids. The service counts the
//! objects of a question, except those of [`containing`](Images::containing), where counting is too
//! slow for it: there, the first page that is not full is the last one. An answer that lacks
//! objects that were counted, that repeats a page, or that has no end is an error, and so is one
//! with GraphQL `errors`, even beside data. Nothing is kept from one call to the next.
//!
//! # Limits
//! `parent_brew_build` and the filter by packages are parts of the interface inside of Red Hat
//! only. Without the filter ([`PyxisConfig::package_filter`]) the packages of all offered images
//! are read instead.

mod client;
mod query;
mod record;

use crate::contracts::{Containing, ImageRepositories, Images, InstalledPackages, RebuiltRepository, TaggedImage};
use crate::image::{CatalogImage, Unmet};
pub use crate::released::UnpublishedRepository;
use crate::released::{self, Image, Repositories, Repository, chunks};
use async_trait::async_trait;
use client::Client;
use freshmaker::artifact::Nvr;
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::{HttpConfig, Secret};
use futures_util::{StreamExt, TryStreamExt};
use query::Question;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Number of repositories in one query for images.
const REPOSITORIES_A_QUERY: usize = 20;
/// Number of repositories in one query for repositories, and of builds in one query for images.
const NAMES_A_QUERY: usize = 100;
/// Number of names and versions in one query. Each is a regular expression.
const RELEASES_A_QUERY: usize = 20;

/// How [`Pyxis`] logs in. A client certificate is part of [`HttpConfig`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PyxisLogin {
    /// No login, or only the client certificate.
    #[default]
    None,
    /// An API key, sent in the header `X-API-KEY`.
    ApiKey(Secret),
}

/// Says how to reach and use a Pyxis.
///
/// ```
/// use freshmaker_redhat::pyxis::{PyxisConfig, UnpublishedRepository};
///
/// let mut config = PyxisConfig::new("https://graphql.pyxis.example.com");
/// config.http.tls.client_cert = Some("/etc/freshmaker/pyxis.pem".into());
/// config.unpublished_exceptions.insert(UnpublishedRepository {
///     registry: "registry.example.com".to_owned(),
///     repository: "rhel8/support-tools".to_owned(),
/// });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PyxisConfig {
    /// Base URL of the service (without `/graphql/`), certificates and bounds.
    pub http: HttpConfig,
    /// How to log in. Default: [`PyxisLogin::None`].
    pub login: PyxisLogin,
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
    /// Whether the service can filter images by installed packages, which its public interface
    /// cannot. Default: `true`.
    pub package_filter: bool,
    /// Number of objects on one page of an answer without packages. Default: 200. The service may
    /// answer with smaller pages.
    pub page: u32,
    /// Number of images on one page of an answer with packages. Default: 50.
    pub page_with_packages: u32,
    /// Number of queries that run at the same time within one call. Default: 4.
    pub parallel: usize,
}

impl PyxisConfig {
    /// Creates a configuration for the service at this URL. A request may take 300 s, because the
    /// service needs minutes for some.
    pub fn new(url: impl Into<String>) -> Self {
        let mut http = HttpConfig::new(url);
        http.timeout = Duration::from_secs(300);
        Self {
            http,
            login: PyxisLogin::None,
            release_categories: ["Generally Available", "Tech Preview", "Beta"].map(str::to_owned).into(),
            vendors: ["redhat".to_owned()].into(),
            unpublished_exceptions: BTreeSet::new(),
            build_registries: BTreeSet::new(),
            package_filter: true,
            page: 200,
            page_with_packages: 50,
            parallel: 4,
        }
    }

    /// Checks what can be checked without the network: URL, certificates, login, exceptions and
    /// bounds.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming the file or the option.
    pub fn check_offline(&self) -> Result<()> {
        HttpConfig::check_url(&self.http.url)?;
        let refused = |text: &str| Err(Error::new(Remedy::Unsupported, self.http.url.as_str(), text));
        if self.page == 0 || self.page_with_packages == 0 || self.parallel == 0 {
            return refused("`page`, `page_with_packages` and `parallel` must be greater than 0");
        }
        released::check_exceptions(&self.unpublished_exceptions).or_else(refused)?;
        Client::new(self).map(drop)
    }
}

/// Reads released images from a Pyxis; see the [module documentation](self).
///
/// ```
/// use freshmaker_redhat::contracts::Images;
/// use freshmaker_redhat::pyxis::{Pyxis, PyxisConfig};
/// use std::sync::Arc;
///
/// let pyxis = Pyxis::new(PyxisConfig::new("https://graphql.pyxis.example.com"))?;
/// let images: Arc<dyn Images> = Arc::new(pyxis);
/// # drop(images);
/// # Ok::<(), freshmaker::backend::Error>(())
/// ```
///
/// # Errors
/// All methods fail in the same ways:
/// * [`Unavailable`](Remedy::Unavailable): the service did not answer, answered 401, 404 or 5xx, or
///   reported an error of its own.
/// * [`NotNow`](Remedy::NotNow): the service refuses (403, 429, `FORBIDDEN`).
/// * [`Unsupported`](Remedy::Unsupported): the service does not know a field or a filter.
/// * [`Rejected`](Remedy::Rejected): another definite no (4xx), or more than 200 pages.
/// * [`Corrupt`](Remedy::Corrupt): the answer makes no sense, or is not complete.
///
/// # Cancel safety
/// Every method may be dropped at any time: nothing is changed by it.
#[derive(Debug)]
pub struct Pyxis {
    client: Client,
    config: PyxisConfig,
}

impl Pyxis {
    /// Creates a client of this service. Nothing is connected yet.
    ///
    /// # Errors
    /// As [`PyxisConfig::check_offline`].
    pub fn new(config: PyxisConfig) -> Result<Self> {
        config.check_offline()?;
        Ok(Self { client: Client::new(&config)?, config })
    }

    async fn repositories(&self, question: Question) -> Result<Vec<Repository>> {
        self.client.find(question, self.config.page.into(), record::repository).await
    }

    /// Asks about repositories of these names, several questions at the same time.
    async fn named(
        &self,
        names: BTreeSet<String>,
        question: impl Fn(&[String]) -> Question,
    ) -> Result<Vec<Repository>> {
        let questions = chunks(names, NAMES_A_QUERY);
        let answers: Vec<_> = questions.iter().map(|names| self.repositories(question(names))).collect();
        let answers = futures_util::stream::iter(answers).buffered(self.config.parallel);
        Ok(answers.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    /// Asks several questions at the same time and returns all images of their answers, with their
    /// packages of these names.
    async fn ask(&self, questions: Vec<Question>, packages: &BTreeSet<String>) -> Result<Vec<Image>> {
        let page = if packages.is_empty() { self.config.page } else { self.config.page_with_packages };
        let ask = |question| self.client.find(question, page.into(), |value| record::image(value, packages));
        let answers: Vec<_> = questions.into_iter().map(ask).collect();
        let answers = futures_util::stream::iter(answers).buffered(self.config.parallel);
        Ok(answers.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }
}

#[async_trait]
impl released::Catalog for Pyxis {
    fn name(&self) -> &'static str {
        "pyxis"
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
        self.repositories(query::offered_repositories(&self.config)).await
    }

    async fn named_repositories(&self, names: BTreeSet<String>) -> Result<Vec<Repository>> {
        self.named(names, query::named_repositories).await
    }

    async fn own_repositories(&self, names: BTreeSet<String>) -> Result<Vec<Repository>> {
        self.named(names, |names| query::own_repositories(names, &self.config.vendors)).await
    }

    async fn images_in(&self, repositories: &Repositories, wanted: &Containing) -> Result<Vec<Image>> {
        let Containing { packages, content_sets } = wanted;
        let parts = repositories.parts(REPOSITORIES_A_QUERY);
        let by_package = self.config.package_filter && !packages.is_empty();
        let questions =
            parts.iter().map(|(names, tags)| query::images_in(names, tags, packages, content_sets, by_package));
        self.ask(questions.collect(), packages).await
    }

    async fn images_of(&self, builds: &BTreeSet<String>, packages: &BTreeSet<String>) -> Result<Vec<Image>> {
        let questions = chunks(builds.iter().cloned(), NAMES_A_QUERY);
        let questions = questions.iter().map(|builds| query::images_of(builds, !packages.is_empty())).collect();
        self.ask(questions, packages).await
    }

    async fn releases_of(
        &self,
        names_and_versions: &BTreeSet<(String, String)>,
        packages: &BTreeSet<String>,
    ) -> Result<Vec<Image>> {
        let questions = chunks(names_and_versions.iter().cloned(), RELEASES_A_QUERY);
        let questions = questions.iter().map(|part| query::releases_of(part, !packages.is_empty())).collect();
        self.ask(questions, packages).await
    }
}

#[async_trait]
impl Images for Pyxis {
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
impl InstalledPackages for Pyxis {
    fn service(&self) -> &'static str {
        released::Catalog::name(self)
    }

    async fn unmet(&self, image: &Nvr, demands: &BTreeSet<Nvr>) -> Result<Option<Vec<Unmet>>> {
        released::unmet(self, image, demands).await
    }
}

#[async_trait]
impl ImageRepositories for Pyxis {
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

//! The services that know what an advisory fixes (Errata Tool, Pulp), and which released images
//! contain the packages (Lightblue or Pyxis).

use crate::Result;
use crate::config;
use crate::wires::System;
use freshmaker::backend::Error;
use freshmaker_net::{HttpConfig, Secret};
use freshmaker_redhat::contracts::{ImageRepositories, Images, InstalledPackages};
use freshmaker_redhat::errata::{ErrataConfig, ErrataLogin, ErrataTool};
use freshmaker_redhat::handlers::{AffectedImages, AnnounceAdvisories, ImageComposes};
use freshmaker_redhat::image::{ImageSearch, NewerReleases};
use freshmaker_redhat::koji::{KojiConfig, KojiRecipes};
use freshmaker_redhat::lightblue::{Lightblue, LightblueConfig, UnpublishedRepository};
use freshmaker_redhat::odcs::{OdcsComposer, OdcsConfig};
use freshmaker_redhat::pulp::{Pulp, PulpConfig, PulpLogin};
use freshmaker_redhat::pyxis::{Pyxis, PyxisConfig, PyxisLogin};
use freshmaker_redhat::scan::ShippedScan;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// How each of them is reached.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) errata: ErrataConfig,
    pub(crate) pulp: PulpConfig,
    pub(crate) images: ImagesConfig,
    pub(crate) extra_repositories: BTreeMap<String, Vec<String>>,
    pub(crate) isolated: bool,
    pub(crate) arch_overrides: bool,
    pub(crate) git_base_url: Option<String>,
    pub(crate) newer: NewerReleases,
    /// Content sets that no repository is asked for.
    pub(crate) excluded: String,
    pub(crate) sigkeys: Vec<String>,
}

/// What both of the catalogs know.
pub(crate) trait Catalog: Images + ImageRepositories + InstalledPackages {}

impl<C: Images + ImageRepositories + InstalledPackages> Catalog for C {}

/// Who knows which released images there are.
#[derive(Clone, Debug)]
pub(crate) enum ImagesConfig {
    Lightblue(LightblueConfig),
    Pyxis(PyxisConfig),
}

impl ImagesConfig {
    fn of(given: &config::Advisories) -> Result<Self> {
        match (&given.lightblue, &given.pyxis) {
            (Some(given), None) => Ok(Self::Lightblue(lightblue(given)?)),
            (None, Some(given)) => Ok(Self::Pyxis(pyxis(given)?)),
            (Some(_), Some(_)) => {
                Err("[advisories.lightblue] and [advisories.pyxis]: only one of them can say which images there are"
                    .into())
            }
            (None, None) => Err("[advisories] needs [advisories.lightblue] or [advisories.pyxis]".into()),
        }
    }

    pub(crate) fn check_offline(&self) -> std::result::Result<(), Error> {
        match self {
            Self::Lightblue(config) => config.check_offline(),
            Self::Pyxis(config) => config.check_offline(),
        }
    }

    pub(crate) fn http(&self) -> &HttpConfig {
        match self {
            Self::Lightblue(config) => &config.http,
            Self::Pyxis(config) => &config.http,
        }
    }

    /// Returns the name of the service.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Lightblue(_) => "lightblue",
            Self::Pyxis(_) => "pyxis",
        }
    }

    pub(crate) fn open(&self) -> Result<Arc<dyn Catalog>> {
        Ok(match self.clone() {
            Self::Lightblue(config) => Arc::new(Lightblue::new(config)?),
            Self::Pyxis(config) => Arc::new(Pyxis::new(config)?),
        })
    }
}

fn lightblue(given: &config::Lightblue) -> Result<LightblueConfig> {
    let mut lightblue = LightblueConfig::new(given.url.as_str());
    lightblue.http.tls.ca.clone_from(&given.ca);
    lightblue.http.tls.client_cert.clone_from(&given.client_cert);
    lightblue.repository_version.clone_from(&given.repository_version);
    lightblue.image_version.clone_from(&given.image_version);
    if let Some(categories) = &given.release_categories {
        lightblue.release_categories.clone_from(categories);
    }
    if let Some(vendors) = &given.vendors {
        lightblue.vendors.clone_from(vendors);
    }
    lightblue.unpublished_exceptions = exceptions("lightblue", &given.unpublished_exceptions)?;
    lightblue.build_registries.clone_from(&given.build_registries);
    Ok(lightblue)
}

fn pyxis(given: &config::Pyxis) -> Result<PyxisConfig> {
    let mut pyxis = PyxisConfig::new(given.url.as_str());
    pyxis.http.tls.ca.clone_from(&given.ca);
    pyxis.http.tls.client_cert.clone_from(&given.client_cert);
    if let Some(file) = &given.api_key_file {
        pyxis.login = PyxisLogin::ApiKey(secret(file)?);
    }
    if let Some(filter) = given.package_filter {
        pyxis.package_filter = filter;
    }
    if let Some(categories) = &given.release_categories {
        pyxis.release_categories.clone_from(categories);
    }
    if let Some(vendors) = &given.vendors {
        pyxis.vendors.clone_from(vendors);
    }
    pyxis.unpublished_exceptions = exceptions("pyxis", &given.unpublished_exceptions)?;
    pyxis.build_registries.clone_from(&given.build_registries);
    Ok(pyxis)
}

/// Repositories with their registries.
fn exceptions(catalog: &str, given: &BTreeSet<String>) -> Result<BTreeSet<UnpublishedRepository>> {
    let exception = |text: &String| match text.split_once('/') {
        Some((registry, repository)) => {
            Ok(UnpublishedRepository { registry: registry.to_owned(), repository: repository.to_owned() })
        }
        None => Err(format!("advisories.{catalog}.unpublished_exceptions: {text:?} is not REGISTRY/REPOSITORY").into()),
    };
    given.iter().map(exception).collect()
}

impl Sources {
    pub(crate) fn of(given: &config::Advisories) -> Result<Self> {
        let mut errata = ErrataConfig::new(given.errata.url.as_str());
        errata.http.tls.ca.clone_from(&given.errata.ca);
        if given.errata.kerberos {
            errata.login = ErrataLogin::Kerberos;
        }
        let mut pulp = PulpConfig::new(given.pulp.url.as_str());
        pulp.http.tls.ca.clone_from(&given.pulp.ca);
        pulp.login = match (&given.pulp.user, &given.pulp.password_file) {
            (Some(user), Some(file)) => PulpLogin::Password { user: user.clone(), password: secret(file)? },
            (None, None) => PulpLogin::None,
            (Some(_), None) | (None, Some(_)) => {
                return Err("advisories.pulp: `user` and `password_file` go together".into());
            }
        };
        let images = ImagesConfig::of(given)?;
        let excluded = given.exclude_content_sets_pattern.as_deref().unwrap_or(ImageComposes::EXCLUDED).to_owned();
        ImageComposes::check_pattern(&excluded)?;
        let (extra_repositories, sigkeys) = (given.extra_repositories.clone(), given.sigkeys.clone());
        let newer = if given.released_only { NewerReleases::Replace } else { NewerReleases::Keep };
        let git_base_url = given.git_base_url.clone();
        if git_base_url.as_ref().is_some_and(|url| url.split_once("://").is_none_or(|(_, host)| host.is_empty())) {
            return Err(
                "advisories.git_base_url: it needs a scheme and a server, as git+https://src.example.org".into()
            );
        }
        let (isolated, arch_overrides) = (given.isolated, given.arch_overrides);
        Ok(Self {
            errata,
            pulp,
            images,
            extra_repositories,
            isolated,
            arch_overrides,
            git_base_url,
            newer,
            excluded,
            sigkeys,
        })
    }

    /// Who knows released images.
    pub(crate) fn images(&self) -> Result<Arc<dyn Images>> {
        Ok(self.images.open()?)
    }

    /// Who knows advisories.
    pub(crate) fn errata(&self) -> Result<Arc<ErrataTool>> {
        Ok(Arc::new(ErrataTool::new(self.errata.clone())?))
    }

    /// Who says when an advisory can be handled: once, whoever brings the message.
    pub(crate) fn announce(&self) -> Result<AnnounceAdvisories> {
        let errata = self.errata()?;
        Ok(AnnounceAdvisories::new(errata.clone(), errata))
    }

    /// Who finds advisories that shipped without a message.
    pub(crate) fn scan(&self) -> Result<ShippedScan> {
        Ok(ShippedScan::new(self.errata()?))
    }

    /// Who finds the images of an advisory, which this Koji builds with repositories of this ODCS.
    pub(crate) fn affected(
        &self,
        koji: &System<KojiConfig>,
        odcs: Option<&System<OdcsConfig>>,
    ) -> Result<AffectedImages> {
        let mut recipes = KojiRecipes::new(&koji.config)?;
        for (image, urls) in &self.extra_repositories {
            recipes = urls.iter().fold(recipes, |recipes, url| recipes.with_extra_repository(image, url));
        }
        if !self.isolated {
            recipes = recipes.not_isolated();
        }
        if self.arch_overrides {
            recipes = recipes.with_arch_overrides();
        }
        if let Some(url) = &self.git_base_url {
            recipes = recipes.with_git_base_url(url);
        }
        let recipes = Arc::new(recipes);
        let search = ImageSearch::new(self.images()?, recipes.clone());
        let search = search.with_system(koji.name.as_str()).newer_releases(self.newer);
        let affected = AffectedImages::new(self.errata()?, Arc::new(Pulp::new(self.pulp.clone())?), search);
        let Some(odcs) = odcs else { return Ok(affected) };
        let composes = ImageComposes::new(Arc::new(OdcsComposer::new(odcs.config.clone())?), recipes);
        let composes = composes.with_system(odcs.name.as_str()).with_sigkeys(&self.sigkeys);
        Ok(affected.with_composes(composes.excluding(&self.excluded)?))
    }
}

/// The first line of a file.
fn secret(file: &Path) -> Result<Secret> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(Secret::new(line)),
        None => Err(format!("{}: the first line is empty", file.display()).into()),
    }
}

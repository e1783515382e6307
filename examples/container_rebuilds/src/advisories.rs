//! The services that know what an advisory fixes, and which released images contain it.

use crate::Result;
use crate::config;
use crate::wires::System;
use freshmaker_net::Secret;
use freshmaker_redhat::errata::{ErrataConfig, ErrataLogin, ErrataTool};
use freshmaker_redhat::handlers::AffectedImages;
use freshmaker_redhat::image::ImageSearch;
use freshmaker_redhat::koji::{KojiConfig, KojiRecipes};
use freshmaker_redhat::lightblue::{Lightblue, LightblueConfig};
use freshmaker_redhat::lookup::Images;
use freshmaker_redhat::pulp::{Pulp, PulpConfig, PulpLogin};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// How each of them is reached.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) errata: ErrataConfig,
    pub(crate) pulp: PulpConfig,
    pub(crate) lightblue: LightblueConfig,
    pub(crate) extra_repositories: BTreeMap<String, Vec<String>>,
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
        let mut lightblue = LightblueConfig::new(given.lightblue.url.as_str());
        lightblue.http.tls.ca.clone_from(&given.lightblue.ca);
        lightblue.http.tls.client_cert.clone_from(&given.lightblue.client_cert);
        lightblue.repository_version.clone_from(&given.lightblue.repository_version);
        lightblue.image_version.clone_from(&given.lightblue.image_version);
        if let Some(categories) = &given.lightblue.release_categories {
            lightblue.release_categories.clone_from(categories);
        }
        if let Some(vendors) = &given.lightblue.vendors {
            lightblue.vendors.clone_from(vendors);
        }
        Ok(Self { errata, pulp, lightblue, extra_repositories: given.extra_repositories.clone() })
    }

    /// Who knows released images.
    pub(crate) fn images(&self) -> Result<Arc<dyn Images>> {
        Ok(Arc::new(Lightblue::new(self.lightblue.clone())?))
    }

    /// Who finds the images of an advisory, which this Koji builds.
    pub(crate) fn affected(&self, koji: &System<KojiConfig>) -> Result<AffectedImages> {
        let mut recipes = KojiRecipes::new(&koji.config)?;
        for (image, urls) in &self.extra_repositories {
            recipes = urls.iter().fold(recipes, |recipes, url| recipes.with_extra_repository(image, url));
        }
        let search = ImageSearch::new(self.images()?, Arc::new(recipes)).with_system(koji.name.as_str());
        let errata = Arc::new(ErrataTool::new(self.errata.clone())?);
        Ok(AffectedImages::new(errata, Arc::new(Pulp::new(self.pulp.clone())?), search))
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

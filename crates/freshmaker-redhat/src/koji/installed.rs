use super::read::KojiReader;
use crate::contracts::InstalledPackages;
use crate::image::Unmet;
use async_trait::async_trait;
use freshmaker::artifact::Nvr;
use freshmaker::backend::{Error, Remedy, Result};
use std::collections::BTreeSet;

/// Koji lists the packages of an image as soon as its build is complete. If the hub lists none,
/// those in the metadata of the content generator count, which needs a
/// [`topurl`](super::KojiConfig::topurl).
///
/// # Errors
/// [`NotFound`](Remedy::NotFound) if Koji does not have the build, and otherwise like
/// [`KojiReader::installed_rpms`].
#[async_trait]
impl InstalledPackages for KojiReader {
    fn service(&self) -> &'static str {
        "koji"
    }

    async fn unmet(&self, image: &Nvr, demands: &BTreeSet<Nvr>) -> Result<Option<Vec<Unmet>>> {
        let build = self.build(&image.to_string()).await?;
        let build =
            build.ok_or_else(|| Error::new(Remedy::NotFound, format!("build {image}"), "Koji does not have it"))?;
        Ok(Some(self.installed_rpms(&build).await?.unmet(demands)))
    }
}

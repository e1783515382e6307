use super::config::Config;
use super::read::KojiReader;
use crate::artifact::Nvr;
use crate::backend::{Error, Made, Remedy, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Looks at what is installed in images that Koji built.
#[derive(Clone, Debug)]
pub struct KojiVerifier {
    reader: KojiReader,
}

impl KojiVerifier {
    /// A verifier at this hub; nothing is sent yet.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if certificates cannot be read.
    pub fn new(config: &Config) -> Result<Self> {
        Ok(Self { reader: KojiReader::new(config)? })
    }

    /// The packages that are installed in a result, by architecture.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) if the hub has no such build; else as [`KojiReader::installed_rpms`].
    pub async fn installed(&self, made: &Made) -> Result<BTreeMap<String, BTreeSet<Nvr>>> {
        let name = &made.output.name;
        let build = self.reader.build(name).await?;
        let build = build.ok_or_else(|| Error::new(Remedy::NotFound, format!("getBuild {name}"), "no such build"))?;
        self.reader.installed_rpms(build.id).await
    }
}

//! Installed packages, as rows of the hub and as entries in the metadata of content generators.

use super::xmlrpc::{Mismatch, Value};
use freshmaker::artifact::{Nvr, NvrError};
use serde::Deserialize;

/// A package that is installed in an image.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(super) name: String,
    version: String,
    release: String,
    /// `None` if the epoch is not recorded.
    epoch: Option<i64>,
}

impl Package {
    /// Reads a row of `listRPMs`.
    pub(crate) fn of(row: &Value) -> Result<Self, Mismatch> {
        let part = |name: &str| row.get::<&str>(&[name]).map(str::to_owned);
        Ok(Self {
            name: part("name")?,
            version: part("version")?,
            release: part("release")?,
            epoch: row.get(&["epoch"])?,
        })
    }

    pub(crate) fn nvr(&self) -> Result<Nvr, NvrError> {
        let Self { name, version, release, epoch } = self;
        let epoch = epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
        format!("{epoch}{name}-{version}-{release}").parse()
    }
}

/// The part of a content generator's metadata that lists the files of a build.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    #[serde(default)]
    output: Vec<Output>,
}

#[derive(Debug, Deserialize)]
struct Output {
    filename: String,
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Component {
    Rpm(Package),
    #[serde(other)]
    Other,
}

impl Metadata {
    /// Returns the packages in the file of this name.
    pub(crate) fn packages(&self, filename: &str) -> impl Iterator<Item = &Package> {
        let files = self.output.iter().filter(move |output| output.filename == filename);
        files.flat_map(|file| &file.components).filter_map(|component| match component {
            Component::Rpm(package) => Some(package),
            Component::Other => None,
        })
    }
}

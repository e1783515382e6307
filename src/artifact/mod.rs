//! Things that can be rebuilt: their identity, where they come from and what they were built with.

mod digest;
mod evr;
mod nvr;
mod parameters;
mod reference;

pub use digest::{Digest, DigestError};
pub use evr::{Evr, EvrError};
pub use nvr::{Nvr, NvrError};
pub use parameters::{Parameter, Parameters};
pub use reference::{ImageReference, ReferenceError, ReferenceFault};

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The name of an artifact, unique within one [`ArtifactGraph`](crate::ArtifactGraph).
///
/// The text is whatever the catalog calls canonical: `docker.io/library/debian:12` for an image,
/// an NVR for a package. It is cheap to clone.
///
/// ```
/// use freshmaker::ArtifactId;
///
/// let id = ArtifactId::new("docker.io/library/debian:12");
/// assert_eq!(id.as_str(), "docker.io/library/debian:12");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ArtifactId(Arc<str>);

impl ArtifactId {
    /// An identity from its canonical text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ArtifactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ArtifactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<&str> for ArtifactId {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for ArtifactId {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// What sort of thing an artifact is; decides which build system gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// An RPM package, named by its source.
    Rpm,
    /// A container image.
    Image,
    /// A module (a set of packages built and shipped together).
    Module,
    /// A repository of container images.
    ImageRepository,
    /// A prerequisite: a package repository made for builds, an ODCS compose for example.
    Repository,
}

impl ArtifactKind {
    /// The number under which the kind is stored and shown; a number is never given twice.
    #[must_use]
    pub fn number(self) -> i16 {
        match self {
            Self::Rpm => 0,
            Self::Image => 1,
            Self::Module => 2,
            Self::ImageRepository => 3,
            Self::Repository => 4,
        }
    }

    /// The kind of a stored number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Rpm, Self::Image, Self::Module, Self::ImageRepository, Self::Repository]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

/// Where the recipe of an artifact lies, and at which revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// A directory, or the URL of a repository.
    pub location: String,
    /// Commit, or digest of the recipe; `None` where the source keeps no revisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// Something that can be rebuilt, as a catalog describes it.
///
/// ```
/// use freshmaker::{Artifact, ArtifactKind};
///
/// let image = Artifact::new("docker.io/library/debian:12", ArtifactKind::Image)
///     .with_source("images/debian", Some("4f2c"))
///     .with_digest("sha256:0f".parse()?);
/// assert!(image.buildable());
/// # Ok::<(), freshmaker::artifact::DigestError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its identity.
    pub id: ArtifactId,
    /// What sort of thing it is.
    pub kind: ArtifactKind,
    /// The build system that builds it, by its registered name; `None` lets the engine choose by kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Its recipe; an artifact without one is external: it can change, but not be rebuilt by us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Target or branch; builds for different targets never coalesce.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Content of the present output, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What its build is called with.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters,
    /// How long its build will probably take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Duration>,
}

impl Artifact {
    /// An external artifact: a name and a kind, nothing that could be built.
    pub fn new(id: impl Into<ArtifactId>, kind: ArtifactKind) -> Self {
        Self {
            id: id.into(),
            kind,
            system: None,
            source: None,
            target: String::new(),
            digest: None,
            parameters: Parameters::default(),
            estimate: None,
        }
    }

    /// The same artifact with a recipe.
    #[must_use]
    pub fn with_source(mut self, location: impl Into<String>, revision: Option<&str>) -> Self {
        self.source = Some(Source { location: location.into(), revision: revision.map(str::to_owned) });
        self
    }

    /// The same artifact with the digest of its present output.
    #[must_use]
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }

    /// The same artifact, built by the system registered under this name.
    #[must_use]
    pub fn with_system(mut self, system: impl Into<String>) -> Self {
        self.system = Some(system.into());
        self
    }

    /// The same artifact with an expected build duration.
    #[must_use]
    pub fn with_estimate(mut self, estimate: Duration) -> Self {
        self.estimate = Some(estimate);
        self
    }

    /// The same artifact with one more build parameter.
    #[must_use]
    pub fn with_parameter(mut self, name: impl Into<String>, value: impl Into<Parameter>) -> Self {
        self.parameters.insert(name, value);
        self
    }

    /// Whether it is a repository that is prepared for those that take packages from it.
    pub(crate) fn on_demand(&self) -> bool {
        self.kind == ArtifactKind::Repository && self.buildable()
    }

    /// Whether there is a recipe to build it from.
    #[must_use]
    pub fn buildable(&self) -> bool {
        self.source.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_keep_their_numbers() {
        for (kind, number) in [
            (ArtifactKind::Rpm, 0),
            (ArtifactKind::Image, 1),
            (ArtifactKind::Module, 2),
            (ArtifactKind::ImageRepository, 3),
            (ArtifactKind::Repository, 4),
        ] {
            assert_eq!(kind.number(), number);
            assert_eq!(ArtifactKind::from_number(number), Some(kind));
        }
        assert_eq!(ArtifactKind::from_number(5), None);
    }
}

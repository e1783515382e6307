//! What can be rebuilt: artifacts, their names and sources, and the parameters of their builds.
//!
//! An [`Artifact`] is one node of the dependency graph: a package, an image, a module or a
//! repository. A catalog describes artifacts; a handler makes a plan of them; the engine submits a
//! build for each artifact of the plan to a build system.
//!
//! | question | answered by |
//! |---|---|
//! | How is an artifact identified? | [`ArtifactId`], any text that is unique in the graph |
//! | Can the engine rebuild it? | only if it has a [`Source`]: [`Artifact::buildable`] |
//! | Which build system gets it? | [`Artifact::system`], else the only registered one |
//! | Which requests can share a build? | those whose [`Parameters`] unite |
//! | Has its content changed? | compare [`Artifact::digest`], a [`Digest`] |
//!
//! The other types read and compare names: [`ImageReference`] for container images, [`Nvr`] and
//! [`Evr`] for packages. All of them are plain values: nothing here reads files or a network.

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

/// Identifies an artifact, unique within one [`ArtifactGraph`](crate::ArtifactGraph).
///
/// The text is the canonical name that the catalog uses: `docker.io/library/debian:12` for an
/// image, an NVR or a package name for a package. The engine does not interpret the text, so two
/// spellings of one name are two artifacts unless the graph has an
/// [alias](crate::ArtifactGraph::alias).
///
/// The id is stored with every build. Choose names that do not change between runs. A clone costs
/// one reference count.
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
    /// Makes an id from its canonical text. Any text is accepted.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the whole id, or the name in the NVR that it is.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        name == self.as_str() || self.as_str().parse::<Nvr>().is_ok_and(|nvr| nvr.name() == name)
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

/// The kind of an artifact.
///
/// The kind does not decide which build system builds the artifact; [`Artifact::system`] does. It
/// is used for these decisions, among others:
///
/// * a [policy](crate::policy) may have rules for one kind;
/// * an artifact without any estimate gets one from builds of the same kind, or a default of its
///   kind;
/// * a [`Repository`](Self::Repository) with a source is prepared on demand, for the builds that
///   use it.
///
/// In serde formats a kind is its name in snake case: `rpm`, `image`, `module`, `image_repository`,
/// `repository`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// An RPM package, named by its source package.
    Rpm,
    /// A container image.
    Image,
    /// A module: a set of packages that are built and shipped together.
    Module,
    /// A repository of container images.
    ImageRepository,
    /// A repository of packages that is prepared for builds, for example an ODCS compose.
    Repository,
}

impl ArtifactKind {
    /// Returns the number under which the kind is stored and shown, 0 to 4.
    ///
    /// A number is never used for another kind, so old rows stay readable.
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

    /// Returns the kind of a stored number; `None` if the number is unknown.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Rpm, Self::Image, Self::Module, Self::ImageRepository, Self::Repository]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

/// Where the recipe of an artifact is, and at which revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// A directory, or the URL of a repository. The build system interprets it.
    pub location: String,
    /// A commit, or the digest of the recipe; `None` if the source has no revisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// An artifact as a catalog describes it: something that may be rebuilt, or may cause rebuilds.
///
/// Only an artifact with a [`source`](Self::source) can be rebuilt. One without a source is
/// external: it can change, and so cause rebuilds of its dependents, but the engine never builds
/// it. Dependencies are not part of this type; they are edges of the
/// [`ArtifactGraph`](crate::ArtifactGraph).
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
    /// The artifact's identity in the graph.
    pub id: ArtifactId,
    /// The artifact's kind.
    pub kind: ArtifactKind,
    /// The name under which the build system that builds this artifact is registered.
    ///
    /// `None` means the only registered build system. If several are registered (composers count),
    /// `None` is an error: the event fails with the code `no_build_system`, and so it does if no
    /// system has this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Where the recipe is; `None` for an external artifact, which is never rebuilt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The build target or branch, empty by default. Builds for different targets never share a
    /// build.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// The digest of the artifact's present output, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The parameters of its build; empty by default.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters,
    /// How long a build will probably take. Used only while there are no durations of earlier
    /// builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Duration>,
}

impl Artifact {
    /// Makes an external artifact: id and kind only, every other field empty.
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

    /// Returns the same artifact with a recipe, which makes it buildable.
    #[must_use]
    pub fn with_source(mut self, location: impl Into<String>, revision: Option<&str>) -> Self {
        self.source = Some(Source { location: location.into(), revision: revision.map(str::to_owned) });
        self
    }

    /// Returns the same artifact with the digest of its present output.
    #[must_use]
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }

    /// Returns the same artifact, to be built by the build system registered under this name.
    #[must_use]
    pub fn with_system(mut self, system: impl Into<String>) -> Self {
        self.system = Some(system.into());
        self
    }

    /// Returns the same artifact with an expected build duration.
    #[must_use]
    pub fn with_estimate(mut self, estimate: Duration) -> Self {
        self.estimate = Some(estimate);
        self
    }

    /// Returns the same artifact with one more build parameter, replacing one of the same name.
    #[must_use]
    pub fn with_parameter(mut self, name: impl Into<String>, value: impl Into<Parameter>) -> Self {
        self.parameters.insert(name, value);
        self
    }

    /// Returns whether this is a repository that is prepared on demand, for the builds that use it.
    pub(crate) fn on_demand(&self) -> bool {
        self.kind == ArtifactKind::Repository && self.buildable()
    }

    /// Returns whether the artifact has a recipe, so that a build system can build it.
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

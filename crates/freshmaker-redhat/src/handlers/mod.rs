//! Handlers that are ready to use. They ask the [`contracts`](crate::contracts), and never name a
//! service.
//!
//! | handler | listens to | decides |
//! |---|---|---|
//! | [`RebuildImagesOfAdvisory`] | an advisory was shipped | to rebuild the images that it affects |
//! | [`RebuildImagesOnRequest`] | a person asks for the images of an advisory | the same, or only those that are named |
//! | [`AnnounceAdvisories`] | an advisory has changed its state | to announce it once, when its packages can be built with |
//! | [`AnnounceSignedAdvisories`] | a package was signed | the same, if all builds of the advisory are signed |
//! | [`ExplainFlatpaks`] | a module was signed | nothing: Flatpak applications come later |
//! | [`RebuildImagesOfSignedAdvisory`] | an advisory was announced | to rebuild the images that it affects |
//! | [`RebuildNamedImages`] | a person names images and a branch | to rebuild these, and the images between them |
//! | [`RebuildImagesOnParent`] | a container was built | to rebuild what is built on it, if it is not ours |
//! | [`RebuildImagesOnParentTask`] | a task has ended | the same, for the messages of Fedora |
//! | [`RebuildImageOfDockerfile`] | a recipe has changed | to rebuild the image, and what is built on it |
//! | [`RebuildImagesOfUpdate`] | an update became stable | to rebuild the images that contain its packages |
//! | [`RebuildModule`] | the metadata of a module changed | to rebuild it from the new commit |
//! | [`RebuildModulesOfPackage`] | the spec file of a package changed | to rebuild the modules that contain it |
//! | [`RebuildModulesAfterUpdate`] | an update became stable | to rebuild the modules that contain its packages |
//! | [`cancel_on_request`] | a person asks for the end of an event | to cancel it |
//!
//! `ImageComposes` (feature `odcs`) prepares the package repositories that images are rebuilt with.
//!
//! # Why a module is rebuilt
//!
//! | code | meaning |
//! |---|---|
//! | `metadata_changed` | its metadata changed |
//! | `package_changed` | the spec file of a package in it changed |
//! | `package_stable` | an update with a package in it became stable |
//!
//! # What rules of a policy can use
//! [`FACTS`] are the facts that these handlers add; declare them with
//! [`EngineBuilder::facts`](freshmaker::engine::EngineBuilder::facts).
//!
//! | fact | value |
//! |---|---|
//! | `advisory_name`, `advisory_state` | `RHSA-2017:28484`, `SHIPPED_LIVE` |
//! | `advisory_security_impact` | `critical`, `important`, `moderate`, `low`, `none` |
//! | `advisory_product_short_name`, `advisory_release` | `RHEL`, `RHEL-7.4.0` |
//! | `advisory_content_types` | one value for each |
//! | `advisory_has_hightouch_bug` | `true` or `false` |
//! | `update_id`, `update_release` | `FEDORA-2019-d64d0caab3`, `F29` |
//! | `image_version`, `image_release`, `image_repository` | parts of the NVR; one value for each repository |
//! | `image_published` | `true` or `false`; not there if the catalog does not say |
//!
//! `image_name` has two values: the name within the NVR, and the whole NVR.

mod advisory_kind;
mod affected;
mod announce;
mod built;
#[cfg(feature = "odcs")]
mod composes;
mod dockerfile;
mod earlier;
mod family;
mod foresight;
mod modules;
mod named;
mod on_parent;
mod request;
mod rpm_advisory;
mod signed;
mod update;

use crate::contracts::Advisory;
use crate::image::{CatalogImage, Publication};
pub use advisory_kind::AdvisoryKind;
pub use affected::{AffectedImages, Wanted};
pub use announce::{AnnounceAdvisories, AnnounceSignedAdvisories, ExplainFlatpaks};
pub use built::BuiltImages;
#[cfg(feature = "odcs")]
pub use composes::ImageComposes;
pub use dockerfile::RebuildImageOfDockerfile;
use freshmaker::policy::Facts;
pub use modules::{AffectedModules, RebuildModule, RebuildModulesAfterUpdate, RebuildModulesOfPackage};
pub use named::RebuildNamedImages;
pub use on_parent::{RebuildImagesOnParent, RebuildImagesOnParentTask};
pub use request::{RebuildImagesOnRequest, cancel_on_request};
pub use rpm_advisory::RebuildImagesOfAdvisory;
pub use signed::{RebuildImagesOfSignedAdvisory, UnreleasedPackages};
pub use update::RebuildImagesOfUpdate;

/// The names of the facts that these handlers add to those that are always known.
pub const FACTS: [&str; 13] = [
    "advisory_name",
    "advisory_state",
    "advisory_security_impact",
    "advisory_product_short_name",
    "advisory_release",
    "advisory_content_types",
    "advisory_has_hightouch_bug",
    "update_id",
    "update_release",
    "image_version",
    "image_release",
    "image_repository",
    "image_published",
];

impl Advisory {
    /// Adds the facts of this advisory. A part that it does not have is no fact.
    #[must_use]
    pub fn facts(&self, facts: Facts) -> Facts {
        let known = [
            ("advisory_name", &self.name),
            ("advisory_state", &self.state),
            ("advisory_security_impact", &self.security_impact),
            ("advisory_product_short_name", &self.product),
            ("advisory_release", &self.release),
        ];
        let known = known.into_iter().chain(self.content_types.iter().map(|kind| ("advisory_content_types", kind)));
        let known = known.filter(|(_, value)| !value.is_empty());
        let facts = known.fold(facts, |facts, (name, value)| facts.with(name, value));
        facts.with("advisory_has_hightouch_bug", self.has_hightouch_bug.to_string())
    }
}

impl CatalogImage {
    /// Adds the facts of this image: those [of its artifact](Facts::about), and its name, version,
    /// release and repositories, and whether it is published.
    #[must_use]
    pub fn facts(&self, facts: Facts) -> Facts {
        let nvr = self.nvr();
        let facts = facts.about(self.artifact()).with("image_name", nvr.name());
        let facts = facts.with("image_version", nvr.version()).with("image_release", nvr.release());
        let facts = match self.publication() {
            Publication::Unknown => facts,
            published => facts.with("image_published", (published >= Publication::Published).to_string()),
        };
        self.repositories().fold(facts, |facts, repository| facts.with("image_repository", repository))
    }
}

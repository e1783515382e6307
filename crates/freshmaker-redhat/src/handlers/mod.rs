//! Handlers that are ready to use. They ask the contracts of [`lookup`](crate::lookup), and never
//! name a service.
//!
//! | handler | listens to | decides |
//! |---|---|---|
//! | [`RebuildImagesOfAdvisory`] | an advisory was shipped | to rebuild the images that it affects |
//! | [`RebuildImagesOnRequest`] | a person asks for the images of an advisory | the same, or only those that are named |
//! | [`RebuildModule`] | the metadata of a module changed | to rebuild it from the new commit |
//! | [`RebuildModulesOfPackage`] | the spec file of a package changed | to rebuild the modules that contain it |
//! | [`RebuildModulesAfterUpdate`] | an update became stable | to rebuild the modules that contain its packages |
//! | [`cancel_on_request`] | a person asks for the end of an event | to cancel it |
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
//! | `image_version`, `image_release`, `image_repository` | parts of the NVR; one value for each repository |
//!
//! `image_name` has two values: the name within the NVR, and the whole NVR.

mod affected;
mod modules;
mod request;
mod rpm_advisory;

use crate::image::CatalogImage;
use crate::lookup::Advisory;
pub use affected::AffectedImages;
use freshmaker::policy::Facts;
pub use modules::{AffectedModules, RebuildModule, RebuildModulesAfterUpdate, RebuildModulesOfPackage};
pub use request::{RebuildImagesOnRequest, cancel_on_request};
pub use rpm_advisory::RebuildImagesOfAdvisory;

/// The names of the facts that these handlers add to those that are always known.
pub const FACTS: [&str; 10] = [
    "advisory_name",
    "advisory_state",
    "advisory_security_impact",
    "advisory_product_short_name",
    "advisory_release",
    "advisory_content_types",
    "advisory_has_hightouch_bug",
    "image_version",
    "image_release",
    "image_repository",
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
    /// release and repositories.
    #[must_use]
    pub fn facts(&self, facts: Facts) -> Facts {
        let nvr = self.nvr();
        let facts = facts.about(self.artifact()).with("image_name", nvr.name());
        let facts = facts.with("image_version", nvr.version()).with("image_release", nvr.release());
        self.repositories().fold(facts, |facts, repository| facts.with("image_repository", repository))
    }
}

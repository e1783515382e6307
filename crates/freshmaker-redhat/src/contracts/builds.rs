//! What handlers ask a build system and the Errata Tool about builds.

use super::Each;
use async_trait::async_trait;
use freshmaker::artifact::Nvr;
use freshmaker::backend::Result;
use freshmaker::graph::EdgeKind;
use freshmaker::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is known about the builds of advisories.
#[async_trait]
pub trait AdvisoryBuilds: fmt::Debug + Send + Sync {
    /// Returns the builds of an advisory that are not signed yet. An advisory without builds has
    /// none.
    ///
    /// # Errors
    /// [`NotFound`](freshmaker::backend::Remedy::NotFound) if there is no advisory with this
    /// number.
    async fn unsigned_builds(&self, id: u64) -> Result<BTreeSet<Nvr>>;

    /// Returns the numbers of the advisories that have this build, in any state.
    ///
    /// # Errors
    /// [`NotFound`](freshmaker::backend::Remedy::NotFound) if the build is not known.
    async fn advisories_of_build(&self, build: &Nvr) -> Result<BTreeSet<u64>>;
}

/// Which advisories have shipped.
#[async_trait]
pub trait ShippedAdvisories: fmt::Debug + Send + Sync {
    /// Returns the numbers of the advisories that shipped at this time or later.
    ///
    /// # Errors
    /// If the service cannot be asked, or has more advisories than the adapter looks through.
    async fn shipped_since(&self, since: Timestamp) -> Result<BTreeSet<u64>>;
}

/// The build that a task made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskBuild {
    /// The build; `None` if the task made none, as for scratch builds.
    pub nvr: Option<Nvr>,
    /// Whether the task was submitted by this crate's build system, by whichever installation. Its
    /// request has the marker of an attempt.
    pub marked: bool,
}

/// A finished build of a container image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// Name, version and release.
    pub nvr: Nvr,
    /// The images that it was built from.
    pub parents: BTreeSet<(Nvr, EdgeKind)>,
    /// Why one of its parents is not known, in a sentence; `None` if all are known.
    pub unknown_parent: Option<String>,
}

/// What a build system knows about builds of container images.
#[async_trait]
pub trait ImageBuilds: fmt::Debug + Send + Sync {
    /// Returns for each of these names the newest build, by version and release, that was made from
    /// this branch of its recipe, or why there is none, in a sentence.
    ///
    /// # Errors
    /// If the service cannot be asked.
    async fn newest_from_branch(
        &self,
        names: &BTreeSet<String>,
        branch: &str,
    ) -> Result<BTreeMap<String, std::result::Result<Nvr, String>>>;

    /// Returns what a finished task made.
    ///
    /// # Errors
    /// [`NotFound`](freshmaker::backend::Remedy::NotFound) if there is no such task.
    async fn of_task(&self, task: i64) -> Result<TaskBuild>;

    /// Returns the newest build of each name and version among those that were completed at this
    /// time or later, in the order of their names.
    ///
    /// # Errors
    /// If the service cannot be asked, or has more builds than the adapter looks through.
    async fn newest_since(&self, since: Timestamp) -> Result<Vec<BuiltImage>>;
}

/// What a build system knows about builds of packages.
#[async_trait]
pub trait PackageBuilds: fmt::Debug + Send + Sync {
    /// Returns the binary packages that each of these builds made, of all architectures, or why
    /// they are not known, in a sentence. A build of something else has none.
    ///
    /// # Errors
    /// If the service cannot be asked. What is wrong with one build is part of the answer.
    async fn packages(&self, builds: &BTreeSet<Nvr>) -> Result<Each<BTreeSet<Nvr>>>;
}

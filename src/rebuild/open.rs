//! What has not ended, as rows of one moment, with numbers for questions about all of it.
//!
//! *Invariant:* nothing here is stored: every answer follows from the present rows, so a build that
//! several events share never shows a sentence about a former state. *Invariant:* a row that was
//! not read is never guessed: a build that waits for it has no expected time.

use super::record::{AttemptRecord, BuildId, BuildRecord, Cause, Dependency};
use super::state::{AttemptState, BuildState};
use crate::graph::Csr;
use crate::plan::Estimates;
use crate::reason::Reason;
use crate::time::{Timestamp, since};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The builds that have not ended, and what they wait for, as read at one moment.
///
/// [`Client::open_builds`](crate::client::Client::open_builds) reads it. One value answers for any
/// number of builds and events, without further questions to the storage: when each build is
/// expected to start and end ([`forecast`](Self::forecast)), and what each build waits for
/// ([`waiting`](Self::waiting)).
///
/// ```
/// use freshmaker::rebuild::{ConcurrencyLimits, OpenBuilds};
///
/// let open = OpenBuilds::default();
/// assert!(open.forecast(&ConcurrencyLimits::default()).builds().is_empty());
/// assert!(open.waiting(None).counts().is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct OpenBuilds {
    /// The moment of the answers.
    pub at: Timestamp,
    /// The builds that have not ended. Ended builds may be among them: those that failed, and
    /// because of which others cannot be built.
    pub builds: BTreeMap<BuildId, BuildRecord>,
    /// The live attempt of each build that has one.
    pub attempts: BTreeMap<BuildId, AttemptRecord>,
    /// The dependencies between these builds that are not satisfied.
    pub dependencies: Vec<Dependency>,
    /// Which events want these builds.
    pub causes: Vec<Cause>,
    /// How many live attempts each build system has, of all builds.
    pub live: BTreeMap<String, u32>,
    /// The build systems that are paused.
    pub paused: BTreeMap<String, PausedSystem>,
    /// Whether all rows are here. If not, there are more open builds than were read, or rows that
    /// cannot be read.
    pub complete: bool,
}

/// A build system to which nothing is submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PausedSystem {
    /// Who has paused it, and why.
    pub reason: Reason,
    /// Since when.
    pub since: Timestamp,
}

impl PausedSystem {
    /// Makes a build system that is paused for this reason, since this moment.
    #[must_use]
    pub fn new(reason: Reason, since: Timestamp) -> Self {
        Self { reason, since }
    }
}

impl OpenBuilds {
    /// The most open builds that are read.
    pub const BUILDS_MAX: usize = 20_000;

    /// The time that is assumed for a build that ends at an unknown moment: one that is verified,
    /// or is being stopped.
    pub const SOON: Duration = Duration::from_secs(60);

    /// Returns how long a build is expected to run from now on, and whether it is overdue: it has
    /// run for longer than was estimated.
    ///
    /// An overdue build is never expected to have ended already. It is given a tenth of the time
    /// that it has run, and at least [`SOON`](Self::SOON): so the expected end moves on with a
    /// build that hangs.
    ///
    /// Example: a build was estimated at 25 minutes. After 10 it has 15 left; after 30 it has 3
    /// left and is overdue; after 60 it has 6 left.
    #[must_use]
    pub fn remaining(&self, build: &BuildRecord) -> (Duration, bool) {
        if matches!(build.state, BuildState::Verifying | BuildState::Canceling) {
            return (Self::SOON, false);
        }
        let started = self.attempts.get(&build.id).map_or(self.at, |attempt| attempt.intent_at);
        let (elapsed, estimate) = (since(self.at, started), expected(build));
        match estimate.checked_sub(elapsed).filter(|left| !left.is_zero()) {
            Some(left) => (left, false),
            None => ((elapsed / 10).max(Self::SOON), true),
        }
    }

    /// Returns whether a person has to say what became of the submission of a build.
    pub(super) fn needs_decision(&self, build: BuildId) -> bool {
        let unclear = |state| matches!(state, AttemptState::Unknown | AttemptState::Resolving);
        let attempt = self.attempts.get(&build);
        attempt.is_some_and(|attempt| unclear(attempt.state) && attempt.reason.code == "needs_decision")
    }
}

/// Returns how long a build takes, as far as is known.
pub(super) fn expected(build: &BuildRecord) -> Duration {
    build.estimate.unwrap_or_else(|| Estimates::guess(build.kind))
}

/// The builds in numbers, in the order of their ids, and who waits for whom.
pub(super) struct Numbered<'a> {
    pub(super) builds: Vec<&'a BuildRecord>,
    pub(super) waits: Csr,
    /// Whether each build waits for one that was not read.
    pub(super) cut: Vec<bool>,
}

impl<'a> Numbered<'a> {
    pub(super) fn of(open: &'a OpenBuilds) -> Self {
        let builds: Vec<_> = open.builds.values().collect();
        let mut cut = vec![false; builds.len()];
        let mut edges = Vec::with_capacity(open.dependencies.len());
        let number = |id: BuildId| builds.binary_search_by_key(&id, |build| build.id).ok();
        for edge in open.dependencies.iter().filter(|edge| !edge.satisfied) {
            let Some(child) = number(edge.child) else { continue };
            match number(edge.parent).map(u32::try_from) {
                Some(Ok(parent)) => edges.extend(u32::try_from(child).map(|child| (parent, child))),
                _ => cut[child] = true,
            }
        }
        let waits = Csr::of(builds.len(), &edges);
        Self { builds, waits, cut }
    }
}

//! Effects: what the engine is to do, derived from rows.
//!
//! *Invariant:* an effect is a function of the rows, the run and the moment; none is stored. So a
//! restart, a missed wake-up and another run find the same work. An effect that is carried out
//! twice is harmless: what follows from it is an input, and the second one is stale.

use super::record::{AttemptRecord, BuildRecord, RunId};
use super::state::{AttemptState, BuildState};
use crate::time::Timestamp;

/// A call to a backend that the rows ask for.
///
/// Effects are not stored: they follow from the stored rows, so that a restart, another process or
/// a missed wake-up finds the same ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start this build.
    Start,
    /// Look the attempt up by its marker.
    LookUp,
    /// Ask the build system how the attempt stands.
    Poll,
    /// Ask the build system to stop the attempt, and how it stands.
    Stop,
    /// Stop an attempt that has not ended in time; the build is then tried again or fails.
    StopOverdue,
}

impl Effect {
    /// What is to be done about a build without a live attempt: [`Start`](Self::Start) if it is
    /// ready, whatever its `not_before` is; `None` if there is nothing to do.
    #[must_use]
    pub fn of_build(build: &BuildRecord) -> Option<Self> {
        (build.state == BuildState::Ready).then_some(Self::Start)
    }

    /// What a run is to do about a live attempt of its own, or of a run that is over.
    ///
    /// An intent of this run is being submitted by this run and needs nothing; one of a run that is
    /// over must be looked up.
    #[must_use]
    pub fn of_attempt(attempt: &AttemptRecord, build: &BuildRecord, run: RunId, at: Timestamp) -> Option<Self> {
        match attempt.state {
            AttemptState::Intent if attempt.run == run => None,
            AttemptState::Intent | AttemptState::Unknown | AttemptState::Resolving => Some(Self::LookUp),
            AttemptState::Bound if build.state == BuildState::Canceling => Some(Self::Stop),
            AttemptState::Bound if attempt.deadline.is_some_and(|deadline| deadline <= at) => Some(Self::StopOverdue),
            AttemptState::Bound => Some(Self::Poll),
            _ => None,
        }
    }
}

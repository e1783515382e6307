use super::record::{AttemptRecord, BuildRecord};
use super::state::{AttemptState, BuildState};
use crate::time::Timestamp;

/// A request to the world.
///
/// Effects are not stored: they follow from the stored rows, so that a restart, another process or a missed wake-up finds the same ones.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Store the intent and submit this build.
    Submit,
    /// Mark this build as reused.
    Reuse,
    /// Look the attempt up by its marker.
    LookUp,
    /// Ask the build system how the attempt stands.
    Poll,
    /// Ask the build system to stop the attempt, then poll it.
    Stop,
}

impl Effect {
    /// What is to be done about a build without a live attempt.
    #[must_use]
    pub fn of_build(build: &BuildRecord) -> Option<Self> {
        (build.state == BuildState::Ready).then(|| if build.can_reuse() { Self::Reuse } else { Self::Submit })
    }

    /// What is to be done about a live attempt by the engine run with this token.
    ///
    /// An intent of this run is being submitted by this run and needs nothing; one of an earlier run must be looked up.
    #[must_use]
    pub fn of_attempt(attempt: &AttemptRecord, build: &BuildRecord, owner: i64, at: Timestamp) -> Option<Self> {
        match attempt.state {
            AttemptState::Intent if attempt.owner == owner => None,
            AttemptState::Intent | AttemptState::Unknown | AttemptState::Resolving => Some(Self::LookUp),
            AttemptState::Bound if build.state == BuildState::Canceling => Some(Self::Stop),
            AttemptState::Bound if attempt.deadline.is_some_and(|deadline| deadline <= at) => Some(Self::Stop),
            AttemptState::Bound => Some(Self::Poll),
            _ => None,
        }
    }
}

impl BuildRecord {
    /// Whether the output that is there can stand for this build: it is only rebuilt because of others, none of those changed its
    /// content, and the content of the present output is known. What was asked for, or changed itself, is never reused.
    #[must_use]
    pub fn can_reuse(&self) -> bool {
        self.because == crate::plan::RebuildReason::Dependency
            && self.inputs_changed == 0
            && !self.no_cache
            && self.present.is_some()
    }
}

//! What a person decides about builds that do not go on by themselves.
//!
//! | state of the build | `decide` | `abandon` |
//! |---|---|---|
//! | blocked, ready, verifying | | it fails |
//! | submitting, the answer is unclear | the attempt is adopted, or submitted again | |
//! | building | | |
//! | canceling | | its attempt is given up, and it ends |
//!
//! An empty place is an input that does not fit: what is submitted is decided on first, and what
//! runs is cancelled first. So no build ends while its build system may still be about to begin it.
//!
//! Two decisions at the same time: both change the build or the attempt, so one of them conflicts,
//! and is stale when it is decided again. So is a lookup whose answer comes after the person's.

use super::apply::IllegalInput;
use super::history::Actor;
use super::limits::Limits;
use super::neighbourhood::Rebuild;
use super::record::{AttemptId, BuildId, ExternalId};
use super::state::{AttemptState, BuildState};
use crate::reason::Reason;

impl Rebuild {
    /// Ends the question what became of a submission, as a person has found out.
    ///
    /// An intent is decided on as well: the caller has seen that the run is over which would submit
    /// it. A submission that was never made is made again, however often that has happened.
    ///
    /// # Errors
    /// `IllegalInput` if there is no such question: the attempt has an answer.
    pub(super) fn resolve(
        &mut self,
        attempt: &AttemptId,
        external: Option<&ExternalId>,
        by: &Actor,
        limits: &Limits,
    ) -> Result<(), IllegalInput> {
        let limits = &Limits { resubmits_max: u32::MAX, ..limits.clone() };
        let unclear = [AttemptState::Intent, AttemptState::Unknown, AttemptState::Resolving];
        let build = self.expect(attempt, &unclear, "a decision")?;
        if let Some(external) = external {
            let text = format!("{} has found it in the build system", by.in_words());
            return self.bind(attempt, external, &Reason::new("decided", text));
        }
        let reason = Reason::new("decided", format!("{} says that it was never submitted", by.in_words()));
        self.set_attempt(attempt, AttemptState::NotSubmitted, reason.clone());
        self.resubmit(build, &reason, true, limits);
        Ok(())
    }

    /// Ends a build that does not go on by itself. It fails, or is cancelled if that was requested.
    ///
    /// # Errors
    /// `IllegalInput` if the build has ended, is being submitted, or runs.
    pub(super) fn give_up(&mut self, id: BuildId, by: &Actor, text: &str) -> Result<(), IllegalInput> {
        let Some(build) = self.now.builds.get_mut(&id) else {
            return Err(IllegalInput::Unknown(format!("build {id}")));
        };
        let state = build.state;
        let reason = Reason::new("abandoned", format!("given up by {}: {text}", by.in_words()));
        match state {
            BuildState::Blocked | BuildState::Ready | BuildState::Verifying => build.output = None,
            BuildState::Canceling => {
                let attempts =
                    self.now.attempts.values().filter(|attempt| attempt.build == id && attempt.state.is_live());
                for attempt in attempts.map(|attempt| attempt.id.clone()).collect::<Vec<_>>() {
                    self.set_attempt(&attempt, AttemptState::Failed, reason.clone());
                }
            }
            _ => {
                let (what, input) = (format!("build {id}"), "giving it up");
                return Err(IllegalInput::Stale { what, state: state.as_str(), input });
            }
        }
        self.fail(id, reason);
        Ok(())
    }
}

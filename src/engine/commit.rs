//! Stores what was decided, and says what became of it.
//!
//! A commit names the rows that it rests on and the run that made it, so the storage refuses it if
//! a row has changed in between or if the lease is lost. `group` commits facts about builds,
//! `message` what handlers have decided.
//!
//! What becomes of a commit, by the remedy of the error:
//!
//! * `Conflict`: load again and decide again, with a growing pause (`CONFLICT_PAUSES`).
//! * `Fenced`: the run is over; the signal of `Core::lose` ends all stages.
//! * `NotNow`, `Rejected`, `NotFound`: the storage refuses, and the caller decides.
//! * `Unavailable`, `Unclear`, `Corrupt`: the outcome is not known. After a pause, load again and
//!   look. So it is with `Unsupported`: the storage takes nothing at all, whatever it is asked (it
//!   may not be written, or a newer version has its tables), which says nothing about the commit.
//!
//! Neither kind of repetition has a limit here: it ends with success, with a refusal, or with the
//! run. `group` gives up the start of a build after `STARTS_MAX` conflicts.
//! If the process dies here, the commit is stored completely or not at all.

use super::core::Core;
use super::outages::STORAGE;
use crate::backend::{Error, Remedy};
use crate::client::Concerned;
use crate::rebuild::Commit;
use std::time::Duration;

/// Says what became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// It is stored.
    Yes,
    /// It is not: what it was decided on has changed. Load and decide again.
    Conflict,
    /// It is not, and deciding again does not change that.
    Refused(Error),
    /// It is not, because this run is over.
    Fenced,
    /// The outcome is not known. Load, see, and decide again if it is not.
    Unknown,
}

/// The pause after the second conflict in a row, and the longest one. The first conflict is decided
/// again at once; from the third one on the pause doubles: 0, 5, 10, 20, 40 milliseconds and so on,
/// up to 10 seconds. Each pause is multiplied by a random factor between 0.5 and 1, so that two
/// processes with the same conflict do not meet again.
const CONFLICT_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(10));

/// Counts the conflicts in a row of one commit.
#[derive(Debug, Default)]
pub(super) struct Conflicts(u32);

impl Conflicts {
    /// Returns how many there were.
    pub(super) fn count(&self) -> u32 {
        self.0
    }

    /// Waits before the decision is made again.
    pub(super) async fn pause(&mut self, core: &Core) {
        self.0 += 1;
        let (first, longest) = CONFLICT_PAUSES;
        if let Some(doublings) = self.0.checked_sub(2) {
            let pause = first.saturating_mul(1 << doublings.min(20)).min(longest);
            let spread = 0.5 + core.rng().f64() / 2.0;
            core.sleep(pause.mul_f64(spread)).await;
        }
    }
}

impl Core {
    /// Commits once, and wakes the stages that the changes give something to do.
    ///
    /// A commit without changes is stored without a call. If the storage says that the run is over,
    /// this also ends the run with `Core::lose`. If the outcome is unknown, this sleeps for a pause
    /// first.
    pub(super) async fn store(&self, commit: Commit) -> Stored {
        if commit.changes.is_empty() {
            return Stored::Yes;
        }
        let concerned = Concerned::by(&commit.changes);
        match self.storage.commit(commit).await {
            Ok(()) => {
                self.works("commit", STORAGE);
                self.wake.stored(concerned);
                Stored::Yes
            }
            Err(error) => match error.remedy {
                Remedy::Conflict => Stored::Conflict,
                Remedy::Fenced => {
                    self.lose();
                    Stored::Fenced
                }
                Remedy::NotNow | Remedy::Rejected | Remedy::NotFound => Stored::Refused(error),
                Remedy::Unavailable | Remedy::Unclear | Remedy::Corrupt | Remedy::Unsupported => {
                    self.pause("commit", STORAGE, &error).await;
                    Stored::Unknown
                }
            },
        }
    }

    /// Stores changes that may be stored twice without harm, and repeats the commit until it is
    /// stored, the storage refuses it, or the run is over.
    ///
    /// The result is never `Conflict` or `Unknown`.
    pub(super) async fn store_surely(&self, commit: Commit) -> Stored {
        let mut conflicts = Conflicts::default();
        loop {
            match self.store(commit.clone()).await {
                Stored::Conflict => conflicts.pause(self).await,
                Stored::Unknown => {}
                done => return done,
            }
        }
    }
}

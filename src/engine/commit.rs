//! Stores facts about builds: load the rows, apply an input to them, commit the difference.
//!
//! Every stage reports what it has seen through `Core::apply`; nothing else changes the state of a
//! build. The commit names the rows that it rests on and the run that made it, so the storage
//! refuses it if a row has changed in between or if the lease is lost.
//!
//! What becomes of a commit, by the remedy of the error:
//!
//! * `Conflict`: load again and decide again, with a growing pause (`CONFLICT_PAUSES`).
//! * `Fenced`: the run is over; the signal of `Core::lose` ends all stages.
//! * `NotNow`, `Rejected`, `NotFound`, `Unsupported`: the storage refuses, and the caller decides.
//! * `Unavailable`, `Unclear`, `Corrupt`: the outcome is not known. After a pause, load again and
//!   look.
//!
//! Neither kind of repetition has a limit: it ends with success, with a refusal, or with the run.
//! If the process dies here, the commit is stored completely or not at all.

use super::core::{Core, Failures};
use crate::backend::{Error, Remedy, Scope};
use crate::client::Concerned;
use crate::rebuild::{BuildId, Commit, IllegalInput, Input, Neighbourhood, Observed, Rebuild};
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

/// Says why an input has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotApplied {
    /// The input does not fit what is stored: it is late, repeated, or about something unknown.
    Illegal(IllegalInput),
    /// The storage refuses what follows from it.
    Refused(Error),
    /// A row that the decision needs cannot be read, so nothing can be decided about it.
    Unreadable(Error),
    /// This run is over.
    Fenced,
}

/// The pause after the second conflict in a row, and the longest one. The first conflict is decided
/// again at once; from the third one on the pause doubles: 0, 5, 10, 20, 40 milliseconds and so on,
/// up to 1 second. Each pause is multiplied by a random factor between 0.5 and 1, so that two
/// processes with the same conflict do not meet again.
const CONFLICT_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Counts the conflicts in a row of one commit.
#[derive(Debug, Default)]
pub(super) struct Conflicts(u32);

impl Conflicts {
    /// Waits before the decision is made again.
    pub(super) async fn pause(&mut self, core: &Core) {
        self.0 += 1;
        let (first, longest) = CONFLICT_PAUSES;
        if let Some(doublings) = self.0.checked_sub(2) {
            let pause = first.saturating_mul(1 << doublings.min(10)).min(longest);
            let spread = 0.5 + core.rng().f64() / 2.0;
            core.sleep(pause.mul_f64(spread)).await;
        }
    }
}

impl Core {
    /// Applies an input: the only way in which a fact about a build is stored.
    ///
    /// Loads the rows of the input's scope, applies the input, and commits; repeats this until the
    /// fact is stored or proves to change nothing. Returns the rows as they are after the input.
    /// `build` is the build that the input is about, if it is about one; some inputs then load
    /// everything that waits for that build (see `scope`). An input that starts a build also
    /// carries the concurrency limit of its system, which the storage checks against the attempts
    /// of all runs.
    ///
    /// If the outcome of a commit was not known and the input is stale on the next try, the commit
    /// was stored: the input itself has made itself stale. That counts as success.
    ///
    /// # Errors
    /// `NotApplied`: the input does not fit, the storage refuses, a row cannot be read, or the run
    /// is over. A transient error while rows are loaded is repeated after a pause that grows.
    ///
    /// # Cancel safety
    /// If the future is dropped, the fact is stored completely or not at all.
    pub(super) async fn apply(&self, input: &Input, build: Option<BuildId>) -> Result<Neighbourhood, NotApplied> {
        let scope = scope(input, build);
        let (mut unknown, mut conflicts, mut failures) = (false, Conflicts::default(), Failures::default());
        loop {
            let loaded = match self.storage.load(&scope).await {
                Ok(loaded) => loaded,
                Err(error) if error.remedy == Remedy::Corrupt || !error.is_transient() => {
                    if self.is_new(error.to_string()) {
                        tracing::error!(%error, "a row cannot be read, so nothing is decided about what needs it");
                    }
                    return Err(NotApplied::Unreadable(error));
                }
                Err(error) => {
                    self.pause_longer(&mut failures, "commit", &error).await;
                    continue;
                }
            };
            let mut rebuild = Rebuild::new(loaded, self.run());
            if let Err(illegal) = rebuild.apply(input, &self.limits) {
                if unknown && matches!(illegal, IllegalInput::Stale { .. }) {
                    // The try whose outcome was not known was stored: it is this very input that
                    // makes itself stale.
                    return Ok(rebuild.rows().clone());
                }
                tracing::debug!(%illegal, "an input changes nothing");
                return Err(NotApplied::Illegal(illegal));
            }
            let rows = rebuild.rows().clone();
            let mut commit = rebuild.commit(input.actor());
            if let Input::Start { build, .. } = input
                && let Some(build) = rows.builds.get(build)
            {
                commit.at_most.push((build.key.system.clone(), self.slots.limit(&build.key.system)));
            }
            match self.store(commit).await {
                Stored::Yes => return Ok(rows),
                Stored::Conflict => conflicts.pause(self).await,
                Stored::Refused(error) => {
                    tracing::debug!(%error, "the storage refuses what follows from an input");
                    return Err(NotApplied::Refused(error));
                }
                Stored::Fenced => return Err(NotApplied::Fenced),
                Stored::Unknown => unknown = true,
            }
        }
    }

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
                self.wake.stored(concerned);
                Stored::Yes
            }
            Err(error) => match error.remedy {
                Remedy::Conflict => Stored::Conflict,
                Remedy::Fenced => {
                    self.lose();
                    Stored::Fenced
                }
                Remedy::NotNow | Remedy::Rejected | Remedy::NotFound | Remedy::Unsupported => Stored::Refused(error),
                Remedy::Unavailable | Remedy::Unclear | Remedy::Corrupt => {
                    self.pause("commit", &error).await;
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

/// Returns the rows that an input may change.
///
/// An input after which the build may end badly needs everything that waits for the build, directly
/// and indirectly (`Descendants`), because those builds fail too. An input that can only succeed or
/// wait needs the direct neighbours. Without a known build, the scope falls back to the attempt.
fn scope(input: &Input, build: Option<BuildId>) -> Scope {
    match (input, build) {
        (Input::Cancel { event, .. }, _) => Scope::Event(*event),
        (Input::Reuse { build } | Input::Start { build, .. } | Input::Postponed { build, .. }, _) => {
            Scope::Builds(vec![*build])
        }
        (Input::Verified { build, .. } | Input::Lost { build, .. }, _) => Scope::Renewal(*build),
        (Input::Observe { observed: Observed::Succeeded(_) | Observed::Running, attempt, .. }, _) => {
            Scope::Attempt(attempt.clone())
        }
        (
            Input::Refused { .. }
            | Input::NotSent { .. }
            | Input::Resolved { .. }
            | Input::Decide { .. }
            | Input::Observe { .. },
            Some(build),
        ) => Scope::Descendants(vec![build]),
        (Input::Abandon { build, .. }, _) => Scope::Descendants(vec![*build]),
        (
            Input::Accepted { attempt, .. }
            | Input::Unclear { attempt, .. }
            | Input::Resolve { attempt, .. }
            | Input::NotResolved { attempt, .. }
            | Input::Overdue { attempt }
            | Input::Refused { attempt, .. }
            | Input::NotSent { attempt, .. }
            | Input::Resolved { attempt, .. }
            | Input::Decide { attempt, .. }
            | Input::Observe { attempt, .. },
            _,
        ) => Scope::Attempt(attempt.clone()),
    }
}

use super::core::Core;
use crate::backend::{Error, Remedy, Scope};
use crate::client::Concerned;
use crate::rebuild::{BuildId, Commit, IllegalInput, Input, Neighbourhood, Observed, Rebuild, RowChange};
use std::time::Duration;

/// What became of a commit.
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

/// Why an input has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotApplied {
    /// It does not fit what is stored.
    Illegal(IllegalInput),
    /// The storage refuses what follows from it.
    Refused(Error),
    /// This run is over.
    Fenced,
}

/// The pause after a conflict, doubled with each further one up to the second value. The first is
/// decided again at once.
const CONFLICT_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Counts conflicts in a row.
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
    /// The one door for facts about builds: loads, applies, stores, until the fact is stored or
    /// proves to change nothing. `build` is the build that the input is about, if it is about one.
    pub(super) async fn apply(&self, input: &Input, build: Option<BuildId>) -> Result<Neighbourhood, NotApplied> {
        let scope = scope(input, build);
        let (mut unknown, mut conflicts) = (false, Conflicts::default());
        loop {
            let loaded = match self.storage.load(&scope).await {
                Ok(loaded) => loaded,
                Err(error) => {
                    self.pause("commit", &error).await;
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

    /// Stores a commit.
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

    /// Stores changes that may be stored twice, until they are, or the storage refuses them for
    /// good.
    pub(super) async fn store_surely(&self, changes: Vec<RowChange>) -> Stored {
        let mut conflicts = Conflicts::default();
        loop {
            match self.store(Commit::by(self.run(), changes.clone())).await {
                Stored::Conflict => conflicts.pause(self).await,
                Stored::Unknown => {}
                done => return done,
            }
        }
    }
}

/// The rows an input may change. Whatever may end a build badly needs everything that waits for it.
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
            Input::Refused { .. } | Input::NotSent { .. } | Input::Resolved { .. } | Input::Observe { .. },
            Some(build),
        ) => Scope::Descendants(vec![build]),
        (
            Input::Accepted { attempt, .. }
            | Input::Unclear { attempt, .. }
            | Input::Resolve { attempt, .. }
            | Input::NotResolved { attempt, .. }
            | Input::Overdue { attempt }
            | Input::Refused { attempt, .. }
            | Input::NotSent { attempt, .. }
            | Input::Resolved { attempt, .. }
            | Input::Observe { attempt, .. },
            _,
        ) => Scope::Attempt(attempt.clone()),
    }
}

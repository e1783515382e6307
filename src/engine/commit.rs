use super::core::Core;
use crate::backend::{Remedy, Scope};
use crate::rebuild::{BuildId, IllegalInput, Input, Neighbourhood, Observed, Rebuild, RowChange};
use tokio::sync::Notify;

/// What became of changes that were to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// They are stored.
    Yes,
    /// They are not: the rows they were decided on have changed. Load and decide again.
    Conflict,
    /// Nobody knows. Load, see, and decide again if they are not.
    Unknown,
}

impl Core {
    /// The one door for facts about builds: loads, applies, stores, until the fact is stored or proves to change nothing.
    /// `build` is the build that the input is about, if it is about one.
    pub(super) async fn apply(&self, input: &Input, build: Option<BuildId>) -> Result<Neighbourhood, IllegalInput> {
        let scope = scope(input, build);
        let mut unknown = false;
        loop {
            let loaded = match self.storage.load(&scope).await {
                Ok(loaded) => loaded,
                Err(error) => {
                    self.pause("commit", &error).await;
                    continue;
                }
            };
            let mut rebuild = Rebuild::new(loaded, self.owner(), self.now());
            if let Err(illegal) = rebuild.apply(input, &self.limits) {
                if unknown && matches!(illegal, IllegalInput::Stale { .. }) {
                    // The try whose outcome was not known was stored: it is this very input that makes itself stale.
                    return Ok(rebuild.rows().clone());
                }
                tracing::debug!(%illegal, "an input changes nothing");
                return Err(illegal);
            }
            let rows = rebuild.rows().clone();
            match self.store(rebuild.changes()).await {
                Stored::Yes => return Ok(rows),
                Stored::Conflict => {}
                Stored::Unknown => unknown = true,
            }
        }
    }

    /// Stores changes.
    pub(super) async fn store(&self, changes: Vec<RowChange>) -> Stored {
        if changes.is_empty() {
            return Stored::Yes;
        }
        let concerned = self.wake.concerned(&changes);
        match self.storage.transact(changes).await {
            Ok(()) => {
                concerned.into_iter().for_each(Notify::notify_one);
                self.wake.changed.notify_waiters();
                Stored::Yes
            }
            Err(error) if error.remedy == Remedy::Conflict => Stored::Conflict,
            Err(error) => {
                self.pause("commit", &error).await;
                Stored::Unknown
            }
        }
    }

    /// Stores changes that may be stored twice, until they are.
    pub(super) async fn store_surely(&self, changes: Vec<RowChange>) {
        while self.store(changes.clone()).await != Stored::Yes {}
    }
}

/// The rows an input may change. Whatever may end a build badly needs everything that waits for it.
fn scope(input: &Input, build: Option<BuildId>) -> Scope {
    match (input, build) {
        (Input::Cancel { event, .. }, _) => Scope::Event(*event),
        (Input::Start { build, .. } | Input::Postponed { build, .. }, _) => Scope::Builds(vec![*build]),
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

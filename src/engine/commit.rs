use super::core::Core;
use crate::backend::{Remedy, Scope};
use crate::rebuild::{BuildId, IllegalInput, Input, Neighbourhood, Observed, Rebuild, RowChange};

impl Core {
    /// The one door for facts about builds: loads, applies, stores, until the fact is stored or proves to change nothing.
    /// `build` is the build that the input is about, if it is about one.
    pub(super) async fn apply(&self, input: &Input, build: Option<BuildId>) -> Result<Neighbourhood, IllegalInput> {
        let scope = scope(input, build);
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
                tracing::debug!(%illegal, "an input changes nothing");
                return Err(illegal);
            }
            let rows = rebuild.rows().clone();
            if self.store(rebuild.changes()).await {
                return Ok(rows);
            }
        }
    }

    /// Stores changes; `false` if they were decided on rows that have changed since, so that the decision must be made again.
    pub(super) async fn store(&self, changes: Vec<RowChange>) -> bool {
        if changes.is_empty() {
            return true;
        }
        match self.storage.transact(changes).await {
            Ok(()) => {
                self.wake_all();
                true
            }
            Err(error) if error.remedy == Remedy::Conflict => false,
            Err(error) => {
                // Whether it was stored is not known; deciding again on fresh rows finds out.
                self.pause("commit", &error).await;
                false
            }
        }
    }
}

/// The rows an input may change. Whatever may end a build badly needs everything that waits for it.
fn scope(input: &Input, build: Option<BuildId>) -> Scope {
    match (input, build) {
        (Input::Cancel { event, .. }, _) => Scope::Event(*event),
        (Input::Start { build, .. }, _) => Scope::Builds(vec![*build]),
        (Input::Observe { observed: Observed::Succeeded(_) | Observed::Running, attempt }, _) => {
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

//! Matches messages of buses with live attempts, so that a poll can come early.
//!
//! `ingest` passes each received message to `note`; `watch` calls `take` at each look at the rows.
//! A message is only recorded if it names an attempt that was live when `watch` last read the rows:
//! the many messages about jobs of other users wake nothing. Everything is kept in memory. A hint
//! that is lost, repeated or wrong costs at most one poll; a message that comes before its attempt
//! is known is not recorded. The number of hints is bounded by the number of live attempts.
//!
//! ```text
//! take(live: 1, 2)      -> nothing; 1 and 2 are known from now on
//! note(task 3)          -> false, not ours
//! note(task 1)          -> true, wakes watch;  again: false
//! take(live: 1, 2)      -> 1, to be polled at once
//! ```

use super::calls::unharmed;
use crate::event::Message;
use crate::rebuild::ExternalId;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Reads which job of a build system a message is about; `None` if it is about none.
type Read = Box<dyn Fn(&Message) -> Option<ExternalId> + Send + Sync>;

/// Holds the readers of messages, and the attempts that these can be about.
#[derive(Default)]
pub(super) struct Hints {
    /// The readers, each with the name of its build system.
    readers: Vec<(String, Read)>,
    /// What is known of attempts; locked for moments only.
    known: Mutex<Known>,
}

/// Attempts, each by the name of its build system and that system's id of it.
type Attempts = BTreeSet<(String, ExternalId)>;

/// Holds the live attempts, and those that may have changed.
#[derive(Debug, Default)]
struct Known {
    /// Attempts that ran at the last look at the rows.
    live: Attempts,
    /// Those of them that a message has named since.
    hinted: Attempts,
}

impl fmt::Debug for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.systems()).finish()
    }
}

impl Hints {
    /// Adds a reader of messages about a build system. One system can have several.
    pub(super) fn add(&mut self, system: String, read: Read) {
        self.readers.push((system, read));
    }

    /// Returns the names of the build systems that have readers.
    pub(super) fn systems(&self) -> impl Iterator<Item = &String> {
        self.readers.iter().map(|(system, _)| system)
    }

    /// Records which attempts the message is about; returns `true` if one of them is live and was
    /// not recorded already.
    pub(super) fn note(&self, message: &Message) -> bool {
        let mut noted = false;
        for (system, read) in &self.readers {
            let external = unharmed(|| read(message)).unwrap_or_else(|text| {
                tracing::error!(system, message.topic, text, "a reader of hints panicked; the next poll finds out");
                None
            });
            let Some(external) = external else { continue };
            let attempt = (system.clone(), external);
            let mut known = self.known();
            if known.live.contains(&attempt) {
                noted |= known.hinted.insert(attempt);
            }
        }
        noted
    }

    /// Replaces the live attempts, and returns those that may have changed since the last call.
    ///
    /// Hints about attempts that are not live any more are dropped. Hints about `busy` ones are
    /// kept for the next call, because the answer that is on its way may be older than the hint.
    pub(super) fn take(&self, live: Attempts, busy: impl Fn(&(String, ExternalId)) -> bool) -> Attempts {
        let mut known = self.known();
        let hinted = std::mem::take(&mut known.hinted);
        let (kept, taken) = hinted.into_iter().filter(|attempt| live.contains(attempt)).partition(busy);
        *known = Known { live, hinted: kept };
        taken
    }

    /// Locks what is known. The guard is never held over an `await`.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_attempts_of_ours_are_noted_and_busy_ones_are_kept() {
        let mut hints = Hints::default();
        hints.add("koji".into(), Box::new(|message| message.topic.strip_prefix("task.").map(ExternalId::new)));
        let message =
            |topic: &str| Message { id: String::new(), topic: topic.into(), headers: Default::default(), body: vec![] };
        let attempt = |id: &str| ("koji".to_owned(), ExternalId::new(id));
        let live = Attempts::from([attempt("1"), attempt("2")]);
        assert!(!hints.note(&message("task.1")), "nothing runs");
        assert!(hints.take(live.clone(), |_| false).is_empty());
        assert!(hints.note(&message("task.1")) && hints.note(&message("task.2")));
        assert!(!hints.note(&message("task.1")) && !hints.note(&message("task.3")) && !hints.note(&message("other")));
        assert_eq!(hints.take(live.clone(), |attempt| attempt.1.as_str() == "2"), [attempt("1")].into());
        assert_eq!(hints.take(live, |_| false), [attempt("2")].into());
    }
}

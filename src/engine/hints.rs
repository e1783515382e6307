use crate::event::Message;
use crate::rebuild::ExternalId;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Read = Box<dyn Fn(&Message) -> Option<ExternalId> + Send + Sync>;

/// Which attempts messages say something about. Kept in memory only: what is lost here is found by
/// the next poll.
#[derive(Default)]
pub(super) struct Hints {
    readers: Vec<(String, Read)>,
    known: Mutex<Known>,
}

/// Attempts, each by the name of its build system and what that calls it.
type Attempts = BTreeSet<(String, ExternalId)>;

#[derive(Debug, Default)]
struct Known {
    /// Those that run, as of the last look at the rows.
    live: Attempts,
    /// Those of them that may have changed.
    hinted: Attempts,
}

impl fmt::Debug for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.systems()).finish()
    }
}

impl Hints {
    pub(super) fn add(&mut self, system: String, read: Read) {
        self.readers.push((system, read));
    }

    /// The build systems about which messages are understood.
    pub(super) fn systems(&self) -> impl Iterator<Item = &String> {
        self.readers.iter().map(|(system, _)| system)
    }

    /// Remembers what the message is about; `true` if that is an attempt of ours.
    pub(super) fn note(&self, message: &Message) -> bool {
        let mut noted = false;
        for (system, read) in &self.readers {
            let Some(external) = read(message) else { continue };
            let attempt = (system.clone(), external);
            let mut known = self.known();
            if known.live.contains(&attempt) {
                noted |= known.hinted.insert(attempt);
            }
        }
        noted
    }

    /// These attempts run. Returns those that may have changed; those that are `busy` are kept for
    /// the next time.
    pub(super) fn take(&self, live: Attempts, busy: impl Fn(&(String, ExternalId)) -> bool) -> Attempts {
        let mut known = self.known();
        let hinted = std::mem::take(&mut known.hinted);
        let (kept, taken) = hinted.into_iter().filter(|attempt| live.contains(attempt)).partition(busy);
        *known = Known { live, hinted: kept };
        taken
    }

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

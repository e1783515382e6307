//! Outages of backends, so that each is logged when it begins and when it is over, and not at every
//! try.
//!
//! A stage that repeats a step because a backend failed calls `Core::pause`, and `Core::works` when
//! the step succeeds. A backend can fail for one stage and work for another (a storage that can be
//! read but not written), so outages are counted for each backend and stage.

use std::collections::BTreeMap;
use std::time::Duration;

/// How the storage is called among the backends, which have the names that they are registered by.
pub(super) const STORAGE: &str = "storage";

/// After which time an outage that lasts is logged again.
const AGAIN: Duration = Duration::from_secs(600);

/// The outages that last, by stage and name of the backend.
#[derive(Debug, Default)]
pub(super) struct Outages(BTreeMap<(&'static str, String), Outage>);

/// An outage that lasts. Moments are by `Core::elapsed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outage {
    pub(super) since: Duration,
    pub(super) failures: u64,
    /// When it was logged last.
    logged: Duration,
}

impl Outages {
    /// Notes a failure. Returns the outage if it is to be logged now: at its beginning, and again
    /// after `AGAIN`.
    pub(super) fn failed(&mut self, stage: &'static str, backend: &str, now: Duration) -> Option<Outage> {
        let begins = Outage { since: now, failures: 0, logged: now };
        let outage = self.0.entry((stage, backend.to_owned())).or_insert(begins);
        outage.failures += 1;
        if outage.failures > 1 && now.saturating_sub(outage.logged) < AGAIN {
            return None;
        }
        outage.logged = now;
        Some(*outage)
    }

    /// Notes that a step succeeded. Returns the outage that this ends, if there was one.
    pub(super) fn ended(&mut self, stage: &'static str, backend: &str) -> Option<Outage> {
        // Nearly always.
        if self.0.is_empty() {
            return None;
        }
        self.0.remove(&(stage, backend.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_at_its_beginning_now_and_then_and_at_its_end() {
        let mut outages = Outages::default();
        let told: Vec<u64> = (0..1500)
            .filter(|second| outages.failed("watch", "koji", Duration::from_secs(*second)).is_some())
            .collect();
        assert_eq!(told, [0, 600, 1200]);
        assert!(outages.failed("watch", "farm", Duration::ZERO).is_some(), "another backend");
        assert!(outages.failed("drive", "koji", Duration::ZERO).is_some(), "another stage");
        assert_eq!(outages.ended("watch", "koji").map(|outage| outage.failures), Some(1500));
        assert_eq!(outages.ended("watch", "koji"), None);
    }
}

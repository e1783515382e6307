//! The circuit breakers of `drive`: a build system to which a submission could not be sent, or that
//! did not answer it, gets no further submission for a while.
//!
//! Without them every ready build would try on its own during an outage. A circuit breaker is
//! closed (all builds may start), open (none may start until a moment), or probing (one build is
//! under way to see whether the outage is over). The pause grows as `Limits::backoff` does, from 1
//! second to 300 by default, times a random factor between 0.5 and 1. Polls and lookups are not
//! affected.
//!
//! ```text
//!  0 s  two submissions fail         open until 1 s; the second one counts for nothing
//!  1 s  one build is let through     it fails: open until 3 s, or earlier by the random factor
//!  3 s  one build is let through     it is answered: closed
//! ```
//!
//! The build that is let through is not one of those that have failed since the outage began, as
//! long as there is another one. So a build that can never be sent does not hold up the others.
//!
//! All of this is in memory. Each run begins with closed circuit breakers, which costs a few
//! requests if a build system is still away.

use crate::rebuild::{BuildId, Limits};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Holds the circuit breakers that are not closed, by the name of the build system.
#[derive(Debug, Default)]
pub(super) struct Breakers(BTreeMap<String, Breaker>);

/// Holds one circuit breaker that is open or probing.
#[derive(Debug, Default)]
struct Breaker {
    /// Outages in a row: the first failure and each failed probe.
    failures: u32,
    /// No build starts before this moment, by `Core::elapsed`.
    until: Duration,
    /// The build that was let through, while it is under way.
    probe: Option<BuildId>,
    /// Builds that could not be sent since the outage began, or since all had failed once.
    failed: BTreeSet<BuildId>,
}

impl Breaker {
    /// Ends the probe, if this build is it.
    fn end_probe(&mut self, build: BuildId) {
        self.probe = self.probe.filter(|probe| *probe != build);
    }
}

impl Breakers {
    /// Returns whether all systems can be reached, as far as is known.
    pub(super) fn are_closed(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes the builds that are not to be let through next: those that have failed in this
    /// outage, unless all of them have.
    pub(super) fn rotate(&mut self, system: &str, builds: &mut BTreeSet<BuildId>) {
        let Some(breaker) = self.0.get_mut(system) else { return };
        if !builds.is_empty() && builds.is_subset(&breaker.failed) {
            breaker.failed.clear();
        }
        builds.retain(|build| !breaker.failed.contains(build));
    }

    /// Returns whether a build may be started on this system now. After the pause, `true` is
    /// returned once, and the caller must report what became of that build.
    pub(super) fn admits(&mut self, system: &str, build: BuildId, now: Duration) -> bool {
        match self.0.get_mut(system) {
            None => true,
            Some(breaker) if breaker.probe.is_some() || now < breaker.until => false,
            Some(breaker) => {
                breaker.probe = Some(build);
                true
            }
        }
    }

    /// Closes the circuit breaker: the system was reached. Logs the end of an outage.
    pub(super) fn answered(&mut self, system: &str) {
        if let Some(breaker) = self.0.remove(system) {
            tracing::warn!(system, failures = breaker.failures, "a build system can be reached again");
        }
    }

    /// Logs the beginning of an outage, once: a failure of a system whose circuit breaker is
    /// closed. Call it before [`failed`](Self::failed).
    pub(super) fn log_outage(&self, system: &str, error: &str) {
        if !self.0.contains_key(system) {
            tracing::warn!(system, error, "a build system cannot be reached: its builds wait");
        }
    }

    /// Opens the circuit breaker: this build could not be sent. `chance` (from 0 to 1) is the
    /// random part of the pause, so that several engines do not return at the same moment.
    pub(super) fn failed(&mut self, system: &str, build: BuildId, now: Duration, limits: &Limits, chance: f64) {
        let breaker = self.0.entry(system.to_owned()).or_default();
        breaker.failed.insert(build);
        // Those that were under way when the first one failed say nothing new.
        if breaker.failures == 0 || breaker.probe == Some(build) {
            breaker.failures += 1;
            breaker.until =
                now.saturating_add(limits.backoff(breaker.failures).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0));
        }
        breaker.end_probe(build);
    }

    /// Records that the build that was let through did not call the system, so the next one may be
    /// let through.
    pub(super) fn untried(&mut self, system: &str, build: BuildId) {
        if let Some(breaker) = self.0.get_mut(system) {
            breaker.end_probe(build);
        }
    }

    /// Returns the earliest moment after `now` at which a system may be tried again.
    pub(super) fn next(&self, now: Duration) -> Option<Duration> {
        self.0.values().map(|breaker| breaker.until).filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_outage_lets_one_request_through_at_growing_intervals() {
        let (limits, start) = (Limits::default(), at(0));
        let [one, two, three] = [1, 2, 3].map(BuildId);
        let mut breakers = Breakers::default();
        assert!(breakers.admits("koji", one, start) && breakers.admits("koji", two, start), "all is well");
        breakers.failed("koji", one, start, &limits, 1.0);
        breakers.failed("koji", two, start, &limits, 1.0);
        assert_eq!(breakers.next(start), Some(at(1)), "two that were under way together count once");
        assert!(!breakers.admits("koji", one, start) && breakers.admits("other", one, start));
        assert!(breakers.admits("koji", three, at(1)) && !breakers.admits("koji", one, at(1)), "one is let through");
        breakers.failed("koji", two, at(1), &limits, 0.0);
        breakers.untried("koji", one);
        assert!(!breakers.admits("koji", one, at(1)), "one that was sent before says nothing about it");
        breakers.untried("koji", three);
        assert!(breakers.admits("koji", one, at(1)) && !breakers.admits("koji", two, at(1)), "another one");
        breakers.failed("koji", one, at(1), &limits, 0.0);
        assert_eq!(breakers.next(at(1)), Some(at(2)), "half of two seconds, later");
        assert_eq!(breakers.next(at(2)), None, "what may be tried now waits for nothing");
        assert!(breakers.admits("koji", two, at(9)));
        breakers.answered("koji");
        assert!(breakers.admits("koji", one, at(9)) && breakers.admits("koji", two, at(9)));
        assert!(breakers.next(at(9)).is_none());
    }

    #[test]
    fn each_build_is_let_through_once_before_any_a_second_time() {
        let limits = Limits::default();
        let all = BTreeSet::from([1, 2, 3].map(BuildId));
        let candidates = |breakers: &mut Breakers| {
            let mut builds = all.clone();
            breakers.rotate("koji", &mut builds);
            builds.into_iter().map(|build| build.0).collect::<Vec<_>>()
        };
        let mut breakers = Breakers::default();
        assert_eq!(candidates(&mut breakers), [1, 2, 3], "all is well");
        breakers.failed("koji", BuildId(1), at(0), &limits, 1.0);
        assert_eq!(candidates(&mut breakers), [2, 3]);
        breakers.failed("koji", BuildId(3), at(0), &limits, 1.0);
        assert_eq!(candidates(&mut breakers), [2]);
        breakers.failed("koji", BuildId(2), at(0), &limits, 1.0);
        assert_eq!(candidates(&mut breakers), [1, 2, 3], "all have failed, so it begins again");
    }
}

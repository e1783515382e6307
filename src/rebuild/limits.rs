//! How often the state machine tries again by itself, and after which pauses.
//!
//! | what became of an attempt | counted as | at most | pause |
//! |---|---|---|---|
//! | its machinery failed, or it vanished | a try | [`Limits::tries_infrastructure_max`] | [`Limits::backoff`] of the tries |
//! | its recipe failed | a try | [`Limits::tries_deterministic_max`] | the same |
//! | it can never succeed | a try | no other | – |
//! | it was refused for now, interrupted, or never arrived | a resubmission | [`Limits::resubmits_max`] | [`Limits::backoff`] of the resubmissions |
//! | its request was certainly not sent | nothing | without a limit | [`Limits::backoff`] of those in a row |
//!
//! *Invariant:* the state machine has no random part: equal rows, inputs and limits give equal
//! decisions.

use super::input::FailureClass;
use std::time::Duration;

/// Bounds of what the state machine does by itself: numbers of tries, pauses and sizes, each with a
/// default.
///
/// ```
/// use freshmaker::rebuild::{FailureClass, Limits};
///
/// let mut limits = Limits::default();
/// limits.tries_deterministic_max = 1; // no confirming try
/// assert!(!limits.retries(FailureClass::Deterministic, 1));
/// assert!(limits.retries(FailureClass::Infrastructure, 1));
/// assert!(limits.backoff(2) >= limits.backoff(1));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most tries of a build whose machinery fails. Default: 3.
    pub tries_infrastructure_max: u32,
    /// The most tries of a build whose recipe fails: one, and one to confirm. Default: 2.
    pub tries_deterministic_max: u32,
    /// How often one try may be submitted again without counting as another try: because the
    /// submission never arrived, was refused for the moment, or was interrupted. Default: 300,
    /// which with the longest pause takes about a day.
    pub resubmits_max: u32,
    /// The first pause before a further try; doubled each time. Default: 1 s.
    pub backoff_first: Duration,
    /// The longest pause before a further try. Default: 300 s.
    pub backoff_max: Duration,
    /// How long an attempt may take before it is stopped. Default: 24 hours.
    pub attempt_timeout: Duration,
    /// After how many tries that ended badly (the run died, or a handler was too slow) a message
    /// becomes a dead letter. Default: 5.
    pub message_tries_max: u32,
    /// The most builds of a plan; a larger plan fails its event. Default: 50,000.
    pub plan_builds_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tries_infrastructure_max: 3,
            tries_deterministic_max: 2,
            resubmits_max: 300,
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            attempt_timeout: Duration::from_secs(24 * 3600),
            message_tries_max: 5,
            plan_builds_max: 50_000,
        }
    }
}

impl Limits {
    /// Returns the pause before try number `tries + 1`: [`backoff_first`](Self::backoff_first),
    /// doubled for each try after the first, at most [`backoff_max`](Self::backoff_max).
    ///
    /// With the defaults: 1 s after the first try, 2 s, 4 s, … and 300 s from the tenth on.
    #[must_use]
    pub fn backoff(&self, tries: u32) -> Duration {
        let doublings = tries.saturating_sub(1).min(30);
        self.backoff_first.saturating_mul(1 << doublings).min(self.backoff_max)
    }

    /// Returns whether a build whose last try failed in this way is tried again. `count` is the
    /// number of its tries; for [`FailureClass::Interrupted`] it is the number of submissions of
    /// this try that led to nothing.
    #[must_use]
    pub fn retries(&self, class: FailureClass, count: u32) -> bool {
        match class {
            FailureClass::Infrastructure => count < self.tries_infrastructure_max,
            FailureClass::Deterministic => count < self.tries_deterministic_max,
            FailureClass::Interrupted => count <= self.resubmits_max,
            FailureClass::Permanent => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let limits = Limits::default();
        let pauses: Vec<_> = [0, 1, 2, 3, 9, 10, 1000].map(|tries| limits.backoff(tries).as_secs()).into();
        assert_eq!(pauses, [1, 1, 2, 4, 256, 300, 300]);
    }

    #[test]
    fn each_class_has_its_number_of_further_tries() {
        let limits = Limits::default();
        let tries = |class| (1..=5).take_while(|&tries| limits.retries(class, tries)).count();
        assert_eq!(tries(FailureClass::Permanent), 0);
        assert_eq!(tries(FailureClass::Deterministic), 1);
        assert_eq!(tries(FailureClass::Infrastructure), 2);
        assert_eq!(tries(FailureClass::Interrupted), 5);
    }
}

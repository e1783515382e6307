use crate::rebuild::Limits;
use crate::time::{Timestamp, later};
use std::collections::BTreeMap;

/// Which build systems are left alone for a while, because nothing could be sent to them.
///
/// Without it, an outage would let every ready build try on its own. What is here is only in
/// memory: to forget it costs one request.
#[derive(Debug, Default)]
pub(super) struct Breakers(BTreeMap<String, Breaker>);

#[derive(Debug)]
struct Breaker {
    failures: u32,
    until: Timestamp,
    probing: bool,
}

impl Breakers {
    /// Whether a build may be started on this system now; after an outage one is let through to
    /// see.
    pub(super) fn admits(&mut self, system: &str, now: Timestamp) -> bool {
        match self.0.get_mut(system) {
            None => true,
            Some(breaker) if breaker.probing || now < breaker.until => false,
            Some(breaker) => {
                breaker.probing = true;
                true
            }
        }
    }

    /// Something was answered, whatever it was.
    pub(super) fn answered(&mut self, system: &str) {
        self.0.remove(system);
    }

    /// Nothing could be sent. `chance` (of 0 to 1) spreads those that come back at the same time.
    pub(super) fn failed(&mut self, system: &str, now: Timestamp, limits: &Limits, chance: f64) {
        let breaker = self.0.entry(system.to_owned()).or_insert(Breaker { failures: 0, until: now, probing: false });
        // Those that were under way when the first one failed say nothing new.
        if breaker.probing || breaker.failures == 0 {
            breaker.failures += 1;
            breaker.until = later(now, limits.backoff(breaker.failures).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0));
        }
        breaker.probing = false;
    }

    /// It was not tried after all, so the next one may be.
    pub(super) fn untried(&mut self, system: &str) {
        if let Some(breaker) = self.0.get_mut(system) {
            breaker.probing = false;
        }
    }

    /// When the first of those that are left alone now may be tried again.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.values().map(|breaker| breaker.until).filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_outage_lets_one_request_through_at_growing_intervals() {
        let (limits, start) = (Limits::default(), Timestamp::UNIX_EPOCH);
        let at = |seconds| later(start, Duration::from_secs(seconds));
        let mut breakers = Breakers::default();
        assert!(breakers.admits("koji", start) && breakers.admits("koji", start), "all is well");
        breakers.failed("koji", start, &limits, 1.0);
        breakers.failed("koji", start, &limits, 1.0);
        assert_eq!(breakers.next(start), Some(at(1)), "two that were under way together count once");
        assert!(!breakers.admits("koji", start) && breakers.admits("other", start));
        assert!(breakers.admits("koji", at(1)) && !breakers.admits("koji", at(1)), "one is let through");
        breakers.untried("koji");
        assert!(breakers.admits("koji", at(1)) && !breakers.admits("koji", at(1)), "another one, in its place");
        breakers.failed("koji", at(1), &limits, 0.0);
        assert_eq!(breakers.next(at(1)), Some(at(2)), "half of two seconds, later");
        assert_eq!(breakers.next(at(2)), None, "what may be tried now waits for nothing");
        assert!(breakers.admits("koji", at(9)));
        breakers.answered("koji");
        assert!(breakers.admits("koji", at(9)) && breakers.admits("koji", at(9)) && breakers.next(at(9)).is_none());
    }
}

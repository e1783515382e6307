//! Hashes of secrets that were accepted within the last hour.
//!
//! After too many refused logins from one address, further logins from it are refused for a while.
//! Many callers may have one address: behind a router, or behind a proxy whose requests do not say
//! where they come from. Without these hashes, one caller with wrong tokens would lock out all
//! others.
//!
//! *Invariant:* a known hash lets no caller in. Every secret is verified at every request.

use super::{bearer, session_of};
use axum::http::HeaderMap;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The most secrets that are known at once; beyond, the one that was used longest ago is forgotten.
const SECRETS_MAX: usize = 10_000;

/// How long a secret that is not used is known.
const KEPT: Duration = Duration::from_secs(3600);

/// The hash of what a request carries that can be guessed: a bearer token or a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SecretHash([u8; 32]);

impl SecretHash {
    /// `None` if a request carries nothing of the kind.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let (bearer, session) = (bearer(headers), session_of(headers));
        if matches!(bearer, Ok(None)) && session.is_none() {
            return None;
        }
        let mut hash = Sha256::new();
        hash.update(bearer.ok().flatten().unwrap_or_default());
        // No token has it.
        hash.update("\n");
        hash.update(session.unwrap_or_default());
        Some(Self(hash.finalize().into()))
    }
}

/// When secrets were accepted last, by [`Clock::elapsed`](freshmaker::backend::Clock::elapsed).
#[derive(Debug, Default)]
pub(crate) struct Accepted(Mutex<BTreeMap<SecretHash, Duration>>);

impl Accepted {
    /// Whether a secret was accepted lately.
    pub(crate) fn contains(&self, secret: SecretHash, now: Duration) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&secret).is_some_and(|at| now.saturating_sub(*at) < KEPT)
    }

    /// Notes that a secret was accepted.
    pub(crate) fn insert(&self, secret: SecretHash, now: Duration) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SECRETS_MAX && !known.contains_key(&secret) {
            known.retain(|_, at| now.saturating_sub(*at) < KEPT);
            let oldest = known.iter().min_by_key(|(_, at)| **at).map(|(secret, _)| *secret);
            if let Some(oldest) = oldest.filter(|_| known.len() >= SECRETS_MAX) {
                known.remove(&oldest);
            }
        }
        known.insert(secret, now);
    }

    /// Notes that a secret is not accepted any more.
    pub(crate) fn remove(&self, secret: SecretHash) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&secret);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(number: usize) -> SecretHash {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {number}").parse().unwrap());
        SecretHash::of(&headers).unwrap()
    }

    #[test]
    fn secrets_are_known_for_a_while_and_bounded() {
        let (known, second) = (Accepted::default(), Duration::from_secs(1));
        assert_eq!(SecretHash::of(&HeaderMap::new()), None);
        assert_ne!(secret(1), secret(2));
        known.insert(secret(0), second);
        assert!(known.contains(secret(0), KEPT) && !known.contains(secret(0), KEPT + second));
        for number in 1..=SECRETS_MAX {
            known.insert(secret(number), 2 * second);
        }
        assert_eq!(known.0.lock().unwrap().len(), SECRETS_MAX);
        assert!(!known.contains(secret(0), 2 * second), "the oldest has gone");
        known.remove(secret(7));
        assert!(!known.contains(secret(7), 2 * second) && known.contains(secret(8), 2 * second));
        known.insert(secret(7), 2 * second);
        known.insert(secret(0), KEPT + 3 * second);
        assert_eq!(known.0.lock().unwrap().len(), 1, "what is not used goes");
    }
}

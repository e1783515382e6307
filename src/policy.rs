//! Rules of what may be rebuilt.

use crate::artifact::Artifact;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is known about an artifact and the event that concerns it: names with one or more values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(BTreeMap<String, BTreeSet<String>>);

impl Facts {
    /// The same facts with one more.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.entry(key.into()).or_default().insert(value.into());
        self
    }

    /// The same facts with those of an artifact.
    #[must_use]
    pub fn about(self, artifact: &Artifact) -> Self {
        self.with("artifact", artifact.id.as_str())
    }
}

/// Rules of what may be rebuilt.
#[derive(Clone, Debug, Default)]
pub struct Policy {}

impl Policy {
    /// Everything may be rebuilt.
    #[must_use]
    pub fn allow_all() -> Self {
        Self::default()
    }

    /// Whether these facts may be acted on, with the rule that says so.
    #[must_use]
    pub fn judge(&self, facts: &Facts) -> Verdict {
        let _ = facts;
        Verdict { allowed: true, rule: "allow all".into() }
    }
}

/// The answer of a policy, with the rule that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may be rebuilt.
    pub allowed: bool,
    /// The rule, by its path in the configuration.
    pub rule: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", if self.allowed { "allowed" } else { "blocked" }, self.rule)
    }
}

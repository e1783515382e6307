//! Reasons: a code for programs and a sentence for people, kept with states and decisions.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Says why something has its state, or why an artifact is in a plan or not in it.
///
/// A reason has two parts: a stable code for programs and a sentence for people. Programs should
/// match the code only, because sentences may change between versions. [`Display`](fmt::Display)
/// writes the sentence without the code.
///
/// Codes that the engine stores with events are, for example, `skipped`, `nothing_to_rebuild`,
/// `ask_first`, `handler_failed`, `no_build_system` and `plan_too_large`; with messages,
/// `malformed`, `too_large` and `poison`.
///
/// ```
/// use freshmaker::Reason;
///
/// let reason = Reason::new("no_recipe", "the catalog has no recipe for it");
/// assert_eq!(reason.to_string(), "the catalog has no recipe for it");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reason {
    /// The stable code, in snake case.
    pub code: String,
    /// The sentence, without a full stop.
    pub text: String,
}

impl Reason {
    /// Makes a reason from its code and its sentence. Neither is checked.
    pub fn new(code: impl Into<String>, text: impl Into<String>) -> Self {
        Self { code: code.into(), text: text.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

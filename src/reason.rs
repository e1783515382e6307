//! Why something is as it is.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why something is as it is: a stable code for programs, a sentence for people.
///
/// ```
/// use freshmaker::Reason;
///
/// let reason = Reason::new("no_recipe", "the catalog has no recipe for it");
/// assert_eq!(reason.to_string(), "the catalog has no recipe for it");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reason {
    /// Stable code, snake case.
    pub code: String,
    /// A sentence.
    pub text: String,
}

impl Reason {
    /// A reason from code and sentence.
    pub fn new(code: impl Into<String>, text: impl Into<String>) -> Self {
        Self { code: code.into(), text: text.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

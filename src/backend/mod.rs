//! The contracts of the backends: what the engine asks of buses, storages, catalogs, build systems,
//! composers, verifiers and clocks. One object-safe trait a file, and one error type, sorted by
//! what the engine does about it.

mod build_system;
mod bus;
mod catalog;
mod clock;
mod composer;
mod documents;
mod dry_run;
mod filter;
mod reads;
mod storage;
mod verifier;

pub use build_system::{BuildRequest, BuildSystem, Capabilities, Found};
pub use bus::{Bus, Delivery, DeliveryTag};
pub use catalog::{Catalog, CatalogAnswer};
pub use clock::Clock;
pub use composer::{ComposeRequest, Composer, ComposerSystem};
pub use documents::{Document, Documents, NewDocument};
pub use dry_run::DryRun;
pub use filter::{BuildCount, BuildFilter, CausedCount, EventCount, EventFilter, Page, Paging};
pub use reads::{
    BuildLinks, Due, DueLimits, Links, NeededBuild, Notifications, Outbox, Overview, Partition, StorageReads, Violation,
};
pub use storage::{Claim, Lease, Retention, Scope, Storage, StorageUpkeep, Swept};
pub use verifier::{Made, Verifier};

use crate::reason::cut;
use serde::Serialize;
use std::fmt;

/// Any error of a user's own code.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The result of a call to a backend.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a backend, sorted by what the engine does about it.
///
/// Texts name the backend and the request, and never contain secrets or whole bodies.
///
/// ```
/// use freshmaker::backend::{Error, Remedy};
///
/// let error = Error::new(Remedy::Unavailable, "farm: POST /jobs", "connection refused");
/// assert_eq!(error.to_string(), "farm: POST /jobs: connection refused");
/// assert!(error.is_transient());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Error {
    /// What the engine does about it.
    pub remedy: Remedy,
    /// The backend, and what was asked of it, such as `koji: listBuilds`.
    pub place: String,
    /// What happened.
    pub text: String,
}

/// What the engine does about an error.
///
/// A [guide](crate::guide::build_system#which-error-is-which-remedy) has a table for services with
/// an HTTP interface.
///
/// ```
/// use freshmaker::backend::{Error, Remedy};
///
/// // The request may have arrived, so it is looked up before anything is sent again.
/// let timeout = Error::new(Remedy::Unclear, "farm: POST /jobs", "no answer within 30 s");
/// assert!(timeout.is_transient());
/// // The same request never succeeds, so the build fails with this text.
/// let wrong = Error::new(Remedy::Rejected, "farm: POST /jobs", "422: no such target");
/// assert!(!wrong.is_transient());
/// assert_eq!(serde_json::to_value(Remedy::NotNow)?, "not_now");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[doc(alias = "retryable")]
#[doc(alias = "retry")]
#[doc(alias = "timeout")]
#[doc(alias = "error kind")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// The request was certainly not carried out, or can be repeated without harm: it is sent again
    /// after a pause.
    Unavailable,
    /// The request may have been carried out: the engine looks it up, or loads the rows again,
    /// before it sends anything again.
    Unclear,
    /// Another process or decision has changed the rows on which the request was decided: the
    /// engine loads them and decides again.
    Conflict,
    /// The run that asks is over: the engine stops it and begins a new one.
    Fenced,
    /// The thing that was asked for does not exist.
    NotFound,
    /// The backend refuses the request for good: the build or the event fails with this text.
    Rejected,
    /// The backend refuses the request for the moment (a full queue, a target that is being set
    /// up): it is sent again, with growing pauses, for a day. Of a storage: a limit is reached, so
    /// nothing is written.
    NotNow,
    /// The backend cannot carry out such a request at all, because of a mistake in the
    /// configuration. Of a storage: it cannot be written (a file that may only be read, tables of a
    /// newer version) until a person changes that.
    Unsupported,
    /// An answer or a stored row makes no sense: the engine logs it, and asks again later. A
    /// submission with such an answer is looked up.
    Corrupt,
}

impl Error {
    /// Makes an error of its remedy, place and text. For an error of a library see
    /// [`caused`](Self::caused).
    pub fn new(remedy: Remedy, place: impl Into<String>, text: impl fmt::Display) -> Self {
        Self { remedy, place: place.into(), text: cut(text.to_string(), Self::TEXT_MAX) }
    }

    /// Makes an error with the text of another error and of all its causes, in which libraries
    /// often say what really happened. [`new`](Self::new) writes only the error itself.
    ///
    /// ```
    /// use freshmaker::backend::{Error, Remedy};
    ///
    /// # #[derive(Debug)] struct Refused(std::io::Error);
    /// # impl std::fmt::Display for Refused {
    /// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("no answer") }
    /// # }
    /// # impl std::error::Error for Refused {
    /// #     fn source(&self) -> Option<&(dyn std::error::Error + 'static)> { Some(&self.0) }
    /// # }
    /// # let client_error = Refused(std::io::Error::other("connection refused"));
    /// let error = Error::caused(Remedy::Unavailable, "farm: POST /jobs", &client_error);
    /// assert_eq!(error.text, "no answer: connection refused");
    /// ```
    pub fn caused(remedy: Remedy, place: impl Into<String>, cause: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(remedy, place, with_causes(cause))
    }

    /// Returns the same error with another remedy.
    #[must_use]
    pub fn with_remedy(self, remedy: Remedy) -> Self {
        Self { remedy, ..self }
    }

    /// Longer texts are cut here: an error is a sentence, not a body.
    pub const TEXT_MAX: usize = 2000;

    /// Returns whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.remedy,
            Remedy::Unavailable | Remedy::Unclear | Remedy::NotNow | Remedy::Conflict | Remedy::Corrupt
        )
    }
}

/// Returns the text of an error followed by those of its causes, in which libraries often say what
/// really happened. A cause whose text is part of the text so far is left out.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Because(&'static str, Option<Box<Because>>);

    impl fmt::Display for Because {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Because {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn causes_are_told_once() {
        let root = Because("no route to host", None);
        let middle = Because("the request failed: no route to host", Some(Box::new(root)));
        let error = Because("no catalog", Some(Box::new(middle)));
        assert_eq!(with_causes(&error), "no catalog: the request failed: no route to host");
    }
}

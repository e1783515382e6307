//! Inputs: the facts that the transition function applies.
//!
//! An input says what happened, not what is to be done. It names the build, attempt or event that
//! it is about, and has everything that the decision needs beside the rows, such as unused numbers.
//!
//! *Invariant:* an input that comes too late is stale and changes nothing. A repeated input is
//! stale as well, unless it leaves the state as it is (postponed, look up, lookup failed): then it
//! only sets the next moment again.

use super::history::Actor;
use super::record::{AttemptId, BuildId, EventId, ExternalId, SessionId};
use crate::artifact::Digest;
use crate::reason::{Reason, cut};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The output of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its name in the build system: an NVR, an image reference; empty if it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The digest of its content. Without a digest, builds that depend on it are never reused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The address of its list of contents (an SBOM, a package list).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<String>,
}

/// The class of a failure, which decides whether the build is tried again.
///
/// ```
/// use freshmaker::rebuild::{Failure, FailureClass, Limits};
///
/// let failure = Failure::new(FailureClass::Infrastructure, "worker 7: no space left on device");
/// let limits = Limits::default();
/// assert!(limits.retries(failure.class, 1), "tried again after the first try");
/// assert!(!limits.retries(failure.class, 3), "three tries in all");
/// assert!(!limits.retries(FailureClass::Permanent, 1));
/// ```
#[doc(alias = "retry")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The recipe failed: one confirming try, then the build fails.
    Deterministic,
    /// The machinery failed: tried again, after a pause.
    Infrastructure,
    /// Stopped for a reason that has nothing to do with the build: tried again, and not counted as
    /// a try.
    Interrupted,
    /// The request itself is wrong: the build fails at once.
    Permanent,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its class.
    pub class: FailureClass,
    /// What happened, in a sentence without secrets.
    pub text: String,
}

impl Failure {
    /// Makes a failure of a class. A text that is longer than a [`Reason`](crate::Reason) may be is
    /// cut.
    pub fn new(class: FailureClass, text: impl Into<String>) -> Self {
        Self { class, text: cut(text.into(), Reason::TEXT_MAX) }
    }
}

/// The state of an attempt, as a build system reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Observed {
    /// Waiting or running.
    Running,
    /// Ended well.
    Succeeded(Output),
    /// Ended badly.
    Failed(Failure),
    /// Cancelled, by the engine or in the build system.
    Canceled,
    /// The build system no longer knows it.
    Vanished,
}

/// The verdict of a verifier about a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// It has everything that was demanded. With the digest of its content, if that is better known
    /// than by the build system.
    Passed(Option<Digest>),
    /// Not verified: the result counts as the build system has reported it.
    Unverified,
    /// It lacks something that a build from fresh repositories may have; the text says what it
    /// contains and what was demanded.
    Stale(String),
    /// It is wrong, and another build would give the same; the text says why.
    Failed(String),
}

/// A fact for the state machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// It is a ready build's turn: if its inputs are those of its latest output, it is reused, and
    /// no backend is asked.
    Reuse {
        /// The build.
        build: BuildId,
    },
    /// It is a ready build's turn: it becomes an attempt.
    Start {
        /// The build.
        build: BuildId,
        /// The attempt to be made.
        attempt: AttemptId,
        /// The session it will be submitted in, if its build system has sessions.
        session: Option<SessionId>,
    },
    /// Repositories that were prepared for a ready build no longer exist: they must be prepared
    /// anew first.
    Lost {
        /// The build.
        build: BuildId,
        /// The builds that prepared what is lost; see
        /// [`Neighbourhood::prepared_for`](super::Neighbourhood::prepared_for).
        repositories: Vec<BuildId>,
        /// The first of as many unused build numbers as there are repositories.
        unused: BuildId,
    },
    /// It cannot be found out now whether the repositories that were prepared for a ready build
    /// still exist.
    Postponed {
        /// The build.
        build: BuildId,
        /// The reason.
        text: String,
        /// When to ask again, counted from now.
        after: Duration,
    },
    /// The build system took the attempt.
    Accepted {
        /// The attempt.
        attempt: AttemptId,
        /// What the build system calls it.
        external: ExternalId,
    },
    /// The build system refused the attempt.
    Refused {
        /// The attempt.
        attempt: AttemptId,
        /// Why, and what follows.
        failure: Failure,
    },
    /// The request was certainly not sent.
    NotSent {
        /// The attempt.
        attempt: AttemptId,
        /// The reason.
        text: String,
    },
    /// The request may or may not have arrived.
    Unclear {
        /// The attempt.
        attempt: AttemptId,
        /// The answer or error.
        text: String,
    },
    /// This engine run begins to look the attempt up.
    LookUp {
        /// The attempt.
        attempt: AttemptId,
        /// How long a request may still take effect: the lookup waits this long.
        settle: Duration,
    },
    /// The lookup is complete: what the build system knows under the attempt's marker.
    LookedUp {
        /// The attempt.
        attempt: AttemptId,
        /// What was found, if anything.
        external: Option<ExternalId>,
    },
    /// The lookup has no answer and must be repeated, or a person has to decide.
    LookupFailed {
        /// The attempt.
        attempt: AttemptId,
        /// The reason.
        reason: Reason,
        /// When to try again, counted from now.
        after: Duration,
    },
    /// A person says what became of a submission without a clear answer.
    Resolve {
        /// The attempt.
        attempt: AttemptId,
        /// What the build system calls it; `None` if it was never submitted.
        external: Option<ExternalId>,
        /// The person.
        by: Actor,
    },
    /// A person gives a build up.
    GiveUp {
        /// The build.
        build: BuildId,
        /// The person.
        by: Actor,
        /// The reason.
        text: String,
    },
    /// The build system was asked about the attempt.
    Observe {
        /// The attempt.
        attempt: AttemptId,
        /// What it said.
        observed: Observed,
        /// Whether a [`Verifier`](crate::backend::Verifier) has to verify a success before it
        /// counts.
        verify: bool,
    },
    /// The result of a build was verified.
    Verified {
        /// The build.
        build: BuildId,
        /// What that showed.
        seen: Verification,
        /// The first of as many unused build numbers as the build has repositories among its
        /// parents: what is stale is prepared anew.
        unused: BuildId,
    },
    /// The attempt has not ended in time.
    Overdue {
        /// The attempt.
        attempt: AttemptId,
    },
    /// A person or a handler cancels an event.
    Cancel {
        /// The event.
        event: EventId,
        /// The person, or the handler of another event.
        by: Actor,
        /// What brought it, if that is not the actor alone: the kind and the search key of the
        /// other event.
        because: String,
    },
}

impl Input {
    /// Who or what brought this fact.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match self {
            Self::Cancel { by, .. } | Self::Resolve { by, .. } | Self::GiveUp { by, .. } => by.clone(),
            Self::Observe { .. } | Self::LookedUp { .. } | Self::LookupFailed { .. } | Self::Verified { .. } => {
                Actor::Poll
            }
            Self::Overdue { .. } => Actor::Timer,
            Self::Reuse { .. }
            | Self::Start { .. }
            | Self::Lost { .. }
            | Self::Postponed { .. }
            | Self::Accepted { .. }
            | Self::Refused { .. }
            | Self::NotSent { .. }
            | Self::Unclear { .. }
            | Self::LookUp { .. } => Actor::Engine,
        }
    }

    /// Returns the attempt it is about, if it is about one.
    #[must_use]
    pub fn attempt(&self) -> Option<&AttemptId> {
        match self {
            Self::Start { attempt, .. }
            | Self::Accepted { attempt, .. }
            | Self::Refused { attempt, .. }
            | Self::NotSent { attempt, .. }
            | Self::Unclear { attempt, .. }
            | Self::LookUp { attempt, .. }
            | Self::Overdue { attempt }
            | Self::LookedUp { attempt, .. }
            | Self::LookupFailed { attempt, .. }
            | Self::Resolve { attempt, .. }
            | Self::Observe { attempt, .. } => Some(attempt),
            Self::Reuse { .. }
            | Self::Lost { .. }
            | Self::Postponed { .. }
            | Self::Verified { .. }
            | Self::GiveUp { .. }
            | Self::Cancel { .. } => None,
        }
    }
}

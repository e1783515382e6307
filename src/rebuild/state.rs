//! States of events, builds and attempts: their stored numbers and names, and the legal steps.
//!
//! ```text
//! event     INITIALIZED ──▶ BUILDING ──▶ COMPLETE, CANCELED
//!           without builds, an event is stored as SKIPPED or FAILED at once
//!
//! build     BLOCKED ◀──▶ READY ──▶ SUBMITTING ──▶ BUILDING ──▶ VERIFYING ──▶ DONE
//!           back to READY for another try; REUSED, FAILED, DEP_FAILED, CANCELED end it
//!           CANCELING: the build system has been asked to stop it, or will be
//!
//! attempt   INTENT ──▶ BOUND ──▶ SUCCEEDED, FAILED, CANCELED
//!           INTENT ──▶ REFUSED, NOT_SUBMITTED
//!           INTENT, UNKNOWN ──▶ RESOLVING ──▶ BOUND, NOT_SUBMITTED, REFUSED
//!           INTENT ──▶ UNKNOWN: the answer to the submission was not clear
//! ```
//!
//! *Invariant:* a final state has no legal next state, and every other state has one. *Invariant:*
//! the number and the name of a state are never given to another one, because both are stored.
//! *Invariant:* numbers and names of events and public states of builds are those of Freshmaker.
//!
//! A new state is added here (number, name, legal steps), in `apply`, in the tables of
//! `src/guide/operating.md`, which a test compares, and where programs choose by state, which the
//! compiler finds.
//!
//! The function `allows` of each type says which steps are legal. The consistency check compares
//! the stored history with it, so a step that is removed there makes old rows a violation.

use serde::{Deserialize, Serialize};

/// A text is not the name of a state.
///
/// ```
/// use freshmaker::rebuild::{BuildState, EventState};
///
/// assert_eq!("DEP_FAILED".parse(), Ok(BuildState::DependencyFailed));
/// let error = "done".parse::<EventState>().unwrap_err();
/// let expected = "INITIALIZED, BUILDING, COMPLETE, FAILED, SKIPPED, CANCELED";
/// assert_eq!(error.to_string(), format!(r#""done" is not the name of a state: expected {expected}"#));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the name of a state: expected {expected}")]
pub struct UnknownState {
    text: String,
    expected: String,
}

macro_rules! stored {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every state, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the number under which it is stored; never given to another state.
            #[must_use]
            pub fn number(self) -> i16 {
                match self { $(Self::$variant => $number,)* }
            }

            /// Returns the state of a stored number.
            #[must_use]
            pub fn from_number(number: i16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// Its name, as stored and shown.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownState;

            fn from_str(text: &str) -> Result<Self, UnknownState> {
                let state = Self::ALL.iter().copied().find(|state| state.as_str() == text);
                let expected = || Self::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ");
                state.ok_or_else(|| UnknownState { text: text.to_owned(), expected: expected() })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

stored! {
    /// The state of an event.
    EventState {
        /// Stored, not decided yet.
        Initialized = 0 "INITIALIZED",
        /// Its builds are under way.
        Building = 1 "BUILDING",
        /// Every one of its builds has ended, well or badly:
        /// [`builds_failed`](crate::rebuild::EventRecord::builds_failed) counts.
        Complete = 2 "COMPLETE",
        /// It could not be handled, so there are no builds. Failed builds do not make an event
        /// fail.
        Failed = 3 "FAILED",
        /// No build was started: nothing had to be rebuilt, or a person has to confirm the plan
        /// first. The reason says which.
        Skipped = 4 "SKIPPED",
        /// A person or a handler cancelled it.
        Canceled = 5 "CANCELED",
    }
}

stored! {
    /// The state of a build, as REST and messages show it.
    PublicBuildState {
        /// Submitted.
        Build = 0 "BUILD",
        /// Ended well.
        Done = 1 "DONE",
        /// Ended badly, or could not start.
        Failed = 2 "FAILED",
        /// Cancelled.
        Canceled = 3 "CANCELED",
        /// Waiting for its turn.
        Planned = 4 "PLANNED",
    }
}

stored! {
    /// The state of a build.
    BuildState {
        /// Waiting for other builds.
        Blocked = 0 "BLOCKED",
        /// Ready to be submitted.
        Ready = 1 "READY",
        /// The intent to submit is stored; whether the build system has it may not be known.
        Submitting = 2 "SUBMITTING",
        /// The build system has it.
        Building = 3 "BUILDING",
        /// The build system reports a success; its result is being verified.
        Verifying = 4 "VERIFYING",
        /// It has to be stopped, because it was cancelled or is overdue; waits for the build system
        /// to report its end.
        Canceling = 5 "CANCELING",
        /// Built.
        Done = 6 "DONE",
        /// Not run, because its inputs are those of its latest output.
        Reused = 7 "REUSED",
        /// Failed.
        Failed = 8 "FAILED",
        /// Cannot be built, because something it needs cannot.
        DependencyFailed = 9 "DEP_FAILED",
        /// Cancelled.
        Canceled = 10 "CANCELED",
    }
}

stored! {
    /// The state of an attempt.
    AttemptState {
        /// Stored; the call may or may not have been made.
        Intent = 0 "INTENT",
        /// The call ended without a clear answer.
        Unknown = 1 "UNKNOWN",
        /// Being looked up in the build system.
        Resolving = 2 "RESOLVING",
        /// The build system has it, under a known id.
        Bound = 3 "BOUND",
        /// It built.
        Succeeded = 4 "SUCCEEDED",
        /// It failed.
        Failed = 5 "FAILED",
        /// It was cancelled.
        Canceled = 6 "CANCELED",
        /// The build system refused it.
        Refused = 7 "REFUSED",
        /// The lookup has shown that it never reached the build system.
        NotSubmitted = 8 "NOT_SUBMITTED",
    }
}

impl EventState {
    /// Returns whether the event has ended. A final state never changes.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Complete | Self::Failed | Self::Skipped | Self::Canceled)
    }

    /// Returns whether the step to `next` is legal.
    #[must_use]
    pub fn allows(self, next: Self) -> bool {
        match self {
            Self::Initialized => matches!(next, Self::Building | Self::Skipped | Self::Failed | Self::Canceled),
            Self::Building => matches!(next, Self::Complete | Self::Failed | Self::Canceled),
            Self::Complete | Self::Failed | Self::Skipped | Self::Canceled => false,
        }
    }
}

impl BuildState {
    /// Returns whether the build has ended. A final state never changes.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Done | Self::Reused | Self::Failed | Self::DependencyFailed | Self::Canceled)
    }

    /// Returns whether it has not been submitted: it waits for other builds or for its turn.
    #[must_use]
    pub fn is_queued(self) -> bool {
        matches!(self, Self::Blocked | Self::Ready)
    }

    /// Returns whether builds that depend on it can use its output.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Done | Self::Reused)
    }

    /// Returns the state that REST and messages show. Several internal states share one, so not
    /// every change of state is announced.
    #[must_use]
    pub fn public(self) -> PublicBuildState {
        match self {
            Self::Blocked | Self::Ready => PublicBuildState::Planned,
            Self::Submitting | Self::Building | Self::Verifying | Self::Canceling => PublicBuildState::Build,
            Self::Done | Self::Reused => PublicBuildState::Done,
            Self::Failed | Self::DependencyFailed => PublicBuildState::Failed,
            Self::Canceled => PublicBuildState::Canceled,
        }
    }

    /// Returns whether the step to `next` is legal.
    #[must_use]
    pub fn allows(self, next: Self) -> bool {
        use BuildState as S;
        match self {
            S::Blocked => matches!(next, S::Ready | S::DependencyFailed | S::Canceled | S::Reused | S::Failed),
            S::Ready => {
                matches!(next, S::Submitting | S::Canceled | S::Reused | S::Failed | S::Blocked | S::DependencyFailed)
            }
            S::Submitting => matches!(next, S::Building | S::Ready | S::Failed | S::Canceled | S::Canceling),
            S::Building => {
                matches!(next, S::Verifying | S::Done | S::Ready | S::Failed | S::Canceling | S::Canceled)
            }
            S::Verifying => matches!(next, S::Done | S::Ready | S::Failed | S::Canceled),
            S::Canceling => matches!(next, S::Canceled | S::Ready | S::Failed | S::Done | S::Verifying),
            S::Done | S::Reused | S::Failed | S::DependencyFailed | S::Canceled => false,
        }
    }
}

impl AttemptState {
    /// Returns whether the attempt has ended: exactly the states that are not live.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        !self.is_live()
    }

    /// Returns whether the build system may have a running job for it. A build has at most one live
    /// attempt.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Self::Intent | Self::Unknown | Self::Resolving | Self::Bound)
    }

    /// Returns whether the step to `next` is legal.
    #[must_use]
    pub fn allows(self, next: Self) -> bool {
        use AttemptState as S;
        match self {
            S::Intent => matches!(next, S::Bound | S::Unknown | S::Refused | S::Resolving | S::NotSubmitted),
            S::Unknown => matches!(next, S::Resolving | S::Bound | S::NotSubmitted),
            S::Resolving => matches!(next, S::Bound | S::NotSubmitted | S::Resolving | S::Refused),
            S::Bound => matches!(next, S::Succeeded | S::Failed | S::Canceled),
            S::Succeeded | S::Failed | S::Canceled | S::Refused | S::NotSubmitted => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_numbers_are_those_of_freshmaker() {
        let events: Vec<_> = EventState::ALL.iter().map(|s| (s.number(), s.as_str())).collect();
        assert_eq!(
            events,
            [(0, "INITIALIZED"), (1, "BUILDING"), (2, "COMPLETE"), (3, "FAILED"), (4, "SKIPPED"), (5, "CANCELED")]
        );
        let builds: Vec<_> = PublicBuildState::ALL.iter().map(|s| (s.number(), s.as_str())).collect();
        assert_eq!(builds, [(0, "BUILD"), (1, "DONE"), (2, "FAILED"), (3, "CANCELED"), (4, "PLANNED")]);
    }

    #[test]
    fn terminal_states_have_no_successor_and_others_have_one() {
        for state in BuildState::ALL {
            let successors = BuildState::ALL.iter().filter(|next| state.allows(**next)).count();
            assert_eq!(successors == 0, state.is_terminal(), "{state}");
        }
        for state in EventState::ALL {
            let successors = EventState::ALL.iter().filter(|next| state.allows(**next)).count();
            assert_eq!(successors == 0, state.is_terminal(), "{state}");
        }
        for state in AttemptState::ALL {
            let successors = AttemptState::ALL.iter().filter(|next| state.allows(**next)).count();
            assert_eq!(successors == 0, state.is_terminal(), "{state}");
        }
    }

    #[test]
    fn numbers_and_names_lead_back() {
        for state in BuildState::ALL {
            assert_eq!(BuildState::from_number(state.number()), Some(*state));
            assert_eq!(serde_json::to_value(state.public()).unwrap(), state.public().as_str());
        }
    }

    #[test]
    fn a_state_has_one_name_wherever_it_is_read() {
        for state in BuildState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for state in EventState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for state in AttemptState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}

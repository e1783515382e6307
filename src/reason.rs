//! Reasons: a code for programs and a sentence for people, kept with states and decisions.
//!
//! # Codes
//!
//! These are all the codes that the core stores. Handlers, policies and catalogs may bring codes of
//! their own, so a program must accept unknown ones.
//!
//! Of events:
//!
//! | code | state | meaning |
//! |---|---|---|
//! | `planned` | `BUILDING` | it has a plan, and builds that have not ended |
//! | `nothing_to_rebuild` | `SKIPPED` | its plan is empty |
//! | `ask_first` | `SKIPPED` | its plan has to be confirmed |
//! | `skipped` | `SKIPPED` | its handler says that nothing needs to be done |
//! | `plan_changed` | `SKIPPED` | its plan is no longer the one that a person applied |
//! | `handler_failed` | `FAILED` | its handler failed for good, or panicked |
//! | `plan_too_large` | `FAILED` | its plan has more builds than are allowed |
//! | `no_build_system` | `FAILED` | nothing builds one of its artifacts |
//! | `contradiction` | `FAILED` | its plan contradicts one that was stored for the same message |
//! | `complete` | `COMPLETE` | all its builds ended well |
//! | `some_failed` | `COMPLETE` | some of its builds failed |
//! | `all_failed` | `COMPLETE` | all its builds failed |
//! | `canceling` | | it is cancelled once what runs has stopped |
//! | `canceled` | `CANCELED` | it was cancelled |
//!
//! Of messages:
//!
//! | code | meaning |
//! |---|---|
//! | `waiting` | a handler or a catalog failed; it is handled again after a pause |
//! | `waits_for_builds` | its plan waits until builds under way that it contradicts have ended |
//! | `malformed` | it cannot be read |
//! | `too_large` | its body has more bytes than are allowed |
//! | `poison` | the process died each time it was handled |
//! | `handler_timed_out` | its handler did not end in time; with too many of these it is dead |
//! | `no_handler` | nothing handles its kind any more |
//! | `event_gone` | the event that it retries is not kept any more |
//! | `refused` | the storage refused it or what was decided, or a bus refused to publish it |
//! | `dismissed` | it was a dead letter, and a person has put it away |
//!
//! Of builds and attempts:
//!
//! | code | meaning |
//! |---|---|
//! | `planned` | the build is new |
//! | `blocked` | it waits for other builds |
//! | `ready` | everything that it waited for has ended |
//! | `postponed` | it waits until the composer can say whether its repositories still exist |
//! | `renewed` | a repository is prepared again, because it was lost or stale |
//! | `cycle` | a repository that has to be prepared again for it would wait for it |
//! | `inputs_unchanged` | it is reused: its inputs are those of an earlier build |
//! | `intent` | the attempt is stored and not yet submitted |
//! | `submitting` | the build is being submitted |
//! | `accepted` | the build system took it |
//! | `unclear` | it is unknown whether the build system took it |
//! | `resolving` | the build system is asked whether it took it |
//! | `look_up_failed` | that question has no answer yet |
//! | `needs_decision` | the build system cannot answer it: a person must decide |
//! | `decided` | a person has said what became of the submission |
//! | `adopted` | the build system had it |
//! | `not_submitted` | the build system never got it |
//! | `not_sent` | the request did not reach the build system |
//! | `refused` | the build system refused it |
//! | `succeeded` | the attempt ended well |
//! | `verifying` | its result is checked |
//! | `built` | the build is done |
//! | `stale` | its result lacks what was demanded; it is built once more |
//! | `verification_failed` | its result lacks what was demanded, and another build would not help |
//! | `failed` | the attempt failed, and with it the build if it has no further try |
//! | `vanished` | the build system no longer knows it |
//! | `retry` | it failed, and is tried again after a pause |
//! | `overdue` | it did not end in time, and is stopped |
//! | `dependency_failed` | a build that it needs failed |
//! | `canceling` | it is being stopped |
//! | `canceled` | no event needs it any more, or a person cancelled the event |
//! | `canceled_outside` | it was cancelled in the build system, not by the engine |
//! | `canceled_after_end` | it was cancelled, but had ended well before it could be stopped |
//! | `abandoned` | a person has given the build up |
//!
//! In plans, of what is left out or was asked for:
//!
//! | code | meaning |
//! |---|---|
//! | `requested` | a person or a handler asked for it |
//! | `source_changed` | its source has changed |
//! | `prerequisite` | something that is rebuilt takes packages from it |
//! | `no_recipe` | the catalog has no recipe for it |
//! | `policy` | a rule of the policy blocks it, or none allows it |
//! | `parent_not_rebuilt` | it depends on the change only through artifacts that are left out |
//! | `not_retried` | the event that is retried has built it, or did not build it |
//!
//! Of what does not change, as [`Client::stuck`](crate::client::Client::stuck) lists it, if no
//! other reason is stored:
//!
//! | code | meaning |
//! |---|---|
//! | `dead` | the message is a dead letter |
//! | `handled` | a handler is busy with the message |
//! | `not_handled` | no engine has handled the message yet |
//! | `not_started` | no engine has started the build |
//! | `paused` | a person has paused its build system |
//! | `not_published` | the bus has not taken a notification |
//! | `unreadable` | a stored row cannot be read |
//!
//! Of what builds wait for, as [`Client::waiting_for`](crate::client::Client::waiting_for) tells
//! it. None of them is stored:
//!
//! | code | meaning: the build that holds it … |
//! |---|---|
//! | `failed` | failed or was cancelled |
//! | `needs_decision` | may have been submitted: a person must decide |
//! | `paused` | does not start: a person has paused its build system |
//! | `unreachable` | does not start yet: its build system could not be reached lately |
//! | `back_off` | is tried again after a pause |
//! | `queue` | waits for its turn within the concurrency limit |
//! | `running` | is being built |
//! | `repository` | is being prepared |
//! | `verifying` | was built, and its result is checked |
//! | `canceling` | is being stopped |
//! | `blocked` | waits for builds that were not read |

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
    /// The longest text, in bytes; longer ones are cut. A reason is a sentence, not a log.
    pub const TEXT_MAX: usize = 16_384;

    /// Makes a reason from its code and its sentence, which is cut if it is longer than
    /// [`TEXT_MAX`](Self::TEXT_MAX). Nothing else is checked.
    ///
    /// ```
    /// use freshmaker::Reason;
    ///
    /// let log = "line\n".repeat(1_000_000);
    /// assert!(Reason::new("failed", log).text.len() < Reason::TEXT_MAX + 4);
    /// ```
    pub fn new(code: impl Into<String>, text: impl Into<String>) -> Self {
        Self { code: code.into(), text: cut(text.into(), Self::TEXT_MAX) }
    }
}

/// Cuts a text that has more bytes, and marks that with an ellipsis.
pub(crate) fn cut(mut text: String, max: usize) -> String {
    // PostgreSQL stores no text with this character.
    if text.contains('\0') {
        text = text.replace('\0', "\u{fffd}");
    }
    if text.len() > max {
        let end = (0..=max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

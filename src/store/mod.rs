//! For those who write a storage: what all storages do in the same way.
//!
//! * [`load`] collects the rows of a scope from the lookups of [`Rows`].
//! * [`in_order`] sorts the changes of one commit so that each can be checked when it is written.
//! * [`ConsistencyCheck`] compares stored rows with each other.
//! * [`share`] says which partitions of the notifications a run publishes, [`partition`] in which
//!   one a notification is.
//! * [`conflict`], [`missing`], [`fenced`] and the others are errors with the remedies that the
//!   contract asks for.
//!
//! A storage checks a [`Commit`](crate::rebuild::Commit) in this order, within one transaction: the
//! run, the version of all edges, the read set; then it writes the changes in the order of
//! [`in_order`], each over the version that it expects; then it checks the limits of live attempts.
//!
//! *Invariant:* nothing here opens a transaction or reads a clock. *Invariant:* no storage decides
//! on a state: it compares versions and counts, and writes what a commit contains.

mod consistency;
mod lease;
mod load;

pub use consistency::{AttemptFacts, BuildFacts, ConsistencyCheck, EventFacts};
pub use lease::{LEASE_TTL, partition, share};
pub use load::{Rows, Side, load};

use crate::backend::{Error, Overview, Paging, Remedy};
use crate::rebuild::{BuildState, EventState, InboxRecord, InboxState, RowChange, RunId};
use crate::time::{Timestamp, later};
use std::fmt;
use std::time::Duration;

/// The place that errors of a storage name.
pub const PLACE: &str = "storage";

/// Returns an error for a decision on rows that have changed since they were read.
#[must_use]
pub fn conflict(text: impl fmt::Display) -> Error {
    Error::new(Remedy::Conflict, PLACE, text)
}

/// Returns an error for a change of, or a reference to, a row that does not exist.
#[must_use]
pub fn missing(text: impl fmt::Display) -> Error {
    Error::new(Remedy::NotFound, PLACE, text)
}

/// Returns an error for a run that is over.
#[must_use]
pub fn fenced(run: RunId) -> Error {
    Error::new(Remedy::Fenced, PLACE, format!("run {run} is over: its lease was not renewed in time, or released"))
}

/// Returns an error for a commit that would leave more live attempts of a system than its limit.
#[must_use]
pub fn full(system: &str, limit: u32) -> Error {
    Error::new(Remedy::NotNow, PLACE, format!("{system} has {limit} live attempts already, which is its limit"))
}

/// Returns an error for an external id that another attempt has.
#[must_use]
pub fn external_taken(text: impl fmt::Display) -> Error {
    Error::new(Remedy::Rejected, PLACE, text)
}

/// Returns an error for an attempt whose build system's id would change.
#[must_use]
pub fn external_changed(text: impl fmt::Display) -> Error {
    Error::new(Remedy::Rejected, PLACE, text)
}

/// Returns the length of a page: as asked for, at most [`Paging::LIMIT_MAX`].
#[must_use]
pub fn page_limit(paging: Paging) -> u32 {
    paging.limit.min(Paging::LIMIT_MAX)
}

/// Returns whether the time of a row has come: there is no moment to wait for, it has passed, or it
/// is further away than the longest pause, because a clock was set back.
///
/// ```
/// use freshmaker::store::has_come;
/// use freshmaker::time::{from_micros, later};
/// use std::time::Duration;
///
/// let (now, second) = (from_micros(0), Duration::from_secs(1));
/// assert!(has_come(None, now, second) && has_come(Some(now), now, second));
/// assert!(!has_come(Some(later(now, second)), now, second));
/// assert!(has_come(Some(later(now, second * 2)), now, second));
/// ```
#[must_use]
pub fn has_come(not_before: Option<Timestamp>, now: Timestamp, pause_max: Duration) -> bool {
    not_before.is_none_or(|not_before| not_before <= now || not_before > later(now, pause_max))
}

/// Returns since when a message is to be handled: since it was stored, or since the end of the
/// pause after which it is handled again. The one that is due for the longest time is claimed
/// first, so that messages which are given back again and again keep no others waiting.
#[must_use]
pub fn due_since(message: &InboxRecord) -> Timestamp {
    message.not_before.unwrap_or(message.received_at)
}

/// Sorts a list of changes into the order in which they are written: what is referred to before
/// what refers to it, and what ends before what takes its place.
///
/// The second rule is there because uniqueness is checked row by row: the current build of a key
/// must have ended when its next build becomes the current one, and an attempt must have ended
/// before the build gets another. Changes of one sort keep their order, so notifications and the
/// history stay in the order of the decision. A list has each row once.
#[must_use]
pub fn in_order(mut changes: Vec<RowChange>) -> Vec<RowChange> {
    changes.sort_by_key(|change| match change {
        RowChange::Receive(_)
        | RowChange::Inbox(_)
        | RowChange::Requeue(_)
        | RowChange::Dismiss(..)
        | RowChange::Event { .. } => 0,
        RowChange::Build { record, .. } if record.state.is_terminal() => 1,
        RowChange::Build { .. } => 2,
        RowChange::Attempt { record, .. } if record.state.is_terminal() => 3,
        RowChange::Attempt { .. } => 4,
        RowChange::Dependency(_) | RowChange::Cause(_) | RowChange::Plan { .. } => 5,
        RowChange::Transition(_) | RowChange::Notification(_) => 6,
        RowChange::Position(_) | RowChange::Trim { .. } => 7,
    });
    changes
}

/// Adds up how many rows there are in each state. A state that is not mentioned counts 0, and one
/// that is mentioned twice is added.
pub fn overview(
    inbox: impl IntoIterator<Item = (InboxState, u64)>,
    events: impl IntoIterator<Item = (EventState, u64)>,
    builds: impl IntoIterator<Item = (BuildState, u64)>,
    notifications_waiting: u64,
) -> Overview {
    let mut overview = Overview { notifications_waiting, ..Overview::default() };
    for (state, count) in inbox {
        match state {
            InboxState::New | InboxState::Claimed => overview.messages_waiting += count,
            InboxState::Dead => overview.messages_dead += count,
            InboxState::Done | InboxState::Ignored => {}
        }
    }
    overview.events_open = events.into_iter().filter(|(state, _)| !state.is_terminal()).map(|(_, count)| count).sum();
    for (state, count) in builds {
        let counter = match state {
            BuildState::Blocked | BuildState::Ready => &mut overview.builds_waiting,
            BuildState::Submitting | BuildState::Building | BuildState::Verifying | BuildState::Canceling => {
                &mut overview.builds_running
            }
            BuildState::Done => &mut overview.builds_done,
            BuildState::Reused => &mut overview.builds_reused,
            BuildState::Failed | BuildState::DependencyFailed => &mut overview.builds_failed,
            BuildState::Canceled => &mut overview.builds_canceled,
        };
        *counter += count;
    }
    overview
}

//! The commit: one transaction, with the conditions under which it may be written.
//!
//! This is all that a storage has to understand about a decision: it compares numbers and writes
//! rows, and decides nothing. So two storages cannot decide differently.
//!
//! *Invariant:* a commit takes effect as a whole or not at all. *Invariant:* every change of a row
//! with a version names the version that it expects.
//!
//! The conditions and what each of them prevents: the run (a late write of a process whose lease is
//! lost), the version of all edges (two decisions that each add half of a cycle), the read set (a
//! decision on a row that has changed), expected versions (two changes of one row), and the limit
//! of live attempts (two runs that each take the last free one). The limits are checked after the
//! changes, because only then the new attempts count.

use super::history::{Notification, Transition};
use super::record::{
    AttemptId, AttemptRecord, BuildId, BuildRecord, Cause, Dependency, EventId, EventRecord, InboxRecord, MessageKey,
    RunId, Version,
};
use crate::plan::Plan;
use crate::reason::Reason;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One transaction: the conditions, and the changes that are written if they hold. It takes effect
/// as a whole or not at all.
///
/// A storage checks in this order: the [run](Self::run), the [edges](Self::edges), the
/// [read set](Self::unchanged); then it writes the [changes](Self::changes), each over the version
/// that it expects; then it checks the [limits](Self::at_most).
///
/// ```
/// use freshmaker::rebuild::{BuildId, Commit, RowKey, RunId};
///
/// let mut commit = Commit::by(RunId(7), Vec::new());
/// commit.unchanged.push((RowKey::Build(BuildId(1)), 3));
/// assert!(commit.changes.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// The run that writes; its lease must not be lost. `None` for a client, which is checked by
    /// versions and edges only.
    pub run: Option<RunId>,
    /// The version of all edges that this was decided on
    /// ([`Neighbourhood::edges`](super::Neighbourhood::edges)). Needed if a dependency that is not
    /// satisfied is added: it must still be the stored one, and rises by one.
    pub edges: Option<u64>,
    /// Rows that the decision rests on and does not change: each must still have this version.
    pub unchanged: Vec<(RowKey, Version)>,
    /// The most live attempts that each of these build systems may have after this commit.
    pub at_most: Vec<(String, u32)>,
    /// What is written.
    pub changes: Vec<RowChange>,
}

impl Commit {
    /// Makes a commit of a run whose only conditions are the versions that the changes expect.
    #[must_use]
    pub fn by(run: RunId, changes: Vec<RowChange>) -> Self {
        Self { run: Some(run), changes, ..Self::default() }
    }

    /// Makes a commit of a client, which has no run.
    #[must_use]
    pub fn unfenced(changes: Vec<RowChange>) -> Self {
        Self { changes, ..Self::default() }
    }
}

/// Identifies a row that has a version and a history: an event, a build or an attempt.
///
/// Displayed as `build 7`, in JSON `{"aggregate": "build", "id": 7}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "aggregate", content = "id", rename_all = "snake_case")]
pub enum RowKey {
    /// An event.
    Event(EventId),
    /// A build.
    Build(BuildId),
    /// An attempt.
    Attempt(AttemptId),
}

impl RowKey {
    /// Returns the sort of the row, as the history and notifications name it: `event`, `build` or
    /// `attempt`.
    #[must_use]
    pub fn aggregate(&self) -> &'static str {
        match self {
            Self::Event(_) => "event",
            Self::Build(_) => "build",
            Self::Attempt(_) => "attempt",
        }
    }

    /// Returns the decimal number, or the marker of an attempt, as the history and notifications
    /// name it.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Event(id) => id.to_string(),
            Self::Build(id) => id.to_string(),
            Self::Attempt(id) => id.to_string(),
        }
    }

    /// Returns the row that the history or a notification names; `None` if the texts name none.
    ///
    /// ```
    /// use freshmaker::rebuild::{BuildId, RowKey};
    ///
    /// let key = RowKey::parse("build", "7");
    /// assert_eq!(key, Some(RowKey::Build(BuildId(7))));
    /// assert_eq!(RowKey::parse("build", "seven"), None);
    /// ```
    #[must_use]
    pub fn parse(aggregate: &str, id: &str) -> Option<Self> {
        match aggregate {
            "event" => id.parse().ok().map(|id| Self::Event(EventId(id))),
            "build" => id.parse().ok().map(|id| Self::Build(BuildId(id))),
            "attempt" => Some(Self::Attempt(AttemptId::new(id))),
            _ => None,
        }
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.aggregate(), self.id())
    }
}

/// One change of stored rows, within a [`Commit`].
#[derive(Clone, Debug, PartialEq)]
pub enum RowChange {
    /// A message came in; storing it again changes nothing.
    Receive(InboxRecord),
    /// A message that the run has claimed is in another state, with another reason or time. It is a
    /// conflict if the row is not claimed, or not by this run.
    Inbox(InboxRecord),
    /// A dead letter becomes new again, with no tries. It is a conflict if it is no dead letter.
    Requeue(MessageKey),
    /// A dead letter is ignored from now on, for this reason. It is a conflict if it is no dead
    /// letter.
    Dismiss(MessageKey, Reason),
    /// A new event (`expected` is `None`), or a changed one.
    Event {
        /// The row after the change.
        record: Box<EventRecord>,
        /// The version that must be there.
        expected: Option<Version>,
    },
    /// A new build, or a changed one.
    Build {
        /// The row after the change.
        record: Box<BuildRecord>,
        /// The version that must be there.
        expected: Option<Version>,
        /// Whether more than the progress of the build has changed. If not, the row [is planned
        /// as](BuildRecord::is_planned_as) the stored one, and a storage need not write that part
        /// of it again.
        replanned: bool,
    },
    /// A new attempt, or a changed one. Its build, system, number and release and the time of its
    /// intent never change, and a storage need not write them again.
    Attempt {
        /// The row after the change.
        record: Box<AttemptRecord>,
        /// The version that must be there.
        expected: Option<Version>,
    },
    /// A dependency, new or changed.
    Dependency(Dependency),
    /// A cause, new or changed.
    Cause(Cause),
    /// The plan an event follows, with its reasons and exclusions.
    Plan {
        /// The event.
        event: EventId,
        /// Its plan.
        plan: Box<Plan>,
    },
    /// A row of the history.
    Transition(Transition),
    /// A message to publish.
    Notification(Notification),
    /// How far a bus has got in a partition of the notifications.
    Position(Position),
    /// Notifications of this partition up to and including this position are no longer needed.
    Trim {
        /// The partition.
        partition: u16,
        /// The last position that is removed.
        up_to: i64,
    },
}

/// How far a bus has got in a partition of the notifications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Registered name of the bus.
    pub bus: String,
    /// The partition.
    pub partition: u16,
    /// The position of the last notification that the bus has taken, or refused for good. `None`:
    /// the bus is no longer served.
    pub position: Option<i64>,
}

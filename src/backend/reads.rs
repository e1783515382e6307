use super::{BuildCount, BuildFilter, CausedCount, EventCount, EventFilter, Page, Paging, Result};
use crate::artifact::{ArtifactId, ArtifactKind};
use crate::plan::{Observation, Plan};
use crate::rebuild::{
    AttemptRecord, BuildId, BuildMode, BuildRecord, Cause, Dependency, EventId, EventRecord, ExternalId, InboxRecord,
    InboxState, Notification, Output, RowKey, RunId, Transition,
};
use crate::time::Timestamp;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The questions that a storage answers. None of them changes anything.
///
/// Each answer is of one moment, and a question that is asked after a commit was answered with `Ok`
/// sees that commit. A row that cannot be read is left out of an answer about many rows and
/// reported in it; an answer about this row alone is an error with the remedy
/// [`Corrupt`](super::Remedy::Corrupt). The same holds for [`attempts`](Self::attempts),
/// [`transitions`](Self::transitions) and [`links`](Self::links), whose answers have no field for a
/// report.
///
/// ```
/// use freshmaker::backend::{EventFilter, Paging, Storage, StorageReads};
/// use freshmaker::memory::MemoryStorage;
/// use freshmaker::rebuild::EventState;
///
/// # futures_util::FutureExt::now_or_never(async {
/// let storage = MemoryStorage::new();
/// let open = EventFilter { states: vec![EventState::Building], ..EventFilter::default() };
/// assert!(storage.reads().events(open, Paging::first(20)).await?.items.is_empty());
/// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
/// ```
#[async_trait]
pub trait StorageReads: fmt::Debug + Send + Sync + 'static {
    /// Returns the work that is due for this run: ready builds, and the live attempts of this run
    /// and of runs that are over.
    async fn due(&self, run: RunId, limits: DueLimits) -> Result<Due>;

    /// Returns events, in the order of their numbers.
    async fn events(&self, filter: EventFilter, paging: Paging) -> Result<Page<EventRecord>>;

    /// Returns events as [`events`](Self::events) does, each with how many builds it has caused of
    /// each kind, in each state, and by whether it still wants them, in this order.
    async fn events_with_counts(
        &self,
        filter: EventFilter,
        paging: Paging,
    ) -> Result<Page<(EventRecord, Vec<CausedCount>)>>;

    /// Returns builds, in the order of their numbers.
    async fn builds(&self, filter: BuildFilter, paging: Paging) -> Result<Page<BuildRecord>>;

    /// Returns builds as [`builds`](Self::builds) does, each with what lists show beside it. What
    /// is beside a build and cannot be read is left out and reported.
    async fn builds_with_links(&self, filter: BuildFilter, paging: Paging) -> Result<Page<(BuildRecord, BuildLinks)>>;

    /// Counts the events of each kind, state and reason, in this order.
    async fn count_events(&self, filter: EventFilter) -> Result<Vec<EventCount>>;

    /// Counts the builds of each build system, state and reason, in this order.
    async fn count_builds(&self, filter: BuildFilter) -> Result<Vec<BuildCount>>;

    /// Returns the causes of these builds, and their dependencies in both directions. Rows that
    /// cannot be read are left out; [`check_consistency`](Self::check_consistency) reports them.
    async fn links(&self, builds: Vec<BuildId>) -> Result<Links>;

    /// Returns the attempts of these builds, by the number of the build, then oldest first.
    async fn attempts(&self, builds: Vec<BuildId>) -> Result<Vec<AttemptRecord>>;

    /// Returns the history of one row, oldest first. The list is empty if the row is unknown.
    async fn transitions(&self, of: &RowKey) -> Result<Vec<Transition>>;

    /// Returns one message by source (registered name of the bus, or one of the engine's own) and
    /// identity; `None` if there is none.
    async fn message(&self, source: &str, message_id: &str) -> Result<Option<InboxRecord>>;

    /// Returns messages in one of these states, in the order in which they came. A message whose
    /// headers cannot be read is returned without headers.
    async fn messages(&self, states: Vec<InboxState>, paging: Paging) -> Result<Page<InboxRecord>>;

    /// Returns the plan of an event; `None` if it has none.
    async fn plan(&self, event: EventId) -> Result<Option<Plan>>;

    /// Returns how long the latest successful attempts of builds of this mode took, from their
    /// intent to their last observation: latest first, at most `limit`.
    async fn durations(&self, mode: BuildMode, limit: u32) -> Result<Vec<Observation>>;

    /// Returns the notifications of a partition, or of all (`None`), behind this position, in the
    /// order of their positions: at most `limit`.
    ///
    /// A reader that has read up to a position never finds a notification at or below it later,
    /// neither in one partition nor in all. Positions may have gaps. Notifications about one row
    /// are in the order of its changes.
    async fn notifications(&self, partition: Option<u16>, after: i64, limit: u32) -> Result<Notifications>;

    /// Returns for each partition its first and last position, and the position of each bus.
    async fn outbox(&self) -> Result<Outbox>;

    /// How much there is of everything.
    #[doc(alias = "metrics")]
    #[doc(alias = "prometheus")]
    #[doc(alias = "statistics")]
    async fn overview(&self) -> Result<Overview>;

    /// Checks the stored rows against each other; an empty list means that they are consistent.
    async fn check_consistency(&self) -> Result<Vec<Violation>>;
}

/// How much there is of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// Messages stored and not handled yet.
    pub messages_waiting: u64,
    /// Dead letters.
    pub messages_dead: u64,
    /// Events that have not ended.
    pub events_open: u64,
    /// Builds that wait: blocked or ready.
    pub builds_waiting: u64,
    /// Builds that are being submitted, run, are verified, or are being stopped.
    pub builds_running: u64,
    /// Builds that were built.
    pub builds_done: u64,
    /// Builds that did not have to run.
    pub builds_reused: u64,
    /// Builds that failed, or whose dependency did.
    pub builds_failed: u64,
    /// Builds that were cancelled.
    pub builds_canceled: u64,
    /// Notifications that a bus has not got yet.
    pub notifications_waiting: u64,
}

impl Overview {
    /// Returns whether there is nothing left to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.messages_waiting
            + self.events_open
            + self.builds_waiting
            + self.builds_running
            + self.notifications_waiting
            == 0
    }
}

/// The work that is due, derived from the stored rows alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Due {
    /// The moment, by the clock of the storage.
    pub now: Timestamp,
    /// Builds in [`Ready`](crate::rebuild::BuildState::Ready) whose time has come: highest priority
    /// first, then lowest number.
    pub ready: Vec<BuildRecord>,
    /// Live attempts of this run, or of runs that are over, whose time has come, each with its
    /// build: longest unobserved first.
    pub attempts: Vec<(AttemptRecord, BuildRecord)>,
    /// How many live attempts each build system has, of all runs.
    pub live: BTreeMap<String, u32>,
    /// Of each build system with live attempts, the priorities of their builds, lowest first.
    pub started: BTreeMap<String, Vec<i64>>,
    /// The earliest moment at which a ready build, a live attempt or a new message that is left out
    /// now will be due.
    pub next: Option<Timestamp>,
    /// Rows that would be here, but cannot be read.
    pub unreadable: Vec<Violation>,
}

/// What is beside builds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// All causes of the builds, by build, then event.
    pub causes: Vec<Cause>,
    /// All dependencies in which one of the builds is the parent or the child, by child, then
    /// parent.
    pub dependencies: Vec<Dependency>,
}

/// What lists show beside a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildLinks {
    /// The events that want it, the first of them first.
    pub wanted_by: Vec<EventId>,
    /// The events that do not want it any more, the first of them first.
    pub withdrawn_by: Vec<EventId>,
    /// The builds whose output it needs, by number.
    pub needs: Vec<Arc<NeededBuild>>,
    /// What the build system calls the latest of its attempts that has such a name.
    pub external: Option<ExternalId>,
}

/// What lists show of a build that another one needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededBuild {
    /// Its number.
    pub id: BuildId,
    /// The artifact.
    pub artifact: ArtifactId,
    /// The kind of the artifact.
    pub kind: ArtifactKind,
    /// Its output, when it has ended well.
    pub output: Option<Output>,
}

impl NeededBuild {
    /// Returns what lists show of this build.
    #[must_use]
    pub fn of(build: &BuildRecord) -> Self {
        let BuildRecord { id, key, kind, output, .. } = build;
        Self { id: *id, artifact: key.artifact.clone(), kind: *kind, output: output.clone() }
    }
}

/// Notifications of a partition, or of all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notifications {
    /// Each with its position.
    pub items: Vec<(i64, Notification)>,
    /// The position up to which this answer reaches: the last of an item, or of a row that cannot
    /// be read.
    pub end: i64,
    /// Rows that would be here, but cannot be read.
    pub unreadable: Vec<Violation>,
}

/// How far the notifications have got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outbox {
    /// The partitions, by number.
    pub partitions: Vec<Partition>,
}

impl Outbox {
    /// Returns the position of the latest notification of all partitions; 0 if there is none.
    #[must_use]
    pub fn last(&self) -> i64 {
        self.partitions.iter().map(|partition| partition.last).max().unwrap_or_default()
    }

    /// Returns the largest position up to which notifications of a partition were removed: a reader
    /// of all partitions that has not got as far may have missed some.
    #[must_use]
    pub fn trimmed(&self) -> i64 {
        self.partitions.iter().map(|partition| partition.trimmed).max().unwrap_or_default()
    }
}

/// How far the notifications of a partition have got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// The position before the oldest notification that is kept: a reader that has not got as far
    /// has missed some.
    pub trimmed: i64,
    /// The position of the latest notification.
    pub last: i64,
    /// The position that each bus has reached.
    pub buses: BTreeMap<String, i64>,
}

/// Bounds of a [`StorageReads::due`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueLimits {
    /// The most ready builds of each build system, so that those of one never hide those of
    /// another.
    pub ready: u32,
    /// The most attempts.
    pub attempts: u32,
    /// The longest pause of a build or an attempt: a row that would wait longer is due, because a
    /// clock was set back.
    pub pause_max: Duration,
}

/// A stored row that contradicts another one, or that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which rule is broken, by its stable name: `pending`, `one_live_attempt`, `unreadable`, …
    pub rule: String,
    /// The row, and what contradicts: `build 7: pending is 1, but it waits for 0`.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.text)
    }
}

use super::Result;
use crate::artifact::ArtifactId;
use crate::plan::{Observation, Plan};
use crate::rebuild::{
    AttemptRecord, BuildId, BuildMode, BuildRecord, BuildState, EventId, EventRecord, EventState, InboxRecord,
    InboxState, Notification, RunId, Transition,
};
use crate::time::Timestamp;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The questions that a storage answers. None of them changes anything.
///
/// Each answer is of one moment, and a question that is asked after a commit was answered with `Ok`
/// sees that commit. A row that cannot be read is left out of an answer about many rows and
/// reported in it; an answer about this row alone is an error with the remedy
/// [`Corrupt`](super::Remedy::Corrupt).
///
/// ```
/// use freshmaker::backend::{EventFilter, Paging, Storage, StorageReads};
/// use freshmaker::memory::MemoryStorage;
/// use freshmaker::rebuild::EventState;
///
/// # futures_util::FutureExt::now_or_never(async {
/// let storage = MemoryStorage::new();
/// let open = EventFilter { states: vec![EventState::Building], ..EventFilter::default() };
/// assert_eq!(storage.reads().events(open, Paging::first(20)).await?.total, 0);
/// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
/// ```
#[async_trait]
pub trait StorageReads: fmt::Debug + Send + Sync + 'static {
    /// What there is to do now for this run: of the live attempts its own, and those whose run is
    /// over.
    async fn due(&self, run: RunId, limits: DueLimits) -> Result<Due>;

    /// Events, newest first.
    async fn events(&self, filter: EventFilter, paging: Paging) -> Result<Page<EventRecord>>;

    /// Builds, newest first.
    async fn builds(&self, filter: BuildFilter, paging: Paging) -> Result<Page<BuildRecord>>;

    /// The attempts of a build, oldest first. Returns an empty list if the build is unknown.
    async fn attempts(&self, build: BuildId) -> Result<Vec<AttemptRecord>>;

    /// The history of one `event`, `build` or `attempt`, oldest first. Returns an empty list if it
    /// is unknown.
    async fn transitions(&self, aggregate: &str, id: &str) -> Result<Vec<Transition>>;

    /// One message by source (registered name of the bus, or one of the engine's own) and identity.
    async fn message(&self, source: &str, message_id: &str) -> Result<Option<InboxRecord>>;

    /// Messages in one of these states, newest first. One whose headers cannot be read has none.
    async fn messages(&self, states: Vec<InboxState>, paging: Paging) -> Result<Page<InboxRecord>>;

    /// The plan of an event.
    async fn plan(&self, event: EventId) -> Result<Option<Plan>>;

    /// How long the latest successful attempts of builds of this mode took, from their intent to
    /// when they were last observed: latest first, at most `limit`.
    async fn durations(&self, mode: BuildMode, limit: u32) -> Result<Vec<Observation>>;

    /// The notifications of a partition behind this position, in the order of their positions: at
    /// most `limit`.
    ///
    /// A reader that has read up to a position never finds a notification at or below it later.
    /// Positions may have gaps.
    async fn notifications(&self, partition: u16, after: i64, limit: u32) -> Result<Notifications>;

    /// How far the notifications of each partition have got.
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
    /// Builds that are being submitted, run, or are being stopped.
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
    /// Whether there is nothing left to do.
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

/// What there is to do, derived from nothing but the stored rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Due {
    /// The moment, by the clock of the storage.
    pub now: Timestamp,
    /// Builds in [`BuildState::Ready`] whose time has come: highest priority first, then lowest
    /// number.
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

/// Notifications of a partition.
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

/// How far the notifications of a partition have got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// The position before the oldest notification that is kept: whoever has read less has missed
    /// some.
    pub trimmed: i64,
    /// The position of the latest notification.
    pub last: i64,
    /// The position that each bus has reached.
    pub buses: BTreeMap<String, i64>,
}

/// Bounds of a [`StorageReads::due`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueLimits {
    /// At most so many ready builds of each build system, so that those of one never hide those of
    /// another.
    pub ready: u32,
    /// At most so many attempts.
    pub attempts: u32,
    /// The longest pause of a build or an attempt: what would wait longer is due, because a clock
    /// was set back.
    pub pause_max: Duration,
}

/// Which events; an empty list does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// In one of these states.
    pub states: Vec<EventState>,
    /// With one of these numbers.
    pub ids: Vec<EventId>,
    /// About this.
    pub search_key: Option<String>,
    /// Brought by this message.
    pub message_id: Option<String>,
}

/// Which builds; an empty list does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildFilter {
    /// In one of these states.
    pub states: Vec<BuildState>,
    /// With one of these numbers.
    pub ids: Vec<BuildId>,
    /// Caused by this event.
    pub event: Option<EventId>,
    /// Of this artifact.
    pub artifact: Option<ArtifactId>,
}

/// Which part of a long list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// Rows to leave out.
    pub offset: u64,
    /// At most so many rows; backends cap it at [`Paging::LIMIT_MAX`].
    pub limit: u32,
}

impl Paging {
    /// No page is longer.
    pub const LIMIT_MAX: u32 = 1000;

    /// The first rows.
    #[must_use]
    pub fn first(limit: u32) -> Self {
        Self { offset: 0, limit }
    }
}

/// A part of a long list, with its whole length.
///
/// ```
/// use freshmaker::backend::Page;
///
/// let page = Page::new(vec!["app", "site"], 12);
/// assert_eq!(serde_json::to_string(&page)?, r#"{"items":["app","site"],"total":12}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// How many there are without paging.
    pub total: u64,
    /// Rows of this page that cannot be read, and why; they are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Violation>,
}

impl<T> Page<T> {
    /// A page all of whose rows can be read.
    #[must_use]
    pub fn new(items: Vec<T>, total: u64) -> Self {
        Self { items, total, unreadable: Vec::new() }
    }
}

/// A stored row that contradicts another one, or that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which rule is broken, by its stable name: `pending`, `one_live_attempt`, `unreadable`, …
    pub rule: String,
    /// Where, and how.
    pub text: String,
}

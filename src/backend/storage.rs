use super::{Error, Remedy, Result};
use crate::plan::{Observation, Plan};
use crate::rebuild::{
    AttemptId, AttemptRecord, BuildId, BuildKey, BuildMode, BuildRecord, BuildState, EventId, EventRecord, EventState,
    InboxRecord, MessageKey, Neighbourhood, Notification, RowChange, Transition,
};
use crate::time::Timestamp;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Which rows a decision needs; the answer is a [`Neighbourhood`].
///
/// For every scope: the builds named, and every build that the scope reaches, come with all their causes, the events of those, their
/// live attempts and all their dependencies in both directions (the edges, not the builds at the other end unless said so).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// These builds, their direct parents and their direct children (the parents' further edges are not needed), and of each of these
    /// builds' keys the latest build (highest number) that has ended and has an output, as a row without causes or edges.
    Builds(Vec<BuildId>),
    /// These builds, their direct parents, and everything that directly or indirectly waits for them over unsatisfied dependencies.
    Descendants(Vec<BuildId>),
    /// As [`Descendants`](Scope::Descendants) for this build, and of its direct parents' keys the builds that have not ended, and the
    /// latest ones that have an output, as rows without causes or edges.
    Renewal(BuildId),
    /// As [`Builds`](Scope::Builds), for the build of this attempt; the attempt itself is there even if it has ended.
    Attempt(AttemptId),
    /// As [`Descendants`](Scope::Descendants), for every build that this event causes, live or not; the event itself is always there.
    Event(EventId),
    /// The builds of these keys that have not ended, and every build that has not ended and is connected to one of them
    /// over dependencies in any direction.
    Keys(Vec<BuildKey>),
}

/// A question that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// What there is to do now.
    Due {
        /// Rows that must not be touched before a later moment are left out.
        at: Timestamp,
        /// How much to return.
        limits: DueLimits,
    },
    /// Events, newest first.
    Events(EventFilter, Paging),
    /// Builds, newest first.
    Builds(BuildFilter, Paging),
    /// The attempts of a build, oldest first.
    Attempts(BuildId),
    /// The audit trail of one aggregate (`event`, `build` or `attempt`), oldest first.
    Transitions {
        /// `event`, `build` or `attempt`.
        aggregate: String,
        /// Which one.
        id: String,
    },
    /// Messages that could not be understood or handled, newest first.
    DeadLetters(Paging),
    /// The plan of an event.
    Plan(EventId),
    /// How long the latest successful attempts took, from their intent to when they were last observed; latest first.
    Durations {
        /// Only of builds of this mode.
        mode: BuildMode,
        /// At most so many.
        limit: u32,
    },
    /// Messages that wait to be published, in the order in which their changes were stored.
    Notifications {
        /// At most so many.
        limit: u32,
    },
    /// How much there is of everything.
    Overview,
    /// One message by source and identity.
    Message {
        /// Registered name of the bus, or `local`.
        source: String,
        /// Its identity.
        message_id: String,
    },
}

/// The answer to a [`Query`], of the variant that belongs to it. [`StorageExt`] has a method for each.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To [`Query::Due`].
    Due(Box<Due>),
    /// To [`Query::Events`].
    Events(Page<EventRecord>),
    /// To [`Query::Builds`].
    Builds(Page<BuildRecord>),
    /// To [`Query::Attempts`].
    Attempts(Vec<AttemptRecord>),
    /// To [`Query::Transitions`].
    Transitions(Vec<Transition>),
    /// To [`Query::DeadLetters`].
    DeadLetters(Page<InboxRecord>),
    /// To [`Query::Plan`].
    Plan(Option<Box<Plan>>),
    /// To [`Query::Durations`].
    Durations(Vec<Observation>),
    /// To [`Query::Notifications`].
    Notifications(Vec<Notification>),
    /// To [`Query::Overview`].
    Overview(Box<Overview>),
    /// To [`Query::Message`].
    Message(Option<Box<InboxRecord>>),
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
    /// Notifications that are not published yet.
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
    /// Builds in [`BuildState::Ready`] whose time has come: highest priority first, then lowest number.
    pub ready: Vec<BuildRecord>,
    /// Live attempts whose time has come, each with its build: longest unobserved first.
    pub attempts: Vec<(AttemptRecord, BuildRecord)>,
    /// How many live attempts each build system has.
    pub live: BTreeMap<String, u32>,
    /// Of each build system with live attempts, the priorities of their builds, lowest first.
    pub started: BTreeMap<String, Vec<i64>>,
    /// The earliest moment at which a ready build, a live attempt or a new message that is left out now will be due.
    pub next: Option<Timestamp>,
}

/// Bounds of a [`Query::Due`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueLimits {
    /// At most so many ready builds of each build system, so that those of one never hide those of another.
    pub ready: u32,
    /// At most so many attempts.
    pub attempts: u32,
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
    pub artifact: Option<crate::artifact::ArtifactId>,
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
/// let page = Page { items: vec!["app", "site"], total: 12 };
/// assert_eq!(serde_json::to_string(&page)?, r#"{"items":["app","site"],"total":12}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// How many there are without paging.
    pub total: u64,
}

/// Two stored rows that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which rule is broken, by its stable name: `pending`, `one_live_attempt`, …
    pub rule: String,
    /// Where, and how.
    pub text: String,
}

/// Who wants messages to handle, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Token of the engine run that asks. What was claimed under an earlier one is abandoned.
    pub owner: i64,
    /// What this run is handling, and does not want again, whatever the rows say. What is claimed under its token and not in this list
    /// is abandoned as well: an answer was lost.
    pub holding: Vec<MessageKey>,
    /// At most so many.
    pub limit: u32,
    /// New messages that must not be handled before a later moment are left out.
    pub at: Timestamp,
}

/// Where everything is kept that must survive.
///
/// # Contract
/// * [`transact`](Self::transact) writes all changes or none, and `Ok` means they survive a crash. A dropped future leaves either
///   outcome, and nothing locked.
/// * A record with an `expected` version that is not the stored one (or is there when none is expected) is
///   [`Conflict`](Remedy::Conflict), and so is a second non-terminal build of one key and slot, or a second live attempt of a build.
/// * What a call that began after an `Ok` reads contains the change.
///
/// A storage can also be wrapped around another one, to measure or to refuse:
///
/// ```
/// use async_trait::async_trait;
/// use freshmaker::memory::MemoryStorage;
/// use freshmaker::backend::{Answer, Claim, Query, Result, Scope, Storage, StorageExt, Violation};
/// use freshmaker::rebuild::{InboxRecord, Neighbourhood, RowChange};
/// use freshmaker::time::Timestamp;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// #[derive(Debug)]
/// struct Counted<S> {
///     inner: S,
///     rows_written: AtomicUsize,
/// }
///
/// #[async_trait]
/// impl<S: Storage> Storage for Counted<S> {
///     async fn transact(&self, changes: Vec<RowChange>) -> Result<()> {
///         self.rows_written.fetch_add(changes.len(), Ordering::Relaxed);
///         self.inner.transact(changes).await
///     }
///     async fn migrate(&self) -> Result<()> {
///         self.inner.migrate().await
///     }
///     async fn lease(&self, name: &str, at: Timestamp) -> Result<i64> {
///         self.inner.lease(name, at).await
///     }
///     async fn reserve(&self, count: u32) -> Result<i64> {
///         self.inner.reserve(count).await
///     }
///     async fn claim(&self, claim: &Claim) -> Result<Vec<InboxRecord>> {
///         self.inner.claim(claim).await
///     }
///     async fn load(&self, scope: &Scope) -> Result<Neighbourhood> {
///         self.inner.load(scope).await
///     }
///     async fn query(&self, query: &Query) -> Result<Answer> {
///         self.inner.query(query).await
///     }
///     async fn check_consistency(&self) -> Result<Vec<Violation>> {
///         self.inner.check_consistency().await
///     }
/// }
/// # futures_util::FutureExt::now_or_never(async {
/// let storage = Counted { inner: MemoryStorage::new(), rows_written: AtomicUsize::new(0) };
/// storage.migrate().await?;
/// assert!(storage.overview().await?.is_idle());
/// assert_eq!(storage.rows_written.load(Ordering::Relaxed), 0);
/// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
/// ```
#[async_trait]
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Brings the stored schema up to this version of the crate.
    async fn migrate(&self) -> Result<()>;

    /// Begins a run of an engine: a token larger than any before. Rows claimed under earlier tokens are free again.
    ///
    /// # Errors
    /// [`Conflict`](Remedy::Conflict) if another run is alive and this storage serves only one.
    async fn lease(&self, name: &str, at: Timestamp) -> Result<i64>;

    /// Numbers for new rows: returns the first of `count` that are never given to anybody else.
    async fn reserve(&self, count: u32) -> Result<i64>;

    /// Takes messages to handle: new ones whose time has come, and claimed ones that nobody handles any more; oldest first.
    /// Each comes back in [`InboxState::Claimed`](crate::rebuild::InboxState::Claimed), one try more counted, and is stored so.
    async fn claim(&self, claim: &Claim) -> Result<Vec<InboxRecord>>;

    /// The rows a decision needs.
    async fn load(&self, scope: &Scope) -> Result<Neighbourhood>;

    /// Writes all changes or none.
    async fn transact(&self, changes: Vec<RowChange>) -> Result<()>;

    /// Answers a question.
    async fn query(&self, query: &Query) -> Result<Answer>;

    /// Checks the stored rows against each other; empty means sound.
    async fn check_consistency(&self) -> Result<Vec<Violation>>;
}

macro_rules! typed {
    ($answer:expr, $variant:ident) => {
        match $answer {
            Answer::$variant(answer) => Ok(answer),
            other => Err(Error::new(
                Remedy::Corrupt,
                "storage",
                format!("asked for {}, got {other:?}", stringify!($variant)),
            )),
        }
    };
}

/// A method for each [`Query`]. Every [`Storage`] has it.
///
/// ```
/// use freshmaker::memory::MemoryStorage;
/// use freshmaker::backend::{EventFilter, Paging, Storage, StorageExt};
/// use freshmaker::rebuild::EventState;
///
/// # futures_util::FutureExt::now_or_never(async {
/// let storage: &dyn Storage = &MemoryStorage::new();
/// let open = EventFilter { states: vec![EventState::Building], ..EventFilter::default() };
/// assert_eq!(storage.events(open, Paging::first(20)).await?.total, 0);
/// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
/// ```
#[async_trait]
pub trait StorageExt: Storage {
    /// What there is to do now.
    async fn due(&self, at: Timestamp, limits: DueLimits) -> Result<Due> {
        typed!(self.query(&Query::Due { at, limits }).await?, Due).map(|due| *due)
    }

    /// Events, newest first.
    async fn events(&self, filter: EventFilter, paging: Paging) -> Result<Page<EventRecord>> {
        typed!(self.query(&Query::Events(filter, paging)).await?, Events)
    }

    /// Builds, newest first.
    async fn builds(&self, filter: BuildFilter, paging: Paging) -> Result<Page<BuildRecord>> {
        typed!(self.query(&Query::Builds(filter, paging)).await?, Builds)
    }

    /// The attempts of a build, oldest first.
    async fn attempts(&self, build: BuildId) -> Result<Vec<AttemptRecord>> {
        typed!(self.query(&Query::Attempts(build)).await?, Attempts)
    }

    /// The audit trail of one aggregate, oldest first.
    async fn transitions(&self, aggregate: &str, id: &str) -> Result<Vec<Transition>> {
        let query = Query::Transitions { aggregate: aggregate.to_owned(), id: id.to_owned() };
        typed!(self.query(&query).await?, Transitions)
    }

    /// Messages that could not be understood or handled, newest first.
    async fn dead_letters(&self, paging: Paging) -> Result<Page<InboxRecord>> {
        typed!(self.query(&Query::DeadLetters(paging)).await?, DeadLetters)
    }

    /// The plan of an event.
    async fn plan(&self, event: EventId) -> Result<Option<Plan>> {
        typed!(self.query(&Query::Plan(event)).await?, Plan).map(|plan| plan.map(|plan| *plan))
    }

    /// How long the latest successful attempts took.
    async fn durations(&self, mode: BuildMode, limit: u32) -> Result<Vec<Observation>> {
        typed!(self.query(&Query::Durations { mode, limit }).await?, Durations)
    }

    /// Messages that wait to be published.
    async fn notifications(&self, limit: u32) -> Result<Vec<Notification>> {
        typed!(self.query(&Query::Notifications { limit }).await?, Notifications)
    }

    /// How much there is of everything.
    async fn overview(&self) -> Result<Overview> {
        typed!(self.query(&Query::Overview).await?, Overview).map(|overview| *overview)
    }

    /// One message by source and identity.
    async fn message(&self, source: &str, message_id: &str) -> Result<Option<InboxRecord>> {
        let query = Query::Message { source: source.to_owned(), message_id: message_id.to_owned() };
        typed!(self.query(&query).await?, Message).map(|found| found.map(|record| *record))
    }
}

impl<S: Storage + ?Sized> StorageExt for S {}

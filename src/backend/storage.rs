use super::{Documents, Result, StorageReads};
use crate::rebuild::{AttemptId, BuildId, BuildKey, Commit, EventId, InboxRecord, MessageKey, Neighbourhood, RunId};
use crate::time::Timestamp;
use async_trait::async_trait;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Which rows a decision needs; the answer is a [`Neighbourhood`].
///
/// For every scope: the builds named, and every build that the scope reaches, come with all their
/// causes, the events of those, their live attempts and all their dependencies in both directions
/// (the edges, not the builds at the other end unless said so).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// These builds, their direct parents and their direct children (the parents' further edges are
    /// not needed), and of each of these builds' keys the latest build (highest number) that has an
    /// output, as a row without causes or edges.
    Builds(Vec<BuildId>),
    /// These builds, their direct parents, and everything that directly or indirectly waits for
    /// them over unsatisfied dependencies.
    Descendants(Vec<BuildId>),
    /// As [`Descendants`](Scope::Descendants) for this build, and of its direct parents' keys the
    /// builds that have not ended, with their causes and edges, and the latest ones that have an
    /// output, as rows without.
    Renewal(BuildId),
    /// As [`Builds`](Scope::Builds), for the build of this attempt; the attempt itself is there
    /// even if it has ended.
    Attempt(AttemptId),
    /// As [`Descendants`](Scope::Descendants), for every build that this event causes, live or not;
    /// the event itself is always there.
    Event(EventId),
    /// The builds of these keys that have not ended, and every build that has not ended and is
    /// connected to one of them over dependencies in any direction.
    Keys(Vec<BuildKey>),
    /// The rows of all these scopes together.
    All(Vec<Scope>),
}

/// The right of one run of an engine to write, and to claim messages.
///
/// It is kept by the storage, by the storage's own clock. A lease that is not renewed within
/// [`ttl`](Self::ttl) may be revoked, by any call to [`Storage::lease`]: then the run is over, and
/// what it has claimed or begun is free for others.
#[doc(alias = "fencing")]
#[doc(alias = "fencing token")]
#[doc(alias = "leader election")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The run, which is also its fencing token: larger than that of any run before.
    pub run: RunId,
    /// How long the lease holds without a renewal.
    pub ttl: Duration,
    /// The moment, by the clock of the storage.
    pub now: Timestamp,
    /// The partitions of the notifications that this run publishes until the next renewal; no other
    /// living run has them.
    pub partitions: Vec<u16>,
}

/// A request of a run for messages to handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The run that asks.
    pub run: RunId,
    /// The messages that this run is handling: they are not claimed again, whatever the rows say. A
    /// message that the run has claimed and that is not in this list is free as well, because the
    /// answer to the claim was lost.
    pub holding: Vec<MessageKey>,
    /// The most messages.
    pub limit: u32,
    /// The longest pause of a message: a message that would wait longer is due, because a clock was
    /// set back.
    pub pause_max: Duration,
}

/// How long rows are kept that the engine does not need any more.
///
/// These rows are always kept: open ones; builds from which an open build is made; messages of kept
/// events, with which a message that comes again is compared; the latest build of a key with an
/// output, because of which a later build may be reused; and the latest build of a key that has
/// really run, whose duration is the estimate of the next one.
///
/// ```
/// use freshmaker::backend::Retention;
/// use std::time::Duration;
///
/// let days = |days: u64| Duration::from_secs(days * 24 * 3600);
/// let mut retention = Retention::default();
/// assert_eq!(retention.messages, Some(days(30)));
/// assert_eq!(retention.events, None, "the history is kept unless you say otherwise");
/// retention.events = Some(days(365));
/// retention.events_max = Some(100_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// Messages that were handled or ignored and of which no event is kept, by the time since they
    /// came. A message that comes again after that is handled again. 30 days by default.
    pub messages: Option<Duration>,
    /// Dead letters, by the time since they came. `None`, the default: for ever.
    pub dead_letters: Option<Duration>,
    /// Events that have ended, by the time since they ended, with their plans, their builds and
    /// attempts, and the history of all of these. `None`, the default: for ever.
    pub events: Option<Duration>,
    /// The most ended events that are kept; beyond, the oldest are removed. No limit by default.
    pub events_max: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        Self { messages: Some(days(30)), dead_letters: None, events: None, events_max: None }
    }
}

/// What [`StorageUpkeep::sweep`] has removed. Attempts and history are removed with their builds
/// and events, and are not counted; notifications go once every bus has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Messages, and dead letters.
    pub messages: u64,
    /// Events.
    pub events: u64,
    /// Builds.
    pub builds: u64,
}

impl Swept {
    /// Returns whether nothing was removed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Keeps everything that must survive a crash: messages, events, plans, builds, attempts, history
/// and notifications.
///
/// [`store`](crate::store) has what all storages do in the same way, and
/// `freshmaker_testing::conformance::storage` checks this contract.
///
/// # Contract
/// * *Atomic and durable.* [`commit`](Self::commit) writes all changes or none, and `Ok` means they
///   survive a crash. A dropped future leaves either outcome, and nothing locked.
/// * *Fenced.* A commit by a run whose lease was revoked or released is
///   [`Fenced`](super::Remedy::Fenced) and writes nothing. A lease is revoked before anything of
///   its run is handed to another one.
/// * *Versions.* A record with an `expected` version that is not the stored one (or is there when
///   none is expected), a row of [`Commit::unchanged`] with another version, and a count of
///   [`Commit::edges`] that is not the stored one are [`Conflict`](super::Remedy::Conflict). So is
///   a dependency that is added unsatisfied without that count.
/// * *Unique.* A second open build of one key and slot, a second live attempt of a build, and a
///   second event of one source, message, handler and generation are `Conflict`. An external id
///   that another attempt of the same system has is [`Rejected`](super::Remedy::Rejected), because
///   deciding again does not change that.
/// * *Limits.* A commit that leaves more live attempts of a system than [`Commit::at_most`] is
///   [`NotNow`](super::Remedy::NotNow).
/// * *Claims.* A message that a living run is handling is never given to another run. A change of a
///   message is written only if the run has claimed it, else it is `Conflict`.
/// * *Time.* All moments that are compared are the storage's own. A lease never ends later than its
///   `ttl` from now, and no row waits longer than the longest pause that the caller names, so a
///   clock that is set back delays nothing.
/// * *Unreadable rows* are left out of claims and of answers about many rows, and reported. A
///   message that cannot be read becomes a dead letter when it is claimed.
///
/// A storage can also wrap another one, to measure or to refuse calls:
///
/// ```
/// use async_trait::async_trait;
/// use freshmaker::backend::{Claim, Documents, Lease, Result, Scope, Storage, StorageReads, StorageUpkeep};
/// use freshmaker::memory::MemoryStorage;
/// use freshmaker::rebuild::{Commit, InboxRecord, Neighbourhood, RunId};
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
///     async fn commit(&self, commit: Commit) -> Result<()> {
///         self.rows_written.fetch_add(commit.changes.len(), Ordering::Relaxed);
///         self.inner.commit(commit).await
///     }
///     fn reads(&self) -> &dyn StorageReads {
///         self.inner.reads()
///     }
///     fn upkeep(&self) -> &dyn StorageUpkeep {
///         self.inner.upkeep()
///     }
///     fn documents(&self) -> &dyn Documents {
///         self.inner.documents()
///     }
///     async fn lease(&self, held: Option<RunId>) -> Result<Lease> {
///         self.inner.lease(held).await
///     }
///     async fn release(&self, run: RunId) -> Result<()> {
///         self.inner.release(run).await
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
/// }
/// # futures_util::FutureExt::now_or_never(async {
/// let storage = Counted { inner: MemoryStorage::new(), rows_written: AtomicUsize::new(0) };
/// storage.upkeep().migrate().await?;
/// assert!(storage.reads().overview().await?.is_idle());
/// assert_eq!(storage.rows_written.load(Ordering::Relaxed), 0);
/// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
/// ```
#[doc(alias = "database")]
#[doc(alias = "postgres")]
#[doc(alias = "postgresql")]
#[doc(alias = "persistence")]
#[async_trait]
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Returns the part that answers questions.
    fn reads(&self) -> &dyn StorageReads;

    /// Returns the part for the upkeep of the storage itself: schema, size, copies.
    fn upkeep(&self) -> &dyn StorageUpkeep;

    /// Returns the part that keeps documents of programs around the engine.
    fn documents(&self) -> &dyn Documents;

    /// Begins a run (`held` is `None`), or renews its lease. Revokes the leases of others that were
    /// not renewed in time.
    ///
    /// # Errors
    /// [`Fenced`](super::Remedy::Fenced) if the lease was revoked or released: the run is over, and
    /// a new one must be begun. [`Conflict`](super::Remedy::Conflict) if another process has this
    /// storage and it serves only one.
    async fn lease(&self, held: Option<RunId>) -> Result<Lease>;

    /// Ends a run in an orderly way: its attempts are free for other runs, and the messages that it
    /// has claimed are new again, without a try. Releasing a run that is over does nothing.
    async fn release(&self, run: RunId) -> Result<()>;

    /// Reserves `count` numbers for new rows, which are never given out again, and returns the
    /// first.
    async fn reserve(&self, count: u32) -> Result<i64>;

    /// Claims messages to handle: first those of runs that are over and were not released, oldest
    /// first; then new messages whose time has come, in the order of
    /// [`due_since`](crate::store::due_since). Each is stored and returned in the state
    /// [`InboxState::Claimed`](crate::rebuild::InboxState::Claimed). For a message of a run that is
    /// over, one more try is counted, because it may be what made the process die.
    ///
    /// # Errors
    /// [`Fenced`](super::Remedy::Fenced) if the run is over.
    async fn claim(&self, claim: &Claim) -> Result<Vec<InboxRecord>>;

    /// Returns the rows that a decision needs, as of one moment.
    async fn load(&self, scope: &Scope) -> Result<Neighbourhood>;

    /// Checks and writes one commit.
    ///
    /// # Errors
    /// As the contract says; then nothing is written. [`Unclear`](super::Remedy::Unclear) if the
    /// outcome is not known.
    async fn commit(&self, commit: Commit) -> Result<()>;
}

/// The upkeep of a storage itself: its schema, its size, its copies.
#[async_trait]
pub trait StorageUpkeep: fmt::Debug + Send + Sync + 'static {
    /// Brings the stored schema up to this version of the crate.
    async fn migrate(&self) -> Result<()>;

    /// Removes rows that are not kept any longer: at most `limit` events, `limit` builds and
    /// `limit` messages, in one transaction. Callers repeat the call until nothing is removed.
    ///
    /// An event is removed with its plan, its causes and its history. A build is removed when it
    /// has ended and none of its events is left, with its attempts, its dependencies and its
    /// history. It stays if a build that has not ended depends on it, if one waits or has waited
    /// for it in vain, if it has the latest output of its key, and if it is the latest of its key
    /// that has run and is done. A message is removed if none of its events is left.
    ///
    /// # Errors
    /// [`Fenced`](super::Remedy::Fenced) if the run is over.
    async fn sweep(&self, run: RunId, retention: Retention, limit: u32) -> Result<Swept>;

    /// Waits until another process may have changed stored rows. This is a hint, so that an engine
    /// or a client need not wait for its next tick: it may come too often, late or, as is the
    /// default, never.
    async fn changed(&self) {
        std::future::pending().await
    }

    /// Writes a copy of everything, as of one moment, into a new file, while engines go on.
    ///
    /// # Errors
    /// [`Unsupported`](super::Remedy::Unsupported) if the storage has tools of its own for that, or
    /// nothing that could be copied, as is the default; [`Rejected`](super::Remedy::Rejected) if
    /// the file is there already.
    async fn backup(&self, to: &Path) -> Result<()> {
        let text = "this storage is not copied into a file";
        Err(super::Error::new(super::Remedy::Unsupported, to.display().to_string(), text))
    }
}

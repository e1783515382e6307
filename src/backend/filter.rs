use super::{Error, Remedy, Result, Violation};
use crate::artifact::{ArtifactId, ArtifactKind};
use crate::rebuild::{BuildId, BuildState, EventId, EventState, ExternalId};
use crate::store::PLACE;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Selects events. An event must match all fields; an empty list and a missing moment do not
/// restrict.
///
/// ```
/// use freshmaker::backend::EventFilter;
/// use freshmaker::rebuild::EventState;
///
/// let filter = EventFilter {
///     states: vec![EventState::Building, EventState::Failed],
///     requesters: vec!["alice".into()],
///     ..EventFilter::default()
/// };
/// assert!(filter.kinds.is_empty(), "of any kind");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// In one of these states.
    pub states: Vec<EventState>,
    /// With one of these numbers.
    pub ids: Vec<EventId>,
    /// Of one of these kinds: [`Event::KIND`](crate::Event::KIND).
    pub kinds: Vec<String>,
    /// About one of these.
    pub search_keys: Vec<String>,
    /// Brought by one of these messages.
    pub message_ids: Vec<String>,
    /// Asked for by one of these persons or programs.
    pub requesters: Vec<String>,
    /// Whose reason has one of these codes.
    pub reason_codes: Vec<String>,
    /// Stored at this moment or later.
    pub created_from: Option<Timestamp>,
    /// Stored before this moment.
    pub created_until: Option<Timestamp>,
}

/// Selects builds. A build must match all fields; an empty list and a missing moment do not
/// restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildFilter {
    /// In one of these states.
    pub states: Vec<BuildState>,
    /// With one of these numbers.
    pub ids: Vec<BuildId>,
    /// Caused by one of these events, whether it still wants the build or not.
    pub events: Vec<EventId>,
    /// Caused by an event of one of these kinds.
    pub event_kinds: Vec<String>,
    /// Caused by an event about one of these.
    pub search_keys: Vec<String>,
    /// Of one of these artifacts.
    pub artifacts: Vec<ArtifactId>,
    /// Of artifacts with one of these names: the whole id, or the name part of an id that is an
    /// NVR.
    pub names: Vec<String>,
    /// Of one of these kinds of artifacts.
    pub kinds: Vec<ArtifactKind>,
    /// On one of these build systems.
    pub systems: Vec<String>,
    /// Whose reason has one of these codes.
    pub reason_codes: Vec<String>,
    /// Whose output has one of these names.
    pub outputs: Vec<String>,
    /// With an attempt that the build system knows under one of these ids.
    pub externals: Vec<ExternalId>,
    /// That depend directly on one of these builds.
    pub parents: Vec<BuildId>,
    /// Stored at this moment or later.
    pub created_from: Option<Timestamp>,
    /// Stored before this moment.
    pub created_until: Option<Timestamp>,
}

/// Selects a part of a long list, and its order.
///
/// A long list is best read by [`behind`](Self::behind), each page with the [`next`](Page::next) of
/// the one before: such a page costs the same at any place of the list, and rows that are added
/// meanwhile do not shift it.
///
/// ```
/// use freshmaker::backend::{Paging, Storage, StorageReads};
/// use freshmaker::memory::MemoryStorage;
///
/// # futures_util::FutureExt::now_or_never(async {
/// # let storage = MemoryStorage::new();
/// let mut paging = Paging::first(100);
/// loop {
///     let page = storage.reads().events(Default::default(), paging).await?;
///     // … use page.items …
///     let Some(next) = page.next else { break };
///     paging = paging.behind(next);
/// }
/// // The same, for a list that fits into memory.
/// let reads = storage.reads();
/// let events = Paging::first(100).collect(10_000, |paging| reads.events(Default::default(), paging));
/// assert!(events.await?.items.is_empty());
/// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
/// ```
#[doc(alias = "cursor")]
#[doc(alias = "pagination")]
#[doc(alias = "keyset")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// The most rows of the page; backends cap it at [`Paging::LIMIT_MAX`].
    pub limit: u32,
    /// How many rows are skipped first.
    pub offset: u64,
    /// Only rows behind the row with this number.
    pub behind: Option<i64>,
    /// Begin with the oldest row instead of the newest.
    pub oldest_first: bool,
    /// Whether the answer says how many rows there are without paging. Rows that are filtered by
    /// more than their state are counted one by one.
    pub counted: bool,
    /// Whether rows may be *brief*, as lists show them: events without the payload of their
    /// message, builds without recipe, parameters, parents and demands. Such rows are for showing
    /// only: nothing is decided on them or stored from them. A storage may return whole rows all
    /// the same. A list over REST takes a seventh less time.
    pub brief: bool,
}

impl Paging {
    /// The most rows of any page.
    pub const LIMIT_MAX: u32 = 1000;

    /// Returns the first page, of at most this many rows.
    #[must_use]
    pub const fn first(limit: u32) -> Self {
        Self { limit, offset: 0, behind: None, oldest_first: false, counted: false, brief: false }
    }

    /// Returns the same page, but behind the row with this number.
    #[must_use]
    pub fn behind(self, number: i64) -> Self {
        Self { behind: Some(number), ..self }
    }

    /// Returns the same page after skipping this many rows.
    #[must_use]
    pub fn skip(self, offset: u64) -> Self {
        Self { offset, ..self }
    }

    /// Returns the same page with the oldest row first.
    #[must_use]
    pub fn oldest_first(self) -> Self {
        Self { oldest_first: true, ..self }
    }

    /// Returns the same page with the number of all rows in the answer.
    #[must_use]
    pub fn counted(self) -> Self {
        Self { counted: true, ..self }
    }

    /// Returns the same page, whose rows may be [brief](Self::brief).
    #[must_use]
    pub fn brief(self) -> Self {
        Self { brief: true, ..self }
    }

    /// Reads one page after the other, and returns them as one. It ends with the list, or with the
    /// page that makes it `max` rows or more; then [`next`](Page::next) says that there are others.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn collect<T, E, F>(self, max: usize, mut read: impl FnMut(Self) -> F) -> Result<Page<T>, E>
    where
        F: Future<Output = Result<Page<T>, E>>,
    {
        let mut all = read(self).await?;
        while let Some(next) = all.next.filter(|_| all.items.len() < max) {
            let more = read(Self { offset: 0, counted: false, ..self }.behind(next)).await?;
            all.items.extend(more.items);
            all.unreadable.extend(more.unreadable);
            all.next = more.next;
        }
        Ok(all)
    }
}

/// A part of a long list.
///
/// ```
/// use freshmaker::backend::Page;
///
/// let page = Page { items: vec!["app", "site"], next: Some(7), total: Some(12), unreadable: Vec::new() };
/// assert_eq!(serde_json::to_string(&page)?, r#"{"items":["app","site"],"next":7,"total":12}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// If there are more rows: what they are [behind](Paging::behind).
    pub next: Option<i64>,
    /// How many there are without paging, if that was [asked for](Paging::counted).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Rows of this page that cannot be read, and why; they are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Violation>,
}

impl<T> Page<T> {
    /// Returns the same page with something else for each row.
    #[must_use]
    pub fn map<U>(self, row: impl FnMut(T) -> U) -> Page<U> {
        let Self { items, next, total, unreadable } = self;
        Page { items: items.into_iter().map(row).collect(), next, total, unreadable }
    }

    /// Checks that nothing was left out.
    ///
    /// # Errors
    /// [`Corrupt`](Remedy::Corrupt), with the first row that cannot be read.
    pub fn must_be_readable(&self) -> Result<()> {
        match self.unreadable.first() {
            Some(row) => Err(Error::new(Remedy::Corrupt, PLACE, &*row.text)),
            None => Ok(()),
        }
    }
}

/// How many events there are of a kind, in a state, for a reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EventCount {
    /// The kind.
    pub kind: String,
    /// The state.
    pub state: EventState,
    /// The code of the reason.
    pub reason_code: String,
    /// The number of events.
    pub count: u64,
}

/// How many builds there are on a build system, in a state, for a reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BuildCount {
    /// The build system.
    pub system: String,
    /// The state.
    pub state: BuildState,
    /// The code of the reason.
    pub reason_code: String,
    /// The number of builds.
    pub count: u64,
}

/// How many builds of a kind an event has caused that are in a state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CausedCount {
    /// The kind of the artifacts.
    pub kind: ArtifactKind,
    /// The state.
    pub state: BuildState,
    /// Whether the event still wants these builds: only such builds are in the counts of its
    /// record.
    pub live: bool,
    /// The number of builds.
    pub count: u64,
}

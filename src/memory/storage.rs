use super::query;
use super::sweep::sweep;
use super::tables::{Tables, Waits, stored};
use crate::backend::{
    BuildCount, BuildFilter, BuildLinks, CausedCount, Claim, Clock, Document, Documents, Due, DueLimits, EventCount,
    EventFilter, Lease, Links, NewDocument, Notifications, Outbox, Overview, Page, Paging, Partition, Result,
    Retention, Scope, Storage, StorageReads, StorageUpkeep, Swept, Violation,
};
use crate::engine::SystemClock;
use crate::plan::{Observation, Plan};
use crate::rebuild::{
    AttemptRecord, BuildId, BuildMode, BuildRecord, Commit, EventId, EventRecord, InboxRecord, InboxState,
    Neighbourhood, RowKey, RunId, Transition,
};
use crate::store::{LEASE_TTL, due_since, fenced, has_come, load, overview, share};
use crate::time::{Timestamp, later};
use async_trait::async_trait;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A storage within the process: nothing survives its end.
///
/// It keeps the whole contract but that, for any number of engines in the process, and the same
/// calls always give the same answers.
///
/// ```
/// use freshmaker::memory::MemoryStorage;
/// use freshmaker::backend::Storage;
///
/// let storage: Box<dyn Storage> = Box::new(MemoryStorage::new());
/// # drop(storage);
/// ```
#[derive(Debug)]
pub struct MemoryStorage {
    tables: Mutex<Tables>,
    clock: Arc<dyn Clock>,
    ttl: Duration,
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStorage {
    /// Makes an empty storage with the clock of the machine, and one partition of notifications.
    #[must_use]
    pub fn new() -> Self {
        let mut tables = Tables::default();
        tables.partitions = 1;
        Self { tables: Mutex::new(tables), clock: Arc::new(SystemClock), ttl: LEASE_TTL }
    }

    /// Returns the same with another clock, by which leases end and moments are compared.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the same storage with leases of this length, instead of [`LEASE_TTL`]. For clocks
    /// that run fast.
    #[must_use]
    pub fn with_lease_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Returns the same storage with this many partitions of notifications, at least one, which
    /// engines share. Only before anything is stored.
    #[must_use]
    pub fn with_partitions(mut self, partitions: u16) -> Self {
        self.tables.get_mut().unwrap_or_else(PoisonError::into_inner).partitions = partitions.max(1);
        self
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        // No code panics while it holds the lock.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        stored(self.clock.now())
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    fn upkeep(&self) -> &dyn StorageUpkeep {
        self
    }

    fn reads(&self) -> &dyn StorageReads {
        self
    }

    fn documents(&self) -> &dyn Documents {
        self
    }

    async fn lease(&self, held: Option<RunId>) -> Result<Lease> {
        lease(&mut self.lock(), held, self.now(), self.ttl)
    }

    async fn release(&self, run: RunId) -> Result<()> {
        release(&mut self.lock(), run);
        Ok(())
    }

    async fn reserve(&self, count: u32) -> Result<i64> {
        let mut tables = self.lock();
        let first = tables.last_row + 1;
        tables.last_row += i64::from(count);
        Ok(first)
    }

    async fn claim(&self, wanted: &Claim) -> Result<Vec<InboxRecord>> {
        claim(&mut self.lock(), wanted, self.now())
    }

    async fn load(&self, scope: &Scope) -> Result<Neighbourhood> {
        let tables = self.lock();
        let found = load(&mut &*tables, scope)?;
        Ok(Neighbourhood { at: self.now(), edges: tables.edges, ..found })
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.lock().write(commit)
    }
}

#[async_trait]
impl Documents for MemoryStorage {
    async fn get(&self, kind: &str, id: &str) -> Result<Option<Document>> {
        Ok(self.lock().documents.get(kind, id, self.now()))
    }

    async fn list(&self, kind: &str, before: Option<i64>, limit: u32) -> Result<Vec<Document>> {
        Ok(self.lock().documents.list(kind, before, count(limit), self.now()))
    }

    async fn put(&self, document: NewDocument) -> Result<Document> {
        self.lock().documents.put(document, self.now())
    }

    async fn remove(&self, kind: &str, id: &str) -> Result<bool> {
        Ok(self.lock().documents.remove(kind, id, self.now()))
    }
}

#[async_trait]
impl StorageUpkeep for MemoryStorage {
    async fn migrate(&self) -> Result<()> {
        Ok(())
    }

    async fn sweep(&self, run: RunId, retention: Retention, limit: u32) -> Result<Swept> {
        sweep(&mut self.lock(), run, retention, count(limit), self.now())
    }
}

#[async_trait]
impl StorageReads for MemoryStorage {
    async fn due(&self, run: RunId, limits: DueLimits) -> Result<Due> {
        Ok(due(&self.lock(), run, limits, self.now()))
    }

    async fn events(&self, filter: EventFilter, paging: Paging) -> Result<Page<EventRecord>> {
        Ok(query::events(&self.lock(), &filter, paging))
    }

    async fn events_with_counts(
        &self,
        filter: EventFilter,
        paging: Paging,
    ) -> Result<Page<(EventRecord, Vec<CausedCount>)>> {
        Ok(query::events_with_counts(&self.lock(), &filter, paging))
    }

    async fn builds(&self, filter: BuildFilter, paging: Paging) -> Result<Page<BuildRecord>> {
        Ok(query::builds(&self.lock(), &filter, paging))
    }

    async fn builds_with_links(&self, filter: BuildFilter, paging: Paging) -> Result<Page<(BuildRecord, BuildLinks)>> {
        Ok(query::builds_with_links(&self.lock(), &filter, paging))
    }

    async fn count_events(&self, filter: EventFilter) -> Result<Vec<EventCount>> {
        Ok(query::count_events(&self.lock(), &filter))
    }

    async fn count_builds(&self, filter: BuildFilter) -> Result<Vec<BuildCount>> {
        Ok(query::count_builds(&self.lock(), &filter))
    }

    async fn links(&self, builds: Vec<BuildId>) -> Result<Links> {
        Ok(query::links(&self.lock(), &builds))
    }

    async fn attempts(&self, builds: Vec<BuildId>) -> Result<Vec<AttemptRecord>> {
        Ok(query::attempts(&self.lock(), &builds))
    }

    async fn transitions(&self, of: &RowKey) -> Result<Vec<Transition>> {
        Ok(query::transitions(&self.lock(), of))
    }

    async fn message(&self, source: &str, message_id: &str) -> Result<Option<InboxRecord>> {
        let tables = self.lock();
        let number = tables.inbox_ids.get(&(source.to_owned(), message_id.to_owned()));
        Ok(number.and_then(|number| tables.inbox.get(number)).cloned())
    }

    async fn messages(&self, states: Vec<InboxState>, paging: Paging) -> Result<Page<InboxRecord>> {
        Ok(query::messages(&self.lock(), &states, paging))
    }

    async fn plan(&self, event: EventId) -> Result<Option<Plan>> {
        Ok(self.lock().plans.get(&event).cloned())
    }

    async fn durations(&self, mode: BuildMode, limit: u32) -> Result<Vec<Observation>> {
        Ok(query::durations(&self.lock(), mode, limit))
    }

    async fn notifications(&self, partition: Option<u16>, after: i64, limit: u32) -> Result<Notifications> {
        Ok(query::notifications(&self.lock(), partition, after, limit))
    }

    async fn outbox(&self) -> Result<Outbox> {
        Ok(outbox(&self.lock()))
    }

    async fn overview(&self) -> Result<Overview> {
        let tables = self.lock();
        let counts = (tables.inbox_tally.clone(), tables.event_tally.clone(), tables.build_tally.clone());
        Ok(overview(counts.0, counts.1, counts.2, unpublished(&tables)))
    }

    async fn check_consistency(&self) -> Result<Vec<Violation>> {
        Ok(query::check_consistency(&self.lock()))
    }
}

fn lease(tables: &mut Tables, held: Option<RunId>, now: Timestamp, ttl: Duration) -> Result<Lease> {
    let run = match held {
        Some(run) if !tables.leases.contains_key(&run) => return Err(fenced(run)),
        Some(run) => run,
        None => {
            tables.last_run = RunId(tables.last_run.0 + 1);
            tables.last_run
        }
    };
    tables.leases.retain(|other, until| *other == run || *until > now);
    // One that would end later was renewed before the clock was set back.
    tables.leases.values_mut().for_each(|until| *until = later(now, ttl).min(*until));
    tables.leases.insert(run, later(now, ttl));
    let living: BTreeSet<_> = tables.leases.keys().copied().collect();
    let partitions = share(run, tables.partitions, &tables.publishers, &living);
    tables.publishers.retain(|_, holder| *holder != run);
    tables.publishers.extend(partitions.iter().map(|partition| (*partition, run)));
    Ok(Lease { run, ttl, now, partitions })
}

/// Ends a run, and gives back what it has claimed.
fn release(tables: &mut Tables, run: RunId) {
    if tables.leases.remove(&run).is_none() {
        return;
    }
    let claimed = in_state(tables, InboxState::Claimed);
    let rows = claimed.filter_map(|number| Some((number, tables.inbox.get(&number).filter(|row| row.run == run)?)));
    let rows: Vec<_> =
        rows.map(|(number, row)| (number, InboxRecord { state: InboxState::New, ..row.clone() })).collect();
    for (number, row) in rows {
        tables.put_inbox(number, Some(row));
    }
}

fn claim(tables: &mut Tables, wanted: &Claim, at: Timestamp) -> Result<Vec<InboxRecord>> {
    let Claim { run, ref holding, limit, pause_max } = *wanted;
    if !tables.leases.contains_key(&run) {
        return Err(fenced(run));
    }
    let is_free = |row: &InboxRecord| row.run == run || !tables.leases.contains_key(&row.run);
    let free = |number: &u64| tables.inbox.get(number).filter(|row| !holding.contains(&row.key()));
    let new = || in_state(tables, InboxState::New).filter_map(|number| Some((number, free(&number)?)));
    let given_back = new().filter(|(_, row)| row.not_before.is_some() && has_come(row.not_before, at, pause_max));
    let mut new: Vec<_> = new().filter(|(_, row)| row.not_before.is_none()).take(count(limit)).collect();
    new.extend(given_back);
    new.sort_by_key(|(number, row)| (due_since(row), *number));
    let left = in_state(tables, InboxState::Claimed).filter(|number| free(number).is_some_and(is_free));
    let numbers: Vec<_> = left.chain(new.iter().map(|(number, _)| *number)).take(count(limit)).collect();
    let mut claimed = Vec::with_capacity(numbers.len());
    for number in numbers {
        let Some(mut row) = tables.inbox.get(&number).cloned() else { continue };
        if row.state == InboxState::Claimed && row.run != run {
            row.tries += 1;
        }
        row.state = InboxState::Claimed;
        row.run = run;
        tables.put_inbox(number, Some(row.clone()));
        claimed.push(row);
    }
    Ok(claimed)
}

fn in_state(tables: &Tables, state: InboxState) -> impl DoubleEndedIterator<Item = u64> + '_ {
    tables.inbox_states.range((state, 0)..=(state, u64::MAX)).map(|(_, number)| *number)
}

fn due(tables: &Tables, run: RunId, limits: DueLimits, at: Timestamp) -> Due {
    let has_come = |not_before: Option<Timestamp>| has_come(not_before, at, limits.pause_max);
    let of_line = |line: &'_ BTreeSet<(Reverse<i64>, BuildId)>| {
        let waiting = line.iter().filter_map(|(_, id)| tables.builds.get(id));
        waiting.filter(|build| has_come(build.not_before)).take(count(limits.ready)).collect::<Vec<_>>()
    };
    let mut ready: Vec<_> = tables.ready.values().flat_map(of_line).collect();
    ready.sort_by_key(|build| (Reverse(build.priority), build.id));
    let live = tables.live.iter().filter_map(|(_, id)| tables.attempts.get(id));
    let live = live.filter(|attempt| attempt.run == run || !tables.leases.contains_key(&attempt.run));
    let live = live.filter(|attempt| has_come(attempt.not_before)).take(count(limits.attempts));
    let counts = tables.live_tally.iter();
    let mut started: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for attempt in tables.live.iter().filter_map(|(_, id)| tables.attempts.get(id)) {
        let priority = tables.builds.get(&attempt.build).map(|build| build.priority);
        started.entry(attempt.system.clone()).or_default().extend(priority);
    }
    started.values_mut().for_each(|priorities| priorities.sort_unstable());
    Due {
        now: at,
        unreadable: Vec::new(),
        ready: ready.into_iter().cloned().collect(),
        attempts: live
            .filter_map(|attempt| Some((attempt.clone(), tables.builds.get(&attempt.build)?.clone())))
            .collect(),
        live: counts.map(|(system, count)| (system.clone(), u32::try_from(*count).unwrap_or(u32::MAX))).collect(),
        started,
        next: tables.not_before.range((at, Waits::Message(0))..).map(|(moment, _)| *moment).find(|moment| *moment > at),
    }
}

fn outbox(tables: &Tables) -> Outbox {
    let partitions = (0..tables.partitions).map(|number| {
        let rows = tables.outbox.range((number, i64::MIN)..=(number, i64::MAX));
        let trimmed = tables.trimmed.get(&number).copied().unwrap_or_default();
        let positions = tables.positions.range((number, String::new())..).take_while(|((of, _), _)| *of == number);
        let buses = positions.map(|((_, bus), position)| (bus.clone(), *position)).collect();
        let last = rows.map(|((_, position), _)| *position).next_back().unwrap_or(trimmed);
        Partition { trimmed, last, buses }
    });
    Outbox { partitions: partitions.collect() }
}

/// Notifications that the slowest bus has not got, or all, if there is no bus yet.
fn unpublished(tables: &Tables) -> u64 {
    let waiting = outbox(tables).partitions.into_iter().zip(0..).map(|(partition, number)| {
        let got = partition.buses.values().min().copied().unwrap_or_default();
        tables.outbox.range((number, got.saturating_add(1))..=(number, i64::MAX)).count() as u64
    });
    waiting.sum()
}

pub(super) fn count(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

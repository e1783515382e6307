use super::sweep::sweep;
use super::tables::{Tables, Waits, stored, unobserved_since};
use crate::backend::{
    BuildFilter, Claim, Clock, Due, DueLimits, EventFilter, Lease, Notifications, Outbox, Overview, Page, Paging,
    Partition, Result, Retention, Scope, Storage, StorageReads, StorageUpkeep, Swept, Violation,
};
use crate::engine::SystemClock;
use crate::plan::{Observation, Plan};
use crate::rebuild::{
    AttemptId, AttemptRecord, BuildId, BuildMode, BuildRecord, Commit, EventId, EventRecord, InboxRecord, InboxState,
    Neighbourhood, RunId, Transition,
};
use crate::store::{
    AttemptFacts, BuildFacts, ConsistencyCheck, EventFacts, LEASE_TTL, fenced, has_come, load, overview, page_limit,
    share,
};
use crate::time::{Timestamp, later, since};
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
    /// An empty storage with the clock of the machine, and one partition of notifications.
    #[must_use]
    pub fn new() -> Self {
        let mut tables = Tables::default();
        tables.partitions = 1;
        Self { tables: Mutex::new(tables), clock: Arc::new(SystemClock), ttl: LEASE_TTL }
    }

    /// The same with another clock, by which leases end and moments are compared.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The same with leases that last so long, instead of [`LEASE_TTL`]. For clocks that run fast.
    #[must_use]
    pub fn with_lease_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// The same with so many partitions of notifications, at least one, which engines share. Only
    /// before anything is stored.
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
        Ok(events(&self.lock(), &filter, paging))
    }

    async fn builds(&self, filter: BuildFilter, paging: Paging) -> Result<Page<BuildRecord>> {
        Ok(builds(&self.lock(), &filter, paging))
    }

    async fn attempts(&self, build: BuildId) -> Result<Vec<AttemptRecord>> {
        let tables = self.lock();
        let numbers = tables.attempts_of.range((build, 0, AttemptId::new(""))..);
        let of_build = numbers.take_while(|(of, ..)| *of == build);
        Ok(of_build.filter_map(|(.., id)| tables.attempts.get(id).cloned()).collect())
    }

    async fn transitions(&self, aggregate: &str, id: &str) -> Result<Vec<Transition>> {
        Ok(transitions(&self.lock(), aggregate, id))
    }

    async fn message(&self, source: &str, message_id: &str) -> Result<Option<InboxRecord>> {
        let tables = self.lock();
        let number = tables.inbox_ids.get(&(source.to_owned(), message_id.to_owned()));
        Ok(number.and_then(|number| tables.inbox.get(number)).cloned())
    }

    async fn messages(&self, states: Vec<InboxState>, paging: Paging) -> Result<Page<InboxRecord>> {
        let tables = self.lock();
        let mut numbers: Vec<_> = states.into_iter().flat_map(|state| in_state(&tables, state)).collect();
        numbers.sort_unstable_by_key(|number| Reverse(*number));
        numbers.dedup();
        Ok(page(numbers.into_iter().filter_map(|number| tables.inbox.get(&number)), paging))
    }

    async fn plan(&self, event: EventId) -> Result<Option<Plan>> {
        Ok(self.lock().plans.get(&event).cloned())
    }

    async fn durations(&self, mode: BuildMode, limit: u32) -> Result<Vec<Observation>> {
        Ok(durations(&self.lock(), mode, limit))
    }

    async fn notifications(&self, partition: u16, after: i64, limit: u32) -> Result<Notifications> {
        let tables = self.lock();
        let behind = tables.outbox.range((partition, after.saturating_add(1))..=(partition, i64::MAX));
        let items: Vec<_> = behind.take(count(limit)).map(|((_, at), row)| (*at, row.clone())).collect();
        let end = items.last().map_or(after, |(at, _)| *at);
        Ok(Notifications { items, end, unreadable: Vec::new() })
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
        Ok(check_consistency(&self.lock()))
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
    let new = in_state(tables, InboxState::New)
        .filter(|number| free(number).is_some_and(|row| has_come(row.not_before, at, pause_max)));
    let left = in_state(tables, InboxState::Claimed).filter(|number| free(number).is_some_and(is_free));
    let numbers: Vec<_> = left.chain(new).take(count(limit)).collect();
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

fn events(tables: &Tables, filter: &EventFilter, paging: Paging) -> Page<EventRecord> {
    let matches = |event: &&EventRecord| {
        (filter.states.is_empty() || filter.states.contains(&event.state))
            && (filter.ids.is_empty() || filter.ids.contains(&event.id))
            && filter.search_key.as_ref().is_none_or(|key| *key == event.envelope.search_key)
            && filter.message_id.as_ref().is_none_or(|id| *id == event.message_id)
    };
    page(tables.events.values().rev().filter(matches), paging)
}

fn builds(tables: &Tables, filter: &BuildFilter, paging: Paging) -> Page<BuildRecord> {
    let matches = |build: &&BuildRecord| {
        (filter.states.is_empty() || filter.states.contains(&build.state))
            && (filter.ids.is_empty() || filter.ids.contains(&build.id))
            && filter.artifact.as_ref().is_none_or(|artifact| *artifact == build.key.artifact)
    };
    if let Some(event) = filter.event {
        let caused = tables.caused.range((event, BuildId(i64::MIN))..=(event, BuildId(i64::MAX))).rev();
        return page(caused.filter_map(|(_, id)| tables.builds.get(id)).filter(matches), paging);
    }
    page(tables.builds.values().rev().filter(matches), paging)
}

fn durations(tables: &Tables, mode: BuildMode, limit: u32) -> Vec<Observation> {
    let attempts = tables.succeeded.iter().rev().filter_map(|(_, id)| tables.attempts.get(id));
    let with_build = attempts.filter_map(|attempt| Some((attempt, tables.builds.get(&attempt.build)?)));
    let of_mode = with_build.filter(|(_, build)| build.key.mode == mode).take(count(limit));
    of_mode
        .map(|(attempt, build)| Observation {
            artifact: build.key.artifact.clone(),
            kind: build.kind,
            duration: since(unobserved_since(attempt), attempt.intent_at),
        })
        .collect()
}

fn transitions(tables: &Tables, aggregate: &str, id: &str) -> Vec<Transition> {
    let first = (aggregate.to_owned(), id.to_owned(), 0);
    let last = (aggregate.to_owned(), id.to_owned(), u32::MAX);
    tables.transitions.range(first..=last).map(|(_, row)| row.clone()).collect()
}

fn page<'a, T: Clone + 'a>(rows: impl Iterator<Item = &'a T>, paging: Paging) -> Page<T> {
    let (mut items, mut total) = (Vec::new(), 0);
    for row in rows {
        if total >= paging.offset && items.len() < count(page_limit(paging)) {
            items.push(row.clone());
        }
        total += 1;
    }
    Page::new(items, total)
}

fn count(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn check_consistency(tables: &Tables) -> Vec<Violation> {
    let mut check = ConsistencyCheck::default();
    for (id, row) in &tables.events {
        let EventRecord { state, version, builds_open, builds_done, builds_failed, .. } = *row;
        check.event(*id, EventFacts { state, version, builds_open, builds_done, builds_failed });
    }
    for (id, row) in &tables.builds {
        let facts =
            BuildFacts { state: row.state, version: row.version, pending: row.pending, done_at: row.done_at.is_some() };
        check.build(*id, facts);
    }
    for (id, row) in &tables.attempts {
        check.attempt(id.clone(), AttemptFacts { state: row.state, version: row.version, build: row.build });
    }
    for row in tables.dependencies.values() {
        check.dependency(row.child, row.satisfied);
    }
    for row in tables.causes.values() {
        check.cause(row.build, row.event, row.live);
    }
    for row in tables.transitions.values() {
        check.transition((&row.aggregate, &row.id, row.version), row.from.as_deref(), &row.to);
    }
    check.finish()
}

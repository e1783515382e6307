use super::tables::{Tables, Waits, stored, unobserved_since};
use crate::backend::{
    Answer, BuildFilter, Claim, Due, DueLimits, EventFilter, Page, Paging, Query, Result, Scope, Storage, Violation,
};
use crate::plan::Observation;
use crate::rebuild::{
    AttemptId, BuildId, BuildMode, BuildRecord, EventRecord, InboxRecord, InboxState, Neighbourhood, RowChange,
    Transition,
};
use crate::store::{AttemptFacts, BuildFacts, ConsistencyCheck, EventFacts, in_order, load, overview, page_limit};
use crate::time::{Timestamp, since};
use async_trait::async_trait;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A storage within the process: nothing survives its end.
///
/// It keeps the whole contract but that, and the same calls always give the same answers.
///
/// ```
/// use freshmaker::memory::MemoryStorage;
/// use freshmaker::backend::Storage;
///
/// let storage: Box<dyn Storage> = Box::new(MemoryStorage::new());
/// # drop(storage);
/// ```
#[derive(Debug, Default)]
pub struct MemoryStorage {
    tables: Mutex<Tables>,
}

impl MemoryStorage {
    /// An empty storage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        // No code panics while it holds the lock.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    async fn migrate(&self) -> Result<()> {
        Ok(())
    }

    async fn lease(&self, _name: &str, _at: Timestamp) -> Result<i64> {
        let mut tables = self.lock();
        tables.last_token += 1;
        Ok(tables.last_token)
    }

    async fn reserve(&self, count: u32) -> Result<i64> {
        let mut tables = self.lock();
        let first = tables.last_row + 1;
        tables.last_row += i64::from(count);
        Ok(first)
    }

    async fn claim(&self, wanted: &Claim) -> Result<Vec<InboxRecord>> {
        Ok(claim(&mut self.lock(), wanted))
    }

    async fn load(&self, scope: &Scope) -> Result<Neighbourhood> {
        load(&mut &*self.lock(), scope)
    }

    async fn transact(&self, changes: Vec<RowChange>) -> Result<()> {
        self.lock().write(in_order(changes))
    }

    async fn query(&self, query: &Query) -> Result<Answer> {
        let tables = self.lock();
        Ok(match query {
            Query::Due { at, limits } => Answer::Due(Box::new(due(&tables, stored(*at), *limits))),
            Query::Events(filter, paging) => Answer::Events(events(&tables, filter, *paging)),
            Query::Builds(filter, paging) => Answer::Builds(builds(&tables, filter, *paging)),
            Query::Attempts(build) => {
                let numbers = tables.attempts_of.range((*build, 0, AttemptId::new(""))..);
                let of_build = numbers.take_while(|(of, ..)| of == build);
                Answer::Attempts(of_build.filter_map(|(.., id)| tables.attempts.get(id).cloned()).collect())
            }
            Query::Transitions { aggregate, id } => Answer::Transitions(transitions(&tables, aggregate, id)),
            Query::DeadLetters(paging) => {
                let dead = in_state(&tables, InboxState::Dead).rev();
                Answer::DeadLetters(page(dead.filter_map(|number| tables.inbox.get(&number)), *paging))
            }
            Query::Plan(event) => Answer::Plan(tables.plans.get(event).cloned().map(Box::new)),
            Query::Durations { mode, limit } => Answer::Durations(durations(&tables, *mode, *limit)),
            Query::Notifications { limit } => {
                Answer::Notifications(tables.outbox.values().take(count(*limit)).cloned().collect())
            }
            Query::Overview => Answer::Overview(Box::new(overview(
                tables.inbox_tally.clone(),
                tables.event_tally.clone(),
                tables.build_tally.clone(),
                u64::try_from(tables.outbox.len()).unwrap_or(u64::MAX),
            ))),
            Query::Message { source, message_id } => {
                let number = tables.inbox_ids.get(&(source.clone(), message_id.clone()));
                Answer::Message(number.and_then(|number| tables.inbox.get(number)).cloned().map(Box::new))
            }
        })
    }

    async fn check_consistency(&self) -> Result<Vec<Violation>> {
        Ok(check_consistency(&self.lock()))
    }
}

fn claim(tables: &mut Tables, wanted: &Claim) -> Vec<InboxRecord> {
    let Claim { owner, ref holding, limit, at } = *wanted;
    let at = stored(at);
    let free = |number: &u64| tables.inbox.get(number).filter(|row| !holding.contains(&row.key()));
    let new = in_state(tables, InboxState::New)
        .filter(|number| free(number).is_some_and(|row| row.not_before.is_none_or(|not_before| not_before <= at)))
        .take(count(limit));
    let abandoned = in_state(tables, InboxState::Claimed)
        .filter(|number| free(number).is_some_and(|row| row.owner <= owner))
        .take(count(limit));
    let mut numbers: Vec<_> = new.chain(abandoned).collect();
    numbers.sort_unstable();
    numbers.truncate(count(limit));
    let mut claimed = Vec::with_capacity(numbers.len());
    for number in numbers {
        let Some(mut row) = tables.inbox.get(&number).cloned() else { continue };
        row.state = InboxState::Claimed;
        row.tries += 1;
        row.owner = owner;
        tables.put_inbox(number, Some(row.clone()));
        claimed.push(row);
    }
    claimed
}

fn in_state(tables: &Tables, state: InboxState) -> impl DoubleEndedIterator<Item = u64> + '_ {
    tables.inbox_states.range((state, 0)..=(state, u64::MAX)).map(|(_, number)| *number)
}

fn due(tables: &Tables, at: Timestamp, limits: DueLimits) -> Due {
    let has_come = |not_before: Option<Timestamp>| not_before.is_none_or(|not_before| not_before <= at);
    let of_line = |line: &'_ BTreeSet<(Reverse<i64>, BuildId)>| {
        let waiting = line.iter().filter_map(|(_, id)| tables.builds.get(id));
        waiting.filter(|build| has_come(build.not_before)).take(count(limits.ready)).collect::<Vec<_>>()
    };
    let mut ready: Vec<_> = tables.ready.values().flat_map(of_line).collect();
    ready.sort_by_key(|build| (Reverse(build.priority), build.id));
    let live = tables.live.iter().filter_map(|(_, id)| tables.attempts.get(id));
    let live = live.filter(|attempt| has_come(attempt.not_before)).take(count(limits.attempts));
    let counts = tables.live_tally.iter();
    let mut started: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for attempt in tables.live.iter().filter_map(|(_, id)| tables.attempts.get(id)) {
        let priority = tables.builds.get(&attempt.build).map(|build| build.priority);
        started.entry(attempt.system.clone()).or_default().extend(priority);
    }
    started.values_mut().for_each(|priorities| priorities.sort_unstable());
    Due {
        ready: ready.into_iter().cloned().collect(),
        attempts: live
            .filter_map(|attempt| Some((attempt.clone(), tables.builds.get(&attempt.build)?.clone())))
            .collect(),
        live: counts.map(|(system, count)| (system.clone(), u32::try_from(*count).unwrap_or(u32::MAX))).collect(),
        started,
        next: tables.not_before.range((at, Waits::Message(0))..).map(|(moment, _)| *moment).find(|moment| *moment > at),
    }
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
    Page { items, total }
}

fn count(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn check_consistency(tables: &Tables) -> Vec<Violation> {
    let mut audit = ConsistencyCheck::default();
    for (id, row) in &tables.events {
        let EventRecord { state, version, builds_open, builds_done, builds_failed, .. } = *row;
        audit.event(*id, EventFacts { state, version, builds_open, builds_done, builds_failed });
    }
    for (id, row) in &tables.builds {
        let facts =
            BuildFacts { state: row.state, version: row.version, pending: row.pending, done_at: row.done_at.is_some() };
        audit.build(*id, facts);
    }
    for (id, row) in &tables.attempts {
        audit.attempt(id.clone(), AttemptFacts { state: row.state, version: row.version, build: row.build });
    }
    for row in tables.dependencies.values() {
        audit.dependency(row.child, row.satisfied);
    }
    for row in tables.causes.values() {
        audit.cause(row.build, row.event, row.live);
    }
    for row in tables.transitions.values() {
        audit.transition((&row.aggregate, &row.id, row.version), row.from.as_deref(), &row.to);
    }
    audit.finish()
}

//! The questions of a storage, answered from the tables.

use super::storage::count;
use super::tables::{Tables, unobserved_since};
use crate::backend::{
    BuildCount, BuildFilter, BuildLinks, CausedCount, EventCount, EventFilter, Links, NeededBuild, Notifications, Page,
    Paging, Violation,
};
use crate::plan::Observation;
use crate::rebuild::{
    AttemptId, AttemptRecord, BuildId, BuildMode, BuildRecord, DependencyKind, EventId, EventRecord, InboxRecord,
    InboxState, RowKey, Transition, Version,
};
use crate::store::{AttemptFacts, BuildFacts, ConsistencyCheck, EventFacts, page_limit};
use crate::time::{Timestamp, since};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Whether a list of a filter has the value, or does not restrict.
fn in_list<T: PartialEq>(list: &[T], value: &T) -> bool {
    list.is_empty() || list.contains(value)
}

fn in_span(moment: Timestamp, from: Option<Timestamp>, until: Option<Timestamp>) -> bool {
    from.is_none_or(|from| moment >= from) && until.is_none_or(|until| moment < until)
}

fn is_event(event: &EventRecord, filter: &EventFilter) -> bool {
    let requester = event.envelope.requester.as_ref();
    in_list(&filter.states, &event.state)
        && in_list(&filter.ids, &event.id)
        && in_list(&filter.kinds, &event.envelope.kind)
        && in_list(&filter.search_keys, &event.envelope.search_key)
        && in_list(&filter.message_ids, &event.message_id)
        && (filter.requesters.is_empty() || requester.is_some_and(|name| filter.requesters.contains(name)))
        && in_list(&filter.reason_codes, &event.reason.code)
        && in_span(event.created_at, filter.created_from, filter.created_until)
}

/// Whether the build fits what the filter says about the build itself.
fn is_build(build: &BuildRecord, filter: &BuildFilter) -> bool {
    let artifact = &build.key.artifact;
    let output = build.output.as_ref();
    in_list(&filter.states, &build.state)
        && in_list(&filter.ids, &build.id)
        && in_list(&filter.artifacts, artifact)
        && (filter.names.is_empty() || filter.names.iter().any(|name| artifact.is_called(name)))
        && in_list(&filter.kinds, &build.kind)
        && in_list(&filter.systems, &build.key.system)
        && in_list(&filter.reason_codes, &build.reason.code)
        && (filter.outputs.is_empty() || output.is_some_and(|output| filter.outputs.contains(&output.name)))
        && in_span(build.created_at, filter.created_from, filter.created_until)
}

/// Whether the build fits what the filter says about rows beside it, but for the events that want
/// it.
fn is_beside(tables: &Tables, id: BuildId, filter: &BuildFilter) -> bool {
    let causes =
        || tables.causes.range((id, EventId(i64::MIN))..=(id, EventId(i64::MAX))).map(|((_, event), _)| *event);
    let events = || causes().filter_map(|event| tables.events.get(&event));
    let externals = || attempts_of(tables, id).filter_map(|attempt| attempt.external.clone());
    (filter.event_kinds.is_empty() || events().any(|event| filter.event_kinds.contains(&event.envelope.kind)))
        && (filter.search_keys.is_empty()
            || events().any(|event| filter.search_keys.contains(&event.envelope.search_key)))
        && (filter.externals.is_empty() || externals().any(|external| filter.externals.contains(&external)))
        && (filter.parents.is_empty()
            || filter.parents.iter().any(|parent| tables.dependencies.contains_key(&(*parent, id))))
}

pub(super) fn events(tables: &Tables, filter: &EventFilter, paging: Paging) -> Page<EventRecord> {
    let (from, to) = numbers(paging);
    let rows = tables.events.range(EventId(from)..=EventId(to)).map(|(_, event)| event);
    page(rows.filter(|event| is_event(event, filter)).map(|event| (event.id.0, event)), paging)
}

/// The numbers that rows of a part of a list can have. To count them, all are needed.
fn numbers(paging: Paging) -> (i64, i64) {
    match paging.behind {
        None => EVERY,
        Some(_) if paging.counted => EVERY,
        Some(behind) if paging.oldest_first => (behind, i64::MAX),
        Some(behind) => (i64::MIN, behind),
    }
}

const EVERY: (i64, i64) = (i64::MIN, i64::MAX);

/// The builds of a filter with numbers within these.
fn found<'a>(
    tables: &'a Tables,
    filter: &'a BuildFilter,
    (from, to): (i64, i64),
) -> impl DoubleEndedIterator<Item = &'a BuildRecord> {
    // The builds of a few events are found without a look at all others.
    let of_events = |event: &EventId| tables.caused.range((*event, BuildId(from))..=(*event, BuildId(to)));
    let caused: BTreeSet<_> = filter.events.iter().flat_map(of_events).map(|(_, build)| *build).collect();
    let all = tables.builds.range(BuildId(from)..=BuildId(to)).map(|(_, build)| build);
    let all = all.filter(|_| filter.events.is_empty());
    let rows = all.chain(caused.into_iter().filter_map(|id| tables.builds.get(&id)));
    rows.filter(|build| is_build(build, filter) && is_beside(tables, build.id, filter))
}

pub(super) fn builds(tables: &Tables, filter: &BuildFilter, paging: Paging) -> Page<BuildRecord> {
    page(found(tables, filter, numbers(paging)).map(|build| (build.id.0, build)), paging)
}

pub(super) fn messages(tables: &Tables, states: &[InboxState], paging: Paging) -> Page<InboxRecord> {
    let of_state =
        |state: &InboxState| tables.inbox_states.range((*state, 0)..=(*state, u64::MAX)).map(|(_, number)| *number);
    let numbers: BTreeSet<_> = states.iter().flat_map(of_state).collect();
    let row = |number: u64| Some((i64::try_from(number).unwrap_or(i64::MAX), tables.inbox.get(&number)?));
    page(numbers.into_iter().filter_map(row), paging)
}

pub(super) fn count_events(tables: &Tables, filter: &EventFilter) -> Vec<EventCount> {
    let mut counts = BTreeMap::new();
    for event in tables.events.values().filter(|event| is_event(event, filter)) {
        let key = (event.envelope.kind.clone(), event.state, event.reason.code.clone());
        *counts.entry(key).or_insert(0) += 1;
    }
    let rows = counts.into_iter();
    rows.map(|((kind, state, reason_code), count)| EventCount { kind, state, reason_code, count }).collect()
}

pub(super) fn count_builds(tables: &Tables, filter: &BuildFilter) -> Vec<BuildCount> {
    let mut counts = BTreeMap::new();
    for build in found(tables, filter, EVERY) {
        let key = (build.key.system.clone(), build.state, build.reason.code.clone());
        *counts.entry(key).or_insert(0) += 1;
    }
    let rows = counts.into_iter();
    rows.map(|((system, state, reason_code), count)| BuildCount { system, state, reason_code, count }).collect()
}

fn count_caused(tables: &Tables, event: EventId) -> Vec<CausedCount> {
    let mut counts = BTreeMap::new();
    for (_, build) in tables.caused.range((event, BuildId(i64::MIN))..=(event, BuildId(i64::MAX))) {
        let Some(build) = tables.builds.get(build) else { continue };
        let live = tables.causes.get(&(build.id, event)).is_some_and(|cause| cause.live);
        *counts.entry((build.kind, build.state, live)).or_insert(0) += 1;
    }
    let count = |((kind, state, live), count)| CausedCount { kind, state, live, count };
    counts.into_iter().map(count).collect()
}

pub(super) fn events_with_counts(
    tables: &Tables,
    filter: &EventFilter,
    paging: Paging,
) -> Page<(EventRecord, Vec<CausedCount>)> {
    events(tables, filter, paging).map(|event| {
        let caused = count_caused(tables, event.id);
        (event, caused)
    })
}

pub(super) fn builds_with_links(
    tables: &Tables,
    filter: &BuildFilter,
    paging: Paging,
) -> Page<(BuildRecord, BuildLinks)> {
    builds(tables, filter, paging).map(|build| {
        let links = links_of(tables, build.id);
        (build, links)
    })
}

fn links_of(tables: &Tables, id: BuildId) -> BuildLinks {
    let causes = tables.causes.range((id, EventId(i64::MIN))..=(id, EventId(i64::MAX))).map(|(_, cause)| cause);
    let (live, withdrawn): (Vec<_>, Vec<_>) = causes.partition(|cause| cause.live);
    let parents = tables.parents.range((id, BuildId(i64::MIN))..=(id, BuildId(i64::MAX)));
    let edges = parents.filter_map(|(child, parent)| tables.dependencies.get(&(*parent, *child)));
    let needed = edges.filter(|edge| edge.kind == DependencyKind::Needs);
    let needed = needed.filter_map(|edge| tables.builds.get(&edge.parent)).map(NeededBuild::of);
    BuildLinks {
        wanted_by: live.into_iter().map(|cause| cause.event).collect(),
        withdrawn_by: withdrawn.into_iter().map(|cause| cause.event).collect(),
        needs: needed.map(Arc::new).collect(),
        external: attempts_of(tables, id).filter_map(|attempt| attempt.external.clone()).last(),
    }
}

pub(super) fn links(tables: &Tables, builds: &[BuildId]) -> Links {
    let mut links = Links::default();
    let mut edges = BTreeSet::new();
    for id in builds.iter().collect::<BTreeSet<_>>() {
        let causes = tables.causes.range((*id, EventId(i64::MIN))..=(*id, EventId(i64::MAX)));
        links.causes.extend(causes.map(|(_, cause)| cause.clone()));
        let children = tables.dependencies.range((*id, BuildId(i64::MIN))..=(*id, BuildId(i64::MAX)));
        edges.extend(children.map(|((parent, child), _)| (*child, *parent)));
        edges.extend(tables.parents.range((*id, BuildId(i64::MIN))..=(*id, BuildId(i64::MAX))));
    }
    let rows = edges.into_iter().filter_map(|(child, parent)| tables.dependencies.get(&(parent, child)));
    links.dependencies.extend(rows.cloned());
    links
}

fn attempts_of(tables: &Tables, build: BuildId) -> impl Iterator<Item = &AttemptRecord> {
    let numbers = tables.attempts_of.range((build, 0, AttemptId::new(""))..);
    numbers.take_while(move |(of, ..)| *of == build).filter_map(|(.., id)| tables.attempts.get(id))
}

pub(super) fn attempts(tables: &Tables, builds: &[BuildId]) -> Vec<AttemptRecord> {
    let builds: BTreeSet<_> = builds.iter().collect();
    builds.into_iter().flat_map(|build| attempts_of(tables, *build)).cloned().collect()
}

pub(super) fn notifications(tables: &Tables, partition: Option<u16>, after: i64, limit: u32) -> Notifications {
    let partitions = partition.map_or(0..tables.partitions, |one| one..one.saturating_add(1));
    let behind = |of: u16| {
        let rows = tables.outbox.range((of, after.saturating_add(1))..=(of, i64::MAX)).take(count(limit));
        rows.map(|((_, at), row)| (*at, row))
    };
    // Positions are given over all partitions, so that those of several can be put together.
    let rows: BTreeMap<_, _> = partitions.flat_map(behind).collect();
    let items: Vec<_> = rows.into_iter().take(count(limit)).map(|(at, row)| (at, row.clone())).collect();
    let end = items.last().map_or(after, |(at, _)| *at);
    Notifications { items, end, unreadable: Vec::new() }
}

pub(super) fn durations(tables: &Tables, mode: BuildMode, limit: u32) -> Vec<Observation> {
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

pub(super) fn transitions(tables: &Tables, of: &RowKey) -> Vec<Transition> {
    let rows = tables.transitions.range((of.clone(), 0)..=(of.clone(), Version::MAX));
    rows.map(|(_, row)| row.clone()).collect()
}

/// A page of these rows, which come with their numbers, the lowest first.
fn page<'a, T: Clone + 'a>(rows: impl DoubleEndedIterator<Item = (i64, &'a T)>, paging: Paging) -> Page<T> {
    if paging.oldest_first { cut(rows, paging) } else { cut(rows.rev(), paging) }
}

fn cut<'a, T: Clone + 'a>(rows: impl Iterator<Item = (i64, &'a T)>, paging: Paging) -> Page<T> {
    let is_behind = |number: i64| {
        paging.behind.is_none_or(|behind| if paging.oldest_first { number > behind } else { number < behind })
    };
    let (mut items, mut last, mut next) = (Vec::new(), None, None);
    let (mut total, mut passed) = (0, 0);
    for (number, row) in rows {
        total += 1;
        if !is_behind(number) || next.is_some() {
            continue;
        }
        if passed < paging.offset {
            passed += 1;
        } else if items.len() < count(page_limit(paging)) {
            items.push(row.clone());
            last = Some(number);
        } else {
            next = last;
            if !paging.counted {
                break;
            }
        }
    }
    Page { items, next, total: paging.counted.then_some(total), unreadable: Vec::new() }
}

pub(super) fn check_consistency(tables: &Tables) -> Vec<Violation> {
    let mut check = ConsistencyCheck::default();
    for (id, row) in &tables.events {
        let EventRecord { state, version, builds_open, builds_done, builds_failed, .. } = *row;
        check.event(*id, EventFacts { state, version, builds_open, builds_done, builds_failed });
    }
    for (id, row) in &tables.builds {
        let BuildRecord { state, version, pending, done_at, cancel_at, .. } = row;
        let (done_at, canceled) = (done_at.is_some(), cancel_at.is_some());
        check.build(*id, BuildFacts { state: *state, version: *version, pending: *pending, done_at, canceled });
    }
    for (id, row) in &tables.attempts {
        check.attempt(id.clone(), AttemptFacts { state: row.state, version: row.version, build: row.build });
    }
    for row in tables.dependencies.values() {
        check.dependency(row.child, row.parent, row.satisfied);
    }
    for row in tables.causes.values() {
        check.cause(row.build, row.event, row.live);
    }
    for row in tables.transitions.values() {
        check.transition(row.of.clone(), row.version, row.from.as_deref(), &row.to);
    }
    check.finish()
}

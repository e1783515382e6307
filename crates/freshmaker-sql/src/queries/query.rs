//! Questions about rows of one sort: attempts, history, messages, notifications, what is due,
//! counts, plans, and the consistency check. Lists by filters are in `lists`.

use super::dialect::{self, Now, among};
use super::prepared::at_most;
use super::rows::{
    AttemptRow, BuildRow, CauseRow, DependencyRow, EventRow, InboxRow, NotificationRow, Place, TransitionRow,
    inbox_number, inbox_state, mode_number, moment,
};
use super::schema::{
    attempts, build_causes, build_deps, builds, events, inbox, notifications, partitions, plans, positions, runs,
    tallies, transitions,
};
use super::text::StoredText;
use super::write::number;
use super::{Connection, failed};
use diesel::dsl::{max, min};
use diesel::{BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl, SelectableHelper};
use freshmaker::artifact::ArtifactKind;
use freshmaker::backend::{Due, DueLimits, Notifications, Outbox, Overview, Partition, Result, Violation};
use freshmaker::plan::{Observation, Plan};
use freshmaker::rebuild::{
    AttemptRecord, AttemptState, BuildId, BuildMode, BuildRecord, BuildState, EventId, EventRecord, EventState,
    InboxRecord, InboxState, RowKey, RunId, Transition,
};
use freshmaker::store::{AttemptFacts, BuildFacts, ConsistencyCheck, EventFacts, overview};
use freshmaker::time::{later, to_micros};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) fn attempts_of(connection: &mut Connection, builds: &[BuildId]) -> Result<Vec<AttemptRecord>> {
    let of_builds = attempts::table.filter(among(attempts::build, builds)?);
    let rows = of_builds.order((attempts::build, attempts::number, attempts::id)).select(AttemptRow::as_select());
    rows.load(connection).map_err(failed)?.into_iter().map(AttemptRow::record).collect()
}

pub(super) fn history(connection: &mut Connection, of: &RowKey) -> Result<Vec<Transition>> {
    let of_one = transitions::aggregate.eq(of.aggregate()).and(transitions::id.eq(of.id()));
    let of_one = transitions::table.filter(of_one);
    let rows = of_one.order(transitions::version).select(TransitionRow::as_select());
    rows.load(connection).map_err(failed)?.into_iter().map(TransitionRow::record).collect()
}

pub(super) fn message(connection: &mut Connection, source: &str, id: &str) -> Result<Option<InboxRecord>> {
    let row = inbox::table.filter(inbox::source.eq(source).and(inbox::message_id.eq(id)));
    let row = row.select(InboxRow::as_select()).get_result(connection).optional().map_err(failed)?;
    row.map(InboxRow::letter).transpose()
}

pub(super) fn behind(
    connection: &mut Connection,
    partition: Option<u16>,
    (after, settled): (i64, i64),
    limit: u32,
) -> Result<Notifications> {
    let rows = notifications::table
        .filter(notifications::position.gt(after).and(notifications::position.le(settled)))
        .order(notifications::position)
        .select((notifications::position, NotificationRow::as_select()));
    let rows: Vec<(i64, NotificationRow)> = match partition {
        Some(one) => at_most(rows.filter(notifications::partition.eq(number(one))), limit).load(connection),
        None => at_most(rows, limit).load(connection),
    }
    .map_err(failed)?;
    let mut found = Notifications { end: after, ..Notifications::default() };
    for (position, row) in rows {
        found.end = position;
        let row = readable(row.record(), &mut found.unreadable);
        found.items.extend(row.map(|row| (position, row)));
    }
    Ok(found)
}

pub(super) fn outbox(connection: &mut Connection, settled: i64) -> Result<Outbox> {
    let rows = partitions::table.order(partitions::partition).select((partitions::partition, partitions::trimmed));
    let mut found = Vec::new();
    for (partition, trimmed) in rows.load::<(i16, i64)>(connection).map_err(failed)? {
        let last = notifications::partition.eq(partition).and(notifications::position.le(settled));
        let last = notifications::table.filter(last);
        let last = last.select(max(notifications::position)).get_result::<Option<i64>>(connection).map_err(failed)?;
        let buses = positions::table.filter(positions::partition.eq(partition));
        let buses = buses.select((positions::bus, positions::position)).load::<(String, i64)>(connection);
        let buses = buses.map_err(failed)?.into_iter().collect();
        found.push(Partition { trimmed, last: last.unwrap_or(trimmed), buses });
    }
    Ok(Outbox { partitions: found })
}

/// Notifications that the slowest bus has not got, or all, if there is no bus yet.
fn unpublished(connection: &mut Connection) -> Result<u64> {
    let mut waiting = 0;
    for (partition, number) in outbox(connection, i64::MAX)?.partitions.into_iter().zip(0_i16..) {
        let got = partition.buses.values().min().copied().unwrap_or_default();
        if got >= partition.last {
            continue;
        }
        let behind = notifications::partition.eq(number).and(notifications::position.gt(got));
        let count = notifications::table.filter(behind).count().get_result::<i64>(connection).map_err(failed)?;
        waiting += u64::try_from(count).unwrap_or(0);
    }
    Ok(waiting)
}

/// The record of a row, or `None` and a note of why it cannot be read.
pub(super) fn readable<T>(record: Result<T>, unreadable: &mut Vec<Violation>) -> Option<T> {
    record.map_err(|error| unreadable.push(Violation { rule: "unreadable".to_owned(), text: error.to_string() })).ok()
}

pub(super) fn due(connection: &mut Connection, run: RunId, limits: DueLimits, now: Now) -> Result<Due> {
    let now = dialect::moment(connection, now)?;
    let micros = to_micros(now);
    let mut unreadable = Vec::new();
    let latest = to_micros(later(now, limits.pause_max));
    let ready = match limits.ready {
        0 => Vec::new(),
        most => ready(connection, (micros, latest), most, &mut unreadable)?,
    };
    let live = attempts::table
        .inner_join(builds::table)
        .filter(attempts::live.eq(true))
        .filter(attempts::run.eq(run.0).or(attempts::run.ne_all(runs::table.select(runs::run))))
        .filter(attempts::not_before.is_null().or(attempts::not_before.le(micros)).or(attempts::not_before.gt(latest)))
        .order((attempts::unobserved_since, attempts::id))
        .select((AttemptRow::as_select(), BuildRow::as_select()));
    let pairs = match limits.attempts {
        0 => Vec::new(),
        most => at_most(live, most).load::<(AttemptRow, BuildRow)>(connection).map_err(failed)?,
    };
    let mut started: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let priorities = attempts::table.inner_join(builds::table).filter(attempts::live.eq(true));
    let priorities = priorities.select((attempts::system, builds::priority));
    for (system, priority) in priorities.load::<(StoredText, i64)>(connection).map_err(failed)? {
        // The attempt itself is reported.
        let Ok(system) = system.into_string() else { continue };
        started.entry(system).or_default().push(priority);
    }
    started.values_mut().for_each(|priorities| priorities.sort_unstable());
    let mut attempts = Vec::with_capacity(pairs.len());
    for (attempt, build) in pairs {
        let pair = attempt.record().and_then(|attempt| Ok((attempt, build.record()?)));
        attempts.extend(readable(pair, &mut unreadable));
    }
    let count = |priorities: &Vec<i64>| u32::try_from(priorities.len()).unwrap_or(u32::MAX);
    Ok(Due {
        now,
        ready,
        attempts,
        live: started.iter().map(|(system, priorities)| (system.clone(), count(priorities))).collect(),
        started,
        next: moment(next_due(connection, micros)?),
        unreadable,
    })
}

/// Reads the head of each build system's queue, without builds that wait for a moment between these
/// two.
fn ready(
    connection: &mut Connection,
    (at, latest): (i64, i64),
    limit: u32,
    unreadable: &mut Vec<Violation>,
) -> Result<Vec<BuildRecord>> {
    let is_ready = builds::state.eq(BuildState::Ready.number());
    let mut ready: Vec<BuildRecord> = Vec::new();
    let mut last = None;
    loop {
        // One step in the index for each system, however long its queue is.
        let next = builds::table.filter(is_ready).select(min(builds::system)).into_boxed();
        let next = if let Some(last) = &last { next.filter(builds::system.gt(last)) } else { next };
        let Some(system) = next.get_result::<Option<StoredText>>(connection).map_err(failed)? else { break };
        // What is behind a name that cannot be read cannot be asked for.
        let place = Place { table: "builds of system", id: &system.clone() };
        let Some(system) = readable(place.text("system", system), unreadable) else { break };
        let line = builds::table
            .filter(is_ready.and(builds::system.eq(&system)))
            .filter(builds::not_before.is_null().or(builds::not_before.le(at)).or(builds::not_before.gt(latest)))
            .order((builds::priority.desc(), builds::id))
            .select(BuildRow::as_select());
        for row in at_most(line, limit).load::<BuildRow>(connection).map_err(failed)? {
            ready.extend(readable(row.record(), unreadable));
        }
        last = Some(system);
    }
    ready.sort_by_key(|build| (Reverse(build.priority), build.id));
    Ok(ready)
}

pub(super) fn durations(connection: &mut Connection, mode: BuildMode, limit: u32) -> Result<Vec<Observation>> {
    let succeeded = attempts::state.eq(AttemptState::Succeeded.number());
    let rows = attempts::table
        .inner_join(builds::table)
        .filter(attempts::live.eq(false).and(succeeded).and(builds::mode.eq(mode_number(mode))))
        .order((attempts::unobserved_since.desc(), attempts::id.desc()))
        .select((builds::artifact, builds::kind, attempts::intent_at, attempts::unobserved_since));
    let rows = at_most(rows, limit).load::<(StoredText, i16, i64, i64)>(connection).map_err(failed)?;
    // A row that cannot be read is no observation.
    let observation = |(artifact, kind, from, to): (StoredText, i16, i64, i64)| {
        let (artifact, kind) = (artifact.into_string().ok()?, ArtifactKind::from_number(kind)?);
        let duration = Duration::from_micros(u64::try_from(to.saturating_sub(from)).unwrap_or(0));
        Some(Observation { artifact: artifact.into(), kind, duration })
    };
    Ok(rows.into_iter().filter_map(observation).collect())
}

pub(super) fn count_all(connection: &mut Connection) -> Result<Overview> {
    let tallies = tallies::table.select((tallies::subject, tallies::state, tallies::amount));
    let mut sums = BTreeMap::new();
    for (subject, state, amount) in tallies.load::<(String, i16, i64)>(connection).map_err(failed)? {
        *sums.entry((subject, state)).or_insert(0_i64) += amount;
    }
    let (mut messages, mut events, mut builds) = (Vec::new(), Vec::new(), Vec::new());
    for ((subject, state), amount) in sums {
        let amount = u64::try_from(amount).unwrap_or(0);
        // A row in an unknown state is unreadable: it is reported where rows are read.
        match subject.as_str() {
            "inbox" => messages.extend(inbox_state(state).map(|state| (state, amount))),
            "events" => events.extend(EventState::from_number(state).map(|state| (state, amount))),
            _ => builds.extend(BuildState::from_number(state).map(|state| (state, amount))),
        }
    }
    Ok(overview(messages, events, builds, unpublished(connection)?))
}

fn next_due(connection: &mut Connection, at: i64) -> Result<Option<i64>> {
    let ready = builds::table
        .filter(builds::state.eq(BuildState::Ready.number()).and(builds::not_before.gt(at)))
        .select(min(builds::not_before));
    let live = attempts::table
        .filter(attempts::live.eq(true).and(attempts::not_before.gt(at)))
        .select(min(attempts::not_before));
    let new = inbox::table
        .filter(inbox::state.eq(inbox_number(InboxState::New)).and(inbox::not_before.gt(at)))
        .select(min(inbox::not_before));
    let moments: [Option<i64>; 3] = [
        ready.get_result(connection).map_err(failed)?,
        live.get_result(connection).map_err(failed)?,
        new.get_result(connection).map_err(failed)?,
    ];
    Ok(moments.into_iter().flatten().min())
}

pub(super) fn plan(connection: &mut Connection, event: EventId) -> Result<Option<Plan>> {
    let body = plans::table.find(event.0).select(plans::body).get_result::<StoredText>(connection);
    let body = body.optional().map_err(failed)?;
    body.map(|body| Place { table: "plans", id: &event }.json("body", &body)).transpose()
}

pub(super) fn check_consistency(connection: &mut Connection) -> Result<Vec<Violation>> {
    let (mut check, mut unreadable) = (ConsistencyCheck::default(), Vec::new());
    check_rows(connection, &mut check, &mut unreadable)?;
    let edges = build_deps::table.select(DependencyRow::as_select());
    for row in edges.load_iter::<DependencyRow, _>(connection).map_err(failed)? {
        let row = row.map_err(failed)?;
        let (parent, child) = row.key();
        check.dependency(BuildId(child), BuildId(parent), row.satisfied);
        readable(row.record(), &mut unreadable);
    }
    let causes = build_causes::table.select(CauseRow::as_select());
    for row in causes.load_iter::<CauseRow, _>(connection).map_err(failed)? {
        let row = row.map_err(failed)?;
        let (build, event) = row.key();
        check.cause(BuildId(build), EventId(event), row.live);
        readable(row.record(), &mut unreadable);
    }
    let history = transitions::table
        .order((transitions::aggregate, transitions::id, transitions::version))
        .select(TransitionRow::as_select());
    for row in history.load_iter::<TransitionRow, _>(connection).map_err(failed)? {
        if let Some(row) = readable(row.map_err(failed)?.record(), &mut unreadable) {
            check.transition(row.of, row.version, row.from.as_deref(), &row.to);
        }
    }
    // First, because much of the rest follows from what cannot be read.
    unreadable.extend(check.finish());
    Ok(unreadable)
}

fn check_rows(
    connection: &mut Connection,
    check: &mut ConsistencyCheck,
    unreadable: &mut Vec<Violation>,
) -> Result<()> {
    let rows = events::table.select(EventRow::as_select());
    for row in rows.load_iter::<EventRow, _>(connection).map_err(failed)? {
        let row = row.map_err(failed)?;
        let Some(row) = checked((row.key(), row.record()), check, unreadable) else { continue };
        let EventRecord { id, state, version, builds_open, builds_done, builds_failed, .. } = row;
        check.event(id, EventFacts { state, version, builds_open, builds_done, builds_failed });
    }
    let rows = builds::table.select(BuildRow::as_select());
    for row in rows.load_iter::<BuildRow, _>(connection).map_err(failed)? {
        let row = row.map_err(failed)?;
        let Some(row) = checked((row.key(), row.record()), check, unreadable) else { continue };
        let BuildRecord { id, state, version, pending, done_at, cancel_at, .. } = row;
        let (done_at, canceled) = (done_at.is_some(), cancel_at.is_some());
        check.build(id, BuildFacts { state, version, pending, done_at, canceled });
    }
    let rows = attempts::table.select(AttemptRow::as_select());
    for row in rows.load_iter::<AttemptRow, _>(connection).map_err(failed)? {
        let row = row.map_err(failed)?;
        let Some(row) = checked((row.key(), row.record()), check, unreadable) else { continue };
        check.attempt(row.id, AttemptFacts { state: row.state, version: row.version, build: row.build });
    }
    Ok(())
}

/// The record of a row; or `None`, and a note that the row is there and cannot be read.
fn checked<T>(
    (key, record): (RowKey, Result<T>),
    check: &mut ConsistencyCheck,
    unreadable: &mut Vec<Violation>,
) -> Option<T> {
    let record = readable(record, unreadable);
    if record.is_none() {
        check.unreadable(key);
    }
    record
}

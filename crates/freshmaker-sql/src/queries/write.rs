//! Writes: commits with all that they check, leases, claims of messages, reserved numbers.
//!
//! The order of the checks of a commit is that of `freshmaker::store`. What is locked meanwhile
//! differs between the databases and is in their `dialect`.

use super::dialect::{self, Now, immediately};
use super::prepared::Update;
use super::progress::{AttemptProgress, BuildProgress, InboxProgress, LetterChange};
use super::rows::{
    AttemptRow, BuildRow, CauseRow, DependencyRow, EventRow, InboxRow, NotificationRow, TransitionRow, inbox_number,
    json,
};
use super::schema::{
    attempts, build_causes, build_deps, builds, events, inbox, notifications, partitions, plans, positions, runs,
    sequences, transitions,
};
use super::{CHUNK, Connection, PARTITIONS, failed};
use diesel::dsl::exists;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::upsert::excluded;
use diesel::{
    AsChangeset, BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl, SelectableHelper,
    select,
};
use freshmaker::backend::{Claim, Error, Lease, Result};
use freshmaker::rebuild::{
    AttemptRecord, BuildRecord, Commit, Dependency, EventRecord, InboxRecord, InboxState, MessageKey, Position,
    RowChange, RowKey, RunId, Version,
};
use freshmaker::store::{LEASE_TTL, conflict, fenced, full, in_order, missing, share};
use freshmaker::time::{later, to_micros};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Writes the whole commit, or nothing of it.
pub(super) fn commit(connection: &mut Connection, commit: Commit) -> Result<()> {
    immediately(connection, |connection| {
        let Commit { run, edges, unchanged, mut at_most, changes } = commit;
        if let Some(run) = run {
            must_live(connection, run)?;
        }
        if let Some(expected) = edges {
            let adds = adds_dependency(connection, &changes)?;
            count_edges(connection, expected, adds)?;
        }
        let changes = in_order(changes);
        dialect::lock_rows(connection, &unchanged, &changes)?;
        for (key, version) in unchanged {
            must_have_version(connection, &key, version)?;
        }
        let guard = Guard { run, edges: edges.is_some() };
        let mut new = NewRows::default();
        let mut progress = Progress::default();
        for change in changes {
            if !progress.takes(&change) {
                progress.write(connection)?;
            }
            write_one(connection, change, guard, (&mut progress, &mut new))?;
        }
        progress.write(connection)?;
        new.insert(connection)?;
        // In one order, since each locks the attempts of its system.
        at_most.sort();
        at_most.into_iter().try_for_each(|(system, limit)| must_fit(connection, &system, limit))
    })
}

/// The most rows that one statement inserts, with at most 32 values each.
const ROWS: usize = 100;

/// The parts of a commit that the check of a single change needs.
#[derive(Clone, Copy)]
struct Guard {
    run: Option<RunId>,
    /// Whether the count of edges was compared.
    edges: bool,
}

pub(super) fn must_live(connection: &mut Connection, run: RunId) -> Result<()> {
    dialect::lock_run(connection, run)?.then_some(()).ok_or_else(|| fenced(run))
}

const EDGES: &str = "edges";

pub(super) fn edges(connection: &mut Connection) -> Result<u64> {
    let stored = sequences::table.find(EDGES).select(sequences::last).get_result::<i64>(connection);
    Ok(u64::try_from(stored.optional().map_err(failed)?.unwrap_or(0)).unwrap_or(0))
}

fn count_edges(connection: &mut Connection, expected: u64, adds: bool) -> Result<()> {
    let found = u64::try_from(dialect::locked(connection, EDGES, adds)?).unwrap_or(0);
    if found != expected {
        return Err(conflict(format!("dependencies were added: there are {found}, not {expected}")));
    }
    if adds {
        let next = sequences::last.eq(i64::try_from(found + 1).unwrap_or(i64::MAX));
        let insert = diesel::insert_into(sequences::table).values((sequences::name.eq(EDGES), next));
        insert.on_conflict(sequences::name).do_update().set(next).execute(connection).map_err(failed)?;
    }
    Ok(())
}

fn adds_dependency(connection: &mut Connection, changes: &[RowChange]) -> Result<bool> {
    for change in changes {
        if let RowChange::Dependency(edge) = change
            && is_new(connection, edge)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the dependency is not satisfied, and is not there yet.
fn is_new(connection: &mut Connection, edge: &Dependency) -> Result<bool> {
    if edge.satisfied {
        return Ok(false);
    }
    let known = select(exists(build_deps::table.find((edge.parent.0, edge.child.0))));
    known.get_result::<bool>(connection).map(|known| !known).map_err(failed)
}

fn must_have_version(connection: &mut Connection, key: &RowKey, expected: Version) -> Result<()> {
    let (what, id, found) = match key {
        RowKey::Event(id) => {
            let row = events::table.find(id.0).select(events::version).get_result::<i64>(connection);
            ("event", id.to_string(), row)
        }
        RowKey::Build(id) => {
            let row = builds::table.find(id.0).select(builds::version).get_result::<i64>(connection);
            ("build", id.to_string(), row)
        }
        RowKey::Attempt(id) => {
            let row = attempts::table.find(id.as_str()).select(attempts::version).get_result::<i64>(connection);
            ("attempt", id.to_string(), row)
        }
    };
    let found = found.optional().map_err(failed)?;
    must_be_one(usize::from(found == Some(expected.into())), what, id, expected)
}

fn must_fit(connection: &mut Connection, system: &str, limit: u32) -> Result<()> {
    dialect::lock_slots(connection, system)?;
    let live = attempts::table.filter(attempts::live.eq(true).and(attempts::system.eq(system))).count();
    let live = live.get_result::<i64>(connection).map_err(failed)?;
    if live > i64::from(limit) { Err(full(system, limit)) } else { Ok(()) }
}

/// Builds that make progress, one after the other in a commit: they are changed together.
#[derive(Default)]
struct Progress(Vec<(Box<BuildRecord>, Version)>);

impl Progress {
    /// Returns whether a change can be written together with the collected ones. A build that ends
    /// frees its slot (current or next), so builds that take a slot come after it.
    fn takes(&self, change: &RowChange) -> bool {
        let RowChange::Build { record, expected: Some(_), replanned: false } = change else { return false };
        let other =
            |build: &BuildRecord| build.id != record.id && build.state.is_terminal() == record.state.is_terminal();
        self.0.len() < ROWS && self.0.iter().all(|(build, _)| other(build))
    }

    fn write(&mut self, connection: &mut Connection) -> Result<()> {
        let builds = std::mem::take(&mut self.0);
        if builds.is_empty() {
            return Ok(());
        }
        let row = |(build, expected): &(Box<BuildRecord>, Version)| {
            Ok((build.id.0, i64::from(*expected), BuildProgress::of(build)?))
        };
        let rows = builds.iter().map(row).collect::<Result<_>>()?;
        if dialect::update_builds(connection, rows).map_err(failed)? == builds.len() {
            return Ok(());
        }
        for (build, expected) in &builds {
            let found = builds::table.find(build.id.0).select(builds::version).get_result::<i64>(connection);
            let changed = found.optional().map_err(failed)? == Some(build.version.into());
            must_be_one(usize::from(changed), "build", build.id, *expected)?;
        }
        Err(conflict("a build has been changed by another one meanwhile"))
    }
}

/// Rows that are added after everything else of a commit has been written, those of a table
/// together.
#[derive(Default)]
struct NewRows {
    builds: Vec<BuildRow>,
    attempts: Vec<AttemptRow>,
    /// By key: each row is written once, with its last values, and rows are locked in one order.
    dependencies: BTreeMap<(i64, i64), DependencyRow>,
    causes: BTreeMap<(i64, i64), CauseRow>,
    transitions: Vec<TransitionRow>,
    notifications: Vec<NotificationRow>,
}

/// Inserts rows, a statement for each piece. One row alone is what transitions mostly have, and a
/// database prepares its statement once.
macro_rules! insert_all {
    ($connection:ident, $table:expr, $rows:expr) => {
        for rows in $rows.chunks(ROWS) {
            insert(match rows {
                [row] => diesel::insert_into($table).values(row).execute($connection),
                rows => diesel::insert_into($table).values(rows).execute($connection),
            })?;
        }
    };
}

impl NewRows {
    /// Tables that are referred to come first.
    fn insert(self, connection: &mut Connection) -> Result<()> {
        let dependencies: Vec<_> = self.dependencies.into_values().collect();
        let causes: Vec<_> = self.causes.into_values().collect();
        insert_all!(connection, builds::table, self.builds);
        insert_all!(connection, attempts::table, self.attempts);
        for rows in dependencies.chunks(ROWS) {
            let changed = (
                build_deps::kind.eq(excluded(build_deps::kind)),
                build_deps::satisfied.eq(excluded(build_deps::satisfied)),
            );
            let upsert = diesel::insert_into(build_deps::table).values(rows);
            let upsert = upsert.on_conflict((build_deps::parent, build_deps::child)).do_update().set(changed);
            insert(upsert.execute(connection))?;
        }
        for rows in causes.chunks(ROWS) {
            let changed = (
                build_causes::because.eq(excluded(build_causes::because)),
                build_causes::live.eq(excluded(build_causes::live)),
            );
            let upsert = diesel::insert_into(build_causes::table).values(rows);
            let upsert = upsert.on_conflict((build_causes::build, build_causes::event)).do_update().set(changed);
            insert(upsert.execute(connection))?;
        }
        insert_all!(connection, transitions::table, self.transitions);
        if !self.notifications.is_empty() {
            dialect::lock_positions(connection)?;
        }
        insert_all!(connection, notifications::table, self.notifications);
        Ok(())
    }
}

fn write_one(
    connection: &mut Connection,
    change: RowChange,
    guard: Guard,
    (progress, new): (&mut Progress, &mut NewRows),
) -> Result<()> {
    match change {
        RowChange::Receive(record) => {
            let row = InboxRow::of(&record)?;
            let insert = diesel::insert_into(inbox::table).values(row);
            insert.on_conflict((inbox::source, inbox::message_id)).do_nothing().execute(connection).map_err(failed)?;
        }
        RowChange::Inbox(record) => change_inbox(connection, &record, guard.run)?,
        RowChange::Requeue(key) => change_letter(connection, &key, LetterChange::new_again())?,
        RowChange::Dismiss(key, reason) => change_letter(connection, &key, LetterChange::ignored(reason))?,
        RowChange::Event { record, expected } => write_event(connection, &record, expected)?,
        RowChange::Build { record, expected: None, .. } => new.builds.push(BuildRow::of(&record)?),
        RowChange::Build { record, expected: Some(expected), replanned: false } => {
            progress.0.push((record, expected));
        }
        RowChange::Build { record, expected: Some(expected), replanned: true } => {
            replan_build(connection, &record, expected)?;
        }
        RowChange::Attempt { record, expected: None } => new.attempts.push(AttemptRow::of(&record)),
        RowChange::Attempt { record, expected: Some(expected) } => update_attempt(connection, &record, expected)?,
        RowChange::Dependency(record) => {
            if !guard.edges && is_new(connection, &record)? {
                return Err(conflict("a dependency is added without the count of edges it was decided on"));
            }
            let row = DependencyRow::of(&record);
            new.dependencies.insert(row.key(), row);
        }
        RowChange::Cause(record) => {
            let row = CauseRow::of(&record)?;
            new.causes.insert(row.key(), row);
        }
        RowChange::Plan { event, plan } => {
            let body = json(&*plan)?;
            let insert = diesel::insert_into(plans::table).values((plans::event.eq(event.0), plans::body.eq(&body)));
            let upsert = insert.on_conflict(plans::event).do_update().set(plans::body.eq(&body));
            upsert.execute(connection).map_err(failed)?;
        }
        RowChange::Transition(record) => new.transitions.push(TransitionRow::of(&record)),
        RowChange::Notification(record) => new.notifications.push(NotificationRow::of(&record, PARTITIONS)?),
        RowChange::Position(row) => write_position(connection, &row, guard.run)?,
        RowChange::Trim { partition, up_to } => trim(connection, partition, up_to, guard.run)?,
    }
    Ok(())
}

fn change_inbox(connection: &mut Connection, record: &InboxRecord, by: Option<RunId>) -> Result<()> {
    let this = inbox::source.eq(&record.source).and(inbox::message_id.eq(&record.message_id));
    let claimed = inbox::state.eq(inbox_number(InboxState::Claimed)).and(inbox::run.eq(by.map_or(-1, |run| run.0)));
    let row = inbox::table.filter(this).filter(claimed);
    let changed = diesel::update(row).set(InboxProgress::of(record)).execute(connection).map_err(failed)?;
    if changed == 1 {
        return Ok(());
    }
    let InboxRecord { source, message_id, .. } = record;
    let there = select(exists(inbox::table.filter(this))).get_result::<bool>(connection).map_err(failed)?;
    Err(if there {
        conflict(format!("message {message_id} from {source} is not claimed by this run"))
    } else {
        missing(format!("no message {message_id} from {source}"))
    })
}

/// Changes a dead letter: it becomes new again, or ignored.
fn change_letter(connection: &mut Connection, key: &MessageKey, change: LetterChange) -> Result<()> {
    let MessageKey { source, message_id } = key;
    let this = inbox::source.eq(source).and(inbox::message_id.eq(message_id));
    let dead = inbox::table.filter(this).filter(inbox::state.eq(inbox_number(InboxState::Dead)));
    if diesel::update(dead).set(change).execute(connection).map_err(failed)? == 1 {
        return Ok(());
    }
    let there = select(exists(inbox::table.filter(this))).get_result::<bool>(connection).map_err(failed)?;
    Err(if there {
        conflict(format!("message {message_id} from {source} is not a dead letter"))
    } else {
        missing(format!("no message {message_id} from {source}"))
    })
}

fn write_position(connection: &mut Connection, row: &Position, run: Option<RunId>) -> Result<()> {
    must_publish(connection, row.partition, run)?;
    let number = number(row.partition);
    match row.position {
        Some(position) => {
            let position = positions::position.eq(position);
            let values = (positions::partition.eq(number), positions::bus.eq(&row.bus), position);
            let insert = diesel::insert_into(positions::table).values(values);
            let upsert = insert.on_conflict((positions::partition, positions::bus)).do_update().set(position);
            upsert.execute(connection).map_err(failed)?;
        }
        None => {
            diesel::delete(positions::table.find((number, &row.bus))).execute(connection).map_err(failed)?;
        }
    }
    Ok(())
}

fn trim(connection: &mut Connection, partition: u16, up_to: i64, run: Option<RunId>) -> Result<()> {
    must_publish(connection, partition, run)?;
    let number = number(partition);
    let gone = notifications::partition.eq(number).and(notifications::position.le(up_to));
    diesel::delete(notifications::table.filter(gone)).execute(connection).map_err(failed)?;
    let row = diesel::update(partitions::table.find(number)).set(partitions::trimmed.eq(up_to));
    row.execute(connection).map(drop).map_err(failed)
}

fn must_publish(connection: &mut Connection, partition: u16, run: Option<RunId>) -> Result<()> {
    dialect::lock_publisher(connection, number(partition))?;
    let publisher = partitions::table.find(number(partition)).select(partitions::publisher);
    let publisher = publisher.get_result::<Option<i64>>(connection).optional().map_err(failed)?.flatten();
    let holds = run.is_some() && publisher.map(RunId) == run;
    holds.then_some(()).ok_or_else(|| conflict(format!("partition {partition} is published by another run")))
}

pub(super) fn number(partition: u16) -> i16 {
    i16::try_from(partition).unwrap_or(i16::MAX)
}

fn write_event(connection: &mut Connection, record: &EventRecord, expected: Option<Version>) -> Result<()> {
    let row = EventRow::of(record)?;
    let Some(expected) = expected else {
        return insert(diesel::insert_into(events::table).values(row).execute(connection));
    };
    let stored = events::table.filter(events::id.eq(record.id.0).and(events::version.eq(i64::from(expected))));
    let changed = diesel::update(stored).set(row).execute(connection).map_err(failed)?;
    must_be_one(changed, "event", record.id, expected)
}

fn replan_build(connection: &mut Connection, record: &BuildRecord, expected: Version) -> Result<()> {
    let this = builds::id.eq(record.id.0).and(builds::version.eq(i64::from(expected)));
    let changed = diesel::update(builds::table.filter(this)).set(BuildRow::of(record)?).execute(connection);
    must_be_one(changed.map_err(failed)?, "build", record.id, expected)
}

fn update_attempt(connection: &mut Connection, record: &AttemptRecord, expected: Version) -> Result<()> {
    let this = attempts::id.eq(record.id.as_str()).and(attempts::version.eq(i64::from(expected)));
    let progress = AttemptProgress::of(record).as_changeset();
    match (Update { statement: "UPDATE attempts", progress, this }).execute(connection) {
        Ok(changed) => must_be_one(changed, "attempt", &record.id, expected),
        Err(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, why)) => {
            Err(dialect::taken(connection, record, &*why)?)
        }
        Err(error) => Err(failed(error)),
    }
}

fn insert(outcome: diesel::QueryResult<usize>) -> Result<()> {
    outcome.map(drop).map_err(failed)
}

fn must_be_one(changed: usize, what: &str, id: impl fmt::Display, expected: Version) -> Result<()> {
    if changed == 1 {
        return Ok(());
    }
    Err(conflict(format!("{what} {id} is not there, or not in version {expected} on which this was decided")))
}

/// Begins a run, or renews its lease. `alone`: no other process can have a lease, so that those
/// that are stored are over.
pub(super) fn lease(connection: &mut Connection, held: Option<RunId>, now: Now, alone: bool) -> Result<Lease> {
    immediately(connection, |connection| {
        dialect::lock_leases(connection)?;
        let now = dialect::moment(connection, now)?;
        let until = runs::expires_at.eq(to_micros(later(now, LEASE_TTL)));
        if alone {
            diesel::delete(runs::table).execute(connection).map_err(failed)?;
        }
        let run = match held {
            Some(run) => {
                let renewed = diesel::update(runs::table.find(run.0)).set(until).execute(connection).map_err(failed)?;
                if renewed == 0 {
                    return Err(fenced(run));
                }
                run
            }
            None => dialect::begin_run(connection, to_micros(now), to_micros(later(now, LEASE_TTL)))?,
        };
        dialect::end_runs(connection, now, run)?;
        dialect::settle_tallies(connection)?;
        // One that would end later was renewed before the clock was set back.
        let latest = to_micros(later(now, LEASE_TTL));
        diesel::update(runs::table.filter(runs::expires_at.gt(latest)))
            .set(until)
            .execute(connection)
            .map_err(failed)?;
        Ok(Lease { run, ttl: LEASE_TTL, now, partitions: take_partitions(connection, run)? })
    })
}

fn take_partitions(connection: &mut Connection, run: RunId) -> Result<Vec<u16>> {
    let living = runs::table.select(runs::run).load::<i64>(connection).map_err(failed)?;
    let living: BTreeSet<_> = living.into_iter().map(RunId).collect();
    let rows = partitions::table.select((partitions::partition, partitions::publisher));
    let rows = rows.load::<(i16, Option<i64>)>(connection).map_err(failed)?;
    let mut held = BTreeMap::new();
    for (partition, publisher) in rows {
        if let (Ok(partition), Some(publisher)) = (u16::try_from(partition), publisher) {
            held.insert(partition, RunId(publisher));
        }
    }
    let mine = share(run, PARTITIONS, &held, &living);
    for partition in 0..PARTITIONS {
        let before = held.get(&partition).copied();
        let publisher = if mine.contains(&partition) { Some(run) } else { before.filter(|holder| *holder != run) };
        if publisher != before {
            let row = diesel::update(partitions::table.find(number(partition)));
            let row = row.set(partitions::publisher.eq(publisher.map(|run| run.0)));
            row.execute(connection).map_err(failed)?;
        }
    }
    Ok(mine)
}

pub(super) fn release(connection: &mut Connection, run: RunId) -> Result<()> {
    immediately(connection, |connection| {
        if diesel::delete(runs::table.find(run.0)).execute(connection).map_err(failed)? == 0 {
            return Ok(());
        }
        let claimed = inbox::state.eq(inbox_number(InboxState::Claimed)).and(inbox::run.eq(run.0));
        let new = inbox::state.eq(inbox_number(InboxState::New));
        diesel::update(inbox::table.filter(claimed)).set(new).execute(connection).map(drop).map_err(failed)
    })
}

pub(super) fn reserve(connection: &mut Connection, count: u32) -> Result<i64> {
    const ROWS: &str = "rows";
    immediately(connection, |connection| {
        let count = i64::from(count);
        let insert = diesel::insert_into(sequences::table);
        let insert = insert.values((sequences::name.eq(ROWS), sequences::last.eq(count)));
        let more = sequences::last.eq(sequences::last + count);
        insert.on_conflict(sequences::name).do_update().set(more).execute(connection).map_err(failed)?;
        let last = sequences::table.find(ROWS).select(sequences::last).get_result::<i64>(connection);
        Ok(last.map_err(failed)? - count + 1)
    })
}

pub(super) fn claim(connection: &mut Connection, claim: &Claim, now: Now) -> Result<Vec<InboxRecord>> {
    let Claim { run, ref holding, limit, pause_max } = *claim;
    immediately(connection, |connection| {
        must_live(connection, run)?;
        let now = dialect::moment(connection, now)?;
        let rows = inbox::table.select((inbox::id, InboxRow::as_select())).order(inbox::id);
        let most = i64::from(limit) + i64::try_from(holding.len()).unwrap_or(i64::MAX / 2);
        let claimed = inbox::state.eq(inbox_number(InboxState::Claimed));
        let free = inbox::run.eq(run.0).or(inbox::run.ne_all(runs::table.select(runs::run)));
        let left = dialect::take(rows.filter(claimed).filter(free), most);
        let mut found = left.load::<(i64, InboxRow)>(connection).map_err(failed)?;
        // A run may have begun, and have claimed one of them, after the runs were looked at.
        let living = runs::table.select(runs::run).load::<i64>(connection).map_err(failed)?;
        found.retain(|(_, row)| row.run == run.0 || !living.contains(&row.run));
        let latest = to_micros(later(now, pause_max));
        let new = inbox::state.eq(inbox_number(InboxState::New));
        let fresh = dialect::take(rows.filter(new).filter(inbox::not_before.is_null()), most);
        let mut due = fresh.load::<(i64, InboxRow)>(connection).map_err(failed)?;
        let has_come = inbox::not_before.le(to_micros(now)).or(inbox::not_before.gt(latest));
        let given_back = rows.filter(new).filter(inbox::not_before.is_not_null()).filter(has_come);
        let given_back = given_back.order((inbox::not_before, inbox::id));
        due.extend(dialect::take(given_back, most).load::<(i64, InboxRow)>(connection).map_err(failed)?);
        due.sort_by_key(|(number, row)| (row.due_since(), *number));
        found.extend(due);
        found.retain(|(_, row)| !row.is_held(holding));
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let mut taken = Vec::with_capacity(found.len());
        for (number, row) in found {
            match row.record() {
                Ok(record) => taken.push((number, record)),
                Err(error) => bury(connection, number, &error)?,
            }
        }
        let was_left = |record: &InboxRecord| record.state == InboxState::Claimed && record.run != run;
        let left: Vec<_> = taken.iter().filter(|(_, record)| was_left(record)).map(|(number, _)| *number).collect();
        for chunk in left.chunks(CHUNK) {
            let rows = inbox::table.filter(inbox::id.eq_any(chunk));
            diesel::update(rows).set(inbox::tries.eq(inbox::tries + 1)).execute(connection).map_err(failed)?;
        }
        let numbers: Vec<_> = taken.iter().map(|(number, _)| *number).collect();
        for chunk in numbers.chunks(CHUNK) {
            let claim = (claimed, inbox::run.eq(run.0));
            let rows = inbox::table.filter(inbox::id.eq_any(chunk));
            diesel::update(rows).set(claim).execute(connection).map_err(failed)?;
        }
        let taken = taken.into_iter().map(|(_, record)| {
            let tries = record.tries + u32::from(was_left(&record));
            InboxRecord { state: InboxState::Claimed, tries, run, ..record }
        });
        Ok(taken.collect())
    })
}

/// A message whose row cannot be read is a dead letter: it must not hold up the others.
fn bury(connection: &mut Connection, number: i64, error: &Error) -> Result<()> {
    let text = error.to_string();
    let dead = (
        inbox::state.eq(inbox_number(InboxState::Dead)),
        inbox::tries.eq(0),
        inbox::waits.eq(0),
        inbox::reason_code.eq("unreadable"),
        inbox::reason_text.eq(text),
    );
    diesel::update(inbox::table.find(number)).set(dead).execute(connection).map(drop).map_err(failed)
}

use super::rows::{
    AttemptRow, BuildRow, CauseRow, DependencyRow, EventRow, InboxProgress, InboxRow, NotificationRow, TransitionRow,
    inbox_number, json,
};
use super::schema::{
    attempts, build_causes, build_deps, builds, events, inbox, kinds, leases, outbox, plans, sequences, transitions,
};
use super::{CHUNK, Failure, failed};
use diesel::dsl::max;
use diesel::{
    BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl, SelectableHelper,
    SqliteConnection,
};
use freshmaker::backend::{Claim, Result};
use freshmaker::rebuild::{AttemptRecord, BuildRecord, EventRecord, InboxRecord, InboxState, RowChange, Version};
use freshmaker::store::{conflict, in_order, missing};
use freshmaker::time::{Timestamp, to_micros};
use std::fmt;

/// All changes or none.
pub(super) fn transact(connection: &mut SqliteConnection, changes: Vec<RowChange>) -> Result<()> {
    immediately(connection, |connection| {
        in_order(changes).into_iter().try_for_each(|change| write_one(connection, change))
    })
}

/// One transaction that may write; taking the lock at its beginning keeps it from failing in the middle.
fn immediately<T>(
    connection: &mut SqliteConnection,
    work: impl FnOnce(&mut SqliteConnection) -> Result<T>,
) -> Result<T> {
    connection.immediate_transaction(|connection| work(connection).map_err(Failure)).map_err(|Failure(error)| error)
}

fn write_one(connection: &mut SqliteConnection, change: RowChange) -> Result<()> {
    match change {
        RowChange::Receive(record) => {
            let row = InboxRow::of(&record)?;
            let insert = diesel::insert_into(inbox::table).values(row);
            insert.on_conflict((inbox::source, inbox::message_id)).do_nothing().execute(connection).map_err(failed)?;
        }
        RowChange::Inbox(record) => change_inbox(connection, &record)?,
        RowChange::Event { record, expected } => write_event(connection, &record, expected)?,
        RowChange::Build { record, expected } => write_build(connection, &record, expected)?,
        RowChange::Attempt { record, expected } => write_attempt(connection, &record, expected)?,
        RowChange::Dependency(record) => {
            let row = DependencyRow::of(&record);
            let changed = (build_deps::kind.eq(row.kind()), build_deps::satisfied.eq(record.satisfied));
            let insert = diesel::insert_into(build_deps::table).values(row);
            let upsert = insert.on_conflict((build_deps::parent, build_deps::child)).do_update().set(changed);
            upsert.execute(connection).map_err(failed)?;
        }
        RowChange::Cause(record) => {
            let changed = (build_causes::because.eq(json(&record.because)?), build_causes::live.eq(record.live));
            let insert = diesel::insert_into(build_causes::table).values(CauseRow::of(&record)?);
            let upsert = insert.on_conflict((build_causes::build, build_causes::event)).do_update().set(changed);
            upsert.execute(connection).map_err(failed)?;
        }
        RowChange::Plan { event, plan } => {
            let body = json(&*plan)?;
            let insert = diesel::insert_into(plans::table).values((plans::event.eq(event.0), plans::body.eq(&body)));
            let upsert = insert.on_conflict(plans::event).do_update().set(plans::body.eq(&body));
            upsert.execute(connection).map_err(failed)?;
        }
        RowChange::Transition(record) => {
            let insert = diesel::insert_into(transitions::table).values(TransitionRow::of(&record));
            insert.execute(connection).map_err(failed)?;
        }
        RowChange::Notification(record) => {
            let insert = diesel::insert_into(outbox::table).values(NotificationRow::of(&record)?);
            insert.execute(connection).map_err(failed)?;
        }
        RowChange::Published { aggregate, id, version, topic } => {
            let row = outbox::table
                .filter(outbox::aggregate.eq(aggregate).and(outbox::id.eq(id)))
                .filter(outbox::version.eq(i64::from(version)).and(outbox::topic.eq(topic)));
            diesel::delete(row).execute(connection).map_err(failed)?;
        }
    }
    Ok(())
}

fn change_inbox(connection: &mut SqliteConnection, record: &InboxRecord) -> Result<()> {
    let row = inbox::table.filter(inbox::source.eq(&record.source).and(inbox::message_id.eq(&record.message_id)));
    let changed = diesel::update(row).set(InboxProgress::of(record)).execute(connection).map_err(failed)?;
    if changed == 0 {
        return Err(missing(format!("no message {} from {}", record.message_id, record.source)));
    }
    Ok(())
}

fn write_event(connection: &mut SqliteConnection, record: &EventRecord, expected: Option<Version>) -> Result<()> {
    number_kind(connection, &record.envelope.kind)?;
    let row = EventRow::of(record)?;
    let Some(expected) = expected else {
        return insert(diesel::insert_into(events::table).values(row).execute(connection));
    };
    let stored = events::table.filter(events::id.eq(record.id.0).and(events::version.eq(i64::from(expected))));
    let changed = diesel::update(stored).set(row).execute(connection).map_err(failed)?;
    must_be_one(changed, "event", record.id, expected)
}

fn write_build(connection: &mut SqliteConnection, record: &BuildRecord, expected: Option<Version>) -> Result<()> {
    let row = BuildRow::of(record)?;
    let Some(expected) = expected else {
        return insert(diesel::insert_into(builds::table).values(row).execute(connection));
    };
    let stored = builds::table.filter(builds::id.eq(record.id.0).and(builds::version.eq(i64::from(expected))));
    let changed = diesel::update(stored).set(row).execute(connection).map_err(failed)?;
    must_be_one(changed, "build", record.id, expected)
}

fn write_attempt(connection: &mut SqliteConnection, record: &AttemptRecord, expected: Option<Version>) -> Result<()> {
    let row = AttemptRow::of(record);
    let Some(expected) = expected else {
        return insert(diesel::insert_into(attempts::table).values(row).execute(connection));
    };
    let stored =
        attempts::table.filter(attempts::id.eq(record.id.as_str()).and(attempts::version.eq(i64::from(expected))));
    let changed = diesel::update(stored).set(row).execute(connection).map_err(failed)?;
    must_be_one(changed, "attempt", &record.id, expected)
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

/// The first number given to a kind.
const FIRST_USER_KIND: i32 = 1000;

/// Gives a kind its number when it is first seen; it keeps it for ever.
pub(super) fn number_kind(connection: &mut SqliteConnection, kind: &str) -> Result<()> {
    let known = kinds::table.find(kind).select(kinds::number).first::<i32>(connection);
    if known.optional().map_err(failed)?.is_some() {
        return Ok(());
    }
    let last = kinds::table.select(max(kinds::number)).first::<Option<i32>>(connection).map_err(failed)?;
    let number = last.map_or(FIRST_USER_KIND, |last| last.saturating_add(1).max(FIRST_USER_KIND));
    let row = (kinds::name.eq(kind), kinds::number.eq(number));
    insert(diesel::insert_into(kinds::table).values(row).execute(connection))
}

pub(super) fn lease(connection: &mut SqliteConnection, name: &str, at: Timestamp) -> Result<i64> {
    immediately(connection, |connection| {
        let last = leases::table.select(max(leases::token)).first::<Option<i64>>(connection).map_err(failed)?;
        let token = last.unwrap_or(0) + 1;
        let run = (leases::token.eq(token), leases::taken_at.eq(to_micros(at)));
        let insert = diesel::insert_into(leases::table).values((leases::name.eq(name), run));
        insert.on_conflict(leases::name).do_update().set(run).execute(connection).map_err(failed)?;
        Ok(token)
    })
}

pub(super) fn reserve(connection: &mut SqliteConnection, count: u32) -> Result<i64> {
    const ROWS: &str = "rows";
    immediately(connection, |connection| {
        let last = sequences::table.find(ROWS).select(sequences::last).first::<i64>(connection);
        let last = last.optional().map_err(failed)?.unwrap_or(0);
        let next = sequences::last.eq(last + i64::from(count));
        let insert = diesel::insert_into(sequences::table).values((sequences::name.eq(ROWS), next));
        insert.on_conflict(sequences::name).do_update().set(next).execute(connection).map_err(failed)?;
        Ok(last + 1)
    })
}

pub(super) fn claim(connection: &mut SqliteConnection, claim: &Claim) -> Result<Vec<InboxRecord>> {
    let Claim { owner, ref holding, limit, at } = *claim;
    immediately(connection, |connection| {
        let rows = inbox::table.select((inbox::id, InboxRow::as_select())).order(inbox::id);
        let rows = rows.limit(i64::from(limit) + i64::try_from(holding.len()).unwrap_or(i64::MAX / 2));
        let may_be_handled = inbox::not_before.is_null().or(inbox::not_before.le(to_micros(at)));
        let new = rows.filter(inbox::state.eq(inbox_number(InboxState::New))).filter(may_be_handled);
        let mut found: Vec<(i64, InboxRow)> = new.load(connection).map_err(failed)?;
        let claimed = inbox_number(InboxState::Claimed);
        let abandoned = rows.filter(inbox::state.eq(claimed)).filter(inbox::owner.le(owner));
        found.extend(abandoned.load::<(i64, InboxRow)>(connection).map_err(failed)?);
        found.retain(|(_, row)| !row.is_held(holding));
        found.sort_by_key(|(number, _)| *number);
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let numbers: Vec<_> = found.iter().map(|(number, _)| *number).collect();
        for chunk in numbers.chunks(CHUNK) {
            let claim = (inbox::state.eq(claimed), inbox::tries.eq(inbox::tries + 1), inbox::owner.eq(owner));
            let rows = inbox::table.filter(inbox::id.eq_any(chunk));
            diesel::update(rows).set(claim).execute(connection).map_err(failed)?;
        }
        let claimed = found.into_iter().map(|(_, row)| row.record());
        claimed
            .map(|record| {
                let record = record?;
                Ok(InboxRecord { state: InboxState::Claimed, tries: record.tries + 1, owner, ..record })
            })
            .collect()
    })
}

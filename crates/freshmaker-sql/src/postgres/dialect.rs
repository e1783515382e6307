//! What differs in PostgreSQL from other databases: transactions, lists as one value, texts, the
//! clock, and above all what is locked.
//!
//! Locks are taken in one order by all transactions: the run, the leases or the sweep, the count of
//! edges, rows by table and number, a partition, the attempts of a system.

use super::prepared::{AtMost, at_most};
use super::{Connection, Db, Failure, MIGRATIONS, failed, lost};
use crate::progress::BuildProgress;
use crate::schema::{attempts, builds, events, partitions, runs, sequences};
use crate::text::StoredText;
use crate::versions::{Tables, applied, tables, upgrade};
use diesel::connection::SimpleConnection;
use diesel::deserialize::{self, FromSql};
use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::pg::{Pg, PgValue};
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorInformation, QueryResult};
use diesel::sql_types::{Array, BigInt, Bool, Nullable, SmallInt, Text};
use diesel::{Connection as _, ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl};
use freshmaker::artifact::ArtifactId;
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker::rebuild::{AttemptId, AttemptRecord, BuildId, EventId, ExternalId, RowChange, RowKey, RunId, Version};
use freshmaker::store::{PLACE, conflict, external_taken};
use freshmaker::time::{Timestamp, from_micros, to_micros};
use std::collections::BTreeSet;

/// The moment of a call, by the clock that the storage was given; `None` stands for the clock of
/// the database.
pub(super) type Now = Option<Timestamp>;

/// The moment, by the database's clock.
#[derive(Clone, Copy, Debug, QueryId)]
struct ClockMicros;

impl Query for ClockMicros {
    type SqlType = BigInt;
}

impl RunQueryDsl<Connection> for ClockMicros {}

impl QueryFragment<Db> for ClockMicros {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT");
        Ok(())
    }
}

pub(super) fn moment(connection: &mut Connection, now: Now) -> Result<Timestamp> {
    match now {
        Some(now) => Ok(now),
        None => Ok(from_micros(ClockMicros.get_result(connection).map_err(failed)?)),
    }
}

/// One transaction that may write.
pub(super) fn immediately<T>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T>,
) -> Result<T> {
    connection.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").map_err(failed)?;
    let done = work(connection).or_else(|error| rolled_back(connection, error))?;
    match connection.batch_execute("COMMIT") {
        Ok(()) => Ok(done),
        // No answer says nothing about what was done.
        Err(error) if lost(&error) => Err(Error::new(Remedy::Unclear, PLACE, error)),
        Err(error) => Err(failed(error)),
    }
}

/// One transaction that reads, all of it as of one moment.
pub(super) fn of_one_moment<T>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T>,
) -> Result<T> {
    connection.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").map_err(failed)?;
    let found = work(connection).or_else(|error| rolled_back(connection, error))?;
    connection.batch_execute("COMMIT").map_err(failed)?;
    Ok(found)
}

fn rolled_back<T>(connection: &mut Connection, error: Error) -> Result<T> {
    // If this fails, the transaction may be open: the connection is not used again.
    connection.batch_execute("ROLLBACK").map_err(failed)?;
    Err(error)
}

impl FromSql<Text, Pg> for StoredText {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self::of_bytes(value.as_bytes().to_owned()))
    }
}

/// A list that is passed as one value.
#[derive(Clone, Debug)]
pub(super) enum Values {
    Codes(Vec<i16>),
    Numbers(Vec<i64>),
    Texts(Vec<String>),
}

/// What a list can be of.
pub(super) trait Listed: Sized {
    fn list(values: &[Self]) -> Values;
}

impl Listed for i16 {
    fn list(values: &[Self]) -> Values {
        Values::Codes(values.to_vec())
    }
}

impl Listed for BuildId {
    fn list(values: &[Self]) -> Values {
        Values::Numbers(values.iter().map(|id| id.0).collect())
    }
}

impl Listed for EventId {
    fn list(values: &[Self]) -> Values {
        Values::Numbers(values.iter().map(|id| id.0).collect())
    }
}

impl Listed for AttemptId {
    fn list(values: &[Self]) -> Values {
        Values::Texts(values.iter().map(ToString::to_string).collect())
    }
}

impl Listed for ArtifactId {
    fn list(values: &[Self]) -> Values {
        Values::Texts(values.iter().map(ToString::to_string).collect())
    }
}

impl Listed for ExternalId {
    fn list(values: &[Self]) -> Values {
        Values::Texts(values.iter().map(ToString::to_string).collect())
    }
}

impl Listed for String {
    fn list(values: &[Self]) -> Values {
        Values::Texts(values.to_vec())
    }
}

/// `column = ANY (the values)`.
#[derive(Clone, Debug, QueryId)]
pub(super) struct Among<C> {
    column: C,
    values: Values,
}

/// Whether a column has one of these values.
pub(super) fn among<C, V: Listed>(column: C, values: &[V]) -> Result<Among<C>> {
    Ok(Among { column, values: V::list(values) })
}

impl<C> Expression for Among<C> {
    type SqlType = Bool;
}

impl<C: QueryFragment<Db>> QueryFragment<Db> for Among<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        self.column.walk_ast(out.reborrow())?;
        out.push_sql(" = ANY(");
        match &self.values {
            Values::Codes(codes) => out.push_bind_param::<Array<SmallInt>, _>(codes)?,
            Values::Numbers(numbers) => out.push_bind_param::<Array<BigInt>, _>(numbers)?,
            Values::Texts(texts) => out.push_bind_param::<Array<Text>, _>(texts)?,
        }
        out.push_sql(")");
        Ok(())
    }
}

impl<C, T> AppearsOnTable<T> for Among<C> {}
impl<C, T> SelectableExpression<T> for Among<C> {}
impl<C, G> ValidGrouping<G> for Among<C> {
    type IsAggregate = is_aggregate::No;
}

/// `column = the value`: the planner sees that an index which begins with the column also gives the
/// order of the rows.
#[derive(Clone, Debug, QueryId)]
pub(super) struct Only<C> {
    column: C,
    value: Values,
}

/// Whether a column has this value.
pub(super) fn only<C, V: Listed>(column: C, value: &V) -> Result<Only<C>> {
    Ok(Only { column, value: V::list(std::slice::from_ref(value)) })
}

impl<C> Expression for Only<C> {
    type SqlType = Bool;
}

impl<C: QueryFragment<Db>> QueryFragment<Db> for Only<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        self.column.walk_ast(out.reborrow())?;
        out.push_sql(" = ");
        match &self.value {
            Values::Codes(codes) => codes.iter().try_for_each(|code| out.push_bind_param::<SmallInt, _>(code)),
            Values::Numbers(numbers) => numbers.iter().try_for_each(|number| out.push_bind_param::<BigInt, _>(number)),
            Values::Texts(texts) => texts.iter().try_for_each(|text| out.push_bind_param::<Text, _>(text)),
        }
    }
}

impl<C, T> AppearsOnTable<T> for Only<C> {}
impl<C, T> SelectableExpression<T> for Only<C> {}
impl<C, G> ValidGrouping<G> for Only<C> {
    type IsAggregate = is_aggregate::No;
}

/// The name of the output of a build, as the index has it.
#[derive(Clone, Copy, Debug, QueryId)]
pub(super) struct OutputName;

impl QueryFragment<Db> for OutputName {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql("(builds.output::JSON ->> 'name')");
        Ok(())
    }
}

/// Of each build key the highest number of a build that has an output.
#[derive(Clone, Debug, QueryId)]
struct LatestOutputs {
    keys: Vec<String>,
}

impl Query for LatestOutputs {
    type SqlType = Nullable<BigInt>;
}

impl RunQueryDsl<Connection> for LatestOutputs {}

impl QueryFragment<Db> for LatestOutputs {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        // The index answers each `max` with one step, however many builds a key has had.
        out.push_sql("SELECT (SELECT max(id) FROM builds WHERE build_key = key AND output IS NOT NULL) FROM unnest(");
        out.push_bind_param::<Array<Text>, _>(&self.keys)?;
        out.push_sql(") AS key");
        Ok(())
    }
}

/// Of each of these build keys the number of the latest build that has an output.
pub(super) fn latest_outputs(connection: &mut Connection, keys: &[String]) -> Result<Vec<i64>> {
    let latest = LatestOutputs { keys: keys.to_vec() }.load::<Option<i64>>(connection).map_err(failed)?;
    Ok(latest.into_iter().flatten().collect())
}

/// The first rows of a query that no other transaction has locked, locked until the end of this
/// one.
pub(super) struct Take<Q>(AtMost<Q>);

pub(super) fn take<Q>(query: Q, limit: i64) -> Take<Q> {
    Take(at_most(query, limit))
}

impl<Q: Query> Query for Take<Q> {
    type SqlType = Q::SqlType;
}

impl<Q> QueryId for Take<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: QueryFragment<Db>> QueryFragment<Db> for Take<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(" FOR NO KEY UPDATE SKIP LOCKED");
        Ok(())
    }
}

impl<Q> RunQueryDsl<Connection> for Take<Q> {}

/// A lock for work that only one transaction of a schema does at a time. It ends with the
/// transaction, after its rows have become visible.
#[derive(Clone, Debug, QueryId)]
struct Alone {
    what: &'static str,
    of: String,
}

impl RunQueryDsl<Connection> for Alone {}

impl QueryFragment<Db> for Alone {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql("SELECT pg_advisory_xact_lock(hashtextextended(concat_ws('/', 'freshmaker', current_schema(), ");
        out.push_bind_param::<Text, _>(self.what)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.of)?;
        out.push_sql("), 0))");
        Ok(())
    }
}

fn alone(connection: &mut Connection, what: &'static str, of: &str) -> Result<()> {
    Alone { what, of: of.to_owned() }.execute(connection).map(drop).map_err(failed)
}

/// Returns whether the run is not over, and keeps it from being ended before this transaction ends.
pub(super) fn lock_run(connection: &mut Connection, run: RunId) -> Result<bool> {
    let row = runs::table.find(run.0).select(runs::run).for_key_share();
    Ok(row.get_result::<i64>(connection).optional().map_err(failed)?.is_some())
}

/// Makes the row of a new run.
#[derive(Clone, Copy, Debug, QueryId)]
struct BeginRun {
    now: i64,
    until: i64,
}

impl Query for BeginRun {
    type SqlType = BigInt;
}

impl RunQueryDsl<Connection> for BeginRun {}

impl QueryFragment<Db> for BeginRun {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql(
            "WITH numbers AS (SELECT pg_get_serial_sequence('runs', 'run')::regclass AS sequence) \
             INSERT INTO runs (run, expires_at) SELECT setval(sequence, greatest(nextval(sequence), ",
        );
        out.push_bind_param::<BigInt, _>(&self.now)?;
        out.push_sql(")), ");
        out.push_bind_param::<BigInt, _>(&self.until)?;
        out.push_sql(" FROM numbers RETURNING run");
        Ok(())
    }
}

/// Makes the row of a new run, with a number larger than any before: at least the microseconds of
/// the clock, since a database that has lost its last second would otherwise give the number of a
/// lost run again, whose process may still be alive.
pub(super) fn begin_run(connection: &mut Connection, now: i64, until: i64) -> Result<RunId> {
    BeginRun { now, until }.get_result(connection).map(RunId).map_err(failed)
}

pub(super) fn lock_leases(connection: &mut Connection) -> Result<()> {
    alone(connection, "leases", "")
}

/// Ends all other runs whose leases were not renewed in time. A run that is just writing is
/// skipped, so that no transaction waits for it; it is ended at the next renewal.
pub(super) fn end_runs(connection: &mut Connection, now: Timestamp, but: RunId) -> Result<()> {
    let over = runs::table.filter(runs::expires_at.le(to_micros(now))).filter(runs::run.ne(but.0));
    let over = over.select(runs::run).for_update().skip_locked().load::<i64>(connection).map_err(failed)?;
    if over.is_empty() {
        return Ok(());
    }
    diesel::delete(runs::table.filter(runs::run.eq_any(over))).execute(connection).map(drop).map_err(failed)
}

/// The number in a row of `sequences`, which stays as it is until the end of the transaction.
pub(super) fn locked(connection: &mut Connection, name: &str, to_change: bool) -> Result<i64> {
    let row = sequences::table.find(name).select(sequences::last);
    let found =
        if to_change { row.for_no_key_update().get_result(connection) } else { row.for_share().get_result(connection) };
    found.map_err(failed)
}

/// Locks what a commit compares and what it changes, by table and number.
pub(super) fn lock_rows(
    connection: &mut Connection,
    unchanged: &[(RowKey, Version)],
    changes: &[RowChange],
) -> Result<()> {
    let (mut of_events, mut of_builds, mut of_attempts) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (key, _) in unchanged {
        match key {
            RowKey::Event(id) => drop(of_events.insert(id.0)),
            RowKey::Build(id) => drop(of_builds.insert(id.0)),
            RowKey::Attempt(id) => drop(of_attempts.insert(id.as_str())),
        }
    }
    for change in changes {
        match change {
            RowChange::Event { record, expected: Some(_) } => drop(of_events.insert(record.id.0)),
            RowChange::Build { record, expected: Some(_), .. } => drop(of_builds.insert(record.id.0)),
            RowChange::Attempt { record, expected: Some(_) } => drop(of_attempts.insert(record.id.as_str())),
            _ => {}
        }
    }
    // One row alone has no order, and the change itself locks it.
    if unchanged.is_empty() && of_events.len() + of_builds.len() + of_attempts.len() == 1 {
        return Ok(());
    }
    // A row that others only refer to is not locked against that.
    if !of_events.is_empty() {
        let rows = events::table.filter(events::id.eq_any(of_events.into_iter().collect::<Vec<_>>()));
        let rows = rows.order(events::id).select(events::id).for_no_key_update();
        rows.load::<i64>(connection).map_err(failed)?;
    }
    if !of_builds.is_empty() {
        let rows = builds::table.filter(builds::id.eq_any(of_builds.into_iter().collect::<Vec<_>>()));
        let rows = rows.order(builds::id).select(builds::id).for_no_key_update();
        rows.load::<i64>(connection).map_err(failed)?;
    }
    if !of_attempts.is_empty() {
        let rows = attempts::table.filter(attempts::id.eq_any(of_attempts.into_iter().collect::<Vec<_>>()));
        let rows = rows.order(attempts::id).select(attempts::id).for_no_key_update();
        rows.load::<String>(connection).map_err(failed)?;
    }
    Ok(())
}

/// The new values of builds, a list for each column: one statement changes them all.
#[derive(Debug, Default, QueryId)]
struct UpdateBuilds {
    numbers: [Vec<i64>; 7],
    moments: [Vec<Option<i64>>; 3],
    codes: [Vec<i16>; 2],
    no_cache: Vec<bool>,
    texts: [Vec<Option<String>>; 3],
    reasons: [Vec<String>; 2],
}

impl UpdateBuilds {
    fn push(&mut self, (id, expected, row): (i64, i64, BuildProgress)) {
        let numbers = [id, expected, row.version, row.pending, row.tries, row.resubmits, row.attempts];
        self.numbers.iter_mut().zip(numbers).for_each(|(list, number)| list.push(number));
        let moments = [row.not_before, row.cancel_at, row.done_at];
        self.moments.iter_mut().zip(moments).for_each(|(list, moment)| list.push(moment));
        self.codes.iter_mut().zip([row.state, row.slot]).for_each(|(list, code)| list.push(code));
        self.no_cache.push(row.no_cache);
        let texts = [row.inputs, row.release, row.output];
        self.texts.iter_mut().zip(texts).for_each(|(list, text)| list.push(text));
        let reasons = [row.reason_code, row.reason_text];
        self.reasons.iter_mut().zip(reasons).for_each(|(list, text)| list.push(text));
    }
}

impl RunQueryDsl<Connection> for UpdateBuilds {}

impl QueryFragment<Db> for UpdateBuilds {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql(
            "UPDATE builds SET version = new.version, pending = new.pending, tries = new.tries, \
             resubmits = new.resubmits, attempts = new.attempts, not_before = new.not_before, \
             cancel_at = new.cancel_at, done_at = new.done_at, state = new.state, slot = new.slot, \
             no_cache = new.no_cache, inputs = new.inputs, release = new.release, output = new.output, \
             reason_code = new.reason_code, reason_text = new.reason_text FROM unnest(",
        );
        for list in &self.numbers {
            out.push_bind_param::<Array<BigInt>, _>(list)?;
            out.push_sql(", ");
        }
        for list in &self.moments {
            out.push_bind_param::<Array<Nullable<BigInt>>, _>(list)?;
            out.push_sql(", ");
        }
        for list in &self.codes {
            out.push_bind_param::<Array<SmallInt>, _>(list)?;
            out.push_sql(", ");
        }
        out.push_bind_param::<Array<Bool>, _>(&self.no_cache)?;
        for list in &self.texts {
            out.push_sql(", ");
            out.push_bind_param::<Array<Nullable<Text>>, _>(list)?;
        }
        for list in &self.reasons {
            out.push_sql(", ");
            out.push_bind_param::<Array<Text>, _>(list)?;
        }
        out.push_sql(
            ") AS new (id, expected, version, pending, tries, resubmits, attempts, not_before, cancel_at, done_at, \
             state, slot, no_cache, inputs, release, output, reason_code, reason_text) \
             WHERE builds.id = new.id AND builds.version = new.expected",
        );
        Ok(())
    }
}

/// Changes builds, each with its number and the version that it must have; how many there were.
pub(super) fn update_builds(connection: &mut Connection, rows: Vec<(i64, i64, BuildProgress)>) -> QueryResult<usize> {
    let mut update = UpdateBuilds::default();
    rows.into_iter().for_each(|row| update.push(row));
    update.execute(connection)
}

/// Keeps other transactions from counting the live attempts of a system until the end of this one.
pub(super) fn lock_slots(connection: &mut Connection, system: &str) -> Result<()> {
    alone(connection, "slots", system)
}

/// The first half of the advisory locks that note positions, the same for a schema.
const OF_POSITIONS: &str = "hashtext(concat_ws('/', 'freshmaker', current_schema(), 'positions')) & 2147483647";

/// The last position that was taken, whether its row is visible or not.
const LAST_POSITION: &str = "coalesce(pg_sequence_last_value('notifications_position_seq'::regclass), 0)";

/// Notes the last position in the number of an advisory lock, which has its last 31 bits.
#[derive(Clone, Copy, Debug, QueryId)]
struct NotePosition;

impl RunQueryDsl<Connection> for NotePosition {}

impl QueryFragment<Db> for NotePosition {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql("SELECT pg_advisory_xact_lock_shared(");
        out.push_sql(OF_POSITIONS);
        out.push_sql(", (");
        out.push_sql(LAST_POSITION);
        out.push_sql(" & 2147483647)::INTEGER)");
        Ok(())
    }
}

/// Says to others, until this transaction ends: positions above this one may not be visible yet.
/// Other transactions do not wait for this lock: positions become visible in any order, and
/// [`settled`] says up to which one all are visible.
pub(super) fn lock_positions(connection: &mut Connection) -> Result<()> {
    NotePosition.execute(connection).map(drop).map_err(failed)
}

/// The last position, but for as many as there are behind the lowest note. One that was noted after
/// the last position was read is ahead of it.
#[derive(Clone, Copy, Debug, QueryId)]
struct Settled;

impl Query for Settled {
    type SqlType = BigInt;
}

impl RunQueryDsl<Connection> for Settled {}

impl QueryFragment<Db> for Settled {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql("SELECT last - coalesce(most, 0) FROM (SELECT ");
        out.push_sql(LAST_POSITION);
        out.push_sql(
            " AS last OFFSET 0) AS taken CROSS JOIN LATERAL \
             (SELECT max(behind) FILTER (WHERE behind < 1073741824) AS most FROM \
             (SELECT (last - objid::BIGINT) & 2147483647 AS behind FROM pg_locks \
             WHERE locktype = 'advisory' AND objsubid = 2 AND classid::BIGINT = (",
        );
        out.push_sql(OF_POSITIONS);
        out.push_sql(
            ")::BIGINT AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS notes) \
             AS noted",
        );
        Ok(())
    }
}

/// Returns the position up to which a transaction that begins after this call sees all
/// notifications that will ever exist.
///
/// The last position is read before the notes: a transaction that has taken a position up to it has
/// noted an earlier one, and the note is there until its rows can be seen.
pub(super) fn settled(connection: &mut Connection) -> Result<i64> {
    Settled.get_result(connection).map_err(failed)
}

pub(super) fn lock_publisher(connection: &mut Connection, partition: i16) -> Result<()> {
    let row = partitions::table.find(partition).select(partitions::partition).for_no_key_update();
    row.get_result::<i16>(connection).optional().map(drop).map_err(failed)
}

/// Keeps other transactions from writing documents of a kind until the end of this one.
pub(super) fn lock_documents(connection: &mut Connection, kind: &str) -> Result<()> {
    alone(connection, "documents", kind)
}

pub(super) fn lock_sweep(connection: &mut Connection) -> Result<()> {
    alone(connection, "sweep", "")
}

/// Keeps other transactions from referring to these events until the end of this one.
pub(super) fn lock_events(connection: &mut Connection, ids: &[i64]) -> Result<()> {
    let rows = events::table.filter(events::id.eq_any(ids)).order(events::id).select(events::id).for_update();
    rows.load::<i64>(connection).map(drop).map_err(failed)
}

/// Keeps others from referring to these builds until the end of this transaction. Returns whether
/// something may have changed before they were locked.
pub(super) fn lock_builds(connection: &mut Connection, ids: &[i64]) -> Result<bool> {
    let rows = builds::table.filter(builds::id.eq_any(ids)).order(builds::id).select(builds::id).for_update();
    rows.load::<i64>(connection).map(|rows| !rows.is_empty()).map_err(failed)
}

/// Sums up the changes of counts that transactions have added since the last lease.
pub(super) fn settle_tallies(connection: &mut Connection) -> Result<()> {
    let settle = "WITH gone AS (DELETE FROM tallies RETURNING subject, state, amount)
        INSERT INTO tallies
        SELECT subject, state, sum(amount) FROM gone GROUP BY subject, state HAVING sum(amount) <> 0";
    connection.batch_execute(settle).map_err(failed)
}

/// Why an attempt cannot be stored: another one has its external id, or is live beside it.
pub(super) fn taken(_: &mut Connection, record: &AttemptRecord, why: &dyn DatabaseErrorInformation) -> Result<Error> {
    if why.constraint_name() == Some("attempts_external") {
        let external = record.external.as_ref().map(ToString::to_string).unwrap_or_default();
        let text = format!("attempt {}: {external} on {} belongs to another attempt", record.id, record.system);
        return Ok(external_taken(text));
    }
    Ok(conflict(format!("attempt {}: another attempt of build {} is live", record.id, record.build)))
}

/// Returns which version the tables of the schema have. This creates nothing, so that it works for
/// a user without the right to create tables.
fn stand(connection: &mut Connection) -> Result<Tables> {
    let there = diesel::dsl::sql::<Bool>("SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL");
    if !there.get_result::<bool>(connection).map_err(failed)? {
        return Ok(Tables::Missing);
    }
    let applied = applied::table.select(applied::version).load(connection).map_err(failed)?;
    tables::<Db>(applied, &MIGRATIONS)
}

/// Brings the tables up to this version, in one transaction, under a lock against other processes.
pub(super) fn migrate(connection: &mut Connection) -> Result<()> {
    if stand(connection)? == Tables::Current {
        return Ok(());
    }
    let migrated = connection.transaction(|connection| {
        let patient = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'; \
                       SET LOCAL idle_in_transaction_session_timeout = 0";
        connection.batch_execute(patient).map_err(Failure::from)?;
        alone(connection, "migration", "").map_err(Failure)?;
        upgrade(connection, || MIGRATIONS).map_err(Failure)
    });
    migrated.map_err(|Failure(error)| error)
}

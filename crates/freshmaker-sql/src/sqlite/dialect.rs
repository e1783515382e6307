//! What differs in SQLite from other databases: transactions, lists as one value, texts, the clock.

use super::prepared::{AtMost, Update, at_most};
use super::{Connection, Db, Failure, failed};
use crate::progress::BuildProgress;
use crate::rows::json;
use crate::schema::{attempts, builds, runs, sequences};
use crate::text::StoredText;
use diesel::deserialize::{self, FromSql};
use diesel::dsl::exists;
use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorInformation, QueryResult};
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteValue};
use diesel::{AsChangeset, BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl, select};
use freshmaker::backend::{Error, Result};
use freshmaker::rebuild::{AttemptRecord, RowChange, RowKey, RunId, Version};
use freshmaker::store::{conflict, external_taken};
use freshmaker::time::{Timestamp, to_micros};
use serde::Serialize;

/// The moment of a call; the clock is asked before the call waits for the connection.
pub(super) type Now = Timestamp;

pub(super) fn moment(_: &mut Connection, now: Now) -> Result<Timestamp> {
    Ok(now)
}

/// One transaction that may write; it takes the lock at its beginning, so that it cannot fail in
/// the middle. No other transaction writes meanwhile, so nothing else has to be locked.
pub(super) fn immediately<T>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T>,
) -> Result<T> {
    connection.immediate_transaction(|connection| work(connection).map_err(Failure)).map_err(|Failure(error)| error)
}

/// Makes the row of a new run, with a number larger than any before.
pub(super) fn begin_run(connection: &mut Connection, _now: i64, until: i64) -> Result<RunId> {
    let insert = diesel::insert_into(runs::table).values(runs::expires_at.eq(until)).returning(runs::run);
    insert.get_result(connection).map(RunId).map_err(failed)
}

impl FromSql<Text, Sqlite> for StoredText {
    fn from_sql(mut value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        // diesel copies the whole value before it gives the bytes of a text, which takes longer
        // than the rest of a row. So they are asked for only if some may have been replaced.
        let text = value.read_text();
        if text.contains(char::REPLACEMENT_CHARACTER) {
            return Ok(Self::of_bytes(value.read_blob().to_owned()));
        }
        Ok(text.to_owned().into())
    }
}

/// `column IN (the values)`.
#[derive(Clone, Debug, QueryId)]
pub(super) struct Among<C> {
    column: C,
    values: String,
}

/// Whether a column has one of these values.
pub(super) fn among<C, V: Serialize>(column: C, values: &[V]) -> Result<Among<C>> {
    Ok(Among { column, values: json(&values)? })
}

impl<C> Expression for Among<C> {
    type SqlType = Bool;
}

impl<C: QueryFragment<Db>> QueryFragment<Db> for Among<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        self.column.walk_ast(out.reborrow())?;
        out.push_sql(" IN (SELECT value FROM json_each(");
        out.push_bind_param::<Text, _>(&self.values)?;
        out.push_sql("))");
        Ok(())
    }
}

impl<C, T> AppearsOnTable<T> for Among<C> {}
impl<C, T> SelectableExpression<T> for Among<C> {}
impl<C, G> ValidGrouping<G> for Among<C> {
    type IsAggregate = is_aggregate::No;
}

/// `column = the value`, for a list of one: then an index that begins with the column also gives
/// the order of the rows.
#[derive(Clone, Debug, QueryId)]
pub(super) struct Only<C> {
    column: C,
    value: String,
}

/// Whether a column has this value.
pub(super) fn only<C, V: Serialize>(column: C, value: &V) -> Result<Only<C>> {
    Ok(Only { column, value: json(&[value])? })
}

impl<C> Expression for Only<C> {
    type SqlType = Bool;
}

impl<C: QueryFragment<Db>> QueryFragment<Db> for Only<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        self.column.walk_ast(out.reborrow())?;
        out.push_sql(" = (SELECT value FROM json_each(");
        out.push_bind_param::<Text, _>(&self.value)?;
        out.push_sql("))");
        Ok(())
    }
}

impl<C, T> AppearsOnTable<T> for Only<C> {}
impl<C, T> SelectableExpression<T> for Only<C> {}
impl<C, G> ValidGrouping<G> for Only<C> {
    type IsAggregate = is_aggregate::No;
}

/// The name of the output of a build. The path is part of the text, because only so does SQLite see
/// that the index holds it.
#[derive(Clone, Copy, Debug, QueryId)]
pub(super) struct OutputName;

impl QueryFragment<Db> for OutputName {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql("json_extract(builds.output, '$.name')");
        Ok(())
    }
}

/// Of each build key the highest number of a build that has an output.
#[derive(Clone, Debug, QueryId)]
struct LatestOutputs {
    keys: String,
}

impl Query for LatestOutputs {
    type SqlType = Nullable<BigInt>;
}

impl RunQueryDsl<Connection> for LatestOutputs {}

impl QueryFragment<Db> for LatestOutputs {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        // The index answers each `max` with one step, however many builds a key has had.
        out.push_sql(
            "SELECT (SELECT max(id) FROM builds WHERE build_key = value AND output IS NOT NULL) FROM json_each(",
        );
        out.push_bind_param::<Text, _>(&self.keys)?;
        out.push_sql(")");
        Ok(())
    }
}

/// Of each of these build keys the number of the latest build that has an output.
pub(super) fn latest_outputs(connection: &mut Connection, keys: &[String]) -> Result<Vec<i64>> {
    let query = LatestOutputs { keys: json(&keys)? };
    let latest = query.load::<Option<i64>>(connection).map_err(failed)?;
    Ok(latest.into_iter().flatten().collect())
}

/// The first rows of a query, which this transaction may change.
pub(super) fn take<Q>(query: Q, limit: i64) -> AtMost<Q> {
    at_most(query, limit)
}

/// Whether the run is not over.
pub(super) fn lock_run(connection: &mut Connection, run: RunId) -> Result<bool> {
    select(exists(runs::table.find(run.0))).get_result(connection).map_err(failed)
}

pub(super) fn lock_leases(_: &mut Connection) -> Result<()> {
    Ok(())
}

/// Ends all other runs whose leases were not renewed in time.
pub(super) fn end_runs(connection: &mut Connection, now: Timestamp, but: RunId) -> Result<()> {
    let over = runs::table.filter(runs::expires_at.le(to_micros(now))).filter(runs::run.ne(but.0));
    diesel::delete(over).execute(connection).map(drop).map_err(failed)
}

/// The number in a row of `sequences`, which stays as it is until the end of the transaction.
pub(super) fn locked(connection: &mut Connection, name: &str, _: bool) -> Result<i64> {
    let stored = sequences::table.find(name).select(sequences::last).get_result::<i64>(connection);
    Ok(stored.optional().map_err(failed)?.unwrap_or(0))
}

pub(super) fn lock_rows(_: &mut Connection, _: &[(RowKey, Version)], _: &[RowChange]) -> Result<()> {
    Ok(())
}

/// Changes builds, each with its number and the version that it must have; how many there were.
pub(super) fn update_builds(connection: &mut Connection, rows: Vec<(i64, i64, BuildProgress)>) -> QueryResult<usize> {
    let mut changed = 0;
    for (id, expected, progress) in rows {
        let this = builds::id.eq(id).and(builds::version.eq(expected));
        let progress = progress.as_changeset();
        changed += Update { statement: "UPDATE builds", progress, this }.execute(connection)?;
    }
    Ok(changed)
}

pub(super) fn lock_slots(_: &mut Connection, _: &str) -> Result<()> {
    Ok(())
}

pub(super) fn lock_positions(_: &mut Connection) -> Result<()> {
    Ok(())
}

/// The position up to which nothing will become visible any more: one transaction writes at a time.
pub(super) fn settled(_: &mut Connection) -> Result<i64> {
    Ok(i64::MAX)
}

pub(super) fn lock_publisher(_: &mut Connection, _: i16) -> Result<()> {
    Ok(())
}

pub(super) fn lock_documents(_: &mut Connection, _: &str) -> Result<()> {
    Ok(())
}

pub(super) fn lock_sweep(_: &mut Connection) -> Result<()> {
    Ok(())
}

pub(super) fn lock_events(_: &mut Connection, _: &[i64]) -> Result<()> {
    Ok(())
}

/// Returns whether something may have changed before the builds were locked.
pub(super) fn lock_builds(_: &mut Connection, _: &[i64]) -> Result<bool> {
    Ok(false)
}

/// Keeps the tallies short; the triggers of this database do so.
pub(super) fn settle_tallies(_: &mut Connection) -> Result<()> {
    Ok(())
}

/// Why an attempt cannot be stored: which other one has its external id, or is live beside it.
pub(super) fn taken(
    connection: &mut Connection,
    record: &AttemptRecord,
    _: &dyn DatabaseErrorInformation,
) -> Result<Error> {
    let external = record.external.as_ref().map(ToString::to_string);
    let other = attempts::table
        .filter(attempts::system.eq(&record.system).and(attempts::external.eq(&external)))
        .filter(attempts::id.ne(record.id.as_str()))
        .select(attempts::id);
    let other = other.get_result::<String>(connection).optional().map_err(failed)?;
    Ok(match other {
        Some(other) => external_taken(format!(
            "attempt {}: {} on {} belongs to attempt {other}",
            record.id,
            external.unwrap_or_default(),
            record.system
        )),
        None => conflict(format!("attempt {}: another attempt of build {} is live", record.id, record.build)),
    })
}

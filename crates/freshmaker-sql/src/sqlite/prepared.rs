//! Pieces of statements that SQLite prepares once for a connection, however often they run.
//!
//! To prepare a statement takes longer than to run it. Diesel prepares again
//!
//! * a list, `IN (?, ?, …)`, which is another statement for each length and has at most 32,766
//!   values: [`among`] passes it as one value, a JSON array of which `json_each` makes rows;
//! * an update, because a changeset may leave columns out: [`Update`] has those that never do.
//!
//! SQLite itself prepares again when the value of a `LIMIT` has changed, because it plans with it:
//! [`AtMost`] hides the value from the planner. So single rows are read with `get_result`, not with
//! `first`, which has a limit.

use super::failed;
use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel::sqlite::Sqlite;
use diesel::{RunQueryDsl, SqliteConnection};
use freshmaker::backend::Result;
use serde::Serialize;

/// `column IN (the values)`.
#[derive(Clone, Debug, QueryId)]
pub(super) struct Among<C> {
    column: C,
    values: String,
}

/// Whether a column has one of these values.
pub(super) fn among<C, V: Serialize>(column: C, values: &[V]) -> Result<Among<C>> {
    Ok(Among { column, values: super::rows::json(&values)? })
}

impl<C> Expression for Among<C> {
    type SqlType = Bool;
}

impl<C: QueryFragment<Sqlite>> QueryFragment<Sqlite> for Among<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
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
    Ok(Only { column, value: super::rows::json(&[value])? })
}

impl<C> Expression for Only<C> {
    type SqlType = Bool;
}

impl<C: QueryFragment<Sqlite>> QueryFragment<Sqlite> for Only<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
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

/// `state < 6`: the build has not ended. The number is part of the text, because only so does
/// SQLite see that the partial index holds all of these rows.
#[derive(Clone, Copy, Debug, QueryId)]
pub(super) struct IsOpen;

impl Expression for IsOpen {
    type SqlType = Bool;
}

impl QueryFragment<Sqlite> for IsOpen {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("builds.state < 6");
        Ok(())
    }
}

impl<T> AppearsOnTable<T> for IsOpen {}
impl<T> SelectableExpression<T> for IsOpen {}
impl<G> ValidGrouping<G> for IsOpen {
    type IsAggregate = is_aggregate::No;
}

/// The name of the output of a build. The path is part of the text, because only so does SQLite see
/// that the index holds it.
#[derive(Clone, Copy, Debug, QueryId)]
pub(super) struct OutputName;

impl QueryFragment<Sqlite> for OutputName {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
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

impl RunQueryDsl<SqliteConnection> for LatestOutputs {}

impl QueryFragment<Sqlite> for LatestOutputs {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
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
pub(super) fn latest_outputs(connection: &mut SqliteConnection, keys: &[String]) -> Result<Vec<i64>> {
    let query = LatestOutputs { keys: super::rows::json(&keys)? };
    let latest = query.load::<Option<i64>>(connection).map_err(failed)?;
    Ok(latest.into_iter().flatten().collect())
}

/// The first rows of a query without a limit.
pub(super) struct AtMost<Q> {
    query: Q,
    limit: i64,
}

pub(super) fn at_most<Q>(query: Q, limit: impl Into<i64>) -> AtMost<Q> {
    AtMost { query, limit: limit.into() }
}

impl<Q: Query> Query for AtMost<Q> {
    type SqlType = Q::SqlType;
}

impl<Q> QueryId for AtMost<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: QueryFragment<Sqlite>> QueryFragment<Sqlite> for AtMost<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.query.walk_ast(out.reborrow())?;
        out.push_sql(" LIMIT (");
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        out.push_sql(" + 0)");
        Ok(())
    }
}

impl<Q> RunQueryDsl<SqliteConnection> for AtMost<Q> {}

/// Sets all columns of a changeset with `treat_none_as_null`, in the rows of which `this` is true.
pub(super) struct Update<Progress, This> {
    /// As in `UPDATE builds`.
    pub(super) statement: &'static str,
    pub(super) progress: Progress,
    pub(super) this: This,
}

impl<Progress, This> QueryId for Update<Progress, This> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Progress: QueryFragment<Sqlite>, This: QueryFragment<Sqlite>> QueryFragment<Sqlite> for Update<Progress, This> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(self.statement);
        out.push_sql(" SET ");
        self.progress.walk_ast(out.reborrow())?;
        out.push_sql(" WHERE ");
        self.this.walk_ast(out)
    }
}

impl<Progress, This> RunQueryDsl<SqliteConnection> for Update<Progress, This> {}

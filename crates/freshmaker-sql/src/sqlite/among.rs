//! Lists of values as one bound value, so that the text of a query does not depend on their number.
//!
//! Diesel writes a list as `IN (?, ?, …)`: a statement of its own for each length, which it parses
//! again at every run, and of at most 32,766 values. A JSON array is one value, and `json_each`
//! makes rows of it.

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

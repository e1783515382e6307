//! Parts of SQL statements, written so that a connection prepares each statement only once.
//!
//! Preparing a statement takes longer than running it. Diesel prepares a statement again for
//!
//! * each new length of a list, `IN (?, ?, …)`: so the dialects have `among`, which passes a list
//!   as one value;
//! * each update, because a changeset may leave columns out: so [`Update`] has updates that always
//!   set the same columns.
//!
//! SQLite itself prepares a statement again when a value is bound to its `LIMIT`, because its plan
//! depends on the value: [`AtMost`] hides the value from the planner. For the same reason single
//! rows are read with `get_result` and not with `first`, which adds a `LIMIT`.

use super::{Connection, Db};
use diesel::RunQueryDsl;
use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Bool};

/// `state < 6`: the build has not ended. The number is part of the text, because only then does a
/// planner see that the partial index has all of these rows.
#[derive(Clone, Copy, Debug, QueryId)]
pub(super) struct IsOpen;

impl Expression for IsOpen {
    type SqlType = Bool;
}

impl QueryFragment<Db> for IsOpen {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql("builds.state < 6");
        Ok(())
    }
}

impl<T> AppearsOnTable<T> for IsOpen {}
impl<T> SelectableExpression<T> for IsOpen {}
impl<G> ValidGrouping<G> for IsOpen {
    type IsAggregate = is_aggregate::No;
}

/// The first rows of a query without a limit.
pub(super) struct AtMost<Q> {
    query: Q,
    limit: i64,
    offset: Option<i64>,
}

pub(super) fn at_most<Q>(query: Q, limit: impl Into<i64>) -> AtMost<Q> {
    AtMost { query, limit: limit.into(), offset: None }
}

/// The rows of a query without a limit, after skipping `offset` rows, at most `limit`.
pub(super) fn part_of<Q>(query: Q, offset: i64, limit: i64) -> AtMost<Q> {
    AtMost { query, limit, offset: Some(offset) }
}

impl<Q: Query> Query for AtMost<Q> {
    type SqlType = Q::SqlType;
}

impl<Q> QueryId for AtMost<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: QueryFragment<Db>> QueryFragment<Db> for AtMost<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        self.query.walk_ast(out.reborrow())?;
        out.push_sql(" LIMIT (");
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        out.push_sql(" + 0)");
        if let Some(offset) = &self.offset {
            out.push_sql(" OFFSET (");
            out.push_bind_param::<BigInt, _>(offset)?;
            out.push_sql(" + 0)");
        }
        Ok(())
    }
}

impl<Q> RunQueryDsl<Connection> for AtMost<Q> {}

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

impl<Progress: QueryFragment<Db>, This: QueryFragment<Db>> QueryFragment<Db> for Update<Progress, This> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql(self.statement);
        out.push_sql(" SET ");
        self.progress.walk_ast(out.reborrow())?;
        out.push_sql(" WHERE ");
        self.this.walk_ast(out)
    }
}

impl<Progress, This> RunQueryDsl<Connection> for Update<Progress, This> {}

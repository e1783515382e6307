//! Parts of SQL statements, written so that a connection prepares each statement only once.
//!
//! Preparing a statement takes longer than running it. Diesel prepares a statement again for
//!
//! * each new length of a list, `IN (?, ?, …)`: so the dialects have `among`, which passes a list
//!   as one value;
//! * each update, because a changeset may leave columns out: so [`Update`] has updates that always
//!   set the same columns;
//! * each statement with a part that is given as `diesel::dsl::sql`: so [`Plain`] has parts whose
//!   text stays the same.
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

/// A condition whose text is always the same, so that a planner sees which partial index holds all
/// of its rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain {
    text: &'static str,
    /// Whether the statement is kept for the next time.
    is_kept: bool,
}

impl Plain {
    /// The build prepares a repository.
    pub(super) const IS_REPOSITORY: Self = Self { text: "builds.kind = 4", is_kept: true };

    /// All rows, before so many conditions. A connection keeps each of its prepared statements for
    /// ever. So statements with many conditions, which are rarely repeated, are not kept; otherwise
    /// a caller could fill the memory with thousands of different ones.
    pub(super) fn all(conditions: usize) -> Self {
        Self { text: "1 = 1", is_kept: conditions <= KEPT_MAX }
    }

    /// No row, before so many alternatives.
    pub(super) fn none(alternatives: usize) -> Self {
        Self { text: "1 = 0", is_kept: alternatives <= 1 }
    }
}

/// Lists with more conditions are prepared each time.
const KEPT_MAX: usize = 2;

impl Expression for Plain {
    type SqlType = Bool;
}

impl QueryId for Plain {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl QueryFragment<Db> for Plain {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        if !self.is_kept {
            out.unsafe_to_cache_prepared();
        }
        out.push_sql(self.text);
        Ok(())
    }
}

impl<T> AppearsOnTable<T> for Plain {}
impl<T> SelectableExpression<T> for Plain {}
impl<G> ValidGrouping<G> for Plain {
    type IsAggregate = is_aggregate::No;
}

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

use super::rows::{AttemptRow, BuildRow, CauseRow, DependencyRow, EventRow};
use super::schema::{attempts, build_causes, build_deps, builds, events};
use super::{CHUNK, failed};
use diesel::dsl::sql;
use diesel::sql_types::Bool;
use diesel::{
    BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl, SelectableHelper,
    SqliteConnection,
};
use freshmaker::backend::Result;
use freshmaker::rebuild::{
    AttemptId, AttemptRecord, BuildId, BuildKey, BuildRecord, Cause, Dependency, EventId, EventRecord,
};
use freshmaker::store::{Rows, Side};

/// The rows of a database, as they are in the transaction that the connection is in.
pub(super) struct Stored<'a>(pub(super) &'a mut SqliteConnection);

impl Rows for Stored<'_> {
    fn builds(&mut self, ids: &[BuildId]) -> Result<Vec<BuildRecord>> {
        in_chunks(&numbers(ids), |chunk| {
            let query = builds::table.filter(builds::id.eq_any(chunk)).select(BuildRow::as_select());
            query.load(self.0).map_err(failed)?.into_iter().map(BuildRow::record).collect()
        })
    }

    fn open_builds(&mut self, keys: &[BuildKey]) -> Result<Vec<BuildRecord>> {
        let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
        in_chunks(&keys, |chunk| {
            // A literal, not a bind: only so does SQLite see that the partial index holds all of
            // these rows.
            let open = sql::<Bool>("builds.state < 6");
            let query = builds::table.filter(builds::build_key.eq_any(chunk).and(open)).select(BuildRow::as_select());
            query.load(self.0).map_err(failed)?.into_iter().map(BuildRow::record).collect()
        })
    }

    fn latest_output(&mut self, key: &BuildKey) -> Result<Option<BuildRecord>> {
        let query = builds::table
            .filter(builds::build_key.eq(key.to_string()))
            .filter(builds::output.is_not_null())
            .order(builds::id.desc())
            .select(BuildRow::as_select());
        query.first(self.0).optional().map_err(failed)?.map(BuildRow::record).transpose()
    }

    fn dependencies(&mut self, of: &[BuildId], side: Side) -> Result<Vec<Dependency>> {
        in_chunks(&numbers(of), |chunk| {
            let query = build_deps::table.select(DependencyRow::as_select());
            let rows = match side {
                Side::Parent => query.filter(build_deps::parent.eq_any(chunk)).load(self.0),
                Side::Child => query.filter(build_deps::child.eq_any(chunk)).load(self.0),
            };
            rows.map_err(failed)?.into_iter().map(DependencyRow::record).collect()
        })
    }

    fn causes(&mut self, of: &[BuildId]) -> Result<Vec<Cause>> {
        in_chunks(&numbers(of), |chunk| {
            let query = build_causes::table.filter(build_causes::build.eq_any(chunk)).select(CauseRow::as_select());
            query.load(self.0).map_err(failed)?.into_iter().map(CauseRow::record).collect()
        })
    }

    fn caused(&mut self, event: EventId) -> Result<Vec<BuildId>> {
        let query = build_causes::table.filter(build_causes::event.eq(event.0)).select(build_causes::build);
        Ok(query.load(self.0).map_err(failed)?.into_iter().map(BuildId).collect())
    }

    fn events(&mut self, ids: &[EventId]) -> Result<Vec<EventRecord>> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        in_chunks(&ids, |chunk| {
            let query = events::table.filter(events::id.eq_any(chunk)).select(EventRow::as_select());
            query.load(self.0).map_err(failed)?.into_iter().map(EventRow::record).collect()
        })
    }

    fn attempt(&mut self, id: &AttemptId) -> Result<Option<AttemptRecord>> {
        let query = attempts::table.find(id.as_str()).select(AttemptRow::as_select());
        query.first(self.0).optional().map_err(failed)?.map(AttemptRow::record).transpose()
    }

    fn live_attempts(&mut self, of: &[BuildId]) -> Result<Vec<AttemptRecord>> {
        in_chunks(&numbers(of), |chunk| {
            let query = attempts::table
                .filter(attempts::build.eq_any(chunk).and(attempts::live.eq(true)))
                .select(AttemptRow::as_select());
            query.load(self.0).map_err(failed)?.into_iter().map(AttemptRow::record).collect()
        })
    }
}

fn numbers(ids: &[BuildId]) -> Vec<i64> {
    ids.iter().map(|id| id.0).collect()
}

/// A question with a list is asked in parts, because SQLite limits the number of values.
fn in_chunks<K, T>(keys: &[K], mut ask: impl FnMut(&[K]) -> Result<Vec<T>>) -> Result<Vec<T>> {
    let mut found = Vec::new();
    for chunk in keys.chunks(CHUNK) {
        found.extend(ask(chunk)?);
    }
    Ok(found)
}

//! The lookups from which `freshmaker::store::load` collects the rows of a decision.

use super::dialect::{among, latest_outputs};
use super::prepared::IsOpen;
use super::rows::{AttemptRow, BuildRow, CauseRow, DependencyRow, EventRow};
use super::schema::{attempts, build_causes, build_deps, builds, events};
use super::{Connection, failed};
use diesel::{BoolExpressionMethods, ExpressionMethods, QueryDsl, RunQueryDsl, SelectableHelper};
use freshmaker::backend::Result;
use freshmaker::rebuild::{
    AttemptId, AttemptRecord, BuildId, BuildKey, BuildRecord, Cause, Dependency, EventId, EventRecord,
};
use freshmaker::store::{Rows, Side};

/// The rows of a database, as they are in the transaction that the connection is in.
pub(super) struct Stored<'a>(pub(super) &'a mut Connection);

impl Rows for Stored<'_> {
    fn builds(&mut self, ids: &[BuildId]) -> Result<Vec<BuildRecord>> {
        let query = builds::table.filter(among(builds::id, ids)?).select(BuildRow::as_select());
        query.load(self.0).map_err(failed)?.into_iter().map(BuildRow::record).collect()
    }

    fn open_builds(&mut self, keys: &[BuildKey]) -> Result<Vec<BuildRecord>> {
        let query = builds::table.filter(among(builds::build_key, &texts(keys))?.and(IsOpen));
        let query = query.select(BuildRow::as_select());
        query.load(self.0).map_err(failed)?.into_iter().map(BuildRow::record).collect()
    }

    fn latest_outputs(&mut self, keys: &[BuildKey]) -> Result<Vec<BuildRecord>> {
        let latest = latest_outputs(self.0, &texts(keys))?;
        self.builds(&latest.into_iter().map(BuildId).collect::<Vec<_>>())
    }

    fn dependencies(&mut self, of: &[BuildId], side: Side) -> Result<Vec<Dependency>> {
        let query = build_deps::table.select(DependencyRow::as_select());
        let rows = match side {
            Side::Parent => query.filter(among(build_deps::parent, of)?).load(self.0),
            Side::Child => query.filter(among(build_deps::child, of)?).load(self.0),
        };
        rows.map_err(failed)?.into_iter().map(DependencyRow::record).collect()
    }

    fn causes(&mut self, of: &[BuildId]) -> Result<Vec<Cause>> {
        let query = build_causes::table.filter(among(build_causes::build, of)?).select(CauseRow::as_select());
        query.load(self.0).map_err(failed)?.into_iter().map(CauseRow::record).collect()
    }

    fn caused(&mut self, event: EventId) -> Result<Vec<BuildId>> {
        let query = build_causes::table.filter(build_causes::event.eq(event.0)).select(build_causes::build);
        Ok(query.load(self.0).map_err(failed)?.into_iter().map(BuildId).collect())
    }

    fn events(&mut self, ids: &[EventId]) -> Result<Vec<EventRecord>> {
        let query = events::table.filter(among(events::id, ids)?).select(EventRow::as_select());
        query.load(self.0).map_err(failed)?.into_iter().map(EventRow::record).collect()
    }

    fn attempts(&mut self, ids: &[AttemptId]) -> Result<Vec<AttemptRecord>> {
        let query = attempts::table.filter(among(attempts::id, ids)?).select(AttemptRow::as_select());
        query.load(self.0).map_err(failed)?.into_iter().map(AttemptRow::record).collect()
    }

    fn live_attempts(&mut self, of: &[BuildId]) -> Result<Vec<AttemptRecord>> {
        let live = among(attempts::build, of)?.and(attempts::live.eq(true));
        let query = attempts::table.filter(live).select(AttemptRow::as_select());
        query.load(self.0).map_err(failed)?.into_iter().map(AttemptRow::record).collect()
    }
}

fn texts(keys: &[BuildKey]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

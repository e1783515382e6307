//! Implements `StorageReads`: each question in a transaction of its own, or with one statement.

use super::{Connection, Here, lists, query};
use async_trait::async_trait;
use freshmaker::backend::{
    BuildCount, BuildFilter, BuildLinks, CausedCount, Due, DueLimits, EventCount, EventFilter, Links, Notifications,
    Outbox, Overview, Page, Paging, Result, StorageReads, Violation,
};
use freshmaker::plan::{Observation, Plan};
use freshmaker::rebuild::{
    AttemptRecord, BuildId, BuildMode, BuildRecord, EventId, EventRecord, InboxRecord, InboxState, RowKey, RunId,
    Transition,
};

#[async_trait]
impl StorageReads for Here {
    async fn due(&self, run: RunId, limits: DueLimits) -> Result<Due> {
        let now = self.now();
        self.urgent(move |connection| query::due(connection, run, limits, now)).await
    }

    async fn events(&self, filter: EventFilter, paging: Paging) -> Result<Page<EventRecord>> {
        let work = move |connection: &mut Connection| lists::events_page(connection, &filter, paging);
        if paging.counted { self.read(work).await } else { self.glance(work).await }
    }

    async fn events_with_counts(
        &self,
        filter: EventFilter,
        paging: Paging,
    ) -> Result<Page<(EventRecord, Vec<CausedCount>)>> {
        self.read(move |connection| lists::events_with_counts(connection, &filter, paging)).await
    }

    async fn builds(&self, filter: BuildFilter, paging: Paging) -> Result<Page<BuildRecord>> {
        let work = move |connection: &mut Connection| lists::builds_page(connection, &filter, paging);
        if paging.counted { self.read(work).await } else { self.glance(work).await }
    }

    async fn builds_with_links(&self, filter: BuildFilter, paging: Paging) -> Result<Page<(BuildRecord, BuildLinks)>> {
        self.read(move |connection| lists::builds_with_links(connection, &filter, paging)).await
    }

    async fn count_events(&self, filter: EventFilter) -> Result<Vec<EventCount>> {
        self.glance(move |connection| lists::count_events(connection, &filter)).await
    }

    async fn count_builds(&self, filter: BuildFilter) -> Result<Vec<BuildCount>> {
        self.glance(move |connection| lists::count_builds(connection, &filter)).await
    }

    async fn links(&self, builds: Vec<BuildId>) -> Result<Links> {
        self.read(move |connection| lists::links(connection, &builds)).await
    }

    async fn attempts(&self, builds: Vec<BuildId>) -> Result<Vec<AttemptRecord>> {
        self.glance(move |connection| query::attempts_of(connection, &builds)).await
    }

    async fn transitions(&self, of: &RowKey) -> Result<Vec<Transition>> {
        let of = of.clone();
        self.glance(move |connection| query::history(connection, &of)).await
    }

    async fn message(&self, source: &str, message_id: &str) -> Result<Option<InboxRecord>> {
        let (source, message_id) = (source.to_owned(), message_id.to_owned());
        self.glance(move |connection| query::message(connection, &source, &message_id)).await
    }

    async fn messages(&self, states: Vec<InboxState>, paging: Paging) -> Result<Page<InboxRecord>> {
        let work = move |connection: &mut Connection| lists::messages(connection, &states, paging);
        if paging.counted { self.read(work).await } else { self.glance(work).await }
    }

    async fn plan(&self, event: EventId) -> Result<Option<Plan>> {
        self.glance(move |connection| query::plan(connection, event)).await
    }

    async fn durations(&self, mode: BuildMode, limit: u32) -> Result<Vec<Observation>> {
        self.glance(move |connection| query::durations(connection, mode, limit)).await
    }

    async fn notifications(&self, partition: Option<u16>, after: i64, limit: u32) -> Result<Notifications> {
        self.settled(move |connection, settled| query::behind(connection, partition, (after, settled), limit)).await
    }

    async fn outbox(&self) -> Result<Outbox> {
        self.settled(query::outbox).await
    }

    async fn overview(&self) -> Result<Overview> {
        self.read(query::count_all).await
    }

    async fn check_consistency(&self) -> Result<Vec<Violation>> {
        self.read(query::check_consistency).await
    }
}

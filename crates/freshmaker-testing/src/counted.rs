//! A storage that counts its calls by their names, and passes them on.

use async_trait::async_trait;
use freshmaker::backend::{
    BuildCount, BuildFilter, BuildLinks, CausedCount, Claim, Documents, Due, DueLimits, EventCount, EventFilter, Lease,
    Links, Notifications, Outbox, Overview, Page, Paging, Result, Scope, Storage, StorageReads, StorageUpkeep,
    Violation,
};
use freshmaker::plan::{Observation, Plan};
use freshmaker::rebuild::{
    AttemptRecord, BuildId, BuildMode, BuildRecord, Commit, EventId, EventRecord, InboxRecord, InboxState,
    Neighbourhood, RowKey, RunId, Transition,
};
use std::sync::{Arc, Mutex, PoisonError};

/// A storage that notes what it is asked, for tests of how much a page or a list asks.
///
/// ```
/// use freshmaker::client::Client;
/// use freshmaker::memory::MemoryStorage;
/// use freshmaker_testing::counted::CountedStorage;
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), freshmaker::backend::Error> {
/// let storage = Arc::new(CountedStorage::new(Arc::new(MemoryStorage::new())));
/// let client = Client::new(storage.clone());
/// client.overview().await?;
/// assert_eq!(storage.taken(), ["overview"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CountedStorage {
    inner: Arc<dyn Storage>,
    asked: Mutex<Vec<&'static str>>,
}

impl CountedStorage {
    /// Notes what this storage is asked.
    #[must_use]
    pub fn new(inner: Arc<dyn Storage>) -> Self {
        Self { inner, asked: Mutex::default() }
    }

    fn note(&self, what: &'static str) -> &dyn StorageReads {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        self.inner.reads()
    }

    /// Takes the names of the calls since the last time, in their order.
    #[must_use]
    pub fn taken(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Storage for CountedStorage {
    fn reads(&self) -> &dyn StorageReads {
        self
    }

    fn upkeep(&self) -> &dyn StorageUpkeep {
        self.inner.upkeep()
    }

    fn documents(&self) -> &dyn Documents {
        self.note("documents");
        self.inner.documents()
    }

    async fn lease(&self, held: Option<RunId>) -> Result<Lease> {
        self.note("lease");
        self.inner.lease(held).await
    }

    async fn release(&self, run: RunId) -> Result<()> {
        self.note("release");
        self.inner.release(run).await
    }

    async fn reserve(&self, count: u32) -> Result<i64> {
        self.note("reserve");
        self.inner.reserve(count).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<InboxRecord>> {
        self.note("claim");
        self.inner.claim(claim).await
    }

    async fn load(&self, scope: &Scope) -> Result<Neighbourhood> {
        self.note("load");
        self.inner.load(scope).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.note("commit");
        self.inner.commit(commit).await
    }
}

#[async_trait]
impl StorageReads for CountedStorage {
    async fn due(&self, run: RunId, limits: DueLimits) -> Result<Due> {
        self.note("due").due(run, limits).await
    }

    async fn events(&self, filter: EventFilter, paging: Paging) -> Result<Page<EventRecord>> {
        self.note("events").events(filter, paging).await
    }

    async fn events_with_counts(
        &self,
        filter: EventFilter,
        paging: Paging,
    ) -> Result<Page<(EventRecord, Vec<CausedCount>)>> {
        self.note("events_with_counts").events_with_counts(filter, paging).await
    }

    async fn builds(&self, filter: BuildFilter, paging: Paging) -> Result<Page<BuildRecord>> {
        self.note("builds").builds(filter, paging).await
    }

    async fn builds_with_links(&self, filter: BuildFilter, paging: Paging) -> Result<Page<(BuildRecord, BuildLinks)>> {
        self.note("builds_with_links").builds_with_links(filter, paging).await
    }

    async fn count_events(&self, filter: EventFilter) -> Result<Vec<EventCount>> {
        self.note("count_events").count_events(filter).await
    }

    async fn count_builds(&self, filter: BuildFilter) -> Result<Vec<BuildCount>> {
        self.note("count_builds").count_builds(filter).await
    }

    async fn links(&self, builds: Vec<BuildId>) -> Result<Links> {
        self.note("links").links(builds).await
    }

    async fn attempts(&self, builds: Vec<BuildId>) -> Result<Vec<AttemptRecord>> {
        self.note("attempts").attempts(builds).await
    }

    async fn transitions(&self, of: &RowKey) -> Result<Vec<Transition>> {
        self.note("transitions").transitions(of).await
    }

    async fn message(&self, source: &str, message_id: &str) -> Result<Option<InboxRecord>> {
        self.note("message").message(source, message_id).await
    }

    async fn messages(&self, states: Vec<InboxState>, paging: Paging) -> Result<Page<InboxRecord>> {
        self.note("messages").messages(states, paging).await
    }

    async fn plan(&self, event: EventId) -> Result<Option<Plan>> {
        self.note("plan").plan(event).await
    }

    async fn durations(&self, mode: BuildMode, limit: u32) -> Result<Vec<Observation>> {
        self.note("durations").durations(mode, limit).await
    }

    async fn notifications(&self, partition: Option<u16>, after: i64, limit: u32) -> Result<Notifications> {
        self.note("notifications").notifications(partition, after, limit).await
    }

    async fn outbox(&self) -> Result<Outbox> {
        self.note("outbox").outbox().await
    }

    async fn overview(&self) -> Result<Overview> {
        self.note("overview").overview().await
    }

    async fn check_consistency(&self) -> Result<Vec<Violation>> {
        self.note("check_consistency").check_consistency().await
    }
}

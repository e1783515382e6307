//! Subscriptions whose notifications are removed meanwhile.

use async_trait::async_trait;
use freshmaker::backend::{
    BuildCount, BuildLinks, CausedCount, Due, DueLimits, EventCount, Links, Overview, Page, Violation,
};
use freshmaker::backend::{
    BuildFilter, Claim, Documents, EventFilter, Lease, Notifications, Outbox, Paging, Result, Scope, Storage,
    StorageReads, StorageUpkeep,
};
use freshmaker::client::Client;
use freshmaker::plan::{Observation, Plan};
use freshmaker::rebuild::{AttemptRecord, BuildId, BuildRecord, EventRecord, RowKey, Transition};
use freshmaker::rebuild::{BuildMode, Commit, EventId, InboxRecord, InboxState, Neighbourhood, RowChange, RunId};
use freshmaker_testing::world::World;
use std::sync::Arc;

/// Notifications that are removed between two reads of a subscription are missed in silence.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_misses_something_says_so() {
    use freshmaker::rebuild::{BuildId, Notification, RowKey};
    let world = World::new();
    let storage = world.storage.clone();
    let run = storage.lease(None).await.unwrap().run;
    let row = |number: i64| {
        RowChange::Notification(Notification {
            of: RowKey::Build(BuildId(number)),
            version: 1,
            topic: "build.changed".into(),
            body: serde_json::json!({ "id": number }),
        })
    };
    storage.commit(Commit::by(run, (1..=50).map(row).collect())).await.unwrap();
    let racing = Arc::new(Racing { inner: storage.clone(), run });
    let client = Client::new(racing).with_clock(world.clock.clone());
    let mut subscription = client.subscribe_from(10);
    let first = subscription.next().await.unwrap();
    let missed = subscription.take_missed();
    assert!(first.body["id"] == 11 || missed, "it went on at {} and says that nothing was missed", first.body["id"]);
}

/// Removes notifications between the two reads of a subscription.
#[derive(Debug)]
struct Racing {
    inner: Arc<dyn Storage>,
    run: RunId,
}

#[async_trait]
impl Storage for Racing {
    fn upkeep(&self) -> &dyn StorageUpkeep {
        self.inner.upkeep()
    }
    fn reads(&self) -> &dyn StorageReads {
        self
    }
    fn documents(&self) -> &dyn Documents {
        self.inner.documents()
    }
    async fn lease(&self, held: Option<RunId>) -> Result<Lease> {
        self.inner.lease(held).await
    }
    async fn release(&self, run: RunId) -> Result<()> {
        self.inner.release(run).await
    }
    async fn reserve(&self, count: u32) -> Result<i64> {
        self.inner.reserve(count).await
    }
    async fn claim(&self, claim: &Claim) -> Result<Vec<InboxRecord>> {
        self.inner.claim(claim).await
    }
    async fn load(&self, scope: &Scope) -> Result<Neighbourhood> {
        self.inner.load(scope).await
    }
    async fn commit(&self, commit: Commit) -> Result<()> {
        self.inner.commit(commit).await
    }
}

#[async_trait]
impl StorageReads for Racing {
    async fn due(&self, run: RunId, limits: DueLimits) -> Result<Due> {
        self.inner.reads().due(run, limits).await
    }
    async fn events(&self, filter: EventFilter, paging: Paging) -> Result<Page<EventRecord>> {
        self.inner.reads().events(filter, paging).await
    }
    async fn events_with_counts(
        &self,
        filter: EventFilter,
        paging: Paging,
    ) -> Result<Page<(EventRecord, Vec<CausedCount>)>> {
        self.inner.reads().events_with_counts(filter, paging).await
    }
    async fn builds(&self, filter: BuildFilter, paging: Paging) -> Result<Page<BuildRecord>> {
        self.inner.reads().builds(filter, paging).await
    }
    async fn builds_with_links(&self, filter: BuildFilter, paging: Paging) -> Result<Page<(BuildRecord, BuildLinks)>> {
        self.inner.reads().builds_with_links(filter, paging).await
    }
    async fn count_events(&self, filter: EventFilter) -> Result<Vec<EventCount>> {
        self.inner.reads().count_events(filter).await
    }
    async fn count_builds(&self, filter: BuildFilter) -> Result<Vec<BuildCount>> {
        self.inner.reads().count_builds(filter).await
    }
    async fn links(&self, builds: Vec<BuildId>) -> Result<Links> {
        self.inner.reads().links(builds).await
    }
    async fn attempts(&self, builds: Vec<BuildId>) -> Result<Vec<AttemptRecord>> {
        self.inner.reads().attempts(builds).await
    }
    async fn transitions(&self, of: &RowKey) -> Result<Vec<Transition>> {
        self.inner.reads().transitions(of).await
    }
    async fn message(&self, source: &str, message_id: &str) -> Result<Option<InboxRecord>> {
        self.inner.reads().message(source, message_id).await
    }
    async fn messages(&self, states: Vec<InboxState>, paging: Paging) -> Result<Page<InboxRecord>> {
        self.inner.reads().messages(states, paging).await
    }
    async fn plan(&self, event: EventId) -> Result<Option<Plan>> {
        self.inner.reads().plan(event).await
    }
    async fn durations(&self, mode: BuildMode, limit: u32) -> Result<Vec<Observation>> {
        self.inner.reads().durations(mode, limit).await
    }
    async fn notifications(&self, partition: Option<u16>, after: i64, limit: u32) -> Result<Notifications> {
        self.inner.commit(Commit::by(self.run, vec![RowChange::Trim { partition: 0, up_to: 40 }])).await?;
        self.inner.reads().notifications(partition, after, limit).await
    }
    async fn outbox(&self) -> Result<Outbox> {
        self.inner.reads().outbox().await
    }
    async fn overview(&self) -> Result<Overview> {
        self.inner.reads().overview().await
    }
    async fn check_consistency(&self) -> Result<Vec<Violation>> {
        self.inner.reads().check_consistency().await
    }
}

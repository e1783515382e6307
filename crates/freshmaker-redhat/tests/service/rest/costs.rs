//! A list costs the same number of storage calls, however long it is.

use super::{api, get, open, recorded};
use crate::each;
use crate::fixture::store;
use async_trait::async_trait;
use freshmaker::Client;
use freshmaker::backend::{
    BuildCount, BuildFilter, CausedCount, Claim, Documents, Due, DueLimits, EventCount, EventFilter, Lease, Links,
    Notifications, Outbox, Overview, Page, Paging, Result, Scope, Storage, StorageReads, StorageUpkeep, Violation,
};
use freshmaker::plan::{Observation, Plan};
use freshmaker::rebuild::{
    AttemptRecord, BuildId, BuildMode, BuildRecord, Commit, EventId, EventRecord, InboxRecord, InboxState,
    Neighbourhood, RowKey, RunId, Transition,
};
use std::sync::{Arc, Mutex};

/// A storage that notes what it is asked.
#[derive(Debug)]
struct Counted {
    inner: Arc<dyn Storage>,
    asked: Mutex<Vec<&'static str>>,
}

impl Counted {
    fn note(&self, what: &'static str) -> &dyn StorageReads {
        self.asked.lock().unwrap().push(what);
        self.inner.reads()
    }

    fn taken(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

#[async_trait]
impl Storage for Counted {
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
impl StorageReads for Counted {
    async fn due(&self, run: RunId, limits: DueLimits) -> Result<Due> {
        self.note("due").due(run, limits).await
    }

    async fn events(&self, filter: EventFilter, paging: Paging) -> Result<Page<EventRecord>> {
        self.note("events").events(filter, paging).await
    }

    async fn builds(&self, filter: BuildFilter, paging: Paging) -> Result<Page<BuildRecord>> {
        self.note("builds").builds(filter, paging).await
    }

    async fn count_events(&self, filter: EventFilter) -> Result<Vec<EventCount>> {
        self.note("count_events").count_events(filter).await
    }

    async fn count_builds(&self, filter: BuildFilter) -> Result<Vec<BuildCount>> {
        self.note("count_builds").count_builds(filter).await
    }

    async fn count_caused(&self, events: Vec<EventId>) -> Result<Vec<CausedCount>> {
        self.note("count_caused").count_caused(events).await
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

#[tokio::test(start_paused = true)]
async fn no_list_asks_for_each_of_its_rows() {
    for world in each() {
        store(world.storage.as_ref(), &recorded()["fixture"]).await;
        let storage = Arc::new(Counted { inner: world.storage.clone(), asked: Mutex::default() });
        let client = Client::new(storage.clone()).with_clock(world.clock.clone());
        let router = api(&world, client, open()).router();
        let whole = ["events", "builds", "links", "attempts"];
        let summary = ["events", "count_caused", "builds", "links"];
        let builds = ["builds", "links", "builds", "attempts"];
        for (path, calls) in [
            ("/api/1/events/?order_by=id&per_page=1", &whole[..]),
            ("/api/1/events/?per_page=100", &whole),
            ("/api/1/events/1", &whole),
            ("/api/2/events/?order_by=id&per_page=1", &summary),
            ("/api/2/events/?per_page=100", &summary),
            ("/api/1/builds/?event_id=1&order_by=id&per_page=1", &builds),
            ("/api/1/builds/?per_page=100", &builds),
            ("/api/1/builds/1", &builds),
            ("/api/1/events/?event_type_id=99", &[]),
        ] {
            let told = get(&router, path).await;
            assert_eq!(told.status, 200, "{told:?}");
            assert_eq!(storage.taken(), calls, "{path}");
        }
    }
}

/// Repositories that are prepared for builds are no builds of the service, in either version.
#[tokio::test(start_paused = true)]
async fn both_versions_count_the_same_builds() {
    for world in each() {
        store(world.storage.as_ref(), &recorded()["fixture"]).await;
        let client = Client::new(world.storage.clone()).with_clock(world.clock.clone());
        let router = api(&world, client.clone(), open()).router();
        let caused = client.count_caused(vec![EventId(1)]).await.unwrap();
        assert_eq!(caused.iter().map(|count| count.count).sum::<u64>(), 6, "four images and two composes");
        for id in 1..=4 {
            let whole = get(&router, &format!("/api/1/events/{id}")).await.json();
            let summary = get(&router, &format!("/api/2/events/{id}")).await.json();
            let builds = whole["builds"].as_array().unwrap();
            assert_eq!(summary["builds_summary"]["total"], builds.len(), "{id}");
            for state in ["BUILD", "DONE", "FAILED", "CANCELED", "PLANNED"] {
                let count = builds.iter().filter(|build| build["state_name"] == state).count();
                assert_eq!(
                    summary["builds_summary"].get(state).map_or(0, |n| n.as_u64().unwrap()),
                    count as u64,
                    "{id}"
                );
            }
        }
    }
}

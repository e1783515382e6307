//! Wraps the storage and the catalogs for the engine: each call has a time limit, and a panic
//! becomes an error.
//!
//! A catalog without an answer is `Unavailable`: the message of the handler waits, and no try is
//! counted.
//!
//! A commit without an answer is `Unclear`, since it may be stored; every other call is
//! `Unavailable` and can be repeated. `Storage::migrate`, `Storage::backup` and
//! `StorageReads::check_consistency` have no limit, because the time that they take grows with what
//! is stored.

use super::calls::in_time;
use crate::artifact::ArtifactId;
use crate::backend::{
    BuildCount, BuildFilter, BuildLinks, Catalog, CatalogAnswer, CausedCount, Claim, Clock, Document, Documents, Due,
    DueLimits, Error, EventCount, EventFilter, Lease, Links, NewDocument, Notifications, Outbox, Overview, Page,
    Paging, Remedy, Result, Retention, Scope, Storage, StorageReads, StorageUpkeep, Swept, Violation,
};
use crate::plan::{Observation, Plan};
use crate::rebuild::{
    AttemptRecord, BuildId, BuildMode, BuildRecord, Commit, EventId, EventRecord, InboxRecord, InboxState,
    Neighbourhood, RowKey, RunId, Transition,
};
use crate::store::PLACE;
use async_trait::async_trait;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A storage with a time limit for each call.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) inner: Arc<dyn Storage>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limit: Duration,
}

impl Guarded {
    /// Returns the answer to a call; without one, an error with this remedy.
    async fn call<T>(&self, remedy: Remedy, what: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let answer = in_time(&*self.clock, self.limit, call).await;
        answer.unwrap_or_else(|none| Err(Error::new(remedy, format!("{PLACE}: {what}"), none)))
    }

    /// Returns the answer to a call that can be repeated.
    async fn ask<T>(&self, what: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.call(Remedy::Unavailable, what, call).await
    }
}

#[async_trait]
impl Storage for Guarded {
    fn upkeep(&self) -> &dyn StorageUpkeep {
        self
    }

    fn reads(&self) -> &dyn StorageReads {
        self
    }

    fn documents(&self) -> &dyn Documents {
        self
    }

    async fn lease(&self, held: Option<RunId>) -> Result<Lease> {
        self.ask("lease", self.inner.lease(held)).await
    }

    async fn release(&self, run: RunId) -> Result<()> {
        self.ask("release", self.inner.release(run)).await
    }

    async fn reserve(&self, count: u32) -> Result<i64> {
        self.ask("reserve", self.inner.reserve(count)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<InboxRecord>> {
        self.ask("claim", self.inner.claim(claim)).await
    }

    async fn load(&self, scope: &Scope) -> Result<Neighbourhood> {
        self.ask("load", self.inner.load(scope)).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.call(Remedy::Unclear, "commit", self.inner.commit(commit)).await
    }
}

#[async_trait]
impl StorageUpkeep for Guarded {
    async fn migrate(&self) -> Result<()> {
        self.inner.upkeep().migrate().await
    }

    async fn sweep(&self, run: RunId, retention: Retention, limit: u32) -> Result<Swept> {
        self.ask("sweep", self.inner.upkeep().sweep(run, retention, limit)).await
    }

    async fn changed(&self) {
        self.inner.upkeep().changed().await;
    }

    async fn backup(&self, to: &Path) -> Result<()> {
        self.inner.upkeep().backup(to).await
    }
}

#[async_trait]
impl StorageReads for Guarded {
    async fn due(&self, run: RunId, limits: DueLimits) -> Result<Due> {
        self.ask("due", self.inner.reads().due(run, limits)).await
    }

    async fn events(&self, filter: EventFilter, paging: Paging) -> Result<Page<EventRecord>> {
        self.ask("events", self.inner.reads().events(filter, paging)).await
    }

    async fn events_with_counts(
        &self,
        filter: EventFilter,
        paging: Paging,
    ) -> Result<Page<(EventRecord, Vec<CausedCount>)>> {
        self.ask("events_with_counts", self.inner.reads().events_with_counts(filter, paging)).await
    }

    async fn builds(&self, filter: BuildFilter, paging: Paging) -> Result<Page<BuildRecord>> {
        self.ask("builds", self.inner.reads().builds(filter, paging)).await
    }

    async fn builds_with_links(&self, filter: BuildFilter, paging: Paging) -> Result<Page<(BuildRecord, BuildLinks)>> {
        self.ask("builds_with_links", self.inner.reads().builds_with_links(filter, paging)).await
    }

    async fn count_events(&self, filter: EventFilter) -> Result<Vec<EventCount>> {
        self.ask("count_events", self.inner.reads().count_events(filter)).await
    }

    async fn count_builds(&self, filter: BuildFilter) -> Result<Vec<BuildCount>> {
        self.ask("count_builds", self.inner.reads().count_builds(filter)).await
    }

    async fn links(&self, builds: Vec<BuildId>) -> Result<Links> {
        self.ask("links", self.inner.reads().links(builds)).await
    }

    async fn attempts(&self, builds: Vec<BuildId>) -> Result<Vec<AttemptRecord>> {
        self.ask("attempts", self.inner.reads().attempts(builds)).await
    }

    async fn transitions(&self, of: &RowKey) -> Result<Vec<Transition>> {
        self.ask("transitions", self.inner.reads().transitions(of)).await
    }

    async fn message(&self, source: &str, message_id: &str) -> Result<Option<InboxRecord>> {
        self.ask("message", self.inner.reads().message(source, message_id)).await
    }

    async fn messages(&self, states: Vec<InboxState>, paging: Paging) -> Result<Page<InboxRecord>> {
        self.ask("messages", self.inner.reads().messages(states, paging)).await
    }

    async fn plan(&self, event: EventId) -> Result<Option<Plan>> {
        self.ask("plan", self.inner.reads().plan(event)).await
    }

    async fn durations(&self, mode: BuildMode, limit: u32) -> Result<Vec<Observation>> {
        self.ask("durations", self.inner.reads().durations(mode, limit)).await
    }

    async fn notifications(&self, partition: Option<u16>, after: i64, limit: u32) -> Result<Notifications> {
        self.ask("notifications", self.inner.reads().notifications(partition, after, limit)).await
    }

    async fn outbox(&self) -> Result<Outbox> {
        self.ask("outbox", self.inner.reads().outbox()).await
    }

    async fn overview(&self) -> Result<Overview> {
        self.ask("overview", self.inner.reads().overview()).await
    }

    async fn check_consistency(&self) -> Result<Vec<Violation>> {
        self.inner.reads().check_consistency().await
    }
}

#[async_trait]
impl Documents for Guarded {
    async fn get(&self, kind: &str, id: &str) -> Result<Option<Document>> {
        self.ask("get", self.inner.documents().get(kind, id)).await
    }

    async fn list(&self, kind: &str, before: Option<i64>, limit: u32) -> Result<Vec<Document>> {
        self.ask("list", self.inner.documents().list(kind, before, limit)).await
    }

    async fn put(&self, document: NewDocument) -> Result<Document> {
        self.call(Remedy::Unclear, "put", self.inner.documents().put(document)).await
    }

    async fn remove(&self, kind: &str, id: &str) -> Result<bool> {
        self.ask("remove", self.inner.documents().remove(kind, id)).await
    }
}

/// A catalog with a time limit for each call.
#[derive(Debug)]
pub(super) struct GuardedCatalog {
    pub(super) name: String,
    pub(super) inner: Arc<dyn Catalog>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limit: Duration,
}

impl GuardedCatalog {
    async fn ask(&self, call: impl Future<Output = Result<CatalogAnswer>>) -> Result<CatalogAnswer> {
        let answer = in_time(&*self.clock, self.limit, call).await;
        answer.unwrap_or_else(|none| Err(Error::new(Remedy::Unavailable, format!("catalog {}", self.name), none)))
    }
}

#[async_trait]
impl Catalog for GuardedCatalog {
    async fn dependents(&self, of: &[ArtifactId]) -> Result<CatalogAnswer> {
        self.ask(self.inner.dependents(of)).await
    }

    async fn describe(&self, ids: &[ArtifactId]) -> Result<CatalogAnswer> {
        self.ask(self.inner.describe(ids)).await
    }
}

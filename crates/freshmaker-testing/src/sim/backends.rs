use super::executor::{block_on, step};
use super::faults::Fault;
use super::world::{SETTLE, SYSTEMS, World};
use async_trait::async_trait;
use freshmaker::artifact::{Artifact, ArtifactId};
use freshmaker::backend::{
    BuildCount, BuildFilter, BuildRequest, BuildSystem, Bus, Capabilities, Catalog, CatalogAnswer, CausedCount, Claim,
    Clock, Delivery, DeliveryTag, Document, Documents, Due, DueLimits, Error, EventCount, EventFilter, Found, Lease,
    Links, Made, NewDocument, Notifications, Outbox, Overview, Page, Paging, Remedy, Result, Retention, Scope, Storage,
    StorageReads, StorageUpkeep, Swept, Verifier, Violation,
};
use freshmaker::event::Message;
use freshmaker::graph::ArtifactGraph;
use freshmaker::memory::MemoryCatalog;
use freshmaker::plan::{Observation, Plan};
use freshmaker::rebuild::{
    AttemptRecord, BuildId, BuildMode, BuildRecord, Commit, EventId, EventRecord, ExternalId, InboxRecord, InboxState,
    Neighbourhood, RowKey, RunId, SessionId, Transition, Verification,
};
use freshmaker::time::{Timestamp, later};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The world as the backends of one process see it. Every call is a place where the process may
/// die, the call may fail or take time.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) world: Arc<Mutex<World>>,
    /// Which process it is.
    pub(super) process: usize,
}

impl Shared {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.catch_up();
        world
    }

    async fn delay(&self) {
        step().await;
        let (clock, at) = {
            let mut world = self.world();
            let millis = world.rng.u64(..20);
            (world.clock.clone(), later(world.now(), Duration::from_millis(millis)))
        };
        clock.sleep_until(at).await;
    }

    /// What a call meets: nothing, or it fails, panics or never ends.
    async fn fails(&self, place: &str) -> Result<()> {
        self.fails_plainly(place)?;
        let hangs = {
            let mut world = self.world();
            let odd = world.weather.odd;
            if world.weather.odd_max == 0 || !world.chance(odd) {
                return Ok(());
            }
            world.weather.odd_max -= 1;
            let hangs = world.rng.bool();
            world.say(|| format!("{place} {}", if hangs { "hangs" } else { "panics" }));
            hangs
        };
        if hangs {
            return std::future::pending().await;
        }
        // Without a line for each on the terminal.
        std::panic::resume_unwind(Box::new(format!("{place} panics")))
    }

    /// As [`fails`](Self::fails), for a call that waits for messages for ever, or whose panic is
    /// the end of an event: it only fails.
    fn fails_plainly(&self, place: &str) -> Result<()> {
        let mut world = self.world();
        let chance = world.weather.backend_error;
        if world.weather.backend_errors_max > 0 && world.chance(chance) {
            world.weather.backend_errors_max -= 1;
            world.say(|| format!("{place} fails"));
            return Err(Error::new(Remedy::Unavailable, place, "the weather is bad"));
        }
        Ok(())
    }
}

/// A commit that takes effect at this moment, if it still fits then.
#[derive(Debug)]
pub(super) struct Late {
    at: Timestamp,
    /// The run that made it, also if the commit does not name it.
    run: Option<RunId>,
    commit: Commit,
}

/// The storage of one process. Its calls fail before or after they took effect, and take time.
#[derive(Debug)]
pub(super) struct SimStorage {
    pub(super) rows: Arc<dyn Storage>,
    pub(super) shared: Shared,
    pub(super) fault: Option<Fault>,
    /// Late commits, of all processes.
    pub(super) late: Arc<Mutex<Vec<Late>>>,
}

#[async_trait]
impl Storage for SimStorage {
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
        if held.is_some() {
            self.shared.delay().await;
            self.shared.fails("storage.lease, before").await?;
        }
        let lease = now(self.rows.lease(held))?;
        self.shared.world().leased(&lease);
        step().await;
        if held.is_some() {
            self.shared.fails("storage.lease, after it was done,").await?;
        }
        Ok(lease)
    }

    async fn release(&self, run: RunId) -> Result<()> {
        self.shared.delay().await;
        self.shared.fails("storage.release").await?;
        now(self.rows.release(run))?;
        self.shared.world().released(run);
        Ok(())
    }

    async fn reserve(&self, count: u32) -> Result<i64> {
        self.shared.delay().await;
        self.shared.fails("storage.reserve").await?;
        now(self.rows.reserve(count))
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<InboxRecord>> {
        step().await;
        self.shared.fails("storage.claim, before").await?;
        let claimed = now(self.rows.claim(claim))?;
        step().await;
        self.shared.fails("storage.claim, after it was done,").await?;
        Ok(claimed)
    }

    async fn load(&self, scope: &Scope) -> Result<Neighbourhood> {
        self.shared.delay().await;
        self.shared.fails("storage.load").await?;
        let loaded = now(self.rows.load(scope))?;
        step().await;
        Ok(loaded)
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.shared.delay().await;
        match self.meets_commit("storage.commit, before").await {
            // An engine that takes it for stored.
            Err(_) if self.fault == Some(Fault::UnclearTakenForStored) => return Ok(()),
            met => met?,
        }
        let run = commit.run;
        let commit = match self.fault {
            Some(fault) => fault.spoil(commit),
            None => commit,
        };
        if self.is_late() {
            let at = {
                let mut world = self.shared.world();
                let seconds = world.rng.u64(1..=70);
                later(world.now(), Duration::from_secs(seconds))
            };
            self.late.lock().unwrap_or_else(PoisonError::into_inner).push(Late { at, run, commit });
            // The answer is lost: whoever waits for it gives up, or has died by then.
            return std::future::pending().await;
        }
        now(self.rows.commit(commit))?;
        self.shared.world().committed(run);
        step().await;
        self.meets_commit("storage.commit, after it was done,").await
    }
}

#[async_trait]
impl StorageUpkeep for SimStorage {
    async fn migrate(&self) -> Result<()> {
        now(self.rows.upkeep().migrate())
    }

    async fn sweep(&self, run: RunId, retention: Retention, limit: u32) -> Result<Swept> {
        self.shared.delay().await;
        self.shared.fails("sweep").await?;
        let before = self.open()?;
        let swept = now(self.rows.upkeep().sweep(run, retention, limit))?;
        if self.open()? != before {
            self.shared.world().violation(format!("{swept:?} was removed, and some of it had not ended"));
        }
        self.shared.world().swept += swept.events;
        Ok(swept)
    }
}

impl SimStorage {
    /// Every question is a place where the process may die, and may fail.
    async fn asked(&self) -> Result<&dyn StorageReads> {
        step().await;
        self.shared.fails("storage.reads").await?;
        self.settle();
        Ok(self.rows.reads())
    }

    /// As [`asked`](Self::asked), for documents.
    async fn kept(&self) -> Result<&dyn Documents> {
        step().await;
        self.shared.fails("storage.documents").await?;
        Ok(self.rows.documents())
    }

    /// What has not ended, in numbers.
    fn open(&self) -> Result<[u64; 4]> {
        let overview = now(self.rows.reads().overview())?;
        let Overview { events_open, builds_waiting, builds_running, messages_waiting, .. } = overview;
        Ok([events_open, builds_waiting, builds_running, messages_waiting])
    }

    /// An error of a commit may leave open whether it was stored.
    async fn meets_commit(&self, place: &str) -> Result<()> {
        let met = self.shared.fails(place).await;
        let unclear = self.shared.world().rng.bool();
        match met {
            Err(error) if unclear => Err(error.with_remedy(Remedy::Unclear)),
            met => met,
        }
    }

    /// Whether the next commit takes effect when nobody waits for it any more.
    fn is_late(&self) -> bool {
        let mut world = self.shared.world();
        let chance = world.weather.late_commit;
        let late = world.weather.odd_max > 0 && world.chance(chance);
        if late {
            world.weather.odd_max -= 1;
            world.say(|| "a commit takes effect later".to_owned());
        }
        late
    }

    /// Lets late commits take effect whose time has come. The storage refuses what no longer fits.
    fn settle(&self) {
        let at = self.shared.world().now();
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let (due, rest) = std::mem::take(&mut *late).into_iter().partition(|late| late.at <= at);
        *late = rest;
        drop(late);
        for Late { run, commit, .. } in due {
            if now(self.rows.commit(commit)).is_ok() {
                self.shared.world().committed(run);
            }
        }
    }
}

/// The output of a call of the storage, which is made at once: only the wrapper takes time. A
/// storage that works on threads of its own is waited for.
fn now<T>(call: impl Future<Output = T>) -> T {
    block_on(call)
}

#[async_trait]
impl StorageReads for SimStorage {
    async fn due(&self, run: RunId, limits: DueLimits) -> Result<Due> {
        let mut due = now(self.asked().await?.due(run, limits))?;
        if self.fault == Some(Fault::NoConcurrencyLimit) {
            due.live.clear();
        }
        Ok(due)
    }

    async fn events(&self, filter: EventFilter, paging: Paging) -> Result<Page<EventRecord>> {
        now(self.asked().await?.events(filter, paging))
    }

    async fn builds(&self, filter: BuildFilter, paging: Paging) -> Result<Page<BuildRecord>> {
        now(self.asked().await?.builds(filter, paging))
    }

    async fn count_events(&self, filter: EventFilter) -> Result<Vec<EventCount>> {
        now(self.asked().await?.count_events(filter))
    }

    async fn count_builds(&self, filter: BuildFilter) -> Result<Vec<BuildCount>> {
        now(self.asked().await?.count_builds(filter))
    }

    async fn count_caused(&self, events: Vec<EventId>) -> Result<Vec<CausedCount>> {
        now(self.asked().await?.count_caused(events))
    }

    async fn links(&self, builds: Vec<BuildId>) -> Result<Links> {
        now(self.asked().await?.links(builds))
    }

    async fn attempts(&self, builds: Vec<BuildId>) -> Result<Vec<AttemptRecord>> {
        now(self.asked().await?.attempts(builds))
    }

    async fn transitions(&self, of: &RowKey) -> Result<Vec<Transition>> {
        now(self.asked().await?.transitions(of))
    }

    async fn message(&self, source: &str, message_id: &str) -> Result<Option<InboxRecord>> {
        now(self.asked().await?.message(source, message_id))
    }

    async fn messages(&self, states: Vec<InboxState>, paging: Paging) -> Result<Page<InboxRecord>> {
        now(self.asked().await?.messages(states, paging))
    }

    async fn plan(&self, event: EventId) -> Result<Option<Plan>> {
        now(self.asked().await?.plan(event))
    }

    async fn durations(&self, mode: BuildMode, limit: u32) -> Result<Vec<Observation>> {
        now(self.asked().await?.durations(mode, limit))
    }

    async fn notifications(&self, partition: Option<u16>, after: i64, limit: u32) -> Result<Notifications> {
        now(self.asked().await?.notifications(partition, after, limit))
    }

    async fn outbox(&self) -> Result<Outbox> {
        now(self.asked().await?.outbox())
    }

    async fn overview(&self) -> Result<Overview> {
        now(self.asked().await?.overview())
    }

    async fn check_consistency(&self) -> Result<Vec<Violation>> {
        now(self.rows.reads().check_consistency())
    }
}

#[async_trait]
impl Documents for SimStorage {
    async fn get(&self, kind: &str, id: &str) -> Result<Option<Document>> {
        now(self.kept().await?.get(kind, id))
    }

    async fn list(&self, kind: &str, before: Option<i64>, limit: u32) -> Result<Vec<Document>> {
        let documents = now(self.kept().await?.list(kind, before, limit))?;
        Ok(if self.fault == Some(Fault::PausesNotAsked) { Vec::new() } else { documents })
    }

    async fn put(&self, document: NewDocument) -> Result<Document> {
        now(self.kept().await?.put(document))
    }

    async fn remove(&self, kind: &str, id: &str) -> Result<bool> {
        now(self.kept().await?.remove(kind, id))
    }
}

/// A bus that only takes notifications, and that may be down for a day.
#[derive(Debug)]
pub(super) struct SimListener(pub(super) Shared);

#[async_trait]
impl Bus for SimListener {
    async fn receive(&self, _: usize) -> Result<Vec<Delivery>> {
        std::future::pending().await
    }

    async fn acknowledge(&self, _: &[DeliveryTag]) -> Result<()> {
        Ok(())
    }

    async fn publish(&self, message: &Message) -> Result<()> {
        step().await;
        if self.0.world().listener_is_down {
            return Err(Error::new(Remedy::Unavailable, "listener.publish", "it is down"));
        }
        self.0.fails("listener.publish").await?;
        self.0.world().heard.push(message.clone());
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct SimBus(pub(super) Shared);

#[async_trait]
impl Bus for SimBus {
    async fn receive(&self, limit: usize) -> Result<Vec<Delivery>> {
        loop {
            self.0.delay().await;
            self.0.fails_plainly("bus.receive")?;
            let clock = {
                let mut world = self.0.world();
                let count = limit.min(world.bus.waiting.len());
                if count > 0 {
                    let taken: Vec<_> = world.bus.waiting.drain(..count).collect();
                    let process = self.0.process;
                    world.bus.delivered.extend(taken.iter().cloned().map(|(tag, message)| (tag, (process, message))));
                    return Ok(taken
                        .into_iter()
                        .map(|(tag, message)| Delivery { tag: DeliveryTag(tag), message })
                        .collect());
                }
                world.clock.clone()
            };
            clock.sleep(Duration::from_secs(1)).await;
        }
    }

    async fn acknowledge(&self, tags: &[DeliveryTag]) -> Result<()> {
        self.0.delay().await;
        self.0.fails("bus.acknowledge").await?;
        let mut world = self.0.world();
        for tag in tags {
            if let Some((_, message)) = world.bus.delivered.remove(&tag.0) {
                world.bus.acknowledged.insert(message.id);
            }
        }
        Ok(())
    }

    async fn publish(&self, message: &Message) -> Result<()> {
        step().await;
        self.0.fails("bus.publish, before").await?;
        self.0.world().bus.published.push(message.clone());
        step().await;
        self.0.fails("bus.publish, after it was done,").await
    }
}

/// A catalog that knows a part of the images, the parents of these, and nothing else. The first one
/// has what is no image as well.
#[derive(Debug)]
pub(super) struct SimCatalog {
    pub(super) shared: Shared,
    pub(super) part: u32,
    pub(super) parts: u32,
}

impl SimCatalog {
    /// What it knows, with the contents that are there now.
    fn present(&self) -> MemoryCatalog {
        let world = self.shared.world();
        let mut graph = ArtifactGraph::new();
        let add = |id: &ArtifactId, graph: &mut ArtifactGraph| {
            if let Some(artifact) = world.graph.get(id) {
                let digest = world.outputs.get(id).cloned();
                graph.insert(Artifact { digest, ..artifact.clone() });
            }
        };
        for artifact in world.graph.artifacts().filter(|artifact| self.knows(&artifact.id)) {
            add(&artifact.id, &mut graph);
            for (parent, kind) in world.graph.parents(&artifact.id) {
                add(parent, &mut graph);
                // Both ends are there.
                let _ = graph.depend(artifact.id.clone(), parent.clone(), kind);
            }
        }
        MemoryCatalog::new(graph)
    }

    fn knows(&self, id: &ArtifactId) -> bool {
        let number = id.as_str().strip_prefix("image").and_then(|number| number.parse::<u32>().ok());
        number.unwrap_or_default() % self.parts == self.part
    }
}

#[async_trait]
impl Catalog for SimCatalog {
    async fn dependents(&self, of: &[ArtifactId]) -> Result<CatalogAnswer> {
        self.shared.delay().await;
        self.shared.fails_plainly("catalog.dependents")?;
        now(self.present().dependents(of))
    }

    async fn describe(&self, ids: &[ArtifactId]) -> Result<CatalogAnswer> {
        self.shared.delay().await;
        self.shared.fails_plainly("catalog.describe")?;
        now(self.present().describe(ids))
    }
}

/// Counts one that submits, until it has an answer, gives up or dies.
struct Submitting<'a>(&'a SimBuilds);

impl<'a> Submitting<'a> {
    fn new(builds: &'a SimBuilds) -> Self {
        builds.shared.world().submit(builds.shared.process, builds.system);
        Self(builds)
    }
}

impl Drop for Submitting<'_> {
    fn drop(&mut self) {
        self.0.shared.world().submitted(self.0.shared.process, self.0.system);
    }
}

#[derive(Debug)]
pub(super) struct SimBuilds {
    pub(super) shared: Shared,
    pub(super) system: &'static str,
}

impl SimBuilds {
    /// The first build system, as the same process sees it.
    pub(super) fn first(&self) -> Self {
        Self { shared: self.shared.clone(), system: SYSTEMS[0] }
    }
}

#[async_trait]
impl BuildSystem for SimBuilds {
    fn capabilities(&self) -> Capabilities {
        let submissions = Some(self.shared.world().submissions());
        Capabilities { lookup: true, settle: SETTLE, poll: Duration::from_secs(20), submissions }
    }

    async fn session(&self) -> Result<Option<SessionId>> {
        self.shared.delay().await;
        self.shared.fails("builds.session").await?;
        Ok(Some(self.shared.world().open_session(self.shared.process)))
    }

    fn is_here(&self, session: &SessionId) -> bool {
        self.shared.world().is_here(self.shared.process, Some(session))
    }

    async fn fence(&self, session: &SessionId) -> Result<()> {
        self.shared.delay().await;
        self.shared.fails("builds.fence, before").await?;
        self.shared.world().close_session(session);
        step().await;
        self.shared.fails("builds.fence, after it was done,").await
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        let _submitting = Submitting::new(self);
        self.shared.delay().await;
        let place = "builds.submit";
        let (clock, arrival, lost) = {
            let mut world = self.shared.world();
            let refused = world.weather.lost_request / 2;
            if world.chance(refused) {
                return Err(Error::new(Remedy::Unavailable, place, "connection refused"));
            }
            let arrival = world.request(self.system, request.clone());
            let lost = world.weather.lost_answer;
            (world.clock.clone(), arrival, world.chance(lost))
        };
        match arrival {
            Some(at) if !lost => clock.sleep_until(at).await,
            // The connection breaks, before or after the request takes effect; or nothing ever
            // comes back.
            _ if self.shared.world().rng.bool() => {
                self.shared.delay().await;
                return Err(Error::new(Remedy::Unclear, place, "connection reset"));
            }
            _ => std::future::pending().await,
        }
        step().await;
        let found = self.shared.world().find(self.shared.process, self.system, &request.attempt);
        found
            .into_iter()
            .next()
            .map(|found| found.external)
            .ok_or_else(|| Error::new(Remedy::Unclear, place, "no task"))
    }

    async fn find(&self, request: &BuildRequest, _: Timestamp) -> Result<Vec<Found>> {
        self.shared.delay().await;
        self.shared.fails("builds.find").await?;
        Ok(self.shared.world().find(self.shared.process, self.system, &request.attempt))
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        self.shared.delay().await;
        self.shared.fails("builds.status").await?;
        Ok(self.shared.world().status(self.shared.process, self.system, ids))
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        self.shared.delay().await;
        self.shared.fails("builds.cancel").await?;
        self.shared.world().cancel(self.shared.process, self.system, id);
        Ok(())
    }
}

/// Sees what a build was really made of.
#[derive(Debug)]
pub(super) struct SimVerifier(pub(super) Shared);

#[async_trait]
impl Verifier for SimVerifier {
    async fn verify(&self, made: &Made) -> Result<Verification> {
        self.0.delay().await;
        self.0.fails("verifier.verify").await?;
        let stale = self.0.world().is_stale(&made.external);
        Ok(if stale { Verification::Stale("it is made of old packages".into()) } else { Verification::Passed(None) })
    }
}

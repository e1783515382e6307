use super::executor::step;
use super::world::{SETTLE, World};
use async_trait::async_trait;
use freshmaker::artifact::ArtifactId;
use freshmaker::backend::{
    Answer, BuildRequest, BuildSystem, Bus, Capabilities, Catalog, Claim, Clock, Delivery, DeliveryTag, Error, Found,
    Made, Query, Remedy, Result, Scope, Storage, Verifier, Violation,
};
use freshmaker::event::Message;
use freshmaker::graph::ArtifactGraph;
use freshmaker::memory::MemoryStorage;
use freshmaker::rebuild::{ExternalId, InboxRecord, Neighbourhood, RowChange, SessionId, Verification};
use freshmaker::time::{Timestamp, later};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The world as the backends see it. Every call is a place where the process may die, the call may fail or take time.
#[derive(Clone, Debug)]
pub(super) struct Shared(pub(super) Arc<Mutex<World>>);

impl Shared {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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

    fn fails(&self, place: &str) -> Result<()> {
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

#[derive(Debug)]
pub(super) struct SimStorage {
    pub(super) rows: Arc<MemoryStorage>,
    pub(super) shared: Shared,
}

#[async_trait]
impl Storage for SimStorage {
    async fn migrate(&self) -> Result<()> {
        self.rows.migrate().await
    }

    async fn lease(&self, name: &str, at: Timestamp) -> Result<i64> {
        self.rows.lease(name, at).await
    }

    async fn reserve(&self, count: u32) -> Result<i64> {
        self.shared.delay().await;
        self.shared.fails("storage.reserve")?;
        self.rows.reserve(count).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<InboxRecord>> {
        step().await;
        self.shared.fails("storage.claim, before")?;
        let claimed = self.rows.claim(claim).await?;
        step().await;
        self.shared.fails("storage.claim, after it was done,")?;
        Ok(claimed)
    }

    async fn load(&self, scope: &Scope) -> Result<Neighbourhood> {
        self.shared.delay().await;
        self.shared.fails("storage.load")?;
        let loaded = self.rows.load(scope).await?;
        step().await;
        Ok(loaded)
    }

    async fn transact(&self, changes: Vec<RowChange>) -> Result<()> {
        self.shared.delay().await;
        self.shared.fails("storage.transact, before")?;
        self.rows.transact(changes).await?;
        step().await;
        self.shared.fails("storage.transact, after it was done,")
    }

    async fn query(&self, query: &Query) -> Result<Answer> {
        step().await;
        self.shared.fails("storage.query")?;
        self.rows.query(query).await
    }

    async fn check_consistency(&self) -> Result<Vec<Violation>> {
        self.rows.check_consistency().await
    }
}

#[derive(Debug)]
pub(super) struct SimBus(pub(super) Shared);

#[async_trait]
impl Bus for SimBus {
    async fn receive(&self, limit: usize) -> Result<Vec<Delivery>> {
        loop {
            self.0.delay().await;
            self.0.fails("bus.receive")?;
            let clock = {
                let mut world = self.0.world();
                let count = limit.min(world.bus.waiting.len());
                if count > 0 {
                    let taken: Vec<_> = world.bus.waiting.drain(..count).collect();
                    world.bus.delivered.extend(taken.iter().cloned());
                    return Ok(taken
                        .into_iter()
                        .map(|(tag, message)| Delivery { tag: DeliveryTag(tag), message })
                        .collect());
                }
                world.clock.clone()
            };
            clock.sleep_until(later(clock.now(), Duration::from_secs(1))).await;
        }
    }

    async fn acknowledge(&self, tags: &[DeliveryTag]) -> Result<()> {
        self.0.delay().await;
        self.0.fails("bus.acknowledge")?;
        let mut world = self.0.world();
        for tag in tags {
            if let Some(message) = world.bus.delivered.remove(&tag.0) {
                world.bus.acknowledged.insert(message.id);
            }
        }
        Ok(())
    }

    async fn publish(&self, message: &Message) -> Result<()> {
        step().await;
        self.0.fails("bus.publish, before")?;
        self.0.world().bus.published.push(message.clone());
        step().await;
        self.0.fails("bus.publish, after it was done,")
    }
}

#[derive(Debug)]
pub(super) struct SimCatalog(pub(super) Shared);

impl SimCatalog {
    /// The graph with the contents that are there now.
    fn present(&self) -> ArtifactGraph {
        let world = self.0.world();
        let mut graph = world.graph.clone();
        for artifact in world.graph.artifacts() {
            if let Some(digest) = world.outputs.get(&artifact.id) {
                graph.insert(artifact.clone().with_digest(digest.clone()));
            }
        }
        graph
    }
}

#[async_trait]
impl Catalog for SimCatalog {
    async fn dependents(&self, of: &[ArtifactId]) -> Result<ArtifactGraph> {
        self.0.delay().await;
        self.0.fails("catalog.dependents")?;
        Ok(self.present().affected_by(of))
    }

    async fn describe(&self, _: &[ArtifactId]) -> Result<ArtifactGraph> {
        self.0.delay().await;
        Ok(self.present())
    }
}

/// Counts one that submits, until it has an answer, gives up or dies.
struct Submitting<'a>(&'a Shared);

impl<'a> Submitting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.world().submit();
        Self(shared)
    }
}

impl Drop for Submitting<'_> {
    fn drop(&mut self) {
        self.0.world().submitting -= 1;
    }
}

#[derive(Debug)]
pub(super) struct SimBuilds(pub(super) Shared);

#[async_trait]
impl BuildSystem for SimBuilds {
    fn capabilities(&self) -> Capabilities {
        let submissions = Some(self.0.world().submissions());
        Capabilities { lookup: true, settle: SETTLE, poll: Duration::from_secs(20), submissions }
    }

    async fn session(&self) -> Result<Option<SessionId>> {
        self.0.delay().await;
        self.0.fails("builds.session")?;
        Ok(Some(self.0.world().open_session()))
    }

    async fn fence(&self, session: &SessionId) -> Result<()> {
        self.0.delay().await;
        self.0.fails("builds.fence, before")?;
        self.0.world().close_session(session);
        step().await;
        self.0.fails("builds.fence, after it was done,")
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        let _submitting = Submitting::new(&self.0);
        self.0.delay().await;
        let place = "builds.submit";
        let (clock, arrival, lost) = {
            let mut world = self.0.world();
            let refused = world.weather.lost_request / 2;
            if world.chance(refused) {
                return Err(Error::new(Remedy::Unavailable, place, "connection refused"));
            }
            let arrival = world.request(request.clone());
            let lost = world.weather.lost_answer;
            (world.clock.clone(), arrival, world.chance(lost))
        };
        match arrival {
            Some(at) if !lost => clock.sleep_until(at).await,
            // The connection breaks, before or after the request takes effect; or nothing ever comes back.
            _ if self.0.world().rng.bool() => {
                self.0.delay().await;
                return Err(Error::new(Remedy::Unclear, place, "connection reset"));
            }
            _ => std::future::pending().await,
        }
        step().await;
        let found = self.0.world().find(&request.attempt);
        found
            .into_iter()
            .next()
            .map(|found| found.external)
            .ok_or_else(|| Error::new(Remedy::Unclear, place, "no task"))
    }

    async fn find(&self, request: &BuildRequest, _: Timestamp) -> Result<Vec<Found>> {
        self.0.delay().await;
        self.0.fails("builds.find")?;
        Ok(self.0.world().find(&request.attempt))
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        self.0.delay().await;
        self.0.fails("builds.status")?;
        Ok(self.0.world().status(ids))
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        self.0.delay().await;
        self.0.fails("builds.cancel")?;
        self.0.world().cancel(id);
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
        self.0.fails("verifier.verify")?;
        let stale = self.0.world().is_stale(&made.external);
        Ok(if stale { Verification::Stale("it is made of old packages".into()) } else { Verification::Passed(None) })
    }
}

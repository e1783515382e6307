//! The catalogs, build systems and verifiers of one process in the simulated world.

use super::executor::{block_on, step};
use super::trouble::Trouble;
use super::world::{SETTLE, SYSTEMS, World};
use async_trait::async_trait;
use freshmaker::artifact::{Artifact, ArtifactId};
use freshmaker::backend::{
    BuildRequest, BuildSystem, Capabilities, Catalog, CatalogAnswer, Error, Found, Made, Remedy, Result, Verifier,
};
use freshmaker::graph::ArtifactGraph;
use freshmaker::memory::MemoryCatalog;
use freshmaker::rebuild::{ExternalId, SessionId, Verification};
use freshmaker::time::{Timestamp, later};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The process of a person with a client: nothing fails there.
pub(super) const PERSON: usize = usize::MAX;

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

    pub(super) async fn delay(&self) {
        step().await;
        let (clock, at) = {
            let mut world = self.world();
            let millis = world.rng.u64(..20);
            (world.clock.clone(), later(world.now(), Duration::from_millis(millis)))
        };
        clock.sleep_until(at).await;
    }

    /// What a call meets: nothing, or it fails, panics or never ends.
    pub(super) async fn fails(&self, place: &str) -> Result<()> {
        self.fails_plainly(place)?;
        let hangs = {
            let mut world = self.world();
            let odd = world.weather.odd;
            if self.process == PERSON || world.weather.odd_max == 0 || !world.chance(odd) {
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

    /// As [`fails`](Self::fails), for a call that waits for messages for ever: it only fails.
    pub(super) fn fails_plainly(&self, place: &str) -> Result<()> {
        let mut world = self.world();
        let chance = world.weather.backend_error;
        if self.process != PERSON && world.weather.backend_errors_max > 0 && world.chance(chance) {
            world.weather.backend_errors_max -= 1;
            world.say(|| format!("{place} fails"));
            return Err(Error::new(Remedy::Unavailable, place, "the weather is bad"));
        }
        Ok(())
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

    /// A panic is one of the handler that asks, which is the end of its event.
    async fn answers(&self, place: &str) -> Result<()> {
        self.shared.delay().await;
        if self.shared.world().suffers(Trouble::Catalogs) {
            return Err(Error::new(Remedy::Unavailable, place, "it is down for hours"));
        }
        self.shared.fails_plainly(place)?;
        let (panics, hangs) = {
            let mut world = self.shared.world();
            let odd = world.weather.odd_catalog;
            let odd = world.chance(odd);
            let panics = odd && world.rng.bool();
            world.catalog_panics += u64::from(panics);
            (panics, odd && !panics)
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        if panics {
            std::panic::resume_unwind(Box::new(format!("{place} panics")));
        }
        Ok(())
    }

    fn knows(&self, id: &ArtifactId) -> bool {
        let number = id.as_str().strip_prefix("image").and_then(|number| number.parse::<u32>().ok());
        number.unwrap_or_default() % self.parts == self.part
    }
}

#[async_trait]
impl Catalog for SimCatalog {
    async fn dependents(&self, of: &[ArtifactId]) -> Result<CatalogAnswer> {
        self.answers("catalog.dependents").await?;
        now(self.present().dependents(of))
    }

    async fn describe(&self, ids: &[ArtifactId]) -> Result<CatalogAnswer> {
        self.answers("catalog.describe").await?;
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
            if world.victim == request.artifact {
                world.asked(format!("submit a try of build {}", request.build));
            }
            if world.ails(Trouble::Sending, &request.artifact) || world.chance(refused) {
                return Err(Error::new(Remedy::Unavailable, place, "connection refused"));
            }
            let arrival = world.request(self.system, request.clone());
            let lost = world.weather.lost_answer;
            let lost = world.chance(lost) || world.ails(Trouble::Lookups, &request.artifact);
            (world.clock.clone(), arrival, lost)
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
        {
            let mut world = self.shared.world();
            if world.ails(Trouble::Lookups, &request.artifact) {
                world.asked(format!("find({})", request.attempt));
                return Err(Error::new(Remedy::Unavailable, "builds.find", "it finds nothing for hours"));
            }
        }
        Ok(self.shared.world().find(self.shared.process, self.system, &request.attempt))
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        self.shared.delay().await;
        self.shared.fails("builds.status").await?;
        if self.shared.world().some_ail(Trouble::Status, ids) {
            return Err(Error::new(Remedy::Unavailable, "builds.status", "one of them is odd"));
        }
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
        if self.0.world().ails(Trouble::Verification, &made.request.artifact) {
            self.0.world().asked(format!("verify({})", made.request.attempt));
            std::future::pending::<()>().await;
        }
        let stale = self.0.world().is_stale(&made.external);
        Ok(if stale { Verification::Stale("it is made of old packages".into()) } else { Verification::Passed(None) })
    }
}

/// The output of a call that is made at once: only what is around it takes time. A storage that
/// works on threads of its own is waited for.
pub(super) fn now<T>(call: impl Future<Output = T>) -> T {
    block_on(call)
}

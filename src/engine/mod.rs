//! Runs the engine: turns effects into calls of backends, and answers into inputs.
//!
//! All stages run inside the one future of [`Engine::run_until`]. Nothing is spawned, so dropping
//! that future is the same as a crash, and a simulation can control every step. The stages are
//! joined by stored rows; wake-ups between them only save time.
//!
//! # One run
//!
//! A run begins when the engine takes a lease of the storage, and ends when the stop was requested
//! or the lease is lost. After a lost lease the engine drops all stages of the run, with the calls
//! that they wait for (but not `ingest`, whose messages belong to no run), and begins the next run
//! with fresh stages. The old run hands nothing to the next one: what is to be done follows from
//! the rows, and the storage refuses every write of the run that is over.
//!
//! # What happens when something fails
//!
//! * A backend fails: the stage waits for a pause or a back-off, and repeats the step from fresh
//!   rows.
//! * A backend does not answer, or panics: each call is dropped after its time limit. A submission
//!   is then unclear and is looked up; any other call has failed.
//! * An answer comes late or twice: the input does not fit the stored state, and changes nothing.
//! * The process dies: the next run derives the same work from the rows. Messages that were
//!   claimed, and attempts whose outcome is open, are free for it as soon as the lease of the dead
//!   run is over.

mod admission;
mod announce;
mod backoff;
mod breaker;
mod builder;
mod calls;
mod clock;
mod commit;
mod core;
mod decision;
mod drive;
mod group;
mod guarded;
mod hints;
mod inbox;
mod ingest;
mod lease;
mod message;
mod options;
mod outages;
mod overtaken;
mod preview;
mod publish;
mod registry;
mod replica;
mod repositories;
mod retention;
mod retry_event;
mod verify;
mod watch;

pub use announce::{Announcement, Announcer};
pub use builder::{ConfigError, EngineBuilder};
pub use clock::SystemClock;
pub use preview::{Preview, PreviewOutcome, Previewed};

use self::core::Core;
use self::lease::Ended;
use crate::backend::Error;
use crate::client::{Client, Replica};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, join, select};
use futures_util::pin_mut;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::future::Future;
use std::sync::Arc;

/// Reads messages, asks handlers, plans, submits, follows and announces, until it is stopped.
///
/// ```
/// use freshmaker::memory::{MemoryBuildSystem, MemoryBus, MemoryCatalog, MemoryStorage};
/// use freshmaker::handler::{ImagePushed, rebuild_dependents};
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine};
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut graph = ArtifactGraph::new();
/// graph.insert(Artifact::new("debian", ArtifactKind::Image));
/// graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
/// graph.depend("app", "debian", EdgeKind::ParentImage)?;
///
/// let engine = Engine::builder()
///     .bus("main", Arc::new(MemoryBus::new()))
///     .storage(Arc::new(MemoryStorage::new()))
///     .catalog("images", Arc::new(MemoryCatalog::new(graph)))
///     .build_system("builder", Arc::new(MemoryBuildSystem::new()))
///     .on(rebuild_dependents)
///     .build()?;
///
/// let client = engine.client();
/// client.send(&ImagePushed { image: "debian".into(), digest: None }).await?;
/// engine.run_until(client.wait_until_idle()).await?;
/// assert_eq!(client.overview().await?.builds_done, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Engine {
    core: Arc<Core>,
}

impl Engine {
    /// Returns a builder without any parts. It needs at least a storage, a catalog and a handler.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::new()
    }

    /// Returns a client of this engine's storage, which shares its wake-ups and can preview. It
    /// works whether or not the engine runs.
    #[must_use]
    pub fn client(&self) -> Client {
        self.core.client.clone()
    }

    /// Returns the configuration that this engine shows to the other replicas, without the number
    /// of a run; `None` if the engine [has no name](EngineBuilder::replica).
    #[must_use]
    pub fn replica(&self) -> Option<Replica> {
        replica::of(&self.core)
    }

    /// Runs until `shutdown` completes; then takes no new work, waits for calls under way (at most
    /// [`shutdown_grace`](EngineBuilder::shutdown_grace)) and returns. Dropping the future instead
    /// is the same as a crash, and loses nothing either. The engine can be run again afterwards.
    ///
    /// The future ends by itself only with an error; builds that run in build systems are not
    /// affected. Beside a server, run it in a task that owns the engine, and let the end of either
    /// one end the process:
    ///
    /// ```no_run
    /// # async fn service(engine: freshmaker::Engine, server: impl Future<Output = ()>) -> Result<(), Box<dyn std::error::Error>> {
    /// let client = engine.client(); // for the routes of the server
    /// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// let mut running = tokio::spawn(async move { engine.run_until(async { drop(stopped.await) }).await });
    /// tokio::select! {
    ///     ended = &mut running => return Ok(ended??), // for example: the storage is in use by another process
    ///     () = server => {}
    ///     _ = tokio::signal::ctrl_c() => {}
    /// }
    /// drop(stop);
    /// running.await??;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// * The storage cannot be migrated, or the first request for a lease fails, for whatever
    ///   reason.
    /// * The storage is in use by another process and serves only one.
    /// * This engine runs already. Once a call has ended, or its future was dropped, there can be
    ///   another one.
    /// * After a lost lease, the request for a new one fails with an error that is not transient.
    ///
    /// All other errors are repeated or end in the rows.
    pub async fn run_until(&self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let _started = self.core.start()?;
        let runs = self.runs();
        pin_mut!(shutdown);
        match select(shutdown, runs).await {
            Either::Left(((), runs)) => {
                self.core.stop();
                runs.await
            }
            Either::Right((ended, _)) => ended,
        }
    }

    /// Runs one run after another, until the stop was requested: after a lost lease the next run
    /// begins.
    ///
    /// A run that ends because the stop was requested gives its lease back. An error comes only
    /// from the start of a run, see `Core::begin`. The function is not generic, so that all stages
    /// are compiled once.
    fn runs(&self) -> BoxFuture<'_, Result<(), Error>> {
        async {
            let core = &*self.core;
            // They go on when a run is over: a bus does not deliver again what it has delivered to
            // a connection that still holds. A message is stored in the same way for every run.
            let ingest = core.buses.iter().map(|(name, bus)| ingest::run(core, name, bus.as_ref()).boxed());
            let mut ingest = ingest.collect::<FuturesUnordered<_>>();
            loop {
                let lease = core.begin().await?;
                let run = lease.run;
                tracing::info!(engine.run = %run, "engine started");
                match live(core, &mut ingest).await {
                    Ended::Stopped => {
                        core.end().await;
                        tracing::info!(engine.run = %run, "engine stopped");
                        return Ok(());
                    }
                    Ended::Lost => tracing::warn!(
                        engine.run = %run,
                        "the lease of this run is lost; calls under way are left to be looked up by the next run"
                    ),
                }
            }
        }
        .boxed()
    }
}

/// Runs all stages of one run, and returns why they are over.
///
/// The `ingest` stages, one for each bus, outlive the run. There is one `publish` stage for each
/// bus (one in all if there is no bus), and one stage each for messages, ready builds, attempts,
/// results and retention. Three things end the run, and the first one decides:
///
/// * All stages have returned. They do so after the stop was requested, once their calls have
///   ended.
/// * The stop was requested and `shutdown_grace` has passed. Calls that are still under way are
///   dropped; a submission among them is looked up by the next run.
/// * The lease is lost.
async fn live(core: &Core, ingest: &mut FuturesUnordered<BoxFuture<'_, ()>>) -> Ended {
    let mut stages = FuturesUnordered::new();
    stages.push(message::run(core).boxed());
    stages.push(drive::run(core).boxed());
    stages.push(watch::run(core).boxed());
    stages.push(verify::run(core).boxed());
    stages.push(retention::run(core).boxed());
    stages.push(replica::run(core).boxed());
    stages.extend(publish::stages(core));
    let received = async { while ingest.next().await.is_some() {} };
    // Groups are decided on as long as any stage reports something.
    let stages = select(join(received, stages.collect::<()>()).boxed(), group::run(core).boxed());
    let stopped = async {
        core.stopped().await;
        core.sleep(core.options.shutdown_grace).await;
        tracing::warn!(engine.run = %core.run(), "calls under way did not end in time; the next run looks them up");
    };
    let lost = lease::keep(core);
    let hearing = core.hear();
    pin_mut!(stages, stopped, lost, hearing);
    match select(select(select(stages, hearing), stopped), lost).await {
        Either::Left(_) => Ended::Stopped,
        Either::Right(_) => Ended::Lost,
    }
}

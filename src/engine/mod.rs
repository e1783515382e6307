//! The shell: turns effects into calls and answers into inputs.
//!
//! All stages run inside the one future of [`Engine::run_until`]: nothing is spawned, so dropping that future is the same as a crash,
//! and a simulation can own every step. What joins the stages is stored rows; wake-ups between them only save time.

mod announce;
mod breaker;
mod builder;
mod catalogs;
mod clock;
mod commit;
mod core;
mod dispatch;
mod drive;
mod handle;
mod hints;
mod ingest;
mod prepared;
mod publish;
mod registry;
mod verify;
mod watch;

pub use announce::{Announcement, Announcer};
pub use builder::{ConfigError, EngineBuilder};
pub use clock::SystemClock;
pub use handle::{Handle, Overview, Subscription};

use self::core::Core;
use crate::backend::Error;
use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, pin_mut};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Reads messages, asks handlers, plans, submits, follows and tells; until it is told to stop.
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
/// let handle = engine.handle();
/// handle.send(&ImagePushed { image: "debian".into(), digest: None }).await?;
/// engine.run_until(handle.wait_until_idle()).await?;
/// assert_eq!(handle.overview().await?.builds_done, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Engine {
    core: Arc<Core>,
}

impl Engine {
    /// Starts to configure an engine.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::new()
    }

    /// A way to talk to this engine, from anywhere in the process, running or not.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.core))
    }

    /// Runs until `shutdown` completes; then takes no new work, waits for calls under way (at most
    /// [`shutdown_grace`](EngineBuilder::shutdown_grace)) and returns. Dropping the future instead loses nothing either.
    ///
    /// It ends by itself only with an error, and builds go on without it. Beside a server, it is a task that owns the engine; whoever
    /// ends first ends the process:
    ///
    /// ```no_run
    /// # async fn service(engine: freshmaker::Engine, server: impl Future<Output = ()>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = engine.handle(); // for the routes of the server
    /// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// let mut running = tokio::spawn(async move { engine.run_until(async { drop(stopped.await) }).await });
    /// tokio::select! {
    ///     ended = &mut running => return Ok(ended??), // for example: the storage is owned by another engine
    ///     () = server => {}
    ///     _ = tokio::signal::ctrl_c() => {}
    /// }
    /// drop(stop);
    /// running.await??;
    /// # drop(handle);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the storage cannot be brought up to date or is owned by another engine. What fails later is tried again.
    pub async fn run_until(&self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let core = &*self.core;
        let owner = core.storage().await?.lease("engine", core.clock.now()).await?;
        core.begin(owner);
        tracing::info!(engine.run = owner, "engine started");
        let stages = FuturesUnordered::new();
        for (name, bus) in &core.buses {
            stages.push(ingest::run(core, name, bus.as_ref()).boxed());
        }
        stages.push(dispatch::run(core).boxed());
        stages.push(drive::run(core).boxed());
        stages.push(watch::run(core).boxed());
        stages.push(verify::run(core).boxed());
        stages.push(publish::run(core).boxed());
        let stages = stages.collect::<()>();
        pin_mut!(shutdown, stages);
        if let Either::Left(((), stages)) = select(shutdown, stages).await {
            core.stop();
            let grace = core.sleep(core.options.shutdown_grace);
            pin_mut!(grace);
            if let Either::Right(_) = select(stages, grace).await {
                tracing::warn!(engine.run = owner, "calls under way did not end in time; the next run looks them up");
            }
        }
        tracing::info!(engine.run = owner, "engine stopped");
        Ok(())
    }
}

/// What can be set about the engine's own behaviour.
#[derive(Clone, Debug)]
struct Options {
    /// Longest wait of a stage that was not woken: the price of a lost wake-up.
    tick: Duration,
    /// A stage looks at the rows at most so often.
    pace: Duration,
    /// Pause after a backend failed.
    backend_pause: Duration,
    /// Messages read, or notifications published, in one step.
    batch: u32,
    /// Handlers that run at the same time.
    handlers_max: usize,
    /// A submission without an answer after this long is unclear.
    submit_timeout: Duration,
    /// How long calls under way may take after the end was asked for.
    shutdown_grace: Duration,
    /// Larger bodies are dead letters.
    message_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(5),
            pace: Duration::from_millis(10),
            backend_pause: Duration::from_secs(1),
            batch: 200,
            handlers_max: 8,
            submit_timeout: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(30),
            message_bytes_max: 8 << 20,
        }
    }
}

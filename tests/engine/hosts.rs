//! Build systems whose jobs live on one host, with engines on several.

use async_trait::async_trait;
use freshmaker::backend::{BuildRequest, BuildSystem, Capabilities, Clock, Found, Result};
use freshmaker::memory::MemoryBuildSystem;
use freshmaker::rebuild::{EventState, ExternalId, Observed, Output, SessionId};
use freshmaker::time::Timestamp;
use freshmaker::{Context, Decision, Engine, HandlerResult};
use freshmaker_testing::world::{Pushed, World, builds, only, pushed, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(Decision::Rebuild(graph.planner().changed(event.image, None).plan()?))
}

/// The part of a build system that is on one host. It knows only what was submitted there.
#[derive(Debug)]
struct OnHost {
    host: &'static str,
    jobs: Arc<MemoryBuildSystem>,
    /// How often it was asked for a job.
    asked: AtomicU32,
    /// A submission takes effect, and is not answered.
    hangs: AtomicBool,
}

#[async_trait]
impl BuildSystem for OnHost {
    fn capabilities(&self) -> Capabilities {
        self.jobs.capabilities()
    }

    async fn session(&self) -> Result<Option<SessionId>> {
        Ok(Some(SessionId::new(self.host)))
    }

    fn is_here(&self, session: &SessionId) -> bool {
        session.as_str() == self.host
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        let id = self.jobs.submit(request).await?;
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        Ok(id)
    }

    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.jobs.find(request, since).await
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.jobs.status(ids).await
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.jobs.cancel(id).await
    }
}

fn on_host(host: &'static str, jobs: &Arc<MemoryBuildSystem>) -> Arc<OnHost> {
    Arc::new(OnHost { host, jobs: Arc::clone(jobs), asked: AtomicU32::new(0), hangs: AtomicBool::new(false) })
}

fn engine(world: &World, system: &Arc<OnHost>) -> Engine {
    let builder = Engine::builder().storage(world.storage.clone()).clock(world.clock.clone());
    let builder = builder.catalog("images", world.catalog.clone()).build_system("builder", system.clone());
    builder.on(rebuild).build().unwrap()
}

/// The host dies while it submits or builds; another one is there all the time.
async fn a_host_dies(hangs: bool) {
    let world = World::new();
    let (jobs, elsewhere) = (Arc::new(MemoryBuildSystem::new()), Arc::new(MemoryBuildSystem::new()));
    let (here, there) = (on_host("here", &jobs), on_host("there", &elsewhere));
    jobs.hold(&"app".into());
    here.hangs.store(hangs, Ordering::SeqCst);
    let first = engine(&world, &here);
    let (client, state) = (first.client(), if hangs { "app SUBMITTING" } else { "app BUILDING" });
    client.send(&pushed("base")).await.unwrap();
    let submitted = until(async || jobs.requests().len() == 1 && builds(&client).await[0] == state);
    // It is dropped with everything that it waits for.
    tokio::select! { ended = first.run_until(std::future::pending()) => ended.unwrap(), () = submitted => {} }
    drop(first);

    let other = engine(&world, &there);
    other.run_until(world.clock.sleep(Duration::from_secs(3600))).await.unwrap();
    assert_eq!(there.asked.load(Ordering::SeqCst), 0, "it knows nothing of the job");
    assert_eq!((jobs.requests().len(), elsewhere.requests().len()), (1, 0));
    assert_eq!(builds(&other.client()).await, [state, "site BLOCKED"]);

    here.hangs.store(false, Ordering::SeqCst);
    let output = Output { name: "app".into(), digest: None, contents: None };
    jobs.finish(&"app".into(), Observed::Succeeded(output));
    let again = engine(&world, &here);
    let client = again.client();
    let over = async || client.overview().await.unwrap().is_idle();
    let (one, two) = tokio::join!(again.run_until(until(over)), other.run_until(until(over)));
    one.and(two).unwrap();
    assert_eq!(only(&client).await.0, EventState::Complete);
    let counts = (jobs.requests().len() + elsewhere.requests().len(), builds(&client).await);
    assert_eq!(counts, (2, vec!["app DONE".to_owned(), "site DONE".to_owned()]), "each was built once");
}

#[tokio::test(start_paused = true)]
async fn what_runs_on_a_host_is_left_to_it() {
    a_host_dies(false).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_being_submitted_on_a_host_is_looked_up_there() {
    a_host_dies(true).await;
}

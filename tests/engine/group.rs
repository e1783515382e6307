//! Facts that are reported together are committed together, and an odd one among them is alone.

use crate::each;
use async_trait::async_trait;
use freshmaker::backend::{
    BuildFilter, BuildRequest, BuildSystem, Capabilities, Claim, Documents, Error, Found, Lease, Paging, Remedy,
    Result, Scope, Storage, StorageReads, StorageUpkeep,
};
use freshmaker::memory::MemoryBuildSystem;
use freshmaker::rebuild::{BuildRecord, BuildState, Commit, ExternalId, InboxRecord, Neighbourhood, RowChange, RunId};
use freshmaker::time::Timestamp;
use freshmaker::{Artifact, ArtifactKind, Context, Decision, EdgeKind, Engine, HandlerResult};
use freshmaker_testing::world::{Pushed, World, pushed, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Images that are built from `base`.
const IMAGES: u32 = 60;

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(Decision::Rebuild(graph.planner().changed(event.image, None).plan()?))
}

/// A storage that counts what is committed about builds, and of which one build cannot be read, or
/// one that is planned cannot be changed, or whose first commits about builds conflict.
#[derive(Debug)]
struct Odd {
    inner: Arc<dyn Storage>,
    commits: AtomicU32,
    unreadable: Option<&'static str>,
    unchangeable: Option<&'static str>,
    conflicts: u32,
}

impl Odd {
    fn new(world: &World) -> Self {
        let inner = Arc::clone(&world.storage);
        Self { inner, commits: AtomicU32::new(0), unreadable: None, unchangeable: None, conflicts: 0 }
    }
}

#[async_trait]
impl Storage for Odd {
    fn upkeep(&self) -> &dyn StorageUpkeep {
        self.inner.upkeep()
    }

    fn reads(&self) -> &dyn StorageReads {
        self.inner.reads()
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
        let rows = self.inner.load(scope).await?;
        let odd = |build: &BuildRecord| Some(build.key.artifact.as_str()) == self.unreadable;
        match rows.builds.values().find(|build| odd(build)) {
            Some(odd) if !matches!(scope, Scope::Keys(_)) => {
                Err(Error::new(Remedy::Corrupt, "builds", format!("build {}: state 77", odd.id)))
            }
            _ => Ok(rows),
        }
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        if commit.changes.iter().any(|change| matches!(change, RowChange::Build { .. })) {
            let before = self.commits.fetch_add(1, Ordering::SeqCst);
            if before < self.conflicts {
                return Err(Error::new(Remedy::Conflict, "builds", "another process was faster"));
            }
        }
        let changes = |change: &RowChange| {
            matches!(change, RowChange::Build { record, expected: Some(_), .. }
            if Some(record.key.artifact.as_str()) == self.unchangeable)
        };
        if commit.changes.iter().any(changes) {
            return Err(Error::new(Remedy::Unavailable, "builds", "the disk has a bad block"));
        }
        self.inner.commit(commit).await
    }
}

/// A build system that gives two attempts one id.
#[derive(Debug)]
struct Confused(Arc<MemoryBuildSystem>);

#[async_trait]
impl BuildSystem for Confused {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        if request.artifact.as_str() != "image31" {
            return self.0.submit(request).await;
        }
        let requests = self.0.requests();
        let other = requests.iter().find(|other| other.artifact.as_str() == "image03");
        Ok(ExternalId::new(other.expect("it is more urgent").attempt.as_str()))
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        self.0.status(ids).await
    }

    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>> {
        self.0.find(request, since).await
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        self.0.cancel(id).await
    }
}

/// A world in which many images are built from `base`, and an engine over this storage.
fn engine(world: &World, storage: Arc<dyn Storage>, system: Arc<dyn BuildSystem>) -> Engine {
    world.catalog.update(|graph| {
        graph.remove(&"site".into());
        graph.remove(&"app".into());
        for number in 0..IMAGES {
            let name = format!("image{number:02}");
            graph.insert(Artifact::new(name.as_str(), ArtifactKind::Image).with_source("images", None));
            graph.depend(name, "base", EdgeKind::ParentImage).unwrap();
        }
    });
    let builder = Engine::builder().storage(storage).catalog("images", world.catalog.clone());
    let builder = builder.build_system("builder", system).limit("builder", 100);
    builder.clock(world.clock.clone()).on(rebuild).build().unwrap()
}

async fn of_state(engine: &Engine, state: BuildState) -> Vec<BuildRecord> {
    let filter = BuildFilter { states: vec![state], ..BuildFilter::default() };
    engine.client().builds(filter, Paging::first(100)).await.unwrap().items
}

#[tokio::test(start_paused = true)]
async fn what_happens_in_a_moment_is_committed_together() {
    for world in each() {
        let storage = Arc::new(Odd::new(&world));
        let engine = engine(&world, storage.clone(), world.builds.clone());
        engine.client().send(&pushed("base")).await.unwrap();
        engine.run_until(engine.client().wait_until_idle()).await.unwrap();
        assert_eq!(of_state(&engine, BuildState::Done).await.len(), IMAGES as usize);
        let commits = storage.commits.load(Ordering::SeqCst);
        assert!(commits <= IMAGES / 2, "{commits} commits for {IMAGES} builds, of three steps each");
        assert_eq!(storage.reads().check_consistency().await.unwrap(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_given_twice_fails_one_build_of_its_group() {
    for world in each() {
        let system = Arc::new(Confused(world.builds.clone()));
        let engine = engine(&world, world.storage.clone(), system);
        engine.client().send(&pushed("base")).await.unwrap();
        engine.run_until(engine.client().wait_until_idle()).await.unwrap();
        assert_eq!(of_state(&engine, BuildState::Done).await.len(), IMAGES as usize - 1);
        let failed = of_state(&engine, BuildState::Failed).await;
        let failed: Vec<_> = failed.iter().map(|build| build.key.artifact.as_str()).collect();
        assert_eq!(failed, ["image31"]);
        assert_eq!(world.storage.reads().check_consistency().await.unwrap(), []);
    }
}

/// All builds end but that of `image17`, which stays as it is.
async fn only_one_is_held_up(world: &World, storage: Odd) {
    let engine = engine(world, Arc::new(storage), world.builds.clone());
    engine.client().send(&pushed("base")).await.unwrap();
    let others = until(async || of_state(&engine, BuildState::Done).await.len() == IMAGES as usize - 1);
    engine.run_until(others).await.unwrap();
    let ready = of_state(&engine, BuildState::Ready).await;
    let ready: Vec<_> = ready.iter().map(|build| build.key.artifact.as_str()).collect();
    assert_eq!(ready, ["image17"]);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_cannot_be_read_holds_up_one_build_of_its_group() {
    for world in each() {
        only_one_is_held_up(&world, Odd { unreadable: Some("image17"), ..Odd::new(&world) }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_never_stored_holds_up_one_build_of_its_group() {
    for world in each() {
        only_one_is_held_up(&world, Odd { unchangeable: Some("image17"), ..Odd::new(&world) }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_conflicts_again_and_again_is_decided_with_growing_pauses() {
    for world in each() {
        let engine = engine(&world, Arc::new(Odd { conflicts: 12, ..Odd::new(&world) }), world.builds.clone());
        engine.client().send(&pushed("base")).await.unwrap();
        let begin = tokio::time::Instant::now();
        engine.run_until(until(async || !of_state(&engine, BuildState::Done).await.is_empty())).await.unwrap();
        // Half of 5, 10, 20, 40, 80, 160, 320, 640 and three times 1000 milliseconds, at least.
        assert!(begin.elapsed() > std::time::Duration::from_secs(2), "{:?}", begin.elapsed());
    }
}

//! Facts about builds that cannot be loaded, stored or looked up.

use super::{NoNul, Twist, Twisted, rebuild, secs};
use async_trait::async_trait;
use freshmaker::backend::{
    BuildRequest, BuildSystem, Capabilities, Clock, Error, Found, Remedy, Result, Scope, Storage,
};
use freshmaker::client::Client;
use freshmaker::memory::MemoryBuildSystem;
use freshmaker::rebuild::{Commit, EventId, ExternalId, Observed, Output};
use freshmaker::time::Timestamp;
use freshmaker::{Artifact, ArtifactId, ArtifactKind, EdgeKind, Engine};
use freshmaker_testing::world::{World, builds, pushed, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Loading anything about this build takes too long, so that it always fails for the moment.
#[derive(Debug)]
struct NeverLoads(&'static str);

#[async_trait]
impl Twist for NeverLoads {
    async fn before_load(&self, inner: &Arc<dyn Storage>, scope: &Scope) -> Result<()> {
        if matches!(scope, Scope::Keys(_)) {
            return Ok(());
        }
        let rows = inner.load(scope).await?;
        if rows.builds.values().any(|build| build.key.artifact.as_str() == self.0) {
            return Err(Error::new(Remedy::Unavailable, "storage", "canceling statement due to statement timeout"));
        }
        Ok(())
    }
}

/// One build whose rows cannot be loaded in time holds up those that are in one group with it.
#[tokio::test(start_paused = true)]
async fn a_load_that_always_fails_holds_up_no_others_of_its_group() {
    let world = World::new();
    let storage = Arc::new(Twisted(world.storage.clone(), NeverLoads("image17")));
    let world = World::on(storage, world.clock.clone());
    world.catalog.update(|graph| {
        graph.remove(&"site".into());
        graph.remove(&"app".into());
        for number in 0..30 {
            let name = format!("image{number:02}");
            graph.insert(Artifact::new(name.as_str(), ArtifactKind::Image).with_source("images", None));
            graph.depend(name, "base", EdgeKind::ParentImage).unwrap();
        }
    });
    let engine = world.builder().limit("builder", 100).on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    engine.run_until(world.clock.sleep(secs(24 * 3600))).await.unwrap();
    let done = builds(&client).await.iter().filter(|build| build.ends_with(" DONE")).count();
    assert_eq!(done, 29, "after a day");
}

/// Takes what is submitted, answers unclearly, and cannot be asked for it at first.
#[derive(Debug)]
struct OddErrors(Arc<MemoryBuildSystem>, AtomicUsize);

#[async_trait]
impl BuildSystem for OddErrors {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        self.0.submit(request).await?;
        Err(Error::new(Remedy::Unclear, "farm", "connection reset"))
    }
    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>> {
        if self.1.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(Error::new(Remedy::Corrupt, "farm", "502: \0\0 is no JSON"));
        }
        self.0.find(request, since).await
    }
    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        self.0.status(ids).await
    }
    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        self.0.cancel(id).await
    }
}

/// A lookup whose error cannot be stored ends an attempt that runs in the build system.
#[tokio::test(start_paused = true)]
async fn a_lookup_whose_error_cannot_be_stored_ends_nothing() {
    let world = World::new();
    let world = World::on(Arc::new(Twisted(world.storage.clone(), NoNul)), world.clock.clone());
    world.builds.hold(&"app".into());
    let system = Arc::new(OddErrors(world.builds.clone(), AtomicUsize::new(0)));
    let builder = Engine::builder().storage(world.storage.clone()).catalog("images", world.catalog.clone());
    let engine =
        builder.build_system("builder", system.clone()).clock(world.clock.clone()).on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    engine.run_until(world.clock.sleep(secs(3600))).await.unwrap();
    assert_eq!(world.submitted(), ["app"], "the build system has it, and it runs");
    assert_eq!(builds(&client).await, ["app BUILDING", "site BLOCKED"]);
}

/// What this storage cannot hold counts as an outage, as an index of PostgreSQL that is too small
/// for a name does.
#[derive(Debug)]
struct NoBad;

#[async_trait]
impl Twist for NoBad {
    async fn before_commit(&self, _: &Arc<dyn Storage>, commit: &Commit) -> Result<()> {
        if format!("{:?}", commit.changes).contains("bad name") {
            return Err(Error::new(Remedy::Unavailable, "storage", "index row size 8032 exceeds btree maximum 2704"));
        }
        Ok(())
    }
}

/// Eight results that the storage never takes close the door for all facts about builds.
#[tokio::test(start_paused = true)]
async fn results_that_are_never_stored_stop_no_others() {
    let world = World::new();
    let world = World::on(Arc::new(Twisted(world.storage.clone(), NoBad)), world.clock.clone());
    let image = |number: usize| ArtifactId::from(format!("image{number}"));
    world.catalog.update(|graph| {
        graph.remove(&"site".into());
        graph.remove(&"app".into());
        for number in 0..9 {
            graph.insert(Artifact::new(image(number), ArtifactKind::Image).with_source("images", None));
            graph.depend(image(number), "base", EdgeKind::ParentImage).unwrap();
        }
    });
    (0..9).for_each(|number| world.builds.hold(&image(number)));
    let engine = world.builder().limit("builder", 100).on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    let work = async {
        until(async || world.submitted().len() == 9).await;
        for number in 0..9 {
            world.clock.sleep(secs(60)).await;
            let name = if number < 8 { "bad name" } else { "good" };
            let output = Output { name: name.into(), digest: None, contents: None };
            world.builds.finish(&image(number), Observed::Succeeded(output));
        }
        world.clock.sleep(secs(24 * 3600)).await;
    };
    engine.run_until(work).await.unwrap();
    let all = builds(&client).await;
    assert!(all.contains(&"image8 DONE".to_owned()), "after a day: {all:?}");
}

/// A failure whose text cannot be stored is no longer of its class.
#[tokio::test(start_paused = true)]
async fn a_failure_with_an_odd_text_is_tried_again() {
    use freshmaker::rebuild::{Failure, FailureClass};
    let world = World::new();
    let world = World::on(Arc::new(Twisted(world.storage.clone(), NoNul)), world.clock.clone());
    world.builds.fail_next(&"app".into(), Failure::new(FailureClass::Infrastructure, "worker 7: no space\0\0left"));
    let engine = world.builder().on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    engine.run_until(world.clock.sleep(secs(3600))).await.unwrap();
    assert_eq!(builds(&client).await, ["app DONE", "site DONE"]);
}

/// The storage does not answer.
#[derive(Debug)]
struct Silent;

#[async_trait]
impl Twist for Silent {
    async fn before_load(&self, _: &Arc<dyn Storage>, _: &Scope) -> Result<()> {
        std::future::pending().await
    }
}

/// A decision does not end after its 30 seconds if the storage does not answer.
#[tokio::test(start_paused = true)]
async fn a_decision_gives_a_silent_storage_up() {
    let world = World::new();
    let client = Client::new(Arc::new(Twisted(world.storage.clone(), Silent))).with_clock(world.clock.clone());
    let decided = tokio::time::timeout(secs(24 * 3600), client.cancel(EventId(1), "kim")).await;
    assert!(decided.is_ok(), "it still waits after a day");
}

/// Nothing can be written for a while.
#[derive(Debug)]
struct ReadOnly(Arc<AtomicBool>);

#[async_trait]
impl Twist for ReadOnly {
    async fn before_commit(&self, _: &Arc<dyn Storage>, _: &Commit) -> Result<()> {
        if self.0.load(Ordering::SeqCst) {
            return Err(Error::new(Remedy::Unavailable, "storage", "database or disk is full"));
        }
        Ok(())
    }
}

/// Answers at once, and cannot be asked later.
#[derive(Debug)]
struct NoLookUp(Arc<MemoryBuildSystem>, Arc<AtomicBool>);

#[async_trait]
impl BuildSystem for NoLookUp {
    fn capabilities(&self) -> Capabilities {
        Capabilities { lookup: false, ..self.0.capabilities() }
    }
    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        self.1.store(true, Ordering::SeqCst);
        self.0.submit(request).await
    }
    async fn find(&self, _: &BuildRequest, _: Timestamp) -> Result<Vec<Found>> {
        Ok(Vec::new())
    }
    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        self.0.status(ids).await
    }
    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        self.0.cancel(id).await
    }
}

/// An answer that waits for a full disk is lost to a lookup that this run begins itself.
#[tokio::test(start_paused = true)]
async fn an_answer_that_waits_to_be_stored_is_not_looked_up() {
    let mut lost = 0;
    for round in 0..20_u64 {
        let world = World::new();
        let full = Arc::new(AtomicBool::new(false));
        let storage = Arc::new(Twisted(world.storage.clone(), ReadOnly(full.clone())));
        let world = World::on(storage, world.clock.clone());
        let system = Arc::new(NoLookUp(world.builds.clone(), full.clone()));
        let builder = Engine::builder().storage(world.storage.clone()).catalog("images", world.catalog.clone());
        let builder = builder.build_system("builder", system).clock(world.clock.clone());
        let engine = builder.on(rebuild).build().unwrap();
        let client = engine.client();
        client.send(&pushed("app")).await.unwrap();
        let work = async {
            until(async || full.load(Ordering::SeqCst)).await;
            world.clock.sleep(secs(300) + Duration::from_millis(round * 97)).await;
            full.store(false, Ordering::SeqCst);
            world.clock.sleep(secs(3600)).await;
        };
        engine.run_until(work).await.unwrap();
        let all = builds(&client).await;
        lost += usize::from(all != ["site DONE"]);
        if all != ["site DONE"] {
            println!("{all:?} {:?}", client.stuck(secs(60)).await.unwrap());
        }
    }
    assert_eq!(lost, 0, "of 20 answers {lost} wait for a person");
}

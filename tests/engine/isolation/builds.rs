//! Builds, repositories and results that hang or fail.

use super::{rebuild, secs};
use async_trait::async_trait;
use freshmaker::backend::{
    BuildFilter, BuildRequest, BuildSystem, Capabilities, Clock, ComposeRequest, Composer, Error, Found, Paging,
    Remedy, Result,
};
use freshmaker::memory::{MemoryBuildSystem, MemoryComposer};
use freshmaker::rebuild::{ExternalId, Observed, Output};
use freshmaker::time::Timestamp;
use freshmaker::{Artifact, ArtifactKind, Context, Decision, EdgeKind, Engine, HandlerResult};
use freshmaker_testing::world::{Pushed, TokioClock, World, builds, events, pushed, until};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a composer says of what it has prepared.
#[async_trait]
trait Mood: std::fmt::Debug + Send + Sync + 'static {
    async fn status(&self, composer: &MemoryComposer, ids: &[ExternalId]) -> Result<Vec<Found>>;
}

/// Prepares as the composer in memory does, and answers as it likes.
#[derive(Debug)]
struct Moody<M>(MemoryComposer, M);

#[async_trait]
impl<M: Mood> Composer for Moody<M> {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    async fn prepare(&self, request: &ComposeRequest) -> Result<ExternalId> {
        self.0.prepare(request).await
    }
    async fn find(&self, request: &ComposeRequest, since: Timestamp) -> Result<Vec<Found>> {
        self.0.find(request, since).await
    }
    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        self.1.status(&self.0, ids).await
    }
    async fn release(&self, id: &ExternalId) -> Result<()> {
        self.0.release(id).await
    }
}

#[derive(Debug)]
struct Hanging(AtomicBool);

#[async_trait]
impl Mood for Hanging {
    async fn status(&self, composer: &MemoryComposer, ids: &[ExternalId]) -> Result<Vec<Found>> {
        if self.0.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        composer.status(ids).await
    }
}

/// Builds that ask a composer which hangs hold the places of builds that need none.
#[tokio::test(start_paused = true)]
async fn a_composer_that_hangs_stops_no_builds_that_need_none() {
    let world = World::new();
    world.catalog.update(|graph| {
        graph.remove(&"site".into());
        graph.remove(&"app".into());
        let repo = Artifact::new("repo", ArtifactKind::Repository).with_source("repo", None).with_system("odcs");
        graph.insert(repo);
        for name in ["a1", "a2", "a3", "a4", "a5"] {
            graph.insert(Artifact::new(name, ArtifactKind::Image).with_source(name, None).with_system("builder"));
            graph.depend(name, "base", EdgeKind::ParentImage).unwrap();
            graph.depend(name, "repo", EdgeKind::Repository).unwrap();
        }
        graph.insert(Artifact::new("other", ArtifactKind::Image));
        for number in 0..10 {
            let name = format!("p{number}");
            graph.insert(
                Artifact::new(name.as_str(), ArtifactKind::Image).with_source("p", None).with_system("builder"),
            );
            graph.depend(name, "other", EdgeKind::ParentImage).unwrap();
        }
    });
    let composer = Arc::new(Moody(MemoryComposer::new(), Hanging(AtomicBool::new(false))));
    let engine = world.builder().composer("odcs", composer.clone()).limit("builder", 2).on(rebuild).build().unwrap();
    let client = engine.client();
    client.pause("builder", "first the repository", "kim").await.unwrap();
    client.send(&pushed("base")).await.unwrap();
    let prepared = until(async || {
        let all = builds(&client).await;
        all.iter().any(|build| build == "repo DONE") && all.iter().filter(|b| b.ends_with("READY")).count() == 5
    });
    engine.run_until(prepared).await.unwrap();
    composer.1.0.store(true, Ordering::SeqCst);
    client.send(&pushed("other")).await.unwrap();
    engine.run_until(until(async || builds(&client).await.len() == 16)).await.unwrap();
    client.resume("builder").await.unwrap();
    engine.run_until(world.clock.sleep(secs(24 * 3600))).await.unwrap();
    let all = builds(&client).await;
    assert!(
        all.iter().filter(|build| build.starts_with('p') && build.ends_with(" DONE")).count() == 10,
        "after a day: {all:?}"
    );
}

/// Counts how often it is asked for states.
#[derive(Debug)]
struct Counted(Arc<MemoryBuildSystem>, AtomicUsize, AtomicUsize);

#[async_trait]
impl BuildSystem for Counted {
    fn capabilities(&self) -> Capabilities {
        Capabilities { poll: secs(60), ..self.0.capabilities() }
    }
    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        self.0.submit(request).await
    }
    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>> {
        self.0.find(request, since).await
    }
    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.status(ids).await
    }
    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        self.2.fetch_add(1, Ordering::SeqCst);
        self.0.cancel(id).await
    }
}

/// A request to stop waits for the next poll.
#[tokio::test(start_paused = true)]
async fn a_stop_is_asked_for_at_once() {
    let world = World::new();
    world.builds.hold(&"app".into());
    let system = Arc::new(Counted(world.builds.clone(), AtomicUsize::new(0), AtomicUsize::new(0)));
    let builder = Engine::builder().storage(world.storage.clone()).catalog("images", world.catalog.clone());
    let engine =
        builder.build_system("builder", system.clone()).clock(world.clock.clone()).on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    let work = async {
        until(async || builds(&client).await.first().is_some_and(|build| build == "app BUILDING")).await;
        until(async || system.1.load(Ordering::SeqCst) > 0).await;
        let event = events(&client).await[0].id;
        client.cancel(event, "kim").await.unwrap();
        let begin = tokio::time::Instant::now();
        until(async || system.2.load(Ordering::SeqCst) > 0).await;
        begin.elapsed()
    };
    let took = Mutex::new(Duration::ZERO);
    engine.run_until(async { *took.lock().unwrap() = work.await }).await.unwrap();
    let took = *took.lock().unwrap();
    assert!(took < secs(6), "the build system was asked to stop it after {took:?}");
}

/// Looks at everything but `i00`, until it is let.
#[derive(Debug)]
struct Looks {
    may: Arc<AtomicBool>,
    clock: Arc<TokioClock>,
}

#[async_trait]
impl freshmaker::backend::Verifier for Looks {
    async fn verify(&self, made: &freshmaker::backend::Made) -> Result<freshmaker::rebuild::Verification> {
        while made.request.artifact.as_str() == "i00" && !self.may.load(Ordering::SeqCst) {
            self.clock.sleep(secs(1)).await;
        }
        Ok(freshmaker::rebuild::Verification::Passed(None))
    }
}

/// While the last build of an event is blocked and nothing else is ready or runs, the queue
/// counts as empty: the next event overtakes it with all of its builds.
#[tokio::test(start_paused = true)]
async fn an_event_whose_last_build_is_blocked_keeps_its_turn() {
    let world = World::new();
    world.catalog.update(|graph| {
        graph.remove(&"site".into());
        graph.remove(&"app".into());
        graph.insert(Artifact::new("later", ArtifactKind::Image));
        for (prefix, parent, count) in [("i", "base", 40), ("j", "later", 20)] {
            for number in 0..count {
                let name = format!("{prefix}{number:02}");
                graph.insert(Artifact::new(name.as_str(), ArtifactKind::Image).with_source("images", None));
                graph.depend(name, parent, EdgeKind::ParentImage).unwrap();
            }
        }
        graph.insert(Artifact::new("tail", ArtifactKind::Image).with_source("images", None));
        graph.depend("tail", "i00", EdgeKind::ParentImage).unwrap();
    });
    let may = Arc::new(AtomicBool::new(false));
    let verifier = Arc::new(Looks { may: may.clone(), clock: world.clock.clone() });
    let engine = world.builder().limit("builder", 1).verifier("builder", verifier).on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    engine
        .run_until(until(async || {
            world.submitted().len() == 40 && {
                let all = builds(&client).await;
                all.iter().filter(|build| build.ends_with(" DONE")).count() == 39
            }
        }))
        .await
        .unwrap();
    world.builds.hold(&"j00".into());
    client.send(&pushed("later")).await.unwrap();
    engine.run_until(until(async || world.submitted().len() == 41)).await.unwrap();
    may.store(true, Ordering::SeqCst);
    let ready = until(async || builds(&client).await.iter().any(|build| build == "tail READY"));
    engine.run_until(ready).await.unwrap();
    let output = Output { name: "j00".into(), digest: None, contents: None };
    world.builds.finish(&"j00".into(), Observed::Succeeded(output));
    world.settle(&engine).await;
    let later = world.submitted().split_off(40);
    let place = later.iter().position(|name| name == "tail").unwrap();
    assert!(place <= 2, "it is number {place} of {later:?}");
}

/// A retry builds on what the event had built, although something newer is there.
#[tokio::test(start_paused = true)]
async fn a_retry_is_built_from_what_is_there_now() {
    use freshmaker::artifact::Digest;
    let world = World::new();
    let handler = |event: Pushed, cx: Context| async move {
        let (image, content) = event.image.split_once('@').unwrap();
        let graph = cx.catalog().dependents(&[image.into()]).await?;
        let plan = graph.planner().changed(image, Some(Digest::of(content.as_bytes()))).plan()?;
        HandlerResult::Ok(Decision::Rebuild(plan))
    };
    let engine = world.builder().on_as("rebuild", handler).build().unwrap();
    let client = engine.client();
    for content in ["base@1", "base@2"] {
        let failure = freshmaker::rebuild::Failure::new(freshmaker::rebuild::FailureClass::Permanent, "no");
        world.builds.fail_next(&"site".into(), failure);
        client.send(&pushed(content)).await.unwrap();
        world.settle(&engine).await;
    }
    let first = events(&client).await[0].id;
    client.retry(first, freshmaker::client::RetryPart::Failed, "kim").await.unwrap();
    world.settle(&engine).await;
    let all =
        client.builds(BuildFilter { artifacts: vec!["app".into()], ..Default::default() }, Paging::first(9)).await;
    let newest = all.unwrap().items[0].output.clone().unwrap().digest;
    let request = world.builds.requests().pop().unwrap();
    assert_eq!(request.artifact.as_str(), "site");
    assert_eq!(request.parents[0].digest, newest, "it is built from the app that is there now");
}

/// Fails for good when it is asked about what it has prepared.
#[derive(Debug)]
struct Forgetful(AtomicBool, AtomicUsize);

#[async_trait]
impl Mood for Forgetful {
    async fn status(&self, composer: &MemoryComposer, ids: &[ExternalId]) -> Result<Vec<Found>> {
        if self.0.load(Ordering::SeqCst) {
            self.1.fetch_add(1, Ordering::SeqCst);
            return Err(Error::new(Remedy::Rejected, "odcs", "403"));
        }
        composer.status(ids).await
    }
}

/// A composer that cannot be asked is asked twice a minute for each build, without a growing
/// pause, and each answer is a write.
#[tokio::test(start_paused = true)]
async fn a_composer_that_fails_is_asked_less_and_less() {
    let world = World::new();
    world.catalog.update(|graph| {
        graph.remove(&"site".into());
        graph.remove(&"app".into());
        graph.insert(Artifact::new("repo", ArtifactKind::Repository).with_source("repo", None).with_system("odcs"));
        graph.insert(Artifact::new("a1", ArtifactKind::Image).with_source("a1", None).with_system("builder"));
        graph.depend("a1", "base", EdgeKind::ParentImage).unwrap();
        graph.depend("a1", "repo", EdgeKind::Repository).unwrap();
    });
    let composer = Arc::new(Moody(MemoryComposer::new(), Forgetful(AtomicBool::new(false), AtomicUsize::new(0))));
    let engine = world.builder().composer("odcs", composer.clone()).on(rebuild).build().unwrap();
    let client = engine.client();
    client.pause("builder", "first the repository", "kim").await.unwrap();
    client.send(&pushed("base")).await.unwrap();
    engine.run_until(until(async || builds(&client).await.contains(&"a1 READY".to_owned()))).await.unwrap();
    composer.1.0.store(true, Ordering::SeqCst);
    client.resume("builder").await.unwrap();
    engine.run_until(world.clock.sleep(secs(24 * 3600))).await.unwrap();
    let asked = composer.1.1.load(Ordering::SeqCst);
    assert!(asked <= 350, "it was asked {asked} times within a day about one build");
}

/// Looks at everything but what is called slow.
#[derive(Debug)]
struct SlowLooks;

#[async_trait]
impl freshmaker::backend::Verifier for SlowLooks {
    async fn verify(&self, made: &freshmaker::backend::Made) -> Result<freshmaker::rebuild::Verification> {
        if made.request.artifact.as_str().starts_with("slow") {
            std::future::pending::<()>().await;
        }
        Ok(freshmaker::rebuild::Verification::Passed(None))
    }
}

/// Results about which a verifier hangs keep it from looking at others.
#[tokio::test(start_paused = true)]
async fn results_about_which_a_verifier_hangs_stop_no_others() {
    let world = World::new();
    world.catalog.update(|graph| {
        graph.remove(&"site".into());
        graph.remove(&"app".into());
        graph.insert(Artifact::new("other", ArtifactKind::Image));
        for number in 0..60 {
            let name = format!("slow{number:02}");
            graph.insert(Artifact::new(name.as_str(), ArtifactKind::Image).with_source("images", None));
            graph.depend(name, "base", EdgeKind::ParentImage).unwrap();
        }
        graph.insert(Artifact::new("good", ArtifactKind::Image).with_source("images", None));
        graph.depend("good", "other", EdgeKind::ParentImage).unwrap();
    });
    let engine =
        world.builder().verifier("builder", Arc::new(SlowLooks)).limit("builder", 100).on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    engine.run_until(world.clock.sleep(secs(600))).await.unwrap();
    client.send(&pushed("other")).await.unwrap();
    engine.run_until(world.clock.sleep(secs(24 * 3600))).await.unwrap();
    let all = builds(&client).await;
    assert!(all.contains(&"good DONE".to_owned()), "after a day: {:?}", all.last());
}

/// Starts two jobs for one request, and does not stop one when it is asked for the first time.
#[derive(Debug)]
struct Twice(Mutex<Vec<(String, Observed)>>, AtomicUsize);

#[async_trait]
impl BuildSystem for Twice {
    fn capabilities(&self) -> Capabilities {
        Capabilities { lookup: true, settle: secs(5), poll: secs(5), submissions: None }
    }
    async fn submit(&self, _: &BuildRequest) -> Result<ExternalId> {
        self.0.lock().unwrap().extend(["one", "two"].map(|job| (job.to_owned(), Observed::Running)));
        Err(Error::new(Remedy::Unclear, "farm", "connection reset"))
    }
    async fn find(&self, _: &BuildRequest, _: Timestamp) -> Result<Vec<Found>> {
        let jobs = self.0.lock().unwrap();
        Ok(jobs
            .iter()
            .map(|(id, state)| Found { external: ExternalId::new(id.as_str()), observed: state.clone() })
            .collect())
    }
    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        let jobs = self.0.lock().unwrap();
        let found = jobs.iter().filter(|(id, _)| ids.iter().any(|asked| asked.as_str() == id));
        Ok(found.map(|(id, state)| Found { external: ExternalId::new(id.as_str()), observed: state.clone() }).collect())
    }
    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        if self.1.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(Error::new(Remedy::Unavailable, "farm", "503"));
        }
        let mut jobs = self.0.lock().unwrap();
        jobs.iter_mut().filter(|(job, _)| job == id.as_str()).for_each(|(_, state)| *state = Observed::Canceled);
        Ok(())
    }
}

/// A second job of one marker runs on if the request to stop it fails once.
#[tokio::test(start_paused = true)]
async fn a_second_job_is_asked_to_stop_until_it_does() {
    let world = World::new();
    let system = Arc::new(Twice(Mutex::default(), AtomicUsize::new(0)));
    let builder = Engine::builder().storage(world.storage.clone()).catalog("images", world.catalog.clone());
    let engine =
        builder.build_system("builder", system.clone()).clock(world.clock.clone()).on(rebuild).build().unwrap();
    engine.client().send(&pushed("base")).await.unwrap();
    engine.run_until(world.clock.sleep(secs(3600))).await.unwrap();
    let jobs = system.0.lock().unwrap().clone();
    assert_eq!(jobs.iter().filter(|(_, state)| *state == Observed::Running).count(), 1, "{jobs:?}");
}

/// Says of everything that it is done, and when it is asked again that it is gone.
#[derive(Debug)]
struct Fleeting(Mutex<std::collections::BTreeSet<ExternalId>>);

#[async_trait]
impl Mood for Fleeting {
    async fn status(&self, composer: &MemoryComposer, ids: &[ExternalId]) -> Result<Vec<Found>> {
        let mut found = composer.status(ids).await?;
        let mut told = self.0.lock().unwrap();
        for found in &mut found {
            if !told.insert(found.external.clone()) {
                found.observed = Observed::Vanished;
            }
        }
        Ok(found)
    }
}

/// A repository that is gone whenever it is asked about is prepared again without end.
#[tokio::test(start_paused = true)]
async fn a_repository_that_is_always_gone_is_prepared_after_pauses() {
    let world = World::new();
    world.catalog.update(|graph| {
        graph.remove(&"site".into());
        graph.remove(&"app".into());
        graph.insert(Artifact::new("repo", ArtifactKind::Repository).with_source("repo", None).with_system("odcs"));
        graph.insert(Artifact::new("a1", ArtifactKind::Image).with_source("a1", None).with_system("builder"));
        graph.depend("a1", "base", EdgeKind::ParentImage).unwrap();
        graph.depend("a1", "repo", EdgeKind::Repository).unwrap();
    });
    let composer = Arc::new(Moody(MemoryComposer::new(), Fleeting(Mutex::default())));
    let engine = world.builder().composer("odcs", composer.clone()).on(rebuild).build().unwrap();
    engine.client().send(&pushed("base")).await.unwrap();
    engine.run_until(world.clock.sleep(secs(10))).await.unwrap();
    let prepared = composer.0.requests().len();
    let event = events(&engine.client()).await.pop().unwrap();
    assert!(prepared <= 30, "{prepared} were prepared within ten seconds; the event has {} builds", event.builds_done);
}

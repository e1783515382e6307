//! Several engines on one database, each with a storage of its own.

use crate::place::{Place, remedy};
use async_trait::async_trait;
use freshmaker::backend::{
    BuildFilter, BuildRequest, BuildSystem, Capabilities, Clock, Found, Paging, Remedy, Result, Storage,
};
use freshmaker::client::Client;
use freshmaker::engine::EngineBuilder;
use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog};
use freshmaker::rebuild::{AttemptState, EventState, ExternalId, Observed, Output, RunId};
use freshmaker::time::Timestamp;
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, Context, Decision, EdgeKind, Engine, HandlerResult};
use freshmaker_testing::world::{Pushed, TokioClock, World, pushed, until};
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(Decision::Rebuild(graph.planner().changed(event.image, None).plan()?))
}

/// An engine of the world, with a way to the database of its own.
fn engine(world: &World, place: &Place) -> EngineBuilder {
    world.builder().storage(Arc::new(place.process())).on(rebuild)
}

/// An engine that runs in a task.
struct Running {
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<freshmaker::backend::Result<()>>,
    frozen: Arc<AtomicBool>,
}

impl Running {
    fn start(engine: Engine) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (client, frozen) = (engine.client(), Arc::<AtomicBool>::default());
        let is_frozen = Arc::clone(&frozen);
        let ended = tokio::spawn(async move {
            let mut life = pin!(engine.run_until(async { drop(stopped.await) }));
            let mut awake = tokio::time::interval(Duration::from_millis(20));
            poll_fn(move |context| {
                // Nothing else wakes a task that has thawed.
                while awake.poll_tick(context).is_ready() {}
                if is_frozen.load(Ordering::SeqCst) { Poll::Pending } else { life.as_mut().poll(context) }
            })
            .await
        });
        Self { client, stop: Some(stop), ended, frozen }
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.ended.await.unwrap().unwrap();
    }
}

async fn world(place: &Place) -> World {
    let world = World::new();
    place.migrated().await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replica_has_is_handed_over_within_a_second() {
    let Some(place) = Place::new() else { return };
    let world = world(&place).await;
    world.builds.hold(&"app".into());
    let first = Running::start(engine(&world, &place).build().unwrap());
    let client = first.client.clone();
    client.send(&pushed("base")).await.unwrap();
    until(async || world.submitted() == ["app"]).await;
    let second = Running::start(engine(&world, &place).build().unwrap());
    // Both have a share of the notifications.
    let sql = place.client().await;
    let publishers = "SELECT count(DISTINCT publisher) FROM partitions WHERE publisher IS NOT NULL";
    until(async || sql.query_one(publishers, &[]).await.unwrap().get::<_, i64>(0) == 2).await;
    first.stop().await;
    let stopped = Instant::now();
    let output = Output { name: "app".into(), digest: None, contents: None };
    world.builds.finish(&"app".into(), Observed::Succeeded(output));
    let told = |topic: &str, state: &str| {
        let is_it = |body: &[u8]| String::from_utf8_lossy(body).contains(&format!("\"state\":\"{state}\""));
        world.bus.published().iter().any(|message| message.topic == topic && is_it(&message.body))
    };
    until(async || told("event.changed", "COMPLETE")).await;
    let took = stopped.elapsed();
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    second.stop().await;
    assert_eq!(client.check_consistency().await.unwrap(), []);
}

/// Takes its time, counts what is alive, and takes as many builds as there are permits.
#[derive(Debug)]
struct Counted {
    alive: Mutex<(BTreeSet<ExternalId>, usize)>,
    inner: MemoryBuildSystem,
    clock: TokioClock,
    permits: Semaphore,
}

#[async_trait]
impl BuildSystem for Counted {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        self.clock.sleep(Duration::from_millis(20)).await;
        self.permits.acquire().await.unwrap().forget();
        let id = self.inner.submit(request).await?;
        let mut alive = self.alive.lock().unwrap();
        alive.0.insert(id.clone());
        alive.1 = alive.1.max(alive.0.len());
        Ok(id)
    }

    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>> {
        self.inner.find(request, since).await
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        let found = self.inner.status(ids).await?;
        let mut alive = self.alive.lock().unwrap();
        for ended in found.iter().filter(|found| found.observed != Observed::Running) {
            alive.0.remove(&ended.external);
        }
        Ok(found)
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        self.inner.cancel(id).await
    }
}

/// The number of images that are built on one.
const IMAGES: usize = 60;
/// The number of them that are submitted before a replica leaves.
const FIRST: usize = 10;

fn wide() -> ArtifactGraph {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    for number in 0..IMAGES {
        let name = format!("app-{number}");
        graph.insert(Artifact::new(name.as_str(), ArtifactKind::Image).with_source(name.as_str(), None));
        graph.depend(name.as_str(), "base", EdgeKind::ParentImage).unwrap();
    }
    graph
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_over_all_replicas_and_nothing_is_built_twice() {
    let Some(place) = Place::new() else { return };
    let mut world = world(&place).await;
    world.catalog = Arc::new(MemoryCatalog::new(wide()));
    let counted = Arc::new(Counted {
        alive: Mutex::default(),
        inner: MemoryBuildSystem::default(),
        clock: TokioClock::default(),
        permits: Semaphore::new(FIRST),
    });
    let build = |name: &str| {
        let builder = Engine::builder().storage(Arc::new(place.process())).catalog("images", world.catalog.clone());
        let builder = builder.build_system("builder", counted.clone()).limit("builder", 4).replica(name);
        Running::start(builder.on(rebuild).build().unwrap())
    };
    let mut replicas = BTreeMap::from(["one", "two", "three"].map(|name| (name.to_owned(), build(name))));
    let client = Client::new(Arc::new(place.process()));
    until(async || client.replicas().await.unwrap().len() == 3).await;
    let id = client.send(&pushed("base")).await.unwrap();
    // One replica may be fast enough to submit all, so one that has submitted some leaves.
    until(async || counted.inner.requests().len() == FIRST && !runs(&client).await.is_empty()).await;
    let busy = *runs(&client).await.first().unwrap();
    let leaves = client.replicas().await.unwrap().into_iter().find(|replica| replica.run == busy).unwrap();
    let mut leaves = replicas.remove(&leaves.name).unwrap();
    drop(leaves.stop.take());
    counted.permits.add_permits(IMAGES);
    leaves.stop().await;
    let events = client.wait_for_message(&id).await.unwrap();
    assert_eq!(events[0].state, EventState::Complete, "{:?}", events[0].reason);
    let built: Vec<_> = counted.inner.requests().iter().map(|request| request.artifact.to_string()).collect();
    assert_eq!((built.len(), built.iter().collect::<BTreeSet<_>>().len()), (IMAGES, IMAGES), "{built:?}");
    let most = counted.alive.lock().unwrap().1;
    assert!((2..=4).contains(&most), "{most} at once");
    let runs = runs(&client).await;
    assert!(runs.len() > 1, "the work is shared: {runs:?}");
    assert_eq!(client.check_consistency().await.unwrap(), []);
    for replica in replicas.into_values() {
        replica.stop().await;
    }
}

/// The runs that have an attempt of a build.
async fn runs(client: &Client) -> BTreeSet<RunId> {
    let mut runs = BTreeSet::new();
    for build in client.builds(BuildFilter::default(), Paging::first(100)).await.unwrap().items {
        runs.extend(client.attempts(build.id).await.unwrap().into_iter().map(|attempt| attempt.run));
    }
    runs
}

/// The run that has an attempt of `app`.
async fn run_of_app(client: &Client) -> Option<(RunId, AttemptState)> {
    let builds = client.builds(BuildFilter::default(), Paging::first(10)).await.unwrap().items;
    let app = builds.iter().find(|build| build.key.artifact.as_str() == "app")?;
    client.attempts(app.id).await.unwrap().last().map(|attempt| (attempt.run, attempt.state))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lost_its_lease_changes_nothing_more() {
    let Some(place) = Place::new() else { return };
    let world = world(&place).await;
    world.builds.hold(&"app".into());
    let frozen = Running::start(engine(&world, &place).build().unwrap());
    let client = Client::new(Arc::new(place.process()));
    client.send(&pushed("base")).await.unwrap();
    until(async || matches!(run_of_app(&client).await, Some((_, AttemptState::Bound)))).await;
    let (run, _) = run_of_app(&client).await.unwrap();
    frozen.frozen.store(true, Ordering::SeqCst);
    // Its lease ends, as if ten seconds had passed.
    let sql = place.client().await;
    let ended = sql.execute("DELETE FROM runs WHERE run = $1", &[&run.0]).await.unwrap();
    assert_eq!(ended, 1);
    let other = Running::start(engine(&world, &place).build().unwrap());
    let written = "SELECT count(*) FROM transitions WHERE run = $1";
    let before: i64 = sql.query_one(written, &[&run.0]).await.unwrap().get(0);
    frozen.frozen.store(false, Ordering::SeqCst);
    let output = Output { name: "app".into(), digest: None, contents: None };
    world.builds.finish(&"app".into(), Observed::Succeeded(output));
    client.wait_until_idle().await;
    let after: i64 = sql.query_one(written, &[&run.0]).await.unwrap().get(0);
    assert_eq!(after, before, "it wrote after its lease");
    assert_eq!(world.submitted(), ["app", "site"]);
    assert_eq!(client.check_consistency().await.unwrap(), []);
    frozen.stop().await;
    other.stop().await;
}

/// What a failover to a standby that is a second behind does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_the_database_has_lost_is_looked_up() {
    let Some(place) = Place::new() else { return };
    let world = world(&place).await;
    world.builds.hold(&"app".into());
    let replica = Running::start(engine(&world, &place).call_timeout(Duration::from_millis(300)).build().unwrap());
    let client = replica.client.clone();
    client.send(&pushed("base")).await.unwrap();
    until(async || matches!(run_of_app(&client).await, Some((_, AttemptState::Bound)))).await;
    let lost = "ALTER TABLE attempts DISABLE TRIGGER USER; \
                UPDATE attempts SET state = 0, external = NULL; \
                UPDATE builds SET state = 2 WHERE id IN (SELECT build FROM attempts); \
                ALTER TABLE attempts ENABLE TRIGGER USER";
    place.client().await.batch_execute(lost).await.unwrap();
    let output = Output { name: "app".into(), digest: None, contents: None };
    world.builds.finish(&"app".into(), Observed::Succeeded(output));
    until(async || client.overview().await.unwrap().events_open == 0).await;
    assert_eq!(world.submitted(), ["app", "site"], "nothing was submitted again");
    replica.stop().await;
}

#[tokio::test]
async fn a_number_of_a_lost_second_is_not_given_again() {
    let Some(place) = Place::new() else { return };
    let (storage, other) = (place.migrated().await, place.process());
    let kept = storage.lease(None).await.unwrap().run;
    let lost = storage.lease(None).await.unwrap().run;
    let lose = format!(
        "DELETE FROM runs WHERE run = {lost}; SELECT setval(pg_get_serial_sequence('runs', 'run')::regclass, {kept})"
    );
    place.client().await.batch_execute(&lose).await.unwrap();
    let next = other.lease(None).await.unwrap().run;
    assert!(next > lost, "{next} after {lost}");
    assert_eq!(remedy(&storage.lease(Some(lost)).await), Some(Remedy::Fenced));
}

//! The engine over the real client and the fake hub: through everything that goes wrong, each image is built, and built once.

use crate::world::Hurry;
use async_trait::async_trait;
use freshmaker::adapter::koji::{Config, KojiBuilds, KojiVerifier, Login};
use freshmaker::adapter::memory::MemoryCatalog;
use freshmaker::adapter::net::Secret;
use freshmaker::adapter::sqlite::SqliteStorage;
use freshmaker::artifact::ArtifactId;
use freshmaker::backend::{BuildFilter, BuildRequest, BuildSystem, Clock, Paging, Storage, StorageExt};
use freshmaker::rebuild::{AttemptId, BuildState};
use freshmaker::testing::conformance::{BuildWorld, Ending, build_system};
use freshmaker::testing::koji::{Fate, Hub, Trouble};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, Context, Decision, EdgeKind, Engine, HandlerResult};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

const TARGET: &str = "rhel-9-containers";
const SOURCES: &str = "git://src.example.com/containers/";

/// `middle` is built on something that changed, two leaves on `middle`.
fn graph() -> ArtifactGraph {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    for (child, parent) in [("middle", "base"), ("left", "middle"), ("right", "middle")] {
        let image = Artifact::new(child, ArtifactKind::Image).with_source(format!("{SOURCES}{child}"), Some("abc"));
        graph.insert(Artifact { target: TARGET.to_owned(), ..image });
        graph.depend(child, parent, EdgeKind::ParentImage).unwrap();
    }
    graph
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Changed {}

impl freshmaker::Event for Changed {
    const KIND: &'static str = "test.changed";
}

async fn rebuild(_: Changed, cx: Context) -> HandlerResult {
    let base = ArtifactId::new("base");
    let graph = cx.catalog().dependents(std::slice::from_ref(&base)).await?;
    let planner = graph.planner().changed(base, None).demand("middle", "zlib-1.2-2.el9".parse()?);
    Ok(Decision::Rebuild(planner.plan()?))
}

struct World {
    hub: Hub,
    clock: Arc<Hurry>,
    storage: Arc<dyn Storage>,
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(Hurry(Instant::now()));
        let hub = Hub::start(clock.clone()).await.unwrap();
        hub.add_user("freshmaker", "freshpw");
        hub.add_target(TARGET);
        let fresh = || Fate::succeeds().taking(Duration::from_secs(20)).with_rpm("x86_64", "zlib-1.2-2.el9");
        hub.script(move |_| Some(fresh()));
        Self { hub, clock, storage: Arc::new(SqliteStorage::in_memory().unwrap()) }
    }

    fn config(&self) -> Config {
        let mut config = Config::new(self.hub.url());
        config.login = Login::Password { user: "freshmaker".to_owned(), password: Secret::new("freshpw") };
        config.topurl = Some(self.hub.files_url());
        config.http.timeout = Duration::from_millis(400);
        config.poll = Duration::from_secs(5);
        config.settle = Duration::from_secs(30);
        config
    }

    /// As a process that has just been started.
    fn engine(&self, seed: u64) -> Engine {
        Engine::builder()
            .storage(Arc::clone(&self.storage))
            .catalog("images", Arc::new(MemoryCatalog::new(graph())))
            .build_system("koji", Arc::new(KojiBuilds::new(self.config()).unwrap()))
            .verifier("koji", Arc::new(KojiVerifier::new(&self.config()).unwrap()))
            .clock(Arc::clone(&self.clock) as Arc<dyn Clock>)
            .seed(seed)
            .on(rebuild)
            .build()
            .unwrap()
    }

    /// Runs to the end; then every image is built, and the hub has nothing to complain of. Returns how many tasks it counts.
    async fn finish(&self, what: &str) -> usize {
        let engine = self.engine(1);
        let handle = engine.handle();
        let run = engine.run_until(handle.idle());
        tokio::time::timeout(Duration::from_secs(60), run)
            .await
            .unwrap_or_else(|_| panic!("{what} never ends"))
            .unwrap();
        let builds = self.storage.builds(BuildFilter::default(), Paging::first(10)).await.unwrap().items;
        let states: Vec<_> = builds.iter().map(|build| (build.state, build.reason.text.as_str())).collect();
        assert!(states.len() == 3 && states.iter().all(|(state, _)| *state == BuildState::Done), "{what}: {states:?}");
        assert_eq!(self.storage.verify().await.unwrap(), [], "{what}");
        let ledger = self.hub.ledger();
        assert_eq!(ledger.violations(), [], "{what}");
        assert!(self.hub.live_tasks().is_empty(), "{what}");
        ledger.entries.len()
    }

    async fn run(&self, what: &str) -> usize {
        self.engine(0).handle().send(&Changed {}).await.unwrap();
        self.finish(what).await
    }
}

#[tokio::test]
async fn whatever_goes_wrong_with_one_call_each_image_is_built_once() {
    let fault = |code, text: &str| Trouble::Fault(code, text.to_owned());
    for (method, trouble) in [
        ("login", Trouble::Offline),
        ("login", Trouble::AnswerLost),
        ("login", fault(1002, "invalid username or password")),
        ("buildContainer", Trouble::RequestLost),
        ("buildContainer", Trouble::AnswerLost),
        ("buildContainer", Trouble::AnswerCut(40)),
        ("buildContainer", Trouble::Truncated(60)),
        ("buildContainer", Trouble::Stalls),
        ("buildContainer", Trouble::Html),
        ("buildContainer", Trouble::Status(503)),
        ("buildContainer", Trouble::StatusAfter(502)),
        ("buildContainer", Trouble::Offline),
        ("buildContainer", Trouble::Expired),
        ("buildContainer", fault(1009, "unable to retry call")),
        ("buildContainer", fault(1008, "call number is out of order")),
        ("buildContainer", Trouble::LateRequest(Duration::from_secs(90))),
        ("buildContainer", Trouble::LateWork(Duration::from_secs(25))),
        ("buildContainer", Trouble::Twice),
        ("listTasks", Trouble::Html),
        ("logout", Trouble::AnswerLost),
        ("multiCall", Trouble::Html),
        ("multiCall", Trouble::Truncated(200)),
        ("multiCall", Trouble::Stalls),
        ("multiCall", fault(1, "a traceback")),
        ("getTaskInfo", fault(1000, "inside a multicall")),
    ] {
        let world = World::new().await;
        // Look-ups and fences only come after an answer that was lost.
        if ["listTasks", "logout"].contains(&method) {
            world.hub.trouble("buildContainer", 0, Trouble::AnswerLost);
        }
        world.hub.trouble(method, 0, trouble.clone());
        assert_eq!(world.run(&format!("{method} {trouble:?}")).await, 3, "{method} {trouble:?}");
    }
}

#[tokio::test]
async fn what_vanishes_is_built_again() {
    let world = World::new().await;
    world.hub.next(&format!("{SOURCES}middle"), Fate::vanishes());
    assert_eq!(world.run("a task that vanishes").await, 4);
}

#[tokio::test]
async fn a_hub_that_is_away_for_a_while_is_waited_for() {
    let mut world = World::new().await;
    world.engine(0).handle().send(&Changed {}).await.unwrap();
    let engine = world.engine(1);
    let started = async {
        while world.hub.live_tasks().is_empty() {
            let _ = tokio::time::timeout(Duration::from_millis(2), std::future::pending::<()>()).await;
        }
    };
    engine.run_until(started).await.unwrap();
    drop(engine);
    world.hub.stop();
    let engine = world.engine(2);
    let outage = tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>());
    engine.run_until(async { drop(outage.await) }).await.unwrap();
    drop(engine);
    world.hub.restart().await.unwrap();
    assert_eq!(world.finish("an outage").await, 3);
}

#[tokio::test]
async fn what_has_old_packages_is_built_again_and_then_fails() {
    let stale = || Fate::succeeds().with_rpm("x86_64", "zlib-1.2-1.el9").with_rpm("aarch64", "zlib-1.2-2.el9");
    let world = World::new().await;
    world.hub.next(&format!("{SOURCES}middle"), stale());
    assert_eq!(world.run("an old package").await, 4);

    let world = World::new().await;
    world.hub.script(move |_| Some(stale()));
    let engine = world.engine(1);
    engine.handle().send(&Changed {}).await.unwrap();
    engine.run_until(engine.handle().idle()).await.unwrap();
    let filter = BuildFilter { artifact: Some("middle".into()), ..BuildFilter::default() };
    let middle = world.storage.builds(filter, Paging::first(1)).await.unwrap().items.remove(0);
    assert_eq!(middle.state, BuildState::Failed);
    assert!(
        middle.reason.text.contains("zlib-1.2-1.el9 on x86_64 is older than zlib-1.2-2.el9"),
        "{}",
        middle.reason.text
    );
    assert_eq!(world.hub.ledger().entries.len(), 2);
}

/// Processes die at any moment, calls go wrong, and each process knows only what is stored.
#[tokio::test]
async fn processes_may_die_while_calls_go_wrong() {
    for seed in 0..40_u64 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let world = World::new().await;
        let mut chances = fastrand::Rng::with_seed(seed ^ 0xbad);
        let mut left = 6;
        world.hub.sabotage(move |method, _| {
            if left == 0 || method == "multiCall" || chances.u32(..100) >= 25 {
                return None;
            }
            left -= 1;
            let late = Duration::from_secs(chances.u64(1..120));
            let work = Duration::from_secs(chances.u64(1..25));
            let troubles = [
                Trouble::RequestLost,
                Trouble::AnswerLost,
                Trouble::Html,
                Trouble::StatusAfter(502),
                Trouble::LateRequest(late),
                Trouble::LateWork(work),
            ];
            Some(troubles[chances.usize(..troubles.len())].clone())
        });
        world.engine(0).handle().send(&Changed {}).await.unwrap();
        for life in 1..=rng.u64(1..5) {
            let engine = world.engine(seed * 100 + life);
            let mut steps = rng.u32(1..120);
            let mut running = pin!(engine.run_until(std::future::pending()));
            let dies = poll_fn(|context| {
                steps -= 1;
                let ended = running.as_mut().poll(context).is_ready();
                if steps == 0 || ended { Poll::Ready(()) } else { Poll::Pending }
            });
            // Or it dies while it waits for something.
            let _ = tokio::time::timeout(Duration::from_millis(rng.u64(1..400)), dies).await;
        }
        assert_eq!(world.finish(&format!("seed {seed}")).await, 3, "seed {seed}");
    }
}

struct Suite<'a>(&'a Hub);

#[async_trait]
impl BuildWorld for Suite<'_> {
    fn request(&self, ending: Ending) -> BuildRequest {
        let number = fastrand::u64(..);
        let source = format!("{SOURCES}image{number}");
        self.0.next(
            &source,
            match ending {
                Ending::Succeeds => Fate::succeeds(),
                Ending::Fails => Fate::fails(1005, "it does not compile"),
                Ending::Hangs => Fate::hangs(),
            },
        );
        let request = BuildRequest::new(AttemptId::from_random(fastrand::u128(..)), format!("image{number}"));
        let source = freshmaker::artifact::Source { location: source, revision: Some("abc".to_owned()) };
        BuildRequest { source: Some(source), target: TARGET.to_owned(), ..request }
    }

    fn unknown(&self) -> freshmaker::rebuild::ExternalId {
        freshmaker::rebuild::ExternalId::new("99999999999999999999")
    }

    async fn settle(&self) {
        let _ = tokio::time::timeout(Duration::from_millis(2), std::future::pending::<()>()).await;
    }
}

#[tokio::test]
async fn the_contract_of_build_systems_holds() {
    let world = World::new().await;
    let builds = KojiBuilds::new(world.config()).unwrap();
    build_system(&builds, &Suite(&world.hub)).await;
    assert_eq!(world.hub.ledger().violations(), []);
}

#[tokio::test]
async fn sessions_of_intents_that_came_to_nothing_are_used_again() {
    let world = World::new().await;
    let builds = KojiBuilds::new(world.config()).unwrap();
    for _ in 0..300 {
        builds.session().await.unwrap();
    }
    assert!(world.hub.calls("login") <= 70, "{} logins", world.hub.calls("login"));
    let session = builds.session().await.unwrap();
    builds.submit(&BuildRequest { session, ..Suite(&world.hub).request(Ending::Succeeds) }).await.unwrap();
}

//! Build systems with sessions, outages and results that have to be looked at.

use crate::each;
use crate::telling::Log;
use async_trait::async_trait;
use freshmaker::backend::{
    BuildFilter, BuildRequest, BuildSystem, Capabilities, Clock, Error, Found, Made, Paging, Remedy, Result, Verifier,
};
use freshmaker::engine::ConfigError;
use freshmaker::memory::MemoryBuildSystem;
use freshmaker::rebuild::{ExternalId, Observed, SessionId, Verification};
use freshmaker::time::Timestamp;
use freshmaker::{Context, Decision, Engine, HandlerResult};
use freshmaker_testing::world::{Pushed, World, builds, message, pushed, until};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    let planner = graph.planner().changed(event.image, None).demand("app", "bash-1-2".parse()?);
    Ok(Decision::Rebuild(planner.plan()?))
}

type Submit = fn(u32, &MemoryBuildSystem) -> Result<Option<ExternalId>>;

/// Builds in sessions, and keeps a diary. What the script says about the n-th submission comes
/// first.
#[derive(Debug)]
struct Sessions {
    builds: MemoryBuildSystem,
    submit: Submit,
    submissions: AtomicU32,
    opened: AtomicU32,
    outage: AtomicU32,
    diary: Mutex<Vec<String>>,
    poll: Duration,
}

impl Sessions {
    fn new(submit: Submit) -> Self {
        Self {
            builds: MemoryBuildSystem::new(),
            submit,
            submissions: AtomicU32::new(0),
            opened: AtomicU32::new(0),
            outage: AtomicU32::new(0),
            diary: Mutex::default(),
            poll: Duration::from_millis(100),
        }
    }

    fn note(&self, line: String) {
        self.diary.lock().unwrap().push(line);
    }

    fn diary(&self) -> Vec<String> {
        self.diary.lock().unwrap().clone()
    }
}

#[async_trait]
impl BuildSystem for Sessions {
    fn capabilities(&self) -> Capabilities {
        Capabilities { lookup: true, settle: Duration::from_secs(1), poll: self.poll, submissions: None }
    }

    async fn session(&self) -> Result<Option<SessionId>> {
        if self.outage.load(Ordering::SeqCst) > 0 {
            self.outage.fetch_sub(1, Ordering::SeqCst);
            self.note("no session".into());
            return Err(Error::new(Remedy::Rejected, "login", "the machine is being moved"));
        }
        Ok(Some(SessionId::new(format!("S{}", self.opened.fetch_add(1, Ordering::SeqCst) + 1))))
    }

    async fn fence(&self, session: &SessionId) -> Result<()> {
        self.note(format!("fence {session}"));
        Ok(())
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        let session = request.session.as_ref().map_or("none", SessionId::as_str);
        self.note(format!("submit {} in {session}", request.artifact));
        let number = self.submissions.fetch_add(1, Ordering::SeqCst) + 1;
        match (self.submit)(number, &self.builds)? {
            Some(external) => Ok(external),
            None => self.builds.submit(request).await,
        }
    }

    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>> {
        self.note(format!("find {}", request.artifact));
        self.builds.find(request, since).await
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        self.builds.status(ids).await
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        self.builds.cancel(id).await
    }
}

/// An engine that builds `app` on this system.
fn engine(world: &World, system: Arc<Sessions>) -> Engine {
    world.catalog.update(|graph| graph.remove(&"site".into()));
    let mut app = freshmaker::Artifact::new("app", freshmaker::ArtifactKind::Image).with_source("app", None);
    app.system = Some("farm".into());
    world.catalog.update(|graph| graph.insert(app));
    world.builder().build_system("farm", system).on(rebuild).build().unwrap()
}

async fn run(system: Arc<Sessions>) -> (World, Vec<String>) {
    let world = World::new();
    let engine = engine(&world, system);
    engine.client().send(&pushed("base")).await.unwrap();
    world.settle(&engine).await;
    let states = builds(&engine.client()).await;
    (world, states)
}

#[tokio::test(start_paused = true)]
async fn what_is_unclear_is_fenced_off_before_it_is_looked_up() {
    let system = Arc::new(Sessions::new(|number, _| match number {
        1 => Err(Error::new(Remedy::Unclear, "submit", "connection reset")),
        _ => Ok(None),
    }));
    let (_, states) = run(Arc::clone(&system)).await;
    assert_eq!(states, ["app DONE"]);
    assert_eq!(system.diary(), ["submit app in S1", "fence S1", "find app", "submit app in S2"]);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_another_attempt_has_ends_the_attempt_and_names_both() {
    for world in each() {
        let system = Arc::new(Sessions::new(|number, builds| match number {
            2 => Ok(Some(ExternalId::new(builds.requests()[0].attempt.as_str()))),
            _ => Ok(None),
        }));
        let engine = engine(&world, system.clone());
        let client = engine.client();
        client.send(&pushed("base")).await.unwrap();
        world.settle(&engine).await;
        client.send(&pushed("base")).await.unwrap();
        world.settle(&engine).await;
        let all = client.builds(BuildFilter::default(), Paging::first(9)).await.unwrap().items;
        let states: Vec<_> = all.iter().map(|build| build.state.to_string()).collect();
        assert_eq!(states, ["FAILED", "DONE"]);
        let [second, first] = [client.attempts(all[0].id).await.unwrap(), client.attempts(all[1].id).await.unwrap()];
        let reason = second[0].reason.text.clone();
        for id in [&first[0].id, &second[0].id] {
            assert!(reason.contains(id.as_str()), "{id}: {reason}");
        }
        assert_eq!((first.len(), second.len()), (1, 1), "nothing is tried for ever");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_one_request_at_a_time_and_no_try() {
    let system = Arc::new(Sessions::new(|_, _| Ok(None)));
    system.outage.store(3, Ordering::SeqCst);
    let log = Log::default();
    let _logged = log.begin();
    let (world, states) = run(Arc::clone(&system)).await;
    assert_eq!(states, ["app DONE"]);
    assert_eq!(system.diary(), ["no session", "no session", "no session", "submit app in S1"]);
    let build = world.storage.reads().builds(BuildFilter::default(), Paging::first(1)).await.unwrap().items.remove(0);
    assert_eq!((build.tries, build.attempts), (1, 4), "even a login that is refused says nothing about the build");
    let begin = "WARN freshmaker::engine::breaker: a build system cannot be reached";
    let said = [begin, "the machine is being moved", "WARN freshmaker::engine::breaker: a build system can be reached"];
    assert_eq!(said.map(|text| log.lines(text)), [1, 1, 1], "an outage is two lines, however long it is");
}

#[tokio::test(start_paused = true)]
async fn a_no_that_may_pass_is_asked_again() {
    let system = Arc::new(Sessions::new(|number, _| match number {
        1 | 2 => Err(Error::new(Remedy::NotNow, "submit", "the target is locked")),
        _ => Ok(None),
    }));
    let (_, states) = run(Arc::clone(&system)).await;
    assert_eq!(states, ["app DONE"]);
    assert_eq!(system.diary(), ["submit app in S1", "submit app in S2", "submit app in S3"]);
}

#[tokio::test(start_paused = true)]
async fn a_hint_asks_at_once_and_a_hint_about_others_does_not() {
    let world = World::new();
    world.catalog.update(|graph| graph.remove(&"site".into()));
    // Nobody would ask for a day of the world's time.
    let system = Arc::new(Sessions { poll: Duration::from_secs(24 * 3600), ..Sessions::new(|_, _| Ok(None)) });
    system.builds.hold(&"app".into());
    let mut app = freshmaker::Artifact::new("app", freshmaker::ArtifactKind::Image).with_source("app", None);
    app.system = Some("farm".into());
    world.catalog.update(|graph| graph.insert(app));
    let read = |message: &freshmaker::Message| message.topic.strip_prefix("done.").map(ExternalId::new);
    let engine = world.builder().build_system("farm", system.clone()).hints("farm", read).on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    let story = async {
        until(|| async { builds(&client).await == ["app BUILDING"] }).await;
        // The first look at the build needs no hint.
        world.clock.sleep(Duration::from_secs(60)).await;
        let build = client.builds(BuildFilter::default(), Paging::first(1)).await.unwrap().items.remove(0);
        let external = client.attempts(build.id).await.unwrap().remove(0).external.unwrap();
        let output = freshmaker::rebuild::Output { name: "app-1".into(), digest: None, contents: None };
        system.builds.finish(&"app".into(), Observed::Succeeded(output));
        until(|| {
            world.bus.send(message("", "done.somebody-elses", ""));
            world.bus.send(message("", &format!("done.{external}"), ""));
            async { builds(&client).await == ["app DONE"] }
        })
        .await;
        assert!(world.clock.elapsed() < Duration::from_secs(3600), "nobody has asked yet");
    };
    engine.run_until(story).await.unwrap();
    assert_eq!(client.overview().await.unwrap().messages_dead, 0);
}

/// Finds what it was told to find, in this order, by artifact.
#[derive(Debug, Default)]
struct Script {
    seen: Mutex<BTreeMap<String, Vec<Result<Verification>>>>,
    made: Mutex<Vec<Made>>,
}

#[async_trait]
impl Verifier for Script {
    async fn verify(&self, made: &Made) -> Result<Verification> {
        self.made.lock().unwrap().push(made.clone());
        let mut seen = self.seen.lock().unwrap();
        match seen.get_mut(made.request.artifact.as_str()).filter(|script| !script.is_empty()) {
            Some(script) => script.remove(0),
            None => Ok(Verification::Passed(None)),
        }
    }
}

async fn verified(script: Vec<Result<Verification>>) -> (World, Arc<Script>, Vec<String>) {
    let world = World::new();
    let verifier = Arc::new(Script { seen: Mutex::new([("app".to_owned(), script)].into()), ..Script::default() });
    let engine = world.builder().verifier("builder", verifier.clone()).on(rebuild).build().unwrap();
    engine.client().send(&pushed("base")).await.unwrap();
    world.settle(&engine).await;
    let states = builds(&engine.client()).await;
    (world, verifier, states)
}

#[tokio::test(start_paused = true)]
async fn results_are_looked_at_before_anything_is_built_on_them() {
    let later = || Err(Error::new(Remedy::Unavailable, "registry", "not yet"));
    let stale = || Ok(Verification::Stale("bash-1-1 is older than bash-1-2".into()));
    let (world, verifier, states) = verified(vec![later(), later(), stale(), Ok(Verification::Passed(None))]).await;
    assert_eq!(states, ["app DONE", "site DONE"]);
    let requests = world.builds.requests();
    let submitted: Vec<_> = requests.iter().map(|it| (it.artifact.as_str(), it.no_cache)).collect();
    assert_eq!(submitted, [("app", false), ("app", true), ("site", false)]);
    let made = verifier.made.lock().unwrap();
    let looked: Vec<_> = made.iter().map(|made| made.request.artifact.as_str()).collect();
    assert_eq!(looked, ["app", "app", "app", "app", "site"]);
    assert_eq!(made[0].request.demands, ["bash-1-2".parse().unwrap()].into());
    assert!(made[4].request.demands.is_empty() && !made[0].output.name.is_empty() || made[0].output.digest.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_looked_at_for_good_fails() {
    let (_, _, states) = verified(vec![Err(Error::new(Remedy::Unsupported, "registry", "no such format"))]).await;
    assert_eq!(states, ["app FAILED", "site DEP_FAILED"]);
}

#[tokio::test(start_paused = true)]
async fn results_of_an_engine_that_stopped_are_looked_at_by_the_next_one() {
    for world in each() {
        let later = || Err(Error::new(Remedy::Unavailable, "registry", "not yet"));
        let script = (0..100_000).map(|_| later()).collect();
        let busy = Arc::new(Script { seen: Mutex::new([("app".to_owned(), script)].into()), ..Script::default() });
        let first = world.builder().verifier("builder", busy).on(rebuild).build().unwrap();
        let client = first.client();
        client.send(&pushed("base")).await.unwrap();
        let verifying = until(|| async { builds(&client).await == ["app VERIFYING", "site BLOCKED"] });
        first.run_until(verifying).await.unwrap();
        // Nor is it forgotten if nobody wants to look any more.
        let second = world.builder().on(rebuild).build().unwrap();
        world.settle(&second).await;
        assert_eq!(builds(&second.client()).await, ["app DONE", "site DONE"]);
        let all = second.client().builds(Default::default(), Paging::first(9)).await.unwrap().items;
        let app = all.iter().find(|build| build.key.artifact.as_str() == "app").unwrap();
        assert_eq!(app.reason.text, "it was built; its result was not verified");
    }
}

#[test]
fn what_is_set_for_a_system_needs_the_system() {
    let unknown = |builder: freshmaker::engine::EngineBuilder| builder.on(rebuild).build().unwrap_err();
    let world = World::new();
    let expected = ConfigError::UnknownSystem("farm".into());
    assert_eq!(unknown(world.builder().verifier("farm", Arc::new(Script::default()))), expected);
    assert_eq!(unknown(world.builder().hints("farm", |_| None)), expected);
    let twice = world.builder().verifier("builder", Arc::new(Script::default()));
    let twice = unknown(twice.verifier("builder", Arc::new(Script::default())));
    assert_eq!(twice.to_string(), r#"two verifiers are called "builder"; names are stored, so each needs its own"#);
}

//! Backends and callers that do what their contracts do not allow, which costs nobody else
//! anything.

use super::rebuild;
use async_trait::async_trait;
use freshmaker::backend::{
    BuildRequest, BuildSystem, Bus, Capabilities, Clock, Delivery, DeliveryTag, Error, Found, Remedy, Result,
};
use freshmaker::rebuild::{EventState, ExternalId, Failure, FailureClass, InboxState, Observed, Output};
use freshmaker::time::Timestamp;
use freshmaker::{Artifact, ArtifactKind, Context, Decision, EdgeKind, Engine, HandlerResult, Message};
use freshmaker_testing::world::{Pushed, World, builds, graph, message, pushed};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

/// Answers the first submission unclearly, and finds what `finds` makes of all jobs. They run until
/// somebody has looked for one.
#[derive(Debug)]
struct Careless {
    jobs: Mutex<Vec<String>>,
    canceled: Mutex<Vec<String>>,
    looked: AtomicUsize,
    finds: fn(&[String]) -> Vec<(String, Observed)>,
}

#[async_trait]
impl BuildSystem for Careless {
    fn capabilities(&self) -> Capabilities {
        Capabilities { lookup: true, settle: Duration::from_secs(5), poll: Duration::from_secs(5), submissions: None }
    }

    async fn submit(&self, _: &BuildRequest) -> Result<ExternalId> {
        let mut jobs = self.jobs.lock().unwrap();
        let job = format!("job-{}", jobs.len());
        jobs.push(job.clone());
        if jobs.len() == 1 {
            Err(Error::new(Remedy::Unclear, "submit", "connection reset"))
        } else {
            Ok(ExternalId::new(job))
        }
    }

    async fn find(&self, _: &BuildRequest, _: Timestamp) -> Result<Vec<Found>> {
        self.looked.fetch_add(1, Ordering::Relaxed);
        let found = (self.finds)(&self.jobs.lock().unwrap());
        Ok(found.into_iter().map(|(job, observed)| Found { external: ExternalId::new(job), observed }).collect())
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        let over = self.looked.load(Ordering::Relaxed) > 0;
        let canceled = self.canceled.lock().unwrap();
        let state = |id: &ExternalId| match over {
            _ if canceled.iter().any(|job| job == id.as_str()) => Observed::Canceled,
            true => Observed::Succeeded(Output { name: id.to_string(), digest: None, contents: None }),
            false => Observed::Running,
        };
        Ok(ids.iter().map(|id| Found { external: id.clone(), observed: state(id) }).collect())
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        self.canceled.lock().unwrap().push(id.to_string());
        Ok(())
    }
}

/// Three images are rebuilt by a careless system; returns which jobs it was asked to cancel.
async fn canceled_of(finds: fn(&[String]) -> Vec<(String, Observed)>) -> Vec<String> {
    let mut graph = graph();
    for id in ["one", "other"] {
        graph.insert(Artifact::new(id, ArtifactKind::Image).with_source(id, None));
        graph.depend(id, "base", EdgeKind::ParentImage).unwrap();
    }
    let world = World { catalog: Arc::new(freshmaker::memory::MemoryCatalog::new(graph)), ..World::new() };
    let (jobs, canceled, looked) = (Mutex::default(), Mutex::default(), AtomicUsize::new(0));
    let system = Arc::new(Careless { jobs, canceled, looked, finds });
    let builder = Engine::builder().storage(world.storage.clone()).catalog("images", world.catalog.clone());
    let builder = builder.clock(world.clock.clone()).build_system("builder", system.clone());
    let engine = builder.on(rebuild).build().unwrap();
    engine.client().send(&pushed("base")).await.unwrap();
    world.settle(&engine).await;
    let states = builds(&engine.client()).await;
    assert!(states.iter().all(|state| state.ends_with(" DONE")), "{states:?}");
    system.canceled.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_found_twice_is_one_job() {
    let twice = |jobs: &[String]| vec![(jobs[0].clone(), Observed::Running), (jobs[0].clone(), Observed::Running)];
    assert_eq!(canceled_of(twice).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn of_two_jobs_the_one_that_has_not_failed_is_kept() {
    let found = |jobs: &[String]| {
        let failed = Failure::new(FailureClass::Infrastructure, "no space left");
        vec![("a-failed-one".to_owned(), Observed::Failed(failed)), (jobs[0].clone(), Observed::Running)]
    };
    assert_eq!(canceled_of(found).await, ["a-failed-one"]);
}

#[tokio::test(start_paused = true)]
async fn jobs_of_other_attempts_are_left_alone() {
    let all = |jobs: &[String]| jobs.iter().map(|job| (job.clone(), Observed::Running)).collect();
    assert_eq!(canceled_of(all).await, [""; 0]);
}

/// Has always something to say, or says at once that there is nothing.
#[derive(Debug, Default)]
struct Hasty {
    has_messages: bool,
    asked: AtomicUsize,
}

#[async_trait]
impl Bus for Hasty {
    async fn receive(&self, _: usize) -> Result<Vec<Delivery>> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let message =
            || Delivery { tag: DeliveryTag(number as u64), message: message(&number.to_string(), "other", "") };
        Ok(self.has_messages.then(message).into_iter().collect())
    }

    async fn acknowledge(&self, _: &[DeliveryTag]) -> Result<()> {
        Ok(())
    }

    async fn publish(&self, _: &Message) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_never_waits_stops_nothing_else() {
    let world = World::new();
    let hasty = Arc::new(Hasty::default());
    let engine = world.builder().bus("hasty", hasty.clone()).on(rebuild).build().unwrap();
    engine.run_until(world.clock.sleep(Duration::from_secs(30))).await.unwrap();
    assert!(hasty.asked.load(Ordering::Relaxed) <= 31, "it is asked after a pause");

    let greedy = Arc::new(Hasty { has_messages: true, ..Hasty::default() });
    let engine = world.builder().bus("greedy", greedy.clone()).on(rebuild).build().unwrap();
    // The time of a test stands still while something is done, so this looks at each step.
    let enough = std::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if greedy.asked.load(Ordering::Relaxed) > 100 { Poll::Ready(()) } else { Poll::Pending }
    });
    engine.run_until(enough).await.unwrap();
    assert!(greedy.asked.load(Ordering::Relaxed) < 200, "the rest of the engine has its turn");
}

#[tokio::test(start_paused = true)]
async fn one_engine_runs_once_at_a_time() {
    let world = World::new();
    let engine = world.builder().on(rebuild).build().unwrap();
    let second = async {
        world.clock.sleep(Duration::from_secs(1)).await;
        engine.run_until(std::future::ready(())).await
    };
    let (first, second) = tokio::join!(engine.run_until(world.clock.sleep(Duration::from_secs(3))), second);
    first.unwrap();
    assert_eq!(second.unwrap_err().remedy, Remedy::Rejected);
    engine.run_until(std::future::ready(())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn ids_of_decisions_and_bodies_without_a_bound_are_refused() {
    let world = World::new();
    let engine = world.builder().on(rebuild).message_bytes_max(100).build().unwrap();
    let client = engine.client();
    for id in ["1/confirmed", "2/retry/whole", "2/retry/failed"] {
        let error = client.send_as(id, &pushed("base")).await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Rejected, "{error}");
    }
    client.send_as("hook/1/confirmed", &pushed("base")).await.unwrap();
    let sent = client.send_as("large", &pushed(&"x".repeat(200))).await.unwrap();
    world.settle(&engine).await;
    let large = client.message("local", sent.id()).await.unwrap();
    assert_eq!((large.state, large.reason.unwrap().code.as_str()), (InboxState::Dead, "too_large"));
}

#[tokio::test(start_paused = true)]
async fn handlers_that_emit_for_each_other_come_to_an_end() {
    async fn echo(event: Pushed, _: Context) -> HandlerResult {
        Ok(Decision::Emit(vec![Message::of("", &pushed(&format!("{}!", event.image)))?]))
    }
    let world = World::new();
    let engine = world.builder().on(echo).build().unwrap();
    engine.client().send(&pushed("base")).await.unwrap();
    world.settle(&engine).await;
    let events =
        engine.client().events(Default::default(), freshmaker::backend::Paging::first(100)).await.unwrap().items;
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!((event.state, event.reason.code.as_str()), (EventState::Failed, "handler_failed"));
    assert!(event.reason.text.contains("10 led to this one"), "{}", event.reason);
}

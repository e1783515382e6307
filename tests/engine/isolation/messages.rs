//! Messages that cannot be handled, and what is asked about them.

use super::{NoNul, Twist, Twisted, rebuild, secs};
use async_trait::async_trait;
use freshmaker::backend::{Catalog, CatalogAnswer, Clock, Error, Paging, Remedy, Result, Scope, Storage};
use freshmaker::client::Client;
use freshmaker::memory::MemoryCatalog;
use freshmaker::policy::Policy;
use freshmaker::rebuild::{BuildMode, EventId, EventState, InboxState};
use freshmaker::{ArtifactId, Context, Decision, Engine, Event, HandlerResult, Message};
use freshmaker_testing::world::{Pushed, World, events, message, pushed, until};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// A message that kills the process takes its neighbours with it, because the dead run's lease
/// still holds when the next process looks for what was left.
#[tokio::test(start_paused = true)]
async fn a_message_that_kills_the_process_takes_no_other_along() {
    let world = World::new();
    let dies = Arc::new(Notify::new());
    let make = || {
        let (dies, clock) = (dies.clone(), world.clock.clone());
        let handler = move |event: Pushed, _: Context| {
            let (dies, clock) = (dies.clone(), clock.clone());
            async move {
                if event.image == "poison" {
                    dies.notify_one();
                    std::future::pending::<()>().await;
                }
                clock.sleep(Duration::from_secs(2)).await;
                HandlerResult::Ok(Decision::Ignore)
            }
        };
        world.builder().on_as("kills", handler).build().unwrap()
    };
    let client = make().client();
    for number in 0..5 {
        client.send_as(format!("good-{number}"), &pushed(&format!("good{number}"))).await.unwrap();
    }
    client.send_as("poison", &pushed("poison")).await.unwrap();
    for _ in 0..12 {
        let engine = make();
        tokio::select! {
            () = dies.notified() => {}
            ended = engine.run_until(world.clock.sleep(secs(120))) => { ended.unwrap(); break }
        }
        drop(engine);
        // A supervisor starts it again.
        world.clock.sleep(secs(1)).await;
    }
    let dead = client.dead_letters(Paging::first(100)).await.unwrap().items;
    let dead: Vec<_> = dead.iter().map(|row| format!("{}: {}", row.message_id, row.reason.as_ref().unwrap())).collect();
    assert_eq!(dead.len(), 1, "{dead:#?}");
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Other {}

impl Event for Other {
    const KIND: &'static str = "test.other";
}

#[derive(Debug)]
struct HangsAbout(&'static str, Arc<MemoryCatalog>);

#[async_trait]
impl Catalog for HangsAbout {
    async fn dependents(&self, of: &[ArtifactId]) -> Result<CatalogAnswer> {
        if of.iter().any(|id| id.as_str().starts_with(self.0)) {
            std::future::pending::<()>().await;
        }
        self.1.dependents(of).await
    }
    async fn describe(&self, ids: &[ArtifactId]) -> Result<CatalogAnswer> {
        self.1.describe(ids).await
    }
}

/// Sixty messages about a catalog that hangs keep all others from being handled, for ever.
#[tokio::test(start_paused = true)]
async fn messages_about_a_catalog_that_hangs_stop_no_others() {
    let world = World::new();
    let builder = Engine::builder().storage(world.storage.clone()).clock(world.clock.clone());
    let builder = builder.build_system("builder", world.builds.clone());
    let builder = builder.catalog("slow", Arc::new(HangsAbout("slow", world.catalog.clone())));
    let engine = builder.on(rebuild).on_as("other", async |_: Other, _: Context| Ok(Decision::Ignore)).build().unwrap();
    let client = engine.client();
    for number in 0..60 {
        client.send(&pushed(&format!("slow{number}"))).await.unwrap();
    }
    let id = client.send(&Other {}).await.unwrap();
    engine.run_until(world.clock.sleep(secs(24 * 3600))).await.unwrap();
    let state = client.message(Client::LOCAL, &id).await.unwrap().state;
    assert_eq!(state, InboxState::Ignored, "after a day");
}

/// The confirmation of a dry run that asks first is no dry run.
#[tokio::test(start_paused = true)]
async fn the_confirmation_of_a_dry_run_is_one() {
    let world = World::new();
    let engine = world.builder().policy(Policy::allow_all().with_ask_above(1)).on(rebuild).build().unwrap();
    let client = engine.client();
    let mut message = Message::of("dry", &pushed("base")).unwrap();
    message.headers.insert(Message::DRY_RUN.to_owned(), "true".to_owned());
    client.receive(message).await.unwrap();
    world.settle(&engine).await;
    let event = events(&client).await.pop().unwrap();
    assert_eq!(
        (event.state, event.mode, event.reason.code.as_str()),
        (EventState::Skipped, BuildMode::DryRun, "ask_first")
    );
    client.confirm(event.id, &event.plan.unwrap()).await.unwrap();
    world.settle(&engine).await;
    assert_eq!(world.submitted(), [""; 0], "it was a dry run");
}

/// Events of a bus message with the same id are taken for those of the message that was sent.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_message_gets_only_its_events() {
    let world = World::new();
    let engine = world.builder().on(rebuild).build().unwrap();
    let client = engine.client();
    world.bus.send(message("17", "test.pushed", r#"{"image":"app"}"#));
    world.settle(&engine).await;
    client.send_as("17", &pushed("base")).await.unwrap();
    world.settle(&engine).await;
    let found = client.wait_for_message("17").await.unwrap();
    let keys: Vec<_> = found.iter().map(|event| (event.source.as_str(), event.envelope.search_key.as_str())).collect();
    assert_eq!(keys, [("local", "base")]);
}

/// A row that the cancellation of an event needs cannot be read for a while.
#[derive(Debug)]
struct NoEvents(Arc<AtomicBool>);

#[async_trait]
impl Twist for NoEvents {
    async fn before_load(&self, _: &Arc<dyn Storage>, scope: &Scope) -> Result<()> {
        if self.0.load(Ordering::SeqCst) && matches!(scope, Scope::Event(_)) {
            return Err(Error::new(Remedy::Corrupt, "events 1", "state 77"));
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stop {
    event: i64,
}

impl Event for Stop {
    const KIND: &'static str = "test.stop";
}

/// A handler's cancellation is lost if a row cannot be read, and its message is done.
#[tokio::test(start_paused = true)]
async fn a_cancellation_that_cannot_be_stored_is_asked_for_again() {
    let world = World::new();
    let broken = Arc::new(AtomicBool::new(false));
    let storage = Arc::new(Twisted(world.storage.clone(), NoEvents(broken.clone())));
    let world = World::on(storage, world.clock.clone());
    world.builds.hold(&"app".into());
    let stop = async |stop: Stop, _: Context| -> HandlerResult { Ok(Decision::Cancel(vec![EventId(stop.event)])) };
    let engine = world.builder().on(rebuild).on_as("stop", stop).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    engine.run_until(until(async || world.submitted() == ["app"])).await.unwrap();
    let event = events(&client).await[0].id;
    broken.store(true, Ordering::SeqCst);
    let id = client.send(&Stop { event: event.0 }).await.unwrap();
    engine.run_until(world.clock.sleep(secs(60))).await.unwrap();
    // The row is mended.
    broken.store(false, Ordering::SeqCst);
    engine.run_until(world.clock.sleep(secs(3600))).await.unwrap();
    let row = client.message(Client::LOCAL, &id).await.unwrap();
    let event = client.event(event).await.unwrap();
    assert!(
        event.cancel_at.is_some(),
        "the message is {:?} ({:?}), the event goes on: {:?}",
        row.state,
        row.reason,
        event.state
    );
}

#[derive(Debug)]
struct OddCatalog(AtomicUsize);

#[async_trait]
impl Catalog for OddCatalog {
    async fn dependents(&self, _: &[ArtifactId]) -> Result<CatalogAnswer> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(Error::new(Remedy::Unavailable, "catalog", "502: \0\0"))
    }
    async fn describe(&self, _: &[ArtifactId]) -> Result<CatalogAnswer> {
        Err(Error::new(Remedy::Unavailable, "catalog", "502"))
    }
}

/// A message whose reason to wait cannot be stored is handled again each second, for ever.
#[tokio::test(start_paused = true)]
async fn a_message_with_an_odd_reason_is_not_handled_in_a_loop() {
    let world = World::new();
    let world = World::on(Arc::new(Twisted(world.storage.clone(), NoNul)), world.clock.clone());
    let catalog = Arc::new(OddCatalog(AtomicUsize::new(0)));
    let builder = Engine::builder().storage(world.storage.clone()).clock(world.clock.clone());
    let builder = builder.build_system("builder", world.builds.clone()).catalog("odd", catalog.clone());
    let engine = builder.on(rebuild).build().unwrap();
    engine.client().send(&pushed("base")).await.unwrap();
    engine.run_until(world.clock.sleep(secs(3600))).await.unwrap();
    let asked = catalog.0.load(Ordering::SeqCst);
    assert!(asked <= 30, "the catalog was asked {asked} times within an hour");
}

/// Events that build nothing count as decisions that overtake one.
#[tokio::test(start_paused = true)]
async fn skipped_events_overtake_nothing() {
    let world = World::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let (count, clock) = (asked.clone(), world.clock.clone());
    let slow = move |event: Pushed, cx: Context| {
        let (count, clock) = (count.clone(), clock.clone());
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            clock.sleep(secs(60)).await;
            rebuild(event, cx).await
        }
    };
    let skip = async |_: Other, _: Context| Ok(Decision::Skip("nothing to do".into()));
    let engine = world.builder().on_as("slow", slow).on_as("skip", skip).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    let flood = async {
        for _ in 0..2000 {
            client.send(&Other {}).await.unwrap();
            world.clock.sleep(Duration::from_millis(400)).await;
        }
    };
    engine.run_until(flood).await.unwrap();
    let asked = asked.load(Ordering::SeqCst);
    assert_eq!(asked, 1, "nothing about its images was decided meanwhile");
}

//! How changes reach the buses: in their order, past what a bus refuses, and in another form if
//! somebody wants it.

use crate::each;
use async_trait::async_trait;
use freshmaker::backend::{Bus, Clock, Delivery, DeliveryTag, Error, Paging, Remedy, Result};
use freshmaker::client::Client;
use freshmaker::engine::{Announcement, Announcer};
use freshmaker::memory::MemoryBus;
use freshmaker::rebuild::{Neighbourhood, Notification, RowKey};
use freshmaker::{Context, Decision, Engine, HandlerResult, Message};
use freshmaker_testing::world::{Pushed, World, pushed};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A bus that answers some messages with an error.
#[derive(Debug)]
struct Picky {
    inner: MemoryBus,
    /// Says no to this message, with this remedy.
    no: fn(&Message) -> Option<Remedy>,
    /// How often it says no; then it takes everything.
    patience: AtomicUsize,
}

impl Picky {
    fn new(times: usize, no: fn(&Message) -> Option<Remedy>) -> Self {
        Self { inner: MemoryBus::new(), no, patience: AtomicUsize::new(times) }
    }
}

#[async_trait]
impl Bus for Picky {
    async fn receive(&self, limit: usize) -> Result<Vec<Delivery>> {
        self.inner.receive(limit).await
    }

    async fn acknowledge(&self, tags: &[DeliveryTag]) -> Result<()> {
        self.inner.acknowledge(tags).await
    }

    async fn publish(&self, message: &Message) -> Result<()> {
        let less = |left: usize| left.checked_sub(1);
        match (self.no)(message) {
            Some(remedy) if self.patience.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() => {
                Err(Error::new(remedy, "picky", "no such thing"))
            }
            _ => self.inner.publish(message).await,
        }
    }
}

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(Decision::Rebuild(graph.planner().changed(event.image, None).plan()?))
}

fn state(message: &Message, key: &str) -> String {
    serde_json::from_slice::<Value>(&message.body).unwrap()[key].as_str().unwrap_or_default().to_owned()
}

fn ids(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.id.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_bus_refuses_is_kept_and_the_line_goes_on() {
    for remedy in [Remedy::Rejected, Remedy::NotFound] {
        for world in each() {
            let no: fn(&Message) -> Option<Remedy> = match remedy {
                Remedy::Rejected => |message| (state(message, "state") == "BUILD").then_some(Remedy::Rejected),
                _ => |message| (state(message, "state") == "BUILD").then_some(Remedy::NotFound),
            };
            let picky = std::sync::Arc::new(Picky::new(1, no));
            let engine = world.builder().bus("picky", picky.clone()).on(rebuild).build().unwrap();
            engine.client().send(&pushed("base")).await.unwrap();
            world.settle(&engine).await;

            let all = world.bus.published();
            let dead = engine.client().dead_letters(Paging::first(9)).await.unwrap().items;
            assert_eq!(dead.len(), 1, "{dead:?}");
            assert_eq!(dead[0].source, Client::REFUSED);
            assert!(all.contains(&dead[0].message), "it is whole, and the other bus has it");
            let reason = dead[0].reason.as_ref().unwrap();
            assert_eq!((reason.code.as_str(), reason.text.as_str()), ("refused", "picky: picky: no such thing"));
            let taken: Vec<_> = all.into_iter().filter(|message| *message != dead[0].message).collect();
            assert_eq!(picky.inner.published(), taken, "all others, in their order");
            assert!(state(&dead[0].message, "state") == "BUILD" && taken.len() == 7);
        }
    }
}

/// What is logged.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl Log {
    /// Logs into this from here on, in this thread.
    pub(crate) fn begin(&self) -> tracing::subscriber::DefaultGuard {
        let writer = self.clone();
        tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(move || writer.clone()).finish())
    }

    /// How many lines contain a text.
    pub(crate) fn lines(&self, text: &str) -> usize {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines().filter(|line| line.contains(text)).count()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_bus_that_does_not_publish_is_not_given_is_passed_over() {
    for world in each() {
        let log = Log::default();
        let _logged = log.begin();
        let silent = Arc::new(Picky::new(3, |_| Some(Remedy::Unsupported)));
        let engine = world.builder().bus("silent", silent.clone()).on(rebuild).build().unwrap();
        engine.client().send(&pushed("base")).await.unwrap();
        world.settle(&engine).await;
        assert_eq!(engine.client().dead_letters(Paging::first(9).counted()).await.unwrap().total, Some(0));
        let all = world.bus.published();
        assert_eq!(silent.inner.published(), all[3..], "what comes after it publishes again is not passed over");
        let outbox = world.storage.reads().outbox().await.unwrap();
        for partition in &outbox.partitions {
            assert!(
                partition.buses.values().all(|position| *position == partition.last),
                "nothing waits: {partition:?}"
            );
        }
        let said = ["this bus does not publish", "this bus publishes again"].map(|text| log.lines(text));
        assert_eq!(said, [1, 1], "each is said once");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_passes_holds_up_what_comes_after() {
    let world = World::new();
    let no = |message: &Message| (state(message, "state") == "BUILD").then_some(Remedy::NotNow);
    let picky = std::sync::Arc::new(Picky::new(3, no));
    let engine = world.builder().bus("picky", picky.clone()).on(rebuild).build().unwrap();
    engine.client().send(&pushed("base")).await.unwrap();
    world.settle(&engine).await;
    assert_eq!(engine.client().dead_letters(Paging::first(9).counted()).await.unwrap().total, Some(0));
    let mut seen = BTreeSet::new();
    let first: Vec<_> = world.bus.published().into_iter().filter(|message| seen.insert(message.id.clone())).collect();
    assert_eq!(picky.inner.published(), first, "each once, in their order");
    assert_eq!(world.bus.published().len(), first.len(), "the other bus hears nothing again");
}

/// Says each change of an event twice more.
#[derive(Debug)]
struct Twice;

impl Announcer for Twice {
    fn announce(&self, change: &Notification, rows: &Neighbourhood) -> Vec<Announcement> {
        if !matches!(change.of, RowKey::Event(_)) {
            return Vec::new();
        }
        let body = json!({ "builds": rows.builds.len() });
        ["event.told", "event.told.min"]
            .map(|topic| Announcement { topic: topic.to_owned(), body: body.clone() })
            .into()
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_sent_again_has_the_same_id() {
    let world = World::new();
    let no = |message: &Message| message.topic.ends_with(".min").then_some(Remedy::Unavailable);
    let picky = std::sync::Arc::new(Picky::new(2, no));
    let engine = world.builder().bus("picky", picky.clone()).on(rebuild).announcer(Twice).build().unwrap();
    engine.client().send(&pushed("base")).await.unwrap();
    world.settle(&engine).await;
    let heard = ids(&picky.inner.published());
    assert_eq!(heard[..2], heard[2..4], "what comes before it comes again");
    assert_eq!(heard[..2], heard[4..6]);
    assert_eq!(heard[6], format!("{}:event.told.min", heard[0]));
}

/// The buses that have a position in the first partition.
async fn buses(world: &World) -> Vec<String> {
    world.storage.reads().outbox().await.unwrap().partitions[0].buses.keys().cloned().collect()
}

/// What is left of a bus that is gone would keep notifications for ever.
#[tokio::test(start_paused = true)]
async fn a_bus_that_is_no_longer_registered_loses_its_position_after_an_hour() {
    for world in each() {
        let both = world.builder().bus("second", Arc::new(MemoryBus::new())).on(rebuild).build().unwrap();
        both.client().send(&pushed("base")).await.unwrap();
        world.settle(&both).await;
        assert_eq!(buses(&world).await, ["bus", "second"]);
        let one = world.builder().on(rebuild).build().unwrap();
        let story = async {
            world.clock.sleep(Duration::from_secs(4000)).await;
            assert_eq!(buses(&world).await, ["bus", "second"], "nothing waits for it");
            one.client().send_as("more", &pushed("base")).await.unwrap();
            world.clock.sleep(Duration::from_secs(3500)).await;
            assert_eq!(buses(&world).await, ["bus", "second"]);
            world.clock.sleep(Duration::from_secs(120)).await;
            assert_eq!(buses(&world).await, ["bus"]);
        };
        one.run_until(story).await.unwrap();
    }
}

/// A process that was started without a bus, or runs for a moment beside one that has it, costs
/// that bus nothing.
#[tokio::test(start_paused = true)]
async fn a_bus_that_another_process_does_not_have_goes_on_where_it_was() {
    for world in each() {
        let second = Arc::new(MemoryBus::new());
        let both = world.builder().bus("second", second.clone()).on(rebuild).build().unwrap();
        both.client().send_as("first", &pushed("base")).await.unwrap();
        world.settle(&both).await;
        let one = world.builder().on(rebuild).build().unwrap();
        one.client().send_as("between", &pushed("base")).await.unwrap();
        one.run_until(world.clock.sleep(Duration::from_secs(600))).await.unwrap();
        assert!(second.published().len() < world.bus.published().len());
        let both = world.builder().bus("second", second.clone()).on(rebuild).build().unwrap();
        both.client().send_as("last", &pushed("base")).await.unwrap();
        world.settle(&both).await;
        assert_eq!(ids(&second.published()), ids(&world.bus.published()), "all, in their order, each once");
    }
}

/// A program for one's own machine has no bus, and one that has is not asked to wait for it.
#[tokio::test(start_paused = true)]
async fn the_position_of_an_engine_without_a_bus_goes_with_the_first_bus() {
    for world in each() {
        let parts = Engine::builder().storage(world.storage.clone()).catalog("images", world.catalog.clone());
        let none = parts.build_system("builder", world.builds.clone()).on(rebuild).build().unwrap();
        none.client().send(&pushed("base")).await.unwrap();
        world.settle(&none).await;
        assert_eq!(buses(&world).await, [Client::LOCAL]);
        let one = world.builder().on(rebuild).build().unwrap();
        one.client().send_as("again", &pushed("base")).await.unwrap();
        world.settle(&one).await;
        assert_eq!(buses(&world).await, ["bus"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_bus_gets_what_comes_from_now_on() {
    for world in each() {
        let one = world.builder().on(rebuild).build().unwrap();
        one.client().send(&pushed("base")).await.unwrap();
        world.settle(&one).await;
        let before: BTreeSet<_> = ids(&world.bus.published()).into_iter().collect();
        let new = Arc::new(MemoryBus::new());
        let both = world.builder().bus("new", new.clone()).on(rebuild).build().unwrap();
        both.client().send_as("again", &pushed("base")).await.unwrap();
        world.settle(&both).await;
        let all: BTreeSet<_> = ids(&world.bus.published()).into_iter().collect();
        let heard: BTreeSet<_> = ids(&new.published()).into_iter().collect();
        assert!(!before.is_empty() && heard == &all - &before, "{heard:?}");
    }
}

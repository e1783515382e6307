//! How changes reach the buses: in their order, past what a bus refuses, and in the words of Freshmaker if somebody wants them.

use crate::schemas::{faults, schema};
use crate::town::{Pushed, Town, pushed};
use async_trait::async_trait;
use freshmaker::adapter::memory::MemoryBus;
use freshmaker::backend::{Bus, Delivery, DeliveryTag, Error, Paging, Remedy, Result};
use freshmaker::engine::Handle;
use freshmaker::{Context, Decision, HandlerResult, Message};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

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

#[tokio::test]
async fn what_a_bus_refuses_is_kept_and_the_line_goes_on() {
    for remedy in [Remedy::Rejected, Remedy::NotFound, Remedy::Unsupported] {
        for town in Town::each() {
            let no: fn(&Message) -> Option<Remedy> = match remedy {
                Remedy::Rejected => |message| (state(message, "state") == "BUILD").then_some(Remedy::Rejected),
                Remedy::NotFound => |message| (state(message, "state") == "BUILD").then_some(Remedy::NotFound),
                _ => |message| (state(message, "state") == "BUILD").then_some(Remedy::Unsupported),
            };
            let picky = std::sync::Arc::new(Picky::new(1, no));
            let engine = town.builder().bus("picky", picky.clone()).on(rebuild).build().unwrap();
            engine.handle().send(&pushed("base")).await.unwrap();
            town.settle(&engine).await;

            let all = town.bus.published();
            let dead = engine.handle().dead_letters(Paging::first(9)).await.unwrap().items;
            assert_eq!(dead.len(), 1, "{dead:?}");
            assert_eq!(dead[0].source, Handle::REFUSED);
            assert!(all.contains(&dead[0].message), "it is whole, and the other bus has it");
            let reason = dead[0].reason.as_ref().unwrap();
            assert_eq!((reason.code.as_str(), reason.text.as_str()), ("refused", "picky: picky: no such thing"));
            let taken: Vec<_> = all.into_iter().filter(|message| *message != dead[0].message).collect();
            assert_eq!(picky.inner.published(), taken, "all others, in their order");
            assert!(state(&dead[0].message, "state") == "BUILD" && taken.len() == 7);
        }
    }
}

#[tokio::test]
async fn an_error_that_passes_holds_up_what_comes_after() {
    let town = Town::new();
    let no = |message: &Message| (state(message, "state") == "BUILD").then_some(Remedy::NotNow);
    let picky = std::sync::Arc::new(Picky::new(3, no));
    let engine = town.builder().bus("picky", picky.clone()).on(rebuild).build().unwrap();
    engine.handle().send(&pushed("base")).await.unwrap();
    town.settle(&engine).await;
    assert_eq!(engine.handle().dead_letters(Paging::first(9)).await.unwrap().total, 0);
    let mut seen = BTreeSet::new();
    let first: Vec<_> = town.bus.published().into_iter().filter(|message| seen.insert(message.id.clone())).collect();
    assert_eq!(picky.inner.published(), first, "each once, in their order");
    assert_eq!(town.bus.published().len(), first.len() + 3, "the other bus heard one message again, each time");
}

#[tokio::test]
async fn freshmakers_messages_follow_ours_if_they_are_asked_for() {
    for town in Town::each() {
        let engine = town.builder().on(rebuild).freshmaker_messages("https://fm.example.org/").build().unwrap();
        engine.handle().send(&pushed("base")).await.unwrap();
        town.settle(&engine).await;
        let published = town.bus.published();
        let told: Vec<_> = published.iter().map(|message| message.topic.as_str()).collect();
        for (at, topic) in told.iter().enumerate() {
            match *topic {
                "event.changed" => assert_eq!(told[at + 1..at + 3], ["event.state.changed", "event.state.changed.min"]),
                "build.changed" => assert_eq!(told[at + 1], "build.state.changed"),
                _ => {}
            }
        }
        let mut states = BTreeSet::new();
        for message in published.iter().filter(|message| message.topic.contains(".state.changed")) {
            let body: Value = serde_json::from_slice(&message.body).unwrap();
            let schema = schema(&message.topic);
            assert_eq!(faults(&schema, &schema, &body, &message.topic), Vec::<String>::new(), "{body}");
            assert!(message.id.ends_with(&message.topic), "{}", message.id);
            states.insert(format!("{} {}", message.topic, body["state_name"].as_str().unwrap()));
        }
        let expected = [
            "build.state.changed BUILD",
            "build.state.changed DONE",
            "build.state.changed PLANNED",
            "event.state.changed BUILDING",
            "event.state.changed COMPLETE",
            "event.state.changed.min BUILDING",
            "event.state.changed.min COMPLETE",
        ];
        assert_eq!(states.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        assert_eq!(ids(&published).into_iter().collect::<BTreeSet<_>>().len(), published.len(), "no id comes twice");

        let last: Value = serde_json::from_slice(&published.last().unwrap().body).unwrap();
        assert_eq!(last["builds_summary"], json!({ "total": 2, "DONE": 2 }));
        assert_eq!(last["url"], format!("https://fm.example.org/api/1/events/{}", last["id"]));
        let whole: Value = serde_json::from_slice(&published[published.len() - 2].body).unwrap();
        let [app, site] = [&whole["builds"][0], &whole["builds"][1]];
        assert_eq!((&app["name"], &app["dep_on"], &app["event_id"]), (&json!("app"), &Value::Null, &whole["id"]));
        assert_eq!((&site["name"], &site["dep_on"], &site["dep_on_id"]), (&json!("site"), &json!("app"), &app["id"]));
        assert_eq!(site["build_args"]["original_parent"], "app");
    }
}

#[tokio::test]
async fn a_message_that_is_sent_again_has_the_same_id() {
    let town = Town::new();
    let no = |message: &Message| message.topic.ends_with(".min").then_some(Remedy::Unavailable);
    let picky = std::sync::Arc::new(Picky::new(2, no));
    let engine = town.builder().bus("picky", picky.clone()).on(rebuild).freshmaker_messages("").build().unwrap();
    engine.handle().send(&pushed("base")).await.unwrap();
    town.settle(&engine).await;
    let heard = ids(&picky.inner.published());
    assert_eq!(heard[..2], heard[2..4], "what comes before it comes again");
    assert_eq!(heard[..2], heard[4..6]);
    assert_eq!(heard[6], format!("{}:event.state.changed.min", heard[0]));
}

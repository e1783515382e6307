//! What becomes of messages: good, broken, unwanted, too large, repeated.

use crate::each;
use freshmaker::backend::{Paging, Remedy};
use freshmaker::client::Sent;
use freshmaker::rebuild::{EventState, InboxState};
use freshmaker::{Context, Decision, Engine, Event, HandlerResult, Message};
use freshmaker_testing::world::{Pushed, World, builds, events, message, only, pushed};

/// The handler of the README.
async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(Decision::Rebuild(graph.planner().changed(event.image, None).policy(cx.policy()).plan()?))
}

fn engine(world: &World) -> Engine {
    world.builder().on(rebuild).message_bytes_max(1000).build().unwrap()
}

fn good(id: &str) -> Message {
    message(id, "test.pushed", r#"{"image":"base"}"#)
}

#[tokio::test(start_paused = true)]
async fn a_ten_line_handler_rebuilds_what_depends() {
    for world in each() {
        let engine = engine(&world);
        world.bus.send(good("m1"));
        world.settle(&engine).await;
        let client = engine.client();
        let (state, _, text) = only(&client).await;
        assert_eq!((state, text.as_str()), (EventState::Complete, "all 2 builds ended well"));
        assert_eq!(builds(&client).await, ["app DONE", "site DONE"]);
        assert_eq!(world.submitted(), ["app", "site"]);
        assert!(!tracing::dispatcher::has_been_set(), "who embeds the engine decides who listens");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_message_is_kept_with_its_bytes_and_the_others_are_handled() {
    for world in each() {
        let engine = engine(&world);
        let broken = message("m2", "test.pushed", "{\"image\":\n 7}");
        for message in [good("m1"), broken.clone(), good("m3")] {
            world.bus.send(message);
        }
        world.settle(&engine).await;
        let client = engine.client();
        let dead = client.dead_letters(Paging::first(10)).await.unwrap().items;
        assert_eq!(dead.len(), 1);
        assert_eq!(dead[0].message, broken);
        let reason = dead[0].reason.as_ref().unwrap();
        assert_eq!(reason.code, "malformed");
        assert!(reason.text.contains("m2") && reason.text.contains("line 2 column 2"), "{reason}");
        let states: Vec<_> = events(&client).await.iter().map(|event| event.state).collect();
        assert_eq!(states, [EventState::Complete; 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_nobody_wants_is_acknowledged_and_not_stored() {
    let world = World::new();
    let engine = engine(&world);
    world.bus.send(message("m1", "somebody.else", "\u{1}"));
    world.settle(&engine).await;
    assert_eq!(world.bus.backlog(), 0);
    assert_eq!(world.storage.reads().message("bus", "m1").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_large_is_dead() {
    let world = World::new();
    let engine = engine(&world);
    world.bus.send(message("m1", "test.pushed", &format!(r#"{{"image":"{}"}}"#, "x".repeat(1000))));
    world.bus.send(message("m2", "somebody.else", &"x".repeat(1000)));
    world.settle(&engine).await;
    let dead = engine.client().dead_letters(Paging::first(10)).await.unwrap().items;
    assert_eq!(dead.len(), 1, "how large the messages are that nobody wants is not our affair");
    let reason = dead[0].reason.as_ref().unwrap();
    assert_eq!((dead[0].state, reason.code.as_str()), (InboxState::Dead, "too_large"));
    assert_eq!(reason.text, "its body has 1012 bytes, more than the 1000 that are allowed");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_message_is_one_event() {
    for world in each() {
        let engine = engine(&world);
        world.bus.send(good("m1"));
        world.bus.send(good("m1"));
        world.settle(&engine).await;
        world.bus.send(good("m1"));
        world.settle(&engine).await;
        let client = engine.client();
        assert_eq!(events(&client).await.len(), 1);
        assert_eq!(world.submitted(), ["app", "site"]);
        client.send_as("h1", &freshmaker_testing::world::pushed("base")).await.unwrap();
        client.send_as("h1", &freshmaker_testing::world::pushed("base")).await.unwrap();
        world.settle(&engine).await;
        assert_eq!(events(&client).await.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_sender_is_told_whether_an_id_is_new_known_or_of_another_event() {
    for world in each() {
        let engine = engine(&world);
        let client = engine.client();
        assert_eq!(client.send_as("h1", &pushed("base")).await.unwrap(), Sent::New("h1".into()));
        assert_eq!(client.send_as("h1", &pushed("base")).await.unwrap(), Sent::Known("h1".into()));
        let error = client.send_as("h1", &pushed("app")).await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Rejected);
        assert!(error.text.contains("\"h1\" of topic \"test.pushed\""), "{error}");
        world.settle(&engine).await;
        assert_eq!(client.send_as("h1", &pushed("base")).await.unwrap(), Sent::Known("h1".into()), "also when handled");
        assert_eq!(client.send_as("h1", &pushed("app")).await.unwrap_err().remedy, Remedy::Rejected);

        // A web hook: the headers may differ, and without an id the content is the identity.
        let mut hook = good("h2");
        assert_eq!(client.receive(hook.clone()).await.unwrap(), Sent::New("h2".into()));
        hook.headers.insert("delivered-at".into(), "noon".into());
        assert_eq!(client.receive(hook.clone()).await.unwrap(), Sent::Known("h2".into()));
        hook.topic = "other".into();
        assert_eq!(client.receive(hook.clone()).await.unwrap_err().remedy, Remedy::Rejected);
        hook.id.clear();
        let Sent::New(id) = client.receive(hook.clone()).await.unwrap() else { panic!("it is new") };
        assert_eq!(client.receive(hook).await.unwrap(), Sent::Known(id));
    }
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_in_their_order() {
    let world = World::new();
    let engine = engine(&world);
    let mut subscription = engine.client().subscribe().await.unwrap();
    world.bus.send(good("m1"));
    world.settle(&engine).await;
    let mut told = Vec::new();
    while told.len() < world.bus.published().len() {
        let notification = subscription.next().await.unwrap();
        told.push(format!(
            "{} {} {}",
            notification.of.aggregate(),
            notification.body["version"],
            notification.body["state"].as_str().unwrap()
        ));
        assert_eq!(notification.body["version"], notification.version);
    }
    let of = |aggregate: &str| told.iter().filter(|line| line.starts_with(aggregate)).count();
    assert_eq!((of("event"), of("build")), (2, 6));
    assert!(told[0].ends_with("BUILDING") && told.last().unwrap().ends_with("COMPLETE"), "{told:?}");
    let published: Vec<_> = world.bus.published().iter().map(|message| message.id.clone()).collect();
    assert_eq!(published.len(), told.len(), "buses hear the same");
    assert!(!subscription.take_missed(), "nothing was removed before it was read");
}

/// What a person asks for.
#[derive(Debug, serde::Deserialize, serde::Serialize)]
struct Asked {
    image: String,
}

impl Event for Asked {
    const KIND: &'static str = "test.asked";

    fn manual(&self) -> bool {
        true
    }
}

/// A header names the person who has asked a client, and nobody else can write it.
#[tokio::test(start_paused = true)]
async fn a_sender_on_a_bus_names_no_requester_by_a_header() {
    let world = World::new();
    let asked = async |asked: Asked, _: Context| Ok(Decision::Skip(asked.image));
    let engine = world.builder().on(asked).build().unwrap();
    let mut sent = message("m1", "test.asked", r#"{"image": "base"}"#);
    sent.headers.insert(Message::REQUESTER.to_owned(), "root".to_owned());
    world.bus.send(sent);
    world.settle(&engine).await;
    let event = events(&engine.client()).await.remove(0);
    assert_eq!((event.envelope.manual, event.envelope.requester), (true, None));
}

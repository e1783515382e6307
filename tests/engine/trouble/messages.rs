//! Readers that panic, and handlers that hang.

use super::{Mood, Trouble, Troubled, TroubledStorage, rebuild};
use crate::each;
use freshmaker::backend::{Clock, Paging, Remedy};
use freshmaker::client::Client;
use freshmaker::event::{Envelope, Parsed, Parser, Parsers};
use freshmaker::rebuild::InboxState;
use freshmaker::{Context, Decision, Engine, Event, HandlerResult, Message};
use freshmaker_testing::world::{World, builds, events, message, pushed, until};
use serde::{Deserialize, Deserializer, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// An event whose reader panics if the message says so.
#[derive(Debug, Serialize)]
struct Bomb;

impl<'de> Deserialize<'de> for Bomb {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        assert_ne!(text, "boom", "a reader of a user");
        Ok(Self)
    }
}

impl Event for Bomb {
    const KIND: &'static str = "test.bomb";
}

async fn defuse(_: Bomb, _: Context) -> HandlerResult {
    Ok(Decision::Skip("it is harmless".into()))
}

fn parse(message: &Message) -> Parsed {
    assert_ne!(message.body, b"boom", "a parser of a user");
    Some(Ok(Envelope::of(&Bomb, "7").unwrap()))
}

const PARSER: Parser = Parser::new(&["bomb"], &["test.bomb"], parse);

#[tokio::test(start_paused = true)]
async fn a_message_whose_reader_panics_is_a_dead_letter_and_stops_no_other() {
    for world in each() {
        let hints = |message: &Message| -> Option<freshmaker::rebuild::ExternalId> {
            assert_ne!(message.topic, "test.pushed", "a reader of hints of a user");
            None
        };
        let parsers = Parsers::new(["org"]).with(PARSER);
        let builder = world.builder().on(rebuild).on(defuse).parsers(parsers).hints("builder", hints);
        let engine = builder.build().unwrap();
        for (id, topic, body) in [
            ("1", "test.bomb", r#""boom""#),
            ("2", "test.pushed", r#"{"image": "base"}"#),
            ("3", "org.bomb", "boom"),
            ("4", "test.bomb", r#""well""#),
        ] {
            world.bus.send(message(id, topic, body));
        }
        world.settle(&engine).await;
        let client = engine.client();
        let dead = client.dead_letters(Paging::first(9)).await.unwrap().items;
        let dead: Vec<_> = dead.iter().rev().map(|dead| dead.reason.as_ref().unwrap().to_string()).collect();
        assert_eq!(dead.len(), 2, "{dead:?}");
        assert!(dead[0].contains("a reader of a user") && dead[1].contains("a parser of a user"), "{dead:?}");
        assert_eq!(builds(&client).await, ["app DONE", "site DONE"]);
        assert_eq!(events(&client).await.len(), 2);
    }
}

/// Two messages on the bus; the storage refuses whatever has this text in it.
async fn refusing(world: &World, odd: &str, id: &str) -> Engine {
    let trouble = Trouble::about("commit", Mood::Fails(Remedy::Rejected), odd);
    let storage = TroubledStorage { inner: Arc::clone(&world.storage), trouble };
    let engine = world.builder().storage(Arc::new(storage)).on(rebuild).build().unwrap();
    for id in [id, "m2"] {
        world.bus.send(message(id, "test.pushed", r#"{"image": "base"}"#));
    }
    let client = engine.client();
    engine.run_until(until(|| async { builds(&client).await == ["app DONE", "site DONE"] })).await.unwrap();
    engine
}

#[tokio::test(start_paused = true)]
async fn a_message_that_the_storage_refuses_is_a_dead_letter_and_stops_no_other() {
    for world in each() {
        let engine = refusing(&world, "odd\\0id", "odd\0id").await;
        let dead = engine.client().dead_letters(Paging::first(9)).await.unwrap().items;
        let dead: Vec<_> = dead.iter().map(|dead| (&*dead.message_id, &*dead.reason.as_ref().unwrap().code)).collect();
        assert_eq!(dead, [("odd\\u{0}id", "refused")]);
        assert_eq!(world.bus.backlog(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_even_be_a_dead_letter_stays_with_the_bus() {
    for world in each() {
        let engine = refusing(&world, "odd id", "odd id").await;
        assert_eq!(engine.client().dead_letters(Paging::first(9)).await.unwrap().items, []);
        assert_eq!(world.bus.backlog(), 1, "it is not lost");
    }
}

/// An engine whose catalog hangs so often, for the image `slow` only.
fn slow(world: &World, times: u32) -> Engine {
    let trouble = Trouble::with("dependents", Mood::Hangs, times);
    let catalog = Troubled::new(&world.catalog, &trouble);
    let slow = move |event: freshmaker_testing::world::Pushed, cx: Context| {
        let catalog = Arc::clone(&catalog);
        async move {
            if event.image == "slow" {
                freshmaker::backend::Catalog::dependents(&*catalog, &["base".into()]).await?;
                return Ok(Decision::Skip("it took its time".into()));
            }
            rebuild(event, cx).await
        }
    };
    world.builder().handler_timeout(Duration::from_secs(60)).on_as("slow", slow).build().unwrap()
}

async fn state(client: &Client, id: &str) -> (InboxState, u32, String) {
    let message = client.message(Client::LOCAL, id).await.unwrap();
    (message.state, message.tries, message.reason.map(|reason| reason.code).unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn handlers_that_hang_are_tries_of_their_messages_and_hold_nothing_up() {
    for world in each() {
        let engine = slow(&world, 1000);
        let client = engine.client();
        for number in 0..20 {
            client.send_as(format!("slow-{number}"), &pushed("slow")).await.unwrap();
        }
        client.send_as("fast", &pushed("base")).await.unwrap();
        world.settle(&engine).await;
        for number in 0..20 {
            let expected = (InboxState::Dead, 5, "handler_timed_out".to_owned());
            assert_eq!(state(&client, &format!("slow-{number}")).await, expected);
        }
        let dead = client.message(Client::LOCAL, "slow-0").await.unwrap().reason.unwrap();
        assert_eq!(dead.text, "handler slow did not end within 60s (5 tries)");
        assert_eq!(state(&client, "fast").await.0, InboxState::Done);
        assert_eq!(builds(&client).await, ["app DONE", "site DONE"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_once_is_asked_again() {
    let world = World::new();
    let engine = slow(&world, 1);
    engine.client().send_as("slow", &pushed("slow")).await.unwrap();
    world.settle(&engine).await;
    assert_eq!(state(&engine.client(), "slow").await, (InboxState::Done, 1, String::new()));
}

#[tokio::test(start_paused = true)]
async fn after_a_death_one_slow_handler_holds_the_others_up_for_a_minute_only() {
    for world in each() {
        {
            let dies = slow(&world, 1000);
            let client = dies.client();
            client.send_as("slow", &pushed("slow")).await.unwrap();
            let claimed = until(|| async { state(&client, "slow").await.0 == InboxState::Claimed });
            // It is dropped while it handles the message, as a process that dies.
            futures_util::future::select(Box::pin(dies.run_until(std::future::pending())), Box::pin(claimed)).await;
        }
        world.clock.sleep(Duration::from_secs(60)).await;
        let engine = slow(&world, 1000);
        let client = engine.client();
        client.send_as("fast", &pushed("base")).await.unwrap();
        let begin = tokio::time::Instant::now();
        let mut waited = Duration::MAX;
        let fast = async {
            until(|| async { state(&client, "fast").await.0 == InboxState::Done }).await;
            waited = begin.elapsed();
        };
        engine.run_until(fast).await.unwrap();
        assert!(waited < Duration::from_secs(65), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn orderly_ends_are_no_tries() {
    for world in each() {
        for _ in 0..10 {
            let engine = slow(&world, 1000);
            let client = engine.client();
            client.send_as("slow", &pushed("slow")).await.unwrap();
            let claimed = until(|| async { state(&client, "slow").await.0 == InboxState::Claimed });
            engine.run_until(claimed).await.unwrap();
            assert_eq!(state(&client, "slow").await, (InboxState::New, 0, String::new()));
        }
    }
}

/// Says something about each push.
async fn remark(event: freshmaker_testing::world::Pushed, _: Context) -> HandlerResult {
    Ok(Decision::Emit(vec![message("", "test.remark", &format!(r#"{{"about": "{}"}}"#, event.image))]))
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_holds_up_no_other_of_its_message() {
    for world in each() {
        let hangs = |_: freshmaker_testing::world::Pushed, _| std::future::pending::<HandlerResult>();
        let builder = world.builder().handler_timeout(Duration::from_secs(600));
        let engine = builder.on_as("hangs", hangs).on_as("remark", remark).on(rebuild).build().unwrap();
        let client = engine.client();
        client.send_as("1", &pushed("base")).await.unwrap();
        let begin = tokio::time::Instant::now();
        let mut took = Duration::MAX;
        let built = async {
            until(|| async { builds(&client).await == ["app DONE", "site DONE"] }).await;
            took = begin.elapsed();
        };
        engine.run_until(built).await.unwrap();
        assert!(took < Duration::from_secs(30), "{took:?}");
        world.settle(&engine).await;
        assert_eq!(state(&client, "1").await, (InboxState::Dead, 5, "handler_timed_out".to_owned()));
        assert_eq!(events(&client).await.len(), 1, "what has decided is not asked again");
        let remarks = client.dead_letters(Paging::first(9)).await.unwrap().items;
        let remarks = remarks.iter().filter(|letter| letter.message.topic == "test.remark");
        assert_eq!(remarks.count(), 1, "what was emitted once is not emitted again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_cannot_be_stored_holds_up_no_other_of_its_message() {
    for world in each() {
        let trouble = Trouble::about("commit", Mood::Fails(Remedy::Rejected), "an odd text");
        let storage = TroubledStorage { inner: Arc::clone(&world.storage), trouble };
        let odd = |_: freshmaker_testing::world::Pushed, _| async { Ok(Decision::Skip("an odd text".to_owned())) };
        let builder = world.builder().storage(Arc::new(storage)).on_as("odd", odd);
        let engine = builder.on(rebuild).build().unwrap();
        let client = engine.client();
        client.send_as("1", &pushed("base")).await.unwrap();
        world.settle(&engine).await;
        assert_eq!(builds(&client).await, ["app DONE", "site DONE"]);
        assert_eq!(events(&client).await.len(), 1);
        // Only the first look at the message cannot be repeated without the odd text in the row.
        assert_eq!(state(&client, "1").await.0, InboxState::Dead);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_is_not_asked_about_in_a_loop_when_the_storage_is_set_back() {
    for world in each() {
        let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counts = Arc::clone(&asked);
        let away = move |_: freshmaker_testing::world::Pushed, _| {
            let before = counts.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            assert!(before < 1000, "asked in a loop");
            async { Err(freshmaker::backend::Error::new(Remedy::Unavailable, "catalog", "it is away").into()) }
        };
        let engine = world.builder().on_as("away", away).build().unwrap();
        let client = engine.client();
        client.send_as("1", &pushed("base")).await.unwrap();
        let story = async {
            until(|| async { state(&client, "1").await.2 == "waiting" }).await;
            world.clock.set_back(Duration::from_secs(7200));
            client.send_as("2", &pushed("base")).await.unwrap();
            world.clock.sleep(Duration::from_secs(600)).await;
        };
        engine.run_until(story).await.unwrap();
        let asked = asked.load(std::sync::atomic::Ordering::SeqCst);
        assert!((6..24).contains(&asked), "asked {asked} times in ten minutes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_after_a_death_is_not_handled_alone_each_time() {
    let world = World::new();
    let clock = Arc::clone(&world.clock);
    let hangs = move |_: freshmaker_testing::world::Pushed, cx: Context| {
        let clock = Arc::clone(&clock);
        async move {
            if cx.received().message_id != "slow" {
                return Ok(Decision::Ignore);
            }
            // As a catalog does that is away and does not say so.
            clock.sleep(Duration::from_secs(55)).await;
            Err(freshmaker::backend::Error::new(Remedy::Unavailable, "catalog", "no answer").into())
        }
    };
    let make = || world.builder().on_as("hangs", hangs.clone()).build().unwrap();
    let dies = make();
    let client = dies.client();
    client.send_as("slow", &pushed("base")).await.unwrap();
    let claimed = until(|| async { state(&client, "slow").await.0 == InboxState::Claimed });
    futures_util::future::select(Box::pin(dies.run_until(std::future::pending())), Box::pin(claimed)).await;
    drop(dies);
    world.clock.sleep(Duration::from_secs(60)).await;
    let engine = make();
    let client = engine.client();
    let story = async {
        until(|| async { state(&client, "slow").await.2 == "waiting" }).await;
        let mut longest = Duration::ZERO;
        for number in 0..600 {
            let (id, begin) = (format!("fast-{number}"), tokio::time::Instant::now());
            client.send_as(id.as_str(), &pushed("base")).await.unwrap();
            until(|| async { state(&client, &id).await.0 == InboxState::Ignored }).await;
            longest = longest.max(begin.elapsed());
            world.clock.sleep(Duration::from_secs(1)).await;
        }
        longest
    };
    let mut longest = Duration::MAX;
    engine.run_until(async { longest = story.await }).await.unwrap();
    assert!(longest < Duration::from_secs(10), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_does_not_answer_a_claim_delays_nothing_that_is_being_handled() {
    let world = World::new();
    let trouble = Arc::new(Trouble::default());
    let storage = TroubledStorage { inner: Arc::clone(&world.storage), trouble: Arc::clone(&trouble) };
    let clock = Arc::clone(&world.clock);
    let slow = move |event: freshmaker_testing::world::Pushed, _| {
        let clock = Arc::clone(&clock);
        async move {
            clock.sleep(Duration::from_secs(20)).await;
            Ok(Decision::Skip(event.image))
        }
    };
    let engine = world.builder().storage(Arc::new(storage)).on_as("slow", slow).build().unwrap();
    let client = engine.client();
    let story = async {
        client.send_as("1", &pushed("base")).await.unwrap();
        let claims = || trouble.calls("claim");
        until(|| std::future::ready(claims() > 1)).await;
        trouble.moods.lock().unwrap().insert("claim", (Mood::Hangs, u32::MAX));
        client.send_as("2", &pushed("base")).await.unwrap();
        until(|| async { events(&client).await.len() == 1 }).await;
        assert!(world.clock.elapsed() < Duration::from_secs(25), "{:?}", world.clock.elapsed());
        trouble.moods.lock().unwrap().clear();
        client.wait_for_message("2").await.unwrap();
    };
    engine.run_until(story).await.unwrap();
}

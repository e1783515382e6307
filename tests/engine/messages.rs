//! What becomes of messages: good, broken, unwanted, too large, repeated.

use crate::town::{Pushed, Town, builds, events, message, only};
use freshmaker::backend::{Paging, StorageExt};
use freshmaker::event::Parsers;
use freshmaker::messages::koji::ContainerTaskChanged;
use freshmaker::rebuild::{EventState, InboxState};
use freshmaker::{Context, Decision, Engine, HandlerResult, Message};

/// The handler of the README.
async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(Decision::Rebuild(graph.planner().changed(event.image, None).policy(cx.policy()).plan()?))
}

fn engine(town: &Town) -> Engine {
    town.builder().on(rebuild).message_bytes_max(1000).build().unwrap()
}

fn good(id: &str) -> Message {
    message(id, "test.pushed", r#"{"image":"base"}"#)
}

#[tokio::test]
async fn a_ten_line_handler_rebuilds_what_depends() {
    for town in Town::each() {
        let engine = engine(&town);
        town.bus.send(good("m1"));
        town.settle(&engine).await;
        let handle = engine.handle();
        let (state, _, text) = only(&handle).await;
        assert_eq!((state, text.as_str()), (EventState::Complete, "all 2 builds ended well"));
        assert_eq!(builds(&handle).await, ["app DONE", "site DONE"]);
        assert_eq!(town.submitted(), ["app", "site"]);
        assert!(!tracing::dispatcher::has_been_set(), "who embeds the engine decides who listens");
    }
}

#[tokio::test]
async fn a_broken_message_is_kept_with_its_bytes_and_the_others_are_handled() {
    for town in Town::each() {
        let engine = engine(&town);
        let broken = message("m2", "test.pushed", "{\"image\":\n 7}");
        for message in [good("m1"), broken.clone(), good("m3")] {
            town.bus.send(message);
        }
        town.settle(&engine).await;
        let handle = engine.handle();
        let dead = handle.dead_letters(Paging::first(10)).await.unwrap().items;
        assert_eq!(dead.len(), 1);
        assert_eq!(dead[0].message, broken);
        let reason = dead[0].reason.as_ref().unwrap();
        assert_eq!(reason.code, "malformed");
        assert!(reason.text.contains("m2") && reason.text.contains("line 2 column 2"), "{reason}");
        let states: Vec<_> = events(&handle).await.iter().map(|event| event.state).collect();
        assert_eq!(states, [EventState::Complete; 2]);
    }
}

/// What a service says, in the words of the service.
async fn ended(event: ContainerTaskChanged, _: Context) -> HandlerResult {
    Ok(Decision::Skip(format!("{} is {}", event.container, event.new.name())))
}

#[tokio::test]
async fn messages_in_the_words_of_services_are_read_as_far_as_somebody_wants_them() {
    const TASK: &str = "/topic/VirtualTopic.eng.brew.task.closed";
    let body = |method: &str, id: &str| {
        let request = r#"["git://h/containers/nginx#abc", "target", {"git_branch": "b"}]"#;
        format!(r#"{{"new": "CLOSED", "info": {{"id": {id}, "method": "{method}", "request": {request}}}}}"#)
    };
    for town in Town::each() {
        let engine = town.builder().on(ended).parsers(Parsers::all(["VirtualTopic.eng"])).build().unwrap();
        let broken = message("m2", TASK, &body("buildContainer", "true"));
        let unwanted = [
            message("m3", TASK, &body("buildArch", "8")),
            message("m4", "VirtualTopic.eng.buildsys.task.state.change", "\u{1}"),
            message("m5", "VirtualTopic.stage.brew.task.closed", "\u{1}"),
        ];
        town.bus.send(message("m1", TASK, &body("buildContainer", "7")));
        town.bus.send(broken.clone());
        for message in &unwanted {
            town.bus.send(message.clone());
        }
        town.settle(&engine).await;
        let handle = engine.handle();
        let (state, _, text) = only(&handle).await;
        assert_eq!((state, text.as_str()), (EventState::Skipped, "nginx is CLOSED"));
        assert_eq!(events(&handle).await[0].envelope.search_key, "7");
        let dead = handle.dead_letters(Paging::first(10)).await.unwrap().items;
        assert_eq!(dead.iter().map(|dead| &dead.message).collect::<Vec<_>>(), [&broken]);
        let reason = dead[0].reason.as_ref().unwrap();
        assert_eq!(reason.code, "malformed");
        assert!(reason.text.contains("m2") && reason.text.contains(": info.id: expected a whole number"), "{reason}");
        for message in &unwanted {
            assert_eq!(town.storage.message("bus", &message.id).await.unwrap(), None, "{message:?}");
        }
    }
}

#[tokio::test]
async fn a_message_that_nobody_wants_is_acknowledged_and_not_stored() {
    let town = Town::new();
    let engine = engine(&town);
    town.bus.send(message("m1", "somebody.else", "\u{1}"));
    town.settle(&engine).await;
    assert_eq!(town.bus.backlog(), 0);
    assert_eq!(town.storage.message("bus", "m1").await.unwrap(), None);
}

#[tokio::test]
async fn a_message_that_is_too_large_is_dead() {
    let town = Town::new();
    let engine = engine(&town);
    town.bus.send(message("m1", "test.pushed", &format!(r#"{{"image":"{}"}}"#, "x".repeat(1000))));
    town.bus.send(message("m2", "somebody.else", &"x".repeat(1000)));
    town.settle(&engine).await;
    let dead = engine.handle().dead_letters(Paging::first(10)).await.unwrap().items;
    assert_eq!(dead.len(), 1, "how large the messages are that nobody wants is not our affair");
    let reason = dead[0].reason.as_ref().unwrap();
    assert_eq!((dead[0].state, reason.code.as_str()), (InboxState::Dead, "too_large"));
    assert_eq!(reason.text, "its body has 1012 bytes, more than the 1000 that are allowed");
}

#[tokio::test]
async fn a_repeated_message_is_one_event() {
    for town in Town::each() {
        let engine = engine(&town);
        town.bus.send(good("m1"));
        town.bus.send(good("m1"));
        town.settle(&engine).await;
        town.bus.send(good("m1"));
        town.settle(&engine).await;
        let handle = engine.handle();
        assert_eq!(events(&handle).await.len(), 1);
        assert_eq!(town.submitted(), ["app", "site"]);
        handle.send_as("h1", &crate::town::pushed("base")).await.unwrap();
        handle.send_as("h1", &crate::town::pushed("base")).await.unwrap();
        town.settle(&engine).await;
        assert_eq!(events(&handle).await.len(), 2);
    }
}

#[tokio::test]
async fn changes_are_told_in_their_order() {
    let town = Town::new();
    let engine = engine(&town);
    let mut subscription = engine.handle().subscribe();
    town.bus.send(good("m1"));
    town.settle(&engine).await;
    drop(engine);
    let mut told = Vec::new();
    while let Some(notice) = subscription.next().await {
        told.push(format!(
            "{} {} {}",
            notice.aggregate,
            notice.body["version"],
            notice.body["state"].as_str().unwrap()
        ));
        assert_eq!(notice.body["version"], notice.version);
    }
    let of = |aggregate: &str| told.iter().filter(|line| line.starts_with(aggregate)).count();
    assert_eq!((of("event"), of("build")), (2, 6));
    assert!(told[0].ends_with("BUILDING") && told.last().unwrap().ends_with("COMPLETE"), "{told:?}");
    let published: Vec<_> = town.bus.published().iter().map(|message| message.id.clone()).collect();
    assert_eq!(published.len(), told.len(), "buses hear the same");
}

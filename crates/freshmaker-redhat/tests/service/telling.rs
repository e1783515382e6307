//! The messages of Freshmaker follow those of the engine.

use crate::{each, schemas::schema};
use freshmaker::{Context, Decision, HandlerResult, Message};
use freshmaker_redhat::forms::FreshmakerMessages;
use freshmaker_testing::world::{Pushed, pushed};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use test_support::schema::faults;

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(Decision::Rebuild(graph.planner().changed(event.image, None).plan()?))
}

fn ids(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.id.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn freshmakers_messages_follow_ours_if_they_are_asked_for() {
    for world in each() {
        let engine =
            world.builder().on(rebuild).announcer(FreshmakerMessages::new("https://fm.example.org/")).build().unwrap();
        engine.client().send(&pushed("base")).await.unwrap();
        world.settle(&engine).await;
        let published = world.bus.published();
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

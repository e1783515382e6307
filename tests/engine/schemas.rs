//! What an engine publishes is what `schemas/` promises.

use freshmaker::rebuild::{BuildState, EventState, Observed, Output, PublicBuildState};
use freshmaker::{Context, Decision, HandlerResult};
use freshmaker_testing::world::{Pushed, World, pushed};
use serde_json::Value;
use std::collections::BTreeSet;
use test_support::schema::faults;

fn schema(name: &str) -> Value {
    let path = format!("{}/schemas/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    if event.image == "site" {
        return Ok(Decision::Skip("nothing is made of it".into()));
    }
    Ok(Decision::Rebuild(graph.planner().changed(event.image, None).plan()?))
}

#[tokio::test(start_paused = true)]
async fn what_an_engine_publishes_is_what_the_schemas_promise() {
    let world = World::new();
    let engine = world.builder().on(rebuild).build().unwrap();
    world.builds.hold(&"app".into());
    let output = Output {
        name: "app".into(),
        digest: Some(freshmaker::artifact::Digest::of_parts([b"content".as_slice()])),
        contents: Some("https://example.org/app.json".into()),
    };
    world.builds.finish(&"app".into(), Observed::Succeeded(output));
    for image in ["base", "site"] {
        engine.client().send(&pushed(image)).await.unwrap();
    }
    world.settle(&engine).await;

    let published = world.bus.published();
    let (events, builds) = (schema("event"), schema("build"));
    let mut states = BTreeSet::new();
    for message in &published {
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        let schema = match message.topic.as_str() {
            "event.changed" => &events,
            "build.changed" => &builds,
            topic => panic!("{topic} has no schema"),
        };
        assert_eq!(faults(schema, schema, &body, &message.topic), Vec::<String>::new(), "{body}");
        assert_eq!(schema["$id"], body["schema"]);
        states.insert(format!("{} {}", message.topic, body["state"].as_str().unwrap()));
    }
    for state in ["event.changed COMPLETE", "event.changed SKIPPED", "build.changed DONE"] {
        assert!(states.contains(state), "the run shows {state}: {states:?}");
    }
}

#[test]
fn the_schemas_have_every_state() {
    let listed = |name: &str, property: &str| -> Vec<String> {
        serde_json::from_value(schema(name)["properties"][property]["enum"].clone()).unwrap()
    };
    assert_eq!(listed("event", "state"), EventState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>());
    assert_eq!(listed("build", "state"), PublicBuildState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>());
    assert_eq!(listed("build", "detail"), BuildState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>());
}

#[test]
fn the_check_finds_what_is_wrong() {
    let schema = schema("event");
    for (body, says) in [
        (r#"{"schema": "freshmaker.event/2"}"#, "const"),
        (r#"{"state": "GONE"}"#, "enum"),
        (r#"{"id": "1"}"#, "type"),
        (r#"{"version": -1}"#, "minimum"),
        (r#"{"builds": {"open": 1}}"#, "required"),
        (r#"{"reason": {"code": 1, "text": ""}}"#, "reason.code"),
        (r#"{"unheard_of": 1}"#, "not in the schema"),
    ] {
        let found = faults(&schema, &schema, &serde_json::from_str(body).unwrap(), "body");
        assert!(found.iter().any(|fault| fault.contains(says)), "{body}: {found:?}");
    }
}

//! What an engine publishes is what `schemas/` promises.

use crate::town::{Pushed, Town, pushed};
use freshmaker::rebuild::{BuildState, EventState, Observed, Output, PublicBuildState};
use freshmaker::{Context, Decision, HandlerResult};
use serde_json::Value;
use std::collections::BTreeSet;

/// Keywords that only tell something.
const NOTES: [&str; 6] = ["$schema", "$id", "title", "description", "definitions", "$comment"];

pub(crate) fn schema(name: &str) -> Value {
    let path = format!("{}/schemas/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn is_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("the schemas have no type {other}"),
    }
}

/// What is wrong with a value. A keyword that is not known here fails the test, so that none is believed to be checked.
/// Stricter than the schema in one thing: what is published has no property that the schema does not name.
pub(crate) fn faults(root: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, wanted) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "minimum" => value.as_i64() >= wanted.as_i64(),
            "type" => match wanted {
                Value::String(name) => is_type(value, name),
                names => names.as_array().unwrap().iter().any(|name| is_type(value, name.as_str().unwrap())),
            },
            "required" => wanted.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
            "properties" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    let place = format!("{place}.{name}");
                    match wanted.get(name) {
                        Some(schema) => found.extend(faults(root, schema, value, &place)),
                        None => found.push(format!("{place}: not in the schema")),
                    }
                }
                true
            }
            // What is said of properties that are not named: nothing, but they may be there.
            "additionalProperties" => *wanted == Value::Bool(true),
            "items" => {
                for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(faults(root, wanted, item, &format!("{place}[{at}]")));
                }
                true
            }
            "$ref" => {
                let target = root.pointer(wanted.as_str().unwrap().trim_start_matches('#')).unwrap();
                found.extend(faults(root, target, value, place));
                true
            }
            note => {
                assert!(NOTES.contains(&note), "{note} is not checked here");
                true
            }
        };
        if !holds {
            found.push(format!("{place}: {keyword} of {wanted} does not hold for {value}"));
        }
    }
    found
}

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    if event.image == "site" {
        return Ok(Decision::Skip("nothing is made of it".into()));
    }
    Ok(Decision::Rebuild(graph.planner().changed(event.image, None).plan()?))
}

#[tokio::test]
async fn what_an_engine_publishes_is_what_the_schemas_promise() {
    let town = Town::new();
    let engine = town.builder().on(rebuild).build().unwrap();
    town.builds.hold(&"app".into());
    let output = Output {
        name: "app".into(),
        digest: Some(freshmaker::artifact::Digest::of_parts([b"content".as_slice()])),
        contents: Some("https://example.org/app.json".into()),
    };
    town.builds.finish(&"app".into(), Observed::Succeeded(output));
    for image in ["base", "site"] {
        engine.handle().send(&pushed(image)).await.unwrap();
    }
    town.settle(&engine).await;

    let published = town.bus.published();
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
    let schema = self::schema("event.state.changed");
    for (body, says) in [
        (r#"{"dry_run": 0}"#, "dry_run: type"),
        (r#"{"depends_on_events": {}}"#, "depends_on_events: type"),
        (r#"{"depends_on_events": [1, "2"]}"#, "depends_on_events[1]: type"),
        (r#"{"builds": [{"state": 9}]}"#, "builds[0].state: enum"),
    ] {
        let found = faults(&schema, &schema, &serde_json::from_str(body).unwrap(), "body");
        assert!(found.iter().any(|fault| fault.contains(says)), "{body}: {found:?}");
    }
}

//! The reference client of Fedora Messaging on the other side, with the same configuration file.

use crate::world::{World, eventually, message, soon};
use freshmaker::backend::Bus;
use freshmaker::event::Message;
use freshmaker::handler::{ImagePushed, rebuild_dependents};
use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog, MemoryStorage};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine};
use freshmaker_amqp::{AmqpBus, AmqpConfig};
use freshmaker_redhat::forms::FreshmakerMessages;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use test_support::broker::url;
use test_support::python;

/// A file that both clients read.
fn file(directory: &Path, exchange: &str, queue: &str) -> PathBuf {
    let path = directory.join(format!("{queue}.toml"));
    let text = format!(
        r##"
        amqp_url = "{url}"
        publish_exchange = "{exchange}"
        topic_prefix = "org.example"

        [client_properties]
        app = "peer"

        [exchanges."{exchange}"]
        type = "topic"
        durable = true
        auto_delete = false
        arguments = {{}}

        [queues."{queue}"]
        durable = true
        auto_delete = false
        exclusive = false
        arguments = {{}}

        [[bindings]]
        queue = "{queue}"
        exchange = "{exchange}"
        routing_keys = ["#"]

        [qos]
        prefetch_size = 0
        prefetch_count = 25

        [consumer_config.freshmaker]
        confirm_timeout = 10
        "##,
        url = url(),
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// What the peer prints when it is asked this.
async fn ask(python: &Path, file: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.arg("60").arg(python).arg(test_support::peer("fedora_messaging_peer.py")).args(arguments);
    command.env("FEDORA_MESSAGING_CONF", file).stdin(Stdio::null());
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let printed = String::from_utf8(stdout).unwrap();
    assert!(status.success(), "{arguments:?}: {printed}{}", String::from_utf8_lossy(&stderr));
    printed
}

#[tokio::test]
async fn what_the_reference_client_publishes_is_received() {
    let Some(python) = python().await else { return };
    let Some(world) = World::new("from-peer").await else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = file(directory.path(), &world.exchange(), &world.queue());
    let bus = AmqpBus::new(AmqpConfig::read(&file).unwrap()).unwrap();
    world.prepare(&bus).await;
    let id = ask(&python, &file, &["publish"]).await;
    let delivery = soon("a message", bus.receive(1)).await.unwrap().remove(0);
    bus.acknowledge(&[delivery.tag]).await.unwrap();
    let Message { id: came, topic, mut headers, body } = delivery.message;
    assert_eq!(came, id.trim());
    assert_eq!(topic, "org.example.peer.said");
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), json!({"text": "smörgåsbord"}));
    assert!(headers.remove("sent-at").unwrap().ends_with("+00:00"));
    let expected = [
        ("content_encoding", "utf-8"),
        ("content_type", "application/json"),
        ("fedora_messaging_schema", "base.message"),
        ("fedora_messaging_schema_package", "fedora_messaging"),
        ("fedora_messaging_severity", "40"),
        ("own", r#"{"nested":[1,true]}"#),
        ("priority", "0"),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    drop(bus);
    world.clean().await;
}

#[tokio::test]
async fn what_is_published_the_reference_client_accepts() {
    let Some(python) = python().await else { return };
    let Some(world) = World::new("to-peer").await else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = file(directory.path(), &world.outbox(), &world.outbox());
    let bus = AmqpBus::new(AmqpConfig::read(&file).unwrap()).unwrap();
    let headers = [("fedora_messaging_severity", "30"), ("fedora_messaging_user_joe", "true")];
    let headers: BTreeMap<_, _> = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    bus.publish(&message("build:7:1", br#"{"state": "DONE"}"#)).await.unwrap();
    // It drops what is no JSON, and says nothing.
    bus.publish(&message("broken", b"{")).await.unwrap();
    bus.publish(&Message { headers, ..message("d681fa46-cb6d-4174-8fcd-14d509583318", b"{}") }).await.unwrap();
    let printed = ask(&python, &file, &["consume", "2"]).await;
    let came: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(came.len(), 2, "{printed}");
    assert_eq!(came[0]["body"], json!({"state": "DONE"}));
    assert_eq!(came[0]["topic"], "org.example.test.sent");
    assert_eq!(came[0]["severity"], 20);
    assert_eq!(came[0]["schema"], "Message");
    assert_eq!(came[0]["headers"]["fedora_messaging_schema"], "base.message");
    assert_eq!(came[1]["id"], "d681fa46-cb6d-4174-8fcd-14d509583318");
    assert_eq!(came[1]["severity"], 30);
    assert_eq!(came[1]["headers"]["fedora_messaging_user_joe"], true);
    eventually("nothing is left", async || world.take(&world.outbox()).await.is_none()).await;
    world.clean().await;
}

#[tokio::test]
async fn an_engine_tells_the_reference_client_in_its_own_words_and_in_those_of_freshmaker() {
    let Some(python) = python().await else { return };
    let Some(world) = World::new("engine-to-peer").await else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = file(directory.path(), &world.outbox(), &world.outbox());
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    graph.insert(Artifact::new("app-1-2", ArtifactKind::Image).with_source("app", None));
    graph.depend("app-1-2", "base", EdgeKind::ParentImage).unwrap();
    let engine = Engine::builder()
        .bus("fedora-messaging", Arc::new(world.bus()))
        .storage(Arc::new(MemoryStorage::new()))
        .catalog("images", Arc::new(MemoryCatalog::new(graph)))
        .build_system("builder", Arc::new(MemoryBuildSystem::new()))
        .announcer(FreshmakerMessages::new("https://fm.example.org"))
        .on(rebuild_dependents)
        .build()
        .unwrap();
    let client = engine.client();
    client.send(&ImagePushed { image: "base".into(), digest: None }).await.unwrap();
    soon("the end", engine.run_until(client.wait_until_idle())).await.unwrap();

    let printed = ask(&python, &file, &["consume", "12"]).await;
    let came: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = came
        .iter()
        .map(|message| {
            let topic = message["topic"].as_str().unwrap();
            let body = &message["body"];
            let state = body["state_name"].as_str().or(body["state"].as_str()).unwrap();
            format!("{topic} {state}")
        })
        .collect();
    let event =
        |state: &str| ["changed", "state.changed", "state.changed.min"].map(|topic| format!("event.{topic} {state}"));
    let build = |state: &str| ["changed", "state.changed"].map(|topic| format!("build.{topic} {state}"));
    let builds = [build("PLANNED"), build("BUILD"), build("DONE")].concat();
    let expected = [&event("BUILDING")[..], &builds[..], &event("COMPLETE")[..]].concat();
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(sorted(told.clone()), sorted(expected));
    assert_eq!(told[9..], event("COMPLETE"), "the end comes last");
    assert_eq!(came[9]["id"].as_str().unwrap().len(), 36, "ids are UUIDs");
    assert_eq!(came[11]["body"]["builds_summary"], json!({ "total": 1, "DONE": 1 }));
    assert_eq!(came[10]["body"]["builds"][0]["name"], "app");
    world.clean().await;
}

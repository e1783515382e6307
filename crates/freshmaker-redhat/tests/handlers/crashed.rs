//! The process dies while an advisory is planned and its images are built, at any moment, and
//! another one goes on.

use super::service::{PREFIX, Service, message};
use super::world::{FIXED, World, affected, layers};
use freshmaker::backend::Storage;
use freshmaker::rebuild::{BuildId, BuildState, EventId, Observed, Output, RowKey};
use freshmaker::{Engine, Message};
use freshmaker_redhat::handlers::RebuildImagesOfAdvisory;
use freshmaker_testing::world::until;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

fn service() -> Service {
    let world = Arc::new(World::new(FIXED, &layers()));
    Service::new(|builder| builder.on(RebuildImagesOfAdvisory(affected(&world))))
}

fn shipped() -> Message {
    message("ID:1", "errata.activity.status", &json!({ "errata_id": 28484, "from": "QE", "to": "SHIPPED_LIVE" }))
}

/// Another process over what is stored.
fn another(service: &Service) -> Engine {
    let world = Arc::new(World::new(FIXED, &layers()));
    let builder = service.world.builder().parsers(freshmaker_redhat::messages::parsers([PREFIX]));
    builder.facts(freshmaker_redhat::handlers::FACTS).on(RebuildImagesOfAdvisory(affected(&world))).build().unwrap()
}

/// Runs the engine for so many steps, and kills it. Whether it died before everything was done.
async fn dies_after(service: &Service, steps: usize) -> bool {
    let client = service.client();
    let mut life = pin!(service.engine.run_until(std::future::pending()));
    let mut idle = pin!(async {
        while service.world.bus.backlog() > 0 {
            tokio::task::yield_now().await;
        }
        client.wait_until_idle().await;
    });
    let mut left = steps;
    poll_fn(|context| {
        left -= 1;
        match (left, life.as_mut().poll(context), idle.as_mut().poll(context)) {
            (0, ..) => Poll::Ready(true),
            (_, Poll::Pending, Poll::Pending) => Poll::Pending,
            _ => Poll::Ready(false),
        }
    })
    .await
}

/// What was published about each build and each event: its states in their order.
fn published(service: &Service) -> BTreeMap<RowKey, Vec<String>> {
    let mut told: BTreeMap<RowKey, Vec<String>> = BTreeMap::new();
    for message in service.world.bus.published() {
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        let id = body["id"].as_i64().unwrap();
        let of = match message.topic.as_str() {
            "build.changed" => RowKey::Build(BuildId(id)),
            "event.changed" => RowKey::Event(EventId(id)),
            other => panic!("{other}"),
        };
        told.entry(of).or_default().push(body["state"].as_str().unwrap().to_owned());
    }
    told
}

/// The stored states of a build or an event, oldest first, in the words of messages.
async fn stored(storage: &dyn Storage, of: &RowKey) -> Vec<String> {
    let transitions = storage.reads().transitions(of).await.unwrap();
    let public = |state: String| {
        let of_build =
            BuildState::ALL.iter().find(|known| known.as_str() == state).filter(|_| matches!(of, RowKey::Build(_)));
        of_build.map_or(state, |state| state.public().as_str().to_owned())
    };
    transitions.into_iter().map(|transition| public(transition.to)).collect()
}

/// Numbers 1, 3 and 4 of the faults of the Python service: whenever the process dies, the message
/// is not lost, each image is submitted once, and what was waiting for a parent is built.
///
/// Number 7: what is published has been stored before, and what is stored is published.
#[tokio::test(start_paused = true)]
async fn a_process_that_dies_at_any_moment_loses_and_repeats_nothing() {
    for steps in 1.. {
        let service = service();
        service.world.bus.send(shipped());
        let died = dies_after(&service, steps).await;
        let storage = &*service.world.storage;
        for (row, states) in published(&service) {
            let stored = stored(storage, &row).await;
            let truth = states.iter().all(|state| stored.contains(state));
            assert!(truth, "after {steps} steps {row:?} was told {states:?}, and is {stored:?}");
        }
        // The broker delivers again what was not acknowledged.
        service.world.bus.reconnect();
        let engine = another(&service);
        service.world.settle(&engine).await;
        let images = ["base-container-9-1", "python-container-3-1", "app-container-1-1"];
        assert_eq!(service.world.submitted(), images, "after {steps} steps");
        let builds = service.builds().await;
        assert!(builds.len() == 3 && builds.iter().all(|build| build.ends_with(" DONE")), "after {steps}: {builds:?}");
        assert_eq!(service.events().await.len(), 1, "after {steps} steps");
        for (row, states) in published(&service) {
            let end = if matches!(row, RowKey::Event(_)) { "COMPLETE" } else { "DONE" };
            assert_eq!(states.last().unwrap(), end, "after {steps} steps: {row:?}: {states:?}");
        }
        assert_eq!(published(&service).len(), 4, "three builds and an event");
        if !died {
            assert!(steps > 10, "it is over after {steps} steps");
            return;
        }
    }
}

/// Number 17 of the faults of the Python service: the broker delivers the message again while the
/// images are built, and once more after all has ended. Nothing is built, and nothing changes.
#[tokio::test(start_paused = true)]
async fn a_message_that_comes_again_later_changes_nothing() {
    let service = service();
    service.world.builds.hold(&"python-container-3-1".into());
    service.world.bus.send(shipped());
    let builds = service.world.builds.clone();
    service.engine.run_until(until(|| std::future::ready(builds.requests().len() == 2))).await.unwrap();
    let before = service.builds().await;
    service.world.bus.send(shipped());
    service.engine.run_until(until(|| std::future::ready(service.world.bus.backlog() == 0))).await.unwrap();
    assert_eq!(service.builds().await, before, "while they are built");
    let output = Output { name: "python-container-3-1.1764".into(), digest: None, contents: None };
    builds.finish(&"python-container-3-1".into(), Observed::Succeeded(output));
    service.world.settle(&service.engine).await;
    let end = service.events().await;
    assert_eq!(end, ["errata.advisory-status-changed COMPLETE: all 3 builds ended well"]);
    service.deliver([shipped()]).await;
    assert_eq!(service.events().await, end, "after the end");
    assert_eq!(service.world.submitted().len(), 3);
}

//! A person cancels an event by a message.

use super::service::{Service, message};
use super::town::events;
use super::world::{FIXED, World, affected, layers};
use freshmaker::Message;
use freshmaker::rebuild::{EventState, RowKey};
use freshmaker_redhat::handlers::{RebuildImagesOfAdvisory, cancel_on_request};
use freshmaker_testing::world::until;
use serde_json::{Value, json};
use std::sync::Arc;

fn service() -> Service {
    let world = Arc::new(World::new(FIXED, &layers()));
    Service::new(|builder| builder.on(RebuildImagesOfAdvisory(affected(&world))).on(cancel_on_request))
}

fn shipped() -> Message {
    message("ID:1", "errata.activity.status", &json!({ "errata_id": 28484, "from": "QE", "to": "SHIPPED_LIVE" }))
}

fn cancel(event: i64) -> Message {
    let body = json!({ "action": "eventcancel", "event_id": event, "builds_id": [], "try": 0 });
    message(&format!("cancel {event}"), "freshmaker.manage.eventcancel", &body)
}

/// A service in which `base` is being built for event 1.
async fn building() -> Service {
    let service = service();
    service.world.builds.hold(&"base-container-9-1".into());
    service.world.bus.send(shipped());
    let builds = service.world.builds.clone();
    service.engine.run_until(until(move || std::future::ready(!builds.requests().is_empty()))).await.unwrap();
    service
}

/// Number 11 of the faults of the Python service: the task is cancelled in the build system, by the
/// number that it has there, and only then the build says that it is cancelled.
///
/// Number 19: the messages tell it in this order.
#[tokio::test(start_paused = true)]
async fn tasks_are_cancelled_before_anything_says_so() {
    let service = building().await;
    service.deliver([cancel(1)]).await;
    // A task that had not been cancelled would run for ever, and the world would not settle.
    assert_eq!(service.world.submitted(), ["base-container-9-1"]);
    let states = ["app-container-1-1 CANCELED", "base-container-9-1 CANCELED", "python-container-3-1 CANCELED"];
    assert_eq!(service.builds().await, states);
    let event = events(&service.client()).await.remove(0);
    assert_eq!(event.state, EventState::Canceled);
    let told = service.world.bus.published().into_iter().map(|message| {
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        format!("{} {} {}", message.topic, body["id"], body["state"].as_str().unwrap())
    });
    let told: Vec<String> = told.filter(|line| line.ends_with("CANCELED")).collect();
    assert_eq!(told.last().unwrap(), "event.changed 1 CANCELED", "{told:?}");
    assert_eq!(told.iter().filter(|line| line.starts_with("build.changed")).count(), 3, "{told:?}");
}

/// Number 11: the process dies right after it took the request, and the task is cancelled all the
/// same.
#[tokio::test(start_paused = true)]
async fn a_request_that_was_taken_is_carried_out_by_the_next_process() {
    let service = building().await;
    service.world.bus.send(cancel(1));
    // What is acknowledged is stored.
    let taken = until(|| std::future::ready(service.world.bus.backlog() == 0));
    // It is dropped in the middle of whatever it does.
    tokio::select! {
        biased;
        () = taken => {}
        ended = service.engine.run_until(std::future::pending()) => ended.unwrap(),
    }
    let engine = service.world.builder().on(cancel_on_request).build().unwrap();
    service.world.settle(&engine).await;
    let event = events(&service.client()).await.remove(0);
    assert_eq!(event.state, EventState::Canceled);
    assert!(service.builds().await.iter().all(|build| build.ends_with("CANCELED")));
}

/// Number 19 of the faults of the Python service: what has ended stays as it is, and a request
/// about an event that does not exist leads to nothing.
#[tokio::test(start_paused = true)]
async fn what_has_ended_is_not_cancelled() {
    let service = service();
    service.deliver([shipped()]).await;
    let before = service.client().transitions(&RowKey::Event(events(&service.client()).await[0].id)).await.unwrap();
    service.deliver([cancel(1), cancel(77)]).await;
    let event = events(&service.client()).await.remove(0);
    assert_eq!((event.state, event.builds_done), (EventState::Complete, 3));
    assert_eq!(service.client().transitions(&RowKey::Event(event.id)).await.unwrap(), before);
    assert!(service.builds().await.iter().all(|build| build.ends_with("DONE")));
    assert!(service.world.bus.published().iter().all(|message| {
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        body["state"] != "CANCELED"
    }));
}

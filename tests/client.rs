//! What a program that embeds the engine asks its client.

#![allow(clippy::unwrap_used)]

use freshmaker::backend::{Remedy, Result};
use freshmaker::client::Client;
use freshmaker::handler::{ImagePushed, RebuildRequested, rebuild_dependents};
use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog, MemoryStorage};
use freshmaker::rebuild::{EventId, EventState, InboxState};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, Context, Decision, EdgeKind, Engine, HandlerResult, Policy};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Service {
    client: Client,
    builds: Arc<MemoryBuildSystem>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<()>>,
}

impl Service {
    fn start(policy: Policy) -> Self {
        let mut graph = ArtifactGraph::new();
        graph.insert(Artifact::new("debian", ArtifactKind::Image));
        graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
        graph.depend("app", "debian", EdgeKind::ParentImage).unwrap();
        let builds = Arc::new(MemoryBuildSystem::new());
        let engine = Engine::builder()
            .storage(Arc::new(MemoryStorage::new()))
            .catalog("images", Arc::new(MemoryCatalog::new(graph)))
            .build_system("farm", builds.clone())
            .policy(policy)
            .on(rebuild_dependents)
            .on_as("second opinion", async |_: ImagePushed, _: Context| -> HandlerResult {
                Ok(Decision::Skip("no need".into()))
            })
            .on_as("indifferent", async |_: RebuildRequested, _: Context| -> HandlerResult { Ok(Decision::Ignore) })
            .build()
            .unwrap();
        let client = engine.client();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(async move { engine.run_until(async { drop(stopped.await) }).await });
        Self { client, builds, stop, running }
    }

    async fn end(self) {
        drop(self.stop);
        self.running.await.unwrap().unwrap();
    }
}

fn pushed() -> ImagePushed {
    ImagePushed { image: "debian".into(), digest: None }
}

#[tokio::test]
async fn a_message_has_ended_when_all_of_its_events_have() {
    let service = Service::start(Policy::allow_all());
    let client = service.client.clone();
    let id = client.send(&pushed()).await.unwrap();
    // As a route of a server does it: the future moves between threads.
    let events = tokio::spawn(async move { client.wait_for_message(&id).await }).await.unwrap().unwrap();
    let mut ends: Vec<_> = events.iter().map(|event| (event.handler.as_str(), event.state)).collect();
    ends.sort_unstable();
    assert_eq!(ends, [("rebuild_dependents", EventState::Complete), ("second opinion", EventState::Skipped)]);
    service.end().await;
}

#[tokio::test]
async fn a_cancelled_event_has_ended_only_when_its_builds_have() {
    let service = Service::start(Policy::allow_all());
    service.builds.hold(&"app".into());
    let mut changes = service.client.subscribe().await.unwrap();
    service.client.send(&pushed()).await.unwrap();
    let building = loop {
        let notification = changes.next().await.unwrap();
        if notification.body["state"] == "BUILD" {
            break service.client.events(Default::default(), freshmaker::backend::Paging::first(2)).await.unwrap();
        }
    };
    let event = building.items.into_iter().find(|event| event.state == EventState::Building).unwrap();
    service.client.cancel(event.id, "test").await.unwrap();
    let ended = service.client.wait_for_event(event.id).await.unwrap();
    assert_eq!((ended.state, ended.builds_open), (EventState::Canceled, 0));
    let again = service.client.cancel(event.id, "test").await.unwrap_err();
    assert_eq!(again.remedy, Remedy::Rejected);
    service.end().await;
}

#[tokio::test]
async fn a_message_that_everybody_ignores_ends_without_events() {
    let service = Service::start(Policy::allow_all());
    let request = RebuildRequested { artifacts: vec!["app".into()], dependents: true, requester: None };
    let id = service.client.send_as("once", &request).await.unwrap();
    assert_eq!(service.client.wait_for_message(&id).await.unwrap(), []);
    assert_eq!(service.client.message(Client::LOCAL, "once").await.unwrap().state, InboxState::Ignored);
    service.end().await;
}

#[tokio::test]
async fn a_policy_that_blocks_everything_leaves_a_skipped_event_and_a_plan_that_says_so() {
    let policy = serde_json::from_str(r#"{"block": [{"name": "freeze", "artifact": ".*"}]}"#).unwrap();
    let service = Service::start(policy);
    let id = service.client.send(&pushed()).await.unwrap();
    let events = service.client.wait_for_message(&id).await.unwrap();
    let event = events.iter().find(|event| event.handler == "rebuild_dependents").unwrap();
    assert_eq!((event.state, event.reason.code.as_str()), (EventState::Skipped, "nothing_to_rebuild"));
    let plan = service.client.plan(event.id).await.unwrap().unwrap();
    assert!(plan.is_empty());
    assert_eq!(plan.excluded(&"app".into()).unwrap().code, "policy");
    service.end().await;
}

#[tokio::test]
async fn what_there_is_not_is_not_waited_for() {
    let service = Service::start(Policy::allow_all());
    let not_found = |error: freshmaker::backend::Error| error.remedy == Remedy::NotFound;
    assert!(not_found(service.client.wait_for_event(EventId(404)).await.unwrap_err()));
    assert!(not_found(service.client.wait_for_message("404").await.unwrap_err()));
    assert!(not_found(service.client.message("bus", "404").await.unwrap_err()));
    assert_eq!(serde_json::to_value(service.client.overview().await.unwrap()).unwrap()["builds_done"], 0);
    service.end().await;
}

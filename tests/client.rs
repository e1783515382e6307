//! What a program that embeds the engine asks its client.

#![allow(clippy::unwrap_used)]

use freshmaker::backend::{EventFilter, Paging, Remedy, Result, Storage};
use freshmaker::client::Client;
use freshmaker::engine::{EngineBuilder, PreviewOutcome};
use freshmaker::handler::{ImagePushed, RebuildRequested, rebuild_dependents};
use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog, MemoryStorage};
use freshmaker::rebuild::{EventId, EventState, InboxState, RowKey};
use freshmaker::{
    Artifact, ArtifactGraph, ArtifactKind, Context, Decision, EdgeKind, Engine, Event, HandlerResult, Message, Policy,
};
use freshmaker_sql::SqliteStorage;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Service {
    client: Client,
    builds: Arc<MemoryBuildSystem>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<()>>,
}

/// `app` is built on `debian`. One handler rebuilds, one skips, and one ignores.
fn builder(builds: Arc<MemoryBuildSystem>) -> EngineBuilder {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("debian", ArtifactKind::Image));
    graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
    graph.depend("app", "debian", EdgeKind::ParentImage).unwrap();
    Engine::builder()
        .catalog("images", Arc::new(MemoryCatalog::new(graph)))
        .build_system("farm", builds)
        .on(rebuild_dependents)
        .on_as("second opinion", async |_: ImagePushed, _: Context| -> HandlerResult {
            Ok(Decision::Skip("no need".into()))
        })
        .on_as("indifferent", async |_: RebuildRequested, _: Context| -> HandlerResult { Ok(Decision::Ignore) })
}

impl Service {
    fn start(policy: Policy) -> Self {
        Self::on(Arc::new(MemoryStorage::new()), policy)
    }

    fn on(storage: Arc<dyn Storage>, policy: Policy) -> Self {
        let builds = Arc::new(MemoryBuildSystem::new());
        let engine = builder(builds.clone()).storage(storage).policy(policy).build().unwrap();
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
    let id = service.client.send(&pushed()).await.unwrap();
    assert_eq!(service.client.wait_until_handled(&id).await.unwrap().state, InboxState::Done);
    let open = service.client.events(Default::default(), freshmaker::backend::Paging::first(2)).await.unwrap().items;
    assert!(open.iter().any(|event| event.state == EventState::Building), "handled, and not ended: {open:?}");
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
    assert_eq!(service.client.wait_for_message(id.id()).await.unwrap(), []);
    assert_eq!(service.client.wait_until_handled("once").await.unwrap().state, InboxState::Ignored);
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
    assert!(not_found(service.client.wait_until_handled("404").await.unwrap_err()));
    assert!(not_found(service.client.message("bus", "404").await.unwrap_err()));
    assert_eq!(serde_json::to_value(service.client.overview().await.unwrap()).unwrap()["builds_done"], 0);
    service.end().await;
}

/// Each opens the file for itself, as two processes do.
#[tokio::test(start_paused = true)]
async fn a_client_beside_another_process_needs_only_the_storage() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Arc::new(SqliteStorage::open(directory.path().join("state.db")).unwrap());
    let client = Client::new(open());
    let id = client.send(&pushed()).await.unwrap();
    assert_eq!(client.message(Client::LOCAL, &id).await.unwrap().state, InboxState::New, "nobody handles it yet");
    let raw = Message { id: "raw".into(), topic: ImagePushed::KIND.into(), headers: [].into(), body: "{".into() };
    client.receive(raw).await.unwrap();
    let mut changes = client.subscribe().await.unwrap();

    let service = Service::on(open(), Policy::allow_all());
    let events = client.wait_for_message(&id).await.unwrap();
    assert_eq!(events.iter().map(|event| event.state).collect::<Vec<_>>(), [EventState::Skipped, EventState::Complete]);
    assert_eq!(client.wait_for_message("raw").await.unwrap(), [], "it cannot be read");
    let dead = client.dead_letters(Paging::first(2)).await.unwrap().items;
    assert_eq!((dead.len(), dead[0].message.body.as_slice()), (1, b"{".as_slice()), "it is kept as it came");
    let ended = loop {
        let change = changes.next().await.unwrap();
        if change.body["state"] == "COMPLETE" {
            break change;
        }
    };
    assert_eq!(ended.body["id"], events[1].id.0);

    service.builds.hold(&"app".into());
    let id = client.send_as("again", &pushed()).await.unwrap();
    let event = loop {
        let change = changes.next().await.unwrap();
        if let RowKey::Event(id) = change.of
            && change.body["state"] == "BUILDING"
        {
            break client.event(id).await.unwrap();
        }
    };
    client.cancel(event.id, "somebody").await.unwrap();
    let ended = client.wait_for_message(id.id()).await.unwrap();
    assert!(ended.iter().any(|ended| ended.id == event.id && ended.state == EventState::Canceled), "{ended:?}");
    let history = client.transitions(&RowKey::Event(event.id)).await.unwrap();
    assert_eq!(history.iter().map(|step| step.to.as_str()).collect::<Vec<_>>(), ["BUILDING", "CANCELED"]);
    assert_eq!(client.preview(&pushed()).await.unwrap_err().remedy, Remedy::Unsupported);
    service.end().await;
}

#[tokio::test]
async fn a_preview_decides_and_stores_nothing() {
    let storage = Arc::new(MemoryStorage::new());
    let preview = builder(Arc::default()).storage(storage.clone()).preview().unwrap();
    let client = Client::new(storage).with_preview(preview);
    let foreseen = client.preview(&pushed()).await.unwrap();
    let named: Vec<_> = foreseen.iter().map(|it| it.handler.as_str()).collect();
    assert_eq!(named.len(), 2, "{named:?}");
    let plans = foreseen
        .iter()
        .filter_map(|it| if let PreviewOutcome::Rebuilds(plan) = &it.decision { Some(plan) } else { None });
    assert_eq!(plans.map(|plan| plan.len()).collect::<Vec<_>>(), [1]);
    assert!(
        foreseen.iter().any(|it| matches!(&it.decision, PreviewOutcome::Skips(reason) if reason.text == "no need"))
    );
    assert!(client.overview().await.unwrap().is_idle());
    assert_eq!(client.events(EventFilter::default(), Paging::first(1).counted()).await.unwrap().total, Some(0));

    let request = RebuildRequested { artifacts: vec!["app".into()], dependents: true, requester: None };
    let foreseen = client.preview(&request).await.unwrap();
    assert_eq!(foreseen.iter().map(|it| &it.decision).collect::<Vec<_>>(), [&PreviewOutcome::Ignores]);
}

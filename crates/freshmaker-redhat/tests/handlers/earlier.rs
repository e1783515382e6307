//! Requests on top of earlier events, and images that an advisory has rebuilt before.

use super::town::{Town, builds, events, outcome};
use super::world::{FIXED, Known, World, affected, context, layers, old, waves};
use freshmaker::client::Client;
use freshmaker::handler::{Decision, Handler};
use freshmaker::plan::Plan;
use freshmaker::rebuild::{EventState, Failure, FailureClass};
use freshmaker::{Message, Policy};
use freshmaker_redhat::handlers::RebuildImagesOnRequest;
use freshmaker_redhat::messages::request::{AsyncBuild, ManualRebuild};
use serde_json::{Value, json};
use std::sync::Arc;

const REBUILT: [(&str, &str); 3] = [
    ("base-container-9-1", "base-container-9-1.1764"),
    ("python-container-3-1", "python-container-3-1.1764"),
    ("app-container-1-1", "app-container-1-1.1764"),
];

/// A town in which event 1 has rebuilt `base` and `python`, and failed to rebuild `app`.
async fn town_after_a_failure(request: Value) -> (Town, Client) {
    let town = Town::new(World::new(FIXED, &layers())).await;
    let permanent = Failure::new(FailureClass::Permanent, "its tests fail");
    town.builds.fail_next(&"app-container-1-1".into(), permanent);
    let client = rebuilding(&town, request).await;
    assert!(outcome(&client, "app-container-1-1").await.starts_with("FAILED"));
    (town, client)
}

/// Handles a request; builds end with the names of [`REBUILT`].
async fn rebuilding(town: &Town, request: Value) -> Client {
    let engine = town.engine();
    let request: ManualRebuild = serde_json::from_value(request).unwrap();
    REBUILT.iter().for_each(|(image, _)| town.builds.hold(&(*image).into()));
    engine.client().send(&request).await.unwrap();
    let client = engine.client();
    let finished = async {
        while !engine.client().overview().await.unwrap().is_idle() {
            for (image, rebuilt) in REBUILT {
                if town.builds.requests().iter().any(|request| request.artifact == image.into()) {
                    town.finish(image, rebuilt);
                }
            }
            let _ = tokio::time::timeout(std::time::Duration::from_millis(1), std::future::pending::<()>()).await;
        }
    };
    let run = engine.run_until(finished);
    tokio::time::timeout(std::time::Duration::from_secs(60), run).await.expect("it ends").unwrap();
    // Later builds are not held, whether these were built or not.
    REBUILT.iter().for_each(|(image, rebuilt)| town.finish(image, rebuilt));
    client
}

/// The plan of the latest event.
async fn latest(client: &Client) -> Plan {
    let id = events(client).await.pop().unwrap().id;
    client.plan(id).await.unwrap().expect("a plan")
}

fn images(plan: &Plan) -> Vec<String> {
    waves(plan).concat().into_iter().filter(|id| !id.starts_with("odcs:")).collect()
}

fn submitted_since(town: &Town, before: usize) -> Vec<String> {
    let all = town.builds.requests().into_iter().skip(before);
    all.map(|request| {
        let on =
            request.parents.iter().filter_map(|parent| parent.name.as_deref()).find(|name| name.contains("container"));
        format!("{} on {}", request.artifact, on.unwrap_or("nothing"))
    })
    .collect()
}

#[tokio::test]
async fn on_top_of_an_event_only_the_rest_is_rebuilt_on_its_rebuilds() {
    let (town, client) =
        town_after_a_failure(json!({ "errata_id": 28484, "metadata": { "skip_rebuilt": false } })).await;
    let first = events(&client).await[0].id.0;
    let before = town.builds.requests().len();
    let request = json!({
        "errata_id": 28484, "freshmaker_event_id": first, "metadata": { "skip_rebuilt": false },
    });
    let client = rebuilding(&town, request).await;
    assert_eq!(submitted_since(&town, before), ["app-container-1-1 on python-container-3-1.1764"]);
    let plan = latest(&client).await;
    assert_eq!(images(&plan), ["app-container-1-1"]);
    let why = plan.excluded(&"python-container-3-1".into()).unwrap();
    assert_eq!((why.code.as_str(), why.text.as_str()), ("already_rebuilt", "python-container-3-1.1764 is the rebuild"));
    assert_eq!(events(&client).await.pop().unwrap().state, EventState::Complete);

    // A third event stands on the second one, and so on the first.
    let second = events(&client).await.pop().unwrap().id.0;
    let request = json!({
        "freshmaker_event_id": second, "metadata": { "skip_rebuilt": false }, "requester": "someone",
    });
    let before = town.builds.requests().len();
    let client = rebuilding(&town, request).await;
    assert!(submitted_since(&town, before).is_empty(), "all is there");
    let third = events(&client).await.pop().unwrap();
    assert_eq!((third.state, third.reason.code.as_str()), (EventState::Skipped, "nothing_to_rebuild"));
    // It was found by the advisory of the event that it names.
    assert_eq!((third.envelope.search_key.as_str(), third.envelope.requester.as_deref()), ("28484", Some("someone")));
}

#[tokio::test]
async fn named_images_are_rebuilt_on_what_is_there() {
    let (town, client) = town_after_a_failure(json!({ "errata_id": 28484 })).await;
    let first = events(&client).await[0].id.0;
    let before = town.builds.requests().len();
    let images = ["app-container-1-1", "base-container-9-1"];
    let request = json!({ "errata_id": 28484, "freshmaker_event_id": first, "container_images": images });
    let client = rebuilding(&town, request).await;
    assert_eq!(submitted_since(&town, before), ["app-container-1-1 on python-container-3-1.1764"]);
    assert_eq!(latest(&client).await.excluded(&"base-container-9-1".into()).unwrap().code, "already_rebuilt");
}

#[tokio::test]
async fn an_advisory_rebuilds_an_image_once_unless_it_is_asked_for() {
    let (town, _) = town_after_a_failure(json!({ "errata_id": 28484 })).await;
    let before = town.builds.requests().len();
    let client = town.ship().await;
    assert_eq!(images(&latest(&client).await), ["app-container-1-1"]);
    assert_eq!(town.builds.requests().len(), before + 1);

    // Named images and a wish count for more.
    let request = json!({ "errata_id": 28484, "container_images": ["base-container-9-1"] });
    assert_eq!(images(&latest(&rebuilding(&town, request).await).await), ["base-container-9-1"]);
    let request = json!({ "errata_id": 28484, "metadata": { "skip_rebuilt": false } });
    assert_eq!(images(&latest(&rebuilding(&town, request).await).await).len(), 3);
}

/// The advisory got a newer package: what was rebuilt for the older one does not have it.
#[tokio::test]
async fn a_rebuild_without_the_present_fix_does_not_count() {
    const NEWER: &[&str] = &["bash-5.1-10.el9"];
    let (town, _) = town_after_a_failure(json!({ "errata_id": 28484 })).await;
    let town = town.in_world(World::new(NEWER, &layers()));
    let client = town.ship().await;
    assert_eq!(images(&latest(&client).await).len(), 4, "`fresh` has only the older one, too");
}

#[tokio::test]
async fn a_running_event_of_the_advisory_refuses_others_unless_they_force() {
    let town = Town::new(World::new(FIXED, &[("base-container-9-1", old(&[]))])).await;
    town.builds.hold(&"base-container-9-1".into());
    let engine = town.engine();
    let client = engine.client();
    let ask = |request: Value| serde_json::from_value::<ManualRebuild>(request).unwrap();
    client.send_as("first", &ask(json!({ "errata_id": 28484 }))).await.unwrap();
    town.submitted(&engine, 1).await;
    for (id, request) in [
        ("second", json!({ "errata_id": 28484 })),
        ("third", json!({ "freshmaker_event_id": 1 })),
        ("other", json!({ "errata_id": 9 })),
        ("forced", json!({ "errata_id": 28484, "force": true })),
    ] {
        client.send_as(id, &ask(request)).await.unwrap();
    }
    let handled = async {
        while events(&client).await.len() < 5 {
            let _ = tokio::time::timeout(std::time::Duration::from_millis(1), std::future::pending::<()>()).await;
        }
    };
    engine.run_until(handled).await.unwrap();
    town.finish("base-container-9-1", "base-container-9-1.1764");
    town.settle(&engine).await;
    let all = events(&client).await;
    let skipped: Vec<_> = all.iter().filter(|event| event.state == EventState::Skipped).collect();
    let refused = |text: &str| text.contains("in progress") && text.contains("force");
    assert_eq!(skipped.iter().filter(|event| refused(&event.reason.text)).count(), 2, "{all:?}");
    let of = |id: &str| all.iter().find(|event| event.message_id == id).unwrap();
    assert_eq!(of("forced").state, EventState::Complete, "{all:?}");
    assert_eq!(of("other").state, EventState::Failed, "there is no such advisory");
}

/// What cannot be stood on is named.
#[tokio::test]
async fn an_event_that_does_not_fit_is_named() {
    let town = Town::new(World::new(FIXED, &[("base-container-9-1", Known::default())])).await;
    town.ask(json!({ "errata_id": 28484 })).await;
    let handler = RebuildImagesOnRequest(town.affected());
    let decide = async |request: Value, history: bool| {
        let cx = context(Policy::allow_all());
        let cx = if history { cx.with_history(town.storage.clone()) } else { cx };
        handler.handle(serde_json::from_value(request).unwrap(), cx).await.unwrap()
    };
    for (request, history, expected) in [
        (json!({ "freshmaker_event_id": 7 }), true, "there is no event 7"),
        (
            json!({ "errata_id": 9, "freshmaker_event_id": 1 }),
            true,
            "event 1 is about advisory 28484, and the request about another one",
        ),
        (
            json!({ "errata_id": 9, "freshmaker_event_id": 1 }),
            false,
            "earlier events are not known here, so nothing can be built on event 1",
        ),
    ] {
        assert_eq!(decide(request, history).await, Decision::Skip(expected.to_owned()));
    }
    let emitted = decide(json!({ "freshmaker_event_id": 1, "container_images": ["a-1-1"] }), true).await;
    let Decision::Emit(messages) = emitted else { panic!("{emitted:?}") };
    let [Message { body, .. }] = &messages[..] else { panic!("{messages:?}") };
    let request: ManualRebuild = serde_json::from_slice(body).unwrap();
    assert_eq!((request.errata_id, request.freshmaker_event_id), (Some(28484), Some(1)));
    assert_eq!(request.container_images, ["a-1-1"]);
}

/// Images that were asked for without an advisory are no ground for one.
#[tokio::test]
async fn an_event_without_an_advisory_is_no_ground() {
    let town = Town::new(World::new(FIXED, &layers())).await;
    let skip = async |_: AsyncBuild, _: freshmaker::Context| -> freshmaker::HandlerResult {
        Ok(Decision::Skip("not here".to_owned()))
    };
    let engine = freshmaker::Engine::builder()
        .storage(town.storage.clone())
        .catalog("none", Arc::new(freshmaker::memory::MemoryCatalog::new(Default::default())))
        .build_system("koji", town.builds.clone())
        .clock(town.clock.clone())
        .on_as("skip", skip)
        .build()
        .unwrap();
    let asked = json!({ "dist_git_branch": "main", "container_images": ["foo"] });
    engine.client().send(&serde_json::from_value::<AsyncBuild>(asked).unwrap()).await.unwrap();
    let client = town.settle(&engine).await;
    assert!(builds(&client).await.is_empty());
    let cx = context(Policy::allow_all()).with_history(town.storage.clone());
    let request = serde_json::from_value(json!({ "freshmaker_event_id": 1 })).unwrap();
    let decision = RebuildImagesOnRequest(affected(&town.world)).handle(request, cx).await.unwrap();
    let expected = "event 1 does not rebuild the images of an advisory, but is freshmaker.async-build";
    assert_eq!(decision, Decision::Skip(expected.to_owned()));
}

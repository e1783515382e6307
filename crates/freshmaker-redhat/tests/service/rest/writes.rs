//! What callers ask for becomes messages, and events if an engine runs.

use super::{JSON, api, ask, cancel, deciding, get, open, post, rebuild, request, skip_async, while_running};
use crate::each;
use freshmaker::artifact::ArtifactId;
use freshmaker::rebuild::{EventId, EventState, InboxState};
use freshmaker::{Client, Context, Decision, HandlerResult};
use freshmaker_redhat::messages;
use freshmaker_redhat::messages::request::{AsyncBuild, ManualRebuild};
use freshmaker_testing::world::{World, events, message, until};
use serde_json::{Value, json};
use std::time::Duration;

fn client(world: &World) -> Client {
    Client::new(world.storage.clone()).with_clock(world.clock.clone())
}

#[tokio::test(start_paused = true)]
async fn without_an_engine_a_request_is_kept_and_its_place_is_told() {
    for world in each() {
        let router = api(&world, client(&world), open()).router();
        let began = tokio::time::Instant::now();
        let told = post(
            &router,
            "/api/1/builds/",
            &json!({ "errata_id": 7, "metadata": { "ticket": "X-1", "by": { "z": 1, "a": 2 } } }),
        )
        .await;
        assert_eq!(told.status, 202, "{told:?}");
        assert!((5..7).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        let url = told.json()["url"].as_str().unwrap().to_owned();
        assert_eq!(told.header("location"), url);
        let there = get(&router, &url).await;
        assert_eq!((there.status, there.json()["state"].clone()), (200, json!("new")), "{there:?}");

        let engine = deciding(&world).build().unwrap();
        world.settle(&engine).await;
        let events = events(&engine.client()).await;
        assert_eq!(events.len(), 1);
        assert_eq!(told.json()["message_id"], events[0].message_id);
        let shown = get(&router, &format!("/api/2/events/{}", events[0].id)).await.json();
        assert_eq!(shown["requester_metadata"], json!({ "ticket": "X-1", "by": { "z": 1, "a": 2 } }));
        assert_eq!((&shown["requester"], &shown["search_key"]), (&json!("local"), &json!("7")));
    }
}

#[tokio::test(start_paused = true)]
async fn two_requests_at_the_same_moment_are_two() {
    let world = World::new();
    let engine = deciding(&world).build().unwrap();
    let router = api(&world, engine.client(), open()).router();
    let body = json!({ "errata_id": 7, "force": true });
    let both = async { tokio::join!(post(&router, "/api/1/builds/", &body), post(&router, "/api/2/builds/", &body)) };
    let (one, other) = while_running(&engine, both).await;
    let ids = |told: &super::Told| (told.json()["id"].clone(), told.json()["message_id"].clone());
    assert_eq!((one.status, other.status), (200, 200), "{one:?} {other:?}");
    assert!(ids(&one).0 != ids(&other).0 && ids(&one).1 != ids(&other).1, "{one:?} {other:?}");
    assert!(one.json().get("builds").is_some() && other.json().get("builds").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_running_event_of_the_advisory_needs_force() {
    for world in each() {
        let engine = world.builder().on(rebuild).build().unwrap();
        let router = api(&world, engine.client(), open()).router();
        world.builds.hold(&ArtifactId::new("app"));
        while_running(&engine, async {
            let first = post(&router, "/api/1/builds/", &json!({ "errata_id": 7 })).await;
            assert_eq!((first.status, &first.json()["state_name"]), (200, &json!("BUILDING")), "{first:?}");
            let id = &first.json()["id"];
            let again = post(&router, "/api/1/builds/", &json!({ "errata_id": 7 })).await;
            assert_eq!(again.status, 400, "{again:?}");
            let text = format!("Events triggered by advisory 7 are running: [{id}]. ");
            assert_eq!(again.error(), format!("{text}If you want to rebuild it anyway, use \"force\": true option."));
            let other = post(&router, "/api/1/builds/", &json!({ "errata_id": 8 })).await;
            assert_eq!(other.status, 200, "{other:?}");
            let forced = post(&router, "/api/1/builds/", &json!({ "errata_id": 7, "force": true })).await;
            assert_eq!(forced.status, 200, "{forced:?}");
            let filter = format!("/api/1/builds/?event_id={}", forced.json()["id"]);
            let shared = get(&router, &filter).await.json();
            assert_eq!(shared["items"][1]["event_id"], *id, "what waits is built once for both: {shared}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_event_says_so_when_it_is() {
    for world in each() {
        let engine = world.builder().on(rebuild).build().unwrap();
        let router = api(&world, engine.client(), open()).router();
        world.builds.hold(&ArtifactId::new("app"));
        while_running(&engine, async {
            let first = post(&router, "/api/1/builds/", &json!({ "errata_id": 7 })).await;
            let id = EventId(first.json()["id"].as_i64().unwrap());
            let running = || async { !world.builds.requests().is_empty() };
            until(running).await;
            let told = cancel(&router, id).await;
            assert_eq!((told.status, &told.json()["state_name"]), (200, &json!("CANCELED")), "{told:?}");
            let states = told.json()["builds"]
                .as_array()
                .unwrap()
                .iter()
                .map(|build| build["state_name"].clone())
                .collect::<Vec<_>>();
            assert_eq!(states, ["CANCELED", "CANCELED"]);
            let again = cancel(&router, id).await;
            assert_eq!(again.status, 400);
            assert_eq!(again.error(), format!("Event {id} is CANCELED and cannot be canceled."));
            assert_eq!(cancel(&router, EventId(999)).await.error(), "No such event found.");
        })
        .await;
        assert_eq!(world.storage.reads().check_consistency().await.unwrap(), []);
    }
}

/// What a handler cannot decide is told with the reason.
#[tokio::test(start_paused = true)]
async fn a_request_that_leads_to_no_event_says_why() {
    async fn refuse(_: ManualRebuild, _: Context) -> HandlerResult {
        Err("the advisory makes no sense".into())
    }
    async fn ignore(_: AsyncBuild, _: Context) -> HandlerResult {
        Ok(Decision::Ignore)
    }
    for world in each() {
        let engine = world.builder().on(refuse).on(ignore).build().unwrap();
        let router = api(&world, engine.client(), open()).router();
        while_running(&engine, async {
            let told = post(&router, "/api/1/builds/", &json!({ "errata_id": 7 })).await;
            let failed = (&json!("FAILED"), &json!("the advisory makes no sense"));
            let told = told.json();
            assert_eq!((&told["state_name"], &told["state_reason"]), failed);
            let body = json!({ "dist_git_branch": "main", "container_images": ["foo"] });
            let told = post(&router, "/api/1/async-builds/", &body).await;
            assert_eq!(told.status, 422, "{told:?}");
            assert!(told.error().starts_with("The request has led to no event: "), "{told:?}");
        })
        .await;
        let none = world.builder().on(ignore).build().unwrap();
        let router = api(&world, none.client(), open()).router();
        let told = post(&router, "/api/1/builds/", &json!({ "errata_id": 7 })).await;
        assert_eq!(told.status, 422, "{told:?}");
        assert!(told.error().contains("no handler is registered"), "{told:?}");
    }
}

/// The same handlers serve the bus.
#[tokio::test(start_paused = true)]
async fn the_same_request_by_bus_is_the_same_event() {
    for world in each() {
        let parsers = messages::parsers(["VirtualTopic.eng"]);
        let engine = deciding(&world).parsers(parsers).build().unwrap();
        let router = api(&world, engine.client(), open()).router();
        let body = json!({ "errata_id": 7, "container_images": ["a-1-1"], "metadata": { "a": 1 } });
        let by_rest = while_running(&engine, post(&router, "/api/1/builds/", &body)).await.json();
        world.bus.send(message("m1", "VirtualTopic.eng.freshmaker.manual.rebuild", &body.to_string()));
        world.settle(&engine).await;
        let by_bus = get(&router, "/api/1/events/?per_page=1").await.json()["items"][0].clone();
        assert_eq!(by_bus["message_id"], "m1");
        for key in ["event_type_id", "search_key", "requested_rebuilds", "requester_metadata", "state", "state_reason"]
        {
            assert_eq!(by_rest[key], by_bus[key], "{key}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_write_is_in_the_audit_log() {
    let world = World::new();
    let engine = deciding(&world).build().unwrap();
    let router = api(&world, engine.client(), open()).router();
    let body = json!({ "dist_git_branch": "main", "container_images": ["foo"], "brew_target": "t" });
    let told = while_running(&engine, post(&router, "/api/1/async-builds/", &body)).await;
    assert_eq!(told.status, 200, "{told:?}");
    let rows = get(&router, "/api/3/audit").await.json();
    let row = &rows["items"][0];
    assert_eq!((&row["who"], &row["what"], &row["outcome"]), (&json!("local"), &json!("async build"), &json!("done")));
    let message = told.json()["message_id"].as_str().unwrap().to_owned();
    assert_eq!(row["on"], format!("message {message}, foo-container"));
    let stored = engine.client().message(Client::LOCAL, &message).await.unwrap();
    assert_eq!(stored.state, InboxState::Done);
    let body: Value = serde_json::from_slice(&stored.message.body).unwrap();
    assert_eq!((&body["brew_target"], &body["requester"]), (&json!("t"), &json!("local")));
    assert_eq!(events(&engine.client()).await[0].state, EventState::Skipped);
}

/// A wait is no longer than half of the time that a request may take.
#[tokio::test(start_paused = true)]
async fn the_wait_is_bounded() {
    let world = World::new();
    let mut config = open();
    config.limits.timeout = Duration::from_secs(4);
    let router = api(&world, client(&world), config).wait(Duration::from_secs(3600)).router();
    let told = ask(&router, request("POST", "/api/1/builds/", &[JSON], r#"{"errata_id": 7}"#)).await;
    assert_eq!(told.status, 202, "{told:?}");
}

/// As with `POST /api/3/messages`.
#[tokio::test(start_paused = true)]
async fn a_key_makes_a_request_one_request() {
    for world in each() {
        let engine = world.builder().on(rebuild).on(skip_async).build().unwrap();
        let router = api(&world, engine.client(), open()).router();
        world.builds.hold(&ArtifactId::new("app"));
        while_running(&engine, async {
            for (path, body, other) in [
                ("/api/1/builds/", json!({ "errata_id": 7 }), json!({ "errata_id": 7, "metadata": {} })),
                (
                    "/api/2/async-builds/",
                    json!({ "dist_git_branch": "main", "container_images": ["foo"] }),
                    json!({ "dist_git_branch": "main", "container_images": ["bar"] }),
                ),
            ] {
                let keyed = |key: &str, body: &Value| {
                    ask(&router, request("POST", path, &[JSON, ("idempotency-key", key)], body.to_string()))
                };
                let first = keyed(path, &body).await;
                assert_eq!((first.status, &first.json()["message_id"]), (200, &json!(format!("api/local/{path}"))));
                let again = keyed(path, &body).await;
                assert_eq!((again.status, again.json()["id"].clone()), (200, first.json()["id"].clone()), "{again:?}");
                let reused = keyed(path, &other).await;
                assert_eq!(reused.status, 422, "{reused:?}");
                assert!(reused.error().contains("\"Idempotency-Key\""), "{reused:?}");
                let wrong = keyed("a b", &body).await;
                assert_eq!((wrong.status, wrong.error().contains("idempotency-key")), (400, true), "{wrong:?}");
            }
        })
        .await;
        assert_eq!(events(&engine.client()).await.len(), 2);
    }
}

/// The key is a part of the address at which the message is.
#[tokio::test(start_paused = true)]
async fn the_place_of_a_message_with_a_key_can_be_followed() {
    let world = World::new();
    let router = api(&world, client(&world), open()).router();
    let headers = [JSON, ("idempotency-key", "a/b?c#d%2F")];
    let told = ask(&router, request("POST", "/api/1/builds/", &headers, r#"{"errata_id": 7}"#)).await;
    assert_eq!(told.status, 202, "{told:?}");
    let there = get(&router, told.json()["url"].as_str().unwrap()).await;
    assert_eq!((there.status, &there.json()["id"]), (200, &json!("api/local/a/b?c#d%2F")), "{there:?}");
}

/// What Freshmaker's metrics say of messages out.
#[tokio::test(start_paused = true)]
async fn messages_out_are_counted() {
    for world in each() {
        let engine = world.builder().on(rebuild).build().unwrap();
        let router = api(&world, engine.client(), open()).router();
        engine.client().send(&request_of(7)).await.unwrap();
        world.settle(&engine).await;
        let told = get(&router, "/api/1/monitor/metrics").await.body;
        let value = |name: &str| {
            let line = told.lines().find(|line| line.starts_with(&format!("{name}_total "))).unwrap();
            line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
        };
        let stored = engine.client().subscribe().await.unwrap().position();
        assert!(stored > 0);
        assert_eq!(value("messaging_tx_sent_ok") + value("messaging_tx_to_send"), stored.unsigned_abs());
        assert_eq!((value("messaging_tx_to_send"), value("messaging_tx_failed")), (0, 0));
    }
}

fn request_of(advisory: i64) -> ManualRebuild {
    serde_json::from_value(json!({ "errata_id": advisory })).unwrap()
}

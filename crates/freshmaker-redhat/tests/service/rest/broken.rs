//! What callers do wrong is told in the form of the service, and is never a fault of ours.

use super::{JSON, api, ask, get, open, post, recorded, request};
use crate::each;
use crate::fixture::store;
use freshmaker::Client;
use freshmaker_testing::world::World;
use freshmaker_web::Quota;
use freshmaker_web::axum::Router;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::io::Read;
use tower::ServiceExt;

async fn over_fixture(world: &World) -> Router {
    store(world.storage.as_ref(), &recorded()["fixture"]).await;
    let client = Client::new(world.storage.clone()).with_clock(world.clock.clone());
    api(world, client, open()).router()
}

#[tokio::test(start_paused = true)]
async fn wrong_queries_name_what_is_wrong() {
    for world in each() {
        let router = over_fixture(&world).await;
        for (path, status, text) in [
            ("events/?state=bogus", 400, "Invalid state was supplied: bogus"),
            ("events/?event_type_id=abc", 400, "\"event_type_id\" must be an integer."),
            (
                "events/?order_by=search_key",
                400,
                "An invalid order_by key was suplied, allowed keys are: ['id', 'message_id']",
            ),
            ("builds/?type=bogus", 400, "An invalid artifact type was supplied"),
            ("builds/?type=4", 400, "An invalid artifact type was supplied"),
            ("builds/?state=bogus", 400, "An invalid state was supplied"),
            ("builds/?event_id=1%20OR%201", 400, "\"event_id\" must be an integer."),
            ("builds/?dep_on_id=8.0", 400, "\"dep_on_id\" must be an integer."),
            ("events/99999999999999999999", 404, "No such event found."),
            ("events/-1", 404, "The requested URL was not found on the server."),
            ("builds/999", 404, "No such build found."),
            ("builds/1001", 404, "No such build found."),
            ("pullspec_overrides/1001", 404, "No such bundle build"),
            ("event-types/19", 404, "No such event type found."),
            ("events/1/builds", 404, "The requested URL was not found on the server."),
            ("", 404, "The requested URL was not found on the server."),
            ("verify-image-repository/foo/bar", 501, "This service has no catalog of image repositories to ask."),
            ("verify-image/foo-1-1", 501, "This service has no catalog of images to ask."),
        ] {
            for version in ["1", "2"] {
                let told = get(&router, &format!("/api/{version}/{path}")).await;
                assert_eq!((told.status, told.error().as_str()), (status, text), "{path}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn callers_who_take_gzip_can_read_what_is_wrong() {
    let router = over_fixture(&World::new()).await;
    for (path, status) in [("async-builds/", 405), ("events/?state=bogus", 400), ("nothing", 404)] {
        let request = request("GET", &format!("/api/2/{path}"), &[("accept-encoding", "gzip")], "");
        let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut text = Vec::new();
        match parts.headers.get("content-encoding") {
            None => text.extend_from_slice(&body),
            Some(_) => drop(flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut text).unwrap()),
        }
        let told: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((parts.status.as_u16(), &told["status"]), (status, &json!(status)), "{told}");
        assert_ne!(told["message"], "", "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn filters_find_what_they_should() {
    for world in each() {
        let router = over_fixture(&world).await;
        let ids = |told: Value| {
            told["items"].as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap()).collect::<Vec<_>>()
        };
        for (path, found) in [
            ("events/?state=99&state=2", vec![1]),
            ("events/?event_type_id=99", vec![]),
            ("events/?event_type_id=13&event_type_id=14", vec![4, 2]),
            ("events/?search_key=1001&search_key=1002", vec![2, 1]),
            ("events/?message_id=ID:1.RHSA-2026:1001-01", vec![1]),
            ("events/?order_by=id&per_page=2&page=2", vec![3, 4]),
            ("events/?per_page=0", vec![]),
            ("events/?order_by=message_id", vec![1, 3, 4, 2]),
            ("events/?order_by=-message_id&per_page=3&page=2", vec![1]),
            ("events/?order_by=message_id&state=complete&state=skipped", vec![1, 3]),
            ("builds/", vec![7, 6, 5, 4, 3, 2, 1]),
            ("builds/?name=perl-container", vec![4]),
            ("builds/?rebuilt_nvr=perl-container-5-7.1768039261", vec![4]),
            ("builds/?build_id=5003", vec![3]),
            ("builds/?dep_on_id=2", vec![4, 3]),
            ("builds/?event_id=2&state=planned", vec![7, 6]),
            ("builds/?event_type_id=8&event_search_key=1001&type=IMAGE&order_by=id", vec![1, 2, 3, 4]),
            ("builds/?event_type_id=3", vec![]),
            ("builds/?state=&name=", vec![7, 6, 5, 4, 3, 2, 1]),
            ("builds/?order_by=name", vec![6, 5, 7, 3, 4, 2, 1]),
            ("builds/?order_by=-name", vec![1, 2, 4, 3, 7, 5, 6]),
            ("builds/?order_by=original_nvr&per_page=3&page=2", vec![3, 4, 2]),
            ("builds/?order_by=rebuilt_nvr", vec![3, 5, 6, 7, 4, 2, 1]),
            ("builds/?order_by=event_id", vec![1, 2, 3, 4, 5, 6, 7]),
            ("builds/?order_by=-event_id", vec![5, 6, 7, 1, 2, 3, 4]),
            ("builds/?order_by=dep_on_id", vec![1, 5, 7, 2, 3, 4, 6]),
            ("builds/?order_by=-dep_on_id", vec![6, 3, 4, 2, 1, 5, 7]),
            ("builds/?order_by=build_id", vec![6, 7, 1, 2, 3, 4, 5]),
            ("builds/?order_by=name&event_id=2&state=planned", vec![6, 7]),
        ] {
            let told = get(&router, &format!("/api/2/{path}")).await;
            assert_eq!(told.status, 200, "{path}: {told:?}");
            let found_now = ids(told.json());
            assert_eq!(found_now, found, "{path}");
            assert!(path.contains("page") || told.json()["meta"]["total"] == found.len(), "{path}: {told:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_bodies_name_what_is_wrong() {
    let world = World::new();
    let router = over_fixture(&world).await;
    let unknown = "\"dry-run\" is not known here, there are ";
    for (path, body, text) in [
        ("builds/", json!({ "errata_id": 0 }), "You must at least provide"),
        ("builds/", json!({ "errata_id": null }), "You must at least provide"),
        ("builds/", json!({ "errata_id": "1" }), "\"errata_id\" must be an integer."),
        ("builds/", json!({ "errata_id": 1.5 }), "\"errata_id\" must be an integer."),
        ("builds/", json!({ "errata_id": -3 }), "\"errata_id\" must be a positive integer."),
        ("builds/", json!({ "freshmaker_event_id": 99 }), "The provided \"freshmaker_event_id\" is invalid."),
        ("builds/", json!({ "freshmaker_event_id": 4 }), "The event (id=4) is an async build event, can not"),
        ("builds/", json!({ "errata_id": 1, "container_images": null }), "\"container_images\" must be an array"),
        ("builds/", json!({ "errata_id": 1, "container_images": ["foo"] }), "\"container_images\": \"foo\" is no"),
        ("builds/", json!({ "errata_id": 1, "dry_run": "yes" }), "\"dry_run\" must be a boolean."),
        ("builds/", json!({ "errata_id": 1, "dry-run": true }), unknown),
        ("builds/", json!({ "errata_id": 1, "metadata": "x" }), "\"metadata\" must be a dictionary."),
        ("builds/", json!({ "errata_id": 1, "metadata": [] }), "\"metadata\" must be a dictionary."),
        ("builds/", json!({ "errata_id": 1, "requester": "root" }), "\"requester\" is not known here"),
        ("builds/", json!({ "errata_id": 1, "bundle_related_image_overrides": { "a": 1 } }), "Manual image overriding"),
        ("builds/", json!({ "errata_id": 1, "brew_target": "t" }), "\"brew_target\" is not known here, there are"),
        (
            "builds/",
            json!({ "errata_id": 1, "container_images": vec!["a-1-1"; 1001] }),
            "\"container_images\" has more",
        ),
        ("async-builds/", json!({ "dist_git_branch": "main", "container_images": [] }), "\"dist_git_branch\" and"),
        ("async-builds/", json!({ "dist_git_branch": "main", "container_images": [""] }), "\"container_images\": an"),
        (
            "async-builds/",
            json!({ "dist_git_branch": "main", "container_images": ["a"], "freshmaker_event_id": 1 }),
            "The event (id=1) is not an async build event.",
        ),
        ("async-builds/", json!({ "dist_git_branch": "main", "container_images": ["a"], "dry-run": true }), unknown),
    ] {
        let told = post(&router, &format!("/api/1/{path}"), &body).await;
        assert_eq!(told.status, 400, "{body}: {told:?}");
        assert!(told.error().starts_with(text), "{body}: {told:?}");
    }
    for (body, text) in [
        (json!({ "action": "restart" }), "Unsupported action requested."),
        (json!({ "action": null }), "Unsupported action requested."),
        (json!({ "action": "cancel", "force": true }), "\"force\" is not known here, there are \"action\"."),
    ] {
        let told = ask(&router, request("PATCH", "/api/1/events/2", &[JSON], body.to_string())).await;
        assert_eq!((told.status, told.error().as_str()), (400, text), "{body}");
    }
    for state in [1, 3] {
        let told = super::cancel(&router, freshmaker::rebuild::EventId(state)).await;
        assert_eq!(told.status, 400, "{told:?}");
        assert!(told.error().ends_with("and cannot be canceled."), "{told:?}");
    }
    for (kind, status) in
        [("text/xml", 415), ("application/x-www-form-urlencoded", 400), ("application/merge-patch+json", 400)]
    {
        let told =
            ask(&router, request("PATCH", "/api/1/events/1", &[("content-type", kind)], r#"{"action": "cancel"}"#))
                .await;
        assert_eq!(told.status, status, "{told:?}");
        told.error();
    }
}

/// The layers of freshmaker-web refuse in its own form, which callers of the service cannot read.
#[tokio::test(start_paused = true)]
async fn refusals_of_the_layers_have_the_same_form() {
    let world = World::new();
    let mut config = open();
    config.limits.body_bytes = 100;
    config.limits.url_bytes = 200;
    config.limits.requests = Quota { per_minute: 1, burst: 4 };
    let client = Client::new(world.storage.clone()).with_clock(world.clock.clone());
    let router = api(&world, client, config).router();
    let long = get(&router, &format!("/api/1/events/?requester={}", "x".repeat(300))).await;
    assert_eq!(long.status, 414, "{long:?}");
    long.error();
    let large = post(&router, "/api/1/builds/", &json!({ "errata_id": 1, "metadata": "x".repeat(300) })).await;
    assert_eq!(large.status, 413, "{large:?}");
    large.error();
    let cross = [JSON, ("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    let cross = ask(&router, request("POST", "/api/1/builds/", &cross, r#"{"errata_id": 1}"#)).await;
    assert_eq!(cross.status, 403, "{cross:?}");
    cross.error();
    let mut limited = get(&router, "/api/1/events/").await;
    for _ in 0..4 {
        limited = get(&router, "/api/1/events/").await;
    }
    assert_eq!(limited.status, 429, "{limited:?}");
    limited.error();
    assert!(!limited.header("retry-after").is_empty());
    let other = get(&router, "/api/3/events").await;
    assert_eq!((other.status, other.header("content-type")), (429, "application/problem+json"));
}

#[tokio::test(start_paused = true)]
async fn a_nested_router_knows_where_it_is() {
    let world = World::new();
    let router = Router::new().nest("/rebuilds", over_fixture(&world).await);
    let told = get(&router, "/rebuilds/api/2/events/?per_page=1").await.json();
    assert_eq!(told["items"][0]["url"], "/rebuilds/api/1/events/4");
    assert_eq!(told["meta"]["next"], "http://localhost:5001/rebuilds/api/2/events/?page=2&per_page=1");
    let moved = get(&router, "/rebuilds/api/1/builds?state=done").await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (308, "http://localhost:5001/rebuilds/api/1/builds/?state=done")
    );
    let missing = get(&router, "/rebuilds/api/1/nothing").await;
    assert_eq!(missing.status, 404);
    missing.error();

    let client = Client::new(world.storage.clone()).with_clock(world.clock.clone());
    let router = api(&world, client, open()).base_url("https://fm.example.org/").router();
    let told = get(&router, "/api/2/events/?per_page=1&state=building&state=skipped&page=2").await.json();
    let filters = "per_page=1&state=building&state=skipped";
    assert_eq!(told["meta"]["prev"], format!("https://fm.example.org/api/2/events/?page=1&{filters}"));
    assert_eq!(told["items"][0]["url"], "/api/1/events/2");
    let head = ask(&router, request("HEAD", "/api/1/events/1", &[], "")).await;
    assert_eq!((head.status, head.body.as_str(), head.header("content-type")), (200, "", "application/json"));
}

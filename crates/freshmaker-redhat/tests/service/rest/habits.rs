//! What callers of the service are used to, although no document says so.

use super::{JSON, api, ask, deciding, get, open, post, request, while_running};
use crate::each;
use crate::fixture::store;
use freshmaker::{Client, Engine};
use freshmaker_testing::world::World;
use freshmaker_web::axum::Router;
use serde_json::{Value, json};

async fn over_fixture(world: &World) -> Router {
    store(world.storage.as_ref(), &super::recorded()["fixture"]).await;
    let client = Client::new(world.storage.clone()).with_clock(world.clock.clone());
    api(world, client, open()).router()
}

async fn decided(world: &World) -> (Engine, Router) {
    store(world.storage.as_ref(), &super::recorded()["fixture"]).await;
    let engine = deciding(world).build().unwrap();
    let router = api(world, engine.client(), open()).router();
    (engine, router)
}

/// The links are equal to those of the service, byte by byte.
#[tokio::test(start_paused = true)]
async fn links_leave_the_characters_that_python_leaves() {
    let router = over_fixture(&World::new()).await;
    let all = "x=%20%21%22%23%24%25%26%27%28%29%2A%2B%2C-.%2F%3A%3B%3C%3D%3E%3F%40%5B%5C%5D%5E_%60%7B%7C%7D%7E%C3%BC";
    let meta = get(&router, &format!("/api/2/events/?message_id=ID%3A1.RHSA-2026%3A1001-01&{all}")).await.json();
    assert_eq!(
        meta["meta"]["first"],
        "http://localhost:5001/api/2/events/?page=1&per_page=10&message_id=ID:1.RHSA-2026:1001-01\
         &x=+!%22%23$%25%26'()*%2B,-./:;%3C%3D%3E?@%5B%5C%5D%5E_%60%7B%7C%7D~%C3%BC"
    );
    assert_eq!(meta["meta"]["total"], 1);
}

#[tokio::test(start_paused = true)]
async fn doubled_slashes_lead_to_single_ones() {
    let router = over_fixture(&World::new()).await;
    for (path, place) in [
        ("/api//1/events/1", "/api/1/events/1"),
        ("/api/1//events/?a=b//c", "/api/1/events/?a=b//c"),
        ("/api/1/events//", "/api/1/events/"),
        ("/api///2//builds", "/api/2/builds"),
        ("//api/1/events/", "/api/1/events/"),
        ("/api/1/verify-image//a-1-1", "/api/1/verify-image/a-1-1"),
    ] {
        for method in ["GET", "POST"] {
            let told = ask(&router, request(method, path, &[], "")).await;
            let place = format!("http://localhost:5001{place}");
            assert_eq!((told.status, told.header("location")), (308, place.as_str()), "{method} {path}: {told:?}");
        }
    }
    for path in ["//evil.example/api/1/", "/api//4/events/", "//", "/api//3/events"] {
        let told = get(&router, path).await;
        assert_eq!((told.status, told.header("location")), (404, ""), "{path}: {told:?}");
        assert_eq!(told.header("content-type"), "application/problem+json", "as other paths: {told:?}");
    }
    let nested = Router::new().nest("/rebuilds", router);
    let told = get(&nested, "/rebuilds/api//1/events/1").await;
    assert_eq!((told.status, told.header("location")), (308, "http://localhost:5001/rebuilds/api/1/events/1"));
}

/// Values that Python counts as nothing.
fn nothing() -> [Value; 7] {
    [json!(null), json!(false), json!(0), json!(0.0), json!(""), json!([]), json!({})]
}

#[tokio::test(start_paused = true)]
async fn what_python_counts_as_nothing_is_nothing() {
    let world = World::new();
    let (engine, router) = decided(&world).await;
    while_running(&engine, async {
        for nothing in nothing() {
            for key in ["freshmaker_event_id", "bundle_related_image_overrides"] {
                let body = json!({ "errata_id": 7001, key: nothing });
                let told = post(&router, "/api/1/builds/", &body).await;
                assert_eq!(told.status, 200, "{body}: {told:?}");
            }
            for key in ["freshmaker_event_id", "brew_target"] {
                let body = json!({ "dist_git_branch": "main", "container_images": ["foo"], key: nothing });
                let told = post(&router, "/api/1/async-builds/", &body).await;
                assert_eq!(told.status, 200, "{body}: {told:?}");
            }
            let told = post(&router, "/api/1/builds/", &json!({ "errata_id": nothing })).await;
            assert!(told.status == 400 && told.error().starts_with("You must at least provide"), "{told:?}");
            let body = json!({ "dist_git_branch": nothing, "container_images": ["foo"] });
            let told = post(&router, "/api/1/async-builds/", &body).await;
            assert!(told.status == 400 && told.error().starts_with("\"dist_git_branch\" and"), "{told:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn keys_of_the_other_request_may_be_there_without_a_value() {
    let world = World::new();
    let (engine, router) = decided(&world).await;
    let named = json!({ "dist_git_branch": "main", "container_images": ["foo"] });
    let with = |body: &Value, key: &str, value: Value| {
        let mut body = body.clone();
        body[key] = value;
        body
    };
    let cases = [
        ("/api/1/async-builds/", &named, ["errata_id", "bundle_related_image_overrides"]),
        ("/api/1/builds/", &json!({ "errata_id": 7001 }), ["dist_git_branch", "brew_target"]),
    ];
    while_running(&engine, async {
        for (path, body, keys) in cases {
            for key in keys {
                for nothing in nothing() {
                    let body = with(body, key, nothing);
                    let told = post(&router, path, &body).await;
                    assert_eq!(told.status, 200, "{body}: {told:?}");
                }
            }
        }
        let told = post(&router, "/api/1/async-builds/", &with(&named, "force", json!(false))).await;
        assert_eq!(told.status, 200, "{told:?}");
        for (key, value) in [("force", json!(true)), ("errata_id", json!(7))] {
            let told = post(&router, "/api/1/async-builds/", &with(&named, key, value)).await;
            let known = "\"brew_target\", \"container_images\", \"dist_git_branch\", \"dry_run\", \
                         \"freshmaker_event_id\", \"metadata\"";
            assert_eq!((told.status, told.error()), (400, format!("\"{key}\" is not known here, there are {known}.")));
        }
    })
    .await;
}

/// A page that no list has is shown with its number.
#[tokio::test(start_paused = true)]
async fn pages_far_behind_the_end_are_empty() {
    for world in each() {
        let router = over_fixture(&world).await;
        for (page, shown) in [
            ("5000000000", 5_000_000_000_u64),
            ("9223372036854775807", 9_223_372_036_854_775_807),
            ("99999999999999999999", 9_223_372_036_854_775_807),
        ] {
            for list in ["events/?", "builds/?", "events/?order_by=message_id&"] {
                let told = get(&router, &format!("/api/2/{list}page={page}&per_page={page}")).await.json();
                assert_eq!((&told["items"], &told["meta"]["page"]), (&json!([]), &json!(shown)), "{told}");
                let before = format!("page={}&per_page=100", shown - 1);
                assert!(told["meta"]["prev"].as_str().unwrap().contains(&before), "{told}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn numbers_that_no_row_has_find_nothing() {
    let router = over_fixture(&World::new()).await;
    let large = "9".repeat(24);
    for filter in ["event_id", "dep_on_id", "build_id", "event_type_id"] {
        let told = get(&router, &format!("/api/1/builds/?{filter}={large}")).await;
        assert_eq!((told.status, &told.json()["meta"]["total"]), (200, &json!(0)), "{filter}: {told:?}");
    }
    for value in [&large, ""] {
        let told = get(&router, &format!("/api/1/events/?event_type_id={value}")).await;
        assert_eq!((told.status, &told.json()["meta"]["total"]), (200, &json!(0)), "{value}: {told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_without_a_type_is_read() {
    let router = over_fixture(&World::new()).await;
    for headers in [&[][..], &[("content-type", "")], &[("content-type", " ;charset=utf-8")]] {
        let told = ask(&router, request("POST", "/api/1/builds/", headers, "{}")).await;
        assert!(told.status == 400 && told.error().starts_with("You must at least provide"), "{told:?}");
    }
}

/// Behind a proxy that serves it below a path, all addresses have that path.
#[tokio::test(start_paused = true)]
async fn the_path_of_the_base_is_in_all_addresses() {
    let world = World::new();
    store(world.storage.as_ref(), &super::recorded()["fixture"]).await;
    let client = Client::new(world.storage.clone()).with_clock(world.clock.clone());
    let router = api(&world, client, open()).base_url("https://h.example/fm/").router();
    let told = get(&router, "/api/1/events/?per_page=1").await.json();
    assert_eq!(told["meta"]["last"], "https://h.example/fm/api/1/events/?page=4&per_page=1");
    assert_eq!(told["items"][0]["url"], "/fm/api/1/events/4");
    let builds = get(&router, "/api/1/builds/1").await.json();
    assert_eq!(builds["url"], "/fm/api/1/builds/1");
    let waiting = ask(&router, request("POST", "/api/1/builds/", &[JSON], r#"{"errata_id": 7}"#)).await.json();
    assert!(waiting["url"].as_str().unwrap().starts_with("/fm/api/3/messages/"), "{waiting}");
}

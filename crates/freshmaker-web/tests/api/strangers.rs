//! Programs of others, which know the API by its OpenAPI text alone.

use super::support::Service;
use freshmaker_testing::world::message;
use freshmaker_web::Quota;
use serde_json::{Value, json};
use std::net::SocketAddr;
use test_support::{answers_are_as_described, found_by_client};
use tokio::net::TcpListener;

/// A service over sockets with an event, its builds, a dead letter and an open build.
async fn serve() -> (Service, SocketAddr) {
    let service = Service::new(|config| {
        config.authentication.none = true;
        config.limits.requests = Quota { per_minute: 1_000_000, burst: 1_000_000 };
    });
    service.push("base").await;
    service.engine.client().receive(message("broken", "image.pushed", "{")).await.unwrap();
    service.settle().await;
    service.push("base").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(freshmaker_web::serve(listener, service.router.clone(), std::future::pending()));
    (service, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_as_the_openapi_text_says() {
    let (_service, address) = serve().await;
    let url = format!("http://{address}/api/3/openapi.json");
    answers_are_as_described(&url, &[], &["--exclude-path", "/api/3/stream"]).await;
}

/// What is asked and decided through the client is what the service has.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_generated_from_the_openapi_text_works() {
    let (service, address) = serve().await;
    let Some(told) = found_by_client("openapi_client.py", &format!("http://{address}")).await else { return };
    let ids = |rows: &Value| -> Vec<i64> {
        rows["items"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect()
    };
    let events = service.get("/api/3/events").await.json();
    assert_eq!(told["events"], json!(ids(&events)), "page by page");
    let builds = service.get("/api/3/builds?state=DONE").await.json();
    assert_eq!(told["builds"], json!(ids(&builds)), "with a filter");
    assert_eq!(told["report"], json!([events["items"][0]["id"]]), "{told}");
    assert_eq!((&told["unknown"], &told["invalid"]), (&json!("not_found"), &json!("/reason")), "problems are typed");
    let sent = told["sent"].as_str().unwrap().replace('/', "%2F");
    let sent = service.get(&format!("/api/3/messages/local/{sent}")).await.json();
    assert_eq!((&sent["topic"], &sent["state"]), (&json!("image.pushed"), &json!("new")), "{sent}");
    let pauses = service.get("/api/3/pauses").await.json();
    assert_eq!((&pauses["items"][0]["system"], &told["paused"]), (&json!("builder"), &json!(["builder"])));
}

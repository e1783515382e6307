//! Programs of others, which know the API by its OpenAPI text alone.
//!
//! `schemathesis` sends what the text allows and what it forbids, and compares every answer with
//! the text: no error of the server, no answer that the text does not have, nothing taken that it
//! forbids. The text cannot say all that makes a request wrong, such as a state that does not fit,
//! so it may be refused although the text allows it. `FRESHMAKER_SCHEMATHESIS_EXAMPLES=300` makes
//! it try longer.

use super::support::Service;
use freshmaker_testing::world::message;
use freshmaker_web::Quota;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Stdio;
use test_support::{peer, python};
use tokio::net::TcpListener;
use tokio::process::Command;

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
    let Some(python) = python().await else { return };
    let (_service, address) = serve().await;
    let examples = std::env::var("FRESHMAKER_SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| "15".into());
    let place = tempfile::tempdir().unwrap();
    // With one worker: the parser of Python 3.11, which it uses, can fail in two threads at once.
    let output = Command::new(python.with_file_name("st"))
        .current_dir(place.path())
        .args(["run", &format!("http://{address}/api/3/openapi.json"), "--seed", "1", "--workers", "1"])
        .args(["--max-examples", &examples, "--exclude-path", "/api/3/stream", "--continue-on-failure"])
        .args(["--generation-database", "none", "--no-color"])
        .args(["--exclude-checks", "positive_data_acceptance"])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What is asked and decided through the client is what the service has.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_generated_from_the_openapi_text_works() {
    let Some(python) = python().await else { return };
    let (service, address) = serve().await;
    let place = tempfile::tempdir().unwrap();
    let output = Command::new(python)
        .arg(peer("openapi_client.py"))
        .args([place.path().as_os_str(), format!("http://{address}").as_ref()])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
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

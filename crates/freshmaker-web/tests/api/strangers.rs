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
use std::net::SocketAddr;
use std::process::Stdio;
use test_support::python;
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
    let output = Command::new(python.with_file_name("st"))
        .current_dir(place.path())
        .args(["run", &format!("http://{address}/api/3/openapi.json"), "--seed", "1", "--workers", "2"])
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

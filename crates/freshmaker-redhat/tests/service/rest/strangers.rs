//! Programs of others, which know the interface by its OpenAPI text alone.

use super::images::catalog;
use super::{api, get, open, rebuild, skip_async};
use freshmaker::Engine;
use freshmaker::artifact::ArtifactId;
use freshmaker_redhat::fakes::pyxis::FakePyxis;
use freshmaker_testing::world::World;
use freshmaker_web::Quota;
use freshmaker_web::axum::Router;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use test_support::{answers_are_as_described, found_by_client};
use tokio::net::TcpListener;

/// A service over sockets with an engine. Builds of `app` do not end.
struct Live {
    url: String,
    router: Router,
    _catalog: FakePyxis,
}

async fn serve() -> Live {
    let (world, (fake, pyxis)) = (World::new(), catalog().await);
    world.builds.hold(&ArtifactId::new("app"));
    let engine: Arc<Engine> = Arc::new(world.builder().on(rebuild).on(skip_async).build().unwrap());
    let mut config = open();
    config.limits.requests = Quota { per_minute: 1_000_000, burst: 1_000_000 };
    let api = api(&world, engine.client(), config).images(pyxis.clone()).repositories(pyxis);
    let router = api.wait(Duration::from_secs(2)).router();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = router.clone();
    tokio::spawn(async move {
        freshmaker_web::serve_with_engine(&engine, listener, served, std::future::pending()).await.unwrap();
    });
    Live { url, router, _catalog: fake }
}

/// A request for builds is answered with an event, whose number is not that of a build: the check
/// that what was made at `builds/` is found below `builds/` does not fit.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_as_the_openapi_text_says() {
    let live = serve().await;
    for version in ["1", "2"] {
        answers_are_as_described(
            &format!("{}/api/{version}/openapi.json", live.url),
            &["ensure_resource_availability"],
            &[],
        )
        .await;
    }
}

/// What is asked and decided through the client is what the service has.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_generated_from_the_openapi_text_works() {
    let live = serve().await;
    let Some(told) = found_by_client("freshmaker_client.py", &live.url).await else { return };
    let event = get(&live.router, "/api/2/events/1").await.json();
    assert_eq!(told["posted"], json!([1, "BUILDING", "7"]));
    assert_eq!((&told["listed"], &told["total"]), (&json!([1]), &json!(1)));
    assert!(told["summary"]["total"].as_u64() > Some(0), "{told}");
    let builds = get(&live.router, "/api/1/builds/?event_id=1&order_by=id").await.json();
    let builds: Vec<_> = builds["items"].as_array().unwrap().iter().map(|build| build["name"].clone()).collect();
    let shown: Vec<_> = told["builds"].as_array().unwrap().iter().map(|build| build[0].clone()).collect();
    assert_eq!(shown, builds);
    assert_eq!((&told["canceled"], &event["state_name"]), (&json!("CANCELED"), &json!("CANCELED")), "{told}");
    assert_eq!(told["again"], "Event 1 is CANCELED and cannot be canceled.");
    assert_eq!(told["unknown"], json!([404, "No such event found."]));
}

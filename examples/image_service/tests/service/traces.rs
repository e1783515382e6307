//! Where traces are sent: a collector that wants a header, as people configure it.

use crate::support::{Builder, World};
use freshmaker_testing::http::{Reply, Request, Server};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// A collector that lets those in who have the right header, and the names of the spans it has
/// taken.
async fn collector() -> (Server, Arc<Mutex<Vec<String>>>) {
    let taken = Arc::<Mutex<Vec<String>>>::default();
    let behind = taken.clone();
    let server = Server::start(move |request: Request| {
        let is_known = request.header("authorization") == Some("Bearer hush-hush") && request.path == "/v1/traces";
        if is_known {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let spans = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
            let names = spans.as_array().unwrap().iter().map(|span| span["name"].as_str().unwrap().to_owned());
            behind.lock().unwrap().extend(names);
        }
        async move { Reply::new(if is_known { 200 } else { 401 }).with_body(json!({}).to_string()) }
    });
    (server.await.unwrap(), taken)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_sent_to_a_collector() {
    let world = World::fake().await;
    world.push("base:1", &["base one"]).await;
    world.recipe("app", "FROM @/base:1\n");
    let (server, taken) = collector().await;
    let section = format!("[otel]\nendpoint = \"{}\"\nheaders_file = \"headers\"\n", server.url());

    world.configure(&Builder::Test, "", &section);
    let (status, out, _) = world.run(&["check-config"]);
    assert!(status == 1 && out.contains("FAILED  otel: ") && out.contains("headers: No such file"), "{out}");
    world.file("headers", "authorization: Bearer hush\n");
    assert!(world.good(&["check-config"]).contains("ok      otel: "), "nothing is asked");
    let (status, out, _) = world.run(&["check-config", "--online"]);
    assert!(status == 1 && out.contains("FAILED  collector of traces: ") && out.contains("status 401"), "{out}");
    world.file("headers", "# of this service\nauthorization: Bearer hush-hush\n");
    let out = world.good(&["check-config", "--online"]);
    assert!(out.contains("ok      collector of traces: takes spans"), "{out}");
    assert!(taken.lock().unwrap().is_empty(), "a check sends no spans");

    world.serve();
    world.settled().await;
    world.push("base:1", &["base two"]).await;
    world.until("exported", |_| taken.lock().unwrap().iter().any(|name| name.starts_with("BUILD "))).await;
    assert!(!world.log().contains("hush"), "{}", world.log());
    world.kill();

    world.configure(&Builder::Test, "", "[otel]\nendpoint = \"collector:4318\"\n");
    let (status, out, _) = world.run(&["check-config"]);
    assert!(status == 1 && out.contains("FAILED  otel: ") && out.contains("this is not an HTTP URL"), "{out}");
}

//! How long pages take, beside the JSON with the same answers: `cargo bench -p freshmaker-web
//! --features page`. Everything is in memory and on one thread, so wall time is CPU time.

use freshmaker::handler::{ImagePushed, rebuild_dependents};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
use freshmaker_testing::world::{World, until};
use freshmaker_web::axum::Router;
use freshmaker_web::axum::body::Body;
use freshmaker_web::axum::extract::ConnectInfo;
use freshmaker_web::axum::http::Request;
use freshmaker_web::{Config, PageConfig};
use http_body_util::BodyExt;
use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tower::ServiceExt;

/// The best of so many runs counts.
const RUNS: usize = 10;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A service with one event of so many builds, which wait for a paused build system.
async fn service(builds: usize) -> Result<(Router, World)> {
    let world = World::new();
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    let name = |number: usize| format!("registry.example.org/team-{}/service-{number}:1.2", number % 7);
    for number in 0..builds {
        graph.insert(Artifact::new(name(number), ArtifactKind::Image).with_source("x", None));
        let parent = if number < 20 { "base".to_owned() } else { name(number % 20) };
        graph.depend(name(number).as_str(), parent.as_str(), EdgeKind::ParentImage)?;
    }
    world.catalog.set(graph);
    let engine = world.builder().on(rebuild_dependents).build()?;
    let client = engine.client();
    client.pause("builder", "a benchmark", "nobody").await?;
    client.send(&ImagePushed { image: "base".into(), digest: None }).await?;
    let handled = until(async || client.overview().await.is_ok_and(|overview| overview.messages_waiting == 0));
    engine.run_until(handled).await?;
    let mut config = Config::loopback();
    (config.clock, config.page) = (world.clock.clone(), Some(PageConfig::default()));
    Ok((freshmaker_web::router(client, config), world))
}

async fn get(router: &Router, path: &str) -> Result<usize> {
    let mut request = Request::get(path).header("accept", "text/html").body(Body::empty())?;
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
    let response = router.clone().oneshot(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if status != 200 {
        return Err(format!("{path}: {status} {}", String::from_utf8_lossy(&body)).into());
    }
    Ok(body.len())
}

/// The best time in which all of these were answered, and how many bytes they had.
async fn best(router: &Router, paths: &[String]) -> Result<(Duration, usize)> {
    let (mut best, mut bytes) = (Duration::MAX, 0);
    for _ in 0..RUNS {
        // What is kept for a moment is read again, and rates are not what is measured.
        tokio::time::advance(Duration::from_secs(60)).await;
        let began = Instant::now();
        bytes = 0;
        for path in paths {
            bytes += get(router, path).await?;
        }
        best = best.min(began.elapsed());
    }
    Ok((best, bytes))
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<()> {
    for builds in [399, 20_000] {
        let (router, _world) = service(builds).await?;
        let mut json = vec!["/api/3/events/1".to_owned(), "/api/3/events/1/plan".to_owned()];
        if builds < 400 {
            json.extend(["limit=200", "limit=200&state=READY"].map(|query| format!("/api/3/builds?event=1&{query}")));
        }
        let (page, page_bytes) = best(&router, &["/events/1".to_owned()]).await?;
        let (plain, json_bytes) = best(&router, &json).await?;
        let ratio = page.as_secs_f64() / plain.as_secs_f64();
        println!(
            "{builds} builds: page {page:.1?}, {page_bytes} bytes; JSON {plain:.1?}, {json_bytes} bytes; ratio {ratio:.2}"
        );
        for path in ["/", "/builds", "/queue", "/events/1/graph"] {
            let (time, bytes) = best(&router, &[path.to_owned()]).await?;
            println!("  {path}: {time:.1?}, {bytes} bytes");
        }
    }
    Ok(())
}

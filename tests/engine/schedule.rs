//! Which builds the engine starts first.

use crate::each;
use async_trait::async_trait;
use freshmaker::backend::{BuildRequest, BuildSystem, Capabilities, Found, Result};
use freshmaker::handler::HandlerResult;
use freshmaker::memory::MemoryBuildSystem;
use freshmaker::rebuild::{ExternalId, Observed, Output, SessionId};
use freshmaker::time::Timestamp;
use freshmaker::{Artifact, ArtifactKind, Context, Decision, EdgeKind, Event, Severity};
use freshmaker_testing::world::{Pushed, World, until};
use serde::{Deserialize, Serialize};
use std::future::{pending, ready};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// As pushed, but it cannot wait.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Urgent {
    image: String,
}

impl Event for Urgent {
    const KIND: &'static str = "test.urgent";

    fn severity(&self) -> Severity {
        Severity::Critical
    }
}

async fn plan(image: &str, cx: &Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[image.into()]).await?;
    Ok(Decision::Rebuild(graph.planner().changed(image, None).plan()?))
}

async fn pushed(event: Pushed, cx: Context) -> HandlerResult {
    plan(&event.image, &cx).await
}

async fn urgent(event: Urgent, cx: Context) -> HandlerResult {
    plan(&event.image, &cx).await
}

/// Beside what every world has: `large` with so many children, and `small` with two.
fn with_children(world: &World, many: usize) {
    world.catalog.update(|graph| {
        let children = (0..many).map(|number| (format!("many{number:04}"), "large"));
        for (child, parent) in children.chain(["few1", "few2"].map(|child| (child.to_owned(), "small"))) {
            graph.insert(Artifact::new(parent, ArtifactKind::Image));
            graph.insert(Artifact::new(child.as_str(), ArtifactKind::Image).with_source("images", None));
            graph.depend(child, parent, EdgeKind::ParentImage).unwrap();
        }
    });
}

fn made(name: &str) -> Observed {
    Observed::Succeeded(Output { name: name.into(), digest: None, contents: None })
}

#[tokio::test(start_paused = true)]
async fn a_small_event_overtakes_a_large_one() {
    for (critical, expected) in [
        (true, ["many0000", "few1", "few2", "many0001", "many0002"]),
        (false, ["many0000", "many0001", "few1", "many0002", "few2"]),
    ] {
        for world in each() {
            with_children(&world, 40);
            world.builds.hold(&"many0000".into());
            let engine = world.builder().on(pushed).on(urgent).limit("builder", 1).build().unwrap();
            let client = engine.client();
            client.send(&Pushed { image: "large".into() }).await.unwrap();
            let outside = async {
                until(|| ready(world.submitted() == ["many0000"])).await;
                if critical {
                    client.send_as("small", &Urgent { image: "small".into() }).await.unwrap();
                } else {
                    client.send_as("small", &Pushed { image: "small".into() }).await.unwrap();
                }
                until(async || client.overview().await.unwrap().builds_waiting == 41).await;
                world.builds.finish(&"many0000".into(), made("many0000"));
                client.wait_until_idle().await;
            };
            engine.run_until(outside).await.unwrap();
            let submitted = world.submitted();
            let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
            assert_eq!(submitted.len(), 42);
            assert_eq!(submitted[..5], expected, "critical: {critical}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_line_goes_on_from_what_waits() {
    for world in each() {
        with_children(&world, 40);
        world.catalog.update(|graph| {
            graph.insert(Artifact::new("site2", ArtifactKind::Image).with_source("images", None));
            graph.depend("site2", "app", EdgeKind::ParentImage).unwrap();
        });
        ["app", "many0010", "site"].iter().for_each(|name| world.builds.hold(&(*name).into()));
        let engine = world.builder().on(pushed).limit("builder", 2).build().unwrap();
        let client = engine.client();
        let last = |name: &'static str| {
            let submitted = || world.submitted();
            until(move || ready(submitted().last().is_some_and(|last| last == name)))
        };
        let outside = async {
            client.send_as("first", &Pushed { image: "base".into() }).await.unwrap();
            last("app").await;
            client.send_as("second", &Pushed { image: "large".into() }).await.unwrap();
            last("many0010").await;
            world.builds.finish(&"app".into(), made("app"));
            last("site").await;
            // Now a build waits that stands far before what has been started.
            client.send_as("third", &Pushed { image: "small".into() }).await.unwrap();
            until(async || client.overview().await.unwrap().builds_waiting == 29 + 3).await;
            ["many0010", "site"].iter().for_each(|name| world.builds.finish(&(*name).into(), made(name)));
            client.wait_until_idle().await;
        };
        engine.run_until(outside).await.unwrap();
        let submitted = world.submitted();
        let site = submitted.iter().position(|name| name == "site").unwrap();
        assert_eq!(submitted[site + 1..][..4], ["site2", "few1", "few2", "many0011"].map(str::to_owned));
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_knows_how_long_builds_took() {
    for world in each() {
        let estimates = Arc::new(Mutex::new(Vec::new()));
        let known = estimates.clone();
        let handler = move |event: Pushed, cx: Context| {
            let known = known.clone();
            async move {
                let app = Artifact::new("app", ArtifactKind::Image);
                let estimate = cx.estimates().await?.of(&app);
                known.lock().unwrap().push(estimate);
                plan(&event.image, &cx).await
            }
        };
        let engine = world.builder().on_as("handler", handler).build().unwrap();
        for _ in 0..2 {
            engine.client().send(&Pushed { image: "base".into() }).await.unwrap();
            world.settle(&engine).await;
        }
        let estimates = estimates.lock().unwrap().clone();
        assert_eq!(estimates[0], Duration::from_secs(600), "nothing was built yet");
        assert!(estimates[1] < Duration::from_secs(600), "it took {:?}", estimates[1]);
    }
}

/// Takes one submission at a time, and knows how many came at once.
#[derive(Debug, Default)]
struct Desk {
    builds: MemoryBuildSystem,
    open: AtomicU32,
    most: AtomicU32,
}

#[async_trait]
impl BuildSystem for Desk {
    fn capabilities(&self) -> Capabilities {
        Capabilities { submissions: NonZeroU32::new(3), ..self.builds.capabilities() }
    }

    async fn session(&self) -> Result<Option<SessionId>> {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(open, Ordering::SeqCst);
        Ok(None)
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        let _ = tokio::time::timeout(Duration::from_millis(2), pending::<()>()).await;
        self.open.fetch_sub(1, Ordering::SeqCst);
        self.builds.submit(request).await
    }

    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>> {
        self.builds.find(request, since).await
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        self.builds.status(ids).await
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        self.builds.cancel(id).await
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_submit_at_once_than_the_system_says() {
    let world = World::new();
    with_children(&world, 30);
    world.catalog.update(|graph| {
        let children: Vec<_> = graph.artifacts().filter(|it| it.id.as_str().starts_with("many")).cloned().collect();
        for mut child in children {
            child.system = Some("desk".to_owned());
            graph.insert(child);
        }
    });
    let desk = Arc::new(Desk::default());
    let engine = world.builder().build_system("desk", desk.clone()).limit("desk", 20).on(pushed).build().unwrap();
    engine.client().send(&Pushed { image: "large".into() }).await.unwrap();
    world.settle(&engine).await;
    assert_eq!((desk.builds.requests().len(), desk.most.load(Ordering::SeqCst)), (30, 3));
}

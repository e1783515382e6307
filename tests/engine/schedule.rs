//! Which builds the engine starts first.

use crate::town::{Pushed, Town, until};
use freshmaker::handler::HandlerResult;
use freshmaker::rebuild::{Observed, Output};
use freshmaker::{Artifact, ArtifactKind, Context, Decision, EdgeKind, Event, Severity};
use serde::{Deserialize, Serialize};
use std::future::ready;
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

/// Beside what every town has: `large` with so many children, and `small` with two.
fn with_children(town: &Town, many: usize) {
    town.catalog.update(|graph| {
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

#[tokio::test]
async fn a_small_event_overtakes_a_large_one() {
    for (critical, expected) in [
        (true, ["many0000", "few1", "few2", "many0001", "many0002"]),
        (false, ["many0000", "many0001", "few1", "many0002", "few2"]),
    ] {
        for town in Town::each() {
            with_children(&town, 40);
            town.builds.hold(&"many0000".into());
            let engine = town.builder().on(pushed).on(urgent).limit("builder", 1).build().unwrap();
            let handle = engine.handle();
            handle.send(&Pushed { image: "large".into() }).await.unwrap();
            let outside = async {
                until(|| ready(town.submitted() == ["many0000"])).await;
                if critical {
                    handle.send_as("small", &Urgent { image: "small".into() }).await.unwrap();
                } else {
                    handle.send_as("small", &Pushed { image: "small".into() }).await.unwrap();
                }
                until(async || handle.overview().await.unwrap().builds_waiting == 41).await;
                town.builds.finish(&"many0000".into(), made("many0000"));
                handle.idle().await;
            };
            engine.run_until(outside).await.unwrap();
            let submitted = town.submitted();
            let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
            assert_eq!(submitted.len(), 42);
            assert_eq!(submitted[..5], expected, "critical: {critical}");
        }
    }
}

#[tokio::test]
async fn the_line_goes_on_from_what_waits() {
    for town in Town::each() {
        with_children(&town, 40);
        town.catalog.update(|graph| {
            graph.insert(Artifact::new("site2", ArtifactKind::Image).with_source("images", None));
            graph.depend("site2", "app", EdgeKind::ParentImage).unwrap();
        });
        ["app", "many0010", "site"].iter().for_each(|name| town.builds.hold(&(*name).into()));
        let engine = town.builder().on(pushed).limit("builder", 2).build().unwrap();
        let handle = engine.handle();
        let last = |name: &'static str| {
            let submitted = || town.submitted();
            until(move || ready(submitted().last().is_some_and(|last| last == name)))
        };
        let outside = async {
            handle.send_as("first", &Pushed { image: "base".into() }).await.unwrap();
            last("app").await;
            handle.send_as("second", &Pushed { image: "large".into() }).await.unwrap();
            last("many0010").await;
            town.builds.finish(&"app".into(), made("app"));
            last("site").await;
            // Now a build waits that stands far before what has been started.
            handle.send_as("third", &Pushed { image: "small".into() }).await.unwrap();
            until(async || handle.overview().await.unwrap().builds_waiting == 29 + 3).await;
            ["many0010", "site"].iter().for_each(|name| town.builds.finish(&(*name).into(), made(name)));
            handle.idle().await;
        };
        engine.run_until(outside).await.unwrap();
        let submitted = town.submitted();
        let site = submitted.iter().position(|name| name == "site").unwrap();
        assert_eq!(submitted[site + 1..][..4], ["site2", "few1", "few2", "many0011"].map(str::to_owned));
    }
}

#[tokio::test]
async fn a_handler_knows_how_long_builds_took() {
    for town in Town::each() {
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
        let engine = town.builder().on_as("handler", handler).build().unwrap();
        for _ in 0..2 {
            engine.handle().send(&Pushed { image: "base".into() }).await.unwrap();
            town.settle(&engine).await;
        }
        let estimates = estimates.lock().unwrap().clone();
        assert_eq!(estimates[0], Duration::from_secs(600), "nothing was built yet");
        assert!(estimates[1] < Duration::from_secs(600), "it took {:?}", estimates[1]);
    }
}

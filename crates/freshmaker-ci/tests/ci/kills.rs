//! Engines that die at random moments, and services that lose answers: each build is started once.

use crate::support::{KINDS, Kind};
use freshmaker::backend::{BuildFilter, Paging, Storage};
use freshmaker::client::Client;
use freshmaker::handler::{ImagePushed, rebuild_dependents};
use freshmaker::memory::MemoryCatalog;
use freshmaker::rebuild::{BuildState, Limits};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine};
use freshmaker_ci::fakes::{FakeCi, Fault};
use freshmaker_sql::SqliteStorage;
use freshmaker_testing::http::Reply;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const IMAGES: u32 = 24;
const KILLS: u32 = 40;

/// A tree with two children for each image.
fn catalog() -> MemoryCatalog {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("image0", ArtifactKind::Image));
    for number in 1..=IMAGES {
        let name = format!("image{number}");
        graph.insert(Artifact::new(name.as_str(), ArtifactKind::Image).with_source("images", None));
        graph.depend(name.as_str(), format!("image{}", (number - 1) / 2), EdgeKind::ParentImage).unwrap();
    }
    MemoryCatalog::new(graph)
}

async fn engine(kind: Kind, service: &FakeCi, file: &Path) -> Engine {
    let storage = SqliteStorage::open(file).unwrap();
    storage.upkeep().migrate().await.unwrap();
    let mut limits = Limits::default();
    (limits.backoff_first, limits.backoff_max) = (Duration::from_millis(10), Duration::from_millis(100));
    Engine::builder()
        .limits(limits)
        .storage(Arc::new(storage))
        .catalog("images", Arc::new(catalog()))
        .build_system("ci", kind.client(service))
        .on(rebuild_dependents)
        .build()
        .unwrap()
}

fn trouble(kind: Kind, service: &FakeCi, rng: &mut fastrand::Rng) {
    match rng.u32(0..4) {
        0 => service.disturb(kind.start(), Fault::Lost),
        1 => service.disturb(kind.start(), Fault::Instead(Reply::new(502))),
        2 => service.disturb("GET", Fault::Instead(Reply::new(200).with_body("<html>"))),
        _ => {}
    }
}

async fn push(client: &Client) {
    client.send(&ImagePushed { image: "image0".to_owned(), digest: None }).await.unwrap();
}

#[tokio::test]
async fn every_build_is_started_once() {
    for kind in KINDS {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state.sqlite");
        let service = kind.service().await;
        let mut rng = fastrand::Rng::with_seed(7);
        push(&engine(kind, &service, &file).await.client()).await;
        for _ in 0..KILLS {
            trouble(kind, &service, &mut rng);
            let engine = engine(kind, &service, &file).await;
            let life = Duration::from_millis(rng.u64(1..120));
            // The future is dropped in the middle of whatever it does.
            let _ = tokio::time::timeout(life, engine.run_until(std::future::pending())).await;
        }
        let last = engine(kind, &service, &file).await;
        let client = last.client();
        let run = last.run_until(client.wait_until_idle());
        if tokio::time::timeout(Duration::from_secs(60), run).await.is_err() {
            let stuck = client.stuck(Duration::ZERO).await.unwrap();
            let builds = client.builds(BuildFilter::default(), Paging::first(100)).await.unwrap().items;
            panic!("{kind:?} does not end: {stuck:#?} {builds:#?}");
        }
        assert_eq!(client.check_consistency().await.unwrap(), []);
        let builds = client.builds(BuildFilter::default(), Paging::first(100)).await.unwrap().items;
        assert!(builds.iter().all(|build| build.state == BuildState::Done), "{kind:?}: {builds:#?}");
        let started = service.started();
        let artifacts: BTreeSet<_> = started.iter().map(|(_, artifact)| artifact).collect();
        assert_eq!(artifacts.len(), IMAGES as usize, "{kind:?}: all are built");
        assert_eq!(started.len(), IMAGES as usize, "{kind:?}: none is started twice: {started:?}");
    }
}

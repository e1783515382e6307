//! How many requests there are, and what they say.

use crate::world::{REGISTRY, World, app, bare, client, nvrs, texts};
use freshmaker_redhat::contracts::Images;
use freshmaker_redhat::fakes::lightblue::FakeRepository;
use freshmaker_testing::http::{Reply, Server};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Barrier;

/// The number of queries grows with the repositories, not with images and tags.
#[tokio::test]
async fn repositories_are_asked_about_together() {
    for (repositories, queries) in [(1, 1), (100, 1), (101, 2), (250, 3)] {
        let world = World::new().await;
        for n in 0..repositories {
            let name = format!("repository-{n:03}");
            world.service.add_repository(FakeRepository::new(REGISTRY, &name).with_tags(["latest", &name]));
            for release in [1, 2] {
                let build = format!("app-{n:03}-1-{release}");
                world.service.add_image(bare(&build).published_in(REGISTRY, &name, ["latest", &name]));
            }
        }
        let found = world.containing_bash().await.unwrap();
        assert_eq!(found.len(), repositories * 2);
        assert_eq!(world.asked(), (1, queries), "{repositories}");
    }
}

/// An image in many repositories is in the answers of several queries, and is one image.
#[tokio::test]
async fn an_image_in_many_answers_is_one() {
    let world = World::new().await;
    let mut image = bare("app-1-1");
    for n in 0..150 {
        let name = format!("repository-{n:03}");
        world.service.add_repository(FakeRepository::new(REGISTRY, &name));
        image = image.published_in(REGISTRY, &name, ["latest"]);
    }
    world.service.add_image(image);
    assert_eq!(nvrs(&world.containing_bash().await.unwrap()), ["app-1-1"]);
    assert_eq!(world.asked(), (1, 2));
}

#[tokio::test]
async fn builds_and_releases_are_asked_about_together() {
    let world = World::small().await;
    let builds: Vec<_> = (0..250).map(|n| format!("app-container-{n}-1")).collect();
    builds.iter().for_each(|build| world.service.add_image(app(build)));
    let nvrs = builds.iter().map(|build| build.parse().unwrap()).collect();
    assert_eq!(world.lightblue.images(&nvrs, &texts(["bash"])).await.unwrap().len(), 250);
    // One question about the repository that all of them are in.
    assert_eq!(world.asked(), (1, 3));
    let releases = (0..120).map(|n| ("app-container".to_owned(), n.to_string())).collect();
    assert_eq!(world.lightblue.offered(&releases, &texts(["bash"])).await.unwrap().len(), 120);
    assert_eq!(world.asked(), (2, 6));
}

#[tokio::test]
async fn answers_are_read_page_by_page() {
    for (images, pages) in [(0, 1), (2, 1), (3, 1), (4, 2), (6, 2), (7, 3)] {
        let world = World::with(|config| config.page = 3).await;
        world.service.add_repository(FakeRepository::new(REGISTRY, "app"));
        for n in 0..images {
            world.service.add_image(app(&format!("app-{n}-1")));
        }
        assert_eq!(world.containing_bash().await.unwrap().len(), images);
        assert_eq!(world.asked(), (1, pages), "{images}");
        let asked = world.service.asked();
        let ranges: Vec<_> = asked[1..].iter().map(|(_, body)| (body["from"].clone(), body["to"].clone())).collect();
        let expected: Vec<(Value, Value)> = (0..pages).map(|page| (json!(page * 3), json!(page * 3 + 2))).collect();
        assert_eq!(ranges, expected);
    }
}

#[tokio::test]
async fn versions_are_in_the_path() {
    let world = World::with(|config| {
        config.repository_version = "0.0.7".to_owned();
        config.image_version = "0.0.11".to_owned();
    })
    .await;
    world.service.add_repository(FakeRepository::new(REGISTRY, "app"));
    world.containing_bash().await.unwrap();
    let paths: Vec<_> = world.service.asked().into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["/rest/data/find/containerRepository/0.0.7", "/rest/data/find/containerImage/0.0.11"]);
}

#[tokio::test]
async fn names_are_escaped_in_regular_expressions() {
    let world = World::new().await;
    let releases = [("c++-container".to_owned(), "1.2^3~rc".to_owned())].into();
    world.lightblue.offered(&releases, &texts(["bash"])).await.unwrap();
    let query = &world.service.asked()[0].1["query"];
    assert_eq!(
        *query,
        json!({ "$and": [
            { "field": "brew.package", "op": "$in", "values": ["c++-container"] },
            { "field": "repositories.*.published", "op": "$eq", "rvalue": true },
            { "$or": [{ "field": "brew.build", "regex": r"^c\+\+\-container-1\.2\^3\~rc-" }] },
        ] })
    );
}

/// Four queries run at the same time, and never five: each waits for three others.
#[tokio::test]
async fn as_many_queries_run_at_the_same_time_as_are_allowed() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (barrier, seen) = (Arc::new(Barrier::new(4)), Arc::clone(&most));
    let server = Server::start(move |_| {
        let (running, most, barrier) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&barrier));
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            barrier.wait().await;
            running.fetch_sub(1, Ordering::SeqCst);
            Reply::new(200).with_body(r#"{"status": "COMPLETE", "matchCount": 0, "processed": []}"#)
        }
    });
    let server = server.await.unwrap();
    let lightblue = client(&server.url(), |config| config.parallel = 4);
    let builds = (0..800).map(|n| format!("app-{n}-1").parse().unwrap()).collect();
    assert_eq!(lightblue.images(&builds, &texts(["bash"])).await.unwrap(), []);
    assert_eq!(seen.load(Ordering::SeqCst), 4);
}

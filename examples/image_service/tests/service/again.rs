//! What is built again after something was in its way.

use crate::support::{Builder, World, has, is_idle, standing};
use freshmaker::artifact::Digest;
use serde_json::Value;
use std::fs;

/// Returns the number of the latest event of this kind.
fn latest(world: &World, kind: &str) -> String {
    let events: Value = serde_json::from_str(&world.good(&["show", "--json"])).unwrap();
    let mut events = events.as_array().unwrap().iter();
    let event = events.find(|event| event["envelope"]["kind"] == kind);
    event.unwrap_or_else(|| panic!("no event is of the kind {kind}"))["id"].to_string()
}

/// What was built well stands in no way of what is built on it.
#[tokio::test(flavor = "multi_thread")]
async fn what_failed_of_a_base_is_built_by_a_retry() {
    let world = World::fake().await;
    world.push("base:1", &["base one"]).await;
    world.recipe("app", "FROM @/base:1\n");
    world.recipe("site", "FROM @/app\n");
    let flag = world.directory.path().join("broken");
    let test = format!("case $FRESHMAKER_IMAGE in */site*) test ! -e {};; esac", flag.display());
    world.configure(&Builder::Test, &format!("test = [\"/bin/sh\", \"-c\", \"{test}\"]"), "");
    world.serve();
    world.settled().await;
    fs::write(&flag, "").unwrap();
    world.push("base:1", &["base two"]).await;
    let failed = world.until("failed", |status| is_idle(status) && status["overview"]["builds_failed"] == 1).await;
    assert_eq!((standing(&failed, "app"), standing(&failed, "site")), ("fresh", "stale"));
    has(&world.run(&["status"]).1, "FAILED");
    fs::remove_file(&flag).unwrap();
    let event = latest(&world, "image.pushed");
    world.good(&["retry", &event]);
    world.settled().await;
    assert_eq!(world.builds_of("app"), 2, "{:?}", world.ledger());
    let (status, _, error) = world.run(&["retry", &event]);
    assert_eq!(status, 1);
    has(&error, "that was done before, and has no effect a second time: see event ");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_during_a_hold_is_built_at_its_end() {
    let world = World::one("", "").await;
    world.serve();
    world.settled().await;
    world.good(&["hold", "app"]);
    world.push("base:1", &["base two"]).await;
    world.until("stale", |status| is_idle(status) && standing(status, "app") == "stale").await;
    let skipped = || world.good(&["show"]).contains("SKIPPED image.pushed");
    world.until("left out", |_| skipped()).await;
    world.good(&["release", "app"]);
    world.settled().await;
    assert_eq!(world.layers("app").await[0], Digest::of(b"base two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_does_nothing_is_seen() {
    let world = World::fake().await;
    world.configure(&Builder::Test, "", "");
    let (status, out, _) = world.run(&["check-config"]);
    assert_eq!(status, 1);
    has(&out, "it has no images, so nothing would be kept fresh");
    world.recipe("app", "FROM @/base:1\n");
    world.push("base:1", &["base one"]).await;
    world.serve();
    let settled = world.settled().await;
    assert_eq!(settled["is_served"], true);
    world.file("freshmaker.toml", "");
    world.logged("the tree has no images").await;
    let (status, out, _) = world.run(&["status"]);
    assert_eq!(status, 1);
    has(&out, "the tree has no images");
}

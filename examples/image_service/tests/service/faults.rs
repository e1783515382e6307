//! What the service does when something goes wrong.

use crate::support::{World, has, is_idle, standing};
use freshmaker::artifact::Digest;
use freshmaker::backend::Remedy;
use freshmaker_testing::http::Reply;

/// Waits until a build has failed for good, and returns why.
async fn failed(world: &World) -> String {
    world.until("failed", |status| is_idle(status) && status["overview"]["builds_failed"] != 0).await;
    world.good(&["show"]) + &world.good(&["why", "app"]) + &world.run(&["logs", "app"]).1
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_untested_gets_the_tag() {
    let world = World::one("test = [\"./test.sh\"]", "").await;
    world.file("app/test.sh", "#!/bin/sh\necho \"tests $FRESHMAKER_IMAGE\"\ngrep -q good file\n");
    let script = world.tree().join("app/test.sh");
    std::fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    world.serve();
    has(&failed(&world).await, "test failed: exit status: 1");
    assert_eq!(world.client().head(&world.image("app")).await.unwrap_err().remedy, Remedy::NotFound);
    has(&world.run(&["logs", "app"]).1, &format!("tests {}/app@sha256:", world.host()));
    world.file("app/file", "good");
    world.settled().await;
    let good = world.head("app").await;
    world.file("app/file", "bad");
    world.until("failed again", |status| is_idle(status) && status["overview"]["builds_failed"] == 2).await;
    assert_eq!(world.head("app").await, good);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_unsigned_gets_the_tag() {
    let world = World::one("sign = [\"false\"]\nattest = [\"true\"]", "").await;
    world.serve();
    has(&failed(&world).await, "sign failed");
    assert_eq!(world.client().head(&world.image("app")).await.unwrap_err().remedy, Remedy::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_is_not_believed() {
    for (file, wanted) in [
        ("fails", "build failed: exit status: 101"),
        ("lies", "status 404"),
        ("ignores-its-base", "does not begin with the layers of"),
    ] {
        let world = World::one("", "").await;
        world.file(&format!("app/{file}"), "");
        world.serve();
        has(&failed(&world).await, wanted);
        assert_eq!(world.client().head(&world.image("app")).await.unwrap_err().remedy, Remedy::NotFound);
        world.remove(&format!("app/{file}"));
        world.settled().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_fails_is_asked_again() {
    let world = World::one("", "").await;
    let registry = world.fake_registry();
    registry.always("/v2/", Reply::new(503));
    world.serve();
    world.until("unknown", |status| standing(status, "app") == "error").await;
    world.fake_registry().recover();
    world.settled().await;
    // Too many requests, and an answer that never ends.
    world.fake_registry().next("HEAD /v2/base", Reply::new(429).with_header("retry-after", "1"));
    world.fake_registry().next("PUT /v2/app/manifests/latest", Reply::new(502));
    world.push("base:1", &["base two"]).await;
    world.settled().await;
    assert_eq!(world.layers("app").await[0], Digest::of(b"base two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_is_lost_is_made_again() {
    let world = World::one("", "[start]\ninterval = 1").await;
    world.serve();
    world.settled().await;
    let first = world.head("app").await;
    world.fake_registry().lose("app", "latest");
    world.settled().await;
    assert_eq!(world.head("app").await, first, "the same content has the same digest");
    assert_eq!(world.builds_of("app"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_names_other_content_is_found_out() {
    let world = World::one("tries = 2", "").await;
    world.fake_registry().always("PUT /v2/app/manifests/latest", Reply::new(201));
    world.serve();
    has(&failed(&world).await, "the tag names nothing after it was moved to");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_without_a_registry_are_refused() {
    let world = World::fake().await;
    world.recipe("app", "FROM @/base:1\n");
    world.file("image_service.toml", "");
    let (status, _, err) = world.run(&["serve"]);
    assert_eq!(status, 1);
    has(&err, "app:latest is in no registry");
    assert_eq!(world.run(&["check-config"]).0, 1);
    let (status, _, err) = world.run(&["init", "--registry", "r.example.org"]);
    assert_eq!(status, 1);
    has(&err, "is there already");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_for_a_new_configuration_contradict_no_other() {
    let world = World::one("", "").await;
    let host = world.host();
    let file = world.tree().join("image_service.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("plain_http = true", "plain_http = false")).unwrap();
    for (options, wanted) in [
        (vec!["serve", "--registry", "r.example.org"], "names images otherwise than --registry says"),
        (vec!["serve", "--registry", host.as_str(), "--plain-http"], "plain_http = true"),
    ] {
        let (status, _, error) = world.run(&options);
        assert_eq!(status, 1);
        has(&error, wanted);
    }
}

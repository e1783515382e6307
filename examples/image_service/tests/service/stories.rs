//! What the service does when all goes well.

use crate::support::{Builder, World, all, has, is_idle, standing};
use freshmaker::artifact::Digest;
use freshmaker_oci::fakes::{FakeImage, push_to, tar};
use serde_json::Value;

/// A base, three layers of images on it, and a second parent that one of them copies from.
async fn chain() -> World {
    let world = World::fake().await;
    world.push("base:1", &["base one"]).await;
    world.push("tools:1", &["tool", "one"]).await;
    world.recipe("low", "FROM @/base:1\n");
    world.recipe("middle", "FROM @/tools:1 AS tools\nFROM @/low\nCOPY --from=tools /t /t\n");
    world.recipe("top", "FROM middle\nCOPY --from=@/tools:1 /t /t\n");
    world.configure(&Builder::Test, "", "");
    world
}

fn layers(contents: &[&str]) -> Vec<Digest> {
    contents.iter().map(|content| Digest::of(content.as_bytes())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_built_and_what_changes_is_followed() {
    let world = chain().await;
    assert_eq!(world.run(&["status"]).0, 1, "no service has run here");
    world.serve();
    world.settled().await;
    let top = ["base one", "the file of low", "tool", "the file of middle", "tool", "the file of top"];
    assert_eq!(world.layers("top").await, layers(&top));
    let first = world.head("top").await;

    // Twice in a row: at most two builds of each image follow, and the last content counts.
    world.push("base:1", &["base two"]).await;
    world.push("base:1", &["base three"]).await;
    world.settled().await;
    assert_eq!(world.layers("top").await[0], Digest::of(b"base three"));
    assert_ne!(world.head("top").await, first);
    assert!((2..=3).contains(&world.builds_of("low")), "{:?}", world.ledger());

    // A change while nobody looks, and one of the tree.
    world.kill();
    world.push("base:1", &["base four"]).await;
    world.file("top/file", "another file");
    world.serve();
    world.settled().await;
    let found = world.layers("top").await;
    assert_eq!((&found[0], found.last()), (&Digest::of(b"base four"), Some(&Digest::of(b"another file"))));
    let why = world.good(&["why", "top"]);
    has(&why, "top:latest is fresh");
    has(&why, "rebuilt because");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_out_the_same_ends_the_wave_and_is_proved() {
    let world = chain().await;
    world.serve();
    world.settled().await;
    let [middle, top] = [world.head("middle").await, world.head("top").await];
    // The tool itself is the same, so the images that copy it are too.
    world.push("tools:1", &["tool", "two"]).await;
    let status = world.settled().await;
    assert_eq!([world.head("middle").await, world.head("top").await], [middle.clone(), top]);
    assert_eq!((world.builds_of("middle"), world.builds_of("top")), (2, 2), "both are directly affected");
    let why: Value = serde_json::from_str(&world.good(&["why", "middle", "--json"])).unwrap();
    assert_eq!(why["record"]["digest"], middle.as_str());
    assert!(why["record"]["parents"].to_string().contains(world.head("tools:1").await.as_str()));
    assert_eq!(status["overview"]["builds_failed"], 0);

    // What only follows is not built again: its parents have the contents that it was built on.
    world.recipe("low", "FROM @/base:1\n# a remark\n");
    let status = world.until("reused", |status| is_idle(status) && status["overview"]["builds_reused"] == 2).await;
    assert!(all(&status, "fresh"), "{status:#}");
    assert_eq!((world.builds_of("low"), world.builds_of("middle"), world.builds_of("top")), (2, 2, 2));
    assert!(world.good(&["why", "low"]).contains("rebuilt because"));
}

/// Pushes a base with two files, in layers of their own; `times` is written again and again.
async fn push_files(world: &World, times: usize, status: &str) {
    let mut image = FakeImage::default();
    image.layers.extend((0..times).map(|_| tar("etc/version", "1")));
    image.layers.push(tar("var/lib/dpkg/status", status));
    push_to(&world.image("base:1"), &image).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_stays_by_the_comparison_that_somebody_has_chosen() {
    let world = World::fake().await;
    let status = |note: &str| format!("Package: curl\nStatus: install ok installed\nVersion: 8\nNote: {note}\n");
    push_files(&world, 1, &status("one")).await;
    world.recipe("app", "FROM @/base:1\n");
    world.file("app/archive", "");
    world.recipe("top", "FROM app\n");
    world.file("top/archive", "");
    world.configure(&Builder::Test, "same = \"files\"", "");
    world.serve();
    world.settled().await;
    let first = world.head("app").await;
    push_files(&world, 2, &status("one")).await;
    world.until("rebuilt", |status| is_idle(status) && world.builds_of("app") == 2).await;
    let settled = world.settled().await;
    assert_eq!((world.head("app").await, world.builds_of("top")), (first.clone(), 1), "{settled:#}");
    has(&world.good(&["why", "app"]), "with the same files, modes and owners (sha256:");
    push_files(&world, 2, &status("two")).await;
    world.until("rebuilt", |status| is_idle(status) && world.builds_of("top") == 2).await;
    world.settled().await;
    let second = world.head("app").await;
    assert_ne!(second, first);

    world.configure(&Builder::Test, "same = \"packages\"", "");
    world.reload();
    world.until("read again", |_| world.log().contains("the configuration is read again")).await;
    push_files(&world, 2, &status("three")).await;
    world.until("rebuilt", |status| is_idle(status) && world.builds_of("app") == 4).await;
    world.settled().await;
    assert_eq!((world.head("app").await, world.builds_of("top")), (second.clone(), 2));
    has(&world.good(&["why", "app"]), "with the same packages (1 in all, sha256:");
    // A change of its own files counts, whatever the packages are; and so does another version.
    world.file("app/file", "another file");
    world.until("rebuilt", |status| is_idle(status) && world.builds_of("top") == 3).await;
    world.settled().await;
    assert_ne!(world.head("app").await, second);
    push_files(&world, 2, &status("three").replace(": 8", ": 9")).await;
    world.until("rebuilt", |status| is_idle(status) && world.builds_of("top") == 4).await;
    world.settled().await;
    has(&world.good(&["logs", "app"]), "the packages differ, as in curl");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_moves_back_and_nothing_follows() {
    let world = chain().await;
    world.serve();
    world.settled().await;
    let [low, middle] = [world.head("low").await, world.head("middle").await];
    world.push("base:1", &["base two"]).await;
    world.settled().await;
    let (status, _, err) = world.run(&["rollback", "base:7"]);
    assert_eq!(status, 1);
    has(&err, "the tree has no image");
    let out = world.good(&["rollback", &world.image("low").to_string()]);
    has(&out, "is held until");
    assert_eq!(world.head("low").await, low);
    // What was built on the bad one is built on the good one again.
    let others = |status: &Value| ["middle", "top"].iter().all(|name| standing(status, name) == "fresh");
    world.until("rebuilt on the good one", |status| is_idle(status) && others(status)).await;
    assert_eq!(world.layers("middle").await[0], Digest::of(b"base one"));
    assert_eq!(world.head("middle").await, middle, "it is what it was");
    // While it is held, a new base changes nothing but what does not stand on it.
    world.push("base:1", &["base three"]).await;
    world.until("seen", |status| is_idle(status) && world.log().contains("new content")).await;
    assert_eq!(world.head("low").await, low);
    has(&world.good(&["why", "low"]), "held by kim: rolled back from");
    world.good(&["release", &world.image("low").to_string()]);
    world.good(&["send", "low"]);
    world.settled().await;
    assert_eq!(world.layers("top").await[0], Digest::of(b"base three"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_does_what_it_says() {
    let world = chain().await;
    let (status, out, _) = world.run(&["check-config", "--online"]);
    assert_eq!(status, 0, "{out}");
    has(&out, "not there yet, so it will be built");
    has(&world.good(&["plan", &format!("{}/base:1", world.host())]), "top:latest");
    has(&world.good(&["plan", "low", "--format", "mermaid"]), "flowchart");
    assert!(serde_json::from_str::<Value>(&world.good(&["plan", "low", "--json"])).is_ok());
    world.serve();
    world.settled().await;
    let (status, _, err) = world.run(&["serve"]);
    assert_eq!(status, 1);
    has(&err, "another engine has this database");
    has(&world.good(&["status"]), "3 images: 3 fresh");
    has(&world.good(&["logs", "top"]), "published sha256:");
    has(&world.good(&["show"]), "rebuild.requested");
    has(&world.good(&["show", "1"]), " DONE ");
    world.good(&["pause", "maintenance"]);
    has(&world.good(&["status"]), "by kim: maintenance");
    world.good(&["send", "top", "--alone"]);
    let status = world.until("waiting", |status| status["overview"]["builds_waiting"] == 1).await;
    assert_eq!(status["pauses"][0]["reason"], "maintenance");
    let events: Value = serde_json::from_str(&world.good(&["show", "--json"])).unwrap();
    has(&world.good(&["cancel", &events[0]["id"].to_string()]), "cancel");
    world.until("cancelled", is_idle).await;
    world.good(&["resume"]);
    world.good(&["retry", &events[0]["id"].to_string(), "--all"]);
    world.until("built", |status| is_idle(status) && world.builds_of("top") == 2).await;
    has(&world.good(&["dead-letters"]), "no dead letters");
    has(&world.good(&["check-state"]), "what is stored is consistent");
    let copy = world.directory.path().join("copy.sqlite");
    world.good(&["backup", copy.to_str().unwrap()]);
    assert!(copy.is_file());
    assert_eq!(world.run(&["backup", copy.to_str().unwrap()]).0, 1, "it is there already");
    for shell in ["bash", "zsh", "fish"] {
        has(&world.good(&["completions", shell]), "dead-letters");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_read_again_without_a_restart() {
    let world = World::one("", "").await;
    world.serve();
    world.settled().await;
    // One that makes no sense is not used.
    world.file("image_service.toml", "[biuld]\n");
    world.reload();
    world.until("refused", |_| world.log().contains("the new configuration is not used")).await;
    let always = "[[freeze]]\nfrom = \"Mon 00:00\"\nto = \"Mon 00:00\"\nbecause = \"nothing may change\"\n";
    world.configure(&Builder::Test, "", always);
    world.reload();
    world.until("read again", |_| world.log().contains("the configuration is read again")).await;
    world.push("base:1", &["base two"]).await;
    world.until("frozen", |_| world.run(&["why", "app"]).1.contains("nothing may change")).await;
    assert_eq!(standing(&world.status(), "app"), "stale");
    world.configure(&Builder::Test, "", "");
    world.reload();
    world.settled().await;
    assert_eq!(world.layers("app").await[0], Digest::of(b"base two"));
}

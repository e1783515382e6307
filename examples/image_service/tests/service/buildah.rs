//! Real builds: buildah and docker-registry, with a busybox in the images.

use crate::support::{Builder, World, all, is_idle};
use freshmaker::artifact::Digest;
use freshmaker::backend::Remedy;
use freshmaker_oci::OciClient;
use freshmaker_oci::fakes::{FakeImage, push_to, tar};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// How often the service is killed while buildah works.
const KILLS: u32 = 5;
const BUSYBOX: &str = "/bin/busybox";

/// A world with buildah, whose storage is in the world; `None` if something is missing.
fn empty_world() -> Option<World> {
    for (program, there) in [
        ("buildah", Command::new("buildah").arg("--version").output().is_ok()),
        ("busybox-static", Path::new(BUSYBOX).exists()),
    ] {
        if !there {
            test_support::missing(&format!("{program} (Debian package `{program}`)"));
            return None;
        }
    }
    let world = World::real()?;
    let root = world.directory.path().join("containers");
    let [graph, run] = ["graph", "run"].map(|name| root.join(name).display().to_string());
    fs::create_dir(&root).unwrap();
    let text = format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{graph}\"\nrunroot = \"{run}\"\n");
    fs::write(root.join("storage.conf"), text).unwrap();
    Some(world)
}

/// Three layers of images on a base, a second parent of the topmost one, and tools of our own that
/// the lowest one copies and runs.
async fn world() -> Option<World> {
    let world = empty_world()?;
    push(&world, "base:1", "one").await;
    push(&world, "data:1", "data one").await;
    world.recipe("tools", "FROM scratch\nCOPY busybox /bin/busybox\n");
    fs::copy(BUSYBOX, world.tree().join("tools/busybox")).unwrap();
    let low = "ARG V=1\nFROM @/base:$V\nCOPY --from=tools /bin/busybox /bin/busybox\n\
               RUN [\"/bin/busybox\", \"cp\", \"/etc/version\", \"/seen\"]\n";
    world.recipe("low", low);
    world.recipe("middle", "FROM @/low\nCOPY file /middle\n");
    world.recipe("top", "FROM middle\nCOPY --from=@/data:1 /etc/version /data\n");
    let build = format!("test = [\"/bin/sh\", \"-c\", \"echo $FRESHMAKER_IMAGE >>{}\"]", tested(&world).display());
    world.configure(&Builder::Buildah, &build, "");
    Some(world)
}

fn tested(world: &World) -> std::path::PathBuf {
    world.directory.path().join("tested")
}

async fn push(world: &World, name: &str, version: &str) -> Digest {
    let image = FakeImage::new([tar("etc/version", version)]);
    push_to(&world.image(name), &image).await.unwrap()
}

/// Checks that all images embed what their parents are, and that what the tags name was tested.
async fn check(world: &World, base: &str) {
    let [low, middle, top] = [world.layers("low").await, world.layers("middle").await, world.layers("top").await];
    assert_eq!(low[0], Digest::of(&tar("etc/version", base)));
    assert!(middle.starts_with(&low) && top.starts_with(&middle));
    let tested = fs::read_to_string(tested(world)).unwrap();
    for name in ["tools", "low", "middle", "top"] {
        let digest = world.head(name).await;
        assert!(tested.contains(digest.as_str()), "{name} {digest} was never tested");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_images_are_built_tested_and_followed_through_kills() {
    let Some(world) = world().await else { return };
    world.serve();
    world.settled().await;
    check(&world, "one").await;
    let first = world.head("top").await;
    let log = world.good(&["logs", "low"]);
    assert!(log.contains("published sha256:"), "{log}");

    // Twice within a minute, with the second parent in between.
    push(&world, "base:1", "two").await;
    push(&world, "data:1", "data two").await;
    push(&world, "base:1", "three").await;
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..KILLS {
        let pause = std::time::Duration::from_millis(rng.u64(200..3000));
        tokio::time::interval_at(tokio::time::Instant::now() + pause, pause).tick().await;
        world.kill();
        world.serve();
    }
    world.settled().await;
    check(&world, "three").await;
    assert_ne!(world.head("top").await, first);

    // The same content under another digest: what is built on it comes out the same, and stays.
    let before = world.head("top").await;
    let mut again = FakeImage::new([tar("etc/version", "three")]);
    again.annotations.insert("pushed".to_owned(), "again".to_owned());
    push_to(&world.image("base:1"), &again).await.unwrap();
    world.settled().await;
    let status = world.until("idle", is_idle).await;
    assert_eq!(world.head("top").await, before);
    assert_eq!(status["overview"]["builds_failed"], 0, "{status:#}");
}

/// Returns the names of the images that buildah has on this machine.
fn names(world: &World) -> String {
    let storage = world.directory.path().join("containers/storage.conf");
    let mut command = Command::new("buildah");
    command.args(["images", "--all", "--format", "{{.Name}}"]).env("CONTAINERS_STORAGE_CONF", storage);
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// Returns the layers of an image for each of two platforms.
async fn layers_of(world: &World, name: &str) -> [Vec<Digest>; 2] {
    let mut found = Vec::new();
    for platform in ["linux/amd64", "linux/arm64"] {
        let mut config = world.client().config().clone();
        config.platform = platform.parse().unwrap();
        let image = OciClient::new(config).unwrap().snapshot().image(&world.image(name)).await.unwrap();
        assert!(image.index.is_some(), "{name} is an index");
        found.push(image.config.diff_ids);
    }
    found.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_several_platforms_is_published_whole_or_not_at_all() {
    of_several_platforms(&Builder::Buildah).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_does_the_same() {
    if Command::new("podman").arg("--version").output().is_err() {
        return test_support::missing("podman (Debian package `podman`)");
    }
    of_several_platforms(&Builder::Podman).await;
}

async fn of_several_platforms(builder: &Builder) {
    let Some(world) = empty_world() else { return };
    // Nothing of it runs, because the other processor is not here.
    world.recipe("base", "FROM scratch\nARG TARGETARCH\nCOPY arch-$TARGETARCH /arch\n");
    world.recipe("app", "FROM base\nCOPY file /file\n");
    world.file("base/arch-amd64", "amd64");
    world.configure(builder, "platforms = [\"linux/amd64\", \"linux/arm64\"]", "");
    world.serve();
    world.until("failed", |status| is_idle(status) && status["overview"]["builds_failed"] == 2).await;
    let there = world.client().head(&world.image("base")).await;
    assert_eq!(there.unwrap_err().remedy, Remedy::NotFound, "one platform of two is nothing");

    world.file("base/arch-arm64", "arm64");
    world.settled().await;
    let (base, app) = (layers_of(&world, "base").await, layers_of(&world, "app").await);
    assert_ne!(base[0], base[1]);
    for (base, app) in base.iter().zip(&app) {
        assert!(app.starts_with(base) && app.len() == base.len() + 1, "{base:?} {app:?}");
    }

    assert!(!names(&world).contains("localhost/"), "only the registry keeps the index: {}", names(&world));

    // A change of one platform alone is one.
    let before = world.head("app").await;
    world.file("base/arch-arm64", "arm64, again");
    let is_same =
        |status: &Value| status["images"].as_array().unwrap().iter().any(|it| it["digest"] == before.as_str());
    world.until("changed", |status| is_idle(status) && all(status, "fresh") && !is_same(status)).await;
    let again = layers_of(&world, "app").await;
    assert!(world.head("app").await != before && again[0] == app[0] && again[1] != app[1]);
}

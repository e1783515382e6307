//! A tree that is a branch of a git repository.

use crate::support::{Builder, World, has, is_idle};
use freshmaker::artifact::Digest;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A repository, and a world whose tree it has.
struct Origin {
    world: World,
    path: PathBuf,
}

impl Origin {
    async fn new() -> Self {
        let world = World::fake().await;
        world.push("base:1", &["base one"]).await;
        let path = world.directory.path().join("images");
        fs::create_dir(&path).unwrap();
        let origin = Self { world, path };
        origin.run(&["init", "--quiet", "--initial-branch=main"]);
        let git = format!("[tree.git]\nurl = \"{}\"\ninterval = 0.3\n", origin.path.display());
        origin.world.configure(&Builder::Test, "", &git);
        origin
    }

    fn run(&self, arguments: &[&str]) -> String {
        let identity = ["-c", "user.name=kim", "-c", "user.email=kim@example.org"];
        let mut command = Command::new("git");
        let output = command.current_dir(&self.path).args(identity).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits files, and returns the commit; `@` in them is the registry.
    fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            let path = self.path.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace('@', &self.world.host())).unwrap();
        }
        self.run(&["add", "--all"]);
        self.run(&["commit", "--quiet", "--message", "change"]);
        self.run(&["rev-parse", "HEAD"])
    }

    async fn top(&self, image: &str) -> Digest {
        self.world.layers(image).await.pop().unwrap()
    }

    fn record(&self, image: &str) -> Value {
        let why: Value = serde_json::from_str(&self.world.good(&["why", image, "--json"])).unwrap();
        why["record"].clone()
    }

    fn kept(&self) -> usize {
        fs::read_dir(self.world.tree().join(".image_service/git/commits")).unwrap().count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_build_uses_one_commit_and_what_changed_is_followed() {
    let origin = Origin::new().await;
    let world = &origin.world;
    let (status, _, error) = world.run(&["serve"]);
    assert_eq!(status, 1);
    has(&error, "git fetch: ");
    let first = origin.commit(&[
        ("app/Containerfile", "FROM @/base:1\n"),
        ("app/file", "app one"),
        ("other/Containerfile", "FROM @/base:1\n"),
        ("other/file", "other one"),
    ]);
    has(&world.good(&["check-config", "--online"]), &format!("the branch is at {first}"));
    let (_, _, error) = world.run(&["status"]);
    has(&error, "the tree was not fetched yet");
    world.serve();
    world.settled().await;
    assert_eq!(origin.record("app")["commit"], first.as_str());
    has(&world.good(&["why", "other"]), &format!("from commit {first}"));

    // While a build uses a commit, the next one comes, and the one after that.
    origin.commit(&[("app/file", "app two"), ("app/slow", "3000")]);
    world.until("begun", |_| world.builds_of("app") == 2).await;
    let third = origin.commit(&[("app/file", "app three"), ("app/slow", "0")]);
    world.until("fetched", |_| world.log().contains(&third)).await;
    assert_eq!(origin.kept(), 2, "the one that is used, and the current one");
    world.settled().await;
    assert_eq!(origin.top("app").await, Digest::of(b"app three"));
    assert_eq!(origin.record("app")["commit"], third.as_str());
    assert_eq!((world.builds_of("app"), world.builds_of("other")), (3, 1), "{:?}", world.ledger());
    let earlier = origin.record("app")["earlier"].as_array().unwrap().len();
    assert_eq!(earlier, 2, "the build of the second commit was published in between");
    world.until("removed", |_| origin.kept() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_away_holds_nothing_up() {
    let origin = Origin::new().await;
    let world = &origin.world;
    origin.commit(&[("app/Containerfile", "FROM @/base:1\n"), ("app/file", "app one")]);
    world.serve();
    world.settled().await;
    let away = origin.path.with_extension("away");
    fs::rename(&origin.path, &away).unwrap();
    world.until("told", |_| world.log().contains("the last commit counts")).await;
    // Also after a start: what was fetched last counts.
    world.kill();
    world.serve();
    world.push("base:1", &["base two"]).await;
    world.until("followed", |status| is_idle(status) && world.builds_of("app") == 2).await;
    world.settled().await;
    assert_eq!(world.log().matches("the last commit counts").count(), 2, "once for each start");
    fs::rename(&away, &origin.path).unwrap();
    origin.run(&["commit", "--quiet", "--amend", "--allow-empty", "--message", "written anew"]);
    let commit = origin.commit(&[("app/file", "app two")]);
    world.until("changed", |_| world.builds_of("app") == 3).await;
    world.settled().await;
    assert_eq!(
        (origin.top("app").await, origin.record("app")["commit"].as_str()),
        (Digest::of(b"app two"), Some(&*commit))
    );
}

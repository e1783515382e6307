//! A tree that is a branch of a git repository.

use crate::support::{Builder, World, has, is_idle};
use freshmaker::artifact::Digest;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn git(repository: &Path, arguments: &[&str]) -> String {
    let settings = ["-c", "user.name=kim", "-c", "user.email=kim@example.org", "-c", "protocol.file.allow=always"];
    let mut command = Command::new("git");
    let output = command.current_dir(repository).args(settings).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Commits files, and returns the commit; `@` in them is the registry.
fn commit(repository: &Path, host: &str, files: &[(&str, &str)]) -> String {
    for (path, text) in files {
        let path = repository.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace('@', host)).unwrap();
    }
    git(repository, &["add", "--all"]);
    git(repository, &["commit", "--quiet", "--message", "change"]);
    git(repository, &["rev-parse", "HEAD"])
}

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
        git(&self.path, arguments)
    }

    /// Commits files, and returns the commit; `@` in them is the registry.
    fn commit(&self, files: &[(&str, &str)]) -> String {
        commit(&self.path, &self.world.host(), files)
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

/// Configures a world with two sources: a directory, and a repository.
fn two_sources(world: &World, shop: &Path, submodules: &str) {
    world.configure(&Builder::Test, "", "");
    let file = world.tree().join("image_service.toml");
    let (text, host, url) = (fs::read_to_string(&file).unwrap(), world.host(), shop.display());
    let second = format!(
        "[[sources]]\nimage = \"{host}/shop/{{path}}:{{tag}}\"\ninterval = 0.3\n\
         git = {{ url = \"{url}\", interval = 0.3, submodules = \"{submodules}\" }}\n"
    );
    fs::write(&file, text.replace("[tree]\n", "[[sources]]\npath = \"images\"\n") + &second).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn several_sources_are_one_graph_and_submodules_are_followed() {
    let world = World::fake().await;
    world.push("base:1", &["base one"]).await;
    world.recipe("images/low", "FROM @/base:1\n");
    let [shop, parts] = ["shop", "parts"].map(|name| world.directory.path().join(name));
    for repository in [&shop, &parts] {
        fs::create_dir(repository).unwrap();
        git(repository, &["init", "--quiet", "--initial-branch=main"]);
    }
    let host = world.host();
    commit(&parts, &host, &[("file", "part one")]);
    fs::create_dir(shop.join("till")).unwrap();
    std::os::unix::fs::symlink("parts/file", shop.join("till/file")).unwrap();
    git(&shop, &["submodule", "--quiet", "add", "../parts", "till/parts"]);
    let first = commit(
        &shop,
        &host,
        &[("till/Containerfile", "FROM @/low\n"), ("low/Containerfile", "# freshmaker: image=@/low\nFROM @/base:1\n")],
    );
    two_sources(&world, &shop, "fetch");
    world.serve();
    let is_all =
        |status: &Value| is_idle(status) && status["images"].as_array().is_some_and(|images| images.len() == 2);
    world.until("built", is_all).await;
    let status = world.settled().await;
    has(&status["problems"].to_string(), "low:latest is already built by");
    let till = || async { world.layers("shop/till").await };
    let wanted = |part: &str| [&b"base one"[..], b"the file of images/low", part.as_bytes()].map(Digest::of).to_vec();
    assert_eq!(till().await, wanted("part one"));
    let record =
        |image: &str| serde_json::from_str::<Value>(&world.good(&["why", image, "--json"])).unwrap()["record"].clone();
    assert_eq!(record(&format!("{host}/shop/till"))["commit"], first.as_str());
    assert_eq!(record(&format!("{host}/low"))["commit"], Value::Null, "its files are those of a directory");

    // A new commit of the submodule counts when the repository names it.
    commit(&parts, &host, &[("file", "part two")]);
    git(&shop.join("till/parts"), &["pull", "--quiet"]);
    commit(&shop, &host, &[("note", "the next part")]);
    world.until("followed", |status| is_idle(status) && world.builds_of("till") == 2).await;
    world.settled().await;
    assert_eq!(till().await, wanted("part two"));
    assert_eq!(world.builds_of("low"), 1);

    // What would be built without its submodule is refused by name.
    world.kill();
    two_sources(&world, &shop, "refuse");
    world.serve();
    commit(&shop, &host, &[("note", "another note")]);
    world.until("refused", |_| world.log().contains("the commit has the submodule till/parts")).await;
    world.kill();
    two_sources(&world, &shop, "empty");
    world.serve();
    world.until("empty", |_| world.log().contains("the directories of submodules stay empty")).await;
}

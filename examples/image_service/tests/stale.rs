//! The command `image_service stale`, run as people run it, against a fake registry.
#![allow(clippy::unwrap_used)]

use freshmaker::artifact::Digest;
use freshmaker_oci::fakes::{FakeImage, FakeRegistry};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A registry with a base and images that are built on it, and a tree of their Containerfiles.
struct World {
    registry: FakeRegistry,
    directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let world = Self { registry: FakeRegistry::start().await.unwrap(), directory: tempfile::tempdir().unwrap() };
        let name = world.registry.name();
        let old = world.base("old");
        for (image, recipe) in [
            ("fresh", format!("FROM {name}/base:1\n")),
            ("stale", format!("# syntax=docker/dockerfile:1\nFROM {name}/base:1\nRUN true\n")),
            ("pinned", format!("FROM {name}/base:1@{old}\n")),
            ("copied", format!("FROM {name}/base:1 AS build\nFROM scratch\nCOPY --from=build /a /a\n")),
        ] {
            let directory = world.tree().join(image);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("Containerfile"), recipe).unwrap();
            world.registry.push(image, "latest", &world.on("old"));
        }
        world.base("new");
        world.registry.push("fresh", "latest", &world.on("new"));
        let manifest = format!("[tree]\npath = \".\"\nimage = \"{name}/{{name}}\"\n");
        fs::write(world.tree().join("freshmaker.toml"), manifest).unwrap();
        world
    }

    fn tree(&self) -> &Path {
        self.directory.path()
    }

    fn base(&self, version: &str) -> Digest {
        self.registry.push("base", "1", &self.on(version))
    }

    fn on(&self, version: &str) -> FakeImage {
        FakeImage::new([format!("base {version}"), "more".to_owned()])
    }

    fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.registry.name())
    }

    /// Runs the command, and returns its exit status, output and complaints.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_image_service"));
        command.args(["stale", "--plain-http", &self.registry.name()]).args(arguments);
        for variable in ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR"] {
            command.env_remove(variable);
        }
        command.env("HOME", self.tree()).stdin(Stdio::null());
        let output = tokio::task::block_in_place(|| command.output().unwrap());
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.code().unwrap(), out, err)
    }

    fn of_tree(&self, arguments: &[&str]) -> (i32, String, String) {
        let tree = self.tree().to_str().unwrap();
        self.run(&[&["--tree", tree], arguments].concat())
    }
}

#[track_caller]
fn has(text: &str, wanted: &str) {
    assert!(text.contains(wanted), "no {wanted:?} in:\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_looked_through() {
    let world = World::new().await;
    let (status, out, err) = world.of_tree(&[]);
    assert_eq!(status, 3, "{out}{err}");
    assert_eq!(err, "", "no progress without a terminal");
    let name = world.registry.name();
    has(&out, &format!("fresh    {name}/fresh:latest\n         built on {name}/base:1, as it is today, "));
    has(
        &out,
        &format!(
            "stale    {name}/stale:latest\n         built on {name}/base:1, as it was: other content, today it is "
        ),
    );
    has(&out, "pinned to ");
    has(
        &out,
        &format!("unknown  {name}/copied:latest\n         with content of {name}/base:1, unknown: only provenance"),
    );
    has(&out, "1 fresh, 1 pinned, 1 stale, 1 unknown\n");
    let file = world.tree().join("stale/Containerfile");
    let directory = world.tree().join("stale");
    let image = world.image("stale:latest");
    let command = format!(
        "$ docker build --pull --tag {image} --file {} {} && docker push {image}\n",
        file.display(),
        directory.display()
    );
    has(&out, &command);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_status_tells_the_worst() {
    let world = World::new().await;
    let of = |image: &str, options: &[&str]| world.of_tree(&[options, &[&world.image(image)]].concat()).0;
    assert_eq!(["fresh", "pinned", "stale", "copied"].map(|image| of(image, &[])), [0, 0, 3, 4]);
    assert_eq!(["stale", "copied"].map(|image| of(image, &["--fail-on", "stale"])), [3, 0]);
    assert_eq!(["stale", "copied"].map(|image| of(image, &["--fail-on", "unknown"])), [0, 4]);
    assert_eq!(["stale", "copied"].map(|image| of(image, &["--fail-on", "none"])), [0, 0]);
    assert_eq!(of("nothing", &["--fail-on", "none"]), 1, "what cannot be read is no finding");
    assert_eq!(world.run(&["--old"]).0, 2);
    assert_eq!(world.run(&[]).0, 2);
    assert_eq!(world.run(&["--tree", "/nonexistent/tree"]).0, 1);
    let (status, _, err) = world.run(&["--json", "--sarif", "x"]);
    assert_eq!(status, 2);
    has(&err, "image_service: --sarif is given twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_alone_tells_of_its_base() {
    let world = World::new().await;
    let old = world.base("old");
    let app = world.on("old").with_layer("app").with_base(&world.image("base:1"), &old);
    world.registry.push("app", "1", &app);
    let image = world.image("app:1");
    assert_eq!(world.run(&[&image]).0, 0);
    world.base("newest");
    let (status, out, _) = world.run(&[&image]);
    assert_eq!(status, 3);
    has(&out, "(annotations)\n         build it again, with --pull; --tree tells");
    let (status, out, _) = world.run(&[&world.image("stale")]);
    assert_eq!(status, 4, "nothing in it tells");
    has(&out, "nothing says what the image is built on");
    let (status, out, _) = world.of_tree(&[&image]);
    assert_eq!(status, 3);
    has(&out, "the tree has no Containerfile of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_have_their_forms() {
    let world = World::new().await;
    let (status, out, _) = world.of_tree(&["--json", &world.image("stale"), &world.image("nothing")]);
    assert_eq!(status, 1);
    let json: Value = serde_json::from_str(&out).unwrap();
    let [stale, nothing] = json["images"].as_array().unwrap().as_slice() else { panic!("{json}") };
    assert_eq!(
        (json["version"].as_u64(), stale["state"].as_str(), stale["findings"][0]["state"].as_str()),
        (Some(1), Some("stale"), Some("stale"))
    );
    assert_eq!(
        (stale["findings"][0]["line"].as_u64(), stale["findings"][0]["evidence"].as_str()),
        (Some(2), Some("layers"))
    );
    assert!(stale["command"].as_str().unwrap().starts_with("docker build --pull"));
    assert_eq!(nothing["state"], "error");
    has(nothing["error"].as_str().unwrap(), "status 404");

    let (_, out, _) = world.of_tree(&["--sarif"]);
    let sarif: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let rules: Vec<_> = results.iter().map(|result| result["ruleId"].as_str().unwrap()).collect();
    assert_eq!(rules, ["unknown", "pinned", "stale"]);
    let place = &results[2]["locations"][0]["physicalLocation"];
    let uri = place["artifactLocation"]["uri"].as_str().unwrap();
    assert!(uri.ends_with("stale/Containerfile") && !uri.starts_with('/'), "{uri}");
    assert_eq!(place["region"]["startLine"], 2);

    let (_, out, _) = world.of_tree(&["--markdown"]);
    has(&out, "| image | state | why |\n|---|---|---|\n");
    has(&out, &format!("| `{}` | stale | built on ", world.image("stale:latest")));
    has(&out, "```sh\ndocker build");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_no_registry_is_told() {
    let world = World::new().await;
    fs::remove_file(world.tree().join("freshmaker.toml")).unwrap();
    let (status, out, _) = world.of_tree(&[]);
    assert_eq!(status, 1);
    has(&out, "localhost/stale:latest is in no registry: say in freshmaker.toml, under [tree]");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_that_cannot_be_resolved_is_never_fresh() {
    let world = World::new().await;
    let recipe = format!("ARG X\nFROM {}/base:1\nCOPY --from=${{X:?unset}} /a /a\n", world.registry.name());
    fs::write(world.tree().join("fresh/Containerfile"), recipe).unwrap();
    let (status, out, err) = world.of_tree(&[&world.image("fresh")]);
    assert_eq!(status, 4, "{out}");
    has(&out, "fresh/Containerfile:3: ");
    has(&err, "image_service: problem: ");
}

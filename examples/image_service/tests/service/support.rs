//! A registry, a tree of Containerfiles, and the service on it.

use crate::builder::LEDGER;
use freshmaker::artifact::{Digest, ImageReference};
use freshmaker_oci::fakes::{FakeImage, FakeRegistry, push_to};
use freshmaker_oci::{OciClient, OciConfig, RegistryConfig};
use serde_json::Value;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use test_support::registry::Registry;

/// How often a condition is asked for, and the pause between two questions.
const TRIES: usize = 900;
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) enum Behind {
    Fake(FakeRegistry),
    Real(Registry),
}

/// What `build.program` is.
pub(crate) enum Builder {
    /// The builder of these tests.
    Test,
    Buildah,
    Podman,
}

pub(crate) struct World {
    pub(crate) registry: Behind,
    pub(crate) directory: tempfile::TempDir,
    service: Mutex<Option<Child>>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- what the service said\n{}", self.log());
            for attempt in fs::read_dir(self.tree().join(".image_service/attempts")).into_iter().flatten().flatten() {
                let log = fs::read_to_string(attempt.path().join("log")).unwrap_or_default();
                eprintln!("--- what the build {} said\n{log}", attempt.path().display());
            }
        }
    }
}

impl World {
    /// A world with a registry that can lie.
    pub(crate) async fn fake() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let registry = Behind::Fake(FakeRegistry::start().await.unwrap());
        Self::of(registry, directory)
    }

    /// One image on a base, with more lines for `[build]` and further sections.
    pub(crate) async fn one(build: &str, more: &str) -> Self {
        let world = Self::fake().await;
        world.push("base:1", &["base one"]).await;
        world.recipe("app", "FROM @/base:1\n");
        world.configure(&Builder::Test, build, more);
        world
    }

    /// A world with the real registry; `None` if it is not installed.
    pub(crate) fn real() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("registry")).unwrap();
        let registry = Registry::start(directory.path().join("registry"))?;
        Some(Self::of(Behind::Real(registry), directory))
    }

    fn of(registry: Behind, directory: tempfile::TempDir) -> Self {
        fs::create_dir(directory.path().join("tree")).unwrap();
        Self { registry, directory, service: Mutex::default() }
    }

    pub(crate) fn fake_registry(&self) -> &FakeRegistry {
        match &self.registry {
            Behind::Fake(registry) => registry,
            Behind::Real(_) => panic!("this registry cannot lie"),
        }
    }

    pub(crate) fn host(&self) -> String {
        match &self.registry {
            Behind::Fake(registry) => registry.name(),
            Behind::Real(registry) => registry.name.clone(),
        }
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.directory.path().join("tree")
    }

    fn ledger_file(&self) -> PathBuf {
        self.directory.path().join("ledger")
    }

    pub(crate) fn image(&self, name: &str) -> ImageReference {
        format!("{}/{name}", self.host()).parse().unwrap()
    }

    pub(crate) fn client(&self) -> OciClient {
        let mut special = RegistryConfig::default();
        special.plain_http = true;
        let mut config = OciConfig::default();
        config.registries.insert(self.host(), special);
        OciClient::new(config).unwrap()
    }

    /// Pushes a base whose layers are these.
    pub(crate) async fn push(&self, name: &str, layers: &[&str]) -> Digest {
        push_to(&self.image(name), &FakeImage::new(layers.iter().copied())).await.unwrap()
    }

    /// Writes a Containerfile; `@` in it is the registry.
    pub(crate) fn recipe(&self, name: &str, text: &str) {
        let directory = self.tree().join(name);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("Containerfile"), text.replace('@', &self.host())).unwrap();
        fs::write(directory.join("file"), format!("the file of {name}")).unwrap();
    }

    /// Writes a file of a build context.
    pub(crate) fn file(&self, path: &str, text: &str) {
        fs::write(self.tree().join(path), text).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.tree().join(path)).unwrap();
    }

    /// Writes the configuration, with more lines in `[build]` and further sections.
    pub(crate) fn configure(&self, builder: &Builder, build: &str, more: &str) {
        let host = self.host();
        let test = std::env::current_exe().unwrap();
        let program = match builder {
            Builder::Buildah => "buildah".to_owned(),
            Builder::Podman => "podman".to_owned(),
            Builder::Test => {
                // The program gets no arguments, and a test needs some.
                let script = self.directory.path().join("builder.sh");
                let text = format!("#!/bin/sh\nexec '{}' --exact builder::as_a_builder --nocapture\n", test.display());
                fs::write(&script, text).unwrap();
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                fs::set_permissions(&script, mode).unwrap();
                script.display().to_string()
            }
        };
        let ledger = self.ledger_file().display().to_string();
        let storage = self.directory.path().join("containers/storage.conf").display().to_string();
        let text = format!(
            "[tree]\nimage = \"{host}/{{path}}:{{tag}}\"\ninterval = 0.3\n\
             [poll]\ninterval = 0.5\nspread = 0\n\
             [registries.\"{host}\"]\nplain_http = true\n\
             {more}\n\
             [build]\nprogram = \"{program}\"\nslots = 4\nenvironment = {{ {LEDGER} = \"{ledger}\", CONTAINERS_STORAGE_CONF = \"{storage}\" }}\n{build}\n"
        );
        fs::write(self.tree().join("image_service.toml"), text).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_image_service"));
        command.current_dir(self.tree()).env("HOME", self.directory.path()).env("USER", "kim").stdin(Stdio::null());
        for variable in ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "RUST_LOG"] {
            command.env_remove(variable);
        }
        command
    }

    /// Starts the service.
    pub(crate) fn serve(&self) {
        let log = File::options().append(true).create(true).open(self.directory.path().join("service.log")).unwrap();
        let service = self.command().arg("serve").stdout(Stdio::null()).stderr(log).spawn().unwrap();
        assert!(self.service.lock().unwrap().replace(service).is_none(), "it runs already");
    }

    /// Kills the service, as `kill -9` does; its builds go on.
    pub(crate) fn kill(&self) {
        if let Some(mut service) = self.service.lock().unwrap_or_else(PoisonError::into_inner).take() {
            service.kill().unwrap();
            service.wait().unwrap();
        }
    }

    /// Asks the service to read its configuration again.
    pub(crate) fn reload(&self) {
        let service = self.service.lock().unwrap();
        let id = service.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("service.log")).unwrap_or_default()
    }

    /// Runs a command; returns its exit status, output and complaints.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = tokio::task::block_in_place(|| self.command().args(arguments).output().unwrap());
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.code().unwrap(), out, err)
    }

    /// Runs a command that has to succeed; returns its output.
    #[track_caller]
    pub(crate) fn good(&self, arguments: &[&str]) -> String {
        let (status, out, err) = self.run(arguments);
        assert_eq!(status, 0, "{arguments:?}: {out}{err}");
        out
    }

    /// Returns what `status --json` says; null if there is no answer yet.
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.run(&["status", "--json"]).1).unwrap_or_default()
    }

    /// Waits until the status is as wanted, and returns it.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut pauses = tokio::time::interval(PAUSE);
        let mut status = Value::Null;
        for _ in 0..TRIES {
            pauses.tick().await;
            status = self.status();
            if is_so(&status) {
                return status;
            }
        }
        panic!("never {what}: {status:#}");
    }

    /// Waits until the service has logged a text. Nothing is asked of the registry meanwhile.
    pub(crate) async fn logged(&self, text: &str) {
        let mut pauses = tokio::time::interval(PAUSE);
        for _ in 0..TRIES {
            pauses.tick().await;
            if self.log().contains(text) {
                return;
            }
        }
        panic!("never logged: {text}");
    }

    /// Waits until all images are fresh, and nothing is left to do.
    pub(crate) async fn settled(&self) -> Value {
        self.until("settled", |status| is_idle(status) && all(status, "fresh")).await
    }

    /// Returns the content of an image: the bytes of its layers, the lowest first.
    pub(crate) async fn layers(&self, name: &str) -> Vec<Digest> {
        self.client().snapshot().image(&self.image(name)).await.unwrap().config.diff_ids
    }

    pub(crate) async fn head(&self, name: &str) -> Digest {
        self.client().head(&self.image(name)).await.unwrap()
    }

    /// Returns what the builder of these tests noted: what, image, attempt.
    pub(crate) fn ledger(&self) -> Vec<[String; 3]> {
        let text = fs::read_to_string(self.ledger_file()).unwrap_or_default();
        let line = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
        text.lines().map(line).collect()
    }

    /// Returns how often the build of an image was begun.
    pub(crate) fn builds_of(&self, name: &str) -> usize {
        self.ledger().iter().filter(|[what, image, _]| what == "begin" && image == name).count()
    }
}

pub(crate) fn is_idle(status: &Value) -> bool {
    let count = |key: &str| status["overview"][key].as_u64();
    ["messages_waiting", "builds_waiting", "builds_running"].iter().all(|key| count(key) == Some(0))
}

/// Whether all images stand like this.
pub(crate) fn all(status: &Value, standing: &str) -> bool {
    let images = status["images"].as_array();
    images.is_some_and(|images| !images.is_empty() && images.iter().all(|image| image["standing"] == standing))
}

/// Returns how an image stands.
pub(crate) fn standing<'a>(status: &'a Value, name: &str) -> &'a str {
    let images = status["images"].as_array().map_or(&[][..], Vec::as_slice);
    let is_it = |image: &&Value| image["image"].as_str().is_some_and(|id| id.ends_with(&format!("/{name}:latest")));
    images.iter().find(is_it).and_then(|image| image["standing"].as_str()).unwrap_or_default()
}

#[track_caller]
pub(crate) fn has(text: &str, wanted: &str) {
    assert!(text.contains(wanted), "no {wanted:?} in:\n{text}");
}

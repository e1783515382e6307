//! Programs that a build runs, and the environment that they get.

use super::recipe::Recipe;
use super::{Failure, Result, TEMPORARY, say};
use crate::config::Config;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The scripts of the builders that the service knows.
const BUILDERS: [(&str, &str); 3] = [
    ("buildah", include_str!("../../scripts/buildah.sh")),
    ("podman", include_str!("../../scripts/buildah.sh")),
    ("docker", include_str!("../../scripts/docker.sh")),
];

/// A program with its arguments.
pub(super) struct Command {
    program: PathBuf,
    arguments: Vec<String>,
}

impl Command {
    /// Returns a command of the configuration; `None` if it is empty.
    pub(super) fn of(words: &[String]) -> Option<Self> {
        let (program, arguments) = words.split_first()?;
        Some(Self { program: program.into(), arguments: arguments.to_vec() })
    }

    /// Returns a builder by its name, or a program of the user.
    pub(super) fn builder(name: &str) -> Self {
        match BUILDERS.iter().find(|(known, _)| *known == name) {
            Some((_, script)) => {
                let arguments = ["-c", script, name].map(str::to_owned).into();
                Self { program: "/bin/sh".into(), arguments }
            }
            None => Self { program: name.into(), arguments: Vec::new() },
        }
    }

    /// Runs it to its end. Its output goes to the log of the build.
    pub(super) async fn run(&self, what: &str, environment: &Environment) -> Result<()> {
        say(format_args!("{what}"));
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.arguments).envs(environment.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(&environment.directory).stdin(Stdio::null()).kill_on_drop(true);
        let status = command
            .status()
            .await
            .map_err(|error| Failure::lasting(format!("{what}: {}: {error}", self.program.display())))?;
        match status.code() {
            Some(0) => Ok(()),
            Some(code) if code == i32::from(TEMPORARY) => {
                Err(Failure::temporary(format!("{what}: it is not possible now (status {code})")))
            }
            _ => Err(Failure::lasting(format!("{what} failed: {status}"))),
        }
    }
}

/// Variables for the programs of a build.
pub(super) struct Environment {
    variables: Vec<(String, String)>,
    /// Where they run.
    directory: PathBuf,
}

impl Environment {
    pub(super) fn of(config: &Config, recipe: &Recipe, attempt: &Path) -> Result<Self> {
        let text = |path: &Path| path.display().to_string();
        let mut environment = Self { variables: Vec::new(), directory: recipe.context.clone() }
            .with("FRESHMAKER_CONTAINERFILE", &text(&recipe.file))
            .with("FRESHMAKER_CONTEXT", &text(&recipe.context))
            .with("FRESHMAKER_PINS", &text(&recipe.pins))
            .with("FRESHMAKER_DIGEST_FILE", &text(&attempt.join("digest")))
            .with("FRESHMAKER_BUILDER", &config.build.program);
        if let Some(platforms) = config.build.platforms_as_text() {
            environment = environment.with("FRESHMAKER_PLATFORMS", &platforms);
        }
        if let Some(epoch) = config.build.source_date_epoch {
            environment = environment.with("SOURCE_DATE_EPOCH", &epoch.to_string());
        }
        if let Some(conf) = registries_conf(config) {
            let path = attempt.join("registries.conf");
            std::fs::write(&path, conf).map_err(|error| Failure::temporary(format!("{}: {error}", path.display())))?;
            environment = environment.with("CONTAINERS_REGISTRIES_CONF", &text(&path));
        }
        // Last, so that it counts.
        for (name, value) in &config.build.environment {
            environment = environment.with(name, value);
        }
        Ok(environment)
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Returns the configuration with which tools of podman's family reach registries without TLS:
/// these registries alone, and none of the others. `None` if all have TLS.
fn registries_conf(config: &Config) -> Option<String> {
    let mut text = String::new();
    for host in config.plain_http() {
        text.push_str(&format!("[[registry]]\nlocation = {host:?}\ninsecure = true\n"));
    }
    (!text.is_empty()).then_some(text)
}

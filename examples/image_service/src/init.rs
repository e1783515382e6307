//! Writes the configuration of a directory.

use crate::args::Start;
use crate::config::{Config, FILE, Tree};
use crate::{Outcome, Result, complain, say};
use freshmaker::artifact::ImageReference;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// How the registry is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tls,
    PlainHttp,
}

pub(crate) fn run(start: &Start) -> Result<Outcome> {
    let path = start.path.join(FILE);
    if write(start)? {
        say(&format!("wrote {}\n", path.display()))?;
        return Ok(Outcome::Good);
    }
    complain(format_args!("{} is there already and was left as it is", path.display()));
    Ok(Outcome::Failed)
}

/// Writes the file; returns whether there was none.
pub(crate) fn write(start: &Start) -> Result<bool> {
    let path = start.path.join(FILE);
    if path.exists() {
        return Ok(false);
    }
    if !start.path.is_dir() {
        return Err(format!("{}: this is not a directory", start.path.display()).into());
    }
    let Some(registry) = start.registry.as_deref() else {
        let there = path.display();
        return Err(format!("{there} is not there yet: say by --registry where images are pushed to").into());
    };
    let registry = registry.trim_end_matches('/');
    let name = format!("{registry}/app:latest");
    name.parse::<ImageReference>().map_err(|error| format!("--registry {registry}: {error}"))?;
    let transport = if start.plain_http { Transport::PlainHttp } else { Transport::Tls };
    put(&path, &text(registry, transport))
}

/// Checks that a file which is there already says what the options say: they are for a new file.
pub(crate) fn agree(start: &Start, config: &Config) -> Result<()> {
    let Some(registry) = start.registry.as_deref().map(|registry| registry.trim_end_matches('/')) else {
        return Ok(());
    };
    let (place, host) = (start.path.join(FILE), host(registry));
    let is_named = |tree: &Tree| tree.image.as_deref().is_none_or(|image| image.starts_with(registry));
    if !config.trees.iter().any(is_named) {
        let text = "is there already and names images otherwise than --registry says: edit it, or leave the option out";
        return Err(format!("{} {text}", place.display()).into());
    }
    if start.plain_http && !config.plain_http().any(|known| known == host) {
        let place = place.display();
        return Err(format!("{place} is there already and lacks what --plain-http stands for; add these lines:\n[registries.\"{host}\"]\nplain_http = true").into());
    }
    Ok(())
}

fn host(registry: &str) -> &str {
    registry.split('/').next().unwrap_or(registry)
}

fn put(path: &Path, text: &str) -> Result<bool> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => {
            file.write_all(text.as_bytes()).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(format!("{}: {error}", path.display()).into()),
    }
}

/// Returns the text of the file.
pub(crate) fn text(registry: &str, transport: Transport) -> String {
    let host = host(registry);
    let registries = match transport {
        Transport::PlainHttp => format!(
            "\n[registries.\"{host}\"]\n# Passwords and images are readable for the network.\nplain_http = true\n"
        ),
        Transport::Tls => format!(
            "\n# Registries need an entry only if they differ from the usual (TLS, and the logins of docker and podman).\n\
             # [registries.\"{host}\"]\n# user = \"robot\"\n# password_file = \"/etc/image_service/password\"\n"
        ),
    };
    include_str!("init.toml").replace("@REGISTRY@", registry).replace("@REGISTRIES@", &registries)
}

//! Names of images from Compose files, where they are certain.

use super::built::{Built, Given, Wrong, built, directory_of, read};
use super::yaml::{Entry, Yaml};
use std::fs::DirEntry;
use std::path::Path;

/// The files that Compose reads by itself. The first one of a directory counts.
pub(super) const NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// The files that it reads on top of those.
const OVERRIDES: [&str; 4] =
    ["compose.override.yaml", "compose.override.yml", "docker-compose.override.yml", "docker-compose.override.yaml"];

/// Returns the path of the Compose file of a directory.
pub(super) fn of_directory(directory: &str, entries: &[DirEntry]) -> Option<String> {
    let name = NAMES.into_iter().find(|name| entries.iter().any(|entry| entry.file_name() == *name))?;
    Some(if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") })
}

/// Returns what the services of a file build. Those without an image build nothing that has a name.
pub(super) fn services(root: &Path, path: &str) -> Result<Vec<Given>, Wrong> {
    let yaml = Yaml::parse(&read(root, path)?).map_err(|(line, text)| (Some(line), text))?;
    let directory = directory_of(path);
    let overridden = OVERRIDES.iter().find(|name| root.join(directory).join(name).exists());
    let Some(services) = yaml.get("services") else { return Ok(Vec::new()) };
    services.entries().iter().try_for_each(check)?;
    // A service without both is built under the name of the one that it extends.
    let gives = |service: &Yaml| service.get("build").or(service.get("image")).is_some();
    let mut given = Vec::new();
    for entry in services.entries().iter().filter(|entry| gives(&entry.value)) {
        let found = match (overridden, layers(services, &entry.key)) {
            (_, Ok(layers)) if layers.build().next().is_none() || layers.image().is_none() => continue,
            (Some(name), _) => Err(format!("{name} may change it")),
            (None, Ok(layers)) => service(root, directory, &layers),
            (None, Err(why)) => Err(why),
        };
        given.push(Given { what: format!("service {}", entry.key), line: entry.line, found });
    }
    Ok(given)
}

/// Refuses a value of another form than Compose takes, because it refuses the whole file for that.
/// Only what is read here is looked at.
fn check(service: &Entry) -> Result<(), Wrong> {
    let wrong = |entry: &Entry, what: &str| {
        Err((Some(entry.line), format!("the {} of the service {} is not {what}", entry.key, service.key)))
    };
    let is_mapping = |yaml: &Yaml| matches!(yaml, Yaml::Mapping(_));
    if !is_mapping(&service.value) {
        return Err((Some(service.line), format!("the service {} is not a mapping", service.key)));
    }
    for entry in service.value.entries() {
        let value = &*entry.value;
        match &*entry.key {
            "image" if value.text().is_none() => return wrong(entry, "a text"),
            "build" | "extends" if value.text().is_none() && !is_mapping(value) => {
                return wrong(entry, "a text or a mapping");
            }
            _ => {}
        }
    }
    let build = service.value.get("build").map_or(&[][..], Yaml::entries);
    for entry in build {
        match &*entry.key {
            "context" | "dockerfile" | "dockerfile_inline" | "target" if entry.value.text().is_none() => {
                return wrong(entry, "a text");
            }
            "args" | "additional_contexts" if !matches!(&*entry.value, Yaml::Mapping(_) | Yaml::Sequence(_)) => {
                return wrong(entry, "a mapping or a list");
            }
            _ => {}
        }
    }
    Ok(())
}

/// What makes a service build something else than its file by itself.
const DECIDING: [&str; 3] = ["target", "dockerfile_inline", "additional_contexts"];

/// Most services that one service may extend, one after the other. Real files use less.
const EXTENDED_MAX: usize = 16;

/// A service, followed by those that it extends. The first one that says something counts.
struct Layers<'a>(Vec<&'a Yaml>);

impl<'a> Layers<'a> {
    fn image(&self) -> Option<&'a Yaml> {
        self.0.iter().find_map(|service| service.get("image"))
    }

    fn build(&self) -> impl Iterator<Item = &'a Yaml> {
        self.0.iter().filter_map(|service| service.get("build"))
    }

    /// Returns the values of a key of `build`.
    fn all(&self, key: &str) -> impl Iterator<Item = &'a Yaml> {
        self.build().filter_map(move |build| match build {
            Yaml::Text(_) if key == "context" => Some(build),
            _ => build.get(key),
        })
    }
}

/// Returns a service with those that it extends.
fn layers<'a>(services: &'a Yaml, name: &str) -> Result<Layers<'a>, String> {
    let (mut found, mut name) = (Vec::new(), name.to_owned());
    while found.len() <= EXTENDED_MAX {
        let service = services.get(&name).ok_or_else(|| format!("it extends {name}, which is not there"))?;
        found.push(service);
        name = match service.get("extends") {
            None => return Ok(Layers(found)),
            Some(extends) if extends.get("file").is_some() => {
                return Err("it extends a service of another file".to_owned());
            }
            Some(extends) => match extends.text().or(extends.get("service").and_then(Yaml::text)) {
                Some(name) => name.to_owned(),
                None => return Err("what it extends is not a text".to_owned()),
            },
        };
    }
    Err(format!("it extends itself, or more than {EXTENDED_MAX} services"))
}

/// Returns the path of the file that a service builds, and its image.
fn service(root: &Path, directory: &str, layers: &Layers<'_>) -> Result<Built, String> {
    let plain = |what: &str, yaml: Option<&Yaml>, default: &str| {
        let text = yaml.map_or(Some(default), Yaml::text).ok_or_else(|| format!("its {what} is not a text"))?;
        // A doubled dollar sign is one, but names have none.
        if text.contains('$') { Err(format!("its {what} has variables")) } else { Ok(text.to_owned()) }
    };
    let image = plain("image", layers.image(), "")?;
    if let Some(key) = DECIDING.into_iter().find(|key| layers.all(key).next().is_some()) {
        return Err(format!("it builds with {key}"));
    }
    let context = plain("context", layers.all("context").next(), ".")?;
    let name = plain("dockerfile", layers.all("dockerfile").next(), "Dockerfile")?;
    let args: Vec<&Yaml> = layers.all("args").collect();
    let keys = args.iter().flat_map(|args| args.entries()).map(|entry| &*entry.key);
    let items = args.iter().flat_map(|args| args.items()).filter_map(|item| item.text());
    let args = keys.chain(items.filter_map(|item| item.split('=').next())).collect();
    built(root, directory, [&context, &name, &image], &args)
}

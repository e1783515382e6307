//! Names of images that Compose files give, where that is certain.

use super::walk::{normal, not_a_file};
use super::yaml::Yaml;
use crate::files::{Problem, containerfile};
use freshmaker::artifact::ImageReference;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::path::Path;

/// The files that Compose reads by itself. The first one of a directory counts.
const NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// The files that it reads on top of those.
const OVERRIDES: [&str; 4] =
    ["compose.override.yaml", "compose.override.yml", "docker-compose.override.yml", "docker-compose.override.yaml"];

/// Returns the path of the Compose file of a directory.
pub(super) fn of_directory(directory: &str, entries: &[DirEntry]) -> Option<String> {
    let name = NAMES.into_iter().find(|name| entries.iter().any(|entry| entry.file_name() == *name))?;
    Some(if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") })
}

/// A service that builds a file under a name.
struct Service {
    file: String,
    image: ImageReference,
    problem: Problem,
}

/// Returns the images of files, by path. What is not certain is remarked on.
pub(super) fn names(
    root: &Path,
    composes: &BTreeSet<String>,
    remarks: &mut Vec<Problem>,
) -> BTreeMap<String, ImageReference> {
    let mut by_file: BTreeMap<String, Vec<Service>> = BTreeMap::new();
    for path in composes {
        let full = root.join(path);
        let remark = |line: Option<usize>, text: String| Problem { path: full.clone(), line, text };
        let text = super::bytes(&full).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let yaml = match text.map(|text| Yaml::parse(&text)) {
            Ok(Ok(yaml)) => yaml,
            Ok(Err((line, text))) => {
                remarks.push(remark(Some(line), format!("no names are taken from it: {text}")));
                continue;
            }
            Err(error) => {
                remarks.push(remark(None, format!("no names are taken from it: {error}")));
                continue;
            }
        };
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let overridden = OVERRIDES.iter().find(|name| root.join(directory).join(name).exists());
        let Some(services) = yaml.get("services") else { continue };
        // A service without both is built under the name of the one that it extends.
        let gives = |service: &Yaml| service.get("build").or(service.get("image")).is_some();
        for entry in services.entries().iter().filter(|entry| gives(&entry.value)) {
            let say = |why: &str| {
                remark(Some(entry.line), format!("the image of the service {} is not used: {why}", entry.key))
            };
            let layers = layers(services, &entry.key);
            let found = match (overridden, layers) {
                (_, Ok(layers)) if layers.build().next().is_none() || layers.image().is_none() => continue,
                (Some(name), _) => Err(format!("{name} may change it")),
                (None, Ok(layers)) => service(root, directory, &layers),
                (None, Err(why)) => Err(why),
            };
            match found {
                Ok((file, image)) => {
                    let problem = say("services build this file under several names");
                    by_file.entry(file.clone()).or_default().push(Service { file, image, problem });
                }
                Err(why) => remarks.push(say(&why)),
            }
        }
    }
    let mut names = BTreeMap::new();
    for services in by_file.into_values() {
        if services.iter().all(|service| service.image == services[0].image) {
            names.extend(services.into_iter().map(|service| (service.file, service.image)));
        } else {
            remarks.extend(services.into_iter().map(|service| service.problem));
        }
    }
    names
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
fn service(root: &Path, directory: &str, layers: &Layers<'_>) -> Result<(String, ImageReference), String> {
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
    if context.contains("://") || context.starts_with("git@") {
        return Err("its context is not a directory".to_owned());
    }
    let file = match (context.starts_with('/'), name.starts_with('/')) {
        (false, false) => normal(&format!("./{directory}/{context}/{name}")),
        _ => return Err("its file is not in the tree".to_owned()),
    };
    if let Some(why) = not_a_file(root, &file) {
        return Err(format!("{file}: {why}"));
    }
    if let Some(name) = decided(root, &file, layers) {
        return Err(format!("it sets the argument {name}, which {file} declares before FROM"));
    }
    let image: ImageReference = image.parse().map_err(|error| format!("{error}"))?;
    if image.digest().is_some() {
        return Err("it has a digest".to_owned());
    }
    Ok((file, image))
}

/// Returns the first argument of a service on which the images in its file may depend.
fn decided(root: &Path, file: &str, layers: &Layers<'_>) -> Option<String> {
    let args: Vec<&Yaml> = layers.all("args").collect();
    let keys = args.iter().flat_map(|args| args.entries()).map(|entry| &*entry.key);
    let items = args.iter().flat_map(|args| args.items()).filter_map(|item| item.text());
    let given: BTreeSet<&str> = keys.chain(items.filter_map(|item| item.split('=').next())).collect();
    if given.is_empty() {
        return None;
    }
    // A file that cannot be read is reported where it is read.
    let text = super::bytes(&root.join(file)).unwrap_or_default();
    let declared = containerfile::global_args(&String::from_utf8_lossy(&text));
    declared.into_iter().find(|name| given.contains(name.as_str()))
}

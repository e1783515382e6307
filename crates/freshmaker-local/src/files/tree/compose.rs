//! Names of images that Compose files give, where that is certain.

use super::walk::{normal, not_a_file};
use super::yaml::Yaml;
use crate::files::Problem;
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
        for entry in yaml.get("services").map(Yaml::entries).unwrap_or_default() {
            let (Some(build), Some(image)) = (entry.value.get("build"), entry.value.get("image")) else { continue };
            let say = |why: &str| {
                remark(Some(entry.line), format!("the image of the service {} is not used: {why}", entry.key))
            };
            let found = match overridden {
                Some(name) => Err(format!("{name} may change it")),
                None => service(root, directory, build, image),
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

/// Returns the path of the file that a service builds, and its image.
fn service(root: &Path, directory: &str, build: &Yaml, image: &Yaml) -> Result<(String, ImageReference), String> {
    let plain = |what: &str, yaml: Option<&Yaml>, default: &str| {
        let text = yaml.map_or(Some(default), Yaml::text).ok_or_else(|| format!("its {what} is not a text"))?;
        // A doubled dollar sign is one, but names have none.
        if text.contains('$') { Err(format!("its {what} has variables")) } else { Ok(text.to_owned()) }
    };
    let image = plain("image", Some(image), "")?;
    if let Some(key) = ["target", "dockerfile_inline"].into_iter().find(|key| build.get(key).is_some()) {
        return Err(format!("it builds with {key}"));
    }
    let context = match build {
        Yaml::Text(_) => plain("context", Some(build), ".")?,
        _ => plain("context", build.get("context"), ".")?,
    };
    let name = plain("dockerfile", build.get("dockerfile"), "Dockerfile")?;
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
    let image: ImageReference = image.parse().map_err(|error| format!("{error}"))?;
    if image.digest().is_some() {
        return Err("it has a digest".to_owned());
    }
    Ok((file, image))
}

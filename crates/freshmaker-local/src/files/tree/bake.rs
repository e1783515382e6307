//! Names of images from files of `docker buildx bake`, where they are certain.

use super::built::{Built, Given, Wrong, built, directory_of, read};
use hcl_edit::Span;
use hcl_edit::expr::{Expression, ObjectKey};
use hcl_edit::structure::{Block, Body};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirEntry;
use std::path::Path;

const NAME: &str = "docker-bake.hcl";
/// What bake reads together with that file, besides Compose files.
const OTHERS: [&str; 3] = ["docker-bake.json", "docker-bake.override.hcl", "docker-bake.override.json"];
/// The attributes by which a target builds something else than its file by itself, or several
/// images.
const DECIDING: [&str; 6] = ["inherits", "matrix", "name", "target", "dockerfile-inline", "contexts"];

/// Returns the path of the bake file of a directory.
pub(super) fn of_directory(directory: &str, entries: &[DirEntry]) -> Option<String> {
    entries.iter().any(|entry| entry.file_name() == NAME).then(|| match directory {
        "" => NAME.to_owned(),
        _ => format!("{directory}/{NAME}"),
    })
}

/// Returns what the targets of a file build. Those without tags build nothing that has a name.
pub(super) fn targets(root: &Path, path: &str) -> Result<Vec<Given>, Wrong> {
    let text = read(root, path)?;
    let wrong = |error: hcl_edit::parser::Error| (Some(error.location().line()), error.message().to_owned());
    let body: Body = text.parse().map_err(wrong)?;
    let directory = directory_of(path);
    let exists = |name: &&str| root.join(directory).join(name).exists();
    let other = OTHERS.iter().chain(&super::compose::NAMES).copied().find(|name| exists(name));
    let targets: Vec<&Block> = body.blocks().filter(|block| block.ident.as_str() == "target").collect();
    let mut counts: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    targets.iter().for_each(|target| *counts.entry(label(target)).or_default() += 1);
    let (mut given, mut line, mut seen) = (Vec::new(), 1, 0);
    for target in targets.iter().filter(|target| target.body.get_attribute("tags").is_some()) {
        let found = match (other, label(target)) {
            (Some(name), _) => Err(format!("{name} may change it")),
            (None, Some(name)) if counts[&Some(name)] == 1 => image(root, directory, &target.body),
            (None, _) => Err("it has no name of its own".to_owned()),
        };
        let start = target.span().map_or(seen, |span| span.start);
        line += text.get(seen..start).map_or(0, |before| before.matches('\n').count());
        seen = start;
        given.push(Given { what: format!("target {}", label(target).unwrap_or_default()), line, found });
    }
    Ok(given)
}

fn label(target: &Block) -> Option<&str> {
    match target.labels.as_slice() {
        [label] => Some(label.as_str()),
        _ => None,
    }
}

/// Returns the path of the file that a target builds, and its image.
fn image(root: &Path, directory: &str, target: &Body) -> Result<Built, String> {
    // An empty object says nothing.
    let says = |key: &&str| {
        let object = target.get_attribute(key).map(|attribute| attribute.value.as_object());
        object.is_some_and(|object| object.is_none_or(|object| !object.is_empty()))
    };
    if let Some(key) = DECIDING.into_iter().find(says) {
        return Err(format!("it builds with {key}"));
    }
    if target.blocks().next().is_some() {
        return Err("it has blocks".to_owned());
    }
    let value = |key: &str| target.get_attribute(key).map(|attribute| &attribute.value);
    let plain = |key: &str, default: &str| match value(key) {
        None => Ok(default.to_owned()),
        Some(value) => value.as_str().map(str::to_owned).ok_or_else(|| format!("its {key} is not a plain text")),
    };
    if value("output").is_some_and(|output| !makes_image(output)) {
        return Err("its output is not an image".to_owned());
    }
    let tags: Vec<&Expression> = value("tags").and_then(Expression::as_array).into_iter().flatten().collect();
    let [tag] = tags.as_slice() else { return Err("it does not have one tag".to_owned()) };
    let tag = tag.as_str().ok_or("its tag is not a plain text")?;
    built(root, directory, [&plain("context", ".")?, &plain("dockerfile", "Dockerfile")?, tag], &args(value("args"))?)
}

/// Returns whether each output of a target is certainly an image.
fn makes_image(output: &Expression) -> bool {
    let is_image = |output: &Expression| {
        let kind =
            output.as_str().and_then(|text| text.split(',').find_map(|field| field.trim().strip_prefix("type=")));
        kind.is_some_and(|kind| ["docker", "image", "registry"].contains(&kind))
    };
    output.as_array().is_some_and(|outputs| outputs.iter().all(is_image))
}

/// Returns the names of the arguments that a target sets.
fn args(value: Option<&Expression>) -> Result<BTreeSet<&str>, String> {
    let Some(value) = value else { return Ok(BTreeSet::new()) };
    let object = value.as_object().ok_or("its args are not plain")?;
    object.iter().map(|(key, _)| name(key).ok_or_else(|| "its args are not plain".to_owned())).collect()
}

fn name(key: &ObjectKey) -> Option<&str> {
    match key {
        ObjectKey::Ident(name) => Some(name.as_str()),
        ObjectKey::Expression(name) => name.as_str(),
    }
}

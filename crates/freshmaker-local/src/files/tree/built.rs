//! Names of images from other files beside Containerfiles (Compose, bake), where they are certain.

use super::walk::{normal, not_a_file};
use super::{bake, compose};
use crate::files::{Problem, containerfile};
use freshmaker::artifact::ImageReference;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a service or a target says about an image.
pub(super) struct Given {
    /// Who says it, such as `service web`.
    pub(super) what: String,
    pub(super) line: usize,
    pub(super) found: Result<Built, String>,
}

/// The path of a file, and the image that is built from it.
pub(super) type Built = (String, ImageReference);

/// Why nothing is taken from a file, with the line if it is known.
pub(super) type Wrong = (Option<usize>, String);

/// Returns the images of files, by path. What is not certain is remarked on.
pub(super) fn names(
    root: &Path,
    composes: &BTreeSet<String>,
    bakes: &BTreeSet<String>,
    remarks: &mut Vec<Problem>,
) -> BTreeMap<String, ImageReference> {
    let mut by_file: BTreeMap<String, Vec<(ImageReference, Problem)>> = BTreeMap::new();
    let composes = composes.iter().map(|path| (path, compose::services(root, path)));
    let bakes = bakes.iter().map(|path| (path, bake::targets(root, path)));
    for (path, given) in composes.chain(bakes) {
        let full = root.join(path);
        let remark = |line: Option<usize>, text: String| Problem { path: full.clone(), line, text };
        let given = given.unwrap_or_else(|(line, text)| {
            remarks.push(remark(line, format!("no names are taken from it: {text}")));
            Vec::new()
        });
        for Given { what, line, found } in given {
            let say = |why: &str| remark(Some(line), format!("the image of the {what} is not used: {why}"));
            match found {
                Ok((file, image)) => {
                    by_file.entry(file).or_default().push((image, say("its file is built under several names")));
                }
                Err(why) => remarks.push(say(&why)),
            }
        }
    }
    let mut names = BTreeMap::new();
    for (file, images) in by_file {
        if images.iter().all(|(image, _)| *image == images[0].0) {
            names.extend(images.into_iter().map(|(image, _)| (file.clone(), image)));
        } else {
            remarks.extend(images.into_iter().map(|(_, problem)| problem));
        }
    }
    names
}

/// Reads a file, whatever its encoding is, without a byte order mark.
pub(super) fn read(root: &Path, path: &str) -> Result<String, Wrong> {
    let bytes = super::bytes(&root.join(path)).map_err(|error| (None, error.to_string()))?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// Returns the directory of a file, relative to the root.
pub(super) fn directory_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// Returns what is built from a context with a file, both relative to a directory, under a name and
/// with these arguments.
pub(super) fn built(
    root: &Path,
    directory: &str,
    [context, name, image]: [&str; 3],
    args: &BTreeSet<&str>,
) -> Result<Built, String> {
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
    if let Some(name) = decided(root, &file, args) {
        return Err(format!("it sets the argument {name}, on which the images in {file} may depend"));
    }
    let image: ImageReference = image.parse().map_err(|error| format!("{error}"))?;
    if image.digest().is_some() {
        return Err("it has a digest".to_owned());
    }
    Ok((file, image))
}

/// Returns the first argument on which the images in a file may depend.
fn decided(root: &Path, file: &str, args: &BTreeSet<&str>) -> Option<String> {
    if args.is_empty() {
        return None;
    }
    // A file that cannot be read is reported where it is read.
    let text = super::bytes(&root.join(file)).unwrap_or_default();
    let deciding = containerfile::deciding_args(&String::from_utf8_lossy(&text));
    deciding.into_iter().find(|name| args.contains(name.as_str()))
}

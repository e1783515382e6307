//! Reads a directory tree of Containerfiles as a graph of images.
//!
//! # Which files
//! * The names `Containerfile` and `Dockerfile`, and both with something before or after a dot, a
//!   dash or an underscore (`web.Dockerfile`, `Dockerfile-api`, `Dockerfile_worker`), or with a
//!   number (`Dockerfile2`), in upper or lower case.
//! * Other names that begin or end with these words (`DockerfileBuilder`), and the names of
//!   programs (`Dockerfile.go`), if the file can be read as a Containerfile.
//! * Any file that [`Naming::images`], a Compose file or a bake file names.
//!
//! These are not read. Each is among the files that were [passed over](PassedOver), with the
//! reason:
//!
//! * templates: by their ending (`Dockerfile.in`, `.j2`, `.tmpl`, …), or because builders refuse
//!   them and a line has `{{`, `{%`, `<% … %>`, `[% … %]`, `@@NAME@@` or `%%NAME%%` outside of
//!   quotes, or `FROM` has `@NAME@`, `<NAME>`, `__NAME__`, `#{NAME}` or `$(NAME)`;
//! * backups, patches, and texts about files (`Dockerfile.md`);
//! * programs that only have the name of a Containerfile;
//! * hidden files, and what is in `node_modules` or in a directory that is marked as a cache by a
//!   [`CACHEDIR.TAG`](https://bford.info/cachedir/).
//!
//! Hidden directories (`.devcontainer`) are read, except those of version control and
//! `.freshmaker`. Links to directories are not followed, links to files are. A file that is larger
//! than 1 MiB or that builders refuse is reported and left out, and so are all files after the
//! first 100,000.
//!
//! # Which image a file builds
//! The first of these that gives a name:
//!
//! 1. [`Naming::images`], by the path of the file;
//! 2. a comment before the first instruction, such as
//!    `# freshmaker: image=registry.example.com/team/app:1`;
//! 3. the first of [`Naming::rules`] whose expression fits the path, such as
//!    `registry.example.com/{1}:{2}` for `([^/]+)/([^/]+)/Dockerfile`;
//! 4. [`Naming::pattern`], such as `registry.example.com/team/{path}:{tag}`;
//! 5. a Compose file: a service with both `build` and `image`; or a bake file: a target with a tag;
//! 6. `localhost/{path}:{tag}`.
//!
//! * `{path}` is the directory of the file relative to the root, in lower case, with unsuitable
//!   characters replaced. For files in the root itself it is the name of the root.
//! * `{name}` is the last part of `{path}`.
//! * `{tag}` is what the file name adds: `alpine` in `Dockerfile.alpine`, `Dockerfile-alpine` and
//!   `alpine.Dockerfile`, with unsuitable characters replaced, else `latest`.
//!
//! If two files build the same image, the first one by path counts, and the other is reported.
//!
//! ## Compose files
//! Read are `compose.yaml`, `compose.yml`, `docker-compose.yml` and `docker-compose.yaml`, the
//! first of them in a directory. Only what is certain is taken from them. A service gives no name
//! if its `image`, `context` or `dockerfile` has variables or its context is not a directory of the
//! tree; if it builds a certain stage (`target`), an inline file or with `additional_contexts`; if
//! one of its `args` may decide which images the file uses; if it extends a service of another
//! file; if an override file is beside the Compose file; and if services build one file under
//! several names. Each such service is a [remark](Tree::remarks). A file that uses the image
//! of its service (`FROM postgres:17` in a service with the image `postgres:17`) keeps its own
//! name. Merged mappings (`<<`) and services that extend others of the same file are read as
//! Compose does. No names are taken from a file that Compose refuses (keys that are given twice,
//! `build` without a value), nor from one with several documents or with the tags `!reset` and
//! `!override`.
//!
//! ## Bake files
//! A target in a `docker-bake.hcl` with one tag names its file in the same way, if `tags`,
//! `context` and `dockerfile` are plain texts. A target gives no name if it inherits from others,
//! is a matrix, builds a certain stage or with `contexts`, if one of its `args` may decide which
//! images the file uses, and if bake reads another file beside that one, such as a Compose
//! file. Scripts of CI systems are not read, because what they build depends on conditions.
//!
//! # Which `FROM` means a file of the tree
//! A name that equals the image of a file means that file. Each file also has aliases, so that
//! short names work as people expect. Every split of its path into repository and tag is an alias,
//! on Docker Hub and on `localhost`:
//!
//! * `base/Dockerfile` builds `localhost/base:latest`, with the alias `base`.
//! * `base/Dockerfile.alpine` builds `localhost/base:alpine`, with the alias `base:alpine`.
//! * `team/base/Dockerfile` builds `localhost/team/base:latest`, with the aliases `team/base` and
//!   `team:base`.
//! * `python/3.12/Dockerfile` builds `localhost/python/3.12:latest`, with the aliases `python/3.12`
//!   and `python:3.12`.
//! * `python/3.12/slim/Dockerfile` builds `localhost/python/3.12/slim:latest`, with the aliases
//!   `python/3.12/slim`, `python/3.12:slim` and `python:3.12-slim`.
//!
//! There are two exceptions. An alias of two files means neither of them, and is reported if a file
//! uses it. An alias that a file itself uses means the public image: `FROM python` in
//! `python/Dockerfile` cannot mean its own result, so `python` does not mean that file anywhere.

mod bake;
mod built;
mod compose;
mod names;
mod naming;
mod passed;
mod walk;
mod yaml;

pub use naming::{Naming, Rule, RuleError};
pub use passed::{PassedOver, Why};

use super::Problem;
use super::containerfile::{self, Recipe, UsedImage};
use freshmaker::artifact::{Artifact, ArtifactId, ArtifactKind, Digest, ImageReference};
use freshmaker::graph::{ArtifactGraph, Note};
use naming::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use walk::Found;

const FILE_SIZE_MAX: u64 = 1 << 20;
const GIVE_IT_ONE: &str = "give it one with a comment at its beginning: # freshmaker: image=…";
const LOCALHOST: &str = "localhost";

/// The images that a tree of Containerfiles builds.
///
/// ```
/// use freshmaker::EdgeKind;
/// use freshmaker_local::files::tree::{self, Naming};
///
/// let root = tempfile::tempdir()?;
/// for (directory, text) in [("base", "FROM debian:12\n"), ("app", "FROM base\n")] {
///     std::fs::create_dir(root.path().join(directory))?;
///     std::fs::write(root.path().join(directory).join("Containerfile"), text)?;
/// }
/// let tree = tree::scan(root.path(), &Naming::default())?;
/// let parents = tree.graph.parents(&"localhost/app:latest".into());
/// assert_eq!(parents, [(&"localhost/base:latest".into(), EdgeKind::ParentImage)]);
/// assert!(tree.problems.is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Tree {
    /// The images of the files, and all images that they are built from.
    pub graph: ArtifactGraph,
    /// What was left out, and why. References that cost an edge come first, then files that are
    /// left out, then names that are given in vain; each group is sorted by path and line.
    pub problems: Vec<Problem>,
    /// What was taken for granted, by path and line: variables without a value that are empty, and
    /// services of Compose files and targets of bake files that give no name.
    pub remarks: Vec<Problem>,
    /// The files that look like Containerfiles and were not read.
    pub passed_over: PassedOver,
    /// The image of each file, by path relative to the root, with `/`.
    pub files: BTreeMap<String, ArtifactId>,
    /// The images of files that are left out because they cannot be read or builders refuse them,
    /// each with the problem. The graph has them only if other files use them.
    pub left_out: BTreeMap<ArtifactId, Problem>,
}

/// A file that was read, with the name of the image that it builds.
#[derive(Debug)]
struct File {
    path: String,
    place: Place,
    image: ImageReference,
    recipe: Recipe,
    digest: Digest,
}

/// What a problem means for the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    /// A dependency is missing.
    Edge,
    /// A file is missing, and with it an image.
    File,
    /// Nothing that a file says is lost.
    Nothing,
}

/// Reads a tree. Nothing is written or run, and the same files always give the same result.
///
/// # Errors
/// The error of the operating system if the root cannot be read. All other faults are among the
/// [`problems`](Tree::problems).
pub fn scan(root: &Path, naming: &Naming) -> io::Result<Tree> {
    let absolute = fs::canonicalize(root)?;
    let root_name = absolute.file_name().map_or_else(String::new, |name| naming::fit(&name.to_string_lossy()));
    // This removes `.` and doubled slashes from the path as it was written.
    let root = &root.components().collect::<PathBuf>();
    let Found { mut files, composes, bakes, mut passed, problems } = walk::find(root)?;
    let mut problems: Vec<_> = problems.into_iter().map(|problem| (Cost::File, problem)).collect();
    let named: BTreeMap<String, ImageReference> =
        naming.images.iter().map(|(path, image)| (walk::normal(path), image.clone())).collect();
    let mut remarks = Vec::new();
    let services = built::names(root, &composes, &bakes, &mut remarks);
    for path in named.keys() {
        match walk::not_a_file(root, path) {
            None => drop(files.insert(path.clone())),
            Some(why) => {
                let text = not_found(path, why, &files);
                problems.push((Cost::Nothing, Problem { path: root.join(path), line: None, text }));
            }
        }
    }
    files.extend(services.keys().filter(|path| walk::not_a_file(root, path).is_none()).cloned());
    let source = Source { root, root_name: &root_name, naming, named: &named, services: &services };
    let mut read: BTreeMap<String, File> = BTreeMap::new();
    let mut left_out = BTreeMap::new();
    for path in &files {
        passed.remove(path);
        match source.read(path) {
            Ok(Ok(file)) => {
                for problem in &file.recipe.problems {
                    problems.push((Cost::Edge, Problem::at(root.join(path), problem)));
                }
                remarks.extend(file.recipe.remarks.iter().map(|remark| Problem::at(root.join(path), remark)));
                match read.get(&file.image.to_string()) {
                    Some(first) => {
                        let text = format!("{} is already built by {}; this file is left out", file.image, first.path);
                        problems.push((Cost::File, Problem { path: root.join(path), line: None, text }));
                    }
                    None => drop(read.insert(file.image.to_string(), file)),
                }
            }
            Ok(Err(why)) => passed.add(path, why),
            Err(problem) => {
                left_out.extend(source.supposed(path).map(|image| (ArtifactId::from(&image), problem.clone())));
                problems.push((Cost::File, problem));
            }
        }
    }
    left_out.retain(|image, _| !read.contains_key(image.as_str()));
    let aliases = aliases(root, &read, &mut problems);
    let graph = graph(root, &read, &aliases, &mut problems);
    problems.sort();
    remarks.sort();
    let problems = problems.into_iter().map(|(_, problem)| problem).collect();
    let files = read.into_values().map(|file| (file.path, ArtifactId::from(&file.image))).collect();
    Ok(Tree { graph, problems, remarks, passed_over: passed, files, left_out })
}

/// Returns why no file was found for the image that a path was given.
fn not_found(path: &str, why: &str, found: &BTreeSet<String>) -> String {
    let inside = |near: &&String| near.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    let distance = |near: &&String| strsim::damerau_levenshtein(path, near);
    let similar = || found.iter().min_by_key(distance).filter(|near| distance(near) <= 1 + near.len() / 4);
    let hint = found.iter().find(inside).or_else(similar);
    let hint = hint.map_or_else(String::new, |near| format!(", did you mean {near:?}?"));
    format!("an image is given to it, but {why}{hint}")
}

/// Where the files of a tree are, and all that says how their images are named.
struct Source<'a> {
    root: &'a Path,
    root_name: &'a str,
    naming: &'a Naming,
    named: &'a BTreeMap<String, ImageReference>,
    services: &'a BTreeMap<String, ImageReference>,
}

impl Source<'_> {
    /// Reads a file, or says why it is passed over.
    fn read(&self, path: &str) -> Result<Result<File, Why>, Problem> {
        let full = self.root.join(path);
        let problem = |text: String| Problem { path: full.clone(), line: None, text };
        let bytes = bytes(&full).map_err(|error| problem(error.to_string()))?;
        // Comments and commands may use any encoding that contains ASCII; builders accept that.
        let text = String::from_utf8_lossy(&bytes);
        let is_named = self.named.contains_key(path) || self.services.contains_key(path);
        let parsed = containerfile::parse(&text);
        if !is_named && let Some(why) = names::passed_over(path, &text, &parsed) {
            return Ok(Err(why));
        }
        let recipe = parsed.map_err(|error| Problem::at(full.clone(), &error))?;
        let place = Place::of(path, self.root_name);
        let image = match (self.named.get(path), &recipe.names) {
            (Some(image), _) => image.clone(),
            (None, Some((line, name))) => name.parse().map_err(|error| Problem {
                path: full.clone(),
                line: Some(*line),
                text: format!("freshmaker: image: {error}"),
            })?,
            (None, None) => self.image(path, &place, &recipe).map_err(problem)?,
        };
        Ok(Ok(File { path: path.to_owned(), place, image: image.without_digest(), recipe, digest: Digest::of(&bytes) }))
    }

    /// Returns the image that a file would build if it could be read.
    fn supposed(&self, path: &str) -> Option<ImageReference> {
        let name_in = || {
            let bytes = bytes(&self.root.join(path)).ok()?;
            containerfile::name_in(&String::from_utf8_lossy(&bytes))?.parse().ok()
        };
        let by_place = || self.image(path, &Place::of(path, self.root_name), &Recipe::default()).ok();
        let image: ImageReference = self.named.get(path).cloned().or_else(name_in).or_else(by_place)?;
        Some(image.without_digest())
    }

    /// Returns the image of a file that does not name it itself.
    fn image(&self, path: &str, place: &Place, recipe: &Recipe) -> Result<ImageReference, String> {
        if let Some((number, filled)) = self.naming.by_rule(path, place) {
            return filled.parse().map_err(|error| format!("rule {number} makes no image name of its path: {error}"));
        }
        match (&self.naming.pattern, self.services.get(path)) {
            (None, Some(image)) if !uses(recipe, image) => Ok(image.clone()),
            (pattern, _) => place
                .image(pattern.as_deref())
                .map_err(|error| format!("its path makes no image name: {error}; {GIVE_IT_ONE}")),
        }
    }
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_SIZE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_SIZE_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {FILE_SIZE_MAX} bytes")));
    }
    Ok(bytes)
}

/// Returns whether a file uses an image under this name.
fn uses(recipe: &Recipe, name: &ImageReference) -> bool {
    recipe.images.iter().any(|used| name_of(&used.image) == *name)
}

/// Returns the name that an image is followed by. A reference with a digest and without a tag names
/// contents and nothing else, so it stays as it is.
fn name_of(image: &ImageReference) -> ImageReference {
    if image.tag().is_some() { image.without_digest() } else { image.clone() }
}

/// Decides which alias means which file. Aliases that are ambiguous, or evidently the name of
/// another image, are left out.
fn aliases<'a>(
    root: &Path,
    files: &'a BTreeMap<String, File>,
    problems: &mut Vec<(Cost, Problem)>,
) -> BTreeMap<String, &'a ImageReference> {
    let mut claims: BTreeMap<ImageReference, Vec<&File>> = BTreeMap::new();
    for file in files.values() {
        for alias in file.place.aliases().filter(|alias| !files.contains_key(&alias.to_string())) {
            claims.entry(alias).or_default().push(file);
        }
    }
    let mut aliases = BTreeMap::new();
    for (alias, mut claim) in claims {
        claim.sort_by_key(|file| &file.path);
        match claim.as_slice() {
            [file] if uses(&file.recipe, &alias) => {}
            [file] => drop(aliases.insert(alias.to_string(), &file.image)),
            [first, .., last] if files.values().any(|file| uses(&file.recipe, &alias)) => {
                let text = format!("{} could also be {}, so it means neither", alias.familiar(), first.path);
                problems.push((Cost::Edge, Problem { path: root.join(&last.path), line: None, text }));
            }
            _ => {}
        }
    }
    aliases
}

fn graph(
    root: &Path,
    files: &BTreeMap<String, File>,
    aliases: &BTreeMap<String, &ImageReference>,
    problems: &mut Vec<(Cost, Problem)>,
) -> ArtifactGraph {
    let mut graph = ArtifactGraph::new();
    for (id, file) in files {
        let (directory, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let location: PathBuf = if directory.is_empty() { root.to_owned() } else { root.join(directory) };
        let artifact = Artifact::new(id.as_str(), ArtifactKind::Image)
            .with_source(location.to_string_lossy(), Some(file.digest.as_str()))
            .with_parameter("file", name);
        graph.insert(artifact);
    }
    for (id, file) in files {
        let child = ArtifactId::from(id.as_str());
        let mut notes = Vec::new();
        for used in &file.recipe.images {
            let name = name_of(&used.image);
            let parent = ArtifactId::from(aliases.get(&name.to_string()).copied().unwrap_or(&name));
            if graph.get(&parent).is_none() {
                graph.insert(Artifact::new(parent.clone(), ArtifactKind::Image));
            }
            match used.edge() {
                Ok(_) if parent == child => {
                    let text = format!("{parent} is built from itself");
                    problems.push((Cost::Edge, Problem { path: root.join(&file.path), line: Some(used.line), text }));
                }
                // This cannot fail, because both ends were inserted.
                Ok(kind) => drop(graph.depend(child.clone(), parent, kind)),
                Err(code) => notes.push(Note { parent, code: code.to_owned(), text: reason(file, used, code) }),
            }
        }
        for note in notes {
            let followed =
                note.parent == child || graph.parents(&child).iter().any(|(parent, _)| **parent == note.parent);
            if !followed {
                let _ = graph.note(&child, note);
            }
        }
    }
    for (alias, image) in aliases {
        let _ = graph.alias(alias.as_str(), *image);
    }
    graph
}

fn reason(file: &File, used: &UsedImage, code: &str) -> String {
    let place = format!("{}:{}", file.path, used.line);
    let without_digest = used.image.without_digest().familiar();
    let name = match used.image.tag() {
        Some(_) => without_digest,
        None => without_digest.trim_end_matches(":latest").to_owned(),
    };
    match code {
        "unused_stage" => format!("{place} uses {name} in a stage that the image does not need"),
        "onbuild" => format!("{place} uses {name} only when another image is built from this one"),
        _ if used.image.tag().is_none() => format!("{place} pins {name} by digest (no tag given)"),
        _ => format!("{place} pins {name} by digest"),
    }
}

//! Reads a directory tree of Containerfiles as a graph of images.
//!
//! # Which files
//! The names `Containerfile` and `Dockerfile`, and both with something before or after a dot
//! (`web.Dockerfile`, `Dockerfile.alpine`), in upper or lower case. These are not read:
//!
//! * hidden files and directories, `node_modules` and `target`;
//! * ignore files, backups, templates (`Dockerfile.in`, `.j2`, `.tmpl`, …) and texts about files
//!   (`Dockerfile.md`);
//! * programs: `dockerfile.go` without a line that begins with `FROM` is not a Containerfile.
//!
//! Links to directories are not followed, links to files are. A file that is larger than 1 MiB or
//! cannot be parsed is reported and left out, and so are all files after the first 100,000.
//!
//! # Which image a file builds
//! The first of these that gives a name:
//!
//! 1. [`Naming::images`], by the path of the file;
//! 2. a comment before the first instruction, such as
//!    `# freshmaker: image=registry.example.com/team/app:1`;
//! 3. [`Naming::pattern`], such as `registry.example.com/team/{path}:{tag}`;
//! 4. `localhost/{path}:{tag}`.
//!
//! * `{path}` is the directory of the file relative to the root, in lower case. For files in the
//!   root itself it is the name of the root, with unsuitable characters replaced.
//! * `{name}` is the last part of `{path}`.
//! * `{tag}` is what the file name adds: `alpine` in `Dockerfile.alpine` and `alpine.Dockerfile`,
//!   else `latest`.
//!
//! If two files build the same image, the first one by path counts, and the other is reported.
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
//! There are two exceptions. An alias of two files means neither of them, and is reported. An alias
//! that a file itself uses means the public image: `FROM python` in `python/Dockerfile` cannot mean
//! its own result, so `python` does not mean that file anywhere.

use super::Problem;
use super::containerfile::{self, Recipe, UsedImage};
use freshmaker::artifact::ImageReference;
use freshmaker::artifact::{Artifact, ArtifactId, ArtifactKind, Digest};
use freshmaker::graph::{ArtifactGraph, Note};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const FILE_SIZE_MAX: u64 = 1 << 20;
const FILES_MAX: usize = 100_000;
const GIVE_IT_ONE: &str = "give it one with a comment at its beginning: # freshmaker: image=…";
const LOCALHOST: &str = "localhost";
const SKIPPED_DIRECTORIES: [&str; 2] = ["node_modules", "target"];
const SKIPPED_ENDINGS: [&str; 31] = [
    "dockerignore",
    "containerignore",
    "bak",
    "orig",
    "old",
    "save",
    "rej",
    "swp",
    "tmp",
    "patch",
    "diff",
    "in",
    "j2",
    "jinja",
    "jinja2",
    "tmpl",
    "tpl",
    "gotmpl",
    "template",
    "erb",
    "ejs",
    "hbs",
    "mustache",
    "md",
    "rst",
    "adoc",
    "html",
    "json",
    "yaml",
    "yml",
    "lock",
];
/// A program about Containerfiles may have the name of one; a Containerfile may also be named after
/// the language of its contents.
const PROGRAM_ENDINGS: [&str; 20] = [
    "c", "cc", "cpp", "cs", "go", "h", "java", "js", "kt", "lua", "mjs", "php", "pl", "py", "rb", "rs", "sh", "swift",
    "ts", "vim",
];

/// How the images of a tree are named if the files themselves do not say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// The pattern for the name of an image, with `{path}`, `{name}` and `{tag}`; `None` (the
    /// default) for `localhost/{path}:{tag}`.
    pub pattern: Option<String>,
    /// The images of single files, by path relative to the root, with `/`. They take precedence
    /// over everything else.
    pub images: BTreeMap<String, ImageReference>,
}

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
    /// What was left out, and why.
    pub problems: Vec<Problem>,
    /// The image of each file, by path relative to the root, with `/`.
    pub files: BTreeMap<String, ArtifactId>,
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

/// What the path of a file says about its image.
#[derive(Debug)]
struct Place {
    directory: Vec<String>,
    tag: Option<String>,
}

/// Reads a tree. Nothing is written or run, and the same files always give the same result.
///
/// # Errors
/// The error of the operating system if the root cannot be read. All other faults are among the
/// [`problems`](Tree::problems).
pub fn scan(root: &Path, naming: &Naming) -> io::Result<Tree> {
    let absolute = fs::canonicalize(root)?;
    let root_name = absolute.file_name().map_or_else(String::new, |name| fit(&name.to_string_lossy()));
    // This removes `.` and doubled slashes from the path as it was written.
    let root = &root.components().collect::<PathBuf>();
    let mut problems = Vec::new();
    let mut files: BTreeMap<String, File> = BTreeMap::new();
    let found = find(root, &mut problems)?;
    for path in &found {
        match read(root, &root_name, path, naming) {
            Ok(None) => {}
            Ok(Some(file)) => {
                for problem in &file.recipe.problems {
                    problems.push(Problem::at(root.join(path), problem));
                }
                match files.get(&file.image.to_string()) {
                    Some(first) => {
                        let text = format!("{} is already built by {}; this file is left out", file.image, first.path);
                        problems.push(Problem { path: root.join(path), line: None, text });
                    }
                    None => drop(files.insert(file.image.to_string(), file)),
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    for path in naming.images.keys().filter(|path| !found.contains(*path)) {
        let place = root.join(path).components().collect();
        problems.push(Problem { path: place, line: None, text: not_found(root, path, &found) });
    }
    let aliases = aliases(root, &files, &mut problems);
    let graph = graph(root, &files, &aliases, &mut problems);
    problems.sort();
    let files = files.into_values().map(|file| (file.path, ArtifactId::from(&file.image))).collect();
    Ok(Tree { graph, problems, files })
}

/// Returns why no file was found for the image that a path was given.
fn not_found(root: &Path, path: &str, found: &BTreeSet<String>) -> String {
    let why = match fs::metadata(root.join(path)) {
        Ok(meta) if meta.is_dir() => "this is a directory",
        Ok(_) => "it is not read under this name",
        Err(_) => "there is no such file",
    };
    let inside = |near: &&String| near.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    let distance = |near: &&String| strsim::damerau_levenshtein(path, near);
    let similar = || found.iter().min_by_key(distance).filter(|near| distance(near) <= 1 + near.len() / 4);
    let hint = found.iter().find(inside).or_else(similar);
    let hint = hint.map_or_else(String::new, |near| format!(", did you mean {near:?}?"));
    format!("an image is given to it, but {why}{hint}")
}

/// Changes a directory name that was not chosen for an image so that it is valid in one. Otherwise
/// it would matter where the tree is on the machine.
fn fit(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut fitting = String::new();
    for word in name.to_lowercase().split(|c| !plain(c) && c != '.' && c != '_').filter(|word| !word.is_empty()) {
        if !fitting.is_empty() {
            fitting.push('-');
        }
        fitting.push_str(word.trim_matches(|c| !plain(c)));
    }
    fitting
}

/// Returns the paths of all Containerfiles relative to the root, sorted.
fn find(root: &Path, problems: &mut Vec<Problem>) -> io::Result<BTreeSet<String>> {
    fs::read_dir(root)?;
    let mut found = BTreeSet::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(root.join(&directory)).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                problems.push(Problem { path: root.join(&directory), line: None, text: error.to_string() });
                continue;
            }
        };
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
        for entry in entries {
            let name = entry.file_name();
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let Some(name) = name.to_str() else {
                if is_directory || is_containerfile(&name.to_string_lossy()) {
                    let text = "left out, because its name is not text".to_owned();
                    problems.push(Problem { path: entry.path(), line: None, text });
                }
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            let path = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
            if is_directory {
                if !SKIPPED_DIRECTORIES.contains(&name) {
                    directories.push(path);
                }
            } else if is_containerfile(name) && fs::metadata(entry.path()).is_ok_and(|meta| meta.is_file()) {
                if found.len() == FILES_MAX {
                    let text = format!("more than {FILES_MAX} files; this one and all later ones are left out");
                    problems.push(Problem { path: entry.path(), line: None, text });
                    return Ok(found);
                }
                found.insert(path);
            }
        }
    }
    Ok(found)
}

fn is_containerfile(name: &str) -> bool {
    tag_of(name).is_some() && !name.ends_with('~') && !SKIPPED_ENDINGS.contains(&ending(name).as_str())
}

fn ending(name: &str) -> String {
    name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase()
}

fn is_program(name: &str, text: &str) -> bool {
    PROGRAM_ENDINGS.contains(&ending(name).as_str())
        && !text.lines().any(|line| line.split_whitespace().next() == Some("FROM"))
}

/// Returns `None` if this is not the name of a Containerfile, else what the name adds to
/// `Containerfile` or `Dockerfile`.
fn tag_of(name: &str) -> Option<Option<&str>> {
    ["containerfile", "dockerfile"].into_iter().find_map(|word| {
        if name.eq_ignore_ascii_case(word) {
            return Some(None);
        }
        let starts = name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        if let Some(tag) = name.get(word.len()..).and_then(|rest| rest.strip_prefix('.')).filter(|_| starts) {
            return Some(Some(tag));
        }
        let (tag, end) = name.split_at_checked(name.len().checked_sub(word.len())?)?;
        end.eq_ignore_ascii_case(word).then(|| tag.strip_suffix('.').map(Some))?
    })
}

fn read(root: &Path, root_name: &str, path: &str, naming: &Naming) -> Result<Option<File>, Problem> {
    let full = root.join(path);
    let problem = |text: String| Problem { path: full.clone(), line: None, text };
    let bytes = bytes(&full).map_err(|error| problem(error.to_string()))?;
    // Comments and commands may use any encoding that contains ASCII; builders accept that.
    let text = String::from_utf8_lossy(&bytes);
    if is_program(path, &text) {
        return Ok(None);
    }
    let recipe = containerfile::parse(&text).map_err(|error| Problem::at(full.clone(), &error))?;
    let place = Place::of(path, root_name);
    let image = match (naming.images.get(path), &recipe.names) {
        (Some(image), _) => Ok(image.clone()),
        (None, Some((line, name))) => name.parse().map_err(|error| Problem {
            path: full.clone(),
            line: Some(*line),
            text: format!("freshmaker: image: {error}"),
        }),
        (None, None) => place
            .image(naming.pattern.as_deref())
            .map_err(|error| problem(format!("its path makes no image name: {error}; {GIVE_IT_ONE}"))),
    }?;
    Ok(Some(File { path: path.to_owned(), place, image: image.without_digest(), recipe, digest: Digest::of(&bytes) }))
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_SIZE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_SIZE_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {FILE_SIZE_MAX} bytes")));
    }
    Ok(bytes)
}

impl File {
    fn uses(&self, name: &ImageReference) -> bool {
        self.recipe.images.iter().any(|used| used.image.without_digest() == *name)
    }
}

impl Place {
    fn of(path: &str, root_name: &str) -> Self {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = if directory.is_empty() { root_name } else { directory };
        Self {
            directory: directory.split('/').map(str::to_lowercase).collect(),
            tag: tag_of(name).flatten().map(str::to_owned),
        }
    }

    fn image(&self, pattern: Option<&str>) -> Result<ImageReference, freshmaker::artifact::ReferenceError> {
        pattern
            .unwrap_or("localhost/{path}:{tag}")
            .replace("{path}", &self.directory.join("/"))
            .replace("{name}", self.directory.last().map_or("", String::as_str))
            .replace("{tag}", self.tag.as_deref().unwrap_or("latest"))
            .parse()
    }

    /// Returns the short names that people use for the image of this file.
    fn aliases(&self) -> impl Iterator<Item = ImageReference> {
        (1..=self.directory.len()).rev().flat_map(|end| {
            let (repository, rest) = self.directory.split_at(end);
            let tag: Vec<&str> = rest.iter().map(String::as_str).chain(self.tag.as_deref()).collect();
            let tag = if tag.is_empty() { "latest".to_owned() } else { tag.join("-") };
            let repository = repository.join("/");
            ["docker.io", LOCALHOST]
                .into_iter()
                .filter_map(move |host| format!("{host}/{repository}:{tag}").parse().ok())
        })
    }
}

/// Decides which alias means which file. Aliases that are ambiguous, or evidently the name of
/// another image, are left out.
fn aliases<'a>(
    root: &Path,
    files: &'a BTreeMap<String, File>,
    problems: &mut Vec<Problem>,
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
            [file] if file.uses(&alias) => {}
            [file] => drop(aliases.insert(alias.to_string(), &file.image)),
            // An alias that is ambiguous on one host is so on all hosts; one report is enough.
            [first, .., last] if alias.registry() != LOCALHOST => {
                let text = format!("{} could also be {}, so it means neither", alias.familiar(), first.path);
                problems.push(Problem { path: root.join(&last.path), line: None, text });
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
    problems: &mut Vec<Problem>,
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
            let name = used.image.without_digest();
            let parent = ArtifactId::from(aliases.get(&name.to_string()).copied().unwrap_or(&name));
            if graph.get(&parent).is_none() {
                graph.insert(Artifact::new(parent.clone(), ArtifactKind::Image));
            }
            match used.edge() {
                Ok(_) if parent == child => problems.push(Problem {
                    path: root.join(&file.path),
                    line: Some(used.line),
                    text: format!("{parent} is built from itself"),
                }),
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
    let name = used.image.without_digest().familiar();
    match code {
        "unused_stage" => format!("{place} uses {name} in a stage that the image does not need"),
        "onbuild" => format!("{place} uses {name} only when another image is built from this one"),
        _ => format!("{place} pins {name} by digest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerfiles_are_known_by_name() {
        for (name, tag) in [
            ("Dockerfile", None),
            ("containerfile", None),
            ("DOCKERFILE.Alpine", Some("Alpine")),
            ("Containerfile.a.b", Some("a.b")),
            ("web.dockerfile", Some("web")),
        ] {
            assert!(is_containerfile(name), "{name}");
            assert_eq!(tag_of(name), Some(tag), "{name}");
        }
        for name in [
            "Dockerfile~",
            "Dockerfile.dockerignore",
            "Dockerfile.alpine.dockerignore",
            "Dockerfile.bak",
            "Dockerfile.in",
            "Dockerfile.j2",
            "Dockerfiles",
            "MyDockerfile",
            "docker",
            "é",
            "Dockerfile-alpine",
            "Dockerfile.alpine~",
        ] {
            assert!(!is_containerfile(name), "{name}");
        }
    }

    #[test]
    fn a_path_has_short_names() {
        for (path, expected) in [
            ("base/Dockerfile", &["base:latest"][..]),
            ("base/Dockerfile.alpine", &["base:alpine"]),
            ("python/3.12/slim/Dockerfile", &["python/3.12/slim:latest", "python/3.12:slim", "python:3.12-slim"]),
            ("Dockerfile", &["root:latest"]),
        ] {
            let names: Vec<String> = Place::of(path, "root")
                .aliases()
                .filter(|alias| alias.registry() == "docker.io")
                .map(|alias| alias.familiar())
                .collect();
            assert_eq!(names, expected, "{path}");
        }
    }
}

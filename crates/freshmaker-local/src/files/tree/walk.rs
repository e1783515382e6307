//! Finds the files of a tree.

use super::names::{self, Name};
use super::passed::{PassedOver, Why};
use crate::files::Problem;
use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::io::{self, Read};
use std::path::Path;

const FILES_MAX: usize = 100_000;
/// What version control and an engine keep for themselves. Nothing in them is a recipe.
const UNSEEN_DIRECTORIES: [&str; 8] = [".git", ".hg", ".svn", ".bzr", ".jj", "CVS", "_darcs", ".freshmaker"];
const PACKAGES: &str = "node_modules";
const CACHE_TAG: &str = "CACHEDIR.TAG";
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// The files of a tree, by path relative to the root.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: BTreeSet<String>,
    /// Compose files, the one that counts of each directory.
    pub(super) composes: BTreeSet<String>,
    /// Files of `docker buildx bake`.
    pub(super) bakes: BTreeSet<String>,
    pub(super) passed: PassedOver,
    pub(super) problems: Vec<Problem>,
}

/// A directory that is still to be read, and why its files are passed over, if they are.
struct Pending {
    path: String,
    why: Option<Why>,
}

pub(super) fn find(root: &Path) -> io::Result<Found> {
    fs::read_dir(root)?;
    let mut found = Found::default();
    let mut pending = vec![Pending { path: String::new(), why: None }];
    while let Some(Pending { path: directory, why }) = pending.pop() {
        let entries = fs::read_dir(root.join(&directory)).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                found.problems.push(Problem { path: root.join(&directory), line: None, text: error.to_string() });
                continue;
            }
        };
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
        let is_cache = !directory.is_empty() && entries.iter().any(is_cache_tag);
        let why = why.or(is_cache.then_some(Why::Cache));
        for entry in &entries {
            if let Err(problem) = found.take(entry, &directory, why, &mut pending) {
                found.problems.push(problem);
                return Ok(found);
            }
        }
        if why.is_none() {
            found.composes.extend(super::compose::of_directory(&directory, &entries));
            found.bakes.extend(super::bake::of_directory(&directory, &entries));
        }
    }
    Ok(found)
}

impl Found {
    /// Sorts out one entry of a directory.
    ///
    /// # Errors
    /// A problem after which nothing more is read.
    fn take(
        &mut self,
        entry: &DirEntry,
        directory: &str,
        why: Option<Why>,
        pending: &mut Vec<Pending>,
    ) -> Result<(), Problem> {
        let name = entry.file_name();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let Some(name) = name.to_str() else {
            if is_directory || names::look(&name.to_string_lossy()) != Name::Other {
                let text = "left out, because its name is not text".to_owned();
                self.problems.push(Problem { path: entry.path(), line: None, text });
            }
            return Ok(());
        };
        let path = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
        if is_directory {
            if !UNSEEN_DIRECTORIES.contains(&name) {
                let why = why.or((name == PACKAGES).then_some(Why::Package));
                pending.push(Pending { path, why });
            }
            return Ok(());
        }
        let look = names::look(name);
        if look == Name::Other || !fs::metadata(entry.path()).is_ok_and(|meta| meta.is_file()) {
            return Ok(());
        }
        if self.files.len() + self.passed.len() == FILES_MAX {
            let text = format!("more than {FILES_MAX} files; this one and all later ones are left out");
            return Err(Problem { path: entry.path(), line: None, text });
        }
        match (why, look) {
            (Some(why), _) | (None, Name::PassedOver(why)) => self.passed.add(&path, why),
            _ => drop(self.files.insert(path)),
        }
        Ok(())
    }
}

fn is_cache_tag(entry: &DirEntry) -> bool {
    let mut start = Vec::new();
    let length = CACHE_SIGNATURE.len() as u64;
    entry.file_name() == CACHE_TAG
        && fs::File::open(entry.path()).and_then(|file| file.take(length).read_to_end(&mut start)).is_ok()
        && start == CACHE_SIGNATURE
}

/// Returns why a path is not that of a file in the tree; `None` if it is.
pub(super) fn not_a_file(root: &Path, path: &str) -> Option<&'static str> {
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Some("it is not in the tree");
    }
    match fs::metadata(root.join(path)) {
        Ok(meta) if meta.is_dir() => Some("this is a directory"),
        Ok(meta) if meta.is_file() => None,
        Ok(_) => Some("this is no file"),
        Err(_) => Some("there is no such file"),
    }
}

/// Returns a path without `.`, doubled slashes, and `..` where what is before it is known.
pub(super) fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let slash = if path.starts_with('/') { "/" } else { "" };
    format!("{slash}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_plain() {
        for (path, expected) in
            [("./a//b", "a/b"), ("a/./b/../c", "a/c"), ("../a", "../a"), ("a/../../b", "../b"), ("/a", "/a"), (".", "")]
        {
            assert_eq!(normal(path), expected, "{path}");
        }
    }
}

//! What the build contexts of a tree contain, as one digest for each image.

use crate::Result;
use crate::config::FILE;
use crate::live::Read;
use crate::site::Site;
use crate::tree::from_each_other;
use freshmaker::Artifact;
use freshmaker::artifact::{ArtifactId, Digest};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The most files of one build context that are looked at, and the most bytes of one file. Of a
/// larger context only the Containerfile counts, and of a larger file its size and date.
const FILES_MAX: usize = 20_000;
const BYTES_MAX: u64 = 64 << 20;
/// The deepest directory below a build context.
const DEPTH_MAX: usize = 32;

/// What was known of a file when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    mode: u32,
}

/// What a build context contains, and when each of its files was written last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) revision: Digest,
    /// The inode of each file, and when it was changed: no program can set that back.
    written: BTreeMap<PathBuf, (u64, i64, i64)>,
}

impl Moment {
    /// Returns a file that was written, made or removed between this and a later look.
    pub(crate) fn changed<'a>(&'a self, later: &'a Self) -> Option<&'a Path> {
        let differs = |path: &&PathBuf| self.written.get(*path) != later.written.get(*path);
        self.written.keys().chain(later.written.keys()).find(differs).map(PathBuf::as_path)
    }
}

/// Looks at the build context of an image. `None` if it has none, or one that is too large.
pub(crate) fn moment(artifact: &Artifact, state: &Path) -> Option<Moment> {
    let source = artifact.source.as_ref()?;
    let mut lines = vec![source.revision.clone().unwrap_or_default()];
    let root = Path::new(&source.location);
    lines.extend(Sources::default().context(root, state, &mut BTreeMap::new()).ok()?);
    let mut written = BTreeMap::new();
    // What has gone since then differs from the next look.
    let _ = walk(root, state, |path, about| {
        written.insert(path.to_owned(), (about.ino(), about.ctime(), about.ctime_nsec()));
        Ok(())
    });
    Some(Moment { revision: Digest::of(lines.join("\n").as_bytes()), written })
}

/// Calls a function with each file of a build context.
fn walk(root: &Path, state: &Path, mut each: impl FnMut(&Path, &fs::Metadata) -> io::Result<()>) -> io::Result<()> {
    let mut open = vec![(root.to_owned(), 0)];
    while let Some((directory, depth)) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            if name == ".git" || name == FILE || path == state {
                continue;
            }
            let Ok(about) = fs::symlink_metadata(&path) else { continue };
            if !about.is_dir() {
                each(&path, &about)?;
                continue;
            }
            if depth >= DEPTH_MAX {
                return Err(io::Error::other(format!("{} is too deep", path.display())));
            }
            open.push((path, depth + 1));
        }
    }
    Ok(())
}

/// Reads trees; a file that has not changed is read once.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    known: BTreeMap<PathBuf, (Stamp, Digest)>,
}

impl Sources {
    /// Reads the tree of a service as it is now.
    pub(crate) fn read(&mut self, site: &Site) -> Result<Read> {
        let files = site.catalog()?;
        let mut fresh = BTreeMap::new();
        let mut revisions = BTreeMap::new();
        let mut problems: std::collections::BTreeSet<_> = files.problems().iter().map(ToString::to_string).collect();
        problems.extend(files.graph().cycles().iter().map(from_each_other));
        let contexts: Vec<(ArtifactId, PathBuf, String)> = files
            .graph()
            .artifacts()
            .filter_map(|artifact| {
                let source = artifact.source.as_ref()?;
                Some((artifact.id.clone(), source.location.clone().into(), source.revision.clone().unwrap_or_default()))
            })
            .collect();
        for (id, context, recipe) in contexts {
            let mut parts = vec![recipe];
            match self.context(&context, &site.config.state, &mut fresh) {
                Ok(found) => parts.extend(found),
                Err(error) => {
                    let place = context.display();
                    problems.insert(format!("{place}: {error}, so that only its Containerfile counts"));
                }
            }
            revisions.insert(id, Digest::of(parts.join("\n").as_bytes()));
        }
        self.known = fresh;
        Ok(Read { files, revisions, problems })
    }

    /// Returns a line for each file of a build context.
    fn context(
        &self,
        root: &Path,
        state: &Path,
        fresh: &mut BTreeMap<PathBuf, (Stamp, Digest)>,
    ) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        walk(root, state, |path, about| {
            if lines.len() >= FILES_MAX {
                return Err(io::Error::other(format!("it has more than {FILES_MAX} files")));
            }
            let content = self.content(path, about, fresh);
            let below = path.strip_prefix(root).unwrap_or(path);
            lines.push(format!("{} {:o} {content}", below.as_os_str().display(), about.permissions().mode()));
            Ok(())
        })?;
        lines.sort();
        Ok(lines)
    }

    fn content(&self, path: &Path, about: &fs::Metadata, fresh: &mut BTreeMap<PathBuf, (Stamp, Digest)>) -> String {
        if about.is_symlink() {
            let target = fs::read_link(path).unwrap_or_default();
            return Digest::of(target.as_os_str().as_bytes()).to_string();
        }
        let stamp = Stamp { length: about.len(), modified: about.modified().ok(), mode: about.permissions().mode() };
        if !about.is_file() || stamp.length > BYTES_MAX {
            return format!("{stamp:?}");
        }
        let known = self.known.get(path).filter(|(known, _)| *known == stamp).map(|(_, digest)| digest.clone());
        let digest = match known {
            Some(digest) => digest,
            None => match fs::read(path) {
                Ok(bytes) => Digest::of(&bytes),
                // It may have gone meanwhile; the next look shows what became of it.
                Err(error) => return error.to_string(),
            },
        };
        fresh.insert(path.to_owned(), (stamp, digest.clone()));
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_its_files_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("app/src")).unwrap();
        fs::create_dir_all(root.join("other")).unwrap();
        fs::write(root.join("app/Containerfile"), "FROM debian:12\nCOPY src /src\n").unwrap();
        fs::write(root.join("other/Containerfile"), "FROM debian:12\n").unwrap();
        fs::write(root.join(FILE), "[tree]\nimage = 'r.example.org/{path}:{tag}'\n").unwrap();
        let site = Site::open(root).unwrap();
        let mut sources = Sources::default();
        let mut revisions = || {
            let read = sources.read(&site).unwrap().revisions;
            ["app", "other"]
                .map(|name| read[&ArtifactId::from(format!("r.example.org/{name}:latest").as_str())].clone())
        };
        let first = revisions();
        assert_eq!(revisions(), first);
        fs::create_dir_all(root.join("app/.git")).unwrap();
        fs::write(root.join("app/.git/index"), "x").unwrap();
        assert_eq!(revisions(), first);
        fs::write(root.join("app/src/main"), "1").unwrap();
        let second = revisions();
        assert!(second[0] != first[0] && second[1] == first[1]);
        fs::write(root.join("app/src/main"), "23").unwrap();
        assert_ne!(revisions()[0], second[0]);
        fs::remove_file(root.join("app/src/main")).unwrap();
        assert_eq!(revisions(), first, "what is in it counts, and not when it was written");
    }

    #[test]
    fn a_file_that_was_other_for_a_moment_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::write(root.join("Containerfile"), "FROM debian:12\n").unwrap();
        fs::write(root.join("file"), "a").unwrap();
        fs::write(root.join(FILE), "[tree]\nimage = 'r.example.org/app:{tag}'\n").unwrap();
        let site = Site::open(root).unwrap();
        let look = || {
            let catalog = site.catalog().unwrap();
            moment(catalog.graph().get(&"r.example.org/app:latest".into()).unwrap(), &site.config.state).unwrap()
        };
        let first = look();
        assert_eq!((first.changed(&look()), &first.revision), (None, &look().revision));
        let read = Sources::default().read(&site).unwrap().revisions;
        assert_eq!(read.values().collect::<Vec<_>>(), [&first.revision], "it is what a look at the tree finds");
        fs::write(root.join("new"), "b").unwrap();
        fs::rename(root.join("new"), root.join("file")).unwrap();
        fs::write(root.join("new"), "a").unwrap();
        fs::rename(root.join("new"), root.join("file")).unwrap();
        let last = look();
        assert_eq!(last.revision, first.revision);
        assert_eq!(first.changed(&last).and_then(Path::file_name), Some("file".as_ref()));
    }
}

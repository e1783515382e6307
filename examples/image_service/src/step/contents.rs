//! What the file system of an image contains, for comparisons that ignore times.

use super::tar::{self, Header};
use super::zstd::Frames;
use flate2::read::MultiGzDecoder;
use freshmaker::artifact::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, Read, Write};

/// The most files of an image, and the most bytes of one layer, unpacked.
const FILES_MAX: usize = 2_000_000;
const LAYER_BYTES_MAX: u64 = 64 << 30;
/// The largest database of packages that is read.
const DATABASE_BYTES_MAX: u64 = 256 << 20;

/// Where dpkg and apk keep what is installed: a file, or the directory of such files.
const DPKG: [&str; 2] = ["var/lib/dpkg/status", "var/lib/dpkg/status.d/"];
const APK: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];
/// Where databases of RPM are, which are not read.
const RPM: [&str; 3] = ["var/lib/rpm/", "usr/lib/sysimage/rpm/", "usr/share/rpm/"];

/// A file, a directory, or what else a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// All that counts, but for the content: the type, the mode, the owner, where a link leads, the
    /// extended attributes.
    about: Digest,
    is_directory: bool,
    content: [u8; 32],
    /// The content of a database of packages.
    database: Option<Vec<u8>>,
}

/// The files of an image, by path.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    files: BTreeMap<Vec<u8>, Entry>,
}

impl Contents {
    /// Adds a layer: an archive, which may be compressed with gzip or zstd.
    ///
    /// # Errors
    /// `InvalidData` if it is something else.
    pub(super) fn add(&mut self, layer: impl BufRead) -> io::Result<()> {
        let mut layer = layer;
        let start = layer.fill_buf()?;
        match start {
            [0x1f, 0x8b, ..] => self.add_archive(&mut MultiGzDecoder::new(layer).take(LAYER_BYTES_MAX)),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => self.add_archive(&mut Frames::new(layer).take(LAYER_BYTES_MAX)),
            _ => self.add_archive(&mut layer.take(LAYER_BYTES_MAX)),
        }
    }

    fn add_archive(&mut self, archive: &mut impl Read) -> io::Result<()> {
        // What a layer removes was in those below it, whatever the order of its members is.
        let mut next = BTreeMap::new();
        let mut removed = Vec::new();
        tar::each(archive, |header, content| {
            let path = clean(&header.path);
            let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
                Some(slash) => (&path[..slash], &path[slash + 1..]),
                None => (&[][..], path.as_slice()),
            };
            if name == b".wh..wh..opq" {
                removed.push((directory.to_vec(), Removed::Below));
            } else if let Some(name) = name.strip_prefix(b".wh.") {
                removed.push((joined(directory, name), Removed::Whole));
            } else {
                let entry =
                    entry(&header, &path, content, |link| next.get(link).or_else(|| self.files.get(link)).cloned())?;
                next.insert(path, entry);
            }
            if self.files.len() + next.len() > FILES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {FILES_MAX} files")));
            }
            Ok(())
        })?;
        for (path, what) in removed {
            self.remove(&path, what);
        }
        for (path, entry) in next {
            if !entry.is_directory {
                // Whatever was in it, if it was a directory.
                self.remove(&path, Removed::Below);
            }
            self.files.insert(path, entry);
        }
        Ok(())
    }

    fn remove(&mut self, path: &[u8], what: Removed) {
        if matches!(what, Removed::Whole) {
            self.files.remove(path);
        }
        let below: Vec<_> = match path {
            [] => self.files.keys().cloned().collect(),
            path => {
                let start = joined(path, b"");
                let from = self.files.range(start.clone()..);
                from.map(|(path, _)| path).take_while(|path| path.starts_with(&start)).cloned().collect()
            }
        };
        for path in below {
            self.files.remove(&path);
        }
    }

    /// Returns the digest of all files: of their paths, types, modes, owners, links, attributes and
    /// contents, and of nothing else.
    pub(super) fn files(&self) -> Digest {
        let parts = self
            .files
            .iter()
            .flat_map(|(path, entry)| [path.as_slice(), entry.about.as_str().as_bytes(), entry.content.as_slice()]);
        Digest::of_parts(parts)
    }

    /// Returns the packages that dpkg and apk have installed, with their versions; `None` if there
    /// is no such database, or one of RPM.
    pub(super) fn packages(&self) -> Option<BTreeSet<String>> {
        let is_rpm = |path: &Vec<u8>| RPM.iter().any(|start| path.starts_with(start.as_bytes()));
        if self.files.keys().any(is_rpm) {
            return None;
        }
        let mut packages: Option<BTreeSet<String>> = None;
        for (path, entry) in &self.files {
            let Some(database) = &entry.database else { continue };
            let text = String::from_utf8_lossy(database);
            let found = if is_of(path, &APK) { apk(&text) } else { dpkg(&text) };
            packages.get_or_insert_default().extend(found);
        }
        packages
    }
}

#[derive(Clone, Copy)]
enum Removed {
    /// The path, and what is below it.
    Whole,
    /// What is below it.
    Below,
}

/// Returns what is known of a member of an archive.
fn entry(
    header: &Header,
    path: &[u8],
    content: &mut dyn Read,
    linked: impl FnOnce(&[u8]) -> Option<Entry>,
) -> io::Result<Entry> {
    if header.kind == b'1' {
        // Another name of a file.
        let link = clean(&header.link);
        return linked(&link).ok_or_else(|| {
            let link = String::from_utf8_lossy(&link).into_owned();
            io::Error::new(io::ErrorKind::InvalidData, format!("a hard link to {link:?}, which is not there"))
        });
    }
    let numbers = [header.mode & 0o7777, header.owner, header.group, header.device.0, header.device.1];
    // What is no device may have anything there.
    let numbers = if matches!(header.kind, b'3' | b'4') { &numbers[..] } else { &numbers[..3] };
    let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    let link = if header.kind == b'2' { header.link.as_slice() } else { &[] };
    let kind = [header.kind];
    let mut parts = vec![&kind[..], &numbers, link];
    parts.extend(header.attributes.iter().flat_map(|(name, value)| [name.as_slice(), value]));
    let about = Digest::of_parts(parts);
    let is_database =
        header.kind == b'0' && header.size <= DATABASE_BYTES_MAX && (is_of(path, &DPKG) || is_of(path, &APK));
    let (content, database) = if is_database {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        (Sha256::digest(&bytes).into(), Some(bytes))
    } else {
        let mut hash = Hash(Sha256::new());
        io::copy(content, &mut hash)?;
        (hash.0.finalize().into(), None)
    };
    Ok(Entry { about, is_directory: header.kind == b'5', content, database })
}

struct Hash(Sha256);

impl Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns a path without a slash at its ends, and without `.`.
fn clean(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.collect::<Vec<_>>().join(&b'/')
}

fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, name].join(&b'/') }
}

fn is_of(path: &[u8], places: &[&str]) -> bool {
    places.iter().any(|place| match place.strip_suffix('/') {
        Some(_) => path.strip_prefix(place.as_bytes()).is_some_and(|name| !name.contains(&b'/')),
        None => path == place.as_bytes(),
    })
}

/// Returns the packages of a file of dpkg. In images without a shell, each has a file of its own,
/// without a status, and beside it one with checksums, which has no packages.
fn dpkg(text: &str) -> Vec<String> {
    let packages = text.split("\n\n").filter_map(|paragraph| {
        let field = |name: &str| {
            let line = paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim)
        };
        let is_installed = field("Status").is_none_or(|status| status.ends_with(" installed"));
        let (package, version) = (field("Package")?, field("Version")?);
        is_installed.then(|| format!("{package} {version} {}", field("Architecture").unwrap_or_default()))
    });
    packages.collect()
}

/// Returns the packages of apk's database.
fn apk(text: &str) -> Vec<String> {
    let packages = text.split("\n\n").filter_map(|paragraph| {
        let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name));
        Some(format!("{} {} {}", field("P:")?, field("V:")?, field("A:").unwrap_or_default()))
    });
    packages.collect()
}

#[cfg(test)]
mod tests {
    use super::super::zstd::tests::compressed;
    use super::*;
    use std::path::Path;
    use std::process::{Command, Stdio};

    /// Packs a directory as a layer, as of a moment.
    fn layer(directory: &Path, time: &str, more: &[&str]) -> Vec<u8> {
        let tar = Command::new("tar")
            .args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime", time])
            .args(more)
            .arg("--directory")
            .arg(directory)
            .arg(".")
            .stdout(Stdio::piped())
            .output()
            .unwrap();
        assert!(tar.status.success());
        tar.stdout
    }

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    fn contents(layers: &[&[u8]]) -> Contents {
        let mut contents = Contents::default();
        layers.iter().for_each(|layer| contents.add(*layer).unwrap());
        contents
    }

    #[test]
    fn times_do_not_count_and_everything_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        write(root, &[("etc/name", "one"), ("usr/bin/tool", "tool")]);
        std::os::unix::fs::symlink("tool", root.join("usr/bin/link")).unwrap();
        let pack = |more: &[&str]| layer(root, "2026-01-01", more);
        let first = contents(&[&pack(&[])]).files();
        assert_eq!(contents(&[&layer(root, "2020-05-05", &[])]).files(), first);
        assert_eq!(contents(&[&pack(&["--gzip"])]).files(), first);
        assert_eq!(contents(&[&compressed(&pack(&[]))]).files(), first);
        assert_eq!(contents(&[&pack(&["--format=pax"])]).files(), first, "which has more exact times");
        assert_ne!(contents(&[&pack(&["--owner=7"])]).files(), first);
        assert_ne!(contents(&[&pack(&["--mode=u+s"])]).files(), first);
        std::fs::remove_file(root.join("usr/bin/link")).unwrap();
        assert_ne!(contents(&[&pack(&[])]).files(), first);
        std::os::unix::fs::symlink("other", root.join("usr/bin/link")).unwrap();
        assert_ne!(contents(&[&pack(&[])]).files(), first, "the link leads elsewhere");
    }

    #[test]
    fn layers_add_replace_and_remove() {
        let of = |files: &[(&str, &str)]| {
            let directory = tempfile::tempdir().unwrap();
            write(directory.path(), files);
            layer(directory.path(), "2026-01-01", &[])
        };
        let below = of(&[("a/x", "1"), ("a/y", "2"), ("b/z", "3"), ("ab", "4")]);
        let same = |upper: &[u8], wanted: &[(&str, &str)]| {
            let (made, wanted) = (contents(&[&below, upper]), contents(&[&of(wanted)]));
            let names = |of: &Contents| {
                of.files.keys().map(|path| String::from_utf8(path.clone()).unwrap()).collect::<Vec<_>>()
            };
            assert_eq!((names(&made), made.files()), (names(&wanted), wanted.files()));
        };
        same(&of(&[("a/x", "new")]), &[("a/x", "new"), ("a/y", "2"), ("b/z", "3"), ("ab", "4")]);
        same(&of(&[("a/.wh.x", "")]), &[("a/y", "2"), ("b/z", "3"), ("ab", "4")]);
        same(&of(&[(".wh.a", "")]), &[("b/z", "3"), ("ab", "4")]);
        same(&of(&[("a/.wh..wh..opq", ""), ("a/new", "5")]), &[("a/new", "5"), ("b/z", "3"), ("ab", "4")]);
        same(&of(&[("a", "a file")]), &[("a", "a file"), ("b/z", "3"), ("ab", "4")]);
    }

    #[test]
    fn packages_are_what_dpkg_and_apk_say() {
        let status = "Package: curl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 8.1-1\nDescription: x\n y\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n";
        let found = |files: &[(&str, &str)]| {
            let directory = tempfile::tempdir().unwrap();
            write(directory.path(), files);
            contents(&[&layer(directory.path(), "2026-01-01", &[])]).packages().map(Vec::from_iter)
        };
        assert_eq!(found(&[("var/lib/dpkg/status", status)]).unwrap(), ["curl 8.1-1 amd64"]);
        let own = [
            ("var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2026a\n"),
            ("var/lib/dpkg/status.d/tzdata.md5sums", "0 x\n"),
        ];
        assert_eq!(found(&own).unwrap(), ["tzdata 2026a "]);
        let installed = "C:Q1x=\nP:musl\nV:1.2.5-r0\nA:x86_64\nF:lib\n\nP:busybox\nV:1.37\nA:x86_64\n";
        assert_eq!(
            found(&[("lib/apk/db/installed", installed)]).unwrap(),
            ["busybox 1.37 x86_64", "musl 1.2.5-r0 x86_64"]
        );
        assert_eq!(found(&[("etc/name", "x")]), None);
        assert_eq!(found(&[("var/lib/dpkg/status", status), ("var/lib/rpm/rpmdb.sqlite", "x")]), None);
    }

    #[test]
    fn what_is_no_layer_is_an_error() {
        let mut contents = Contents::default();
        assert!(contents.add(&b"not an archive"[..]).is_err());
        assert!(contents.add(&[0x28, 0xb5, 0x2f, 0xfd, 0][..]).is_err());
        assert_eq!(contents.packages(), None);
    }
}

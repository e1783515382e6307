use std::collections::BTreeMap;
use std::fmt;

/// Why a file that looks like a Containerfile was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Why {
    /// It is a template: by its ending, or because builders refuse it and a line has `{{`, `{%`,
    /// `<% … %>`, `[% … %]`, `@@NAME@@` or `%%NAME%%` outside of quotes.
    Template,
    /// It is a backup or a patch, by its ending.
    Backup,
    /// It is a text about Containerfiles, or data, by its ending.
    Text,
    /// It has the name of a program, or only part of the name of a Containerfile, and cannot be
    /// read as one.
    Program,
    /// Its name begins with a dot.
    Hidden,
    /// It is in `node_modules`, and so belongs to a package.
    Package,
    /// It is in a directory that is marked as a cache.
    Cache,
}

impl Why {
    /// Returns how so many files are described.
    fn describe(self, count: usize) -> String {
        let (one, many) = match self {
            Self::Template => ("template ({{ … }} or the like)", "templates ({{ … }} or the like)"),
            Self::Backup => ("backup or patch", "backups or patches"),
            Self::Text => ("text or data file", "text or data files"),
            Self::Program => ("file of another language", "files of other languages"),
            Self::Hidden => ("hidden file", "hidden files"),
            Self::Package => ("file in node_modules", "files in node_modules"),
            Self::Cache => ("file in a cache directory", "files in cache directories"),
        };
        format!("{count} {}", if count == 1 { one } else { many })
    }
}

/// The files that look like Containerfiles and were not read, by path relative to the root.
///
/// Displayed, it is one line that counts them:
///
/// ```
/// use freshmaker_local::files::tree::{self, Naming, Why};
///
/// let root = tempfile::tempdir()?;
/// std::fs::write(root.path().join("Dockerfile.linux"), "{{ if x }}FROM debian:12{{ end }}\n")?;
/// std::fs::write(root.path().join("Dockerfile.orig"), "FROM debian:11\n")?;
/// let passed_over = tree::scan(root.path(), &Naming::default())?.passed_over;
/// assert_eq!(
///     passed_over.to_string(),
///     "2 files that look like Containerfiles: 1 template ({{ … }} or the like), 1 backup or patch"
/// );
/// assert_eq!(passed_over.iter().next(), Some(("Dockerfile.linux", Why::Template)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    files: BTreeMap<String, Why>,
}

impl PassedOver {
    pub(super) fn add(&mut self, path: &str, why: Why) {
        self.files.insert(path.to_owned(), why);
    }

    pub(in crate::files) fn extend(&mut self, others: Self) {
        self.files.extend(others.files);
    }

    pub(super) fn remove(&mut self, path: &str) {
        self.files.remove(path);
    }

    /// Returns the files by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Why)> {
        self.files.iter().map(|(path, why)| (path.as_str(), *why))
    }

    /// Returns how many files there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts: BTreeMap<Why, usize> = BTreeMap::new();
        for why in self.files.values() {
            *counts.entry(*why).or_default() += 1;
        }
        let parts: Vec<String> = counts.into_iter().map(|(why, count)| why.describe(count)).collect();
        let (files, look) = if self.len() == 1 { ("file", "looks") } else { ("files", "look") };
        let like = if self.len() == 1 { "a Containerfile" } else { "Containerfiles" };
        let colon = if parts.is_empty() { "" } else { ": " };
        write!(f, "{} {files} that {look} like {like}{colon}{}", self.len(), parts.join(", "))
    }
}

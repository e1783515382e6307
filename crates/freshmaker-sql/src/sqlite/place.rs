//! Where the database is: one real path, files for their owner only, one lock, and copies.

use super::unavailable;
use diesel::RunQueryDsl;
use diesel::sql_types::Text;
use freshmaker::backend::{Error, Remedy, Result};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Makes the file if it is not there, and returns its path without symbolic links.
///
/// The path is absolute, because SQLite gives a meaning to some relative ones (`:memory:`). Files
/// that SQLite puts beside the database get the permissions of the database.
///
/// # Errors
/// `Unavailable` if the file cannot be made or found; `Unsupported` if it has several hard links:
/// each would have a lock of its own.
pub(super) fn resolve(path: &Path) -> Result<PathBuf> {
    let place = || path.display().to_string();
    // A file that is there is not opened: closing it again would drop the locks that SQLite holds
    // on it for other connections of this process.
    match ours().create_new(true).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(unavailable(place(), error)),
        Ok(_) => {}
    }
    let links = std::fs::metadata(path).map_err(|error| unavailable(place(), error))?.nlink();
    if links > 1 {
        let text = format!("the file has {links} hard links, and a database must have one name");
        return Err(Error::new(Remedy::Unsupported, place(), text));
    }
    std::fs::canonicalize(path).map_err(|error| unavailable(place(), error))
}

/// Takes the lock of an engine on the database at a resolved path.
///
/// # Errors
/// `Conflict` if another engine has it; `Unavailable` if the file cannot be made.
pub(super) fn lock(path: &Path) -> Result<File> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let path = PathBuf::from(name);
    let place = path.display().to_string();
    let file = ours().open(&path).map_err(|error| unavailable(&place, error))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Error::new(Remedy::Conflict, place, "another engine has this database: it holds the lock on this file"))
        }
        Err(error) => Err(unavailable(place, error)),
    }
}

/// Writes a copy of the database at `from`, as of one moment, into a new file.
///
/// # Errors
/// `Rejected` if the file is there already; `Unavailable` if the copy fails, and then there is no
/// file.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let place = to.display().to_string();
    let to = &std::path::absolute(to).map_err(|error| unavailable(&place, error))?;
    let text = to.to_str().ok_or_else(|| Error::new(Remedy::Unsupported, &place, "the path is not UTF-8"))?;
    match File::options().write(true).create_new(true).mode(0o600).open(to) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::new(Remedy::Rejected, place, "there is a file already"));
        }
        Err(error) => return Err(unavailable(place, error)),
        Ok(_) => {}
    }
    let copied = super::connect(Some(from)).and_then(|mut connection| {
        let copied = diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(text).execute(&mut connection);
        copied.map(drop).map_err(|error| unavailable(place, error))
    });
    if copied.is_err() {
        drop(std::fs::remove_file(to));
    }
    copied
}

/// Opens a file, and makes it for its owner only if it is not there.
fn ours() -> OpenOptions {
    let mut options = File::options();
    options.create(true).append(true).mode(0o600);
    options
}

//! The file of the database: its real path, its mode (for the owner only), its lock, and copies of
//! it.

use super::unavailable;
use diesel::RunQueryDsl;
use diesel::sql_types::Text;
use freshmaker::backend::{Error, Remedy, Result};
use rustix::fs::FlockOperation;
use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Identifies a file, whatever its names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    number: u64,
}

impl Identity {
    /// # Errors
    /// `NotFound` if there is no file, `Unavailable` if it cannot be looked at.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let data = std::fs::metadata(path).map_err(|error| not_there(path, &error))?;
        Ok(Self { device: data.dev(), number: data.ino() })
    }

    /// Checks that this file is still the one at its path: a file that is removed stays open, and
    /// everything that is then written to it is lost.
    ///
    /// # Errors
    /// `Unavailable` if it is not.
    pub(super) fn must_be_at(self, path: &Path) -> Result<()> {
        if Self::of(path).is_ok_and(|found| found == self) {
            return Ok(());
        }
        let text = "the file was moved, removed or replaced while it is open here, so nothing is stored: put it back, \
                    or start this program again";
        Err(unavailable(path.display(), text))
    }
}

/// Returns the text that is written into the lock file.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.number)
    }
}

fn not_there(path: &Path, error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(Remedy::NotFound, path.display().to_string(), "there is no such file")
        }
        _ => unavailable(path.display(), error),
    }
}

/// Returns the path of a file without symbolic links; `makes` it if it is not there.
///
/// The path is absolute, because SQLite gives a meaning to some relative ones (`:memory:`). Files
/// that SQLite puts beside the database get the permissions of the database.
///
/// # Errors
/// `Unavailable` if the file cannot be made or found, `NotFound` if it is not to be made;
/// `Unsupported` if it has several hard links: each would have a lock of its own. `Conflict` if an
/// engine has opened another file at this path, which was moved away since: SQLite would mix the
/// files beside both.
pub(super) fn resolve(path: &Path, makes: bool) -> Result<PathBuf> {
    must_be_that_of_the_engine(path)?;
    let place = || path.display().to_string();
    if makes {
        // A file that is there is not opened: closing it again would drop the locks that SQLite
        // holds on it for other connections of this process.
        match ours().create_new(true).open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(unavailable(place(), error)),
            Ok(_) => {}
        }
    }
    let links = std::fs::metadata(path).map_err(|error| not_there(path, &error))?.nlink();
    if links > 1 {
        let text = format!("the file has {links} hard links, and a database must have one name");
        return Err(Error::new(Remedy::Unsupported, place(), text));
    }
    std::fs::canonicalize(path).map_err(|error| unavailable(place(), error))
}

fn must_be_that_of_the_engine(path: &Path) -> Result<()> {
    let lock = lock_of(&std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()));
    let (Ok(mut file), found) = (File::open(&lock), Identity::of(path).ok()) else { return Ok(()) };
    let mut locked = String::new();
    let read = file.read_to_string(&mut locked).is_ok();
    // Without an engine there is nothing to mix up, and what it once had does not matter.
    let same = found.is_some_and(|found| !read || locked.is_empty() || locked == found.to_string());
    if same || rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return Ok(());
    }
    let text = "an engine has this database open, and its file was moved, removed or replaced: put it back, or stop \
                the engine";
    Err(Error::new(Remedy::Conflict, path.display().to_string(), text))
}

/// How often the lock is asked for, and the pause between. An engine that was stopped in the middle
/// of a call closes its database when that has ended.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Takes the lock of an engine on the database at a resolved path. Waits for a second if another
/// engine has it, which may be about to end.
///
/// # Errors
/// `Conflict` if another engine has it; `Unavailable` if the file cannot be made.
pub(super) fn lock(database: &Path) -> Result<File> {
    let path = lock_of(database);
    let place = path.display().to_string();
    let mut file = ours().open(&path).map_err(|error| unavailable(&place, error))?;
    let ask = || rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
    let mut asked = ask();
    for _ in 1..LOCK_TRIES {
        if asked != Err(rustix::io::Errno::WOULDBLOCK) {
            break;
        }
        std::thread::sleep(LOCK_PAUSE);
        asked = ask();
    }
    match asked {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let text = "another engine has this database: it holds the lock on this file";
            return Err(Error::new(Remedy::Conflict, place, text));
        }
        Err(error) => return Err(unavailable(place, error)),
    }
    let identity = Identity::of(database)?.to_string();
    let noted = file.set_len(0).and_then(|()| file.write_all(identity.as_bytes()));
    noted.map(|()| file).map_err(|error| unavailable(place, error))
}

fn lock_of(database: &Path) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(".lock");
    name.into()
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

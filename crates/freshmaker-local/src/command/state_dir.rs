//! The identity of a state directory, which tells it from those of other hosts.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

/// The file with the name of a state directory. No attempt is called so.
const FILE: &str = "identity";

/// Returns the name of a state directory, which it gets when it is used for the first time: that of
/// the host of then, and a random number. It goes with the directory, wherever that is mounted.
pub(super) fn identity(state_dir: &Path) -> io::Result<String> {
    let path = state_dir.join(FILE);
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        read => return read,
    }
    let random = RandomState::new().build_hasher().finish();
    let name = format!("{}-{random:016x}", rustix::system::uname().nodename().to_string_lossy());
    // Written under another name first, so that no process reads half of it. Of two processes that
    // do this at the same time, the name that the first one has stored counts.
    let draft = state_dir.join(format!("{FILE}.{random:016x}"));
    let mut file = File::create_new(&draft)?;
    file.write_all(name.as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&draft, &path);
    std::fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => std::fs::read_to_string(&path),
    }
}

#[cfg(test)]
mod tests {
    use super::identity;

    #[test]
    fn a_directory_keeps_its_name_and_no_two_have_the_same() {
        let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let name = identity(one.path()).unwrap();
        assert_eq!(identity(one.path()).unwrap(), name);
        assert_ne!(identity(other.path()).unwrap(), name);
        let files = std::fs::read_dir(one.path()).unwrap().count();
        assert_eq!(files, 1, "no draft is left");
    }

    #[test]
    fn those_that_name_a_directory_at_once_agree() {
        let directory = tempfile::tempdir().unwrap();
        let named: Vec<_> = std::thread::scope(|scope| {
            let naming: Vec<_> = (0..8).map(|_| scope.spawn(|| identity(directory.path()).unwrap())).collect();
            naming.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(named.iter().all(|name| *name == named[0]), "{named:?}");
    }
}

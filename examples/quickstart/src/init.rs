//! Writes what a tree needs to be rebuilt for real.

use crate::out::{complain, say};
use crate::scan::{MANIFEST, directory};
use crate::{Outcome, Result};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub(crate) const PROGRAM: &str = "freshmaker-build.sh";

pub(crate) fn run(tree: &Path) -> Result<Outcome> {
    directory(tree)?;
    let mut outcome = Outcome::Good;
    for (name, mode, text) in
        [(MANIFEST, 0o644, include_str!("init/freshmaker.toml")), (PROGRAM, 0o755, include_str!("init/build.sh"))]
    {
        let path = tree.join(name);
        match OpenOptions::new().write(true).create_new(true).mode(mode).open(&path) {
            Ok(mut file) => {
                file.write_all(text.as_bytes()).map_err(|error| format!("{}: {error}", path.display()))?;
                say!("wrote {}", path.display());
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                complain!("{} is there already and was left as it is", path.display());
                outcome = Outcome::Bad;
            }
            Err(error) => return Err(format!("{}: {error}", path.display()).into()),
        }
    }
    Ok(outcome)
}

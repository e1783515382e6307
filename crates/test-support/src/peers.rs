//! The programs of other projects, in Python and JavaScript.

use crate::services::missing;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The path of a script that speaks to one of these programs.
#[must_use]
pub fn peer(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(script)
}

/// Where the Python is that has those in Python, if it can be had.
pub async fn python() -> Option<PathBuf> {
    made_by(Command::new(peer("setup"))).await
}

/// Where the packages of npm are that the lock file of a directory of peers has, if they can be
/// had.
pub async fn packages(of: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target").join(of);
    let mut npm = Command::new(peer("npm"));
    npm.arg(peer(of)).arg(target);
    made_by(npm).await
}

/// The path that a program prints once it has made what is there.
async fn made_by(mut setup: Command) -> Option<PathBuf> {
    let made = tokio::task::spawn_blocking(move || setup.output()).await.unwrap();
    let failed = match made {
        Ok(output) if output.status.success() => {
            return Some(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()));
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    missing(&format!("the programs of others cannot be installed: {failed}"));
    None
}

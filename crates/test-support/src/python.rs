//! The Python that has the programs of other projects.

use crate::services::missing;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The path of a script that speaks to one of these programs.
#[must_use]
pub fn peer(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(script)
}

/// Where that Python is, if it can be had.
pub async fn python() -> Option<PathBuf> {
    let setup = peer("setup");
    let made = tokio::task::spawn_blocking(move || Command::new(setup).output()).await.unwrap();
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

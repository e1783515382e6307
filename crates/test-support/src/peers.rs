//! The programs of other projects, in Python and JavaScript.

use crate::services::missing;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The path of a script that speaks to one of these programs.
#[must_use]
pub fn peer(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(script)
}

/// Where the Python is that has those in Python, if it can be had.
pub async fn python() -> Option<PathBuf> {
    made_by(Command::new(peer("setup"))).await
}

/// Tries a service with `schemathesis`, which sends what the OpenAPI text at an address allows and
/// what it forbids, and compares every answer with the text: no error of the server, no answer that
/// the text does not have, nothing taken that it forbids. The text cannot say all that makes a
/// request wrong, such as a state that does not fit, so it may be refused although the text allows
/// it. `without` are further checks that are left out. `FRESHMAKER_SCHEMATHESIS_EXAMPLES=300` makes
/// it try longer. Fails with what it has found; is skipped if it cannot be had.
pub async fn answers_are_as_described(url: &str, without: &[&str], more: &[&str]) {
    let Some(python) = python().await else { return };
    let examples = std::env::var("FRESHMAKER_SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| "15".into());
    let place = tempfile::tempdir().unwrap();
    // With one worker: the parser of Python 3.11, which it uses, can fail in two threads at once.
    let mut st = Command::new(python.with_file_name("st"));
    st.current_dir(place.path())
        .args(["run", url, "--seed", "1", "--workers", "1", "--max-examples", &examples, "--continue-on-failure"])
        .args(["--generation-database", "none", "--no-color", "--exclude-checks"])
        .arg([&["positive_data_acceptance"], without].concat().join(","))
        .args(more)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || st.output()).await.unwrap().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a script has found out with the client that `openapi-python-client` generates from the
/// OpenAPI text at a path of a service; `None` if it cannot be had.
pub async fn found_by_client(script: &str, address: &str) -> Option<serde_json::Value> {
    let mut python = Command::new(python().await?);
    let place = tempfile::tempdir().unwrap();
    python.arg(peer(script)).arg(place.path()).arg(address).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || python.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
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

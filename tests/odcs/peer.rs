//! The service's own client from PyPI, against the fake.

use freshmaker::engine::SystemClock;
use freshmaker::testing::odcs::FakeOdcs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

fn required() -> bool {
    std::env::var_os("FRESHMAKER_REQUIRE_SERVICES").is_some_and(|value| value == "1")
}

/// The Python that has the client, if it can be had.
async fn python() -> Option<PathBuf> {
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/setup");
    let made = tokio::task::spawn_blocking(move || Command::new(setup).output()).await.unwrap();
    let text = match made {
        Ok(output) if output.status.success() => {
            return Some(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()));
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    assert!(!required(), "the client of ODCS cannot be installed: {text}");
    eprintln!("SKIPPED: the client of ODCS cannot be installed: {text}");
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_client_is_content() {
    let Some(python) = python().await else { return };
    let service = FakeOdcs::start(Arc::new(SystemClock)).await.unwrap();
    service.require_token("freshmaker", "token-of-the-peer");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/odcs_client.py");
    let mut command = Command::new(python);
    command.arg(script).arg(service.url());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{failed}");
    assert_eq!(said.lines().last(), Some("22 checks"), "{said}{failed}");
}

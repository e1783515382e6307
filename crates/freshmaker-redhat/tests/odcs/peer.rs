//! The service's own client from PyPI, against the fake.

use freshmaker::engine::SystemClock;
use freshmaker_redhat::fakes::odcs::FakeOdcs;
use std::process::Command;
use std::sync::Arc;
use test_support::python;

#[tokio::test(flavor = "multi_thread")]
async fn the_real_client_is_content() {
    let Some(python) = python().await else { return };
    let service = FakeOdcs::start(Arc::new(SystemClock)).await.unwrap();
    service.require_token("freshmaker", "token-of-the-peer");
    let script = test_support::peer("odcs_client.py");
    let mut command = Command::new(python);
    command.arg(script).arg(service.url());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{failed}");
    assert_eq!(said.lines().last(), Some("22 checks"), "{said}{failed}");
}

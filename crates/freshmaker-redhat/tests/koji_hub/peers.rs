//! The real client of Koji, and its command line, against the fake.

use freshmaker::engine::SystemClock;
use freshmaker_redhat::fakes::koji::{Fate, Hub, Trouble};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;
use test_support::python;

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn hub() -> Hub {
    let hub = Hub::start(Arc::new(SystemClock)).await.unwrap();
    hub.add_admin("kojiadmin", "adminpw");
    hub.add_user("freshmaker", "freshpw");
    hub.add_target("rhel-9-containers");
    hub.script(|submission| {
        Some(match submission.artifact() {
            "git://src.example.com/containers/broken" => Fate::fails(1005, "it does not compile"),
            "git://src.example.com/containers/endless" => Fate::hangs(),
            _ => Fate::succeeds().queued(Duration::from_millis(20)).taking(Duration::from_millis(50)),
        })
    });
    hub
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_client_is_content() {
    let Some(python) = python().await else { return };
    let hub = hub().await;
    // The calls of these names are made by the script for this; the first is lost before, the
    // second after it took effect.
    hub.trouble("getKojiVersion", 0, Trouble::RequestLost);
    hub.trouble("getKojiVersion", 1, Trouble::Status(503));
    hub.trouble("resubmitTask", 0, Trouble::AnswerLost);
    hub.trouble("getAPIVersion", 2, Trouble::Offline);
    let mut command = Command::new(python);
    let script = test_support::peer("koji_client.py");
    command.arg(script).arg(hub.url());
    let output = run(command).await;
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let lines = text(&output.stdout);
    assert_eq!(lines.lines().last(), Some("18 checks"), "{lines}{}", text(&output.stderr));
    assert!(hub.ledger().violations().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_command_line_is_content() {
    let Some(python) = python().await else { return };
    let hub = hub().await;
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("koji.conf");
    let lines = [
        "[koji]",
        &format!("server = {}", hub.url()),
        &format!("topurl = {}", hub.files_url()),
        "poll_interval = 1",
        "",
    ];
    std::fs::write(&config, lines.join("\n")).unwrap();
    let koji = |arguments: &[&str]| {
        let mut command = Command::new(&python);
        command.arg(python.with_file_name("koji")).arg("--config").arg(&config);
        command.args(["--authtype=password", "--user=freshmaker", "--password=freshpw"]).args(arguments);
        command.env("HOME", home.path()).current_dir(home.path());
        run(command)
    };
    let submit = |source: &str| {
        let source = format!("'git://src.example.com/containers/{source}#abc'");
        ["call", "--python", "buildContainer", &source, "'rhel-9-containers'"].map(str::to_owned)
    };
    let (nginx, endless) = (submit("nginx"), submit("endless"));
    let mut wrong = Vec::new();
    for (arguments, wanted) in [
        (vec!["hello"], "freshmaker!"),
        (nginx.iter().map(String::as_str).collect(), "1"),
        (vec!["watch-task", "1"], "1 buildContainer (noarch) completed successfully"),
        (vec!["list-tasks", "--after=2000-01-01", "--all"], "buildContainer"),
        (vec!["taskinfo", "-v", "1"], "State: closed"),
        (vec!["buildinfo", "nginx-container-1.0-1"], "State: COMPLETE"),
        (vec!["list-tagged", "rhel-9-containers-candidate"], "nginx-container-1.0-1"),
        (vec!["latest-build", "rhel-9-containers-candidate", "nginx-container"], "nginx-container-1.0-1"),
        (vec!["list-targets"], "rhel-9-containers-candidate"),
        (vec!["list-builds", "--package=nginx-container"], "nginx-container-1.0-1"),
        (endless.iter().map(String::as_str).collect(), ""),
    ] {
        let output = koji(&arguments).await;
        let all = text(&output.stdout) + &text(&output.stderr);
        if !output.status.success() || !all.contains(wanted) {
            wrong.push(format!("koji {arguments:?}: {all}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let [endless] = hub.live_tasks()[..] else { panic!("{:?}", hub.live_tasks()) };
    let output = koji(&["cancel", &endless.to_string()]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(hub.live_tasks().is_empty());
}

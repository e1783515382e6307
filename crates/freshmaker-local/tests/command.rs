//! The command build system with real processes, in bad worlds too.
#![allow(clippy::unwrap_used)]

use freshmaker::artifact::{Digest, Source};
use freshmaker::backend::{BuildRequest, BuildSystem, Remedy};
use freshmaker::graph::EdgeKind;
use freshmaker::plan::PlanParent;
use freshmaker::rebuild::{AttemptId, BuildId, ExternalId, FailureClass, Observed, Output};
use freshmaker::time::Timestamp;
use freshmaker_local::command::{CommandBuildSystem, CommandConfig};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const LEAVE_RESULT: &str = r#"printf '{"digest":"sha256:0a"}' >"$FRESHMAKER_RESULT""#;
/// Runs until the file `go` appears beside the state directory, and says that it runs by its
/// process id.
const UNTIL_GO: &str = r#"echo $$ >"$WORLD/pid.tmp"; mv "$WORLD/pid.tmp" "$WORLD/pid"
    while [ ! -e "$WORLD/go" ]; do sleep 0.05; done"#;

struct World {
    directory: TempDir,
}

impl World {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self, script: &str) -> CommandConfig {
        config(self.directory.path(), script)
    }

    fn builds(&self, script: &str) -> CommandBuildSystem {
        CommandBuildSystem::new(self.config(script)).unwrap()
    }

    fn attempt(&self, request: &BuildRequest) -> PathBuf {
        self.path("state").join(request.attempt.as_str())
    }
}

fn config(world: &Path, script: &str) -> CommandConfig {
    CommandConfig::new("/bin/sh", world.join("state"))
        .with_arguments(["-c", script, "build"])
        .with_variable("WORLD", world.to_str().unwrap())
        .with_timeout(Duration::from_secs(120))
        .with_stop_grace(Duration::from_millis(300))
}

fn request(number: u128) -> BuildRequest {
    BuildRequest { build: BuildId(7), ..BuildRequest::new(AttemptId::from_random(number), "app") }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        pause().await;
    }
    panic!("in vain waited until {what}");
}

async fn text_of(path: &Path) -> String {
    until("a file has a text", || fs::read_to_string(path).is_ok_and(|text| !text.is_empty())).await;
    fs::read_to_string(path).unwrap().trim().to_owned()
}

async fn status(builds: &CommandBuildSystem, id: &ExternalId) -> Observed {
    let mut found = builds.status(std::slice::from_ref(id)).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].external, *id);
    found.remove(0).observed
}

async fn end(builds: &CommandBuildSystem, id: &ExternalId) -> Observed {
    for _ in 0..3000 {
        match status(builds, id).await {
            Observed::Running => pause().await,
            ended => return ended,
        }
    }
    panic!("{id} did not end");
}

async fn run(builds: &CommandBuildSystem, request: &BuildRequest) -> Observed {
    let id = builds.submit(request).await.unwrap();
    end(builds, &id).await
}

async fn failure(world: &World, script: &str) -> (FailureClass, String) {
    match run(&world.builds(script), &request(1)).await {
        Observed::Failed(failure) => (failure.class, failure.text),
        other => panic!("{other:?}"),
    }
}

fn output(digest: &str) -> Output {
    Output { name: String::new(), digest: Some(digest.parse().unwrap()), contents: None }
}

/// Processes of a group that live, by their directories in `/proc`; a zombie waits only for its
/// parent.
fn members(group: &str) -> Vec<PathBuf> {
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let mut fields = stat[stat.rfind(')').unwrap() + 2..].split(' ');
        if !matches!(fields.next(), Some("Z" | "X")) && fields.nth(1) == Some(group) {
            members.push(entry.path());
        }
    }
    members
}

/// What was started for the program is gone now, and the helpers that were stopped with it are gone
/// soon.
async fn nothing_is_left(directory: &Path) {
    let group = group_of(directory);
    let builders: Vec<_> = members(&group).into_iter().filter(|member| member.join("fd/9").exists()).collect();
    assert_eq!(builders, Vec::<PathBuf>::new());
    until("the group is empty", || members(&group).is_empty()).await;
}

fn group_of(directory: &Path) -> String {
    fs::read_to_string(directory.join("pgid")).unwrap().trim().to_owned()
}

fn kill(pid: &str) {
    kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_build_succeeds_with_its_digest() {
    let world = World::new();
    let builds = world.builds(
        r#"printf '{"digest":"sha256:0a","name":"app:1","contents":"/sbom.json","more":[1]}' >"$FRESHMAKER_RESULT"; echo done"#,
    );
    let observed = run(&builds, &request(1)).await;
    let expected = Output { name: "app:1".into(), contents: Some("/sbom.json".into()), ..output("sha256:0a") };
    assert_eq!(observed, Observed::Succeeded(expected));
    assert_eq!(builds.log(&request(1).attempt).unwrap(), "done\n");
    nothing_is_left(&world.attempt(&request(1))).await;
    assert_eq!(builds.log(&request(2).attempt).unwrap_err().remedy, Remedy::NotFound);
}

#[tokio::test]
async fn everything_arrives_intact() {
    let world = World::new();
    let source = world.path("so urce $(touch x) \"é'");
    fs::create_dir(&source).unwrap();
    let hostile = "a b/$(touch injected)`touch injected`'\";\\ \n-é\u{1f980} --flag";
    let mut request = request(1);
    request.artifact = hostile.into();
    request.source = Some(Source { location: source.to_str().unwrap().into(), revision: Some(hostile.into()) });
    request.target = hostile.into();
    request.release = hostile.into();
    request.no_cache = true;
    request.parameters.insert("text\n", hostile);
    request.parameters.insert("set", [hostile, "b"]);
    request.parents = vec![
        PlanParent {
            id: hostile.into(),
            kinds: [EdgeKind::ParentImage, EdgeKind::BuilderStage].into(),
            digest: Some(Digest::of(b"x")),
            name: None,
        },
        PlanParent { id: "plain".into(), kinds: [EdgeKind::RuntimeContent].into(), digest: None, name: None },
    ];
    let script = format!(
        r#"pwd -P >"$WORLD/cwd"; cat >"$WORLD/stdin"; printf %s "$PATH" >"$WORLD/path"; printf '%s\0' "$@" >"$WORLD/arguments"
        printf '%s\0' "$FRESHMAKER_ARTIFACT" "$FRESHMAKER_SOURCE" "$FRESHMAKER_REVISION" "$FRESHMAKER_ATTEMPT" \
        "$FRESHMAKER_RELEASE" "$FRESHMAKER_NO_CACHE" "$FRESHMAKER_PARENTS" "$FRESHMAKER_REQUEST" "$HOSTILE" >"$WORLD/got"
        {LEAVE_RESULT}"#
    );
    let config =
        world.config("").with_arguments(["-c", &script, "build", hostile, ""]).with_variable("HOSTILE", hostile);
    let observed =
        run(&CommandBuildSystem::new(config.with_variable("PATH", "/usr/bin:/bin:/mine")).unwrap(), &request).await;
    assert_eq!(observed, Observed::Succeeded(output("sha256:0a")));

    let parents = serde_json::json!([
        {"id": hostile, "kinds": ["parent_image", "builder_stage"], "digest": Digest::of(b"x")},
        {"id": "plain", "kinds": ["runtime_content"], "digest": null},
    ]);
    let got = fs::read_to_string(world.path("got")).unwrap();
    let got: Vec<_> = got.split('\0').collect();
    let attempt = request.attempt.as_str();
    assert_eq!(got[..6], [hostile, source.to_str().unwrap(), hostile, attempt, hostile, "1"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(got[6]).unwrap(), parents);
    assert_eq!(got[8], hostile);
    let file: serde_json::Value = serde_json::from_slice(&fs::read(got[7]).unwrap()).unwrap();
    let expected = serde_json::json!({
        "version": 1, "attempt": attempt, "build": 7, "artifact": hostile, "kind": "image",
        "source": {"location": source.to_str().unwrap(), "revision": hostile},
        "target": hostile, "mode": "real", "parameters": {"text\n": hostile, "set": [hostile, "b"]},
        "release": hostile, "no_cache": true, "parents": parents,
    });
    assert_eq!(file, expected);
    let cwd = fs::read_to_string(world.path("cwd")).unwrap();
    assert_eq!(cwd.strip_suffix('\n').unwrap(), source.canonicalize().unwrap().to_str().unwrap());
    assert_eq!(fs::read_to_string(world.path("arguments")).unwrap(), format!("{hostile}\0\0"));
    assert_eq!(fs::read(world.path("stdin")).unwrap(), b"");
    assert_eq!(fs::read_to_string(world.path("path")).unwrap(), "/usr/bin:/bin:/mine");
    assert_eq!(fs::read_dir(&source).unwrap().count(), 0, "something of the data was run");
}

#[tokio::test]
async fn parents_too_long_for_a_variable_are_in_the_request() {
    let world = World::new();
    let mut request = request(1);
    let parent = |n| PlanParent {
        id: format!("parent-{n}-{}", "x".repeat(100)).into(),
        kinds: [].into(),
        digest: None,
        name: None,
    };
    request.parents = (0..5000).map(parent).collect();
    let script =
        format!(r#"[ -z "$FRESHMAKER_PARENTS" ] && grep -q parent-4999- "$FRESHMAKER_REQUEST" && {LEAVE_RESULT}"#);
    assert_eq!(run(&world.builds(&script), &request).await, Observed::Succeeded(output("sha256:0a")));
}

#[tokio::test]
async fn parameters_that_are_texts_are_variables() {
    let world = World::new();
    let mut request = request(1);
    let hostile = "$(touch injected) '\"\\ \n-é";
    request.parameters.insert("build-arg.é1", hostile);
    request.parameters.insert("file", "Containerfile.alpine");
    request.parameters.insert("set", ["a"]);
    request.parameters.insert("flag", true);
    for ambiguous in ["a b", "a-b", "A.B"] {
        request.parameters.insert(ambiguous, "1");
    }
    request.parameters.insert("nul", "\0");
    let script = format!(
        r#"env -0 | grep -z ^FRESHMAKER_PARAMETER_ | sort -z | tr '\0' '|' >"$WORLD/got"; printf %s "$FRESHMAKER_PARAMETER_BUILD_ARG__1" >"$WORLD/hostile"
        {LEAVE_RESULT}"#
    );
    assert_eq!(run(&world.builds(&script), &request).await, Observed::Succeeded(output("sha256:0a")));
    let expected =
        format!("FRESHMAKER_PARAMETER_BUILD_ARG__1={hostile}|FRESHMAKER_PARAMETER_FILE=Containerfile.alpine|");
    assert_eq!(fs::read_to_string(world.path("got")).unwrap(), expected);
    assert_eq!(fs::read_to_string(world.path("hostile")).unwrap(), hostile);

    let mut long = request;
    long.attempt = AttemptId::from_random(2);
    long.parameters.insert("long", "x".repeat(64 * 1024));
    let script = format!(
        r#"! env -0 | grep -qz ^FRESHMAKER_PARAMETER_ && grep -q xxxx "$FRESHMAKER_REQUEST" && {LEAVE_RESULT}"#
    );
    assert_eq!(run(&world.builds(&script), &long).await, Observed::Succeeded(output("sha256:0a")));
}

#[tokio::test]
async fn a_program_that_cannot_start_is_refused_with_its_name() {
    let world = World::new();
    let file = world.path("not-executable");
    fs::write(&file, "").unwrap();
    let missing = world.path("missing");
    for (program, why) in [
        (missing.as_path(), "No such file"),
        (file.as_path(), "ermission denied"),
        (world.directory.path(), "not a file"),
        (Path::new("surely-no-such-program"), "PATH"),
    ] {
        let builds = CommandBuildSystem::new(CommandConfig::new(program, world.path("state"))).unwrap();
        let error = builds.submit(&request(1)).await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Rejected);
        assert!(error.text.contains(program.to_str().unwrap()) && error.text.contains(why), "{error}");
        assert_eq!(builds.find(&request(1), Timestamp::UNIX_EPOCH).await.unwrap(), []);
    }
    // What was never started may still be.
    assert_eq!(run(&world.builds(LEAVE_RESULT), &request(1)).await, Observed::Succeeded(output("sha256:0a")));
}

#[tokio::test]
async fn an_id_that_is_not_plain_is_refused() {
    let world = World::new();
    let builds = world.builds(LEAVE_RESULT);
    for id in ["", "../x", "a/b", "a b", ".", "..", "$(x)", "a\n", &"a".repeat(200)] {
        let mut request = request(1);
        request.attempt = AttemptId::new(id);
        assert_eq!(builds.submit(&request).await.unwrap_err().remedy, Remedy::Rejected, "{id:?}");
        assert_eq!(builds.find(&request, Timestamp::UNIX_EPOCH).await.unwrap(), []);
        assert_eq!(status(&builds, &ExternalId::new(id)).await, Observed::Vanished);
        assert_eq!(builds.cancel(&ExternalId::new(id)).await.unwrap_err().remedy, Remedy::NotFound);
    }
}

#[tokio::test]
async fn a_missing_state_directory_is_not_an_empty_one() {
    let world = World::new();
    let builds = world.builds(LEAVE_RESULT);
    let id = builds.submit(&request(1)).await.unwrap();
    end(&builds, &id).await;
    fs::rename(world.path("state"), world.path("away")).unwrap();
    let at = Timestamp::UNIX_EPOCH;
    assert_eq!(builds.find(&request(1), at).await.unwrap_err().remedy, Remedy::Unavailable);
    assert_eq!(builds.status(std::slice::from_ref(&id)).await.unwrap_err().remedy, Remedy::Unavailable);
    assert_eq!(builds.submit(&request(2)).await.unwrap_err().remedy, Remedy::Unavailable);
    fs::rename(world.path("away"), world.path("state")).unwrap();
    assert_eq!(status(&builds, &id).await, Observed::Succeeded(output("sha256:0a")));
    assert_eq!(status(&builds, &ExternalId::new("ab-cd")).await, Observed::Vanished);
}

#[tokio::test]
async fn a_failure_shows_the_end_of_the_log() {
    let (class, text) = failure(&World::new(), "seq 1 100; printf 'no \\033[31mspace\\n' >&2; exit 3").await;
    assert_eq!(class, FailureClass::Deterministic);
    assert!(text.contains("status 3") && text.ends_with("99 | 100 | no \u{fffd}[31mspace"), "{text}");
    assert!(!text.contains("| 90 |"), "{text}");
}

#[tokio::test]
async fn a_signal_is_told_from_a_status() {
    let (class, text) = failure(&World::new(), "kill -s SEGV $$").await;
    assert_eq!(class, FailureClass::Deterministic);
    assert!(text.contains("status 139 (signal 11)"), "{text}");
    let (class, text) = failure(&World::new(), "kill -s KILL $$").await;
    assert_eq!(class, FailureClass::Infrastructure);
    assert!(text.contains("status 137 (signal 9)"), "{text}");
}

#[tokio::test]
async fn a_program_that_hangs_is_stopped() {
    for script in ["sleep 100", "trap '' TERM; while :; do sleep 1; done", "trap 'exit 0' TERM; sleep 100 & wait"] {
        let world = World::new();
        let builds = CommandBuildSystem::new(world.config(script).with_timeout(Duration::from_millis(500))).unwrap();
        let Observed::Failed(failure) = run(&builds, &request(1)).await else { panic!("did not fail") };
        assert_eq!(failure.class, FailureClass::Infrastructure);
        assert!(failure.text.contains("did not end within 0.5s and was stopped"), "{}", failure.text);
        nothing_is_left(&world.attempt(&request(1))).await;
    }
}

#[tokio::test]
async fn a_log_can_be_read_while_the_program_runs() {
    let world = World::new();
    let go = world.path("go");
    let builds =
        world.builds(&format!("echo begun; until [ -e {} ]; do sleep 0.1; done; {LEAVE_RESULT}", go.display()));
    let id = builds.submit(&request(1)).await.unwrap();
    until("the log begins", || builds.log(&request(1).attempt).is_ok_and(|log| log == "begun\n")).await;
    assert_eq!(status(&builds, &id).await, Observed::Running);
    fs::write(go, "").unwrap();
    assert_eq!(end(&builds, &id).await, Observed::Succeeded(output("sha256:0a")));
}

#[tokio::test]
async fn a_long_log_is_bounded_and_disturbs_nobody() {
    let world = World::new();
    let script =
        format!("echo begin; head -c 50000000 /dev/zero; head -c 492 /dev/zero >&2; echo the end; {LEAVE_RESULT}");
    let builds = CommandBuildSystem::new(world.config(&script).with_log_bytes_max(1000)).unwrap();
    assert_eq!(run(&builds, &request(1)).await, Observed::Succeeded(output("sha256:0a")));
    let log = builds.log(&request(1).attempt).unwrap();
    assert!(log.starts_with("begin\n\0") && log.contains("\0\n[49999506 bytes were not kept]\n\0"), "{}", log.len());
    assert!(log.ends_with("\0the end\n") && log.len() < 1100, "{}", log.len());
}

#[tokio::test]
async fn a_broken_result_fails_the_build_with_its_place() {
    for (script, texts) in [
        (":", ["left no result file", ""]),
        (r#": >"$FRESHMAKER_RESULT""#, ["result.json", "line 1 column 0"]),
        (r#"printf '{"digest":\n oops}' >"$FRESHMAKER_RESULT""#, ["result.json", "line 2 column 2"]),
        (r#"printf '{"digest":"debian:bookworm"}' >"$FRESHMAKER_RESULT""#, ["is not a digest", "line 1 column"]),
        (r#"printf '{"digest":7}' >"$FRESHMAKER_RESULT""#, ["result.json", "line 1 column"]),
        (r#"printf '"\377"' >"$FRESHMAKER_RESULT""#, ["result.json", "line 1 column"]),
        (r#"head -c 70000 /dev/zero >"$FRESHMAKER_RESULT""#, ["result.json", "larger than 65536 bytes"]),
        (r#"mkdir "$FRESHMAKER_RESULT""#, ["result.json", "not a file"]),
        (r#"mkfifo "$FRESHMAKER_RESULT""#, ["result.json", "not a file"]),
    ] {
        let (class, text) = failure(&World::new(), script).await;
        assert_eq!(class, FailureClass::Deterministic, "{text}");
        assert!(texts.iter().all(|part| text.contains(part)), "{script}: {text}");
    }
    let world = World::new();
    let observed = run(&world.builds(r#"echo '{}' >"$FRESHMAKER_RESULT""#), &request(1)).await;
    assert_eq!(observed, Observed::Succeeded(Output { digest: None, ..output("sha256:0a") }));
}

#[tokio::test]
async fn what_the_program_leaves_behind_is_stopped() {
    let world = World::new();
    let builds = world.builds(&format!("(trap '' TERM HUP; sleep 100; sleep 100) & sleep 100 & {LEAVE_RESULT}"));
    assert_eq!(run(&builds, &request(1)).await, Observed::Succeeded(output("sha256:0a")));
    nothing_is_left(&world.attempt(&request(1))).await;
}

#[tokio::test]
async fn what_escaped_from_the_group_holds_nothing_up_for_ever() {
    let world = World::new();
    let builds = world.builds(&format!("setsid sleep 15 & {LEAVE_RESULT}"));
    assert_eq!(run(&builds, &request(1)).await, Observed::Succeeded(output("sha256:0a")));
}

#[tokio::test]
async fn cancel_stops_everything() {
    for script in [
        "echo $$ >\"$WORLD/pid\"; sleep 100",
        "trap '' TERM; (trap '' TERM; (sleep 100; sleep 100) & sleep 100; sleep 100) & echo $$ >\"$WORLD/pid\"; wait",
    ] {
        let world = World::new();
        let builds = world.builds(script);
        let id = builds.submit(&request(1)).await.unwrap();
        text_of(&world.path("pid")).await;
        assert_eq!(status(&builds, &id).await, Observed::Running);
        builds.cancel(&id).await.unwrap();
        assert_eq!(end(&builds, &id).await, Observed::Canceled);
        nothing_is_left(&world.attempt(&request(1))).await;
        builds.cancel(&id).await.unwrap();
        assert_eq!(builds.submit(&request(1)).await.unwrap(), id);
        assert_eq!(status(&builds, &id).await, Observed::Canceled, "it must not start again");
    }
}

#[tokio::test]
async fn a_cancelled_build_ends_although_something_escaped() {
    let world = World::new();
    let builds = world.builds(r#"setsid sh -c 'echo $$ >"$WORLD/pid"; exec sleep 100' & sleep 100"#);
    let id = builds.submit(&request(1)).await.unwrap();
    let escaped = text_of(&world.path("pid")).await;
    builds.cancel(&id).await.unwrap();
    assert_eq!(end(&builds, &id).await, Observed::Canceled);
    kill(&escaped);
}

#[tokio::test]
async fn a_killed_group_with_an_escaped_rest_is_recorded_once() {
    let world = World::new();
    let builds =
        world.builds(r#"trap '' TERM; setsid sh -c 'echo $$ >"$WORLD/pid"; exec sleep 100' & sleep 100; sleep 100"#);
    let id = builds.submit(&request(1)).await.unwrap();
    let escaped = text_of(&world.path("pid")).await;
    builds.cancel(&id).await.unwrap();
    assert_eq!(end(&builds, &id).await, Observed::Canceled);
    assert_eq!(text_of(&world.attempt(&request(1)).join("status")).await, "137");
    kill(&escaped);
}

#[tokio::test]
async fn a_cancel_at_once_is_not_lost() {
    for number in 1..=10 {
        let world = World::new();
        let builds = world.builds("sleep 100");
        let id = builds.submit(&request(number)).await.unwrap();
        builds.cancel(&id).await.unwrap();
        assert_eq!(end(&builds, &id).await, Observed::Canceled);
    }
}

#[tokio::test]
async fn a_new_engine_takes_over() {
    let world = World::new();
    let script = format!("echo one >>\"$WORLD/starts\"; {UNTIL_GO}; {LEAVE_RESULT}");
    let id = world.builds(&script).submit(&request(1)).await.unwrap();

    let second = world.builds(&script);
    let found = second.find(&request(1), Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!((found.len(), &found[0].external, &found[0].observed), (1, &id, &Observed::Running));
    assert_eq!(second.submit(&request(1)).await.unwrap(), id);
    fs::write(world.path("go"), "").unwrap();
    assert_eq!(end(&second, &id).await, Observed::Succeeded(output("sha256:0a")));

    let third = world.builds(&script);
    assert_eq!(third.submit(&request(1)).await.unwrap(), id);
    assert_eq!(status(&third, &id).await, Observed::Succeeded(output("sha256:0a")));
    assert_eq!(fs::read_to_string(world.path("starts")).unwrap(), "one\n");
}

#[tokio::test]
async fn without_its_supervisor_a_build_is_interrupted() {
    let world = World::new();
    let builds = world.builds(&format!("{UNTIL_GO}; {LEAVE_RESULT}"));
    let id = builds.submit(&request(1)).await.unwrap();
    text_of(&world.path("pid")).await;
    kill(&group_of(&world.attempt(&request(1))));
    assert_eq!(status(&builds, &id).await, Observed::Running, "the program lives and holds the lock");
    fs::write(world.path("go"), "").unwrap();
    let Observed::Failed(failure) = end(&builds, &id).await else { panic!("did not fail") };
    assert_eq!(failure.class, FailureClass::Interrupted);
    // Its watch sees to the rest.
    nothing_is_left(&world.attempt(&request(1))).await;
}

#[tokio::test]
async fn an_orphan_can_be_cancelled() {
    let world = World::new();
    let builds = world.builds(&format!("trap '' TERM; {UNTIL_GO}"));
    let id = builds.submit(&request(1)).await.unwrap();
    text_of(&world.path("pid")).await;
    kill(&group_of(&world.attempt(&request(1))));
    builds.cancel(&id).await.unwrap();
    assert_eq!(end(&builds, &id).await, Observed::Canceled);
    nothing_is_left(&world.attempt(&request(1))).await;
}

#[tokio::test]
async fn what_never_started_is_not_found_and_may_start() {
    let world = World::new();
    let builds = world.builds(LEAVE_RESULT);
    // An engine died between making the directory and the start.
    let directory = world.attempt(&request(1));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("request.json"), "{}").unwrap();
    fs::write(directory.join("lock"), "").unwrap();
    assert_eq!(builds.find(&request(1), Timestamp::UNIX_EPOCH).await.unwrap(), []);
    assert_eq!(run(&builds, &request(1)).await, Observed::Succeeded(output("sha256:0a")));
}

#[tokio::test]
async fn the_number_of_an_ended_group_is_never_signalled() {
    let world = World::new();
    let builds = world.builds(LEAVE_RESULT);
    let mut bystander = std::process::Command::new("sleep");
    let mut bystander = std::os::unix::process::CommandExt::process_group(bystander.arg("100"), 0).spawn().unwrap();
    let directory = world.attempt(&request(1));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("lock"), "").unwrap();
    fs::write(directory.join("pgid"), bystander.id().to_string()).unwrap();
    builds.cancel(&ExternalId::new(request(1).attempt.as_str())).await.unwrap();
    assert_eq!(end(&builds, &ExternalId::new(request(1).attempt.as_str())).await, Observed::Canceled);
    assert!(bystander.try_wait().unwrap().is_none(), "somebody else's process was stopped");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[tokio::test]
async fn one_attempt_starts_once_and_two_run_at_once() {
    let world = World::new();
    let builds = world.builds(&format!("echo one >>\"$WORLD/starts-$FRESHMAKER_ATTEMPT\"; {UNTIL_GO}; {LEAVE_RESULT}"));
    let (first, second) = (request(1), request(2));
    let submissions = futures_util::future::join_all([
        builds.submit(&first),
        builds.submit(&first),
        builds.submit(&second),
        builds.submit(&first),
        builds.submit(&second),
    ]);
    let ids: Vec<_> = submissions.await.into_iter().map(|id| id.unwrap()).collect();
    for request in [&first, &second] {
        assert_eq!(text_of(&world.path(&format!("starts-{}", request.attempt))).await, "one");
    }
    let both = [ids[0].clone(), ids[2].clone()];
    let found = builds.status(&both).await.unwrap();
    assert!(found.iter().all(|found| found.observed == Observed::Running), "{found:?}");
    fs::write(world.path("go"), "").unwrap();
    for (id, request) in both.iter().zip([&first, &second]) {
        assert_eq!(end(&builds, id).await, Observed::Succeeded(output("sha256:0a")));
        assert_eq!(text_of(&world.path(&format!("starts-{}", request.attempt))).await, "one");
    }
}

#[tokio::test]
async fn a_dropped_submission_has_started_or_never_starts() {
    for number in 1..=20 {
        let world = World::new();
        let builds = world.builds(&format!("echo one >\"$WORLD/started\"; {LEAVE_RESULT}"));
        let request = request(number);
        let mut submission = Box::pin(builds.submit(&request));
        // Polled once and dropped.
        let _ = futures_util::poll!(&mut submission);
        drop(submission);
        let found = builds.find(&request, Timestamp::UNIX_EPOCH).await.unwrap();
        match found.first() {
            Some(found) => assert_eq!(end(&builds, &found.external).await, Observed::Succeeded(output("sha256:0a"))),
            None => {
                for _ in 0..3 {
                    pause().await;
                }
                assert!(!world.path("started").exists(), "started after it was not found");
            }
        }
    }
}

#[tokio::test]
async fn no_supervisor_stays_a_zombie() {
    let world = World::new();
    let builds = world.builds(LEAVE_RESULT);
    run(&builds, &request(1)).await;
    let pid = group_of(&world.attempt(&request(1)));
    for _ in 0..3000 {
        if !Path::new("/proc").join(&pid).exists() {
            return;
        }
        builds.status(&[]).await.unwrap();
        pause().await;
    }
    panic!("{pid} is still there");
}

/// The engine of the next test; by itself it does nothing.
#[tokio::test]
async fn engine_to_be_killed() {
    let Some(world) = std::env::var_os("FRESHMAKER_TEST_ENGINE").map(PathBuf::from) else { return };
    let builds = CommandBuildSystem::new(config(&world, &format!("{UNTIL_GO}; {LEAVE_RESULT}"))).unwrap();
    builds.submit(&request(1)).await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_build_survives_its_engine() {
    let world = World::new();
    let mut engine = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "engine_to_be_killed"])
        .env("FRESHMAKER_TEST_ENGINE", world.directory.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    text_of(&world.path("pid")).await;
    engine.kill().unwrap();
    engine.wait().unwrap();
    let builds = world.builds("exit 1");
    let found = builds.find(&request(1), Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(found[0].observed, Observed::Running);
    fs::write(world.path("go"), "").unwrap();
    assert_eq!(end(&builds, &found[0].external).await, Observed::Succeeded(output("sha256:0a")));
}

#[test]
fn the_configuration_is_strict() {
    let read = serde_json::from_str::<CommandConfig>;
    let config = read(r#"{"program": "make", "state_dir": "s", "poll": 0.5}"#).unwrap();
    assert_eq!(config, CommandConfig::new("make", "s").with_poll(Duration::from_millis(500)));
    for text in [
        r#"{"program": "make", "state_dir": "s", "timeuot": 1}"#,
        r#"{"program": "make", "state_dir": "s", "timeout": -1}"#,
    ] {
        read(text).unwrap_err();
    }
    for name in ["", "A=B", "A B", "1A", "a.b"] {
        let error = CommandBuildSystem::new(CommandConfig::new("make", "s").with_variable(name, "x")).unwrap_err();
        assert_eq!(error.remedy, Remedy::Unsupported, "{name:?}");
    }
    let error = CommandBuildSystem::new(CommandConfig::new("make", "/dev/null/state")).unwrap_err();
    assert_eq!(error.remedy, Remedy::Unavailable);
    let secret = format!("{:?}", CommandConfig::new("make", "s").with_variable("TOKEN", "hunter2"));
    assert!(secret.contains("TOKEN") && !secret.contains("hunter2"));
}

mod conformance {
    use super::{Duration, ExternalId, LEAVE_RESULT, World as Directory, request};
    use async_trait::async_trait;
    use freshmaker::backend::{BuildRequest, BuildSystem, ComposerSystem};
    use freshmaker::memory::{MemoryBuildSystem, MemoryComposer};
    use freshmaker::rebuild::{Failure, FailureClass};
    use freshmaker_local::command::CommandBuildSystem;
    use freshmaker_testing::conformance::{BuildWorld, Ending, build_system};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct World<F: Fn(&BuildRequest, Ending)> {
        prepare: F,
        pause: Duration,
        last: AtomicU32,
    }

    #[async_trait]
    impl<F: Fn(&BuildRequest, Ending) + Send + Sync> BuildWorld for World<F> {
        fn request(&self, ending: Ending) -> BuildRequest {
            let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
            let mut request = request(u128::from(number));
            request.artifact = format!("{ending:?}-{number}").into();
            (self.prepare)(&request, ending);
            request
        }

        async fn settle(&self) {
            tokio::time::sleep(self.pause).await;
        }
    }

    fn world<F: Fn(&BuildRequest, Ending)>(pause: Duration, prepare: F) -> World<F> {
        World { prepare, pause, last: AtomicU32::new(0) }
    }

    #[tokio::test]
    async fn commands_keep_the_contract() {
        let directory = Directory::new();
        let script = format!(
            r#"case "$FRESHMAKER_ARTIFACT" in Fails*) exit 1 ;; Hangs*) trap '' TERM; sleep 100 ;; *) {LEAVE_RESULT} ;; esac"#
        );
        let builds: CommandBuildSystem = directory.builds(&script);
        build_system(&builds, &world(Duration::from_millis(20), |_, _| {})).await;
    }

    #[tokio::test]
    async fn memory_keeps_the_contract() {
        let builds = MemoryBuildSystem::new();
        let world = world(Duration::ZERO, |request, ending| match ending {
            Ending::Succeeds => {}
            Ending::Fails => builds.fail_next(&request.artifact, Failure::new(FailureClass::Permanent, "as wanted")),
            Ending::Hangs => builds.hold(&request.artifact),
        });
        build_system(&builds, &world).await;
        let unknown = ExternalId::new("never");
        assert!(builds.cancel(&unknown).await.is_err());
    }

    #[tokio::test]
    async fn a_composer_keeps_the_contract() {
        let composer = Arc::new(MemoryComposer::new());
        let world = world(Duration::ZERO, |request, ending| match ending {
            Ending::Succeeds => {}
            Ending::Fails => composer.fail_next(&request.artifact, Failure::new(FailureClass::Permanent, "as wanted")),
            Ending::Hangs => composer.hold(&request.artifact),
        });
        build_system(&ComposerSystem(Arc::clone(&composer)), &world).await;
        assert!(!composer.released().is_empty());
    }
}

#[test]
fn directories_that_are_made_are_for_their_owner() {
    let world = World::new();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;

    let config = CommandConfig::new("/bin/true", world.path("var/state"));
    CommandBuildSystem::new(config).unwrap();
    assert_eq!(mode(&world.path("var")), 0o700);
    assert_eq!(mode(&world.path("var/state")), 0o700);

    let shared = world.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o750)).unwrap();
    CommandBuildSystem::new(CommandConfig::new("/bin/true", &shared)).unwrap();
    assert_eq!(mode(&shared), 0o750, "what somebody has set stays");
}

/// Submits others until the directory of this attempt is removed: of two systems that remove at the
/// same time, one leaves it to the other.
async fn until_removed(builds: &CommandBuildSystem, directory: &Path) {
    for number in 1000.. {
        if !directory.exists() {
            return;
        }
        let _ = builds.submit(&request(number)).await;
        pause().await;
    }
}

#[tokio::test]
async fn an_attempt_whose_directory_was_removed_has_ended_as_it_had() {
    let world = World::new();
    let script = format!(r#"echo "$FRESHMAKER_ATTEMPT" >>"$WORLD/starts"; {LEAVE_RESULT}"#);
    let keeping = |for_| CommandBuildSystem::new(world.config(&script).with_keep_for(for_)).unwrap();
    let first = request(1);
    let ended = run(&keeping(Duration::ZERO), &first).await;
    assert_eq!(ended, Observed::Succeeded(output("sha256:0a")));
    keeping(Duration::from_secs(3600)).submit(&request(2)).await.unwrap();
    assert!(world.attempt(&first).exists(), "it is kept for an hour");

    let builds = keeping(Duration::ZERO);
    until_removed(&builds, &world.attempt(&first)).await;
    assert!(world.attempt(&request(2)).exists(), "nobody was told of its end");

    let external = ExternalId::new(first.attempt.as_str());
    assert_eq!(status(&builds, &external).await, ended);
    assert_eq!(builds.find(&first, Timestamp::UNIX_EPOCH).await.unwrap()[0].observed, ended);
    builds.cancel(&external).await.unwrap();
    assert_eq!(builds.submit(&first).await.unwrap(), external);
    // The last one has ended, so that the first one would have started.
    assert_eq!(run(&builds, &request(3)).await, ended);
    assert!(!world.attempt(&first).exists());
    let starts = fs::read_to_string(world.path("starts")).unwrap();
    assert_eq!(starts.lines().filter(|line| *line == first.attempt.as_str()).count(), 1);
}

#[tokio::test]
async fn the_directory_of_an_attempt_that_could_not_start_is_removed() {
    let world = World::new();
    let config = CommandConfig::new(world.path("missing"), world.path("state")).with_keep_for(Duration::ZERO);
    CommandBuildSystem::new(config.clone()).unwrap().submit(&request(1)).await.unwrap_err();
    assert!(world.attempt(&request(1)).exists());
    let builds = CommandBuildSystem::new(config).unwrap();
    until_removed(&builds, &world.attempt(&request(1))).await;
    assert_eq!(builds.find(&request(1), Timestamp::UNIX_EPOCH).await.unwrap(), []);
    // What was never started may still be.
    assert_eq!(run(&world.builds(LEAVE_RESULT), &request(1)).await, Observed::Succeeded(output("sha256:0a")));
}

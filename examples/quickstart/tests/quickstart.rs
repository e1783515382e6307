//! The example `quickstart`, run as people run it.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const DATA: &str = include_str!("../src/data/official-images.tsv");
const PRE_RELEASES: [&str; 5] =
    ["golang:tip-", "haxe:5.0.0-preview", "openjdk:27-rc-", "openjdk:28-ea-", "python:3.15.0rc1"];

fn quickstart() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    command.stdin(Stdio::null());
    command
}

fn demo(state: &Path, arguments: &[&str]) -> Output {
    quickstart().arg("--state").arg(state).args(arguments).output().unwrap()
}

fn of_tree(tree: &Path, arguments: &[&str]) -> Output {
    quickstart().arg(tree).args(arguments).output().unwrap()
}

/// What it printed, if it ended with this status.
#[track_caller]
fn text(output: &Output, status: i32) -> (String, String) {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    assert_eq!(output.status.code(), Some(status), "{out}\n{err}");
    (out, err)
}

#[track_caller]
fn has(text: &str, wanted: &str) {
    assert!(text.contains(wanted), "no {wanted:?} in:\n{text}");
}

fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256-{hex}")
}

/// The artifacts that depend on `debian:bookworm` with their parents, and the pushed ones, by name.
fn affected() -> (BTreeMap<String, BTreeSet<String>>, BTreeSet<String>) {
    let mut names = Vec::new();
    let mut parents: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut fresh = BTreeSet::new();
    for line in DATA.lines() {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["N", name, platform] => {
                if name == "debian:bookworm" {
                    fresh.insert(names.len());
                }
                names.push(format!("docker.io/{platform}/{name}"));
            }
            ["F", child, of] => {
                parents.insert(child.parse().unwrap(), of.split(' ').map(|number| number.parse().unwrap()).collect());
            }
            _ => {}
        }
    }
    let pushed = fresh.clone();
    loop {
        let more: Vec<_> = parents
            .iter()
            .filter(|(child, parents)| !fresh.contains(child) && parents.iter().any(|parent| fresh.contains(parent)))
            .map(|(child, _)| *child)
            .collect();
        if more.is_empty() {
            break;
        }
        fresh.extend(more);
    }
    let name = |at: &usize| names[*at].clone();
    let dependents = fresh.difference(&pushed);
    (
        dependents.map(|at| (name(at), parents[at].iter().map(name).collect())).collect(),
        pushed.iter().map(name).collect(),
    )
}

fn is_pre_release(name: &str) -> bool {
    PRE_RELEASES.iter().any(|pre_release| name.contains(pre_release))
}

fn tag(state: &Path, artifact: &str) -> PathBuf {
    state.join("tags").join(sha256(artifact.as_bytes()))
}

fn output(state: &Path, digest: &str) -> PathBuf {
    state.join("outputs").join(format!("{}.json", digest.replace(':', "-")))
}

/// The present digest and output of an artifact.
fn present(state: &Path, artifact: &str) -> (String, Value) {
    let digest = fs::read_to_string(tag(state, artifact)).unwrap().trim().to_owned();
    let bytes = fs::read(output(state, &digest)).unwrap();
    assert_eq!(sha256(&bytes), digest.replace(':', "-"), "{artifact}");
    let document: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(document["artifact"], artifact);
    (digest, document)
}

/// Every output embeds what its parents are now.
fn assert_fresh(state: &Path, content: u64) -> usize {
    let (dependents, pushed) = affected();
    for base in &pushed {
        assert_eq!(present(state, base).1["content"], content, "{base}");
    }
    let built: Vec<_> = dependents.iter().filter(|(name, _)| !is_pre_release(name)).collect();
    for (name, parents) in &built {
        let (_, document) = present(state, name);
        let embedded = document["parents"].as_object().unwrap();
        assert!(embedded.keys().eq(parents.iter()), "{name}");
        for parent in *parents {
            assert_eq!(embedded[parent], present(state, parent).0, "{name} from {parent}");
        }
    }
    built.len()
}

/// How often each artifact was built to its end.
fn builds(state: &Path) -> BTreeMap<String, usize> {
    let mut builds = BTreeMap::new();
    for attempt in fs::read_dir(state.join("attempts")).unwrap() {
        let attempt = attempt.unwrap().path();
        if fs::read_to_string(attempt.join("status")).is_ok_and(|status| status.trim() == "0") {
            let request: Value = serde_json::from_slice(&fs::read(attempt.join("request.json")).unwrap()).unwrap();
            *builds.entry(request["artifact"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    builds
}

#[test]
fn the_demonstration_rebuilds_everything_and_finds_what_is_stale() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path();
    let (dependents, pushed) = affected();
    let excluded = dependents.keys().filter(|name| is_pre_release(name)).count();
    assert_eq!((dependents.len(), pushed.len(), excluded), (211, 5, 17));

    let (out, err) = text(&demo(state, &["--slots", "6"]), 0);
    has(&out, "debian:bookworm is pushed with new content for 5 platforms");
    has(&out, "│     │  │  ├─ docker.io/amd64/elixir:1.16.3\n");
    has(&out, "built: 194, unchanged: 0, failed: 0, of 194\nnot rebuilt: other_platform: 9, policy: 17\n");
    has(&out, "checked: all 194 outputs embed the present content of their ");
    has(&err, "194 of 194 builds ended, 0 running, 0 failed");
    assert_eq!(assert_fresh(state, 1), 194);
    assert!(builds(state).values().all(|count| *count == 1));

    let (out, _) = text(&demo(state, &["--same"]), 0);
    has(&out, "debian:bookworm is pushed with the same content");
    let direct = dependents.iter().filter(|(name, parents)| !is_pre_release(name) && !parents.is_disjoint(&pushed));
    let direct = direct.count();
    has(&out, &format!("built: {direct}, unchanged: {}, failed: 0, of 194\n", 194 - direct));
    assert_eq!(assert_fresh(state, 1), 194);

    stale_outputs_are_found(state);
}

fn stale_outputs_are_found(state: &Path) {
    let (child, parent) = ("docker.io/amd64/elixir:1.16.3", "docker.io/amd64/erlang:26.2.5.21");
    let check = || quickstart().args(["check", "--state"]).arg(state).output().unwrap();
    text(&check(), 0);
    let (digest, mut document) = present(state, child);
    let path = output(state, &digest);
    let good = fs::read(&path).unwrap();
    let stale = format!("sha256:{}", "0".repeat(64));
    document["parents"][parent] = stale.clone().into();
    let bad = serde_json::to_vec(&document).unwrap();
    let expected =
        format!("wrong: {child} is stale: of {parent} expected {}, found {stale}\n", present(state, parent).0);

    fs::write(&path, &bad).unwrap();
    let (_, err) = text(&check(), 1);
    has(&err, &expected);
    has(&err, "was altered");
    fs::write(&path, &good).unwrap();
    text(&check(), 0);

    // The same with a right digest, as a build with a stale parent would leave it.
    let other = sha256(&bad).replace('-', ":");
    fs::write(output(state, &other), &bad).unwrap();
    fs::write(tag(state, child), &other).unwrap();
    let (_, err) = text(&check(), 1);
    assert_eq!(err, expected);
    fs::write(tag(state, child), &digest).unwrap();
    text(&check(), 0);
}

#[test]
fn what_was_killed_is_finished_and_nothing_is_built_twice() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path();
    let mut killed =
        quickstart().arg("--state").arg(state).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut seen = BufReader::new(killed.stderr.take().unwrap()).lines();
    let ended = |line: String| line.split(' ').next().unwrap().parse::<usize>().unwrap();
    assert!(seen.any(|line| ended(line.unwrap()) >= 50), "it ended too soon");
    killed.kill().unwrap();
    assert_eq!(killed.wait().unwrap().code(), None);
    let before = builds(state).len();
    assert!((50..194).contains(&before), "{before}");

    let (out, _) = text(&demo(state, &[]), 0);
    has(&out, "push 1 of debian:bookworm is not through: going on with it instead of pushing again");
    has(&out, "built: 194, unchanged: 0, failed: 0, of 194\n");
    assert_eq!(assert_fresh(state, 1), 194);
    let builds = builds(state);
    assert_eq!(builds.len(), 194);
    assert!(builds.values().all(|count| *count == 1), "{builds:?}");
}

#[test]
fn nothing_is_built_on_content_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("outputs")).unwrap();
    let result = directory.path().join("result.json");
    let mut step = quickstart();
    step.arg("build-step")
        .env("QUICKSTART_STATE", directory.path())
        .env("FRESHMAKER_ARTIFACT", "child")
        .env("FRESHMAKER_REVISION", "sha256:0a")
        .env("FRESHMAKER_PARENTS", r#"[{"id": "parent", "kinds": [], "digest": "sha256:0b"}]"#)
        .env("FRESHMAKER_RESULT", &result);
    let (_, err) = text(&step.output().unwrap(), 1);
    has(&err, "child cannot be built: its parent parent has no output sha256:0b");
    assert!(!result.exists());
}

#[test]
fn a_command_line_without_sense_is_refused() {
    for (arguments, expected) in [
        (&["--bogus"][..], "there is no option --bogus"),
        (&["--state"], "--state needs a value"),
        (&["--slots", "0"], "--slots needs a number"),
        (&["--changed", "x"], "--changed does not go with the demonstration"),
        (&["a", "b"], "one directory at a time"),
        (&["a", "--same"], "--same does not go with a directory alone"),
        (&["--same", "--same"], "--same is given twice"),
        (&["a", "--format", "svg"], "--format does not go with a directory alone"),
        (
            &["a", "--changed", "b", "--format", "png"],
            "--format: there is no format \"png\", only text, json, dot, mermaid and svg",
        ),
        (&["a", "--changed", "b", "--format", "svg", "--no-pull"], "--no-pull does not go with --format"),
    ] {
        let (_, err) = text(&quickstart().args(arguments).output().unwrap(), 2);
        has(&err, expected);
    }
    let (out, _) = text(&quickstart().arg("--help").output().unwrap(), 0);
    has(&out, "usage: quickstart");
    let (_, err) = text(&of_tree(Path::new("/nonexistent"), &[]), 1);
    has(&err, "/nonexistent: there is no such directory");
}

/// A tree with a chain, a builder stage, a pin and a mistake.
fn tree() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("base/Containerfile", "FROM debian:12\n"),
        ("app/Dockerfile.slim", "FROM base\n"),
        (
            "web site/Containerfile",
            "# freshmaker: image=example.com/site:1\nFROM golang:1 AS b\nFROM app:slim\nCOPY --from=b /a /b\n",
        ),
        (
            "pinned/Containerfile",
            "FROM debian:12@sha256:0000000000000000000000000000000000000000000000000000000000000000\n",
        ),
        ("wrong/Containerfile", "\nFROM $NOTHING\n"),
    ] {
        let path = directory.path().join(name);
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

/// Everything below a directory with its content.
fn listing(directory: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(listing(&path));
            found.insert(path, None);
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, Some(bytes));
        }
    }
    found
}

#[test]
fn a_tree_is_shown_and_not_touched() {
    let tree = tree();
    let before = listing(tree.path());
    let (out, _) = text(&of_tree(tree.path(), &[]), 0);
    for expected in [
        "  localhost/app:slim  (app/Dockerfile.slim)\n    from localhost/base:latest\n",
        "  example.com/site:1  (web site/Containerfile)\n    builder stage from docker.io/library/golang:1\n",
        "from elsewhere: 2 bases\n  docker.io/library/debian:12\n  docker.io/library/golang:1\n",
        "not followed: 1 use\n  localhost/pinned:latest — pinned_by_digest: pinned/Containerfile:1 pins debian:12 by digest\n",
        "wrong: 1 problem\n",
        "/wrong/Containerfile:2: ",
        "  docker.io/library/debian:12: 3 images\n    1. localhost/base:latest\n    2. localhost/app:slim\n    3. example.com/site:1\n",
        "  docker.io/library/golang:1: 1 image\n    1. example.com/site:1\n",
    ] {
        has(&out, expected);
    }
    has(
        &out,
        "  localhost/pinned:latest  (pinned/Containerfile)\n    not followed: docker.io/library/debian:12 (pinned_by_digest)\n",
    );
    assert!(!out.contains("another name"), "{out}");
    assert_eq!(listing(tree.path()), before);
}

#[test]
fn an_image_that_is_perhaps_of_the_tree_is_pointed_out() {
    let tree = tree();
    fs::create_dir(tree.path().join("other")).unwrap();
    fs::write(tree.path().join("other/Dockerfile"), "FROM quay.io/team/base\nCOPY --from=quay.io/team/other / /\n")
        .unwrap();
    let (out, _) = text(&of_tree(tree.path(), &[]), 0);
    has(
        &out,
        "perhaps built here under another name: 1 base\n  quay.io/team/base:latest looks like base/Containerfile\n",
    );
    has(&out, "under [tree]: image = \"quay.io/team/{name}:{tag}\"\n");
    fs::write(tree.path().join("freshmaker.toml"), "[tree]\nimage = \"quay.io/team/{name}:{tag}\"\n").unwrap();
    let (out, _) = text(&of_tree(tree.path(), &[]), 0);
    has(&out, "  quay.io/team/other:latest  (other/Dockerfile)\n    from quay.io/team/base:latest\n");
    assert!(!out.contains("another name") && !out.contains("/./"), "{out}");
}

/// A tree with these files.
fn tree_of(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

#[test]
fn names_are_alike_without_case_dash_and_underscore() {
    let tree = tree_of(&[
        ("Base/Dockerfile", "FROM debian:12\n"),
        ("ToolBase/Dockerfile", "FROM acme/base\n"),
        ("ToolBox/Dockerfile", "FROM acme/tool-base\n"),
    ]);
    let (out, _) = text(&of_tree(tree.path(), &[]), 0);
    has(
        &out,
        "perhaps built here under another name: 2 bases\n  docker.io/acme/base:latest looks like Base/Dockerfile\n",
    );
    has(&out, "  docker.io/acme/tool-base:latest looks like ToolBase/Dockerfile\n");
    let hint =
        "    \"Base/Dockerfile\" = \"acme/base:latest\"\n    \"ToolBase/Dockerfile\" = \"acme/tool-base:latest\"\n";
    has(&out, &format!("under [tree.images]:\n{hint}"));
    // Who follows the hint gets what it promises.
    fs::write(tree.path().join("freshmaker.toml"), format!("[tree.images]\n{hint}")).unwrap();
    let (out, _) = text(&of_tree(tree.path(), &[]), 0);
    has(&out, "  docker.io/acme/tool-base:latest  (ToolBase/Dockerfile)\n    from docker.io/acme/base:latest\n");
    assert!(!out.contains("another name"), "{out}");
}

#[test]
fn names_without_a_team_may_be_alike_too() {
    let tree = tree_of(&[
        ("ToolBase/Dockerfile", "FROM debian:12\n"),
        ("node/Dockerfile", "FROM debian:12\n"),
        ("a/Dockerfile", "FROM localhost/tool-base\n"),
        ("b/Dockerfile", "FROM node:24\n"),
    ]);
    let (out, _) = text(&of_tree(tree.path(), &[]), 0);
    has(&out, "another name: 1 base\n  localhost/tool-base:latest looks like ToolBase/Dockerfile\n");
    has(&out, "    \"ToolBase/Dockerfile\" = \"localhost/tool-base:latest\"\n");
}

#[test]
fn a_tag_alone_is_not_like_what_the_name_of_a_file_adds() {
    let tree = tree_of(&[
        ("app/Dockerfile.debug", "FROM alpine:3\n"),
        ("tool/Dockerfile", "FROM gcr.io/distroless/static:debug\n"),
        ("Dockerfile.dev", "FROM alpine:3\n"),
        ("other/Dockerfile", "FROM quay.io/else/where:dev\n"),
    ]);
    let (out, _) = text(&of_tree(tree.path(), &[]), 0);
    assert!(!out.contains("another name"), "{out}");
    // The name of an image is, and so is a tag that a directory has.
    let tree = tree_of(&[
        ("app/Dockerfile.debug", "FROM alpine:3\n"),
        ("edge/Dockerfile", "FROM alpine:3\n"),
        ("tool/Dockerfile", "FROM quay.io/acme/debug:debug\nCOPY --from=quay.io/acme/all:edge / /\n"),
    ]);
    let (out, _) = text(&of_tree(tree.path(), &[]), 0);
    has(&out, "another name: 2 bases\n  quay.io/acme/debug:debug looks like app/Dockerfile.debug\n");
    has(&out, "  quay.io/acme/all:edge looks like edge/Dockerfile\n");
}

#[test]
fn a_hint_that_would_not_work_is_not_printed() {
    // As those images, the files would be built from each other.
    let tree = tree_of(&[
        ("base/Dockerfile", "FROM acme/app\n"),
        ("app/Dockerfile", "FROM debian:12\nCOPY --from=acme/base / /\n"),
    ]);
    let (out, _) = text(&of_tree(tree.path(), &[]), 0);
    has(&out, "perhaps built here under another name: 2 bases\n");
    assert!(!out.contains("[tree]: image"), "{out}");
    // Two files could be the one.
    let tree = tree_of(&[
        ("a/base/Dockerfile", "FROM debian:12\n"),
        ("b/base/Dockerfile", "FROM debian:12\n"),
        ("c/Dockerfile", "FROM acme/base\n"),
    ]);
    let (out, _) = text(&of_tree(tree.path(), &[]), 0);
    assert!(!out.contains("another name"), "{out}");
}

#[test]
fn what_is_passed_over_is_counted_in_one_line() {
    let tree = tree_of(&[
        ("app/Dockerfile", "FROM debian:12\n"),
        ("none/Dockerfile", "ARG A\nFROM debian:12$A\n"),
        ("tpl/Dockerfile.envs", "{{ ARGS[\"a\"] }}\nENV A=1\n"),
        ("tpl/Dockerfile.linux", "{{ if x }}FROM debian:12{{ end }}\nRUN a\n"),
        ("wrong/Dockerfile", "FROM $X\n"),
    ]);
    let (out, _) = text(&of_tree(tree.path(), &[]), 0);
    let line = "passed over: 2 files that look like Containerfiles: 2 templates ({{ … }} or the like)\n";
    has(&out, &format!("\n{line}\nto know: 1 remark\n"));
    has(&out, "none/Dockerfile:2: FROM debian:12$A: ARG A has no default, so it is empty\n\nwrong: 1 problem\n");
    assert!(!out.contains("unknown instruction"), "{out}");
    let (_, err) = text(&of_tree(tree.path(), &["--changed", "debian:12", "--format", "text"]), 0);
    assert!(err.starts_with(line), "{err}");
}

#[test]
fn a_program_that_cannot_be_started_is_refused_before_anything_is_stored() {
    let tree = tree_of(&[("Dockerfile", "FROM debian:12\n")]);
    let here = tree_of(&[("mybuild.sh", "#!/bin/sh\n"), ("no-bit.sh", "#!/bin/sh\n")]);
    executable(&here.path().join("mybuild.sh"), "#!/bin/sh\n");
    executable(&here.path().join("wrong.sh"), "#!/no/such/shell -e\n");
    executable(&here.path().join("windows.sh"), "#!/bin/sh\r\nexit 0\r\n");
    executable(&here.path().join("env.sh"), "#!/usr/bin/env no-such-python\n");
    let before = listing(tree.path());
    for (program, expected) in [
        ("mybuild.sh", "the program mybuild.sh is not in any directory of PATH; did you mean ./mybuild.sh?\n"),
        ("no-such-program", "the program no-such-program is not in any directory of PATH\n"),
        ("./no-bit.sh", "no-bit.sh cannot be started: permission denied; `chmod +x "),
        ("./wrong.sh", "its first line names the interpreter /no/such/shell, which does not exist\n"),
        ("./windows.sh", "its first line ends with a carriage return"),
        ("./env.sh", "its first line names the interpreter no-such-python, which is not in any directory of PATH\n"),
        ("./gone.sh", "./gone.sh: there is no such build program; "),
    ] {
        let mut command = quickstart();
        command.current_dir(here.path()).arg(tree.path());
        command.args(["--changed", "debian:12", "--no-pull", "--program", program]);
        let (out, err) = text(&command.output().unwrap(), 1);
        has(&err, expected);
        assert_eq!(out, "", "{program}");
    }
    assert_eq!(listing(tree.path()), before, "nothing is stored");
}

#[test]
fn a_large_plan_begins_with_its_summary() {
    let names: Vec<String> = (0..40).map(|number| format!("app{number}/Dockerfile")).collect();
    let mut files = vec![("base/Dockerfile", "FROM debian:12\n")];
    files.extend(names.iter().map(|name| (name.as_str(), "FROM base\n")));
    let tree = tree_of(&files);
    let (out, _) = text(&of_tree(tree.path(), &["--changed", "debian:12", "--format", "text"]), 0);
    let summary = "41 to rebuild in 2 waves: 1 contain what changed, 40 follow those; 0 left out\n\ndocker.io/library/debian:12 changed\n";
    assert!(out.starts_with(summary), "{out}");
    executable(&tree.path().join("freshmaker-build.sh"), "#!/bin/sh\necho '{}' >\"$FRESHMAKER_RESULT\"\n");
    let (out, _) = text(&of_tree(tree.path(), &["--changed", "debian:12", "--no-pull"]), 0);
    assert!(out.starts_with(summary), "{out}");
}

#[test]
fn a_digest_without_a_tag_is_shown_as_it_is() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let tree = tree_of(&[("Dockerfile", &format!("# freshmaker: image=x\nFROM alpine@{digest}\n"))]);
    let (out, _) = text(&of_tree(tree.path(), &[]), 0);
    has(&out, "pinned_by_digest: Dockerfile:2 pins alpine by digest (no tag given)\n");
    assert!(!out.contains("alpine:latest"), "{out}");
}

#[test]
fn a_tree_without_images_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let (out, _) = text(&of_tree(directory.path(), &[]), 0);
    has(&out, "built here: 0 images\n  no file is called Containerfile or Dockerfile");
    fs::write(directory.path().join("freshmaker.toml"), "").unwrap();
    let (out, _) = text(&of_tree(directory.path(), &[]), 0);
    has(&out, "without [tree] in it, no Containerfile is read");
    let (_, err) = text(&of_tree(&directory.path().join("freshmaker.toml"), &[]), 1);
    has(&err, "freshmaker.toml: this is not a directory");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let tree = tree();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = quickstart().arg(tree.path()).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(text(&output, 0).1, "");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = quickstart().arg(tree.path()).stdout(full).stderr(Stdio::piped()).output().unwrap();
    has(&text(&output, 1).1, "quickstart: standard output: No space left");
}

#[test]
fn what_a_tree_needs_is_written_once() {
    let tree = tree();
    let (_, err) = text(&of_tree(tree.path(), &["--changed", "debian:12"]), 1);
    has(&err, "--init` writes one");
    text(&of_tree(tree.path(), &["--init"]), 0);
    let written = listing(tree.path());
    let script = tree.path().join("freshmaker-build.sh");
    assert_eq!(fs::metadata(&script).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(Command::new("sh").arg("-n").arg(&script).status().unwrap().success());
    let (_, err) = text(&of_tree(tree.path(), &["--init"]), 1);
    has(&err, "freshmaker.toml is there already and was left as it is");
    has(&err, "freshmaker-build.sh is there already");
    assert_eq!(listing(tree.path()), written);
    // The manifest makes sense.
    let (out, _) = text(&of_tree(tree.path(), &[]), 0);
    has(&out, "localhost/app:slim  (app/Dockerfile.slim)");
}

fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_depends_on_a_changed_image_is_built_in_order() {
    let tree = tree();
    let log = tree.path().join("log");
    executable(
        &tree.path().join("freshmaker-build.sh"),
        r#"#!/bin/sh
set -eu
test -f "$FRESHMAKER_PARAMETER_FILE"
printf '%s %s %s\n' "$FRESHMAKER_ARTIFACT" "$FRESHMAKER_PARAMETER_FILE" "$FRESHMAKER_PULL" >>../log
printf '{"digest": "sha256:%s"}' "$(sha256sum <"$FRESHMAKER_PARAMETER_FILE" | cut -d ' ' -f 1)" >"$FRESHMAKER_RESULT"
"#,
    );
    let (out, _) = text(&of_tree(tree.path(), &["--changed", "debian:12"]), 0);
    has(&out, "built: 3, unchanged: 0, failed: 0, of 3\n");
    has(&out, "built localhost/app:slim sha256:");
    let debian = "docker.io/library/debian:12";
    let expected = format!(
        "localhost/base:latest Containerfile {debian}\nlocalhost/app:slim Dockerfile.slim {debian}\n\
         example.com/site:1 Containerfile {debian}\n"
    );
    assert_eq!(fs::read_to_string(&log).unwrap(), expected);

    // Its base came out as before, so the image in the middle has nothing to be built for; of
    // golang nobody knows the content.
    let (out, _) = text(&of_tree(tree.path(), &["--changed", "debian:12"]), 0);
    has(&out, "built: 2, unchanged: 1, failed: 0, of 3\n");
    has(&out, "unchanged localhost/app:slim sha256:");

    let failing = tree.path().join("failing.sh");
    executable(&failing, "#!/bin/sh\necho \"$FRESHMAKER_ARTIFACT is 'not' to be built\"\nexit 3\n");
    let (out, _) = text(&of_tree(tree.path(), &["--changed", "golang:1", "--program", failing.to_str().unwrap()]), 1);
    has(
        &out,
        "failed: example.com/site:1: the program ended with status 3\n    | example.com/site:1 is 'not' to be built\n",
    );
    has(&out, "built: 0, unchanged: 0, failed: 1, of 1\n");

    let (_, err) = text(&of_tree(tree.path(), &["--changed", "debian:13"]), 1);
    has(&err, "there is no artifact debian:13; similar names are debian:12");
}

#[test]
fn the_plan_is_shown_in_any_format() {
    let tree = tree();
    let before = listing(tree.path());
    for (format, expected) in [
        ("text", "docker.io/library/debian:12 changed\n└─ localhost/base:latest\n   └─ localhost/app:slim\n"),
        ("json", "{\n  \"version\": 2,\n"),
        ("dot", "digraph plan {\n"),
        ("mermaid", "flowchart LR\n"),
        ("svg", "<svg xmlns="),
    ] {
        let (out, _) = text(&of_tree(tree.path(), &["--changed", "debian:12", "--format", format]), 0);
        assert!(out.starts_with(expected), "{out}");
        has(&out, "example.com/site:1");
    }
    assert_eq!(listing(tree.path()), before, "nothing is written");
}

#[test]
fn a_cycle_of_images_is_named() {
    let tree = tree();
    fs::write(tree.path().join("base/Containerfile"), "FROM debian:12 AS a\nFROM app:slim\nCOPY --from=a / /\n")
        .unwrap();
    let cycle = "affected artifacts depend on each other in a cycle: ";
    let (out, _) = text(&of_tree(tree.path(), &[]), 0);
    has(&out, &format!("  docker.io/library/debian:12: {cycle}"));
    executable(&tree.path().join("freshmaker-build.sh"), "#!/bin/sh\n");
    let (out, _) = text(&of_tree(tree.path(), &["--changed", "debian:12"]), 1);
    has(&out, cycle);
}

/// The script that `--init` writes, with a builder that only says how it was called.
#[test]
fn the_build_script_calls_its_builder_carefully() {
    let tree = tree();
    text(&of_tree(tree.path(), &["--init"]), 0);
    let builder = tree.path().join("buildah");
    executable(
        &builder,
        r#"#!/bin/sh
printf '<%s>' "${PWD##*/}" "$@" | sed "s|<[^>]*/result.json.id>|<ID>|" >>"$CALLS"
printf '\n' >>"$CALLS"
[ "$1" = build ] || exit 0
printf %064d 7 >"$3"
"#,
    );
    let calls = tree.path().join("calls");
    let run = |arguments: &[&str]| {
        let mut command = quickstart();
        command.arg(tree.path()).args(arguments).env("FRESHMAKER_BUILDER", &builder).env("CALLS", &calls);
        text(&command.output().unwrap(), 0).0
    };
    let out = run(&["--changed", "golang:1"]);
    has(&out, &format!("built example.com/site:1 sha256:{:064}\n", 7));
    let build = "<web site><build><--iidfile><ID><--tag><example.com/site:1><--file><./Containerfile><--layers><.>\n";
    assert_eq!(fs::read_to_string(&calls).unwrap(), format!("<web site><pull><docker.io/library/golang:1>\n{build}"));
    fs::remove_file(&calls).unwrap();
    run(&["--changed", "golang:1", "--no-pull"]);
    assert_eq!(fs::read_to_string(&calls).unwrap(), build);
}

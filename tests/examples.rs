//! The examples do what they say, and stay short enough to be copied.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs an example, which cargo builds beside the tests.
fn run(name: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let directory = test.parent().and_then(Path::parent).unwrap().join("examples");
    let program = directory.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let output = Command::new(&program).output();
    let output =
        output.unwrap_or_else(|error| panic!("{}: {error}; `cargo build --examples` makes it", program.display()));
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn custom_handler_shows_its_plan_and_builds() {
    let expected = [
        "Tell: SKIPPED (security was told of base)",
        "close_hole: COMPLETE (all 2 builds ended well)",
        "base is rebuilt as asked",
        "└─ app",
        "base: DONE (it was built)",
        "app: DONE (it was built)",
    ];
    let output = run("custom_handler");
    assert_eq!(output.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn custom_backend_keeps_its_contract_and_builds() {
    assert_eq!(run("custom_backend"), "1 builds done\n");
}

#[test]
fn http_backend_keeps_its_contract_and_sorts_errors() {
    let expected = "0: Unavailable\n1: Unclear\n200: Corrupt\n401: Unavailable\n404: NotFound\n408: Unclear\n\
                    422: Rejected\n429: NotNow\n500: Unclear\n502: Unclear\nlookup without a list: Err(Corrupt)\n";
    assert_eq!(run("http_backend"), expected);
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[test]
fn custom_examples_fit_on_a_screen() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let customs = sources(&examples).into_iter().filter(|path| path.to_string_lossy().contains("custom_"));
    let lengths: Vec<_> = customs.map(|path| (std::fs::read_to_string(&path).unwrap().lines().count(), path)).collect();
    assert_eq!(lengths.len(), 2);
    for (lines, path) in lengths {
        assert!(lines < 60, "{} has {lines} lines", path.display());
    }
}

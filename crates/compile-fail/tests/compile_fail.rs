//! Wrong handlers do not compile, and the compiler says what is wrong in words that help.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiler whose whole messages are compared; others word and lay out their details in their
/// own way.
const RUSTC: &str = "rustc 1.95.0 ";

/// What the message of every compiler has to say.
const CASES: [(&str, &str); 10] = [
    ("closure_arity", "is expected to take 2 arguments, but it takes 1 argument"),
    ("event_by_reference", "`&ImagePushed` is not an event: it does not implement `freshmaker::Event`"),
    ("no_context", "is expected to take 2 arguments, but it takes 1 argument"),
    ("not_a_handler", "a handler is an `async fn(E, Context) -> HandlerResult`"),
    ("not_a_handler_named", "`Ignores` does not handle events of type `ImagePushed`"),
    ("not_an_event", "`Pushed` is not an event: it does not implement `freshmaker::Event`"),
    ("not_async", "is not a future"),
    ("not_send", "future returned by `ignore` is not `Send`"),
    ("wrong_order", "`freshmaker::Context` is not an event: it does not implement `freshmaker::Event`"),
    ("wrong_return", "to be a future that resolves to `Result<Decision,"),
];

fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// The library that was just built for this test, and the directory of all it needs.
fn library() -> (PathBuf, PathBuf) {
    let directory = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let libraries = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap()).filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("libfreshmaker-") && name.ends_with(".rlib")
    });
    let newest = libraries.max_by_key(|entry| entry.metadata().unwrap().modified().unwrap());
    (newest.expect("cargo builds the library before its tests").path(), directory)
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(format!("{name}.rs"))
}

#[test]
fn wrong_handlers_are_explained() {
    let (library, dependencies) = library();
    let out = tempfile::tempdir().unwrap();
    for (name, sentence) in CASES {
        let output = rustc()
            .args(["--edition", "2024", "--emit", "metadata", "--out-dir"])
            .arg(out.path())
            .arg("-L")
            .arg(format!("dependency={}", dependencies.display()))
            .arg("--extern")
            .arg(format!("freshmaker={}", library.display()))
            .arg(source(name))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{name} compiles");
        assert!(said.contains(sentence), "{name}: the compiler does not say: {sentence}\n{said}");
    }
}

#[test]
fn no_wrong_handler_is_forgotten() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = names
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, CASES.map(|(name, _)| name));
}

#[test]
fn messages_are_as_recorded() {
    let version = String::from_utf8(rustc().arg("--version").output().unwrap().stdout).unwrap();
    if version.starts_with(RUSTC) {
        trybuild::TestCases::new().compile_fail("tests/cases/*.rs");
    } else {
        println!("not compared: {version}");
    }
}

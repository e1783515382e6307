//! Rules of the house that no compiler knows: each is a function of a file, and each is shown a
//! fault that it has to find.

#![allow(clippy::unwrap_used)]

mod map;
mod points;
mod rings;
mod rules;
mod source;
mod surface;

use freshmaker::rebuild::WaitKind;
use source::{Fault, Source};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

type Rule = fn(&Source) -> Vec<Fault>;

const RULES: [Rule; 13] = [
    rings::imports_point_inward,
    rings::ring_0_is_pure,
    rules::only_clocks_tell_the_time,
    rules::features_choose_modules,
    rules::no_code_for_tests,
    rules::queues_have_bounds,
    rules::no_unwrap,
    rules::files_are_short,
    rules::functions_are_short,
    rules::backend_traits_are_small,
    rules::comments_are_narrow,
    rules::tests_do_not_sleep,
    rules::nothing_is_left_over,
];

/// What may break a rule: the rule, the file, and why that is right there.
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    (
        "backend traits are small",
        "src/backend/reads.rs",
        "each method is one question that a page asks; to ask two in one would not make it less to write",
    ),
    (
        "tests do not sleep",
        "crates/freshmaker-local/tests/command.rs",
        "other processes run in real time; it asks again until what it waits for is there",
    ),
    (
        "tests do not sleep",
        "crates/freshmaker-sql/tests/sqlite.rs",
        "a blocking thread tells nobody when it ends; it asks again until the row is there",
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file below a directory, without what tools make.
fn files(directory: &Path, found: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let made = name == "target" || name == "Cargo.lock" || name.starts_with('.') && name != ".ci";
        if made || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            files(&path, found);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
            found.push(Source::new(&path, &text));
        }
    }
}

fn repository() -> Vec<Source> {
    let mut found = Vec::new();
    files(root(), &mut found);
    assert!(found.iter().any(|source| source.path == "src/lib.rs"));
    found
}

fn report(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}

#[test]
fn the_repository_is_tidy() {
    let mut used = BTreeSet::new();
    let sources = repository();
    let mut faults: Vec<_> = sources.iter().flat_map(|source| RULES.iter().flat_map(|rule| rule(source))).collect();
    faults.retain(|fault| {
        let exception = EXCEPTIONS.iter().position(|(rule, path, _)| *rule == fault.rule && *path == fault.path);
        used.extend(exception);
        exception.is_none()
    });
    assert!(faults.is_empty(), "{}", report(&faults));
    for (number, (rule, path, _)) in EXCEPTIONS.iter().enumerate() {
        let there = sources.iter().any(|source| source.path == *path);
        assert!(!there || used.contains(&number), "{path} no longer needs its exception from: {rule}");
    }
}

#[test]
fn architecture_md_names_every_module() {
    let sources = repository();
    let paths: Vec<_> = sources.iter().map(|source| source.path.as_str()).collect();
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let faults = map::the_map_is_complete(&map, &paths);
    assert!(faults.is_empty(), "{}", report(&faults));
}

/// `INSTA_UPDATE=always cargo test --test tidy` writes the lists anew.
#[test]
fn the_interface_of_each_crate_is_as_listed() {
    let surfaces = surface::surfaces(&repository());
    assert_eq!(surfaces.len(), 10, "{:?}", surfaces.keys());
    for (name, surface) in surfaces {
        insta::assert_snapshot!(name, surface);
    }
}

/// Programs match the codes of reasons, so each is documented, and none is documented that is gone.
#[test]
fn the_codes_of_reasons_are_listed() {
    let (mut made, listed) = rules::codes(&repository());
    // Constants that others match as well.
    made.extend(["ask_first", "prerequisite", "requested"].map(|code| (String::new(), code.to_owned())));
    made.extend(WaitKind::ALL.map(|kind| (String::new(), kind.as_str().to_owned())));
    let missing: Vec<_> = made.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&made).collect();
    assert!(missing.is_empty() && gone.is_empty(), "not in a table of codes: {missing:?}; made nowhere: {gone:?}");
}

/// The lines at which a rule finds a fault.
fn lines(rule: Rule, path: &str, text: &str) -> Vec<usize> {
    rule(&Source::new(path, text)).iter().map(|fault| fault.line).collect()
}

#[test]
fn outward_imports_are_found() {
    let rule = rings::imports_point_inward;
    for (path, text) in [
        ("src/plan/mod.rs", "use crate::backend::Bus;"),
        ("src/plan/planner.rs", "use crate::{artifact::Artifact, engine::{Engine, Handle}};"),
        ("src/plan/planner.rs", "fn f() { super::super::handler::x() }"),
        ("src/time.rs", "use super::engine::Engine;"),
        ("src/backend/bus.rs", "fn f(x: crate::memory::MemoryBus) {}"),
        ("src/engine/mod.rs", "use crate::memory::MemoryStorage;"),
        ("src/store/load.rs", "use super::super::handler::x;"),
        ("src/plan/mod.rs", "use crate::Artifact;"),
    ] {
        assert_eq!(lines(rule, path, text), [1], "{path} {text}");
    }
    assert_eq!(lines(rule, "src/unheard_of.rs", ""), [0]);
    for (path, text) in [
        ("src/plan/planner.rs", "use super::{Plan, explain};\nuse crate::{artifact::Artifact, graph::{self, Cycle}};"),
        ("src/plan/mod.rs", "//! Used by [`crate::engine`].\nconst A: &str = \"crate::engine\";"),
        ("src/plan/mod.rs", "#[cfg(test)]\nmod tests {\n use crate::engine::Engine;\n}"),
        ("src/engine/mod.rs", "use crate::backend::Bus;\npub(crate) fn f() {}"),
        ("src/memory/tables.rs", "use super::rows;\nuse crate::store::x;\nuse crate::engine::Engine;"),
        ("crates/freshmaker-testing/src/sim.rs", "use crate::anything;"),
        ("src/lib.rs", "pub use crate::engine::Engine;"),
        ("tests/a.rs", "use crate::engine;"),
    ] {
        assert!(lines(rule, path, text).is_empty(), "{path} {text}");
    }
}

#[test]
fn impure_words_are_found_in_ring_0_only() {
    let rule = rings::ring_0_is_pure;
    for text in [
        "async fn a() {}",
        "a.await;",
        "chrono::Utc::now()",
        "Timestamp::now()",
        "use std::time::SystemTime;",
        "Instant::now()",
        "std::env::var(a)",
        "std::fs::read(a)",
        "use std::net::TcpStream;",
        "HashMap<A, B>",
        "HashSet<A>",
        "println!()",
        "tracing::info!()",
        "log::info!()",
        "fastrand::u64(..)",
        "rand::random()",
        "tokio::spawn(a)",
        "chrono::Local::now()",
        "std::thread::spawn(a)",
        "eprintln!()",
        "futures_util::join!()",
    ] {
        assert_eq!(lines(rule, "src/rebuild/apply.rs", text), [1], "{text}");
        assert!(lines(rule, "src/engine/drive.rs", text).is_empty(), "{text}");
    }
    let good = "/// Not a HashMap, no `.await`.\nfn a(now: Timestamp) -> BTreeMap<A, B> { catalog::f(\"tokio\") }";
    assert!(lines(rule, "src/rebuild/apply.rs", good).is_empty());
}

#[test]
fn clocks_features_and_test_code_are_watched() {
    let rule = rules::only_clocks_tell_the_time;
    assert_eq!(lines(rule, "src/engine/drive.rs", "\nlet a = chrono::Utc::now();"), [2]);
    assert_eq!(lines(rule, "crates/freshmaker-local/src/files/mod.rs", "SystemTime::now()"), [1]);
    assert!(lines(rule, "src/engine/clock.rs", "Utc::now()").is_empty());
    assert!(lines(rule, "src/engine/drive.rs", "self.clock.now()").is_empty());

    let rule = rules::features_choose_modules;
    for (path, text) in [
        ("src/engine/drive.rs", "#[cfg(feature = \"a\")]\nmod b;"),
        ("crates/freshmaker-net/src/lib.rs", "#[cfg(feature = \"a\")]\nfn b() {}"),
        ("crates/freshmaker-net/src/lib.rs", "if cfg!(feature = \"a\") {}"),
        ("src/lib.rs", "#![cfg_attr(feature = \"a\", b)]\nmod c;"),
    ] {
        assert_eq!(lines(rule, path, text), [1], "{path} {text}");
    }
    let good =
        "#[cfg(feature = \"a\")]\npub mod b;\n#[cfg(any(feature = \"a\", feature = \"b\"))]\n/// C.\n#[d]\nmod c;";
    assert!(lines(rule, "crates/freshmaker-net/src/lib.rs", good).is_empty());
    assert!(lines(rule, "src/a/tests.rs", "#[cfg(feature = \"a\")]\nfn b() {}").is_empty());

    let rule = rules::no_code_for_tests;
    assert_eq!(lines(rule, "src/a.rs", "#[cfg(test)]\nfn b() {}"), [1]);
    assert_eq!(lines(rule, "src/a.rs", "\nif cfg!(test) {}"), [2]);
    assert_eq!(lines(rule, "src/a.rs", "#[cfg_attr(test, b)]\nfn c() {}"), [1]);
    assert!(lines(rule, "src/a.rs", "#[cfg(test)]\n#[allow(b)]\nmod tests {\n}\n#[test]\nfn c() {}").is_empty());
    assert!(lines(rule, "src/a.rs", "#[cfg(all(test, feature = \"b\"))]\nmod tests;").is_empty());
}

#[test]
fn loose_habits_are_found() {
    let rule = rules::queues_have_bounds;
    assert_eq!(lines(rule, "src/a.rs", "mpsc::unbounded_channel()"), [1]);
    assert!(lines(rule, "src/a.rs", "mpsc::channel(10) // not unbounded").is_empty());

    let rule = rules::no_unwrap;
    assert_eq!(lines(rule, "src/a.rs", "a.unwrap();"), [1]);
    assert!(
        lines(rule, "src/a.rs", "a.unwrap_or(1);\n/// a.unwrap()\n#[cfg(test)]\nmod tests { a.unwrap() }").is_empty()
    );

    let rule = rules::tests_do_not_sleep;
    assert_eq!(lines(rule, "tests/a.rs", "tokio::time::sleep(a).await;"), [1]);
    assert_eq!(lines(rule, "src/a.rs", "#[cfg(test)]\nmod tests {\n thread::sleep(a);\n}"), [3]);
    assert!(lines(rule, "tests/a.rs", "world.clock.sleep(a); run(\"sleep 5\");").is_empty());
    assert!(lines(rule, "src/a.rs", "sleep(a)").is_empty());

    let rule = rules::nothing_is_left_over;
    for parts in [["TO", "DO: a"], ["// FIX", "ME"], ["XX", "X"], ["HA", "CK"], ["dbg", "!(a)"], ["todo", "!()"]] {
        assert_eq!(lines(rule, "a.md", &parts.concat()), [1], "{parts:?}");
    }
    assert!(lines(rule, "a.sh", "mktemp a.XXXXXX; todos=1; SHACKLE").is_empty());
}

#[test]
fn long_and_wide_things_are_found() {
    let rule = rules::files_are_short;
    let code = |count: usize| "a;\n".repeat(count);
    assert_eq!(lines(rule, "src/a.rs", &code(601)), [0]);
    assert!(lines(rule, "src/a.rs", &(code(599) + "\n// b\n#[cfg(test)]\nmod tests {\n" + &code(9) + "}")).is_empty());

    let rule = rules::functions_are_short;
    let function =
        |inside: usize| format!("x;\nfn a(b: [u8; 2], c: fn() -> D)\n{{ \"{{\";\n{}}}\n", "a;\n".repeat(inside));
    assert_eq!(lines(rule, "src/a.rs", &function(68)), [2]);
    assert!(lines(rule, "src/a.rs", &function(67)).is_empty());
    assert!(lines(rule, "src/a.rs", &format!("trait T {{ fn a(); }}\n{}", "b;\n".repeat(80))).is_empty());
    assert!(lines(rule, "src/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{}}}", function(90))).is_empty());

    let rule = rules::comments_are_narrow;
    let wide = "b ".repeat(50);
    assert_eq!(lines(rule, "src/a.rs", &format!("a;\n/// {wide}b\n// c\n")), [2]);
    assert_eq!(lines(rule, "a.md", &format!("{wide}b\n```\n{wide}b\n```\n| {wide} |\n{wide}b")), [1, 6]);
    assert!(lines(rule, "src/a.rs", &format!("f(\"{wide}b\"); // c\n/// ```\n/// {wide}b\n/// ```")).is_empty());
    assert!(lines(rule, "a.toml", &format!("# {wide}b")).is_empty());

    let rule = rules::backend_traits_are_small;
    let methods =
        |name: &str, count: usize| format!("pub trait {name}: A {{\n{}}}", "async fn b(&self) {\n}\n".repeat(count));
    assert_eq!(lines(rule, "src/backend/a.rs", &methods("Bus", 9)), [1]);
    assert!(lines(rule, "src/backend/a.rs", &methods("Bus", 8)).is_empty());
    assert!(lines(rule, "src/backend/a.rs", &methods("BusExt", 9)).is_empty());
    assert!(lines(rule, "src/handler/a.rs", &methods("Bus", 9)).is_empty());
}

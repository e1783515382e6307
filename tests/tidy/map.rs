//! ARCHITECTURE.md names what there is.

use crate::source::Fault;
use std::collections::BTreeSet;

pub(crate) const LINES_MAX: usize = 460;
const RULE: &str = "the map is complete";

/// Every module is named, between backquotes, in the section of the map whose heading has its
/// directory: `src/engine/`, `src/time.rs`, or, for a module of a member, `crates/NAME/`.
pub(crate) fn the_map_is_complete(map: &str, paths: &[&str]) -> Vec<Fault> {
    let fault = |text: String| Fault { rule: RULE, path: "ARCHITECTURE.md".to_owned(), line: 0, text };
    let mut faults = Vec::new();
    let lines = map.lines().count();
    if lines > LINES_MAX {
        faults.push(fault(format!("{lines} lines, at most {LINES_MAX}: it is read in one sitting")));
    }
    let sections: Vec<(&str, BTreeSet<&str>)> = map
        .split("\n### ")
        .skip(1)
        .map(|section| section.split("\n## ").next().unwrap_or_default())
        .map(|section| (section.lines().next().unwrap_or_default(), quoted_words(section)))
        .collect();
    let mut missing = BTreeSet::new();
    for path in paths {
        let Some((heading, parts)) = place(path) else { continue };
        let here: Vec<_> = sections.iter().filter(|(first, _)| first.contains(&heading)).collect();
        if here.is_empty() {
            missing.insert(format!("no heading of the map has {heading}"));
        }
        for part in parts.into_iter().filter(|part| !matches!(*part, "mod" | "lib" | "tests")) {
            if !here.is_empty() && !here.iter().any(|(_, words)| words.contains(part)) {
                missing.insert(format!("`{part}` of {path} is not named below {heading}"));
            }
        }
    }
    faults.extend(missing.into_iter().map(fault));
    faults
}

/// What the heading for this source has, and the names that its section must have.
fn place(path: &str) -> Option<(String, Vec<&str>)> {
    if let Some((member, inner)) = path.strip_prefix("crates/").and_then(|path| path.split_once("/src/")) {
        return Some((format!("`crates/{member}/`"), inner.strip_suffix(".rs")?.split('/').collect()));
    }
    let parts: Vec<_> = path.strip_prefix("src/")?.strip_suffix(".rs")?.split('/').collect();
    if parts.len() == 1 {
        return Some((format!("`{path}`"), Vec::new()));
    }
    Some((format!("`src/{}/`", parts[0]), parts[1..].to_vec()))
}

fn quoted_words(section: &str) -> BTreeSet<&str> {
    let quoted = section.split('`').skip(1).step_by(2);
    quoted.flat_map(|text| text.split(|c: char| !c.is_alphanumeric() && c != '_')).collect()
}

#[test]
fn a_missing_module_is_found() {
    let map = "# A\n## Map\n### `src/a/`, `src/time.rs`\n`b`, `{c,d}.rs` and e\n### `src/f/`\n`g`\n## Other\n`h`\n";
    let texts = |paths: &[&str]| the_map_is_complete(map, paths).into_iter().map(|f| f.text).collect::<Vec<_>>();
    assert!(texts(&["src/a/mod.rs", "src/a/b.rs", "src/a/c.rs", "src/a/d.rs", "src/time.rs", "src/f/g.rs"]).is_empty());
    assert!(texts(&["src/a/b/tests.rs", "tests/x.rs"]).is_empty());
    assert_eq!(texts(&["src/a/e.rs"]), ["`e` of src/a/e.rs is not named below `src/a/`"]);
    assert_eq!(texts(&["src/a/g.rs"]).len(), 1);
    assert_eq!(texts(&["src/f/h.rs"]).len(), 1);
    assert_eq!(texts(&["src/i/mod.rs", "src/event.rs"]).len(), 2);
    let map = "# M\n### `crates/m/`\n`a`\n";
    let texts = |path| the_map_is_complete(map, &[path]).into_iter().map(|f| f.text).collect::<Vec<_>>();
    assert_eq!((texts("crates/m/src/lib.rs"), texts("crates/m/src/a/mod.rs")), (Vec::new(), Vec::new()));
    assert_eq!(texts("crates/m/src/a/b.rs"), ["`b` of crates/m/src/a/b.rs is not named below `crates/m/`"]);
    assert_eq!(texts("crates/n/src/lib.rs").len(), 1);
    assert_eq!(the_map_is_complete(&"\n".repeat(LINES_MAX + 1), &[]).len(), 1);
}

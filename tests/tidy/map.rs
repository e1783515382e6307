//! ARCHITECTURE.md names what there is.

use crate::source::Fault;
use std::collections::BTreeSet;

pub(crate) const LINES_MAX: usize = 250;
const RULE: &str = "the map is complete";

/// Every module is named, between backquotes, in the section of the map whose heading has its directory: `src/engine/`, or `src/time.rs`.
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
        let Some(inner) = path.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs")) else { continue };
        let parts: Vec<_> = inner.split('/').collect();
        let heading = if parts.len() == 1 { format!("`{path}`") } else { format!("`src/{}/`", parts[0]) };
        let here: Vec<_> = sections.iter().filter(|(first, _)| first.contains(&heading)).collect();
        if here.is_empty() {
            missing.insert(format!("no heading of the map has {heading}"));
        }
        for part in parts.iter().skip(1).filter(|part| !matches!(**part, "mod" | "tests")) {
            if !here.is_empty() && !here.iter().any(|(_, words)| words.contains(part)) {
                missing.insert(format!("`{part}` of {path} is not named below {heading}"));
            }
        }
    }
    faults.extend(missing.into_iter().map(fault));
    faults
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
    assert_eq!(the_map_is_complete(&"\n".repeat(251), &[]).len(), 1);
}

//! Which module may use which.

use crate::source::{Fault, Source, has, identifier, line_of, occurrences};

/// The ring of each top-level module of the core. A new module gets its line here and its place in
/// ARCHITECTURE.md. Which crate may use which is held by the compiler.
const RINGS: [(&str, u8); 15] = [
    ("artifact", 0),
    ("event", 0),
    ("graph", 0),
    ("plan", 0),
    ("policy", 0),
    ("reason", 0),
    ("rebuild", 0),
    ("time", 0),
    ("backend", 1),
    ("store", 1),
    ("client", 2),
    ("engine", 2),
    ("handler", 2),
    ("memory", 3),
    ("guide", 3),
];

/// What ring 0 must not contain, and what to do instead.
const IMPURE: [(&str, &str); 21] = [
    ("async fn", "return what is to be done; the engine does it"),
    (".await", "return what is to be done; the engine does it"),
    ("Utc::now", "take the time as an argument"),
    ("Local::now", "take the time as an argument"),
    ("Timestamp::now", "take the time as an argument"),
    ("SystemTime", "take a time::Timestamp as an argument"),
    ("Instant::now", "take the time as an argument"),
    ("std::env", "take the value as an argument"),
    ("std::fs", "take the content as an argument"),
    ("std::net", "leave the network to a backend"),
    ("std::thread", "leave threads to backends"),
    ("HashMap", "use BTreeMap: its order is the same in every run"),
    ("HashSet", "use BTreeSet: its order is the same in every run"),
    ("println!", "return the text"),
    ("eprintln!", "return the text"),
    ("tracing::", "return a Reason; the engine logs it"),
    ("log::", "return a Reason; the engine logs it"),
    ("fastrand", "take the random number as an argument"),
    ("rand::", "take the random number as an argument"),
    ("tokio", "leave waiting to the engine"),
    ("futures_util", "leave waiting to the engine"),
];

fn ring_of(top: &str) -> Option<u8> {
    RINGS.iter().find(|(name, _)| *name == top).map(|(_, ring)| *ring)
}

/// `src/engine/drive.rs` is `[engine, drive]`, `src/engine/mod.rs` is `[engine]`, `src/lib.rs` is
/// nothing.
fn module_of(path: &str) -> Option<Vec<&str>> {
    let mut parts: Vec<_> = path.strip_prefix("src/")?.strip_suffix(".rs")?.split('/').collect();
    if matches!(parts.last(), Some(&"mod" | &"lib")) {
        parts.pop();
    }
    Some(parts)
}

/// Every module of the crate that the code names, as (line, path from the root of the crate).
fn uses(source: &Source, module: &[&str]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (root, mut base) in [("crate::", Vec::new()), ("super::", module.to_vec())] {
        for at in occurrences(&source.code, root) {
            let mut rest = &source.code[at..];
            if root == "super::" {
                if source.code[..at].ends_with("super::") {
                    continue;
                }
                base = module.to_vec();
                while let Some(after) = rest.strip_prefix("super::") {
                    base.pop();
                    rest = after;
                }
            } else {
                rest = &rest[root.len()..];
            }
            let line = line_of(&source.code, at);
            if !source.is_test(line) {
                let base: Vec<String> = base.iter().map(|part| (*part).to_owned()).collect();
                found.extend(tree(&base, rest).into_iter().map(|path| (line, path)));
            }
        }
    }
    found
}

/// The paths of a use tree: `a::{b, c::D}` below `base`.
fn tree(base: &[String], text: &str) -> Vec<Vec<String>> {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('{') {
        return branches(inner).into_iter().flat_map(|branch| tree(base, branch)).collect();
    }
    let name = identifier(text);
    let path: Vec<String> = base.iter().cloned().chain([name.to_owned()]).collect();
    match text[name.len()..].strip_prefix("::") {
        Some(rest) if !name.is_empty() => tree(&path, rest),
        _ => vec![path],
    }
}

/// The parts between commas up to the brace that closes them.
fn branches(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&text[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// Imports point inward.
pub(crate) fn imports_point_inward(source: &Source) -> Vec<Fault> {
    const RULE: &str = "imports point inward";
    let Some(module) = module_of(&source.path) else { return Vec::new() };
    let Some(top) = module.first() else { return Vec::new() };
    let Some(ring) = ring_of(top) else {
        return vec![source.fault(RULE, 0, format!("`{top}` has no ring: give it one in tests/tidy/rings.rs"))];
    };
    let mut faults = Vec::new();
    for (line, path) in uses(source, &module) {
        let Some(target) = path.first() else { continue };
        if target.starts_with(char::is_uppercase) {
            faults.push(source.fault(RULE, line, format!("`crate::{target}`: name the module it comes from")));
            continue;
        }
        match ring_of(target) {
            Some(theirs) if theirs > ring => faults.push(source.fault(
                RULE,
                line,
                format!("`{top}` is in ring {ring} and must not use `{target}` of ring {theirs}"),
            )),
            _ => {}
        }
    }
    faults.dedup();
    faults
}

/// Ring 0 has no time, no environment, no randomness, no waiting and no order by accident.
pub(crate) fn ring_0_is_pure(source: &Source) -> Vec<Fault> {
    let module = module_of(&source.path).unwrap_or_default();
    if module.first().and_then(|top| ring_of(top)) != Some(0) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (line, code) in source.lines() {
        for (word, instead) in IMPURE {
            if has(code, word) {
                faults.push(source.fault("ring 0 is pure", line, format!("`{word}` in ring 0: {instead}")));
            }
        }
    }
    faults
}

//! Rules about single files.

use crate::source::{Fault, Source, closing, has, identifier, line_of, occurrences};
use std::collections::BTreeSet;

pub(crate) const FILE_LINES_MAX: usize = 600;
pub(crate) const COMMENT_WIDTH_MAX: usize = 100;
pub(crate) const FUNCTION_LINES_MAX: usize = 70;
pub(crate) const TRAIT_METHODS_MAX: usize = 8;

/// Whether this is code of a member that users get: `src/…` or `crates/NAME/src/…`.
fn is_source(source: &Source) -> bool {
    let member = source.path.strip_prefix("crates/").and_then(|path| path.split_once('/'));
    match member {
        Some((name, path)) => name != "test-support" && path.starts_with("src/"),
        None => source.path.starts_with("src/"),
    }
}

/// Only a clock may ask what time it is.
pub(crate) fn only_clocks_tell_the_time(source: &Source) -> Vec<Fault> {
    if !is_source(source) || source.path.ends_with("/clock.rs") {
        return Vec::new();
    }
    let asks = |code: &&str| ["Utc::now", "Local::now", "SystemTime::now"].iter().any(|word| has(code, word));
    let lines = source.lines().filter(|(_, code)| asks(code));
    lines.map(|(line, _)| source.fault("only clocks tell the time", line, "ask backend::Clock")).collect()
}

/// `cfg(feature)` stands only where a module is declared or re-exported, and where a type or a
/// field gets its description for an OpenAPI text.
pub(crate) fn features_choose_modules(source: &Source) -> Vec<Fault> {
    if !is_source(source) {
        return Vec::new();
    }
    let declares = |code: &str| {
        let code = code.trim_start();
        ["pub mod ", "mod ", "pub(crate) mod ", "pub(super) mod ", "pub use ", "pub(crate) use "]
            .iter()
            .any(|start| code.starts_with(start))
    };
    let names_modules = source.path.ends_with("/mod.rs") || source.path.ends_with("/lib.rs");
    let mut faults = Vec::new();
    for (line, code) in source.lines() {
        let describes = code.trim_start().starts_with("#[cfg_attr(feature")
            && ["derive(utoipa::ToSchema)", ", schema("].iter().any(|what| code.contains(what));
        if describes || !(code.contains("cfg") && has(code, "feature")) {
            continue;
        }
        let mut after = source.lines().filter(|(next, code)| *next > line && !code.trim().is_empty());
        let next = after.find(|(_, code)| !code.trim_start().starts_with("#[")).map_or("", |(_, code)| code);
        if !(names_modules && code.trim_start().starts_with("#[cfg(") && declares(next)) {
            let text = "choose by feature where a module is declared, not inside of code";
            faults.push(source.fault("features choose modules", line, text));
        }
    }
    faults
}

/// What is tested is what is shipped.
pub(crate) fn no_code_for_tests(source: &Source) -> Vec<Fault> {
    if !is_source(source) {
        return Vec::new();
    }
    let lines: Vec<_> = source.code.lines().collect();
    let mut faults = Vec::new();
    for (line, code) in source.lines() {
        let conditional = ["cfg(test", "cfg(all(test", "cfg(any(test", "cfg(not(test", "cfg_attr(test", "cfg!(test"];
        if !conditional.iter().any(|word| code.contains(word)) {
            continue;
        }
        let next = lines[line..].iter().find(|next| !next.trim().is_empty() && !next.trim_start().starts_with("#["));
        if !next.is_some_and(|next| next.trim_start().starts_with("mod tests")) {
            faults.push(source.fault("no code for tests", line, "only `mod tests` may depend on cfg(test)"));
        }
    }
    faults
}

/// Queues have bounds.
pub(crate) fn queues_have_bounds(source: &Source) -> Vec<Fault> {
    let lines = source.lines().filter(|(_, code)| code.contains("unbounded"));
    lines.map(|(line, _)| source.fault("queues have bounds", line, "give the channel a capacity")).collect()
}

/// Nothing gives up by panicking.
pub(crate) fn no_unwrap(source: &Source) -> Vec<Fault> {
    if !is_source(source) {
        return Vec::new();
    }
    let lines = source.lines().filter(|(_, code)| code.contains(".unwrap()"));
    lines.map(|(line, _)| source.fault("no unwrap", line, "return the error, or `expect` with the reason")).collect()
}

/// A file fits into a head.
pub(crate) fn files_are_short(source: &Source) -> Vec<Fault> {
    let count = source.lines().filter(|(_, code)| !code.trim().is_empty()).count();
    if count <= FILE_LINES_MAX {
        return Vec::new();
    }
    let text = format!("{count} lines of code, at most {FILE_LINES_MAX}: split it by subject");
    vec![source.fault("files are short", 0, text)]
}

/// A function fits on a screen.
pub(crate) fn functions_are_short(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    for at in occurrences(&source.code, "fn") {
        let name = identifier(source.code[at + 2..].trim_start());
        let Some(open) = body(&source.code, at) else { continue };
        let (first, last) = (line_of(&source.code, at), line_of(&source.code, closing(&source.code, open)));
        let length = last - first + 1;
        if !name.is_empty() && !source.is_test(first) && length > FUNCTION_LINES_MAX {
            let text = format!("`{name}` has {length} lines, at most {FUNCTION_LINES_MAX}");
            faults.push(source.fault("functions are short", first, text));
        }
    }
    faults
}

/// Where the body of an item begins that is named at `at`; `None` if it has none.
fn body(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (i, c) in code[at..].char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(at + i),
            // A pointer type within something else ends with that.
            ';' if depth <= 0 => return None,
            _ if depth < 0 => return None,
            _ => {}
        }
    }
    None
}

/// A backend is quick to write. Extension traits, whose methods are all given, do not count, nor do
/// methods that return another of its traits.
pub(crate) fn backend_traits_are_small(source: &Source) -> Vec<Fault> {
    if !source.path.starts_with("src/backend/") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for at in occurrences(&source.code, "pub trait") {
        let name = identifier(source.code[at + "pub trait".len()..].trim_start());
        let Some(open) = body(&source.code, at) else { continue };
        let inside = &source.code[open + 1..closing(&source.code, open)];
        let mut methods = 0;
        let mut depth = 0_i32;
        for line in inside.lines() {
            methods += if depth == 0 && !line.contains("-> &dyn ") { occurrences(line, "fn").len() } else { 0 };
            depth += line.matches('{').count() as i32 - line.matches('}').count() as i32;
        }
        if !name.ends_with("Ext") && methods > TRAIT_METHODS_MAX {
            let text = format!("`{name}` has {methods} methods, at most {TRAIT_METHODS_MAX}: the rest to {name}Ext");
            faults.push(source.fault("backend traits are small", line_of(&source.code, at), text));
        }
    }
    faults
}

/// A comment is read beside code: a wide one is lost at the edge of a window. Tables, links and
/// examples of code are as wide as they have to be.
pub(crate) fn comments_are_narrow(source: &Source) -> Vec<Fault> {
    let is_document = source.path.ends_with(".md");
    if !is_document && !source.path.ends_with(".rs") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let mut in_example = false;
    for (i, line) in source.text.lines().enumerate() {
        let line = line.trim_end();
        let text = match line.trim_start().strip_prefix("//") {
            Some(comment) => comment.trim_start_matches(['/', '!']).trim_start(),
            None if is_document => line.trim_start(),
            None => continue,
        };
        if text.starts_with("```") {
            in_example = !in_example;
        }
        let is_free = in_example || text.starts_with(['|', '[']) || !text.contains(' ');
        if !is_free && line.chars().count() > COMMENT_WIDTH_MAX {
            faults.push(source.fault(
                "comments are narrow",
                i + 1,
                format!("{} columns, at most {COMMENT_WIDTH_MAX}", line.chars().count()),
            ));
        }
    }
    faults
}

/// A test that sleeps is slow on a good day and wrong on a bad one. The clock of a small world,
/// whose time is virtual, may move on.
pub(crate) fn tests_do_not_sleep(source: &Source) -> Vec<Fault> {
    let lines = source.test_lines().filter(|(_, code)| {
        let virtual_time = code.contains("clock.sleep(") || code.contains("async fn sleep(&self");
        has(code, "sleep") && !virtual_time
    });
    lines.map(|(line, _)| source.fault("tests do not sleep", line, "wait for what is to happen")).collect()
}

/// What is not finished is not landed.
pub(crate) fn nothing_is_left_over(source: &Source) -> Vec<Fault> {
    // In two parts each, or this file would be the first to fail.
    let words = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X"],
        ["HA", "CK"],
        ["dbg", "!("],
        ["todo", "!("],
        ["unimplemented", "!("],
    ]
    .map(|parts| parts.concat());
    let mut faults = Vec::new();
    for (i, line) in source.text.lines().enumerate() {
        for word in words.iter().filter(|word| has(line, word)) {
            faults.push(source.fault("nothing is left over", i + 1, format!("`{word}`: finish it, or file it")));
        }
    }
    faults
}

/// Codes of reasons, each with the crate that makes it.
pub(crate) type Codes = BTreeSet<(String, String)>;

/// The codes of reasons that a crate makes, and those that its documentation lists, as
/// (crate, code). Variables are not followed: code that makes a reason names its code.
pub(crate) fn codes(sources: &[Source]) -> (Codes, Codes) {
    let (mut made, mut listed) = (Codes::new(), Codes::new());
    // Suites and the simulation make rows of all sorts.
    let tells = |source: &&Source| is_source(source) && !source.path.starts_with("crates/freshmaker-testing/");
    for source in sources.iter().filter(tells) {
        let member = source.path.split("src/").next().unwrap_or_default().to_owned();
        let mut texts = source.text.match_indices("Reason::new(").map(|(at, word)| at + word.len()).collect::<Vec<_>>();
        texts.extend(source.text.match_indices("code: \"").map(|(at, word)| at + word.len() - 1));
        texts.extend(source.text.match_indices("Err(\"").map(|(at, word)| at + word.len() - 1));
        for at in texts {
            let line = line_of(&source.text, at);
            let commented = source.text.lines().nth(line - 1).is_some_and(|text| text.trim_start().starts_with("//"));
            let code = source.text[at..].trim_start().strip_prefix('"').and_then(|text| text.split_once('"'));
            let Some((code, _)) = code.filter(|_| !commented && !source.is_test(line)) else { continue };
            if !code.is_empty() && code.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                made.insert((member.clone(), code.to_owned()));
            }
        }
        let mut in_table = false;
        for line in source.text.lines().map(|line| line.trim_start_matches("//!").trim()) {
            in_table = line.starts_with("| code |") || in_table && line.starts_with('|');
            let code = line.strip_prefix("| `").and_then(|rest| rest.split_once('`'));
            listed.extend(code.filter(|_| in_table).map(|(code, _)| (member.clone(), code.to_owned())));
        }
    }
    (made, listed)
}

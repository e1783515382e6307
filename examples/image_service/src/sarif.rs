//! Reports in [SARIF](https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html) 2.1.0.

use crate::entry::{Entry, sentence};
use freshmaker_oci::Finding;
use freshmaker_oci::staleness::State;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The rules: id, level, and what it means.
const RULES: [(&str, &str, &str); 4] = [
    ("stale", "warning", "The image is built on something else than its parent is today."),
    ("unknown", "note", "Nothing says what the image is built on."),
    ("pinned", "note", "The Containerfile pins the parent by its digest, and its tag names something else today."),
    ("error", "error", "The image or one of its parents could not be read."),
];

/// Absolute paths become relative to the first of these directories that they are in.
pub(crate) fn sarif(entries: &[Entry], roots: &[PathBuf]) -> String {
    let rule = |(id, level, text): &(&str, &str, &str)| json!({ "id": id, "shortDescription": { "text": text }, "defaultConfiguration": { "level": level } });
    let rules: Vec<_> = RULES.iter().map(rule).collect();
    let results: Vec<_> = entries.iter().flat_map(|entry| results(entry, roots)).collect();
    let driver = json!({ "name": "image_service", "version": env!("CARGO_PKG_VERSION"), "rules": rules });
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{ "tool": { "driver": driver }, "results": results }],
    });
    format!("{log:#}\n")
}

/// One result for each parent that is worth a look.
fn results(entry: &Entry, roots: &[PathBuf]) -> Vec<Value> {
    let result = |rule: &str, text: &str, line| result(entry, roots, rule, text, line);
    let found = match &entry.found {
        Ok(found) => found,
        Err(error) => return vec![result("error", error, None)],
    };
    let mut results: Vec<Value> = found
        .findings
        .iter()
        .filter_map(|finding| Some(result(rule_of(finding)?, &sentence(finding), finding.line)))
        .collect();
    if results.is_empty() && entry.state() == "unknown" {
        results.push(result("unknown", &found.remarks.join("; "), None));
    }
    results
}

fn rule_of(finding: &Finding) -> Option<&'static str> {
    match &finding.state {
        State::Stale { .. } => Some("stale"),
        State::Unknown { .. } => Some("unknown"),
        State::Pinned { pinned, current: Some(current) } if current != pinned => Some("pinned"),
        _ => None,
    }
}

fn result(entry: &Entry, roots: &[PathBuf], rule: &str, text: &str, line: Option<usize>) -> Value {
    let level = RULES.iter().find(|(id, _, _)| *id == rule).map_or("warning", |(_, level, _)| level);
    let image = entry.image.to_string();
    let command = entry.command().map_or_else(String::new, |command| format!(" To mend it: {command}"));
    let mut location = json!({ "logicalLocations": [{ "fullyQualifiedName": image, "kind": "resource" }] });
    if let Some(recipe) = &entry.recipe {
        // Relative paths are those of the repository that the scan runs in.
        let below = |root: &PathBuf| recipe.file.strip_prefix(root).ok().filter(|_| recipe.file.is_absolute());
        let file = roots.iter().find_map(below).unwrap_or(&recipe.file);
        let uri: String = file.display().to_string().replace('%', "%25").replace(' ', "%20");
        location["physicalLocation"] = json!({ "artifactLocation": { "uri": uri } });
        if let Some(line) = line {
            location["physicalLocation"]["region"] = json!({ "startLine": line });
        }
    }
    json!({ "ruleId": rule, "level": level, "message": { "text": format!("{image}: {text}.{command}") },
        "locations": [location] })
}

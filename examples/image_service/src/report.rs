//! Reports as text, JSON and Markdown.

use crate::entry::{Entry, plain, sentence};
use serde_json::{Value, json};
use std::fmt::Write;

/// The version of the JSON form. A field may be added without a new version.
const VERSION: u32 = 1;

pub(crate) fn text(entries: &[Entry]) -> String {
    let mut text = String::new();
    for entry in entries {
        line(&mut text, &format!("{:<8} {}", entry.state(), entry.image.familiar()));
        for detail in details(entry) {
            line(&mut text, &format!("         {}", plain(&detail)));
        }
        if let Some(command) = entry.command() {
            line(&mut text, &format!("         $ {}", plain(&command)));
        }
    }
    line(&mut text, &counts(entries));
    text
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

/// What is said about an image, besides the command.
fn details(entry: &Entry) -> Vec<String> {
    let found = match &entry.found {
        Ok(found) => found,
        Err(error) => return vec![error.clone()],
    };
    let mut details: Vec<String> = found.findings.iter().map(sentence).collect();
    if details.is_empty() && found.remarks.is_empty() {
        details.push("built on no image".to_owned());
    }
    details.extend(found.remarks.iter().cloned());
    details.extend(entry.advice());
    details
}

fn counts(entries: &[Entry]) -> String {
    let states = ["fresh", "pinned", "stale", "unknown", "error"];
    let count = |state: &&str| entries.iter().filter(|entry| entry.state() == *state).count();
    let counts: Vec<_> = states.iter().map(|state| (count(state), state)).filter(|(count, _)| *count > 0).collect();
    let counts: Vec<_> = counts.iter().map(|(count, state)| format!("{count} {state}")).collect();
    if counts.is_empty() { "no images".to_owned() } else { counts.join(", ") }
}

pub(crate) fn json(entries: &[Entry]) -> String {
    let images: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let mut value = match &entry.found {
                Ok(found) => serde_json::to_value(found).unwrap_or_default(),
                Err(error) => json!({ "image": entry.image, "state": "error", "error": error }),
            };
            value["recipe"] = json!(entry.recipe.as_ref().map(|recipe| recipe.file.display().to_string()));
            value["command"] = json!(entry.command());
            value
        })
        .collect();
    format!("{:#}\n", json!({ "version": VERSION, "images": images }))
}

pub(crate) fn markdown(entries: &[Entry]) -> String {
    let mut text = String::from("| image | state | why |\n|---|---|---|\n");
    for entry in entries {
        let why: Vec<_> = details(entry).iter().map(|detail| cell(detail)).collect();
        line(&mut text, &format!("| `{}` | {} | {} |", entry.image.familiar(), entry.state(), why.join("<br>")));
    }
    line(&mut text, &format!("\n{}", counts(entries)));
    let commands: Vec<_> = entries.iter().filter_map(Entry::command).map(|command| plain(&command)).collect();
    if !commands.is_empty() {
        line(&mut text, &format!("\n```sh\n{}\n```", commands.join("\n")));
    }
    text
}

/// Texts of registries must not become markup.
fn cell(text: &str) -> String {
    let mut cell = String::new();
    for c in plain(text).chars() {
        match c {
            '<' => cell.push_str("&lt;"),
            '&' => cell.push_str("&amp;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' => cell.extend(['\\', c]),
            other => cell.push(other),
        }
    }
    cell
}

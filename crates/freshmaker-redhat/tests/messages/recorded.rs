//! What each recorded message is read as. A changed snapshot is a changed stored form.

use crate::samples::{FILES, all, parse, recorded};
use freshmaker::event::Parsed;
use freshmaker::{Message, Severity};
use freshmaker_redhat::messages;
use std::collections::BTreeMap;

fn line(message: &Message, parsed: Parsed) -> String {
    let text = match parsed {
        None => "ignored".to_owned(),
        Some(Err(error)) => format!("refused: {}: {}", error.place, error.reason),
        Some(Ok(envelope)) => {
            let severity = if envelope.severity == Severity::Moderate { "" } else { " (severe or not at all)" };
            format!("{} {}{severity}\n    {}", envelope.kind, envelope.search_key, envelope.payload)
        }
    };
    format!("{} {}\n  {text}\n", message.id, message.topic)
}

#[test]
fn every_recorded_message_is_read_as_before() {
    for file in FILES {
        let lines: String = recorded(file).iter().map(|message| line(message, parse(message))).collect();
        insta::assert_snapshot!(file.trim_end_matches(".jsonl"), lines);
    }
}

/// Counted by hand in the recorded files.
#[test]
fn no_recorded_message_of_ours_is_lost() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for message in all() {
        if let Some(result) = parse(&message) {
            let kind = result.map_or_else(|error| format!("refused: {}", error.place), |envelope| envelope.kind);
            *counts.entry(kind).or_default() += 1;
        }
    }
    let counts: Vec<_> = counts.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    let expected = [
        ("bodhi.update-stable", 2),
        ("dist-git.dockerfile-changed", 1),
        ("dist-git.spec-changed", 5),
        ("errata.advisory-status-changed", 3),
        ("errata.module-advisory-signed", 2),
        ("koji.container-task-changed", 4),
        ("koji.rpm-signed", 2),
        ("koji.task-changed", 8),
        ("mbs.module-changed", 2),
        ("odcs.compose-changed", 1),
        // Made by a test of the service: a request to do something else than its topic says.
        ("refused: msg.action", 1),
    ];
    assert_eq!(counts, expected);
}

#[test]
fn hints_name_the_task_or_the_compose() {
    let hints: Vec<_> = all()
        .iter()
        .filter_map(|message| {
            let hint = messages::koji::task_hint(message).or_else(|| messages::odcs::compose_hint(message));
            hint.map(|id| format!("{} {id}", message.topic))
        })
        .collect();
    insta::assert_snapshot!("hints", hints.join("\n"));
}

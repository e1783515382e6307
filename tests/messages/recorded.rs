//! What each recorded message is read as. A changed snapshot is a changed stored form.

use crate::samples::{FILES, all, parse, recorded};
use freshmaker::event::Parsed;
use freshmaker::{Message, Severity, messages};
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
    assert_eq!(counts, []);
}

#[test]
fn hints_name_the_task_or_the_compose() {
    let hints: Vec<_> = all()
        .iter()
        .filter_map(|message| messages::koji::task_hint(message).map(|id| format!("{} {id}", message.topic)))
        .collect();
    assert_eq!(hints, [""; 0]);
}

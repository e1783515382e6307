//! The recorded messages.

use freshmaker::Message;
use freshmaker::event::{ParseError, Parsed, Parsers};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The prefixes behind which the recorded messages that are ours have their topics.
pub(crate) const PREFIXES: [&str; 4] = ["org.fedoraproject.prod", "org.fedoraproject.stg", "VirtualTopic.eng", ""];

pub(crate) fn parsers() -> Parsers {
    freshmaker_redhat::messages::parsers(PREFIXES)
}

/// What our parsers make of the message.
pub(crate) fn parse(message: &Message) -> Parsed {
    parsers().parse(message)
}

/// The error that our parsers give for the message.
pub(crate) fn refusal(message: &Message) -> ParseError {
    match parse(message) {
        Some(Err(error)) => error,
        other => panic!("{message:?}: {other:?}"),
    }
}

pub(crate) fn message(topic: &str, body: impl Into<Vec<u8>>) -> Message {
    Message { id: "m1".into(), topic: topic.into(), headers: BTreeMap::new(), body: body.into() }
}

pub(crate) fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/messages").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// The messages of a file, as a bus would have delivered them.
pub(crate) fn recorded(file: &str) -> Vec<Message> {
    data(file).lines().map(|line| delivered(&serde_json::from_str(line).unwrap())).collect()
}

fn delivered(row: &Value) -> Message {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let headers = row["headers"].as_object().into_iter().flatten();
    let headers = headers.map(|(name, value)| (name.clone(), text(value))).collect();
    let body = match (row["body_hex"].as_str(), &row["body"]) {
        (Some(hex), _) => {
            hex.as_bytes().chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
        }
        (None, Value::String(text)) => text.clone().into_bytes(),
        (None, inner) if row["bus"] == "fedmsg" => {
            json!({"i": 1, "topic": row["topic"], "msg": inner}).to_string().into()
        }
        (None, body) => body.to_string().into(),
    };
    Message { id: row["n"].to_string(), topic: text(&row["topic"]), headers, body }
}

pub(crate) const FILES: [&str; 3] = ["fedora.jsonl", "umb.jsonl", "koji.jsonl"];

/// All recorded messages.
pub(crate) fn all() -> Vec<Message> {
    FILES.into_iter().flat_map(recorded).collect()
}

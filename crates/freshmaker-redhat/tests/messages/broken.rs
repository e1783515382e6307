//! Mutilated messages are refused with a place, or read; nothing panics.

use crate::samples::{all, parse};
use freshmaker::Message;
use freshmaker_redhat::messages::{koji, odcs};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_oneof, proptest};
use proptest::sample::{Index, select};
use serde_json::{Value, json};

/// What is done to a body.
#[derive(Clone, Debug)]
enum Harm {
    Cut(Index),
    Byte(Index, u8),
    Replace(Index, Value),
    Remove(Index),
}

fn harm() -> impl Strategy<Value = Harm> {
    let values = vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(""),
        json!("x"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"msg": {}}),
    ];
    prop_oneof![
        any::<Index>().prop_map(Harm::Cut),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Harm::Byte(at, byte)),
        (any::<Index>(), select(values)).prop_map(|(at, value)| Harm::Replace(at, value)),
        any::<Index>().prop_map(Harm::Remove),
    ]
}

fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                places(value, &format!("{here}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{here}/{index}"), found))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn harmed(message: &Message, harm: &Harm) -> Message {
    let mut message = message.clone();
    let body: Option<Value> = serde_json::from_slice(&message.body).ok();
    match (harm, body) {
        (Harm::Cut(at), _) => message.body.truncate(at.index(message.body.len() + 1)),
        (Harm::Byte(at, byte), _) if !message.body.is_empty() => {
            let at = at.index(message.body.len());
            message.body[at] = *byte;
        }
        (Harm::Replace(at, value), Some(mut body)) => {
            let mut found = Vec::new();
            places(&body, "", &mut found);
            *body.pointer_mut(&found[at.index(found.len())]).unwrap() = value.clone();
            message.body = body.to_string().into();
        }
        (Harm::Remove(at), Some(mut body)) => {
            let mut found = Vec::new();
            places(&body, "", &mut found);
            let (above, name) = found[at.index(found.len())].rsplit_once('/').unwrap_or_default();
            if let Some(Value::Object(fields)) = body.pointer_mut(above) {
                fields.remove(&name.replace("~1", "/").replace("~0", "~"));
            }
            message.body = body.to_string().into();
        }
        _ => {}
    }
    message
}

proptest! {
    #[test]
    fn nothing_panics_and_what_is_refused_names_a_place(
        message in select(all()),
        harms in proptest::collection::vec(harm(), 0..4),
        keep_headers in prop_oneof![Just(true), any::<bool>()],
    ) {
        let mut message = harms.iter().fold(message, |message, harm| harmed(&message, harm));
        if !keep_headers {
            message.headers.clear();
        }
        let _ = (koji::task_hint(&message), odcs::compose_hint(&message));
        if let Some(Err(error)) = parse(&message) {
            prop_assert!(!error.place.is_empty() && !error.reason.is_empty(), "{}", error);
            prop_assert!(error.to_string().len() < 700, "{}", error);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_ignored(topic in select(all().into_iter().map(|m| m.topic).collect::<Vec<_>>()), body in any::<Vec<u8>>()) {
        let message = crate::samples::message(&topic, body);
        prop_assert!(!matches!(parse(&message), Some(Ok(_))));
    }
}

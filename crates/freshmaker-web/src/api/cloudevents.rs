//! CloudEvents 1.0 as messages: `type` is the topic, `data` the body, and the attributes are
//! headers (`ce-…`). `source` and `id` together are the identity.
//!
//! Written after the specification, version 1.0.2: <https://github.com/cloudevents/spec>, its JSON
//! format and its HTTP binding.

use crate::extract::{header, media_type, read_json};
use crate::problem::{Problem, ProblemCode};
use axum::http::{HeaderMap, HeaderName};
use base64::Engine as _;
use freshmaker::event::Message;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;

pub(super) const SPECVERSION: HeaderName = HeaderName::from_static("ce-specversion");

const PREFIX: &str = "ce-";

/// A CloudEvent in its JSON format.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct CloudEvent {
    /// `1.0`.
    specversion: String,
    /// Unique within the source.
    id: String,
    /// Who sends it.
    source: String,
    /// The topic of the message.
    #[serde(rename = "type")]
    kind: String,
    datacontenttype: Option<String>,
    /// The body, if it is JSON.
    #[schema(value_type = Option<Object>)]
    data: Option<Value>,
    /// The body as bytes, instead of `data`.
    data_base64: Option<String>,
    /// Further attributes.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    others: BTreeMap<String, Value>,
}

fn invalid(at: &str, text: impl Into<String>) -> Problem {
    Problem::new(ProblemCode::Invalid, "this is no CloudEvent 1.0").at(at, text)
}

/// The identity of an event. Sources are URIs, which have slashes: they are written so that no two
/// pairs have one identity.
fn identity(source: &str, id: &str) -> String {
    format!("cloudevents/{}:{source}/{id}", source.len())
}

fn checked(specversion: &str, id: &str, source: &str, at: &str) -> Result<(), Problem> {
    if specversion != "1.0" {
        return Err(invalid(&format!("{at}/specversion"), "only 1.0 is read here"));
    }
    for (name, text) in [("id", id), ("source", source)] {
        if text.is_empty() || text.len() > 255 {
            return Err(invalid(&format!("{at}/{name}"), "it must have 1 to 255 bytes"));
        }
    }
    Ok(())
}

fn message(event: CloudEvent, at: &str) -> Result<Message, Problem> {
    let CloudEvent { specversion, id, source, kind, datacontenttype, data, data_base64, others } = event;
    checked(&specversion, &id, &source, at)?;
    let is_json = datacontenttype.as_deref().is_none_or(|kind| kind.contains("json"));
    let body = match (data, data_base64) {
        (Some(Value::String(text)), None) if !is_json => text.into_bytes(),
        (Some(data), None) => data.to_string().into_bytes(),
        (None, Some(text)) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|error| invalid(&format!("{at}/data_base64"), error.to_string()))?,
        (None, None) => Vec::new(),
        (Some(_), Some(_)) => return Err(invalid(at, "it has both `data` and `data_base64`")),
    };
    let mut headers = BTreeMap::from([("ce-id".to_owned(), id.clone()), ("ce-source".to_owned(), source.clone())]);
    headers.extend(datacontenttype.map(|kind| ("content_type".to_owned(), kind)));
    for (name, value) in others {
        let text = match value {
            Value::String(text) => text,
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Null => continue,
            Value::Array(_) | Value::Object(_) => {
                return Err(invalid(&format!("{at}/{name}"), "an attribute is no list and no object"));
            }
        };
        headers.insert(format!("{PREFIX}{name}"), text);
    }
    Ok(Message { id: identity(&source, &id), topic: kind, headers, body })
}

/// An event in the JSON format.
pub(super) fn structured(body: &[u8]) -> Result<Message, Problem> {
    message(read_json(body)?, "")
}

/// Several events in the JSON format.
pub(super) fn batch(body: &[u8], most: usize) -> Result<Vec<Message>, Problem> {
    let events: Vec<CloudEvent> = read_json(body)?;
    if events.len() > most {
        return Err(invalid("", format!("{} events, at most {most}", events.len())));
    }
    (0..).zip(events).map(|(place, event)| message(event, &format!("/{place}"))).collect()
}

/// An event whose attributes are headers, percent-encoded where they are not ASCII.
pub(super) fn binary(headers: &HeaderMap, body: &[u8]) -> Result<Message, Problem> {
    let mut attributes = BTreeMap::new();
    for name in headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix(PREFIX) else { continue };
        let value = header(headers, name)?.map(decoded).unwrap_or_default();
        attributes.insert(attribute.to_owned(), value);
    }
    let mut take = |name: &str| {
        let missing = || {
            let problem = Problem::new(ProblemCode::BadRequest, "this is no CloudEvent 1.0");
            problem.parameter(format!("{PREFIX}{name}"), "it is missing")
        };
        attributes.remove(name).ok_or_else(missing)
    };
    let (specversion, id, source, topic) = (take("specversion")?, take("id")?, take("source")?, take("type")?);
    checked(&specversion, &id, &source, "")?;
    attributes.extend([("id".to_owned(), id.clone()), ("source".to_owned(), source.clone())]);
    let mut fields: BTreeMap<_, _> =
        attributes.into_iter().map(|(name, value)| (format!("{PREFIX}{name}"), value)).collect();
    fields.extend(media_type(headers).map(|kind| ("content_type".to_owned(), kind)));
    Ok(Message { id: identity(&source, &id), topic, headers: fields, body: body.to_vec() })
}

/// A header value with its percent-encoded bytes decoded; one that does not become UTF-8 stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match (bytes[at], byte.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event() -> Value {
        json!({"specversion": "1.0", "id": "7", "source": "/registry", "type": "image.pushed",
               "subject": "debian", "data": {"image": "debian"}})
    }

    #[test]
    fn the_three_modes_make_one_message() {
        let structured = structured(event().to_string().as_bytes()).unwrap();
        assert_eq!(
            (structured.topic.as_str(), structured.body.as_slice()),
            ("image.pushed", &br#"{"image":"debian"}"#[..])
        );
        assert_eq!(structured.headers["ce-subject"], "debian");
        assert_eq!(batch(json!([event()]).to_string().as_bytes(), 1).unwrap(), std::slice::from_ref(&structured));
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("specversion", "1.0"),
            ("id", "7"),
            ("source", "/registry"),
            ("type", "image.pushed"),
            ("subject", "d%65bian"),
        ] {
            headers.insert(HeaderName::try_from(format!("ce-{name}")).unwrap(), value.parse().unwrap());
        }
        assert_eq!(binary(&headers, br#"{"image":"debian"}"#).unwrap(), structured);
        headers.remove("ce-source");
        assert_eq!(binary(&headers, b"").unwrap_err().errors[0].parameter.as_deref(), Some("ce-source"));
    }

    #[test]
    fn what_is_no_event_is_refused_by_name() {
        let with = |name: &str, value: Value| {
            let mut event = event();
            event[name] = value;
            structured(event.to_string().as_bytes()).unwrap_err().errors.remove(0).pointer.unwrap()
        };
        assert_eq!(with("specversion", json!("0.3")), "/specversion");
        assert_eq!(with("id", json!("")), "/id");
        assert_eq!(with("source", json!("a".repeat(256))), "/source");
        assert_eq!(with("extra", json!({})), "/extra");
        assert_eq!(with("data_base64", json!("AA==")), "");
        assert_eq!(batch(json!([event(), event()]).to_string().as_bytes(), 1).unwrap_err().code, ProblemCode::Invalid);
    }

    #[test]
    fn two_events_never_have_one_identity() {
        assert_ne!(identity("a/b", "c"), identity("a", "b/c"));
    }
}

//! Conversion between messages of the engine and AMQP messages.

use super::config::{AmqpConfig, Arguments};
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker::event::Message;
use freshmaker::time::Timestamp;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldArray, FieldTable, LongString, ShortString};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Header that holds the id of a message if that is not a UUID.
pub(super) const ID: &str = "freshmaker-id";

/// Largest total size of headers in bytes: they must fit into one AMQP frame, which is limited to
/// 128 KiB by default.
const HEADERS_BYTES_MAX: usize = 96 << 10;

/// Namespace of the UUIDs that are derived from other ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x3b0f_5e0c_7a55_4f0a_9d53_6f3c_8a51_e2d7);

/// AMQP properties that a [`Message`] has as headers of these names.
const PROPERTIES: [&str; 7] =
    ["content_type", "content_encoding", "correlation_id", "reply_to", "type", "app_id", "timestamp"];

const SCHEMA: &str = "fedora_messaging_schema";
const SEVERITY: &str = "fedora_messaging_severity";
const PRIORITY: &str = "priority";
const SENT_AT: &str = "sent-at";

/// Converts a delivery to a message.
pub(super) fn message(delivery: Delivery) -> Message {
    let properties = &delivery.properties;
    let mut headers = BTreeMap::new();
    let texts = [
        ("content_type", properties.content_type()),
        ("content_encoding", properties.content_encoding()),
        ("correlation_id", properties.correlation_id()),
        ("reply_to", properties.reply_to()),
        ("type", properties.kind()),
        ("app_id", properties.app_id()),
    ];
    for (name, value) in texts {
        headers.extend(value.as_ref().map(|value| (name.to_owned(), value.as_str().to_owned())));
    }
    headers.extend(properties.timestamp().map(|seconds| ("timestamp".to_owned(), seconds.to_string())));
    if let Some(table) = properties.headers() {
        // A header of the sender overrides the property of the same name.
        headers.extend(table.into_iter().map(|(name, value)| (name.as_str().to_owned(), text(value))));
    }
    let id = headers.remove(ID).or_else(|| properties.message_id().as_ref().map(|id| id.as_str().to_owned()));
    Message {
        id: id.unwrap_or_default(),
        topic: delivery.routing_key.as_str().to_owned(),
        headers,
        body: delivery.data,
    }
}

/// Returns a text unchanged, any other value as JSON.
fn text(value: &AMQPValue) -> String {
    match json(value) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn json(value: &AMQPValue) -> Value {
    let bytes = |bytes: &[u8]| std::str::from_utf8(bytes).map_or_else(|_| Value::from(bytes), Value::from);
    match value {
        AMQPValue::Boolean(value) => Value::from(*value),
        AMQPValue::ShortShortInt(value) => Value::from(*value),
        AMQPValue::ShortShortUInt(value) => Value::from(*value),
        AMQPValue::ShortInt(value) => Value::from(*value),
        AMQPValue::ShortUInt(value) => Value::from(*value),
        AMQPValue::LongInt(value) => Value::from(*value),
        AMQPValue::LongUInt(value) => Value::from(*value),
        AMQPValue::LongLongInt(value) => Value::from(*value),
        AMQPValue::Float(value) => Value::from(*value),
        AMQPValue::Double(value) => Value::from(*value),
        AMQPValue::DecimalValue(value) => Value::from(f64::from(value.value) / 10_f64.powi(i32::from(value.scale))),
        AMQPValue::ShortString(value) => Value::from(value.as_str()),
        AMQPValue::LongString(value) => bytes(value.as_bytes()),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(json).collect(),
        AMQPValue::Timestamp(value) => Value::from(*value),
        AMQPValue::FieldTable(table) => {
            table.into_iter().map(|(name, value)| (name.as_str().to_owned(), json(value))).collect()
        }
        AMQPValue::ByteArray(value) => bytes(value.as_slice()),
        AMQPValue::Void => Value::Null,
    }
}

/// Converts the arguments of a declaration. The lengths of their names were checked with the
/// configuration, except for names inside nested tables: those that are too long are left out.
pub(super) fn table(arguments: &Arguments) -> FieldTable {
    arguments.iter().fold(FieldTable::default(), |mut table, (name, value)| {
        if let Ok(name) = ShortString::try_new(name.as_str()) {
            table.insert(name, argument(value));
        }
        table
    })
}

fn argument(value: &Value) -> AMQPValue {
    match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(value) => AMQPValue::Boolean(*value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => integer(number),
            None => AMQPValue::Double(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => AMQPValue::LongString(LongString::from(text.as_str())),
        Value::Array(values) => {
            AMQPValue::FieldArray(FieldArray::from(values.iter().map(argument).collect::<Vec<_>>()))
        }
        Value::Object(map) => AMQPValue::FieldTable(table(&map.clone().into_iter().collect())),
    }
}

/// Returns a 32-bit integer if the number fits, as other clients do: the broker compares the types
/// of arguments with those of the existing object.
fn integer(number: i64) -> AMQPValue {
    i32::try_from(number).map_or(AMQPValue::LongLongInt(number), AMQPValue::LongInt)
}

/// Routing key and properties of a message to publish.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
}

/// Converts a message to its AMQP form, as the reference client would send it.
pub(super) fn outgoing(config: &AmqpConfig, message: &Message, now: Timestamp) -> Result<Outgoing> {
    let refused = |text: String| Error::new(Remedy::Rejected, config.place("a message"), text);
    let short = |what: &str, text: &str| {
        ShortString::try_new(text)
            .map_err(|_| refused(format!("its {what} has {} bytes, at most 255 are allowed", text.len())))
    };
    let topic = match config.topic_prefix.as_str() {
        "" => message.topic.clone(),
        prefix => format!("{prefix}.{}", message.topic),
    };
    let identity = message.identity();
    let uuid = Uuid::parse_str(&identity).unwrap_or_else(|_| uuid_of(&identity));
    let mut headers = defaults(&message.headers, now);
    if uuid.to_string() != identity {
        headers.insert(short("header", ID)?, AMQPValue::LongString(identity.into()));
    }
    let mut bytes = 0;
    for (name, value) in message.headers.iter().filter(|(name, _)| !PROPERTIES.contains(&name.as_str())) {
        bytes += name.len() + value.len();
        headers.insert(short("name of a header", name)?, header(name, value));
    }
    if bytes > HEADERS_BYTES_MAX {
        return Err(refused(format!("its headers have {bytes} bytes, at most {HEADERS_BYTES_MAX} are allowed")));
    }
    let mut properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_priority(config.publish_priority)
        .with_message_id(short("id", &uuid.to_string())?)
        .with_headers(headers);
    let property = |name: &str| message.headers.get(name).map(|value| short(name, value)).transpose();
    // A body that is not UTF-8 must not be declared as text.
    let is_text = std::str::from_utf8(&message.body).is_ok();
    let kind = if is_text { "application/json" } else { "application/octet-stream" };
    properties = properties.with_content_type(property("content_type")?.map_or_else(|| short("type", kind), Ok)?);
    if let Some(encoding) = property("content_encoding")?.or(is_text.then_some("utf-8".into())) {
        properties = properties.with_content_encoding(encoding);
    }
    if let Some(value) = property("correlation_id")? {
        properties = properties.with_correlation_id(value);
    }
    if let Some(value) = property("reply_to")? {
        properties = properties.with_reply_to(value);
    }
    if let Some(value) = property("type")? {
        properties = properties.with_type(value);
    }
    if let Some(value) = property("app_id")? {
        properties = properties.with_app_id(value);
    }
    if let Some(seconds) = message.headers.get("timestamp").and_then(|value| value.parse().ok()) {
        properties = properties.with_timestamp(seconds);
    }
    Ok(Outgoing { routing_key: short("topic", &topic)?, properties })
}

/// Returns the headers that the reference client requires and the message does not have.
fn defaults(given: &BTreeMap<String, String>, now: Timestamp) -> FieldTable {
    let mut headers = FieldTable::default();
    let sent_at = now.format("%Y-%m-%dT%H:%M:%S+00:00").to_string();
    for (name, value) in [
        (SCHEMA, AMQPValue::LongString("base.message".into())),
        (SEVERITY, AMQPValue::LongInt(20)),
        (PRIORITY, AMQPValue::LongInt(0)),
        (SENT_AT, AMQPValue::LongString(sent_at.into())),
    ] {
        if !given.contains_key(name) {
            headers.insert(name.into(), value);
        }
    }
    headers
}

/// Returns the AMQP value of a header. The reference client expects some headers as numbers and
/// booleans; in a [`Message`] all headers are texts.
fn header(name: &str, value: &str) -> AMQPValue {
    match (name, value) {
        (SEVERITY | PRIORITY, _) if value.parse::<i64>().is_ok() => integer(value.parse().unwrap_or_default()),
        (name, "true" | "false") if name.starts_with("fedora_messaging_") => AMQPValue::Boolean(value == "true"),
        _ => AMQPValue::LongString(LongString::from(value)),
    }
}

/// Returns a UUID that is a function of the id: version 8, from a SHA-256 digest, as in appendix
/// B.2 of RFC 9562.
fn uuid_of(id: &str) -> Uuid {
    let digest = Sha256::new().chain_update(NAMESPACE.as_bytes()).chain_update(id).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

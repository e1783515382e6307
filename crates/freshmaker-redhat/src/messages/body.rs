use freshmaker::event::Message;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// Says which part of a message is wrong, and how.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) place: String,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { place: place.into(), reason: reason.into() }
    }
}

/// The parts of a body that are read. Everything else must be valid JSON and is skipped, which
/// saves most of the work for large messages.
#[derive(Debug)]
pub(super) enum Shape {
    /// The whole value.
    Whole,
    /// These fields of an object, or of each object of a list.
    Fields(&'static [(&'static str, Shape)]),
}

/// The parts of a message that were read, and the form it had.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) value: Value,
    /// The other fields of a wrapped body, beside `msg`. In messages of services they are metadata
    /// of the sender.
    pub(super) beside: Value,
    pub(super) form: Form,
}

/// How a sender packs the facts of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The body has the facts: Fedora Messaging, UMB.
    Plain,
    /// The field `msg` of the body has the facts: fedmsg.
    Wrapped,
    /// The body is empty, and each header is a field with a text: old messages of the Errata Tool.
    Headers,
}

impl Form {
    /// Returns the path of the facts within the message.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Wrapped => "msg",
            Self::Headers => "headers",
        }
    }
}

const WRAPPER: &str = "msg";

/// Reads the parts of a message that `shape` names, whatever the form of the message.
pub(super) fn open(message: &Message, shape: &'static Shape) -> Result<Body, Fault> {
    let text = content(&message.body);
    if text.trim_ascii().is_empty() {
        return Ok(Body { value: headers(message, shape), beside: Value::Null, form: Form::Headers });
    }
    let text =
        std::str::from_utf8(text).map_err(|error| Fault::new(format!("byte {}", error.valid_up_to()), "not UTF-8"))?;
    let mut value = pick(text, shape, "")?;
    if let Value::String(inner) = &value {
        value = pick(inner, shape, "text within text, ")?;
    }
    let Some(inner) = value.get_mut(WRAPPER).map(Value::take) else {
        return Ok(Body { value, beside: Value::Null, form: Form::Plain });
    };
    let inner = match inner {
        Value::String(inner) => pick(&inner, shape, "msg, ")?,
        inner => inner,
    };
    Ok(Body { value: inner, beside: value, form: Form::Wrapped })
}

/// Returns the content of a body without the AMQP 1.0 section around it, if there is one.
///
/// RabbitMQ leaves this section in place for consumers of AMQP 0-9-1. It is a value with a text, or
/// data.
fn content(body: &[u8]) -> &[u8] {
    match body {
        [0, 0x53, 0x77, 0xa1, length, rest @ ..] | [0, 0x53, 0x75, 0xa0, length, rest @ ..] => {
            rest.get(..usize::from(*length)).unwrap_or(rest)
        }
        [0, 0x53, 0x77, 0xb1, a, b, c, d, rest @ ..] | [0, 0x53, 0x75, 0xb0, a, b, c, d, rest @ ..] => {
            let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
            rest.get(..length).unwrap_or(rest)
        }
        plain => plain,
    }
}

fn headers(message: &Message, shape: &Shape) -> Value {
    let wanted = |name: &str| match shape {
        Shape::Whole => true,
        Shape::Fields(fields) => fields.iter().any(|(field, _)| *field == name),
    };
    let value = |text: &str| if text == "null" { Value::Null } else { Value::from(text) };
    let fields = message.headers.iter().filter(|(name, _)| wanted(name));
    Value::Object(fields.map(|(name, text)| (name.clone(), value(text))).collect())
}

fn pick(text: &str, shape: &'static Shape, within: &str) -> Result<Value, Fault> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = Pick { shape, wrapped: true }.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    value.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let reason = error.to_string();
        let reason = reason.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&reason);
        Fault::new(format!("{within}line {line} column {column}"), reason)
    })
}

/// Reads the fields that a shape names.
#[derive(Clone, Copy)]
struct Pick {
    shape: &'static Shape,
    /// Whether the value may be the wrapper of the fields.
    wrapped: bool,
}

impl<'de> DeserializeSeed<'de> for Pick {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.shape {
            Shape::Whole => serde::Deserialize::deserialize(deserializer),
            Shape::Fields(_) => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Pick {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        while let Some(item) = items.next_element_seed(Self { wrapped: false, ..self })? {
            found.push(item);
        }
        Ok(Value::Array(found))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut found = Map::new();
        while let Some(field) = map.next_key_seed(Key(self))? {
            match field {
                Some((name, shape)) => {
                    found.insert(name.to_owned(), map.next_value_seed(Self { shape, wrapped: false })?);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(found))
    }
}

/// Reads the name of a field, and returns its shape; `None` if the field is skipped.
struct Key(Pick);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<(&'static str, &'static Shape)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<(&'static str, &'static Shape)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        let Shape::Fields(fields) = self.0.shape else { return Ok(None) };
        if self.0.wrapped && name == WRAPPER {
            return Ok(Some((WRAPPER, self.0.shape)));
        }
        Ok(fields.iter().find(|(field, _)| *field == name).map(|(field, shape)| (*field, shape)))
    }
}

//! Values as a hub writes them, and the arguments of a call.

use crate::koji::xmlrpc::Value;
use chrono::{DateTime, NaiveDateTime};
use freshmaker::time::{Timestamp, to_micros};
use std::collections::BTreeMap;

/// An error of a method. The hub answers with it and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: i64,
    pub(super) text: String,
}

/// The hub's text for a query that needs a row and finds none.
pub(super) const NO_ROWS: &str = "query returned no rows";

impl Fault {
    pub(super) fn new(code: i64, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// Creates a generic fault (1000), for errors without a number of their own.
    pub(super) fn generic(text: impl Into<String>) -> Self {
        Self::new(1000, text)
    }

    pub(super) fn value(&self) -> Value {
        record([("faultCode", int(self.code)), ("faultString", text(&self.text))])
    }
}

pub(super) type Answer = Result<Value, Fault>;

pub(super) fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

pub(super) fn int(value: i64) -> Value {
    Value::Int(value)
}

/// Returns the converted value, or nil for `None`.
pub(super) fn or_nil<T>(value: Option<T>, wrap: impl FnOnce(T) -> Value) -> Value {
    value.map_or(Value::Nil, wrap)
}

pub(super) fn record<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Struct(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Adds fields to a struct.
pub(super) fn with<const N: usize>(value: Value, fields: [(&str, Value); N]) -> Value {
    let Value::Struct(mut all) = value else { return value };
    all.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Value::Struct(all)
}

pub(super) fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(values.into_iter().collect())
}

pub(super) fn texts<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Value {
    list(values.into_iter().map(text))
}

/// Formats a time as the hub does: `2026-11-23 06:52:23.838163+00:00`, without the fraction if it
/// is zero.
pub(super) fn time(at: Timestamp) -> Value {
    let fraction = to_micros(at).rem_euclid(1_000_000);
    let seconds = at.format("%Y-%m-%d %H:%M:%S");
    text(if fraction == 0 { format!("{seconds}+00:00") } else { format!("{seconds}.{fraction:06}+00:00") })
}

/// Returns a time as seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "as a hub does")]
pub(super) fn seconds(at: Timestamp) -> Value {
    Value::Double(to_micros(at) as f64 / 1e6)
}

/// Reads a time as clients send it: seconds since 1970, or a text in UTC.
pub(super) fn read_time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Int(seconds) => DateTime::from_timestamp(*seconds, 0),
        #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
        Value::Double(seconds) => DateTime::from_timestamp_micros((seconds * 1e6) as i64),
        Value::Text(text) => DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%:z")
            .or_else(|_| DateTime::parse_from_rfc3339(text))
            .map(|at| at.to_utc())
            .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").map(|at| at.and_utc()))
            .ok(),
        Value::Nil
        | Value::Bool(_)
        | Value::BigInt(_)
        | Value::Bytes(_)
        | Value::DateTime(_)
        | Value::Array(_)
        | Value::Struct(_) => None,
    }
}

/// Converts a value to the JSON form that messages have.
pub(super) fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Nil => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Double(value) => (*value).into(),
        Value::BigInt(value) | Value::Text(value) | Value::DateTime(value) => value.as_str().into(),
        Value::Bytes(value) => String::from_utf8_lossy(value).into_owned().into(),
        Value::Array(values) => values.iter().map(json).collect(),
        Value::Struct(fields) => fields.iter().map(|(name, value)| (name.clone(), json(value))).collect(),
    }
}

/// Returns a field of a struct, or nil if there is none.
pub(super) fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    match value {
        Value::Struct(fields) => fields.get(name).unwrap_or(&Value::Nil),
        _ => &Value::Nil,
    }
}

pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(value) => *value,
        Value::Int(value) => *value != 0,
        Value::Text(value) => !value.is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Struct(fields) => !fields.is_empty(),
        Value::Double(value) => *value != 0.0,
        Value::BigInt(_) | Value::Bytes(_) | Value::DateTime(_) => true,
        Value::Nil => false,
    }
}

/// The arguments of a call, by name.
#[derive(Debug)]
pub(super) struct Args {
    values: BTreeMap<&'static str, Value>,
}

impl Args {
    /// Binds arguments by position, and by name if the last one is a struct with `__starstar`. The
    /// first `required` ones must be given.
    pub(super) fn bind(
        method: &str,
        names: &'static [&'static str],
        required: usize,
        mut params: Vec<Value>,
    ) -> Result<Self, Fault> {
        let mut named = BTreeMap::new();
        if let Some(Value::Struct(fields)) = params.last_mut()
            && fields.remove("__starstar").is_some_and(|value| is_true(&value))
        {
            named = std::mem::take(fields);
            params.pop();
        }
        let wrong = |text: String| Fault::new(1019, format!("{method}() {text}"));
        if params.len() > names.len() {
            let (most, given) = (names.len(), params.len());
            return Err(wrong(format!("takes {most} positional arguments but {given} were given")));
        }
        let mut values: BTreeMap<_, _> = names.iter().copied().zip(params).collect();
        for (name, value) in named {
            match names.iter().find(|known| **known == name) {
                None => return Err(wrong(format!("got an unexpected keyword argument '{name}'"))),
                Some(known) if values.contains_key(known) => {
                    return Err(wrong(format!("got multiple values for argument '{name}'")));
                }
                Some(known) => drop(values.insert(known, value)),
            }
        }
        match names[..required].iter().find(|name| !values.contains_key(*name)) {
            Some(name) => Err(wrong(format!("missing 1 required positional argument: '{name}'"))),
            None => Ok(Self { values }),
        }
    }

    /// Returns an argument, or nil if it was not given.
    pub(super) fn get(&self, name: &str) -> &Value {
        self.values.get(name).unwrap_or(&Value::Nil)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        is_true(self.get(name))
    }

    /// Returns a flag, whose default is `true`.
    pub(super) fn flag_or_set(&self, name: &str) -> bool {
        self.values.get(name).is_none_or(is_true)
    }

    pub(super) fn text(&self, name: &str) -> Result<&str, Fault> {
        match self.get(name) {
            Value::Text(text) => Ok(text),
            other => Err(unfit(other, "str")),
        }
    }

    /// Returns an integer; clients may send it as a text.
    pub(super) fn id(&self, name: &str) -> Result<i64, Fault> {
        let id = match self.get(name) {
            Value::Int(id) => Some(*id),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        };
        id.ok_or_else(|| unfit(self.get(name), "int"))
    }

    pub(super) fn optional_id(&self, name: &str) -> Result<Option<i64>, Fault> {
        if *self.get(name) == Value::Nil { Ok(None) } else { self.id(name).map(Some) }
    }
}

/// Returns the fault for a value that cannot be converted to the type that a method needs.
fn unfit(value: &Value, wanted: &str) -> Fault {
    let given = match value {
        Value::Nil => "Invalid type".to_owned(),
        value => format!("Invalid type for value '{}': <class '{}'>", plain(value), class(value)),
    };
    Fault::new(1019, format!("{given}, expected type <class '{wanted}'>"))
}

/// Returns the Python class of a value at the hub.
pub(super) fn class(value: &Value) -> &'static str {
    match value {
        Value::Nil => "NoneType",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::BigInt(_) => "int",
        Value::Double(_) => "float",
        Value::Text(_) => "str",
        Value::Array(_) => "list",
        Value::Struct(_) => "dict",
        Value::Bytes(_) => "bytes",
        Value::DateTime(_) => "datetime.datetime",
    }
}

/// Formats a text or number as the hub shows it in a sentence.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        other => class(other).to_owned(),
    }
}

/// Formats a text or number as the hub quotes it.
pub(super) fn quoted(value: &Value) -> String {
    if let Value::Text(text) = value { format!("'{text}'") } else { plain(value) }
}

/// Sorts and limits rows as `queryOpts` requests: `order`, `offset`, `limit` and `countOnly`.
pub(super) fn query(mut rows: Vec<Value>, options: &Value) -> Value {
    if let Value::Text(order) = field(options, "order") {
        for key in order.rsplit(',') {
            let (name, reverse) = key.strip_prefix('-').map_or((key, false), |name| (name, true));
            rows.sort_by(|a, b| {
                let order = compare(field(a, name), field(b, name));
                if reverse { order.reverse() } else { order }
            });
        }
    }
    let number = |name| match field(options, name) {
        Value::Int(number) => usize::try_from(*number).ok(),
        _ => None,
    };
    let rows = rows.into_iter().skip(number("offset").unwrap_or(0)).take(number("limit").unwrap_or(usize::MAX));
    if is_true(field(options, "countOnly")) {
        return int(i64::try_from(rows.count()).unwrap_or(i64::MAX));
    }
    list(rows)
}

fn compare(a: &Value, b: &Value) -> std::cmp::Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Double(a), Value::Double(b)) => a.total_cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        // As in PostgreSQL, missing values are last.
        (Value::Nil, Value::Nil) => std::cmp::Ordering::Equal,
        (Value::Nil, _) => std::cmp::Ordering::Greater,
        (_, Value::Nil) => std::cmp::Ordering::Less,
        (_, _) => std::cmp::Ordering::Equal,
    }
}

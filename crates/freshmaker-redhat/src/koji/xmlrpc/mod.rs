//! XML-RPC as Koji speaks it: requests and responses, to and from bytes, for both ends of the line.
//!
//! What the hub adds to the standard is understood: `<nil/>`, integers of 64 bits. What it never sends is refused: entities of one's own,
//! other encodings than UTF-8, deeper nesting than [`DEPTH_MAX`].
//!
//! ```
//! use freshmaker_redhat::koji::xmlrpc::{Request, Response, Value};
//!
//! let request = Request::new("getTaskInfo", vec![Value::Int(7)]);
//! let body = request.encode()?;
//! assert_eq!(Request::parse(body.as_bytes())?, request);
//!
//! let answer = Response::Value(Value::record([("id", Value::Int(7)), ("state", Value::Int(1))]));
//! let Response::Value(task) = Response::parse(answer.encode()?.as_bytes())? else { unreachable!() };
//! assert_eq!(task.get::<i64>(&["state"])?, 1);
//! assert_eq!(task.get::<Option<&str>>(&["label"])?, None);
//! assert_eq!(
//!     task.get::<&str>(&["state"]).unwrap_err().to_string(),
//!     "`state` is an integer, not a text"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod read;
mod typed;
mod write;

pub use typed::{Mismatch, Typed};

use std::collections::BTreeMap;
use std::fmt;

/// Deeper values are refused: the real ones have less than ten levels.
pub const DEPTH_MAX: usize = 64;

/// Longer texts are refused, whatever the transport allows, in bytes.
pub const BYTES_MAX: usize = 256 << 20;

/// A value of XML-RPC.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing: Koji's answer for what does not exist.
    #[default]
    Nil,
    /// Yes or no.
    Bool(bool),
    /// A whole number; beyond 32 bits it travels as `<i8>`.
    Int(i64),
    /// A number with a fraction.
    Double(f64),
    /// Text.
    Text(String),
    /// Bytes, in base64 on the line.
    Bytes(Vec<u8>),
    /// A moment as it stands on the line: `20261123T01:02:03`, without a time zone.
    DateTime(String),
    /// A list.
    Array(Vec<Value>),
    /// Named members.
    Struct(BTreeMap<String, Value>),
}

impl Value {
    /// A struct of these members.
    pub fn record<'a>(members: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        Self::Struct(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// What it is, in words.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nothing",
            Self::Bool(_) => "a flag",
            Self::Int(_) => "an integer",
            Self::Double(_) => "a number",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::DateTime(_) => "a moment",
            Self::Array(_) => "a list",
            Self::Struct(_) => "a record",
        }
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Self::Array(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nil, Into::into)
    }
}

/// A call of a method.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Its name, such as `getBuild`.
    pub method: String,
    /// Its arguments. Koji takes named ones as a last [`Struct`](Value::Struct) in which `__starstar` is true.
    pub params: Vec<Value>,
}

impl Request {
    /// A call of `method` with these arguments.
    pub fn new(method: impl Into<String>, params: Vec<Value>) -> Self {
        Self { method: method.into(), params }
    }

    /// The same call with arguments given by name.
    #[must_use]
    pub fn named<'a>(mut self, arguments: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let marked = arguments.into_iter().chain([("__starstar", Value::Bool(true))]);
        self.params.push(Value::record(marked));
        self
    }

    /// Its text, byte for byte as Koji's own client writes it (members of structs in the order of their names).
    ///
    /// # Errors
    /// If a text in it has characters that XML cannot carry, or it is deeper than [`DEPTH_MAX`].
    pub fn encode(&self) -> Result<String, Malformed> {
        write::request(self)
    }

    /// Reads a call.
    ///
    /// # Errors
    /// If it is no such thing.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        read::request(body)
    }
}

/// An answer to a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// What the method gave.
    Value(Value),
    /// The method raised an error.
    Fault {
        /// Its number.
        code: i64,
        /// What happened.
        text: String,
    },
}

impl Response {
    /// Its text, byte for byte as the hub writes it (members of structs in the order of their names).
    ///
    /// # Errors
    /// If a text in it has characters that XML cannot carry, or it is deeper than [`DEPTH_MAX`].
    pub fn encode(&self) -> Result<String, Malformed> {
        write::response(self)
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// If it is no such thing.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        read::response(body)
    }
}

/// Something that is not the XML-RPC that was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where, in bytes from the start.
    pub at: usize,
    /// What is wrong. Never more than a few words of what was read.
    pub text: String,
}

impl Malformed {
    fn new(at: usize, text: impl fmt::Display) -> Self {
        Self { at, text: text.to_string() }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no XML-RPC at byte {}: {}", self.at, self.text)
    }
}

impl std::error::Error for Malformed {}

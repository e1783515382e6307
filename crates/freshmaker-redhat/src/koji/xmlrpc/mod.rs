//! Codec for XML-RPC as Koji uses it: requests and responses, to and from bytes, for clients and
//! for servers.
//!
//! The codec reads Koji's additions to the standard: `<nil/>` and 64-bit integers. It refuses what
//! the hub never sends: entity declarations, encodings other than UTF-8 and its subset US-ASCII,
//! and nesting deeper than [`DEPTH_MAX`].
//!
//! ```
//! use freshmaker_redhat::koji::xmlrpc::{Request, Response, Value};
//!
//! let request = Request::new("getTaskInfo", vec![Value::Int(7)]);
//! let body = request.encode()?;
//! assert_eq!(Request::parse(body.as_bytes())?, request);
//!
//! let answer = Response::Value(Value::record([("id", Value::Int(7)), ("state", Value::Int(1))]));
//! let Response::Value(task) = Response::parse(answer.encode()?.as_bytes())? else {
//!     unreachable!()
//! };
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

/// Largest nesting of values; deeper ones are refused. Values of real hubs have fewer than ten
/// levels.
pub const DEPTH_MAX: usize = 64;

/// Largest accepted document, in bytes (256 MiB), independent of bounds of the transport.
pub const BYTES_MAX: usize = 256 << 20;

/// A value of XML-RPC.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// No value (`<nil/>`): Koji's answer for something that does not exist.
    #[default]
    Nil,
    /// A boolean.
    Bool(bool),
    /// An integer; numbers beyond 32 bits are encoded as `<i8>`.
    Int(i64),
    /// The digits of an integer beyond 64 bits, which is none of Koji's numbers. Encoded as
    /// `<biginteger>`.
    BigInt(String),
    /// A floating-point number.
    Double(f64),
    /// A text.
    Text(String),
    /// Bytes, encoded in base64.
    Bytes(Vec<u8>),
    /// A date and time in its encoded form: `20261123T01:02:03`, without a time zone.
    DateTime(String),
    /// A list.
    Array(Vec<Value>),
    /// Members by name.
    Struct(BTreeMap<String, Value>),
}

impl Value {
    /// Creates a struct with these members.
    pub fn record<'a>(members: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        Self::Struct(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Returns the type of the value in words, as used in errors.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nothing",
            Self::Bool(_) => "a flag",
            Self::Int(_) => "an integer",
            Self::BigInt(_) => "an integer beyond 64 bits",
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
    /// Name of the method, such as `getBuild`.
    pub method: String,
    /// The arguments. Koji takes named arguments as a last [`Struct`](Value::Struct) with a member
    /// `__starstar` that is true; see [`named`](Self::named).
    pub params: Vec<Value>,
}

impl Request {
    /// Creates a call of `method` with these positional arguments.
    pub fn new(method: impl Into<String>, params: Vec<Value>) -> Self {
        Self { method: method.into(), params }
    }

    /// Adds arguments given by name, as Koji expects them.
    #[must_use]
    pub fn named<'a>(mut self, arguments: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let marked = arguments.into_iter().chain([("__starstar", Value::Bool(true))]);
        self.params.push(Value::record(marked));
        self
    }

    /// Returns the XML document, byte for byte as Koji's own client writes it, except that members
    /// of structs are ordered by name.
    ///
    /// # Errors
    /// If a text contains characters that XML cannot represent, or values are nested deeper than
    /// [`DEPTH_MAX`].
    pub fn encode(&self) -> Result<String, Malformed> {
        write::request(self)
    }

    /// Parses a call.
    ///
    /// # Errors
    /// If `body` is not a valid call, is larger than [`BYTES_MAX`], or is nested deeper than
    /// [`DEPTH_MAX`].
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        read::request(body)
    }
}

/// An answer to a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// The value that the method returned.
    Value(Value),
    /// The method raised an error.
    Fault {
        /// Number of the error.
        code: i64,
        /// What happened.
        text: String,
    },
}

impl Response {
    /// Returns the XML document, byte for byte as the hub writes it, except that members of structs
    /// are ordered by name.
    ///
    /// # Errors
    /// If a text contains characters that XML cannot represent, or values are nested deeper than
    /// [`DEPTH_MAX`].
    pub fn encode(&self) -> Result<String, Malformed> {
        write::response(self)
    }

    /// Parses an answer.
    ///
    /// # Errors
    /// If `body` is not a valid answer, is larger than [`BYTES_MAX`], or is nested deeper than
    /// [`DEPTH_MAX`].
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        read::response(body)
    }
}

/// An error of the codec: the document is not valid XML-RPC, or a value cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Position of the error, in bytes from the start of the document.
    pub at: usize,
    /// What is wrong. Quotes at most 40 characters of the document, or 120 of an error of the XML
    /// parser.
    pub text: String,
}

impl Malformed {
    fn new(at: usize, text: impl fmt::Display) -> Self {
        Self { at, text: text.to_string() }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid XML-RPC at byte {}: {}", self.at, self.text)
    }
}

impl std::error::Error for Malformed {}

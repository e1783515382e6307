use super::Value;
use std::collections::BTreeMap;
use std::fmt;

/// A value of another type than expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Names of the members on the path to the value, outermost first.
    pub path: Vec<String>,
    /// The expected type, in words.
    pub wanted: &'static str,
    /// The actual type, in words.
    pub found: &'static str,
}

impl Mismatch {
    /// Adds `name` in front of the path: the value is inside of a value of this name.
    #[must_use]
    pub fn within(mut self, name: impl fmt::Display) -> Self {
        self.path.insert(0, name.to_string());
        self
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "the answer is {}, not {}", self.found, self.wanted)
        } else {
            write!(f, "`{}` is {}, not {}", self.path.join("."), self.found, self.wanted)
        }
    }
}

impl std::error::Error for Mismatch {}

/// A Rust type that a [`Value`] can be read as; see [`Value::get`].
pub trait Typed<'a>: Sized {
    /// Name of the type in errors.
    const NAME: &'static str;

    /// Returns the value as this type, or `None` if it has another type.
    fn of(value: &'a Value) -> Option<Self>;
}

impl<'a> Typed<'a> for &'a Value {
    const NAME: &'static str = "a value";
    fn of(value: &'a Value) -> Option<Self> {
        (*value != Value::Nil).then_some(value)
    }
}

impl Typed<'_> for i64 {
    const NAME: &'static str = "an integer";
    fn of(value: &Value) -> Option<Self> {
        if let Value::Int(number) = value { Some(*number) } else { None }
    }
}

impl Typed<'_> for f64 {
    const NAME: &'static str = "a number";
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Double(number) => Some(*number),
            Value::Int(number) => i32::try_from(*number).ok().map(f64::from),
            _ => None,
        }
    }
}

impl Typed<'_> for bool {
    const NAME: &'static str = "a flag";
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(flag) => Some(*flag),
            Value::Int(0) => Some(false),
            Value::Int(1) => Some(true),
            _ => None,
        }
    }
}

impl<'a> Typed<'a> for &'a str {
    const NAME: &'static str = "a text";
    fn of(value: &'a Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text) } else { None }
    }
}

impl<'a> Typed<'a> for &'a [Value] {
    const NAME: &'static str = "a list";
    fn of(value: &'a Value) -> Option<Self> {
        if let Value::Array(items) = value { Some(items) } else { None }
    }
}

impl<'a> Typed<'a> for &'a BTreeMap<String, Value> {
    const NAME: &'static str = "a record";
    fn of(value: &'a Value) -> Option<Self> {
        if let Value::Struct(members) = value { Some(members) } else { None }
    }
}

impl<'a, T: Typed<'a>> Typed<'a> for Option<T> {
    const NAME: &'static str = T::NAME;
    fn of(value: &'a Value) -> Option<Self> {
        if *value == Value::Nil { Some(None) } else { T::of(value).map(Some) }
    }
}

impl Value {
    /// Returns the value at the end of a path of members, as a type. A missing member is
    /// [`Nil`](Value::Nil), and so is every member of it.
    ///
    /// # Errors
    /// If the value has another type, or a value on the path is not a struct. An [`Option`] accepts
    /// `Nil`; other types do not.
    pub fn get<'a, T: Typed<'a>>(&'a self, path: &[&str]) -> Result<T, Mismatch> {
        const NIL: &Value = &Value::Nil;
        let mut value = self;
        for (depth, name) in path.iter().enumerate() {
            value = match value {
                Value::Struct(members) => members.get(*name).unwrap_or(NIL),
                Value::Nil if depth > 0 => NIL,
                other => return Err(mismatch(&path[..depth], "a record", other)),
            };
        }
        T::of(value).ok_or_else(|| mismatch(path, T::NAME, value))
    }

    /// Reads every item of the list at the end of a path; `Nil` counts as an empty list.
    ///
    /// # Errors
    /// The first error of `read`, with the number of its item, or an error if the value is not a
    /// list.
    pub fn each<'a, T>(
        &'a self,
        path: &[&str],
        mut read: impl FnMut(&'a Value) -> Result<T, Mismatch>,
    ) -> Result<Vec<T>, Mismatch> {
        let items = self.get::<Option<&[Value]>>(path)?.unwrap_or_default();
        let numbered = items.iter().enumerate();
        let read = numbered.map(|(number, item)| read(item).map_err(|error| error.within(format_args!("[{number}]"))));
        let read: Result<Vec<T>, Mismatch> = read.collect();
        read.map_err(|error| path.iter().rev().fold(error, Mismatch::within))
    }
}

fn mismatch(path: &[&str], wanted: &'static str, found: &Value) -> Mismatch {
    Mismatch { path: path.iter().map(|&name| name.to_owned()).collect(), wanted, found: found.kind() }
}

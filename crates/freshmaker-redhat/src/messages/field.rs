use super::body::{Body, Fault};
use serde_json::Value;

/// A position in a message and the value there. Each method says what the value must be; its error
/// contains the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'p, 'v> {
    value: Option<&'v Value>,
    above: Option<&'p Field<'p, 'v>>,
    step: Step<'p>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    Name(&'p str),
    Index(usize),
}

impl<'p, 'v> Field<'p, 'v> {
    pub(super) fn root(body: &'v Body) -> Self {
        Self { value: Some(&body.value), above: None, step: Step::Name(body.form.path()) }
    }

    /// Returns the field of this name, which may be missing.
    pub(super) fn at(&'p self, name: &'p str) -> Self {
        Self { value: self.value.and_then(|value| value.get(name)), above: Some(self), step: Step::Name(name) }
    }

    /// Returns an item of a list, which may be missing.
    pub(super) fn item(&'p self, index: usize) -> Self {
        Self { value: self.value.and_then(|value| value.get(index)), above: Some(self), step: Step::Index(index) }
    }

    /// Returns whether there is a value other than null.
    pub(super) fn is_there(&self) -> bool {
        self.value.is_some_and(|value| !value.is_null())
    }

    /// Reads the value if there is one; returns `None` if it is missing or null.
    pub(super) fn optional<T>(&self, read: impl FnOnce(&Self) -> Result<T, Fault>) -> Result<Option<T>, Fault> {
        if self.is_there() { read(self).map(Some) } else { Ok(None) }
    }

    /// Returns a text with at least one character that is not white space.
    pub(super) fn text(&self) -> Result<&'v str, Fault> {
        match self.value {
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(text),
            _ => Err(self.expected("text")),
        }
    }

    /// The same as [`text`](Self::text), as an owned value.
    pub(super) fn owned(&self) -> Result<String, Fault> {
        self.text().map(str::to_owned)
    }

    /// Returns the text; `None` if it is missing, null or empty.
    pub(super) fn optional_text(&self) -> Result<Option<String>, Fault> {
        if matches!(self.value, Some(Value::String(text)) if text.is_empty()) {
            return Ok(None);
        }
        self.optional(Self::owned)
    }

    /// Returns a whole number that is not negative. `true` is not a number.
    pub(super) fn number(&self) -> Result<i64, Fault> {
        let number = self.value.and_then(Value::as_i64).filter(|number| *number >= 0);
        number.ok_or_else(|| self.expected("a whole number, not negative"))
    }

    /// Returns a whole number that is not negative, or one that is written as a text of decimal
    /// digits.
    pub(super) fn id(&self) -> Result<i64, Fault> {
        match self.value {
            Some(Value::String(digits)) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| self.fault("a number that is too large"))
            }
            _ => self.number(),
        }
    }

    /// Returns `true` or `false`.
    pub(super) fn flag(&self) -> Result<bool, Fault> {
        self.value.and_then(Value::as_bool).ok_or_else(|| self.expected("true or false"))
    }

    /// Returns any value, but not a missing one.
    pub(super) fn json(&self) -> Result<&'v Value, Fault> {
        self.value.ok_or_else(|| self.expected("something"))
    }

    /// Returns an object.
    pub(super) fn object(&self) -> Result<&'v serde_json::Map<String, Value>, Fault> {
        self.value.and_then(Value::as_object).ok_or_else(|| self.expected("an object"))
    }

    /// Reads each item of a list.
    pub(super) fn list<T>(&self, read: impl Fn(&Field<'_, 'v>) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
        let Some(Value::Array(items)) = self.value else { return Err(self.expected("a list")) };
        (0..items.len()).map(|index| read(&Field { ..self.item(index) })).collect()
    }

    /// Returns a list of texts.
    pub(super) fn texts(&self) -> Result<Vec<String>, Fault> {
        self.list(|item| item.owned())
    }

    /// Makes an error about this position.
    pub(super) fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault::new(self.path(), reason)
    }

    /// Makes an error that says what was expected here and what was found.
    pub(super) fn expected(&self, what: &str) -> Fault {
        let Some(value) = self.value else { return self.fault(format!("missing, expected {what}")) };
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(number) if number.is_f64() => "a fraction",
            Value::Number(_) => "a number",
            Value::String(text) if text.trim().is_empty() => "an empty text",
            Value::String(_) => "text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.fault(format!("expected {what}, found {found}"))
    }

    /// Returns the path, such as `msg.info.request[0]`; `body` for the whole.
    fn path(&self) -> String {
        let mut steps: Vec<Step<'_>> = std::iter::successors(Some(self), |field| field.above).map(|f| f.step).collect();
        steps.reverse();
        let mut path = String::new();
        for step in steps {
            match step {
                Step::Name("") => {}
                Step::Name(name) if path.is_empty() => path.push_str(name),
                Step::Name(name) => path.extend([".", name]),
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        if path.is_empty() { "body".to_owned() } else { path }
    }
}

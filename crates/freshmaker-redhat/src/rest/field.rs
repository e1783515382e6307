use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt;

/// Says which field of an answer is wrong, and how.
#[derive(Debug)]
pub(crate) struct Wrong {
    /// The steps to the field, the innermost first.
    path: Vec<String>,
    text: String,
}

pub(crate) type Read<T> = Result<T, Wrong>;

impl Wrong {
    pub(crate) fn new(text: impl fmt::Display) -> Self {
        Self { path: Vec::new(), text: text.to_string() }
    }

    fn expected(what: &str, found: &Value) -> Self {
        let found = match found {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(text) if text.trim().is_empty() => "an empty text",
            Value::String(_) => "text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        Self::new(format_args!("expected {what}, found {found}"))
    }

    /// Says that the field is below this step.
    pub(crate) fn below(mut self, step: impl Into<String>) -> Self {
        self.path.push(step.into());
        self
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut path = String::new();
        for step in self.path.iter().rev() {
            if !path.is_empty() && !step.starts_with('[') {
                path.push('.');
            }
            path.push_str(step);
        }
        let path = if path.is_empty() { "the answer" } else { &path };
        write!(f, "`{path}`: {}", self.text)
    }
}

/// Reads the field at this path, such as `content.cve`.
pub(crate) fn at<'v, T>(value: &'v Value, path: &str, read: impl FnOnce(&'v Value) -> Read<T>) -> Read<T> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let inner = object(value)?.get(name).ok_or_else(|| Wrong::new("it is missing").below(name))?;
    match rest {
        Some(rest) => at(inner, rest, read),
        None => read(inner),
    }
    .map_err(|wrong| wrong.below(name))
}

/// Reads the field of this name; `None` if it is missing or null.
pub(crate) fn maybe_at<'v, T>(
    value: &'v Value,
    name: &str,
    read: impl FnOnce(&'v Value) -> Read<T>,
) -> Read<Option<T>> {
    match object(value)?.get(name) {
        Some(inner) => nullable(inner, read).map_err(|wrong| wrong.below(name)),
        None => Ok(None),
    }
}

/// Reads a value; `None` if it is null.
pub(crate) fn nullable<'v, T>(value: &'v Value, read: impl FnOnce(&'v Value) -> Read<T>) -> Read<Option<T>> {
    if value.is_null() { Ok(None) } else { read(value).map(Some) }
}

/// Reads each field of an object.
pub(crate) fn each<'v>(value: &'v Value, mut read: impl FnMut(&'v str, &'v Value) -> Read<()>) -> Read<()> {
    object(value)?.iter().try_for_each(|(name, inner)| read(name, inner).map_err(|wrong| wrong.below(name)))
}

pub(crate) fn list(value: &Value) -> Read<&[Value]> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| Wrong::expected("a list", value))
}

/// Reads each item of a list.
pub(crate) fn items<'v>(value: &'v Value, mut read: impl FnMut(&'v Value) -> Read<()>) -> Read<()> {
    let mut numbered = list(value)?.iter().enumerate();
    numbered.try_for_each(|(i, item)| read(item).map_err(|wrong| wrong.below(format!("[{i}]"))))
}

/// Reads all items of a list, in their order.
pub(crate) fn collect<'v, T>(value: &'v Value, mut read: impl FnMut(&'v Value) -> Read<T>) -> Read<Vec<T>> {
    let mut found = Vec::new();
    items(value, |item| {
        found.push(read(item)?);
        Ok(())
    })?;
    Ok(found)
}

pub(crate) fn object(value: &Value) -> Read<&Map<String, Value>> {
    value.as_object().ok_or_else(|| Wrong::expected("an object", value))
}

/// Returns a text with at least one character that is not white space.
pub(crate) fn text(value: &Value) -> Read<&str> {
    let text = value.as_str().filter(|text| !text.trim().is_empty());
    text.ok_or_else(|| Wrong::expected("text", value))
}

/// Returns a text, which may be null or white space for none.
pub(crate) fn text_if_any(value: &Value) -> Read<&str> {
    match value.as_str() {
        Some(text) => Ok(text.trim()),
        None => Ok(nullable(value, text)?.unwrap_or_default()),
    }
}

/// Reads a text; `None` if it is missing, null or white space.
pub(crate) fn optional(value: &Value, name: &str) -> Read<Option<String>> {
    Ok(maybe_at(value, name, text_if_any)?.filter(|text| !text.is_empty()).map(str::to_owned))
}

/// Reads each item of a list; no list is an empty one.
pub(crate) fn all<T: Ord>(value: &Value, name: &str, read: impl Fn(&Value) -> Read<T>) -> Read<BTreeSet<T>> {
    let mut found = BTreeSet::new();
    maybe_at(value, name, |list| {
        items(list, |item| {
            found.insert(read(item)?);
            Ok(())
        })
    })?;
    Ok(found)
}

/// Reads a list of texts; no list is an empty one.
pub(crate) fn texts(value: &Value, name: &str) -> Read<BTreeSet<String>> {
    all(value, name, |item| Ok(text(item)?.to_owned()))
}

/// Reads the names out of a list of objects that have one; no list is an empty one.
pub(crate) fn names(value: &Value, name: &str) -> Read<BTreeSet<String>> {
    all(value, name, |element| Ok(at(element, "name", text)?.to_owned()))
}

/// Returns a whole number that is not negative.
pub(crate) fn number(value: &Value) -> Read<u64> {
    value.as_u64().ok_or_else(|| Wrong::expected("a whole number, not negative", value))
}

pub(crate) fn flag(value: &Value) -> Read<bool> {
    value.as_bool().ok_or_else(|| Wrong::expected("true or false", value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_name_the_path() {
        let value = json!({ "a": { "b": [1, "x"] }, "n": null, "e": " " });
        let numbers = |value| items(value, |item| number(item).map(drop));
        let wrong = at(&value, "a.b", numbers).unwrap_err();
        assert_eq!(wrong.to_string(), "`a.b[1]`: expected a whole number, not negative, found text");
        assert_eq!(at(&value, "a.c", text).unwrap_err().to_string(), "`a.c`: it is missing");
        assert_eq!(at(&value, "n.c", text).unwrap_err().to_string(), "`n`: expected an object, found null");
        assert_eq!(at(&value, "e", text).unwrap_err().to_string(), "`e`: expected text, found an empty text");
        assert_eq!(text(&value).unwrap_err().to_string(), "`the answer`: expected text, found an object");
        assert_eq!(maybe_at(&value, "n", text).unwrap(), None);
        assert_eq!(maybe_at(&value, "z", text).unwrap(), None);
        assert!(maybe_at(&value, "a", text).is_err());
        assert_eq!(["n", "e"].map(|name| at(&value, name, text_if_any).unwrap()), ["", ""]);
        assert_eq!(at(&value, "a.b", text_if_any).unwrap_err().to_string(), "`a.b`: expected text, found a list");
    }
}

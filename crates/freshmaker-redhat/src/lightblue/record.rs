//! Reads repositories and images out of answers.

use crate::released::{Entry, Image, Repository};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// Says which field of an object has a value that makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    path: String,
    text: String,
}

impl Wrong {
    fn new(name: &str, wanted: &str, value: Option<&Value>) -> Self {
        let found = match value {
            None | Some(Value::Null) => "nothing",
            Some(Value::Bool(_)) => "a truth value",
            Some(Value::Number(_)) => "a number",
            Some(Value::String(_)) => "a text",
            Some(Value::Array(_)) => "a list",
            Some(Value::Object(_)) => "an object",
        };
        Self { path: name.to_owned(), text: format!("{found} instead of {wanted}") }
    }

    /// Returns the same about a field of an object that is itself in a field.
    pub(super) fn within(self, name: impl fmt::Display) -> Self {
        let path = if self.path.is_empty() { name.to_string() } else { format!("{name}.{}", self.path) };
        Self { path, ..self }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}

type Read<T> = Result<T, Wrong>;

/// Returns a field if it is there and not null. Null has no fields.
fn field<'a>(object: &'a Value, name: &str) -> Read<Option<&'a Value>> {
    match object {
        Value::Object(fields) => Ok(fields.get(name).filter(|value| !value.is_null())),
        Value::Null => Ok(None),
        other => Err(Wrong::new("", "an object", Some(other))),
    }
}

/// Says that this is an object, and not null.
fn is_object(object: &Value) -> Read<()> {
    if object.is_object() { Ok(()) } else { Err(Wrong::new("", "an object", Some(object))) }
}

fn text(object: &Value, name: &str) -> Read<Option<String>> {
    match field(object, name)? {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        other => Err(Wrong::new(name, "a text", other)),
    }
}

fn required_text(object: &Value, name: &str) -> Read<String> {
    text(object, name)?.ok_or_else(|| Wrong::new(name, "a text", None))
}

/// Reads a truth value, which may be written as a text. None means no.
fn truth(object: &Value, name: &str) -> Read<bool> {
    match field(object, name)? {
        None => Ok(false),
        Some(Value::Bool(truth)) => Ok(*truth),
        Some(Value::String(text)) if text == "true" || text == "false" => Ok(text == "true"),
        other => Err(Wrong::new(name, "a truth value", other)),
    }
}

/// Reads each element of a list; `None` if there is no list.
fn elements<T>(object: &Value, name: &str, mut read: impl FnMut(&Value) -> Read<T>) -> Read<Option<Vec<T>>> {
    let elements = match field(object, name)? {
        None => return Ok(None),
        Some(Value::Array(elements)) => elements,
        other => return Err(Wrong::new(name, "a list", other)),
    };
    let read = |(at, element)| read(element).map_err(|wrong| wrong.within(at).within(name));
    elements.iter().enumerate().map(read).collect::<Read<_>>().map(Some)
}

/// Reads a list of texts; no list is an empty one.
fn texts(object: &Value, name: &str) -> Read<BTreeSet<String>> {
    let read = |element: &Value| match element {
        Value::String(text) => Ok(text.clone()),
        other => Err(Wrong::new("", "a text", Some(other))),
    };
    Ok(elements(object, name, read)?.unwrap_or_default().into_iter().collect())
}

/// Reads the names out of a list of objects that have one.
fn names(object: &Value, name: &str) -> Read<BTreeSet<String>> {
    let names = elements(object, name, |element| required_text(element, "name"))?;
    Ok(names.unwrap_or_default().into_iter().collect())
}

/// Reads a `containerRepository`.
pub(super) fn repository(object: &Value) -> Read<Repository> {
    Ok(Repository {
        registry: text(object, "registry")?,
        name: required_text(object, "repository")?,
        published: truth(object, "published")?,
        auto_rebuild_tags: texts(object, "auto_rebuild_tags")?,
        release_categories: texts(object, "release_categories")?,
    })
}

fn entry(object: &Value) -> Read<Entry> {
    Ok(Entry {
        registry: text(object, "registry")?,
        repository: required_text(object, "repository")?,
        published: truth(object, "published")?,
        tags: names(object, "tags")?,
    })
}

/// Reads a `containerImage`: one architecture of an image.
pub(super) fn image(object: &Value) -> Read<Image> {
    is_object(object)?;
    let brew = field(object, "brew")?.unwrap_or(&Value::Null);
    let parsed = field(object, "parsed_data")?.unwrap_or(&Value::Null);
    let entries = elements(object, "repositories", entry)?.unwrap_or_default();
    // The manifest is one object; it is in a list because it is a reference to another entity.
    let manifests =
        elements(object, "rpm_manifest", |manifest| elements(manifest, "rpms", |rpm| required_text(rpm, "nvra")))?;
    let mut rpms = None;
    for known in manifests.unwrap_or_default().into_iter().flatten() {
        rpms.get_or_insert_with(BTreeSet::new).extend(known);
    }
    Ok(Image {
        id: text(object, "_id")?,
        build: text(brew, "build").map_err(|wrong| wrong.within("brew"))?,
        parent: text(object, "parent_brew_build")?,
        content_sets: texts(object, "content_sets")?,
        entries: entries.into_iter().collect(),
        labels: names(parsed, "labels").map_err(|wrong| wrong.within("parsed_data"))?,
        rpms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_wrong_field_is_named() {
        for (object, text) in [
            (json!({ "brew": { "build": 7 } }), "brew.build: a number instead of a text"),
            (json!({ "content_sets": "a" }), "content_sets: a text instead of a list"),
            (json!({ "content_sets": ["a", {}] }), "content_sets.1: an object instead of a text"),
            (json!({ "repositories": [{}] }), "repositories.0.repository: nothing instead of a text"),
            (
                json!({ "repositories": [{ "repository": "r", "published": "yes" }] }),
                "repositories.0.published: a text instead of a truth value",
            ),
            (
                json!({ "repositories": [{ "repository": "r", "tags": [{ "name": null }] }] }),
                "repositories.0.tags.0.name: nothing instead of a text",
            ),
            (json!({ "rpm_manifest": [{ "rpms": {} }] }), "rpm_manifest.0.rpms: an object instead of a list"),
            (json!({ "rpm_manifest": [{ "rpms": [{}] }] }), "rpm_manifest.0.rpms.0.nvra: nothing instead of a text"),
            (json!({ "parsed_data": { "labels": [{}] } }), "parsed_data.labels.0.name: nothing instead of a text"),
            (
                json!({ "parsed_data": { "labels": [true] } }),
                "parsed_data.labels.0: a truth value instead of an object",
            ),
            (json!({ "parsed_data": "x" }), "parsed_data: a text instead of an object"),
            (json!({ "brew": [] }), "brew: a list instead of an object"),
            (json!({ "rpm_manifest": ["x"] }), "rpm_manifest.0: a text instead of an object"),
            (json!(null), ": nothing instead of an object"),
            (json!("x"), ": a text instead of an object"),
        ] {
            assert_eq!(image(&object).unwrap_err().to_string(), text);
        }
        let nameless = repository(&json!({ "published": true })).unwrap_err();
        assert_eq!(nameless.to_string(), "repository: nothing instead of a text");
    }

    #[test]
    fn no_manifest_is_not_an_empty_one() {
        for (manifest, known) in [
            (json!(null), None),
            (json!([]), None),
            (json!([{}]), None),
            (json!([{ "rpms": null }]), None),
            (json!([{ "rpms": [] }]), Some(0)),
            (json!([{ "rpms": [{ "nvra": "a-1-1.noarch" }] }, {}]), Some(1)),
        ] {
            let image = image(&json!({ "rpm_manifest": manifest })).unwrap();
            assert_eq!(image.rpms.map(|rpms| rpms.len()), known, "{manifest}");
        }
    }
}

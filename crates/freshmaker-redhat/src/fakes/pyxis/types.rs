//! The types that are known here: what can be selected, and what can be asked for by a filter.

use super::graphql::Field;
use crate::fakes::lightblue::language::beginning;
use serde_json::{Map, Value};

/// A type by its name, and its fields with the types of their values; a type without fields is a
/// scalar. Whether a value is a list does not matter here.
type Type = (&'static str, &'static [(&'static str, &'static str)]);

const TYPES: [Type; 14] = [
    ("Repositories", &[("error", "Error"), ("page", ""), ("page_size", ""), ("total", ""), ("data", "Repository")]),
    ("Images", &[("error", "Error"), ("page", ""), ("page_size", ""), ("total", ""), ("data", "Image")]),
    ("Error", &[("status", ""), ("detail", "")]),
    (
        "Repository",
        &[
            ("_id", ""),
            ("auto_rebuild_tags", ""),
            ("published", ""),
            ("registry", ""),
            ("release_categories", ""),
            ("repository", ""),
            ("vendor_label", ""),
        ],
    ),
    (
        "Image",
        &[
            ("_id", ""),
            ("architecture", ""),
            ("brew", "Brew"),
            ("content_sets", ""),
            ("edges", "Edges"),
            ("parent_brew_build", ""),
            ("parsed_data", "Parsed"),
            ("repositories", "Place"),
        ],
    ),
    ("Brew", &[("build", ""), ("package", "")]),
    ("Parsed", &[("labels", "Label")]),
    ("Label", &[("name", ""), ("value", "")]),
    ("Place", &[("published", ""), ("registry", ""), ("repository", ""), ("tags", "Tag")]),
    ("Tag", &[("name", ""), ("removed_date", "")]),
    ("Edges", &[("rpm_manifest", "ManifestAnswer")]),
    ("ManifestAnswer", &[("error", "Error"), ("data", "Manifest")]),
    ("Manifest", &[("rpms", "Rpm")]),
    ("Rpm", &[("name", ""), ("nvra", "")]),
];

/// Returns the type of a field, if there is such a field.
fn field_type(of: &str, field: &str) -> Option<&'static str> {
    let (_, fields) = TYPES.iter().find(|(name, _)| *name == of)?;
    fields.iter().find(|(name, _)| *name == field).map(|(_, kind)| *kind)
}

/// Returns the selected parts of a value.
pub(super) fn select(value: &Value, of: &str, fields: &[Field]) -> Result<Value, String> {
    match value {
        Value::Array(items) => items.iter().map(|item| select(item, of, fields)).collect(),
        Value::Object(object) if !of.is_empty() => {
            let mut shown = Map::new();
            for field in fields {
                let kind = field_type(of, &field.name);
                let kind = kind.ok_or_else(|| format!("Cannot query field \"{}\" on type \"{of}\".", field.name))?;
                if kind.is_empty() != field.fields.is_empty() {
                    return Err(format!("Field \"{}\" of type \"{of}\" has a wrong selection.", field.name));
                }
                let inner = object.get(&field.name).unwrap_or(&Value::Null);
                shown.insert(field.name.clone(), select(inner, kind, &field.fields)?);
            }
            Ok(Value::Object(shown))
        }
        other => Ok(other.clone()),
    }
}

/// Returns whether a filter holds for a value of this type. In a list, one element must do for each
/// condition, and not the same one for all; that is what `_elemMatch` asks for.
pub(super) fn holds(filter: &Value, value: &Value, of: &str) -> Result<bool, String> {
    let conditions = filter.as_object().ok_or_else(|| format!("a filter of type {of} is not an object: {filter}"))?;
    let mut all = true;
    for (name, condition) in conditions {
        all &= match (name.as_str(), condition) {
            ("and", Value::Array(parts)) => {
                parts.iter().try_fold(true, |all, part| Ok::<_, String>(holds(part, value, of)? && all))?
            }
            ("or", Value::Array(parts)) => {
                parts.iter().try_fold(false, |any, part| Ok::<_, String>(holds(part, value, of)? || any))?
            }
            (name, condition) => {
                let (field, matched) = match name.strip_suffix("_elemMatch") {
                    Some(field) => (field, true),
                    None => (name, false),
                };
                // Filters reach the manifest without the edge to it.
                let kind =
                    if (of, field) == ("Image", "rpm_manifest") { Some("Manifest") } else { field_type(of, field) };
                let kind = kind.ok_or_else(|| format!("Field \"{name}\" is not defined by type \"{of}Filter\"."))?;
                let values = values(value, field);
                if kind.is_empty() {
                    scalar(condition, &values)?
                } else if matched {
                    // An empty list must be checked for unknown fields, too.
                    holds(condition, &Value::Null, kind)?;
                    values.iter().try_fold(false, |any, it| Ok::<_, String>(holds(condition, it, kind)? || any))?
                } else {
                    let whole = Value::Array(values.into_iter().cloned().collect());
                    holds(condition, &whole, kind)?
                }
            }
        };
    }
    Ok(all)
}

/// Returns the values of a field: of an object, or of each object in a list.
fn values<'v>(value: &'v Value, field: &str) -> Vec<&'v Value> {
    let objects = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let found = objects.iter().filter_map(|object| object.get(field));
    found.flat_map(|value| value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)).collect()
}

fn scalar(condition: &Value, values: &[&Value]) -> Result<bool, String> {
    let operators = condition.as_object().ok_or_else(|| format!("not a condition: {condition}"))?;
    let mut all = true;
    for (operator, operand) in operators {
        all &= match (operator.as_str(), operand) {
            ("eq", operand) => values.contains(&operand),
            ("in", Value::Array(operands)) => values.iter().any(|value| operands.contains(value)),
            ("regex", Value::String(regex)) => {
                let start = beginning(regex).map_err(|refusal| refusal.text)?;
                values.iter().any(|value| value.as_str().is_some_and(|text| text.starts_with(&start)))
            }
            (operator, _) => return Err(format!("the operator {operator} is not known here")),
        };
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn filters_are_evaluated() {
        let image = json!({
            "brew": { "build": "a-b-1.2-3" },
            "content_sets": ["x", "y"],
            "repositories": [
                { "repository": "r", "published": true, "tags": [{ "name": "1" }] },
                { "repository": "s", "published": false, "tags": [{ "name": "latest" }] },
            ],
            "rpm_manifest": { "rpms": [{ "name": "bash" }, { "name": "zsh" }] },
        });
        let latest = json!({ "tags_elemMatch": { "and": [{ "name": { "in": ["latest"] } }] } });
        let published = json!({ "published": { "eq": true } });
        for (filter, expected) in [
            (json!({ "content_sets": { "in": ["y", "z"] } }), true),
            (json!({ "content_sets": { "in": ["z"] } }), false),
            (json!({ "brew": { "build": { "regex": r"^a\-b\-1\.2\-" } } }), true),
            (json!({ "brew": { "build": { "regex": r"^b\-" } } }), false),
            (json!({ "rpm_manifest": { "rpms": { "name": { "in": ["zsh"] } } } }), true),
            (json!({ "rpm_manifest": { "rpms": { "name": { "in": ["ksh"] } } } }), false),
            (json!({ "repositories": { "published": { "eq": true }, "repository": { "eq": "s" } } }), true),
            (json!({ "repositories_elemMatch": { "and": [published, { "repository": { "eq": "s" } }] } }), false),
            (json!({ "repositories_elemMatch": { "and": [published, latest] } }), false),
            (json!({ "repositories_elemMatch": { "and": [latest] } }), true),
            (json!({ "or": [{ "content_sets": { "eq": "z" } }, { "content_sets": { "eq": "x" } }] }), true),
            (json!({ "and": [{ "content_sets": { "eq": "z" } }, { "content_sets": { "eq": "x" } }] }), false),
        ] {
            assert_eq!(holds(&filter, &image, "Image"), Ok(expected), "{filter}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (filter, why) in [
            (json!({ "brew": { "nvr": { "eq": "a" } } }), "Field \"nvr\" is not defined by type \"BrewFilter\"."),
            (
                json!({ "repositories_elemMatch": { "name": {} } }),
                "Field \"name\" is not defined by type \"PlaceFilter\".",
            ),
            (json!({ "content_sets": { "ne": "x" } }), "the operator ne is not known here"),
            (json!({ "content_sets": "x" }), "not a condition: \"x\""),
            (json!({ "brew": { "build": { "regex": ".*" } } }), ".*: only a beginning is known here"),
        ] {
            assert_eq!(holds(&filter, &json!({}), "Image"), Err(why.to_owned()));
        }
        let field = |name: &str| Field { name: name.to_owned(), arguments: Map::new(), fields: Vec::new() };
        for (name, why) in [
            ("size", "Cannot query field \"size\" on type \"Image\"."),
            ("brew", "Field \"brew\" of type \"Image\" has a wrong selection."),
        ] {
            assert_eq!(select(&json!({}), "Image", &[field(name)]), Err(why.to_owned()));
        }
    }
}

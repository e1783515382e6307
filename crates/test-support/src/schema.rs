//! A check of JSON against the small part of JSON Schema that the schemas of this repository use.

use serde_json::Value;

/// Keywords that only tell something.
const NOTES: [&str; 6] = ["$schema", "$id", "title", "description", "definitions", "$comment"];

fn is_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("the schemas have no type {other}"),
    }
}

/// What is wrong with a value. A keyword that is not known here fails the test, so that none is
/// believed to be checked. Stricter than the schema in one thing: what is published has no property
/// that the schema does not name.
#[must_use]
pub fn faults(root: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, wanted) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "minimum" => value.as_i64() >= wanted.as_i64(),
            "type" => match wanted {
                Value::String(name) => is_type(value, name),
                names => names.as_array().unwrap().iter().any(|name| is_type(value, name.as_str().unwrap())),
            },
            "required" => wanted.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
            "properties" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    let place = format!("{place}.{name}");
                    match wanted.get(name) {
                        Some(schema) => found.extend(faults(root, schema, value, &place)),
                        None => found.push(format!("{place}: not in the schema")),
                    }
                }
                true
            }
            // What is said of properties that are not named: nothing, but they may be there.
            "additionalProperties" => *wanted == Value::Bool(true),
            "items" => {
                for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(faults(root, wanted, item, &format!("{place}[{at}]")));
                }
                true
            }
            "$ref" => {
                let target = root.pointer(wanted.as_str().unwrap().trim_start_matches('#')).unwrap();
                found.extend(faults(root, target, value, place));
                true
            }
            note => {
                assert!(NOTES.contains(&note), "{note} is not checked here");
                true
            }
        };
        if !holds {
            found.push(format!("{place}: {keyword} of {wanted} does not hold for {value}"));
        }
    }
    found
}

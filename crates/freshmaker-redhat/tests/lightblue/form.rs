//! The form of requests, as the JSON schemas of the service have it. Stricter in one thing: the
//! forms that our client does not use are faults.

use serde_json::{Map, Value, json};

const TOP: [&str; 11] = [
    "client",
    "entity",
    "entityVersion",
    "execution",
    "from",
    "maxResults",
    "projection",
    "query",
    "range",
    "sort",
    "to",
];

/// What is wrong with a request.
pub(crate) fn faults(request: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let Some(object) = request.as_object() else { return vec!["not an object".to_owned()] };
    for key in object.keys().filter(|key| !TOP.contains(&key.as_str())) {
        found.push(format!("unknown key {key}"));
    }
    if !object.get("entity").is_some_and(Value::is_string) {
        found.push("no entity".to_owned());
    }
    for bound in ["from", "to", "maxResults"] {
        if object.get(bound).is_some_and(|value| !value.is_i64() && !value.is_u64()) {
            found.push(format!("{bound} is no integer"));
        }
    }
    found.extend(object.get("query").map_or(vec!["no query".to_owned()], |query| query_faults(query, "query")));
    found.extend(object.get("projection").map_or(Vec::new(), |part| projection_faults(part, "projection")));
    found.extend(object.get("sort").map_or(Vec::new(), sort_faults));
    found
}

fn list<'a>(value: Option<&'a Value>, least: usize, place: &str, found: &mut Vec<String>) -> &'a [Value] {
    let list = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if list.len() < least {
        found.push(format!("{place} has fewer than {least} elements"));
    }
    list
}

fn query_faults(query: &Value, place: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Some(object) = query.as_object() else { return vec![format!("{place} is no object")] };
    let keys: Vec<_> = object.keys().map(String::as_str).collect();
    if keys.contains(&"field") && !object["field"].is_string() {
        found.push(format!("{place}.field is no text"));
    }
    match keys.as_slice() {
        [joint @ ("$and" | "$or")] => {
            for (at, part) in list(object.get(*joint), 1, place, &mut found).iter().enumerate() {
                let inner = query_faults(part, &format!("{place}.{joint}.{at}"));
                found.extend(inner);
            }
        }
        ["field", "op", "rvalue"] => {
            if !["$eq", "$neq", "$lt", "$gt", "$lte", "$gte"].contains(&object["op"].as_str().unwrap_or_default()) {
                found.push(format!("{place}.op is {}", object["op"]));
            }
            // The schema has texts only, but the service takes all simple values, and the Python
            // client always sent true for `published`.
            if !object["rvalue"].is_string() && !object["rvalue"].is_boolean() {
                found.push(format!("{place}.rvalue is {}", object["rvalue"]));
            }
        }
        ["field", "op", "values"] => {
            if !["$in", "$nin", "$not_in"].contains(&object["op"].as_str().unwrap_or_default()) {
                found.push(format!("{place}.op is {}", object["op"]));
            }
            let values = list(object.get("values"), 1, place, &mut found);
            if values.iter().any(|value| !value.is_string()) {
                found.push(format!("{place}.values are no texts"));
            }
            if values.iter().enumerate().any(|(at, value)| values[..at].contains(value)) {
                found.push(format!("{place}.values are not unique"));
            }
        }
        ["field", "regex"] if object["regex"].is_string() => {}
        _ => found.push(format!("{place} has the keys {keys:?}")),
    }
    found
}

fn projection_faults(projection: &Value, place: &str) -> Vec<String> {
    if let Some(object) = projection.as_object() {
        return part_faults(object, place);
    }
    let mut found = Vec::new();
    for (at, part) in list(Some(projection), 2, place, &mut found).iter().enumerate() {
        let place = format!("{place}.{at}");
        let inner = part.as_object().map_or(vec![format!("{place} is no object")], |part| part_faults(part, &place));
        found.extend(inner);
    }
    found
}

fn part_faults(part: &Map<String, Value>, place: &str) -> Vec<String> {
    let mut found = Vec::new();
    let keys: Vec<_> = part.keys().map(String::as_str).collect();
    let is = |key: &str, test: fn(&Value) -> bool| part.get(key).is_none_or(test);
    if !is("field", Value::is_string) || !is("include", Value::is_boolean) || !is("recursive", Value::is_boolean) {
        found.push(format!("{place} has a value of a wrong type"));
    }
    match keys.as_slice() {
        ["field"] | ["field", "include"] | ["field", "include", "recursive"] => {}
        ["field", "include", "match", "project"] => {
            found.extend(query_faults(&part["match"], &format!("{place}.match")));
            found.extend(projection_faults(&part["project"], &format!("{place}.project")));
        }
        _ => found.push(format!("{place} has the keys {keys:?}")),
    }
    found
}

fn sort_faults(sort: &Value) -> Vec<String> {
    let keys = sort.as_object().filter(|keys| keys.values().all(|order| order == "$asc" || order == "$desc"));
    if keys.is_some() { Vec::new() } else { vec!["sort is no order".to_owned()] }
}

#[test]
fn faults_are_found() {
    let good = json!({
        "entity": "e",
        "query": { "field": "a", "op": "$eq", "rvalue": "b" },
        "projection": { "field": "a", "include": true },
        "from": 0,
    });
    assert_eq!(faults(&good), [] as [String; 0]);
    for (key, value, fault) in [
        ("objectType", json!("e"), "unknown key objectType"),
        ("entity", json!(7), "no entity"),
        ("from", json!("0"), "from is no integer"),
        ("sort", json!({ "a": "up" }), "sort is no order"),
        ("query", json!({ "$and": [] }), "query has fewer than 1 elements"),
        ("query", json!({ "$or": [{ "field": 1 }] }), "query.$or.0.field is no text"),
        ("query", json!({ "field": "a", "op": "=", "rvalue": "b" }), "query.op is \"=\""),
        ("query", json!({ "field": "a", "op": "$eq", "rvalue": [] }), "query.rvalue is []"),
        ("query", json!({ "field": "a", "op": "$in", "values": [] }), "query has fewer than 1 elements"),
        ("query", json!({ "field": "a", "op": "$in", "values": ["b", "b"] }), "query.values are not unique"),
        ("query", json!({ "field": "a", "op": "$in", "values": [1] }), "query.values are no texts"),
        ("projection", json!([{ "field": "a" }]), "projection has fewer than 2 elements"),
        ("projection", json!({ "field": 1 }), "projection has a value of a wrong type"),
        (
            "projection",
            json!({ "field": "a", "include": true, "recursive": true, "match": {}, "project": [] }),
            "projection has the keys [\"field\", \"include\", \"match\", \"project\", \"recursive\"]",
        ),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        assert!(faults(&bad).contains(&fault.to_owned()), "{fault}: {:?}", faults(&bad));
    }
}

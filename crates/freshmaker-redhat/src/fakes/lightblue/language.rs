//! Evaluates the part of Lightblue's query language that the fake knows, and refuses all else by
//! name.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// An error object of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::fakes) struct Refusal {
    pub(super) code: &'static str,
    pub(in crate::fakes) text: String,
}

impl Refusal {
    pub(super) fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

pub(in crate::fakes) type Parsed<T> = Result<T, Refusal>;

/// Fields of `containerRepository`; `*` stands for each element of a list.
pub(super) const REPOSITORY_FIELDS: [&str; 7] =
    ["_id", "auto_rebuild_tags.*", "published", "registry", "release_categories.*", "repository", "vendorLabel"];

/// Fields of `containerImage`.
pub(super) const IMAGE_FIELDS: [&str; 14] = [
    "_id",
    "architecture",
    "brew.build",
    "brew.completion_date",
    "brew.package",
    "content_sets.*",
    "parent_brew_build",
    "parsed_data.labels.*.name",
    "repositories.*.published",
    "repositories.*.registry",
    "repositories.*.repository",
    "repositories.*.tags.*.name",
    "rpm_manifest.*.rpms.*.name",
    "rpm_manifest.*.rpms.*.nvra",
];

/// The fields of an entity, and the path of the list whose elements are looked at.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) fields: &'a [&'a str],
    pub(super) within: &'a str,
}

impl Scope<'_> {
    /// Returns a path of a request, if there is such a field.
    fn path(self, value: Option<&Value>) -> Parsed<String> {
        let path = value.and_then(Value::as_str).unwrap_or_default();
        let whole = join(self.within, path);
        let below = format!("{whole}.");
        if !path.is_empty() && self.fields.iter().any(|field| *field == whole || field.starts_with(&below)) {
            return Ok(path.to_owned());
        }
        Err(Refusal::new("metadata:InvalidFieldReference", format!("{path} in {whole}")))
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A query that was understood.
#[derive(Debug)]
pub(super) enum Query {
    All(Vec<Query>),
    Any(Vec<Query>),
    /// One of these values.
    In(String, Vec<Value>),
    /// A text that begins like this.
    Begins(String, String),
}

impl Query {
    pub(super) fn parse(value: &Value, scope: Scope<'_>) -> Parsed<Self> {
        let unknown = |text: String| Refusal::new("query-api:InvalidQuery", text);
        let object = value.as_object().ok_or_else(|| unknown(value.to_string()))?;
        let keys: BTreeSet<_> = object.keys().map(String::as_str).collect();
        let keys: Vec<_> = keys.into_iter().collect();
        let list = |name: &str| match object.get(name).and_then(Value::as_array) {
            Some(list) if !list.is_empty() => Ok(list),
            _ => Err(Refusal::new("mongo-crud:EmptyValueList", name.to_owned())),
        };
        let parts = |name: &str| list(name)?.iter().map(|part| Self::parse(part, scope)).collect::<Parsed<Vec<_>>>();
        let operator = object.get("op").and_then(Value::as_str).unwrap_or_default();
        match (keys.as_slice(), operator) {
            (["$and"], _) => Ok(Self::All(parts("$and")?)),
            (["$or"], _) => Ok(Self::Any(parts("$or")?)),
            (["field", "op", "rvalue"], "=" | "$eq") => {
                Ok(Self::In(scope.path(object.get("field"))?, vec![object["rvalue"].clone()]))
            }
            (["field", "op", "values"], "$in") => {
                Ok(Self::In(scope.path(object.get("field"))?, list("values")?.clone()))
            }
            (["field", "regex"], _) => {
                let begins = beginning(object["regex"].as_str().unwrap_or_default())?;
                Ok(Self::Begins(scope.path(object.get("field"))?, begins))
            }
            _ => Err(unknown(format!("{} with the operator {operator:?}", keys.join(", ")))),
        }
    }

    /// Returns whether the query is true for a document, or for an element of a list.
    pub(super) fn holds(&self, document: &Value) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(document)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(document)),
            Self::In(path, values) => any(document, path, &|value| values.contains(value)),
            Self::Begins(path, start) => {
                any(document, path, &|value| value.as_str().is_some_and(|text| text.starts_with(start)))
            }
        }
    }
}

/// Returns the text with which all texts begin that match. Other expressions are not known here.
pub(in crate::fakes) fn beginning(regex: &str) -> Parsed<String> {
    let unknown = || Refusal::new("query-api:InvalidRegex", format!("{regex}: only a beginning is known here"));
    let mut chars = regex.strip_prefix('^').ok_or_else(unknown)?.chars();
    let mut text = String::new();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => chars.next().filter(char::is_ascii_punctuation).ok_or_else(unknown)?,
            c if r"^$.|?*+()[]{}".contains(c) => return Err(unknown()),
            c => c,
        };
        text.push(c);
    }
    Ok(text)
}

/// Returns whether this is true for one of the values at a path.
fn any(value: &Value, path: &str, holds: &dyn Fn(&Value) -> bool) -> bool {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let below = |value: &Value| if rest.is_empty() { holds(value) } else { any(value, rest, holds) };
    match (name, value) {
        ("*", Value::Array(elements)) => elements.iter().any(below),
        (name, value) => value.get(name).is_some_and(below),
    }
}

/// A part of a projection that was understood.
#[derive(Debug)]
pub(super) enum Projection {
    /// A field; with all that is below it, if so asked.
    Field { path: String, recursive: bool },
    /// The elements of a list for which a query is true, and parts of them.
    Match { path: String, query: Query, project: Vec<Projection> },
}

impl Projection {
    pub(super) fn parse_all(value: &Value, scope: Scope<'_>) -> Parsed<Vec<Self>> {
        let unknown = || Refusal::new("query-api:InvalidProjection", value.to_string());
        let parts = value.as_array().filter(|parts| !parts.is_empty()).ok_or_else(unknown)?;
        parts.iter().map(|part| Self::parse(part, scope)).collect()
    }

    fn parse(value: &Value, scope: Scope<'_>) -> Parsed<Self> {
        let unknown = || Refusal::new("query-api:InvalidProjection", value.to_string());
        let object = value.as_object().filter(|object| object.get("include") == Some(&Value::Bool(true)));
        let object = object.ok_or_else(unknown)?;
        let path = scope.path(object.get("field"))?;
        let keys: BTreeSet<_> = object.keys().map(String::as_str).collect();
        let keys: Vec<_> = keys.into_iter().collect();
        match keys.as_slice() {
            ["field", "include"] => Ok(Self::Field { path, recursive: false }),
            ["field", "include", "recursive"] => {
                Ok(Self::Field { path, recursive: object["recursive"].as_bool().ok_or_else(unknown)? })
            }
            ["field", "include", "match", "project"] => {
                let within = format!("{}.*", join(scope.within, &path));
                let inner = Scope { within: &within, ..scope };
                let query = Query::parse(&object["match"], inner)?;
                Ok(Self::Match { path, query, project: Self::parse_all(&object["project"], inner)? })
            }
            _ => Err(unknown()),
        }
    }

    fn path(&self) -> &str {
        match self {
            Self::Field { path, .. } | Self::Match { path, .. } => path,
        }
    }
}

/// Returns the parts of a value that are asked for; `None` if none is.
pub(super) fn project(value: &Value, at: &str, parts: &[Projection]) -> Option<Value> {
    let mut reached = at.is_empty();
    for part in parts {
        let path = part.path();
        match part {
            Projection::Field { recursive: true, .. } if at == path || at.starts_with(&format!("{path}.")) => {
                return Some(value.clone());
            }
            Projection::Field { .. } if at == path && !value.is_array() && !value.is_object() => {
                return Some(value.clone());
            }
            Projection::Match { query, project: inner, .. } if at == path => {
                let elements = value.as_array()?.iter().filter(|element| query.holds(element));
                return Some(elements.filter_map(|element| project(element, "", inner)).collect());
            }
            Projection::Field { .. } | Projection::Match { .. } => {
                reached |= at == path || path.starts_with(&format!("{at}."));
            }
        }
    }
    match value {
        _ if !reached => None,
        Value::Array(elements) => {
            let below = join(at, "*");
            Some(elements.iter().filter_map(|element| project(element, &below, parts)).collect())
        }
        Value::Object(fields) => {
            let mut shown = Map::new();
            for (name, field) in fields {
                let Some(field) = project(field, &join(at, name), parts) else { continue };
                if let Some(elements) = field.as_array() {
                    // The service tells the length of every list.
                    shown.insert(format!("{name}#"), elements.len().into());
                }
                shown.insert(name.clone(), field);
            }
            Some(Value::Object(shown))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SCOPE: Scope<'static> = Scope { fields: &IMAGE_FIELDS, within: "" };

    fn document() -> Value {
        json!({
            "_id": "1",
            "brew": { "build": "a-b-1.2-3", "package": "a-b" },
            "content_sets": ["x", "y"],
            "repositories": [
                { "repository": "r", "published": true, "tags": [{ "name": "latest" }, { "name": "1" }] },
                { "repository": "s", "published": false, "tags": [] },
            ],
            "rpm_manifest": [{ "rpms": [{ "name": "p", "nvra": "p-1-1.x" }, { "name": "q", "nvra": "q-1-1.x" }] }],
        })
    }

    #[test]
    fn queries_are_evaluated() {
        for (query, holds) in [
            (json!({ "field": "_id", "op": "=", "rvalue": "1" }), true),
            (json!({ "field": "_id", "op": "$eq", "rvalue": 1 }), false),
            (json!({ "field": "content_sets.*", "op": "$in", "values": ["y", "z"] }), true),
            (json!({ "field": "content_sets.*", "op": "$in", "values": ["z"] }), false),
            (json!({ "field": "repositories.*.tags.*.name", "op": "$in", "values": ["1"] }), true),
            (json!({ "field": "repositories.*.published", "op": "$eq", "rvalue": false }), true),
            (json!({ "field": "rpm_manifest.*.rpms.*.name", "op": "$in", "values": ["q"] }), true),
            (json!({ "field": "parent_brew_build", "op": "$eq", "rvalue": "x" }), false),
            (json!({ "field": "brew.build", "regex": r"^a\-b\-1\.2\-" }), true),
            (json!({ "field": "brew.build", "regex": r"^b\-1" }), false),
            (
                json!({ "$or": [
                    { "field": "_id", "op": "$eq", "rvalue": "2" },
                    { "field": "_id", "op": "$eq", "rvalue": "1" },
                ] }),
                true,
            ),
            (
                json!({ "$and": [
                    { "field": "_id", "op": "$eq", "rvalue": "2" },
                    { "field": "_id", "op": "$eq", "rvalue": "1" },
                ] }),
                false,
            ),
        ] {
            assert_eq!(Query::parse(&query, SCOPE).unwrap().holds(&document()), holds, "{query}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (query, code, text) in [
            (json!(7), "query-api:InvalidQuery", "7"),
            (json!({ "$not": {} }), "query-api:InvalidQuery", "$not"),
            (json!({ "$and": [] }), "mongo-crud:EmptyValueList", "$and"),
            (json!({ "field": "_id", "op": "$in", "values": [] }), "mongo-crud:EmptyValueList", "values"),
            (json!({ "field": "_id", "op": "$gt", "rvalue": 1 }), "query-api:InvalidQuery", "$gt"),
            (json!({ "field": "rpms", "op": "=", "rvalue": 1 }), "metadata:InvalidFieldReference", "rpms"),
            (json!({ "field": "brew.build", "regex": "a" }), "query-api:InvalidRegex", "a"),
            (json!({ "field": "brew.build", "regex": "^a.b" }), "query-api:InvalidRegex", "^a.b"),
            (json!({ "field": "brew.build", "regex": r"^a\d" }), "query-api:InvalidRegex", r"\d"),
        ] {
            let refusal = Query::parse(&query, SCOPE).unwrap_err();
            assert_eq!(refusal.code, code, "{query}");
            assert!(refusal.text.contains(text), "{refusal:?}");
        }
        for projection in [
            json!([]),
            json!({ "field": "_id", "include": true }),
            json!([{ "field": "_id" }]),
            json!([{ "field": "_id", "include": false }]),
            json!([{ "field": "content_sets", "include": true, "range": [0, 1] }]),
        ] {
            let refusal = Projection::parse_all(&projection, SCOPE).unwrap_err();
            assert_eq!(refusal.code, "query-api:InvalidProjection", "{projection}");
        }
        let wrong = json!([{
            "field": "rpm_manifest.*.rpms",
            "include": true,
            "match": { "field": "brew.build", "op": "=", "rvalue": "x" },
            "project": [{ "field": "name", "include": true }],
        }]);
        let refusal = Projection::parse_all(&wrong, SCOPE).unwrap_err();
        assert_eq!(refusal.text, "brew.build in rpm_manifest.*.rpms.*.brew.build");
    }

    #[test]
    fn projections_choose_parts() {
        let matching = |name: &str| {
            json!({
                "field": "rpm_manifest.*.rpms",
                "include": true,
                "match": { "field": "name", "op": "=", "rvalue": name },
                "project": [{ "field": "nvra", "include": true }],
            })
        };
        for (part, shown) in [
            (json!({ "field": "_id", "include": true }), json!({ "_id": "1" })),
            (json!({ "field": "brew.build", "include": true }), json!({ "brew": { "build": "a-b-1.2-3" } })),
            (json!({ "field": "brew", "include": true }), json!({ "brew": {} })),
            (json!({ "field": "content_sets", "include": true }), json!({ "content_sets": [], "content_sets#": 0 })),
            (
                json!({ "field": "content_sets", "include": true, "recursive": true }),
                json!({ "content_sets": ["x", "y"], "content_sets#": 2 }),
            ),
            (
                json!({ "field": "repositories.*.repository", "include": true }),
                json!({ "repositories": [{ "repository": "r" }, { "repository": "s" }], "repositories#": 2 }),
            ),
            (
                matching("q"),
                json!({ "rpm_manifest": [{ "rpms": [{ "nvra": "q-1-1.x" }], "rpms#": 1 }], "rpm_manifest#": 1 }),
            ),
            (matching("z"), json!({ "rpm_manifest": [{ "rpms": [], "rpms#": 0 }], "rpm_manifest#": 1 })),
            (json!({ "field": "parent_brew_build", "include": true }), json!({})),
        ] {
            let parts = Projection::parse_all(&json!([part]), SCOPE).unwrap();
            assert_eq!(project(&document(), "", &parts), Some(shown), "{part}");
        }
    }
}

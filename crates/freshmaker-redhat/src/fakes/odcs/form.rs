//! Reads and checks requests as the service does: in the same order, and with the same texts.

use super::row::RAW_CONFIG;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Lifetime of a compose in seconds: the default, and the largest.
const LIFE: i64 = 24 * 3600;
const LIFE_MAX: i64 = 72 * 3600;

const SOURCE_TYPES: [(&str, i64); 7] =
    [("tag", 1), ("module", 2), ("repo", 3), ("pulp", 4), ("raw_config", 5), ("build", 6), ("pungi_compose", 7)];

const FLAGS: [&str; 9] = [
    "no_deps",
    "no_inheritance",
    "include_unpublished_pulp_repos",
    "check_deps",
    "include_done_modules",
    "ignore_absent_pulp_repos",
    "no_reuse",
    "use_only_compatible_arch",
    "no_label",
];

const RESULTS: [&str; 4] = ["repository", "iso", "ostree", "boot.iso"];
const METHODS: [(&str, i64); 4] = [("none", 0), ("runtime", 1), ("devel", 2), ("all", 4)];

/// The configuration of the server.
pub(super) const SIGKEYS: [&str; 2] = ["", "DEADBEEF"];
const ARCHES: &str = "x86_64";
pub(super) const RAW_CONFIG_NAME: &str = "pungi_cfg";

const LISTS: [&str; 7] =
    ["builds", "multilib_method", "packages", "scratch_build_tasks", "scratch_modules", "sigkeys", "modules"];
const TEXTS: [&str; 6] =
    ["base_module_br_name", "base_module_br_stream", "compose_type", "label", "target_dir", "type"];
const NUMBERS: [&str; 4] =
    ["seconds_to_live", "koji_event", "base_module_br_stream_version_lte", "base_module_br_stream_version_gte"];
const SPECIAL: &str = " -/_.:#+?$~^,";

/// A new compose: the number of its source type, its properties, and its lifetime in seconds.
pub(super) struct Order {
    pub(super) source_type: i64,
    pub(super) made_of: Map<String, Value>,
    pub(super) life: i64,
}

/// Reads the body of a request. An error is the message of a 400.
pub(super) fn body(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => {
            for (key, value) in &map {
                valid(key, value, 0, "")?;
            }
            Ok(map)
        }
        Ok(_) | Err(_) => {
            Err("<p>The browser (or proxy) sent a request that this server could not understand.</p>".to_owned())
        }
    }
}

fn valid(key: &str, value: &Value, level: usize, list: &str) -> Result<(), String> {
    if LISTS.contains(&key) && !value.is_array() {
        return Err(format!("{key} should be a list"));
    }
    if TEXTS.contains(&key) && !value.is_string() {
        return Err(format!("{key} should be a string"));
    }
    if NUMBERS.contains(&key) && !value.is_i64() {
        return Err(format!("{key} should be an integer"));
    }
    match value {
        Value::Object(_) if level != 0 || key != "source" => {
            Err("Only 'source' key is allowed to contain dict.".to_owned())
        }
        Value::Object(map) => map.iter().try_for_each(|(inner, value)| valid(inner, value, level + 1, "")),
        Value::Array(values) => values.iter().try_for_each(|value| valid("", value, level + 1, key)),
        Value::String(text) => {
            let allowed = |c: char| c.is_alphanumeric() || SPECIAL.contains(c);
            if list == "packages" || text.chars().all(allowed) {
                return Ok(());
            }
            Err(format!(
                "Only alphanumerical characters and '{SPECIAL}' characters are allowed in ODCS input variables"
            ))
        }
        Value::Number(_) | Value::Bool(_) => Ok(()),
        Value::Null => Err(format!(
            "Only dict, list, str, unicode, int, float and bool types are allowed in ODCS input variables, but '{key}' has '<class 'NoneType'>' type"
        )),
    }
}

/// Returns the requested lifetime in seconds.
pub(super) fn life(body: &Map<String, Value>) -> Result<i64, String> {
    let asked = body.get("seconds_to_live").or_else(|| body.get("seconds-to-live"));
    let seconds = match asked {
        None => return Ok(LIFE),
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_i64(),
    };
    let text = || format!("Invalid seconds_to_live specified in request: {}", python(&Value::Object(body.clone())));
    let seconds = seconds.ok_or_else(text)?;
    Ok(if seconds == 0 { LIFE } else { seconds.min(LIFE_MAX) })
}

/// Reads the body of a request for a new compose. An error is the message of a 400.
pub(super) fn order(body: &Map<String, Value>) -> Result<Order, String> {
    if body.is_empty() {
        return Err("No JSON POST data submitted".to_owned());
    }
    let Some(Value::Object(source)) = body.get("source") else {
        return Err(format!("Invalid source configuration provided: {}", python(&Value::Object(body.clone()))));
    };
    let Some(kind) = source.get("type").and_then(Value::as_str) else {
        let received = python(&Value::Object(source.clone()));
        return Err(format!("Missing type in source configuration, received: {received}"));
    };
    let Some((_, source_type)) = SOURCE_TYPES.into_iter().find(|(name, _)| *name == kind) else {
        return Err(format!("Unknown source type \"{kind}\""));
    };
    let names = sources(source_type, kind, source)?;
    let life = life(body)?;
    let mut made_of = Map::new();
    made_of.insert("source".to_owned(), json!(names));
    for key in ["packages", "builds", "modules", "scratch_modules", "scratch_build_tasks", "modular_koji_tags"] {
        made_of.insert(key.to_owned(), json!(joined(source.get(key))));
    }
    made_of.insert("sigkeys".to_owned(), json!(joined(source.get("sigkeys")).unwrap_or_else(|| SIGKEYS.join(" "))));
    made_of.insert("koji_event".to_owned(), source.get("koji_event").cloned().unwrap_or_default());
    made_of.insert("flags".to_owned(), named("flag", body.get("flags"), &FLAGS, &[])?);
    made_of.insert("results".to_owned(), named("result", body.get("results"), &RESULTS, &["repository"])?);
    made_of.insert("arches".to_owned(), json!(joined(body.get("arches")).unwrap_or_else(|| ARCHES.to_owned())));
    for key in ["multilib_arches", "lookaside_repos"] {
        made_of.insert(key.to_owned(), json!(joined(body.get(key)).unwrap_or_default()));
    }
    made_of.insert("parent_pungi_compose_ids".to_owned(), json!(joined(body.get("parent_pungi_compose_ids"))));
    made_of.insert("multilib_method".to_owned(), json!(multilib(body.get("multilib_method"))?));
    made_of.insert("module_defaults_url".to_owned(), defaults(source)?);
    for key in ["name", "stream", "stream_version_lte", "stream_version_gte"].map(|end| format!("base_module_br_{end}"))
    {
        let value = source.get(&key).cloned().unwrap_or_default();
        made_of.insert(key, value);
    }
    for key in ["label", "respin_of"] {
        made_of.insert(key.to_owned(), body.get(key).cloned().unwrap_or_default());
    }
    made_of.insert("compose_type".to_owned(), body.get("compose_type").cloned().unwrap_or_else(|| json!("test")));
    match body.get("target_dir").and_then(Value::as_str) {
        None | Some("" | "default") => made_of.insert("target_dir".to_owned(), json!("default")),
        Some(other) => return Err(format!("Unknown \"target_dir\" \"{other}\"")),
    };
    Ok(Order { source_type, made_of, life })
}

fn sources(source_type: i64, kind: &str, source: &Map<String, Value>) -> Result<String, String> {
    let text = source.get("source").and_then(Value::as_str).unwrap_or_default();
    // The service removes duplicates, and does not keep the order.
    let names: BTreeSet<_> = text.split(' ').filter(|name| !name.is_empty()).collect();
    let scratch = kind == "module" && source.contains_key("scratch_modules");
    if names.is_empty() && kind != "build" && !scratch {
        return Err(format!("No source provided for {source_type}"));
    }
    if source_type == RAW_CONFIG {
        let name = text.split_once('#').filter(|(name, commit)| !name.is_empty() && !commit.is_empty());
        match name {
            _ if names.len() > 1 => {
                return Err("Only single source is allowed for \"raw_config\" source_type".to_owned());
            }
            None => {
                return Err(
                    "Source must be in \"source_name#commit_hash\" format for \"raw_config\" source_type.".to_owned()
                );
            }
            Some((RAW_CONFIG_NAME, _)) => {}
            Some((name, _)) => return Err(format!("Source \"{name}\" does not exist in server configuration.")),
        }
    }
    if kind == "module"
        && let Some(module) = names.iter().find(|module| !module.contains(':'))
    {
        let text = "Module definition must be in \"n:s\", \"n:s:v\" or \"n:s:v:c\" format, but got";
        return Err(format!("{text} {module}"));
    }
    Ok(names.into_iter().collect::<Vec<_>>().join(" "))
}

fn joined(value: Option<&Value>) -> Option<String> {
    let words = value?.as_array()?.iter().map(|word| word.as_str().unwrap_or_default());
    Some(words.collect::<Vec<_>>().join(" "))
}

/// Returns the names in the order of the table; an unknown name is an error.
fn named(what: &str, value: Option<&Value>, table: &[&str], always: &[&str]) -> Result<Value, String> {
    let asked = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let asked: Vec<_> = asked.iter().map(|name| name.as_str().unwrap_or_default()).collect();
    if let Some(unknown) = asked.iter().find(|name| !table.contains(name)) {
        return Err(format!("('Unknown {what} %s', '{unknown}')"));
    }
    Ok(json!(table.iter().filter(|name| asked.contains(name) || always.contains(name)).collect::<Vec<_>>()))
}

fn multilib(value: Option<&Value>) -> Result<i64, String> {
    let mut bits = 0;
    for name in value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() {
        let known = METHODS.iter().find(|(known, _)| name == known);
        let (_, bit) =
            known.ok_or_else(|| format!("Unknown multilib method \"{}\"", name.as_str().unwrap_or_default()))?;
        bits |= bit;
    }
    Ok(bits)
}

fn defaults(source: &Map<String, Value>) -> Result<Value, String> {
    let part = |key| source.get(key).and_then(Value::as_str).unwrap_or_default();
    match (part("module_defaults_url"), part("module_defaults_commit")) {
        ("", "") => Ok(Value::Null),
        ("", _) | (_, "") => {
            Err("The \"module_defaults_url\" and \"module_defaults_commit\" must be used together.".to_owned())
        }
        (url, commit) => Ok(json!(format!("{url} {commit}"))),
    }
}

/// Formats a value as Python does; the service shows requests that way in its messages.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("'{text}'"),
        Value::Array(values) => format!("[{}]", values.iter().map(python).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let parts = map.iter().map(|(key, value)| format!("'{key}': {}", python(value)));
            format!("{{{}}}", parts.collect::<Vec<_>>().join(", "))
        }
    }
}

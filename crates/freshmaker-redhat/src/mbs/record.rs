//! Reads module builds out of answers.

use crate::messages::mbs::ModuleState;
use crate::rest::field::{Read, Wrong, at, flag, items, maybe_at, number, text, text_if_any};
use freshmaker::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::{Yaml, YamlLoader};

/// Largest size of module metadata that is read, in bytes.
const METADATA_BYTES_MAX: usize = 4 << 20;
/// Largest depth of module metadata.
const METADATA_DEPTH_MAX: usize = 64;

/// A module build, as far as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModuleBuild {
    /// Its number.
    pub id: u64,
    /// The module.
    pub name: String,
    /// Its stream.
    pub stream: String,
    /// Its version: a number that grows with the date of the commit; empty if there is none yet.
    pub version: String,
    /// Its context: what it is built with; empty if there is none yet.
    pub context: String,
    /// Its state.
    pub state: ModuleState,
    /// Why it is in this state, if the service says so.
    pub reason: Option<String>,
    /// Where its metadata are: a repository, `?#`, and a commit.
    pub scmurl: Option<String>,
    /// Who submitted it.
    pub owner: String,
    /// When its state changed last, if the service says so.
    pub modified: Option<Timestamp>,
    /// Whether it is a scratch build.
    pub scratch: bool,
}

impl ModuleBuild {
    /// Returns name, stream, version and context, joined by colons.
    #[must_use]
    pub fn nsvc(&self) -> String {
        format!("{}:{}:{}:{}", self.name, self.stream, self.version, self.context)
    }

    /// Returns whether the build has ended. [`Done`](ModuleState::Done) is not an end: the module
    /// still waits for the gates that it has to pass.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.state, ModuleState::Failed | ModuleState::Ready | ModuleState::Garbage)
    }

    /// Returns the repository and the commit; `None` if one of them is missing.
    pub(super) fn source(&self) -> Option<(String, String)> {
        let (location, commit) = self.scmurl.as_deref()?.split_once('#')?;
        let location = location.split('?').next().unwrap_or(location).trim_end_matches(".git");
        (!location.is_empty() && !commit.is_empty()).then(|| (location.to_owned(), commit.to_owned()))
    }
}

fn text_or_none(value: &Value, name: &str) -> Read<Option<String>> {
    Ok(maybe_at(value, name, text_if_any)?.filter(|text| !text.is_empty()).map(str::to_owned))
}

pub(super) fn build(value: &Value) -> Read<ModuleBuild> {
    let state = |state: &Value| {
        let number = i64::try_from(number(state)?).ok();
        number.and_then(ModuleState::from_number).ok_or_else(|| Wrong::new("this is no state of a module"))
    };
    let time = |time: &Value| text(time)?.parse::<Timestamp>().map_err(Wrong::new);
    Ok(ModuleBuild {
        id: at(value, "id", number)?,
        name: at(value, "name", text)?.to_owned(),
        stream: at(value, "stream", text)?.to_owned(),
        version: text_or_none(value, "version")?.unwrap_or_default(),
        context: text_or_none(value, "context")?.unwrap_or_default(),
        state: at(value, "state", state)?,
        reason: text_or_none(value, "state_reason")?,
        scmurl: text_or_none(value, "scmurl")?,
        owner: text_or_none(value, "owner")?.unwrap_or_default(),
        modified: maybe_at(value, "time_modified", time)?,
        scratch: maybe_at(value, "scratch", flag)?.unwrap_or_default(),
    })
}

/// Reads the packages that a module is built from, out of its metadata: their names, each with the
/// branch or commit that is taken, if the metadata name one.
pub(super) fn components(value: &Value) -> Read<BTreeMap<String, Option<String>>> {
    at(value, "modulemd", |metadata| {
        let metadata = text(metadata)?;
        if metadata.len() > METADATA_BYTES_MAX {
            let text = format!("{} bytes, and at most {METADATA_BYTES_MAX} are read", metadata.len());
            return Err(Wrong::new(text));
        }
        check_form(metadata)?;
        let documents = YamlLoader::load_from_str(metadata).map_err(Wrong::new)?;
        let rpms = documents.first().map(|document| &document["data"]["components"]["rpms"]);
        let mut found = BTreeMap::new();
        match rpms {
            Some(Yaml::Hash(rpms)) => {
                for (name, component) in rpms {
                    let name = name.as_str().ok_or_else(|| Wrong::new("a component has no name"))?;
                    found.insert(name.to_owned(), scalar(&component["ref"]));
                }
            }
            // A module can be made of other modules alone.
            Some(Yaml::BadValue | Yaml::Null) | None => {}
            Some(_) => return Err(Wrong::new("data.components.rpms is not a map")),
        }
        Ok(found)
    })
}

/// Refuses what would take much more memory or stack than its text: references, and deep nesting.
fn check_form(metadata: &str) -> Read<()> {
    let mut parser = Parser::new_from_str(metadata);
    let mut depth = 0_usize;
    loop {
        match parser.next_token().map_err(Wrong::new)?.0 {
            Event::StreamEnd => return Ok(()),
            Event::Alias(_) => return Err(Wrong::new("references are not read")),
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > METADATA_DEPTH_MAX {
            return Err(Wrong::new(format_args!("more than {METADATA_DEPTH_MAX} levels")));
        }
    }
}

/// Returns a text, which YAML takes for a number if it looks like one.
fn scalar(value: &Yaml) -> Option<String> {
    match value {
        Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
        Yaml::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

/// What is read of a page of a list: its items, and whether there is another page.
pub(super) fn page<T>(value: &Value, mut read: impl FnMut(&Value) -> Read<T>) -> Read<(Vec<T>, bool)> {
    let mut found = Vec::new();
    at(value, "items", |list| {
        items(list, |item| {
            found.push(read(item)?);
            Ok(())
        })
    })?;
    let next = at(value, "meta", |meta| maybe_at(meta, "next", text))?;
    Ok((found, next.is_some()))
}

/// Reads the number of the module build that a component build belongs to.
pub(super) fn module_of(component: &Value) -> Read<u64> {
    at(component, "module_build", number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_build_is_read() {
        let mut value = json!({
            "id": 1042,
            "name": "cloud-init",
            "stream": "master",
            "version": "20171005113458",
            "context": "00000000",
            "state": 5,
            "state_reason": null,
            "scmurl": "https://src.example.com/modules/cloud-init.git?#d5fc9ab5",
            "owner": "karsten",
            "time_modified": "2017-10-05T11:58:58Z",
        });
        let read = build(&value).unwrap();
        assert_eq!(read.nsvc(), "cloud-init:master:20171005113458:00000000");
        assert_eq!(read.source(), Some(("https://src.example.com/modules/cloud-init".into(), "d5fc9ab5".into())));
        assert!(read.has_ended() && !read.scratch);
        for (field, wrong, text) in [
            ("state", json!(9), "`state`: this is no state of a module"),
            ("state", json!("ready"), "`state`: expected a whole number, not negative, found text"),
            ("id", json!(null), "`id`: expected a whole number, not negative, found null"),
            ("name", json!(""), "`name`: expected text, found an empty text"),
            ("scratch", json!(1), "`scratch`: expected true or false, found a number"),
        ] {
            let before = std::mem::replace(&mut value[field], wrong);
            assert_eq!(build(&value).unwrap_err().to_string(), text);
            value[field] = before;
        }
        value["time_modified"] = json!("yesterday");
        assert!(build(&value).unwrap_err().to_string().starts_with("`time_modified`: "));
    }

    #[test]
    fn components_have_the_branches_that_they_are_built_from() {
        let metadata = "document: modulemd\nversion: 2\ndata:\n  components:\n    rpms:\n      bash:\n        \
                        rationale: it\n        ref: f29\n      zsh:\n        ref: 1.10\n      dash: {}\n";
        let found = components(&json!({ "modulemd": metadata })).unwrap();
        let expected = [("bash", Some("f29")), ("dash", None), ("zsh", Some("1.10"))];
        assert_eq!(found, expected.map(|(name, branch)| (name.to_owned(), branch.map(str::to_owned))).into());
        assert!(components(&json!({ "modulemd": "data: {}" })).unwrap().is_empty());
        for (metadata, text) in [
            (json!("a: [b"), "`modulemd`: "),
            (json!("data: {components: {rpms: [a]}}"), "`modulemd`: data.components.rpms is not a map"),
            (json!("data: {components: {rpms: {[a]: {}}}}"), "`modulemd`: a component has no name"),
            (json!("a: &a [b]\nc: *a"), "`modulemd`: references are not read"),
            (json!("[".repeat(100)), "`modulemd`: more than 64 levels"),
            (json!(null), "`modulemd`: expected text, found null"),
        ] {
            let wrong = components(&json!({ "modulemd": metadata })).unwrap_err().to_string();
            assert!(wrong.starts_with(text), "{wrong}");
        }
    }
}

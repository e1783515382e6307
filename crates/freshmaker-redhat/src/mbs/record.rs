//! Reads module builds out of answers.

use crate::messages::mbs::ModuleState;
use crate::rest::field::{Read, Wrong, at, collect, flag, maybe_at, number, text, text_if_any};
use freshmaker::time::Timestamp;
use granit_parser::{Event, Parser, ScalarStyle, StrInput};
use serde_json::Value;
use std::collections::BTreeMap;

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
        let document = Metadata { parser: Parser::new_from_str(metadata) }.document()?;
        let mut found = BTreeMap::new();
        match document.get("data").and_then(|data| data.get("components")).and_then(|all| all.get("rpms")) {
            Some(Yaml::Mapping(rpms)) => {
                for (name, component) in rpms {
                    let name = name.as_ref().ok_or_else(|| Wrong::new("a component has no name"))?;
                    let branch = match component.get("ref") {
                        Some(Yaml::Text(branch)) => Some(branch.clone()),
                        _ => None,
                    };
                    if found.insert(name.clone(), branch).is_some() {
                        return Err(Wrong::new(format_args!("the component {name} is given twice")));
                    }
                }
            }
            // A module can be made of other modules alone.
            Some(Yaml::Nothing) | None => {}
            Some(_) => return Err(Wrong::new("data.components.rpms is not a map")),
        }
        Ok(found)
    })
}

/// As much of module metadata as is looked up. Numbers are texts here: `1.10` is a branch.
enum Yaml {
    Text(String),
    Mapping(Vec<(Option<String>, Yaml)>),
    Sequence,
    Nothing,
}

impl Yaml {
    fn get(&self, key: &str) -> Option<&Self> {
        let Self::Mapping(entries) = self else { return None };
        entries.iter().find(|(name, _)| name.as_deref() == Some(key)).map(|(_, value)| value)
    }
}

/// Reads module metadata, and refuses what would take much more memory or stack than its text:
/// references, and deep nesting.
struct Metadata<'a> {
    parser: Parser<'a, StrInput<'a>>,
}

impl<'a> Metadata<'a> {
    /// Reads the first document. Mistakes of later ones are found too.
    fn document(&mut self) -> Read<Yaml> {
        let mut first = None;
        loop {
            match self.next()? {
                Event::StreamEnd => return Ok(first.unwrap_or(Yaml::Nothing)),
                event if event.is_node() => {
                    let value = self.value(event, 1)?;
                    first.get_or_insert(value);
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Read<Event<'a>> {
        let next = self.parser.next_event().transpose().map_err(Wrong::new)?;
        Ok(next.map_or(Event::StreamEnd, |(event, _)| event))
    }

    fn value(&mut self, event: Event<'a>, depth: usize) -> Read<Yaml> {
        if depth > METADATA_DEPTH_MAX {
            return Err(Wrong::new(format_args!("more than {METADATA_DEPTH_MAX} levels")));
        }
        match event {
            Event::Alias(_) => Err(Wrong::new("references are not read")),
            Event::Scalar(text, ScalarStyle::Plain, ..) if ["", "~", "null"].contains(&&*text) => Ok(Yaml::Nothing),
            Event::Scalar(text, ..) => Ok(Yaml::Text(text.into_owned())),
            Event::SequenceStart(..) => loop {
                match self.next()? {
                    Event::SequenceEnd => return Ok(Yaml::Sequence),
                    event => drop(self.value(event, depth + 1)?),
                }
            },
            Event::MappingStart(..) => {
                let mut entries = Vec::new();
                loop {
                    let key = match self.next()? {
                        Event::MappingEnd => return Ok(Yaml::Mapping(entries)),
                        event => self.value(event, depth + 1)?,
                    };
                    let key = if let Yaml::Text(text) = key { Some(text) } else { None };
                    let event = self.next()?;
                    entries.push((key, self.value(event, depth + 1)?));
                }
            }
            _ => Ok(Yaml::Nothing),
        }
    }
}

/// What is read of a page of a list: its items, and whether there is another page.
pub(super) fn page<T>(value: &Value, read: impl FnMut(&Value) -> Read<T>) -> Read<(Vec<T>, bool)> {
    let found = at(value, "items", |list| collect(list, read))?;
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
            (json!(format!("{}{}", "[".repeat(100), "]".repeat(100))), "`modulemd`: more than 64 levels"),
            (json!("data: {components: {rpms: {a: {}, a: {}}}}"), "`modulemd`: the component a is given twice"),
            (json!(null), "`modulemd`: expected text, found null"),
        ] {
            let wrong = components(&json!({ "modulemd": metadata })).unwrap_err().to_string();
            assert!(wrong.starts_with(text), "{wrong}");
        }
    }
}

//! Converts the allow and block lists of the Python service Freshmaker to a
//! [policy](freshmaker::policy).
//!
//! The lists are `HANDLER_BUILD_ALLOWLIST` and `HANDLER_BUILD_BLOCKLIST` of its configuration, as
//! JSON: for each handler, or `global`, and each type of artifact a rule. A rule is an object of
//! conditions, all of which must hold, or `["any", [rule, …]]` or `["all", [rule, …]]`.
//!
//! Both services read such rules differently. Where that matters, the conversion keeps the meaning
//! or, if it cannot, makes a rule that rebuilds less, and a [`Note`] says what it did:
//!
//! | there | here | what becomes of it |
//! |---|---|---|
//! | an expression matches the beginning of a value | it matches the whole value | `RHSA` becomes `RHSA.*` |
//! | a condition whose fact is not known holds, if another one of the rule is known | it does not hold | the rule is kept, and the note says which events it means |
//! | without an allow rule nothing is allowed | everything is | a rule that blocks everything is added |
//! | rules of a handler replace the global ones of the same type | they are added to them | the rules of each handler are written out |
//! | values are compared as Python writes them: `True` | `true` | the expression becomes lower case |
//! | some facts have other names, or are not known here | | they are renamed; else the rule is not converted, or loses the condition |
//!
//! ```
//! use freshmaker::Policy;
//! use freshmaker_redhat::conversion::convert;
//! use freshmaker_redhat::handlers::FACTS;
//! use serde_json::json;
//!
//! let lists = json!({
//!     "HANDLER_BUILD_ALLOWLIST": {
//!         "global": { "image": { "advisory_name": "RHSA", "advisory_state": "SHIPPED_LIVE$" } },
//!     },
//! });
//! let converted = convert(&lists, &["RebuildImagesOfAdvisory"])?;
//! let allow = &converted.policy["kind"]["image"]["allow"][0];
//! assert_eq!(allow["advisory_name"], "RHSA.*");
//! assert_eq!(allow["advisory_state"], "SHIPPED_LIVE");
//! assert_eq!(
//!     converted.notes[0].to_string(),
//!     "HANDLER_BUILD_ALLOWLIST.global.image.advisory_name: `RHSA` matches the beginning there, \
//!      and is `RHSA.*` here"
//! );
//! let policy: Policy = serde_json::from_value(converted.policy)?;
//! policy.check_facts(FACTS)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod pattern;
mod rules;

use freshmaker::policy::Policy;
use rules::{List, Rules};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The types of artifacts that rules are about, as both services call them.
const KINDS: [&str; 4] = ["image", "image_repository", "module", "rpm"];

/// The section for all handlers.
const GLOBAL: &str = "global";

/// Handlers of the Python service, and those of this crate that do the same. The last ones do what
/// is not rebuilt here yet.
const HANDLERS: [(&str, &[&str]); 8] = [
    (
        "RebuildImagesOnRPMAdvisoryChange",
        &["RebuildImagesOfAdvisory", "RebuildImagesOfSignedAdvisory", "RebuildImagesOnRequest"],
    ),
    ("RebuildImagesOnAsyncManualBuild", &["RebuildNamedImages"]),
    ("GenerateAdvisorySignedEventOnRPMSign", &["AnnounceSignedAdvisories"]),
    ("UpdateDBOnAdvisoryChange", &["AnnounceAdvisories"]),
    ("RebuildImagesOnGitDockerfileChange", &["RebuildImageOfDockerfile"]),
    ("RebuildImagesOnRPMBodhiUpdate", &["RebuildImagesOfUpdate"]),
    ("HandleBotasAdvisory", &[]),
    ("RebuildFlatpakApplicationOnModuleReady", &[]),
];

/// What became of the lists.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Conversion {
    /// The table `policy` of a configuration. A [`Policy`] can be read from it.
    pub policy: Value,
    /// Where the meaning differs, and what was made of it, in the order of the lists.
    pub notes: Vec<Note>,
}

/// One difference in meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// The path of the rule or condition in the lists.
    pub place: String,
    /// What is different.
    pub difference: Difference,
    /// A sentence about it, with what was made of it.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// How a rule or condition differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Difference {
    /// An expression matches the beginning of a value there, and the whole value here.
    Beginning,
    /// A condition whose fact is not known holds there, and does not hold here.
    MissingFact,
    /// The fact has another name, or other values.
    Renamed,
    /// The fact is not known here: the condition was left out, or the rule was.
    UnknownFact,
    /// The rule never matches there, and was left out.
    NeverMatches,
    /// Nothing is allowed there; a rule that blocks everything was added.
    NothingAllowed,
    /// Rules of a handler replace others there; those of each handler are written out.
    Handlers,
}

/// Says which part of the lists cannot be converted, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {text}")]
pub struct ConversionError {
    /// The path in the lists.
    pub place: String,
    /// What is wrong there.
    pub text: String,
}

impl ConversionError {
    fn new(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self { place: place.into(), text: text.into() }
    }
}

/// Converts allow and block lists. `handlers` are the names of the handlers that the engine has:
/// rules of a single handler are written only for these.
///
/// # Errors
/// The path of what is no list of this form, is a key that nothing reads, or is an expression that
/// a policy refuses, such as one with look-ahead.
pub fn convert(lists: &Value, handlers: &[&str]) -> Result<Conversion, ConversionError> {
    let mut notes = Vec::new();
    let mut given: BTreeMap<List, BTreeMap<String, Map<String, Value>>> = BTreeMap::new();
    for (name, by_handler) in object("the lists", lists)? {
        let list = List::of(name)?;
        for (handler, by_kind) in object(name, by_handler)? {
            let place = format!("{name}.{handler}");
            if handler != GLOBAL && HANDLERS.iter().all(|(known, _)| known != handler) {
                return Err(ConversionError::new(place, "there is no such handler"));
            }
            let by_kind = object(&place, by_kind)?;
            if let Some(unknown) = by_kind.keys().find(|kind| !KINDS.contains(&kind.as_str())) {
                return Err(ConversionError::new(format!("{place}.{unknown}"), "there is no such type of artifact"));
            }
            given.entry(list).or_default().insert(handler.clone(), by_kind.clone());
        }
    }
    let policy = Lists { given, handlers, notes: &mut notes }.policy()?;
    // What was made is read as an engine would read it.
    serde_json::from_value::<Policy>(policy.clone())
        .map_err(|error| ConversionError::new("the policy that was made", error.to_string()))?;
    Ok(Conversion { policy, notes })
}

/// Both lists, as far as they were read.
struct Lists<'a> {
    given: BTreeMap<List, BTreeMap<String, Map<String, Value>>>,
    handlers: &'a [&'a str],
    notes: &'a mut Vec<Note>,
}

impl Lists<'_> {
    fn policy(mut self) -> Result<Value, ConversionError> {
        let sections = self.given.values().flatten().flat_map(|(_, kinds)| kinds.keys());
        let kinds: BTreeSet<String> = sections.cloned().chain(["image".to_owned()]).collect();
        let (mut general, mut single) = (Map::new(), Map::new());
        for kind in kinds {
            let own = self.handlers_with_rules(&kind);
            if own.is_empty() {
                let section = self.section(GLOBAL, &kind, &mut BTreeSet::new())?;
                general.insert(kind, section);
                continue;
            }
            self.note_handlers(&kind, &own);
            let mut noted = BTreeSet::new();
            for handler in self.handlers {
                let theirs = HANDLERS.iter().find(|(_, ours)| ours.contains(handler)).map(|(name, _)| *name);
                let section = self.section(theirs.unwrap_or(GLOBAL), &kind, &mut noted)?;
                let entry = single.entry(*handler).or_insert_with(|| json!({ "kind": {} }));
                entry["kind"][kind.as_str()] = section;
            }
        }
        let mut policy = Map::new();
        for (name, sections) in [("kind", general), ("handler", single)] {
            if !sections.is_empty() {
                policy.insert(name.to_owned(), Value::Object(sections));
            }
        }
        Ok(Value::Object(policy))
    }

    /// Returns the handlers of the Python service that have rules of their own for a type.
    fn handlers_with_rules(&self, kind: &str) -> Vec<String> {
        let all =
            self.given.values().flatten().filter(|(handler, kinds)| *handler != GLOBAL && kinds.contains_key(kind));
        let names: BTreeSet<_> = all.map(|(handler, _)| handler.clone()).collect();
        names.into_iter().collect()
    }

    fn note_handlers(&mut self, kind: &str, own: &[String]) {
        for handler in own {
            let ours = HANDLERS.iter().find(|(name, _)| name == handler).map(|(_, ours)| *ours).unwrap_or_default();
            let here: Vec<_> = ours.iter().filter(|name| self.handlers.contains(name)).copied().collect();
            let text = match (here.as_slice(), ours) {
                ([], []) => format!("what {handler} rebuilds is not rebuilt here yet; its rules are left out"),
                ([], ours) => format!("the engine has none of {}; its rules are left out", ours.join(", ")),
                (here, _) => format!(
                    "its rules replace the global ones there; those of each handler are written out here, and these \
                     are for {}",
                    here.join(", ")
                ),
            };
            let place = format!("{handler}.{kind}");
            self.notes.push(Note { place, difference: Difference::Handlers, text });
        }
    }

    /// Returns the rules for a type of artifact that count for a handler: its own, else the global
    /// ones. What was noted before is not noted again.
    fn section(&mut self, handler: &str, kind: &str, noted: &mut BTreeSet<String>) -> Result<Value, ConversionError> {
        let (mut allow, mut block) = (Vec::new(), Vec::new());
        for list in List::BOTH {
            let rules = self.given.get(&list).and_then(|handlers| {
                let own = handlers.get(handler).and_then(|kinds| Some((handler, kinds.get(kind)?)));
                own.or_else(|| Some((GLOBAL, handlers.get(GLOBAL)?.get(kind)?)))
            });
            let place = format!("{}.{}.{kind}", list.name(), rules.map_or(GLOBAL, |(section, _)| section));
            let mut reader = Rules { list, notes: Vec::new() };
            let rule = match rules {
                Some((_, rule)) => reader.top(&place, rule)?,
                None => None,
            };
            match rule {
                Some(mut rule) => {
                    rule["name"] = json!(place);
                    if list == List::Allow { allow.push(rule) } else { block.push(rule) }
                }
                None if list == List::Allow => {
                    let text = "nothing is allowed there; a rule was added here that blocks everything";
                    reader.note(&place, Difference::NothingAllowed, text.to_owned());
                    let because = "the lists of the Python service allow nothing";
                    block.push(json!({ "artifact": ".*", "because": because }));
                }
                None => {}
            }
            if noted.insert(place) {
                self.notes.append(&mut reader.notes);
            }
        }
        let lists = [("allow", allow), ("block", block)].into_iter().filter(|(_, rules)| !rules.is_empty());
        Ok(Value::Object(lists.map(|(key, rules)| (key.to_owned(), Value::Array(rules))).collect()))
    }
}

fn object<'v>(place: &str, value: &'v Value) -> Result<&'v Map<String, Value>, ConversionError> {
    value.as_object().ok_or_else(|| ConversionError::new(place, "expected an object"))
}

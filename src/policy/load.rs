//! Loading: reads a policy from any format that serde reads.
//!
//! The input first becomes a tree of `Raw` values, without any meaning, and then sections with
//! checked rules. Two steps, because only the second one knows the path of a value in every format.
//!
//! *Invariant:* a policy that was loaded has no fault left that judging could meet. *Invariant:*
//! the depth of the input is bounded while it is read, so no format can exhaust the stack.

use super::rule::{Compiled, Compiler, PolicyError, Rule};
use super::{AskAbove, Policy, Section, kind_name};
use crate::artifact::ArtifactKind;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// Deepest nesting of tables and lists: enough for the deepest rules, and it bounds the stack in
/// every format.
const DEPTH_MAX: usize = 64;

/// A value of a configuration file before it is checked. It is a type of its own, so that errors
/// can name the path of a value in any format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    Text(String),
    Flag(bool),
    Number(i128),
    List(Vec<Raw>),
    Map(Vec<(String, Raw)>),
    /// A value that a policy cannot use, as the words for the error text.
    Other(&'static str),
}

impl Raw {
    /// Returns the form that a list of rules has in a file, so that rules made in Rust are checked
    /// in the same way.
    pub(super) fn list(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self::List(rules.into_iter().map(Rule::into_raw).collect())
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "the text {text:?}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::List(_) => f.write_str("a list"),
            Self::Map(_) => f.write_str("a table"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// Reads a [`Raw`] value with at most this many further levels.
struct Levels(usize);

impl Levels {
    /// Returns the number of levels for the values within this one.
    ///
    /// # Errors
    /// If no level is left.
    fn below<E: Error>(&self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("policy: tables and lists are nested too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Levels {
    type Value = Raw;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Levels {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a policy: tables, lists and regular expressions")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Flag(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Other("a fraction"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Raw, E> {
        Ok(Raw::Other("nothing"))
    }

    fn visit_none<E: Error>(self) -> Result<Raw, E> {
        Ok(Raw::Other("nothing"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = access.next_element_seed(self.below()?)? {
            list.push(value);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries: Vec<(String, Raw)> = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(key) = access.next_key::<String>()? {
            // A JSON parser would let the second value win, and a list of rules would be lost.
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("policy: the key {key:?} is given twice in one table")));
            }
            entries.push((key, access.next_value_seed(self.below()?)?));
        }
        Ok(Raw::Map(entries))
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Levels(DEPTH_MAX).deserialize(deserializer)?;
        let mut loader = Loader::default();
        loader.section("policy", raw, None, None).map_err(D::Error::custom)?;
        Ok(Self { sections: loader.sections.into(), ask_above: loader.ask_above.into(), handler: None })
    }
}

/// Collects the sections of one policy; the bounds of the compiler hold for all of them together.
#[derive(Default)]
struct Loader {
    compiler: Compiler,
    sections: Vec<Section>,
    ask_above: AskAbove,
}

impl Loader {
    /// Reads `allow`, `block` and `ask_above`, and the sections within. A `handler` section may
    /// contain `kind` sections, but not the reverse.
    fn section(
        &mut self,
        path: &str,
        raw: Raw,
        handler: Option<&str>,
        kind: Option<ArtifactKind>,
    ) -> Result<(), PolicyError> {
        let at = self.sections.len();
        let mut section = Section { handler: handler.map(str::to_owned), kind, allow: Vec::new(), block: Vec::new() };
        for (key, value) in table(path, raw)? {
            let path = format!("{path}.{key}");
            match key.as_str() {
                "allow" => section.allow = self.rules(&path, value)?,
                "block" => section.block = self.rules(&path, value)?,
                "ask_above" if kind.is_none() => {
                    let builds = builds(&path, &value)?;
                    match handler {
                        Some(handler) => drop(self.ask_above.handlers.insert(handler.to_owned(), builds)),
                        None => self.ask_above.general = Some(builds),
                    }
                }
                "kind" if kind.is_none() => {
                    for (name, value) in table(&path, value)? {
                        let path = format!("{path}.{name}");
                        self.section(&path, value, handler, Some(kind_named(&path, &name)?))?;
                    }
                }
                "handler" if handler.is_none() && kind.is_none() => {
                    for (name, value) in table(&path, value)? {
                        self.section(&format!("{path}.{name}"), value, Some(&name), None)?;
                    }
                }
                _ => {
                    let known = match (handler, kind) {
                        (_, Some(_)) => "allow, block",
                        (Some(_), None) => "allow, block, ask_above, kind",
                        (None, None) => "allow, block, ask_above, kind, handler",
                    };
                    return Err(PolicyError::new(&path, format!("unknown key; there are {known}")));
                }
            }
        }
        // If several rules match, the rule of the wider section is reported, so that section comes
        // first.
        self.sections.insert(at, section);
        Ok(())
    }

    /// Reads a list of rules.
    ///
    /// # Errors
    /// If the value is no list, if the list is empty, or if one of its rules has a fault.
    fn rules(&mut self, path: &str, value: Raw) -> Result<Vec<Compiled>, PolicyError> {
        match value {
            // An empty list does not mean "allow nothing", so it is refused.
            Raw::List(rules) if rules.is_empty() => Err(PolicyError::new(path, "the list of rules is empty")),
            Raw::List(rules) => self.compiler.list(path, rules),
            other => Err(PolicyError::new(path, format!("expected a list of rules, found {other}"))),
        }
    }
}

/// Reads a number of builds, from 0 to `u32::MAX`.
fn builds(path: &str, raw: &Raw) -> Result<u32, PolicyError> {
    let number = if let Raw::Number(number) = raw { u32::try_from(*number).ok() } else { None };
    let expected = || format!("expected a number of builds from 0 to {}, found {raw}", u32::MAX);
    number.ok_or_else(|| PolicyError::new(path, expected()))
}

/// Returns the entries of a table in the order of the file.
fn table(path: &str, raw: Raw) -> Result<Vec<(String, Raw)>, PolicyError> {
    match raw {
        Raw::Map(entries) => Ok(entries),
        other => Err(PolicyError::new(path, format!("expected a table, found {other}"))),
    }
}

/// Returns the kind of artifact with this name; the error lists all names.
fn kind_named(path: &str, name: &str) -> Result<ArtifactKind, PolicyError> {
    let mut kinds = (0..).map_while(ArtifactKind::from_number);
    kinds.find(|kind| kind_name(*kind) == name).ok_or_else(|| {
        let known: Vec<_> = (0..).map_while(ArtifactKind::from_number).map(kind_name).collect();
        PolicyError::new(path, format!("unknown kind of artifact; there are {}", known.join(", ")))
    })
}

//! Reads configuration files as `configparser.ConfigParser` of Python does, with its defaults: by
//! it Koji's own client reads its profiles.
//!
//! ```text
//! [DEFAULT]                          keys that every section has, unless it has its own
//! hub = koji.example.org
//! [koji]
//! # comments have a line of their own, which begins with `#` or `;`
//! Server: https://%(hub)s/kojihub    keys have no case; `=` and `:` end a key
//! password = 50%%off                 `%(key)s` is another value, `%%` is `%`, no other `%` may be
//! note = one
//!   two                              a line indented more than its key continues the value
//! ```
//!
//! A section or a key that a file has twice is an error; a later file replaces values of an earlier
//! one.

use std::collections::BTreeMap;
use std::fmt;

/// The section whose keys all others have.
const DEFAULT: &str = "DEFAULT";

/// Longest chain of values that refer to values.
const DEPTH_MAX: usize = 10;

type Values = BTreeMap<String, String>;

/// What is wrong with a file, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    pub(super) line: usize,
    pub(super) text: String,
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadValue {
    pub(super) key: String,
    pub(super) text: String,
}

/// The sections of all files that were read.
#[derive(Debug, Default)]
pub(super) struct Ini {
    defaults: Values,
    sections: BTreeMap<String, Values>,
}

impl Ini {
    /// Reads one more file.
    pub(super) fn read(&mut self, text: &str) -> Result<(), BadLine> {
        let mut reading = Reading::default();
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        for (at, line) in text.split('\n').enumerate() {
            reading.line(line).map_err(|text| BadLine { line: at + 1, text })?;
        }
        for (section, values) in reading.sections {
            let known = if section == DEFAULT { &mut self.defaults } else { self.sections.entry(section).or_default() };
            known.extend(
                values.into_iter().map(|(key, lines)| (key, lines.join("\n").trim_end_matches(is_space).to_owned())),
            );
        }
        Ok(())
    }

    /// Returns all values of a section, those of `[DEFAULT]` among them, with the values that they
    /// refer to; `None` if there is no such section.
    pub(super) fn section(&self, name: &str) -> Option<Result<Values, BadValue>> {
        let mut raw = self.defaults.clone();
        raw.extend(self.sections.get(name)?.clone());
        let value = |key: &String| {
            let mut value = String::new();
            let filled = fill(&mut value, &raw[key], &raw, 1);
            filled.map_err(|text| BadValue { key: key.clone(), text })?;
            Ok((key.clone(), value))
        };
        Some(raw.keys().map(value).collect())
    }
}

/// A file that is being read: its sections, each with keys and the lines of their values.
#[derive(Default)]
struct Reading {
    sections: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    section: Option<String>,
    /// The key that a continuation line belongs to.
    key: Option<String>,
    indent: usize,
}

impl Reading {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let text = line.trim_matches(is_space);
        if text.starts_with(['#', ';']) {
            return Ok(());
        }
        if text.is_empty() {
            // An empty line is part of a value that goes on after it.
            self.go_on("");
            return Ok(());
        }
        let indent = line.chars().take_while(|&c| is_space(c)).count();
        if indent > self.indent && self.go_on(text) {
            return Ok(());
        }
        self.indent = indent;
        if let Some(name) = section_name(text) {
            // `[DEFAULT]` may come again, every other section only in another file.
            if name != DEFAULT && self.sections.contains_key(name) {
                return Err(format!("the section [{name}] is there twice"));
            }
            self.sections.entry(name.to_owned()).or_default();
            (self.section, self.key) = (Some(name.to_owned()), None);
            return Ok(());
        }
        let Some(section) = &self.section else { return Err("no section begins before this line".to_owned()) };
        let (key, value) = text.split_once(['=', ':']).ok_or("this is neither a section nor a key with a value")?;
        let key = key.trim_end_matches(is_space).to_lowercase();
        if key.is_empty() {
            return Err("a value without a key".to_owned());
        }
        let values = self.sections.entry(section.clone()).or_default();
        if values.contains_key(&key) {
            return Err(format!("[{section}] {key} is there twice"));
        }
        values.insert(key.clone(), vec![value.trim_start_matches(is_space).to_owned()]);
        self.key = Some(key);
        Ok(())
    }

    /// Adds a line to the value of the present key; returns whether there is one.
    fn go_on(&mut self, line: &str) -> bool {
        let key = self.section.as_ref().zip(self.key.as_ref());
        let lines = key.and_then(|(section, key)| self.sections.get_mut(section)?.get_mut(key));
        lines.map(|lines| lines.push(line.to_owned())).is_some()
    }
}

/// Returns the name of the section that a line begins: `[name]`, whatever follows the last bracket.
fn section_name(line: &str) -> Option<&str> {
    let (name, _) = line.strip_prefix('[')?.rsplit_once(']')?;
    (!name.is_empty()).then_some(name)
}

/// Appends a value, with the values that it refers to.
fn fill(to: &mut String, value: &str, values: &Values, depth: usize) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("values refer to each other more than {DEPTH_MAX} deep"));
    }
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        to.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            to.push('%');
            rest = after;
            continue;
        }
        let named = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let named = named.and_then(|(key, after)| Some((key, after.strip_prefix('s')?)));
        let Some((key, after)) = named.filter(|(key, _)| !key.is_empty()) else {
            return Err("a `%` must be written `%%`, or begin a reference `%(key)s`".to_owned());
        };
        let value =
            values.get(&key.to_lowercase()).ok_or_else(|| format!("it refers to `{key}`, and there is no such key"))?;
        match value.contains('%') {
            true => fill(to, value, values, depth + 1)?,
            false => to.push_str(value),
        }
        rest = after;
    }
    to.push_str(rest);
    Ok(())
}

/// Returns whether Python counts this as white space.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, key: &str) -> Result<String, String> {
        let mut ini = Ini::default();
        ini.read(text).map_err(|bad| format!("{}: {}", bad.line, bad.text))?;
        let values = ini.section("koji").ok_or("no section")?.map_err(|bad| bad.to_string())?;
        values.get(key).cloned().ok_or_else(|| "no key".to_owned())
    }

    #[test]
    fn values_are_those_of_python() {
        for (text, expected) in [
            ("[koji]\na = 1", Ok("1")),
            ("[koji]\nA : x = y", Ok("x = y")),
            ("[koji]\na = 1 # not a comment", Ok("1 # not a comment")),
            ("[koji]\na =", Ok("")),
            ("[koji] rest\na=1", Ok("1")),
            ("  [koji]\n  a = 1\n   b = 2", Ok("1\nb = 2")),
            ("[koji]\na = 1\n\n  2\n # none\n  3\n\nb=4", Ok("1\n\n2\n3")),
            ("[koji]\r\na = 1\r\n\t2\r\n", Ok("1\n2")),
            ("[DEFAULT]\na = 1\n[koji]", Ok("1")),
            ("[DEFAULT]\na = 1\n[koji]\na = 2\n[DEFAULT]\nb = 3", Ok("2")),
            ("[koji]\nb = x\na = %(B)s%%%(b)s", Ok("x%x")),
            ("[koji]\na = %(b)s\nb = %(c)s\nc = 1", Ok("1")),
            ("[koji]\na = \\n", Ok("\\n")),
            ("[koji]\na = 100%", Err("a: a `%` must be written `%%`, or begin a reference `%(key)s`")),
            ("[koji]\na = %()s", Err("a: a `%` must be written `%%`, or begin a reference `%(key)s`")),
            ("[koji]\na = %(b)d", Err("a: a `%` must be written `%%`, or begin a reference `%(key)s`")),
            ("[koji]\na = %(b)s", Err("a: it refers to `b`, and there is no such key")),
            ("[koji]\na = %(a)s", Err("a: values refer to each other more than 10 deep")),
            ("[koji]\na = 1\nb = %x", Err("b: a `%` must be written `%%`, or begin a reference `%(key)s`")),
            ("a = 1", Err("1: no section begins before this line")),
            ("[koji]\na", Err("2: this is neither a section nor a key with a value")),
            ("[koji]\n= 1", Err("2: a value without a key")),
            ("[koji]\na=1\nA=2", Err("3: [koji] a is there twice")),
            ("[koji]\n[x]\n[koji]", Err("3: the section [koji] is there twice")),
            ("[DEFAULT]\na=1\n[DEFAULT]\na=2", Err("4: [DEFAULT] a is there twice")),
            ("\u{feff}[koji]\na=1", Err("1: no section begins before this line")),
        ] {
            assert_eq!(value(text, "a"), expected.map(str::to_owned).map_err(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn a_later_file_replaces_values_one_by_one() {
        let mut ini = Ini::default();
        ini.read("[koji]\na=1\nb=1").unwrap();
        ini.read("[DEFAULT]\nc=3\n[koji]\nb=2").unwrap();
        let expected = [("a", "1"), ("b", "2"), ("c", "3")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(ini.section("koji"), Some(Ok(expected.into())));
        assert_eq!(ini.section("DEFAULT"), None, "this is no section of its own");
    }
}

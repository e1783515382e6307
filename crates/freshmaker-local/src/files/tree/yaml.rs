//! As much of a YAML document as is needed to look up texts in nested mappings.

use granit_parser::{Event, Parser, ScalarStyle, ScanError, StrInput, Tag};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A value. What an alias means is shared, not copied, so a small file stays small.
#[derive(Debug)]
pub(super) enum Yaml {
    Text(String),
    Mapping(Vec<Entry>),
    Sequence(Vec<Rc<Yaml>>),
    /// Nothing, a number, or `true` or `false`.
    Other,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Rc<str>,
    /// The line of the key, counted from 1.
    pub(super) line: usize,
    pub(super) value: Rc<Yaml>,
}

/// Deepest nesting. Real files use less.
const DEPTH_MAX: usize = 64;

/// Most keys that `<<` may take over in one document, because those that are taken over are copied.
const MERGED_MAX: usize = 10_000;

/// The tags that Compose gives a meaning of its own.
const TAGS: [&str; 2] = ["reset", "override"];

type Wrong = (usize, String);

impl Yaml {
    /// Reads a text of one document.
    ///
    /// # Errors
    /// What is wrong, as a sentence, with its line: what Compose refuses (a key that is given
    /// twice), and what it reads in a way that is not followed here (several documents, `!reset`
    /// and `!override`).
    pub(super) fn parse(text: &str) -> Result<Rc<Self>, Wrong> {
        let mut reader = Reader { parser: Parser::new_from_str(text), anchors: BTreeMap::new(), merged: 0 };
        let mut found = None;
        loop {
            match reader.next()? {
                (Event::StreamEnd, _) => return Ok(found.unwrap_or(Rc::new(Self::Other))),
                (Event::DocumentStart(..), line) if found.is_some() => {
                    return Err((line, "a second document begins here, which is not merged with the first".to_owned()));
                }
                (Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd, _) => {}
                (event, line) => found = Some(reader.value(event, line, 0)?),
            }
        }
    }

    /// Returns the value of a key of a mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| *entry.key == *key).map(|entry| &*entry.value)
    }

    pub(super) fn entries(&self) -> &[Entry] {
        match self {
            Self::Mapping(entries) => entries,
            Self::Text(_) | Self::Sequence(_) | Self::Other => &[],
        }
    }

    pub(super) fn items(&self) -> &[Rc<Self>] {
        match self {
            Self::Sequence(items) => items,
            Self::Text(_) | Self::Mapping(_) | Self::Other => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Mapping(_) | Self::Sequence(_) | Self::Other => None,
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, Rc<Yaml>>,
    merged: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, usize), Wrong> {
        let wrong = |error: ScanError| (error.marker().line(), error.info());
        let (event, span) =
            self.parser.next_event().transpose().map_err(wrong)?.ok_or((0, "it has no end".to_owned()))?;
        match event.tag() {
            Some(tag) if tag.handle() == "!" && TAGS.contains(&tag.suffix()) => {
                Err((span.start.line(), format!("!{} changes what it says", tag.suffix())))
            }
            _ => Ok((event, span.start.line())),
        }
    }

    fn value(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Rc<Yaml>, Wrong> {
        if depth > DEPTH_MAX {
            return Err((line, "it is nested too deeply".to_owned()));
        }
        let (anchor, value) = match event {
            Event::Alias(anchor) => {
                return self.anchors.get(&anchor).cloned().ok_or((line, "an alias means nothing".to_owned()));
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.as_deref().map_or(style != ScalarStyle::Plain || !is_other(&text), is_text_tag);
                (anchor, if is_text { Yaml::Text(text.into_owned()) } else { Yaml::Other })
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, line) => items.push(self.value(event, line, depth + 1)?),
                    }
                }
                (anchor, Yaml::Sequence(items))
            }
            Event::MappingStart(_, anchor, _) => (anchor, Yaml::Mapping(self.mapping(depth)?)),
            _ => (0, Yaml::Other),
        };
        let value = Rc::new(value);
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&value));
        }
        Ok(value)
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<Entry>, Wrong> {
        let (mut entries, mut merges, mut known) = (Vec::new(), Vec::new(), BTreeMap::new());
        loop {
            let (event, line) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, _) if text == "<<");
            let key: Rc<str> = match &event {
                Event::Scalar(text, ..) => text.as_ref().into(),
                _ => Rc::default(),
            };
            let alias = self.value(event, line, depth + 1)?;
            let key = alias.text().map_or(key, Rc::from);
            if let Some(first) = known.insert(Rc::clone(&key), line).filter(|_| !key.is_empty()) {
                return Err((line, format!("the key {key} is given twice, first in line {first}")));
            }
            let (event, at) = self.next()?;
            let value = self.value(event, at, depth + 1)?;
            if is_merge {
                merges.push((line, value));
            } else {
                entries.push(Entry { key, line, value });
            }
        }
        if !merges.is_empty() {
            self.merge(&mut entries, &merges)?;
        }
        Ok(entries)
    }

    /// Adds the entries of other mappings whose keys are not there yet.
    fn merge(&mut self, entries: &mut Vec<Entry>, merges: &[(usize, Rc<Yaml>)]) -> Result<(), Wrong> {
        let mut known: BTreeSet<Rc<str>> = entries.iter().map(|entry| Rc::clone(&entry.key)).collect();
        for (line, value) in merges {
            let one = [Rc::clone(value)];
            let mappings = if let Yaml::Sequence(items) = &**value { items } else { &one[..] };
            for mapping in mappings {
                let Yaml::Mapping(more) = &**mapping else {
                    return Err((*line, "<< merges what is no mapping".to_owned()));
                };
                self.merged += more.len();
                if self.merged > MERGED_MAX {
                    return Err((*line, format!("<< merges more than {MERGED_MAX} keys")));
                }
                entries.extend(more.iter().filter(|entry| known.insert(Rc::clone(&entry.key))).cloned());
            }
        }
        Ok(())
    }
}

/// Returns whether a plain scalar is nothing, a number, or `true` or `false`.
fn is_other(text: &str) -> bool {
    const WORDS: [&str; 11] = ["", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE"];
    let number = text.replace('_', "").to_ascii_lowercase();
    let unsigned = number.trim_start_matches(['+', '-']);
    let radix =
        |(prefix, radix)| unsigned.strip_prefix(prefix).is_some_and(|rest| u64::from_str_radix(rest, radix).is_ok());
    // Rust also takes `inf` for a number.
    let is_decimal = || unsigned.starts_with(|c: char| c == '.' || c.is_ascii_digit()) && number.parse::<f64>().is_ok();
    WORDS.contains(&text) || is_decimal() || [("0x", 16), ("0o", 8), ("0b", 2)].into_iter().any(radix)
}

/// Returns whether a tag leaves a scalar a text.
fn is_text_tag(tag: &Tag) -> bool {
    tag.core_suffix().is_none_or(|suffix| suffix == "str")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_by_key() {
        let text = "# c\na: &x {b: 'c d', e: [1, {f: g}]}\nh: *x\n? [k]\n: l\nm:\n";
        let yaml = Yaml::parse(text).unwrap();
        assert_eq!(yaml.get("h").and_then(|h| h.get("b")).and_then(Yaml::text), Some("c d"));
        assert!(yaml.get("a").and_then(|a| a.get("e")).is_some_and(|e| e.text().is_none()));
        assert_eq!(yaml.entries().iter().map(|entry| entry.line).collect::<Vec<_>>(), [2, 3, 4, 6]);
        assert!(Yaml::parse("").unwrap().entries().is_empty());
    }

    #[test]
    fn merged_mappings_do_not_replace_keys() {
        let text = "a: &a {x: '1', y: '2'}\nb: &b {y: '3', z: '4'}\nc: {<<: *a, y: '5'}\nd: {y: '6', <<: [*b, *a]}\ne: {'<<': *a}\n";
        let yaml = Yaml::parse(text).unwrap();
        let drawn = |key: &str| -> Vec<String> {
            let entries = yaml.get(key).unwrap().entries().iter();
            entries.map(|entry| format!("{}{}", entry.key, entry.value.text().unwrap_or("?"))).collect()
        };
        assert_eq!(drawn("c"), ["y5", "x1"]);
        assert_eq!(drawn("d"), ["y6", "z4", "x1"]);
        assert_eq!(drawn("e"), ["<<?"]);
        assert_eq!(Yaml::parse("a: b\nc:\n  <<: d\n").unwrap_err(), (3, "<< merges what is no mapping".to_owned()));
        let mut text = "a0: &a0 {x0: y}\n".to_owned();
        for level in 1..1000 {
            text.push_str(&format!("a{level}: &a{level} {{<<: *a{}, x{level}: y}}\n", level - 1));
        }
        assert_eq!(Yaml::parse(&text).unwrap_err(), (142, "<< merges more than 10000 keys".to_owned()));
    }

    #[test]
    fn numbers_and_nothing_are_no_texts() {
        let read = |value: &str| Yaml::parse(&format!("a: {value}\n")).unwrap().get("a").unwrap().text().is_some();
        for text in ["3.12-slim", "'3.12'", "!!str 3", "v1", "./a", "inf", "1.2.3", "yes"] {
            assert!(read(text), "{text}");
        }
        for other in ["", "~", "null", "3.12", "-1", "1_000", "0x1f", "0o7", "true", "1e3", "!!int '3'"] {
            assert!(!read(other), "{other}");
        }
    }

    #[test]
    fn mistakes_name_their_line_and_aliases_cost_nothing() {
        assert_eq!(Yaml::parse("a: b\nc: *x\n").unwrap_err().0, 2);
        assert_eq!(Yaml::parse("a:\n  - b\n c: d\n").unwrap_err().0, 3);
        assert!(Yaml::parse(&"[".repeat(1000)).is_err());
        let mut text = "a0: &a0 {x: y}\n".to_owned();
        for level in 1..60 {
            let last = level - 1;
            text.push_str(&format!("a{level}: &a{level} {{p: *a{last}, q: *a{last}}}\n"));
        }
        assert_eq!(Yaml::parse(&text).unwrap().entries().len(), 60);
    }
}

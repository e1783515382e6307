//! Reads TOML values one by one, so that every mistake is reported with its line and key.

use super::Problem;
use freshmaker::artifact::ImageReference;
use std::fmt::Display;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and the path of keys that leads to it.
#[derive(Debug)]
pub(super) struct At<'a> {
    pub(super) place: String,
    pub(super) value: &'a Spanned<DeValue<'a>>,
}

impl<'a> At<'a> {
    pub(super) fn new(place: impl Into<String>, value: &'a Spanned<DeValue<'a>>) -> Self {
        Self { place: place.into(), value }
    }

    pub(super) fn key<'b>(&self, key: &str, value: &'b Spanned<DeValue<'b>>) -> At<'b> {
        At::new(format!("{}.{key}", self.place), value)
    }

    pub(super) fn start(&self) -> usize {
        self.value.span().start
    }
}

#[derive(Debug)]
pub(super) struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text, problems: Vec::new() }
    }

    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort();
        self.problems
    }

    pub(super) fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        before.iter().filter(|&&b| b == b'\n').count() + 1
    }

    pub(super) fn problem(&mut self, offset: usize, place: &str, text: impl Display) {
        let text = if place.is_empty() { text.to_string() } else { format!("{place}: {text}") };
        self.problem_on(self.line(offset), text);
    }

    pub(super) fn problem_on(&mut self, line: usize, text: String) {
        self.problems.push(Problem { path: self.path.to_owned(), line: Some(line), text });
    }

    /// Reports a syntax error. The parser of TOML guesses the type of a word by its first letter,
    /// so the report adds a hint.
    pub(super) fn syntax(&mut self, error: &toml::de::Error) {
        let message = error.message();
        let word = ["invalid float", "invalid boolean"].iter().any(|start| message.starts_with(start));
        let hint = if word { "; a text needs quotes" } else { "" };
        self.problem(error.span().unwrap_or_default().start, "", format_args!("{message}{hint}"));
    }

    pub(super) fn wrong_type(&mut self, at: &At<'_>, wanted: &str) {
        let found = at.value.get_ref().type_str();
        let article = if found.starts_with(['a', 'i']) { "an" } else { "a" };
        self.problem(at.start(), &at.place, format_args!("must be {wanted}, not {article} {found}"));
    }

    /// Reports the keys that are not allowed.
    pub(super) fn keys(&mut self, place: &str, table: &DeTable<'_>, allowed: &[&str]) {
        for key in table.keys().filter(|key| !allowed.contains(&&**key.get_ref())) {
            let dot = if place.is_empty() { "" } else { "." };
            let hint = did_you_mean(key.get_ref(), allowed);
            self.problem(
                key.span().start,
                &format!("{place}{dot}{}", key.get_ref()),
                format_args!("unknown key{hint}"),
            );
        }
    }

    pub(super) fn table<'b>(&mut self, at: &At<'b>) -> Option<&'b DeTable<'b>> {
        let table = at.value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(at, "a table");
        }
        table
    }

    pub(super) fn list<'b>(&mut self, at: &At<'b>) -> Vec<At<'b>> {
        let Some(array) = at.value.get_ref().as_array() else {
            // A table in place of a list of tables: the second pair of brackets is missing.
            let wanted =
                if at.value.get_ref().is_table() { format!("an array ([[{}]])", at.place) } else { "an array".into() };
            self.wrong_type(at, &wanted);
            return Vec::new();
        };
        array.iter().enumerate().map(|(index, value)| At::new(format!("{}[{index}]", at.place), value)).collect()
    }

    pub(super) fn text(&mut self, at: &At<'_>) -> Option<String> {
        let text = at.value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(at, "a string");
        }
        text.map(str::to_owned)
    }

    pub(super) fn integer(&mut self, at: &At<'_>) -> Option<i64> {
        let Some(integer) = at.value.get_ref().as_integer() else {
            self.wrong_type(at, "an integer");
            return None;
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix());
        if number.is_err() {
            self.problem(at.start(), &at.place, "is too large");
        }
        number.ok()
    }

    pub(super) fn seconds(&mut self, at: &At<'_>) -> Option<u64> {
        let seconds = u64::try_from(self.integer(at)?);
        if seconds.is_err() {
            self.problem(at.start(), &at.place, "must not be negative");
        }
        seconds.ok()
    }

    pub(super) fn image(&mut self, at: &At<'_>, text: &str) -> Option<ImageReference> {
        text.parse().map_err(|error| self.problem(at.start(), &at.place, error)).ok()
    }

    /// Reads a pattern that makes names of images. It may have these words in braces; each comes
    /// with an example of what replaces it.
    pub(super) fn pattern(&mut self, at: &At<'_>, words: &[(&str, &str)]) -> Option<String> {
        let pattern = self.text(at)?;
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let braced = pattern.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
        let mut unknown = braced.map(|(word, _)| word).filter(|word| !names.contains(word));
        if let Some(word) = unknown.next() {
            let help = did_you_mean(word, &names);
            self.problem(at.start(), &at.place, format_args!("{{{word}}} is not replaced{help}"));
            return None;
        }
        let sample =
            words.iter().fold(pattern.clone(), |text, (word, with)| text.replace(&format!("{{{word}}}"), with));
        self.image(at, &sample).map(|_| pattern)
    }

    pub(super) fn choice<T: Copy>(&mut self, at: &At<'_>, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(at)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let help = did_you_mean(&text, &names);
        self.problem(at.start(), &at.place, format_args!("{text:?} is not allowed{help}"));
        None
    }
}

fn did_you_mean(text: &str, allowed: &[&str]) -> String {
    nearest(text, allowed)
        .map_or_else(|| format!(": one of {}", allowed.join(", ")), |near| format!(", did you mean \"{near}\"?"))
}

/// Returns the allowed name that was probably meant.
pub(super) fn nearest<'a>(text: &str, allowed: &[&'a str]) -> Option<&'a str> {
    let distance = |name: &&str| strsim::damerau_levenshtein(text, name);
    let nearest = allowed.iter().copied().min_by_key(distance)?;
    (distance(&nearest) <= 1 + nearest.len() / 4).then_some(nearest)
}

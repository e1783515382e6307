//! Splits words, and expands quotes and variables, as builders do outside of commands.
//!
//! The lexer does what the one of BuildKit does (`frontend/dockerfile/shell/lex.go`), so that a
//! text is one word here exactly if it is one word for BuildKit.

use super::glob::{self, Length, Matches};
use std::collections::BTreeSet;

/// What is known about the value of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// The variable has this value.
    Set(Expanded),
    /// The variable is declared without a default: its value comes from the command line of the
    /// builder, and is empty without that.
    NoDefault,
    /// The builder sets the variable for each platform, so its value is not known here.
    Platform,
    /// The same, but some platforms leave the variable empty.
    PlatformOrEmpty,
    /// The variable is not declared, so it is empty.
    Undeclared,
    /// The variable is declared before the first stage only, so it is empty in a stage.
    NotInStage,
    /// The variable has a default that cannot be expanded, for this reason.
    Faulty(String),
}

/// A text without quotes, escapes and variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expanded {
    /// The text, with [`ANY`] for what depends on the platform.
    pub(super) text: String,
    /// Sentences about the variables that were taken as empty because they have no value.
    pub(super) empty: BTreeSet<String>,
}

impl From<&str> for Expanded {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), empty: BTreeSet::new() }
    }
}

/// Stands in expanded text for a value that depends on the platform.
pub(super) const ANY: char = '\u{0}';

/// Splits a text at white space outside of quotes. Quotes and escapes stay.
pub(super) fn split(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        if c == escape && quote != Some('\'') {
            // An escape at the very end is left out.
            if let Some(next) = chars.next() {
                word.extend([c, next]);
            }
            continue;
        }
        if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && (c == '"' || c == '\'') {
            quote = Some(c);
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Returns the word without quotes and escapes, and with the values of its variables.
///
/// # Errors
/// A sentence about the first mistake, or about the first variable that must have a value.
pub(super) fn expand(word: &str, escape: char, value_of: &dyn Fn(&str) -> Value) -> Result<Expanded, String> {
    let mut lexer = Lexer::new(word, escape, Some(value_of));
    let (text, _) = lexer.until(None)?;
    Ok(Expanded { text, empty: lexer.empty })
}

/// The beginning of a here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HereDocument {
    /// The line that ends it.
    pub(super) delimiter: String,
    /// Whether tabs before that line do not count.
    pub(super) tabs: Tabs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tabs {
    Kept,
    Removed,
}

/// Returns the here-documents that a line opens. The escape in it is that of the shell, whatever
/// the escape of the file is.
///
/// If the line has a quote without an end, or an expansion that builders do not know, it opens
/// none: builders then do not look for any.
pub(super) fn here_documents(line: &str) -> Vec<HereDocument> {
    let mut lexer = Lexer::new(line, '\\', None);
    (lexer.raw_quotes, lexer.raw_escapes) = (true, true);
    let words = lexer.until(None).map_or_else(|_| Vec::new(), |(_, words)| words);
    words.iter().filter_map(|word| here_document(word)).collect()
}

/// Returns whether a word begins a here-document.
pub(super) fn is_here_document(word: &str) -> bool {
    here_document(word).is_some()
}

/// Reads `<<EOF`, `<< EOF`, `<<-EOF` or `3<<'EOF'`.
fn here_document(word: &str) -> Option<HereDocument> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (rest, tabs) = rest.strip_prefix('-').map_or((rest, Tabs::Kept), |rest| (rest, Tabs::Removed));
    let rest = rest.trim_start_matches([' ', '\t', '\r', '\u{c}', '\n']);
    if rest.contains('<') {
        return None;
    }
    let (_, words) = Lexer::new(rest, '\\', None).until(None).ok()?;
    let [delimiter] = <[String; 1]>::try_from(words).ok()?;
    Some(HereDocument { delimiter, tabs })
}

/// Deepest nesting of variables in defaults. Real files use less.
const DEPTH_MAX: usize = 16;

/// Longest expanded word in bytes. Defaults that repeat each other would fill the memory.
const WORD_MAX: usize = 64 * 1024;

/// Reads a text both as one expanded word and as a list of words.
struct Lexer<'a> {
    chars: Vec<char>,
    at: usize,
    escape: char,
    /// Without values, variables stay as they are written.
    value_of: Option<&'a dyn Fn(&str) -> Value>,
    raw_quotes: bool,
    raw_escapes: bool,
    /// The word that is being read.
    word: String,
    depth: usize,
    empty: BTreeSet<String>,
}

impl<'a> Lexer<'a> {
    fn new(text: &str, escape: char, value_of: Option<&'a dyn Fn(&str) -> Value>) -> Self {
        Self {
            chars: text.chars().collect(),
            at: 0,
            escape,
            value_of,
            raw_quotes: false,
            raw_escapes: false,
            word: String::new(),
            depth: 0,
            empty: BTreeSet::new(),
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    /// Reads up to a character, or to the end of the text.
    fn until(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), String> {
        if self.depth > DEPTH_MAX {
            return Err("variables are nested too deeply".to_owned());
        }
        self.word.clear();
        let (mut text, mut words) = (String::new(), Vec::new());
        while let Some(c) = self.peek() {
            if self.value_of.is_some() && text.len() > WORD_MAX {
                return Err(format!("it is longer than {WORD_MAX} bytes"));
            }
            if Some(c) == stop {
                self.next();
                self.end_word(&mut words);
                return Ok((text, words));
            }
            match c {
                '\'' | '"' | '<' => {
                    let part = match c {
                        '\'' => self.single_quoted()?,
                        '"' => self.double_quoted()?,
                        _ => self.less_than(),
                    };
                    text.push_str(&part);
                    self.word.push_str(&part);
                }
                '$' => {
                    let part = self.dollar()?;
                    text.push_str(&part);
                    part.chars().for_each(|c| self.add(c, &mut words));
                }
                c if c == self.escape => {
                    self.next();
                    let escape = self.raw_escapes.then_some(c);
                    let part = escape.into_iter().chain(self.next());
                    part.for_each(|c| {
                        text.push(c);
                        self.word.push(c);
                    });
                }
                c => {
                    self.next();
                    text.push(c);
                    self.add(c, &mut words);
                }
            }
        }
        if let Some(stop) = stop {
            return Err(if stop == '/' { "${ has a pattern without an end" } else { "${ is not closed" }.to_owned());
        }
        self.end_word(&mut words);
        Ok((text, words))
    }

    fn add(&mut self, c: char, words: &mut Vec<String>) {
        if c.is_whitespace() { self.end_word(words) } else { self.word.push(c) }
    }

    fn end_word(&mut self, words: &mut Vec<String>) {
        if !self.word.is_empty() {
            words.push(std::mem::take(&mut self.word));
        }
    }

    fn quote(&mut self, text: &mut String) {
        let quote = self.next();
        text.extend(quote.filter(|_| self.raw_quotes));
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        self.quote(&mut text);
        while let Some(c) = self.peek() {
            if c == '\'' {
                self.quote(&mut text);
                return Ok(text);
            }
            self.next();
            text.push(c);
        }
        Err("a quote has no end".to_owned())
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        self.quote(&mut text);
        while let Some(c) = self.peek() {
            match c {
                '"' => {
                    self.quote(&mut text);
                    return Ok(text);
                }
                '$' => text.push_str(&self.dollar()?),
                c if c == self.escape => {
                    self.next();
                    text.extend(Some(c).filter(|_| self.raw_escapes));
                    match self.peek() {
                        Some(next) if next == '"' || next == '$' || next == self.escape => {
                            self.next();
                            text.push(next);
                        }
                        // All other escapes stay as they are.
                        Some(_) => text.push(c),
                        None => {}
                    }
                }
                c => {
                    self.next();
                    text.push(c);
                }
            }
        }
        Err("a quote has no end".to_owned())
    }

    /// Reads `<`, or `<<` with the blanks after it: they do not end the word.
    fn less_than(&mut self) -> String {
        self.next();
        if self.peek() != Some('<') {
            return "<".to_owned();
        }
        let mut text = "<".to_owned();
        text.extend(self.next());
        while matches!(self.peek(), Some(' ' | '\t' | '\r')) {
            text.extend(self.next());
        }
        text
    }

    fn dollar(&mut self) -> Result<String, String> {
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            return if name.is_empty() { Ok("$".to_owned()) } else { self.plain(&name, &format!("${name}")) };
        }
        self.next();
        if matches!(self.peek(), Some('{' | '}' | ':')) {
            return Err("${ must be followed by the name of a variable".to_owned());
        }
        let name = self.name();
        let operation = self.next().ok_or("${ is not closed")?;
        self.depth += 1;
        let value = match operation {
            '}' => self.plain(&name, &format!("${{{name}}}")),
            '/' => self.replaced(&name),
            ':' => match self.next() {
                Some(c @ ('-' | '+' | '?')) => self.chosen(&name, c, Empty::IsUnset),
                other => Err(unknown(&name, &format!(":{}", other.map_or_else(String::new, String::from)))),
            },
            '-' | '+' | '?' => self.chosen(&name, operation, Empty::IsSet),
            '#' | '%' => self.trimmed(&name, operation),
            other => Err(unknown(&name, &other.to_string())),
        };
        self.depth -= 1;
        value
    }

    /// Reads the name of a variable, a number, or one of the special parameters of a shell.
    fn name(&mut self) -> String {
        let start = self.at;
        if self.peek().is_some_and(|c| c.is_ascii_digit()) {
            while self.peek().is_some_and(|c| c.is_ascii_digit()) {
                self.next();
            }
        } else if matches!(self.peek(), Some('@' | '*' | '#' | '?' | '-' | '$' | '!')) {
            self.next();
        } else {
            while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
                self.next();
            }
        }
        self.chars[start..self.at].iter().collect()
    }

    /// Returns the value of a variable, `None` if it is not set. Without values of variables the
    /// result is the text that was written.
    fn look(&self, name: &str) -> Result<Looked, String> {
        let Some(value_of) = self.value_of else { return Ok(Looked::Raw) };
        match value_of(name) {
            Value::Set(value) => Ok(Looked::Set(value)),
            Value::Platform => Ok(Looked::Set(Expanded::from(ANY.to_string().as_str()))),
            Value::PlatformOrEmpty => Ok(Looked::PlatformOrEmpty),
            Value::NoDefault => Ok(Looked::Unset(format!("ARG {name} has no default"))),
            Value::Undeclared => Ok(Looked::Unset(format!("no ARG declares {name}"))),
            Value::NotInStage => Ok(Looked::Unset(format!("no ARG of this stage declares {name}"))),
            Value::Faulty(why) => Err(why),
        }
    }

    fn plain(&mut self, name: &str, written: &str) -> Result<String, String> {
        Ok(match self.look(name)? {
            Looked::Raw => written.to_owned(),
            Looked::Set(value) => self.take(value),
            Looked::PlatformOrEmpty => ANY.to_string(),
            Looked::Unset(why) => {
                self.empty.insert(why);
                String::new()
            }
        })
    }

    fn take(&mut self, value: Expanded) -> String {
        self.empty.extend(value.empty);
        value.text
    }

    /// Reads the rest of `${NAME-default}`, `${NAME+other}` or `${NAME?text}`.
    fn chosen(&mut self, name: &str, operation: char, empty: Empty) -> Result<String, String> {
        let known = std::mem::take(&mut self.empty);
        let raw = std::mem::replace(&mut self.raw_escapes, false);
        let word = self.until(Some('}'));
        self.raw_escapes = raw;
        let of_word = std::mem::replace(&mut self.empty, known);
        let (word, _) = word?;
        let looked = self.look(name)?;
        let set = match &looked {
            Looked::Raw => {
                let colon = if empty == Empty::IsUnset { ":" } else { "" };
                return Ok(format!("${{{name}{colon}{operation}{word}}}"));
            }
            Looked::PlatformOrEmpty if empty == Empty::IsUnset => return Ok(ANY.to_string()),
            Looked::PlatformOrEmpty => true,
            Looked::Set(value) => !(value.text.is_empty() && empty == Empty::IsUnset),
            Looked::Unset(_) => false,
        };
        match operation {
            '+' if !set => return Ok(String::new()),
            '-' if set => return self.plain(name, ""),
            '?' if set => return self.plain(name, ""),
            '?' => return Err(format!("{name} must be given to the build")),
            _ => {}
        }
        self.empty.extend(of_word);
        Ok(word)
    }

    /// Reads the rest of `${NAME#pattern}`, `${NAME##pattern}`, `${NAME%pattern}` or
    /// `${NAME%%pattern}`.
    fn trimmed(&mut self, name: &str, operation: char) -> Result<String, String> {
        let pattern = self.raw_until('}')?;
        let (pattern, length) = match pattern.strip_prefix(operation) {
            Some(pattern) => (pattern, Length::Longest),
            None => (pattern.as_str(), Length::Shortest),
        };
        let trim = if operation == '#' { glob::trim_start } else { glob::trim_end };
        let value = self.plain(name, &format!("${{{name}{operation}{pattern}}}"))?;
        if self.value_of.is_none() {
            return Ok(value);
        }
        platform_or(&value, pattern, |value| trim(value, pattern, length))
    }

    /// Reads the rest of `${NAME/pattern/text}` or `${NAME//pattern/text}`.
    fn replaced(&mut self, name: &str) -> Result<String, String> {
        let which = if self.peek() == Some('/') { Matches::All } else { Matches::First };
        self.at += usize::from(which == Matches::All);
        let pattern = self.raw_until('/')?;
        let with = self.raw_until('}')?;
        let value = self.plain(name, &format!("${{{name}/{pattern}/{with}}}"))?;
        if self.value_of.is_none() {
            return Ok(value);
        }
        platform_or(&value, &pattern, |value| glob::replace(value, &pattern, &with, which))
    }

    fn raw_until(&mut self, stop: char) -> Result<String, String> {
        let raw = std::mem::replace(&mut self.raw_escapes, true);
        let word = self.until(Some(stop));
        self.raw_escapes = raw;
        Ok(word?.0)
    }
}

enum Looked {
    Raw,
    Set(Expanded),
    PlatformOrEmpty,
    Unset(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Empty {
    IsSet,
    IsUnset,
}

fn unknown(name: &str, operation: &str) -> String {
    format!("${{{name}{operation}…}} is an expansion that builders do not know")
}

/// A part of a value that depends on the platform is not known, and neither is its pattern.
fn platform_or(
    value: &str,
    pattern: &str,
    change: impl FnOnce(&str) -> Result<String, String>,
) -> Result<String, String> {
    if value.contains(ANY) || pattern.contains(ANY) { Ok(ANY.to_string()) } else { change(value) }
}

#[cfg(test)]
mod tests;

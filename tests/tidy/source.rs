//! A file of the repository, with what is needed to look at its code and at nothing else.

/// Something that a rule does not allow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) rule: &'static str,
    pub(crate) path: String,
    /// From 1; 0 if it concerns the whole file.
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {} [{}]", self.path, self.line, self.text, self.rule)
    }
}

/// A file by its path from the root of the repository.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with blanks in place of comments and of what is between quotes; as many lines.
    pub(crate) code: String,
    /// For each line whether it belongs to tests.
    in_tests: Vec<bool>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { blank(text) } else { String::new() };
        let whole = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
        let mut in_tests = vec![whole; code.lines().count()];
        for start in occurrences(&code, "mod tests") {
            let end = match code[start..].find(['{', ';']) {
                Some(at) if code[start + at..].starts_with('{') => closing(&code, start + at),
                Some(at) => start + at,
                None => continue,
            };
            in_tests[line_of(&code, start) - 1..line_of(&code, end)].fill(true);
        }
        Self { path: path.to_owned(), text: text.to_owned(), code, in_tests }
    }

    pub(crate) fn fault(&self, rule: &'static str, line: usize, text: impl Into<String>) -> Fault {
        Fault { rule, path: self.path.clone(), line, text: text.into() }
    }

    /// Lines of code with their numbers, tests apart.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().filter(|(i, _)| !self.in_tests[*i]).map(|(i, line)| (i + 1, line))
    }

    /// Lines of code of the tests only, with their numbers.
    pub(crate) fn test_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().filter(|(i, _)| self.in_tests[*i]).map(|(i, line)| (i + 1, line))
    }

    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.in_tests[line - 1]
    }
}

/// The line of a byte, from 1.
pub(crate) fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `wanted` stands as whole words.
pub(crate) fn occurrences(text: &str, wanted: &str) -> Vec<usize> {
    let edge = |inner: Option<char>, outer: Option<char>| !(inner.is_some_and(is_word) && outer.is_some_and(is_word));
    text.match_indices(wanted)
        .map(|(at, _)| at)
        .filter(|&at| {
            edge(wanted.chars().next(), text[..at].chars().next_back())
                && edge(wanted.chars().next_back(), text[at + wanted.len()..].chars().next())
        })
        .collect()
}

pub(crate) fn has(text: &str, wanted: &str) -> bool {
    !occurrences(text, wanted).is_empty()
}

/// The identifier at the start of a text.
pub(crate) fn identifier(text: &str) -> &str {
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

/// Where the brace opened at `open` is closed.
pub(crate) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return open + at;
        }
    }
    code.len()
}

/// Replaces comments and what is between quotes by blanks, keeping lines.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let word_before = at > 0 && is_word(chars[at - 1]);
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => end_of_line(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => end_of_comment(&chars, at),
            '"' => end_of_string(&chars, at),
            'r' if !word_before || chars[at - 1] == 'b' => end_of_raw_string(&chars, at),
            '\'' => end_of_char(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        let quoted = chars[at] != '/';
        out.extend(chars[at..end].iter().enumerate().map(|(i, &c)| match c {
            '\n' => '\n',
            _ if quoted && (i == 0 || at + i + 1 == end) => '"',
            _ => ' ',
        }));
        at = end;
    }
    out
}

fn end_of_line(chars: &[char], start: usize) -> usize {
    chars[start..].iter().position(|&c| c == '\n').map_or(chars.len(), |length| start + length)
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn end_of_raw_string(chars: &[char], start: usize) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|&&c| c == '#').count();
    let quote = start + 1 + hashes;
    if chars.get(quote) != Some(&'"') {
        return start;
    }
    let ends = |at: usize| chars[at] == '"' && chars[at + 1..].iter().take_while(|&&c| c == '#').count() >= hashes;
    (quote + 1..chars.len()).find(|&at| ends(at)).map_or(chars.len(), |at| at + 1 + hashes)
}

/// The end of a character; the start itself for a lifetime.
fn end_of_char(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), Some(_)) => {
            chars[start + 3..].iter().position(|&c| c == '\'').map_or(start, |length| start + 4 + length)
        }
        (Some(_), Some('\'')) => start + 3,
        _ => start,
    }
}

#[test]
fn comments_strings_and_characters_are_no_code() {
    for (text, code) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        ("f(\"a\\\"}\") }", "f(\"    \") }"),
        ("r#\"a\" b\"# c", "\"       \" c"),
        ("for r in x", "for r in x"),
        ("'{' '\\'' &'a str '\\u{7b}'", "\" \" \"  \" &'a str \"      \""),
    ] {
        assert_eq!(blank(text), code);
    }
}

#[test]
fn tests_are_told_from_code() {
    let source = Source::new("src/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { c() }\n}\nfn d() {}\n");
    assert_eq!(source.lines().map(|(line, _)| line).collect::<Vec<_>>(), [1, 2, 6]);
    assert_eq!(source.test_lines().map(|(line, _)| line).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(Source::new("src/a/tests.rs", "a\n").lines().count(), 0);
}

#[test]
fn words_are_whole() {
    assert!(has("use rand::x", "rand::") && !has("use fastrand::x", "rand::"));
    assert!(has("a HashMap<", "HashMap") && !has("a HashMapped", "HashMap"));
    assert_eq!(identifier("ab_c::d"), "ab_c");
}

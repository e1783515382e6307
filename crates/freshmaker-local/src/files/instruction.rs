//! One instruction of a Containerfile: its keyword, flags and arguments, parsed as BuildKit does,
//! and the checks for illegal ones.

use super::containerfile::Problem;
use super::words;
use serde_json::Value as Json;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
}

const KEYWORDS: [(&str, Keyword); 18] = [
    ("ADD", Keyword::Add),
    ("ARG", Keyword::Arg),
    ("CMD", Keyword::Cmd),
    ("COPY", Keyword::Copy),
    ("ENTRYPOINT", Keyword::Entrypoint),
    ("ENV", Keyword::Env),
    ("EXPOSE", Keyword::Expose),
    ("FROM", Keyword::From),
    ("HEALTHCHECK", Keyword::Healthcheck),
    ("LABEL", Keyword::Label),
    ("MAINTAINER", Keyword::Maintainer),
    ("ONBUILD", Keyword::Onbuild),
    ("RUN", Keyword::Run),
    ("SHELL", Keyword::Shell),
    ("STOPSIGNAL", Keyword::Stopsignal),
    ("USER", Keyword::User),
    ("VOLUME", Keyword::Volume),
    ("WORKDIR", Keyword::Workdir),
];

/// How often a flag may be given, and whether it has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// `--flag`, `--flag=true` or `--flag=false`, once.
    Switch,
    /// `--flag=value`, once.
    Value,
    /// `--flag=value`, any number of times.
    Values,
}

impl Keyword {
    fn name(self) -> &'static str {
        KEYWORDS.iter().find(|(_, keyword)| *keyword == self).map_or("", |(name, _)| name)
    }

    /// Returns the flags of an instruction; `None` if builders do not look at its flags.
    fn flags(self) -> Option<&'static [(&'static str, Takes)]> {
        use Takes::{Switch, Value, Values};
        Some(match self {
            Self::Arg | Self::Stopsignal => return None,
            Self::Add => &[
                ("chown", Value),
                ("chmod", Value),
                ("link", Switch),
                ("keep-git-dir", Switch),
                ("checksum", Value),
                ("unpack", Switch),
                ("exclude", Values),
            ],
            Self::Copy => &[
                ("chown", Value),
                ("from", Value),
                ("chmod", Value),
                ("link", Switch),
                ("exclude", Values),
                ("parents", Switch),
            ],
            Self::From => &[("platform", Value)],
            Self::Healthcheck => &[
                ("interval", Value),
                ("timeout", Value),
                ("start-period", Value),
                ("start-interval", Value),
                ("retries", Value),
            ],
            Self::Run => &[("mount", Values), ("network", Value), ("security", Value), ("device", Values)],
            _ => &[],
        })
    }

    fn may_be_json(self) -> bool {
        matches!(
            self,
            Self::Add
                | Self::Cmd
                | Self::Copy
                | Self::Entrypoint
                | Self::Healthcheck
                | Self::Run
                | Self::Shell
                | Self::Volume
        )
    }
}

/// An instruction on one line, without comments and without its here-documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    /// The line at which it begins, counted from 1.
    pub(super) line: usize,
    pub(super) keyword: Keyword,
    /// Names and values, in the order of the text.
    pub(super) flags: Vec<(String, String)>,
    /// What follows the flags.
    pub(super) arguments: String,
    /// The strings of arguments that are a JSON array.
    json: Option<Vec<String>>,
    /// What `ONBUILD` puts off; `None` also if its first word is no instruction.
    pub(super) later: Option<Box<Instruction>>,
    /// Why builders refuse what `ONBUILD` puts off, when they come to run it. Its flags are then
    /// not read.
    pub(super) fault: Option<String>,
}

impl Instruction {
    /// Reads an instruction.
    ///
    /// # Errors
    /// A mistake for which builders refuse the file.
    pub(super) fn parse(line: usize, text: &str, escape: char) -> Result<Self, Problem> {
        read(line, text, escape).map_err(|text| Problem { line, text })
    }

    /// Returns the first value of a flag; `None` if it is not given or empty.
    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// Returns the name that `FROM` gives its stage, as builders compare it.
    pub(super) fn stage_name(&self) -> Option<String> {
        (self.keyword == Keyword::From).then(|| self.words().get(2).map(|name| name.to_lowercase())).flatten()
    }

    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.flags.iter().filter(move |(flag, _)| flag == name);
        named.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns whether builders look for here-documents in this instruction.
    pub(super) fn has_here_documents(&self) -> bool {
        let inner = self.later.as_deref().unwrap_or(self);
        matches!(inner.keyword, Keyword::Add | Keyword::Copy | Keyword::Run) && inner.json.is_none()
    }

    /// Returns the arguments as words: the strings of a JSON array, or what blanks separate.
    pub(super) fn words(&self) -> Vec<&str> {
        match &self.json {
            Some(strings) => strings.iter().map(String::as_str).collect(),
            None => self.arguments.split(is_blank).filter(|word| !word.is_empty()).collect(),
        }
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

fn read(line: usize, text: &str, escape: char) -> Result<Instruction, String> {
    let (word, keyword, rest) = first(text);
    let Some(keyword) = keyword else { return Err(unknown_instruction(word)) };
    let (words, arguments) = split_flags(rest, escape);
    let arguments = arguments.trim().to_owned();
    let flags = if keyword == Keyword::Healthcheck && arguments.eq_ignore_ascii_case("none") {
        Vec::new()
    } else {
        flags(keyword, &words)?
    };
    let mut found = Instruction { line, keyword, flags, arguments, json: None, later: None, fault: None };
    if keyword.may_be_json() {
        found.json = json(keyword, &found.arguments)?;
    }
    if keyword == Keyword::Onbuild {
        let (later, fault) = onbuild(line, &found.arguments, escape)?;
        (found.later, found.fault) = (later.map(Box::new), fault);
    }
    check_arguments(&found, escape)?;
    Ok(found)
}

/// Returns the first word of an instruction, what it means, and the rest.
fn first(text: &str) -> (&str, Option<Keyword>, &str) {
    let text = text.trim();
    let (word, rest) = text.split_once(is_blank).unwrap_or((text, ""));
    let keyword = KEYWORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    (word, keyword.map(|(_, keyword)| *keyword), rest.trim_start_matches(is_blank))
}

fn unknown_instruction(word: &str) -> String {
    if ["{{", "{%", "<%", "[%", "@@", "%%"].iter().any(|mark| word.starts_with(mark)) {
        return format!("{word:?} is no instruction: this is a template of a Containerfile");
    }
    let shown: String = word.chars().take(40).collect();
    format!("unknown instruction '{shown}'")
}

/// Reads what `ONBUILD` puts off. Builders look at its first word only, until they run it.
fn onbuild(line: usize, text: &str, escape: char) -> Result<(Option<Instruction>, Option<String>), String> {
    if text.is_empty() {
        return Err("ONBUILD needs an instruction".to_owned());
    }
    let (_, keyword, rest) = first(text);
    if let Some(keyword @ (Keyword::Onbuild | Keyword::Maintainer | Keyword::From)) = keyword {
        return Err(format!("{} is not allowed after ONBUILD", keyword.name()));
    }
    Ok(match (read(line, text, escape), keyword) {
        (Ok(later), _) => (Some(later), None),
        (Err(fault), None) => (None, Some(fault)),
        (Err(fault), Some(keyword)) => {
            let arguments = split_flags(rest, escape).1.trim().to_owned();
            let later =
                Instruction { line, keyword, flags: Vec::new(), arguments, json: None, later: None, fault: None };
            (Some(later), Some(fault))
        }
    })
}

/// Splits the words that begin with `--` from the rest. A word `--` ends them.
fn split_flags(text: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let (word, after) = flag_word(rest, escape);
        rest = after.trim_start();
        if word == "--" {
            return (flags, rest);
        }
        if !word.is_empty() {
            flags.push(word);
        }
    }
    (flags, rest)
}

/// Returns the first word without quotes and escapes, and the text after it.
fn flag_word(text: &str, escape: char) -> (String, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == escape {
            word.extend(chars.next().map(|(_, next)| next));
        } else if quote == Some(c) {
            quote = None;
        } else if quote.is_some() {
            word.push(c);
        } else if c.is_whitespace() {
            return (word, &text[at..]);
        } else if c == '"' || c == '\'' {
            quote = Some(c);
        } else {
            word.push(c);
        }
    }
    (word, "")
}

/// Checks the flags of an instruction, and returns their names and values.
fn flags(keyword: Keyword, words: &[String]) -> Result<Vec<(String, String)>, String> {
    let Some(allowed) = keyword.flags() else { return Ok(Vec::new()) };
    let mut found: Vec<(String, String)> = Vec::new();
    for word in words {
        let (flag, value) = word.split_once('=').map_or((word.as_str(), None), |(flag, value)| (flag, Some(value)));
        let Some((name, takes)) = allowed.iter().find(|(name, _)| flag.strip_prefix("--") == Some(*name)) else {
            return Err(format!("{} has no flag {flag}{}", keyword.name(), did_you_mean(flag, allowed)));
        };
        if *takes != Takes::Values && found.iter().any(|(known, _)| known == name) {
            return Err(format!("{} has the flag --{name} twice", keyword.name()));
        }
        let value = match (takes, value) {
            (Takes::Switch, None) => "true",
            (Takes::Switch, Some(value)) if ["true", "false"].iter().any(|word| value.eq_ignore_ascii_case(word)) => {
                value
            }
            (Takes::Switch, Some(value)) => return Err(format!("--{name} is true or false, not {value:?}")),
            (_, Some(value)) => value,
            (_, None) => return Err(format!("--{name} needs a value, as in --{name}=…")),
        };
        found.push(((*name).to_owned(), value.to_owned()));
    }
    Ok(found)
}

fn did_you_mean(flag: &str, allowed: &[(&str, Takes)]) -> String {
    let names: Vec<&str> = allowed.iter().map(|(name, _)| *name).collect();
    let near = super::reader::nearest(flag.trim_start_matches('-'), &names);
    near.map_or_else(String::new, |near| format!(", did you mean --{near}?"))
}

/// Returns the strings of a JSON array; `None` if the arguments are none, and so are a text.
fn json(keyword: Keyword, arguments: &str) -> Result<Option<Vec<String>>, String> {
    let text = match keyword {
        // After the type of the check.
        Keyword::Healthcheck => arguments.split_once(char::is_whitespace).map_or("", |(_, rest)| rest),
        _ => arguments,
    };
    let Ok(Json::Array(items)) = serde_json::from_str::<Json>(text.trim_start()) else { return Ok(None) };
    let strings = items.into_iter().map(|item| match item {
        Json::String(text) => Ok(text),
        _ => Err(format!("the array after {} must have strings only", keyword.name())),
    });
    strings.collect::<Result<_, _>>().map(Some)
}

fn check_arguments(found: &Instruction, escape: char) -> Result<(), String> {
    let name = found.keyword.name();
    let words = found.words();
    let wrong = match found.keyword {
        Keyword::From if words.is_empty() => "FROM instruction requires at least one argument".to_owned(),
        Keyword::From if words.len() == 1 => return Ok(()),
        Keyword::From if words.len() == 3 && words[1].eq_ignore_ascii_case("as") => return check_stage_name(words[2]),
        Keyword::From => "FROM takes an image, or an image, AS and the name of a stage".to_owned(),
        Keyword::Add | Keyword::Copy if words.len() < 2 => format!("{name} needs a source and a destination"),
        Keyword::Add | Keyword::Copy if words.last().is_some_and(|word| words::is_here_document(word)) => {
            format!("{name} cannot have a here-document as its destination")
        }
        Keyword::Env | Keyword::Label => return check_pairs(name, &found.arguments, escape),
        Keyword::Arg => return check_names(&found.arguments, escape),
        Keyword::Healthcheck => match words.first().map(|word| word.to_ascii_uppercase()).as_deref() {
            _ if found.json.is_some() => return Ok(()),
            Some("NONE") if words.len() == 1 => return Ok(()),
            Some("CMD") if words.len() > 1 => return Ok(()),
            _ => "HEALTHCHECK takes NONE, or CMD and a command".to_owned(),
        },
        Keyword::Shell if found.json.as_ref().is_none_or(Vec::is_empty) => "SHELL needs a JSON array".to_owned(),
        Keyword::Expose
        | Keyword::Maintainer
        | Keyword::Stopsignal
        | Keyword::User
        | Keyword::Volume
        | Keyword::Workdir
            if words.is_empty() =>
        {
            format!("{name} needs an argument")
        }
        _ => return Ok(()),
    };
    Err(wrong)
}

/// The name of a stage, which builders compare in lower case, is not expanded.
fn check_stage_name(name: &str) -> Result<(), String> {
    let lower = name.to_lowercase();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if lower.starts_with(|c: char| c.is_ascii_lowercase()) && lower.chars().all(plain) {
        return Ok(());
    }
    let why = if name.contains('$') {
        "variables are not replaced in it"
    } else {
        "it must begin with a letter, and have letters, digits, -, _ and . only"
    };
    Err(format!("{name:?} cannot be the name of a stage: {why}"))
}

/// Checks `NAME=value …`, or `NAME value`.
fn check_pairs(instruction: &str, arguments: &str, escape: char) -> Result<(), String> {
    let words = words::split(arguments, escape);
    match words.as_slice() {
        [] => Err(format!("{instruction} needs a name and a value")),
        [first, ..] if !first.contains('=') => {
            if arguments.contains(is_blank) {
                Ok(())
            } else {
                Err(format!("{instruction} {first} has no value"))
            }
        }
        words => match words.iter().find(|word| !word.contains('=') || word.starts_with('=')) {
            Some(word) => Err(format!("{instruction}: {word} is not of the form name=value")),
            None => Ok(()),
        },
    }
}

fn check_names(arguments: &str, escape: char) -> Result<(), String> {
    let words = words::split(arguments, escape);
    if words.is_empty() || words.iter().any(|word| word.starts_with('=')) {
        return Err("ARG without a name".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Instruction, String> {
        Instruction::parse(1, text, '\\').map_err(|problem| problem.text)
    }

    #[test]
    fn flags_come_before_arguments() {
        for (text, flags, arguments) in [
            ("copy --from=a --link b c", &[("from", "a"), ("link", "true")][..], "b c"),
            ("COPY --chown='a b' --from=\"x\" b --c", &[("chown", "a b"), ("from", "x")], "b --c"),
            ("RUN --mount=a --mount=b -- --x", &[("mount", "a"), ("mount", "b")], "--x"),
            ("RUN\t--network=none  true", &[("network", "none")], "true"),
            ("RUN -x --mount=a", &[], "-x --mount=a"),
            ("FROM --platform=a\\ b c", &[("platform", "a b")], "c"),
            ("ARG --what A=1", &[], "A=1"),
            ("HEALTHCHECK --any NONE", &[], "NONE"),
            ("ADD --link=FALSE a b", &[("link", "FALSE")], "a b"),
        ] {
            let found = parse(text).unwrap();
            let given: Vec<_> = found.flags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!((given.as_slice(), found.arguments.as_str()), (flags, arguments), "{text}");
        }
    }

    #[test]
    fn what_builders_refuse_is_refused() {
        for (text, expected) in [
            ("INSTALL x", "unknown instruction 'INSTALL'"),
            ("{{ x }}", "\"{{\" is no instruction: this is a template of a Containerfile"),
            ("COPY --form=a b c", "COPY has no flag --form, did you mean --from?"),
            ("ADD --from=a b c", "ADD has no flag --from"),
            ("RUN --zzzzzzzz true", "RUN has no flag --zzzzzzzz"),
            ("CMD --help", "CMD has no flag --help"),
            ("COPY --from=a --from=b c d", "COPY has the flag --from twice"),
            ("COPY --from a b", "--from needs a value, as in --from=…"),
            ("COPY --link=yes a b", "--link is true or false, not \"yes\""),
            ("COPY a", "COPY needs a source and a destination"),
            ("ADD [\"a\"]", "ADD needs a source and a destination"),
            ("COPY a <<EOF", "COPY cannot have a here-document as its destination"),
            ("COPY <<A 3<<-'EOF'", "COPY cannot have a here-document as its destination"),
            ("FROM", "FROM instruction requires at least one argument"),
            ("FROM a b", "FROM takes an image, or an image, AS and the name of a stage"),
            ("FROM a AS b c", "FROM takes an image, or an image, AS and the name of a stage"),
            (
                "FROM a AS 1b",
                "\"1b\" cannot be the name of a stage: it must begin with a letter, and have letters, digits, -, _ and . only",
            ),
            ("FROM a AS x$B", "\"x$B\" cannot be the name of a stage: variables are not replaced in it"),
            ("RUN [\"a\", 1]", "the array after RUN must have strings only"),
            ("CMD [\"a\", [\"b\"]]", "the array after CMD must have strings only"),
            ("SHELL sh -c", "SHELL needs a JSON array"),
            ("ENV A", "ENV A has no value"),
            ("ENV A=b c", "ENV: c is not of the form name=value"),
            ("LABEL", "LABEL needs a name and a value"),
            ("ARG", "ARG without a name"),
            ("ARG =x", "ARG without a name"),
            ("USER", "USER needs an argument"),
            ("HEALTHCHECK true", "HEALTHCHECK takes NONE, or CMD and a command"),
            ("ONBUILD", "ONBUILD needs an instruction"),
            ("ONBUILD FROM a", "FROM is not allowed after ONBUILD"),
            ("ONBUILD ONBUILD RUN a", "ONBUILD is not allowed after ONBUILD"),
        ] {
            assert_eq!(parse(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_builders_accept_is_accepted() {
        for text in [
            "ENTRYPOINT []",
            "CMD",
            "RUN [a, b]",
            "ENV A b c=d",
            "LABEL \"a b\"='c d' e=",
            "ARG A B=\"x y\" C=",
            "HEALTHCHECK --interval=5s CMD [\"a\"]",
            "HEALTHCHECK cmd a",
            "EXPOSE $PORT",
            "VOLUME [\"/a\"]",
            "MAINTAINER a <b@c>",
            "FROM a as Build_1.x",
            "COPY [\"a b\", \"/c\"]",
            "COPY <<EOF /a",
            "COPY a \"<<EOF\"",
            "COPY a <<<EOF",
            "SHELL [\"a\"]",
            "STOPSIGNAL 9",
        ] {
            assert!(parse(text).is_ok(), "{text}: {:?}", parse(text));
        }
        assert_eq!(parse("COPY [\"a b\", \"/c\"]").unwrap().words(), ["a b", "/c"]);
        assert!(!parse("RUN [\"a\", \"<<E\"]").unwrap().has_here_documents());
        assert!(parse("ONBUILD run <<E").unwrap().has_here_documents());
        assert!(parse("ONBUILD COPY --bogus <<E a").unwrap().has_here_documents());
        assert!(!parse("ONBUILD foo <<E").unwrap().has_here_documents());
        for (text, fault) in [
            ("ONBUILD COPY --bogus a b", Some("COPY has no flag --bogus")),
            ("ONBUILD foo x", Some("unknown instruction 'foo'")),
            ("ONBUILD RUN x", None),
        ] {
            assert_eq!(parse(text).unwrap().fault.as_deref(), fault, "{text}");
        }
        assert!(!parse("CMD <<E").unwrap().has_here_documents());
    }
}

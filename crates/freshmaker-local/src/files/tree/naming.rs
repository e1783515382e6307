use super::{LOCALHOST, names};
use freshmaker::artifact::{ImageReference, ReferenceError};
use regex::{Regex, RegexBuilder};
use std::collections::BTreeMap;

/// How the images of a tree are named if the files themselves do not say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// The pattern for the name of an image, with `{path}`, `{name}` and `{tag}`; `None` (the
    /// default) for `localhost/{path}:{tag}`.
    pub pattern: Option<String>,
    /// Rules by path. The first one that fits takes precedence over the pattern.
    pub rules: Vec<Rule>,
    /// The images of single files, by path relative to the root, with `/`. They take precedence
    /// over everything else, and each of these files is read, whatever its name is.
    pub images: BTreeMap<String, ImageReference>,
}

/// The name of the images of all files whose paths fit an expression.
///
/// The expression must fit the whole path of a file, relative to the root. In the name, `{1}` is
/// its first group, `{word}` the group `(?<word>…)`, and `{path}`, `{name}` and `{tag}` are those
/// of the [module](super). The repository is written in lower case.
///
/// ```
/// use freshmaker_local::files::tree::{self, Naming, Rule};
///
/// let root = tempfile::tempdir()?;
/// for (directory, text) in [("NodeBase", "FROM debian:12\n"), ("NodeChrome", "FROM acme/node-base:4\n")] {
///     std::fs::create_dir(root.path().join(directory))?;
///     std::fs::write(root.path().join(directory).join("Dockerfile"), text)?;
/// }
/// let rule = Rule::new("Node(?<browser>[^/]+)/Dockerfile", "acme/node-{browser}:4")?;
/// let naming = Naming { rules: vec![rule], ..Naming::default() };
/// let tree = tree::scan(root.path(), &naming)?;
/// assert_eq!(tree.files["NodeChrome/Dockerfile"], "docker.io/acme/node-chrome:4".into());
/// assert_eq!(tree.graph.parents(&"docker.io/acme/node-chrome:4".into()).len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rule {
    file: Regex,
    image: String,
}

/// Says why a [`Rule`] cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// The expression is no regular expression.
    #[error("{0}")]
    File(String),
    /// The name has a word in braces that nothing replaces, or is not the name of an image.
    #[error("{0}")]
    Image(String),
}

/// Longest compiled expression, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

impl Rule {
    /// Makes a rule.
    ///
    /// # Errors
    /// [`RuleError::File`] if the expression is wrong, [`RuleError::Image`] if the name is.
    pub fn new(file: &str, image: &str) -> Result<Self, RuleError> {
        let compile = |expression: &str| RegexBuilder::new(expression).size_limit(REGEX_BYTES_MAX).build();
        // The expression alone first: `a)|(b` is none, although it would become one in brackets.
        let file = compile(file)
            .and_then(|_| compile(&format!(r"\A(?:{file})\z")))
            .map_err(|error| RuleError::File(format!("{file:?}: {}", last_line(&error.to_string()))))?;
        let words: Vec<&str> = file.capture_names().flatten().collect();
        let groups = file.captures_len();
        let known = |word: &str| {
            ["path", "name", "tag"].contains(&word)
                || words.contains(&word)
                || word.parse().is_ok_and(|number: usize| (1..groups).contains(&number))
        };
        if let Some(word) = braced(image).find(|word| !known(word)) {
            return Err(RuleError::Image(format!("{{{word}}} is not replaced: the expression has no such group")));
        }
        let rule = Self { file, image: image.to_owned() };
        match fill(&rule.image, |_| "a".to_owned()).parse::<ImageReference>() {
            Ok(_) => Ok(rule),
            Err(error) => Err(RuleError::Image(error.to_string())),
        }
    }

    fn image(&self, path: &str, place: &Place) -> Option<String> {
        let groups = self.file.captures(path)?;
        Some(fill(&self.image, |word| {
            let group = match word.parse::<usize>() {
                Ok(number) => groups.get(number),
                Err(_) => groups.name(word),
            };
            group.map_or_else(|| place.word(word), |group| group.as_str().to_owned())
        }))
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.file.as_str() == other.file.as_str() && self.image == other.image
    }
}

impl Eq for Rule {}

/// Returns what the library says last; the lines before it draw the expression again.
fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").trim_end_matches('.')
}

fn braced(image: &str) -> impl Iterator<Item = &str> {
    image.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(word, _)| word)
}

/// Replaces the words in braces. Up to the tag all is in lower case, as registries demand.
fn fill(image: &str, value: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = image;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((word, after)) = after.split_once('}') else {
            out.push('{');
            rest = after;
            continue;
        };
        let value = value(word);
        let in_tag = out.rsplit('/').next().unwrap_or_default().contains(':');
        out.push_str(&if in_tag { value } else { value.to_lowercase() });
        rest = after;
    }
    out.push_str(rest);
    out
}

impl Naming {
    /// Returns the number of the first rule that fits, from 0, and the name that it makes.
    pub(super) fn by_rule(&self, path: &str, place: &Place) -> Option<(usize, String)> {
        self.rules.iter().enumerate().find_map(|(number, rule)| Some((number, rule.image(path, place)?)))
    }
}

/// What the path of a file says about its image.
#[derive(Debug)]
pub(super) struct Place {
    directory: Vec<String>,
    tag: Option<String>,
}

impl Place {
    pub(super) fn of(path: &str, root_name: &str) -> Self {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = if directory.is_empty() { root_name } else { directory };
        // Of what has neither letters nor digits that fit a tag, nothing is left.
        let tag = names::tag_of(name).map(tag).filter(|tag| !tag.is_empty());
        Self { directory: directory.split('/').map(component).collect(), tag }
    }

    fn word(&self, word: &str) -> String {
        match word {
            "path" => self.directory.join("/"),
            "name" => self.directory.last().cloned().unwrap_or_default(),
            "tag" => self.tag.as_deref().unwrap_or("latest").to_owned(),
            _ => String::new(),
        }
    }

    pub(super) fn image(&self, pattern: Option<&str>) -> Result<ImageReference, ReferenceError> {
        fill(pattern.unwrap_or("localhost/{path}:{tag}"), |word| self.word(word)).parse()
    }

    /// Returns the short names that people use for the image of this file.
    pub(super) fn aliases(&self) -> impl Iterator<Item = ImageReference> {
        (1..=self.directory.len()).rev().flat_map(|end| {
            let (repository, rest) = self.directory.split_at(end);
            let tag: Vec<&str> = rest.iter().map(String::as_str).chain(self.tag.as_deref()).collect();
            let tag = if tag.is_empty() { "latest".to_owned() } else { tag.join("-") };
            let repository = repository.join("/");
            ["docker.io", LOCALHOST]
                .into_iter()
                .filter_map(move |host| format!("{host}/{repository}:{tag}").parse().ok())
        })
    }
}

/// Returns the name of a directory as a part of the name of an image: in lower case, and changed
/// only if it is not valid there.
fn component(name: &str) -> String {
    let lower = name.to_lowercase();
    let valid = format!("{LOCALHOST}/{lower}:x").parse::<ImageReference>().is_ok();
    if valid { lower } else { fit(name) }
}

/// Changes the name of a directory, which was not chosen for an image, so that it is valid in one.
pub(super) fn fit(name: &str) -> String {
    joined(&name.to_lowercase())
}

/// Returns what the name of a file adds as a tag: changed only if it is not valid there.
fn tag(added: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if added.chars().all(plain) && !added.starts_with(['.', '-']) { added.to_owned() } else { joined(added) }
}

/// Puts dashes in the place of everything that is neither a letter, a digit, a dot nor an
/// underscore.
fn joined(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric();
    let mut fitting = String::new();
    for word in name.split(|c| !plain(c) && c != '.' && c != '_') {
        let word = word.trim_matches(|c| !plain(c));
        if !word.is_empty() && !fitting.is_empty() {
            fitting.push('-');
        }
        fitting.push_str(word);
    }
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_short_names() {
        for (path, expected) in [
            ("base/Dockerfile", &["base:latest"][..]),
            ("base/Dockerfile.alpine", &["base:alpine"]),
            ("base/Dockerfile-alpine", &["base:alpine"]),
            ("python/3.12/slim/Dockerfile", &["python/3.12/slim:latest", "python/3.12:slim", "python:3.12-slim"]),
            ("go/.devcontainer/Dockerfile", &["go/devcontainer:latest", "go:devcontainer"]),
            ("Dockerfile", &["root:latest"]),
            ("base/Dockerfile.é", &["base:latest"]),
        ] {
            let names: Vec<String> = Place::of(path, "root")
                .aliases()
                .filter(|alias| alias.registry() == "docker.io")
                .map(|alias| alias.familiar())
                .collect();
            assert_eq!(names, expected, "{path}");
        }
    }

    #[test]
    fn directories_become_parts_of_names() {
        for (name, expected) in [
            ("a__b", "a__b"),
            ("My App", "my-app"),
            (".devcontainer", "devcontainer"),
            ("C++", "c"),
            ("_x_", "x"),
            ("é", ""),
        ] {
            assert_eq!(component(name), expected, "{name}");
        }
    }

    #[test]
    fn names_of_files_become_tags() {
        for (name, expected) in
            [("rhel9.test", "rhel9.test"), (" 2", "2"), ("(copy)", "copy"), ("a+B (2)", "a-B-2"), ("é", "")]
        {
            assert_eq!(tag(name), expected, "{name}");
        }
    }

    #[test]
    fn rules_make_names_of_groups() {
        let made =
            |file: &str, image: &str, path: &str| Rule::new(file, image).unwrap().image(path, &Place::of(path, "root"));
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(made("([^/]+)/v(.*)/Dockerfile", "q.io/{1}:{2}", "App/v1.2/Dockerfile"), some("q.io/app:1.2"));
        assert_eq!(made("(?<os>.*)/Dockerfile.*", "a/{os}/{name}:{tag}", "Win/X/Dockerfile.B"), some("a/win/x/x:B"));
        assert_eq!(made("x/Dockerfile", "a/b", "y/x/Dockerfile"), None);
        assert_eq!(made("x(y)?/Dockerfile", "a/b:z{1}", "x/Dockerfile"), some("a/b:z"));
        for (file, image, expected) in [
            ("(", "a", "\"(\": unclosed group"),
            ("a)|(b", "a", "\"a)|(b\": unopened group"),
            ("a", "x/{1}", "{1} is not replaced: the expression has no such group"),
            ("(a)", "x/{2}", "{2} is not replaced: the expression has no such group"),
            (
                "(a)",
                "a//{1}",
                "\"a//a\" is not an image name: the repository must be made of a-z and 0-9, separated by /, -, _, __ or .",
            ),
        ] {
            assert_eq!(Rule::new(file, image).unwrap_err().to_string(), expected, "{file} {image}");
        }
    }
}

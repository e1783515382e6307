use super::Facts;
use super::load::Raw;
use regex::{Regex, RegexBuilder};

/// Longer regular expressions are refused: nobody can review them.
const PATTERN_CHARS_MAX: usize = 1_000;
/// Rules within rules go no deeper: nobody can follow them.
const NESTING_MAX: usize = 16;
/// More rules than this, at all depths together, come from a generator gone wrong.
const RULES_MAX: usize = 10_000;
/// The same for the expressions of all rules.
const PATTERNS_MAX: usize = 50_000;
/// Memory of one compiled expression: a short one with large repetitions can need any amount.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// What people write who know these words from elsewhere; as names of facts they would silently match nothing.
const RESERVED: [&str; 8] = ["and", "or", "none", "one", "nor", "allow", "block", "handler"];

/// Why a policy cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {text}")]
pub struct PolicyError {
    /// The place: `policy.block[1].artifact`.
    pub path: String,
    /// What is wrong there.
    pub text: String,
}

impl PolicyError {
    pub(super) fn new(path: &str, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), text: text.into() }
    }
}

/// A rule of a [`Policy`](super::Policy), written in Rust rather than in a configuration file.
///
/// ```
/// use freshmaker::policy::{Facts, Policy, Rule};
///
/// let ours = Rule::when("artifact", "quay\\.io/team/.*").and_not(Rule::when("image_tag", "old-.*"));
/// let theirs = Rule::any([Rule::when("target", "main"), Rule::when("target", "next")]).named("theirs");
/// let policy = Policy::from_rules([ours, theirs], [])?;
/// assert!(policy.judge(&Facts::default().with("artifact", "quay.io/team/app")).allowed);
/// assert_eq!(policy.judge(&Facts::default().with("target", "next")).rule, "policy.allow[1].any[1]");
/// # Ok::<(), freshmaker::policy::PolicyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Rule(Vec<(String, Raw)>);

impl Rule {
    /// Holds where a value of this fact matches the expression as a whole.
    pub fn when(fact: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self(Vec::new()).and_when(fact, pattern)
    }

    /// Holds where one of these does.
    pub fn any(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self(vec![("any".into(), Raw::list(rules))])
    }

    /// Holds where all of these do.
    pub fn all(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self(vec![("all".into(), Raw::list(rules))])
    }

    /// The same rule, which now also needs a value of this fact to match the expression.
    pub fn and_when(self, fact: impl Into<String>, pattern: impl Into<String>) -> Self {
        self.with(fact.into(), Raw::Text(pattern.into()))
    }

    /// The same rule, which now also needs the other one not to hold.
    pub fn and_not(self, rule: Rule) -> Self {
        self.with("not".into(), rule.into_raw())
    }

    /// The same rule with a name for people.
    pub fn named(self, name: impl Into<String>) -> Self {
        self.with("name".into(), Raw::Text(name.into()))
    }

    /// The same rule with a reason for people.
    pub fn because(self, reason: impl Into<String>) -> Self {
        self.with("because".into(), Raw::Text(reason.into()))
    }

    pub(super) fn into_raw(self) -> Raw {
        Raw::Map(self.0)
    }

    fn with(mut self, key: String, value: Raw) -> Self {
        self.0.push((key, value));
        self
    }
}

/// A rule that was checked and can be asked.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) path: String,
    pub(super) name: Option<String>,
    pub(super) because: Option<String>,
    facts: Vec<(String, Vec<Pattern>)>,
    any: Option<Vec<Compiled>>,
    all: Vec<Compiled>,
    not: Vec<Compiled>,
}

#[derive(Debug)]
enum Pattern {
    /// Without special characters: the text itself. Long lists of names stay small.
    Text(String),
    Regex(Regex),
}

impl Pattern {
    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Text(text) => text == value,
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

impl Compiled {
    /// The rule to name as the one that matched: this one, or the deepest alternative that did. `None` if it does not match.
    pub(super) fn find(&self, facts: &Facts) -> Option<&Self> {
        let holds =
            self.facts.iter().all(|(key, patterns)| {
                facts.get(key).any(|value| patterns.iter().any(|pattern| pattern.matches(value)))
            }) && self.all.iter().all(|rule| rule.find(facts).is_some())
                && self.not.iter().all(|rule| rule.find(facts).is_none());
        match &self.any {
            _ if !holds => None,
            None => Some(self),
            Some(rules) => rules.iter().find_map(|rule| rule.find(facts)),
        }
    }
}

/// Checks rules, and counts them.
#[derive(Debug, Default)]
pub(super) struct Compiler {
    rules: usize,
    patterns: usize,
    depth: usize,
}

impl Compiler {
    /// A list of rules of which any may match; it may be empty.
    pub(super) fn list(&mut self, path: &str, rules: Vec<Raw>) -> Result<Vec<Compiled>, PolicyError> {
        rules.into_iter().enumerate().map(|(i, rule)| self.rule(format!("{path}[{i}]"), rule, None)).collect()
    }

    fn rule(&mut self, path: String, raw: Raw, outer: Option<&Compiled>) -> Result<Compiled, PolicyError> {
        self.rules += 1;
        if self.rules > RULES_MAX {
            return Err(PolicyError::new(&path, format!("there are more than {RULES_MAX} rules")));
        }
        if self.depth == NESTING_MAX {
            return Err(PolicyError::new(&path, format!("rules are nested more than {NESTING_MAX} deep")));
        }
        let Raw::Map(entries) = raw else {
            return Err(PolicyError::new(&path, format!("expected a rule, which is a table, but found {raw}")));
        };
        let mut rule = Compiled {
            path,
            name: outer.and_then(|outer| outer.name.clone()),
            because: outer.and_then(|outer| outer.because.clone()),
            facts: Vec::new(),
            any: None,
            all: Vec::new(),
            not: Vec::new(),
        };
        self.depth += 1;
        let (texts, conditions): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(key, _)| key == "name" || key == "because");
        for (key, value) in texts {
            let Raw::Text(text) = value else {
                return Err(PolicyError::new(
                    &format!("{}.{key}", rule.path),
                    format!("expected a text, found {value}"),
                ));
            };
            *(if key == "name" { &mut rule.name } else { &mut rule.because }) = Some(text);
        }
        if conditions.is_empty() {
            // It would match everything or nothing, and either surprises somebody.
            return Err(PolicyError::new(&rule.path, "a rule needs at least one condition"));
        }
        for (key, value) in conditions {
            self.condition(&mut rule, &key, value)?;
        }
        self.depth -= 1;
        Ok(rule)
    }

    fn condition(&mut self, rule: &mut Compiled, key: &str, value: Raw) -> Result<(), PolicyError> {
        let path = format!("{}.{key}", rule.path);
        match key {
            "any" if rule.any.is_some() => return Err(PolicyError::new(&path, "given twice")),
            "any" => rule.any = Some(self.nested(&path, value, rule)?),
            "all" => {
                let rules = self.nested(&path, value, rule)?;
                rule.all.extend(rules);
            }
            "not" => {
                let negated = self.rule(path, value, None)?;
                rule.not.push(negated);
            }
            reserved if RESERVED.contains(&reserved) => {
                return Err(PolicyError::new(&path, format!("{reserved} is no fact; rules join by any, all and not")));
            }
            fact => self.fact(rule, &path, fact.to_owned(), value)?,
        }
        Ok(())
    }

    fn nested(&mut self, path: &str, value: Raw, outer: &Compiled) -> Result<Vec<Compiled>, PolicyError> {
        match value {
            Raw::List(rules) if !rules.is_empty() => rules
                .into_iter()
                .enumerate()
                .map(|(i, rule)| self.rule(format!("{path}[{i}]"), rule, Some(outer)))
                .collect(),
            Raw::List(_) => Err(PolicyError::new(path, "the list of rules is empty")),
            other => Err(PolicyError::new(path, format!("expected a list of rules, found {other}"))),
        }
    }

    fn fact(&mut self, rule: &mut Compiled, path: &str, key: String, value: Raw) -> Result<(), PolicyError> {
        if !key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) || key.is_empty() {
            return Err(PolicyError::new(path, "the name of a fact has only letters, digits, and _ - ."));
        }
        let patterns = match value {
            // A dotted key of TOML.
            Raw::Map(entries) if !entries.is_empty() => {
                for (inner, value) in entries {
                    self.fact(rule, &format!("{path}.{inner}"), format!("{key}.{inner}"), value)?;
                }
                return Ok(());
            }
            Raw::List(values) if !values.is_empty() => values
                .into_iter()
                .enumerate()
                .map(|(i, value)| self.pattern(&format!("{path}[{i}]"), value))
                .collect::<Result<_, _>>()?,
            Raw::List(_) | Raw::Map(_) => return Err(PolicyError::new(path, "there is nothing to match in it")),
            single => vec![self.pattern(path, single)?],
        };
        rule.facts.push((key, patterns));
        Ok(())
    }

    fn pattern(&mut self, path: &str, value: Raw) -> Result<Pattern, PolicyError> {
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            return Err(PolicyError::new(path, format!("there are more than {PATTERNS_MAX} expressions")));
        }
        let text = match value {
            Raw::Text(text) => text,
            Raw::Flag(flag) => flag.to_string(),
            Raw::Number(number) => number.to_string(),
            other => return Err(PolicyError::new(path, format!("expected a regular expression, found {other}"))),
        };
        if text.chars().count() > PATTERN_CHARS_MAX {
            return Err(PolicyError::new(path, format!("the expression has more than {PATTERN_CHARS_MAX} characters")));
        }
        if !text.contains(['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$']) {
            return Ok(Pattern::Text(text));
        }
        let compile = |expression: &str| RegexBuilder::new(expression).size_limit(REGEX_BYTES_MAX).build();
        // By itself first: `a)|(b` is no expression, although it would become one between the anchors.
        compile(&text)
            .and_then(|_| compile(&format!(r"\A(?:{text})\z")))
            .map(Pattern::Regex)
            .map_err(|error| PolicyError::new(path, format!("{text:?}: {}", reason(&error))))
    }
}

/// The last line of the library's message; those before it draw the expression once more.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim().trim_start_matches("error: ").trim_end_matches('.').to_owned()
}

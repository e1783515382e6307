//! Rules: how they are made, checked and evaluated.
//!
//! A rule is a table of conditions, from a file or from Rust. The compiler checks it, counts it
//! against the bounds of the whole policy, and compiles its expressions once. Evaluating visits
//! each condition at most once, and each expression takes time linear in the length of the value.
//!
//! *Invariant:* evaluating a rule cannot fail. *Invariant:* a missing fact matches no expression.
//! *Invariant:* an expression is matched against the whole value.

use super::Facts;
use super::load::Raw;
use regex::{Regex, RegexBuilder};

/// Longest regular expression, in characters. Longer ones cannot be reviewed.
const PATTERN_CHARS_MAX: usize = 1_000;
/// Deepest nesting of rules within rules. Deeper ones cannot be reviewed.
const NESTING_MAX: usize = 16;
/// Most rules of a policy, at all depths together. More are likely a fault of a generator.
const RULES_MAX: usize = 10_000;
/// Most expressions of a policy, in all rules together.
const PATTERNS_MAX: usize = 50_000;
/// Most memory for one compiled expression, in bytes: a short expression with large repetitions can
/// need any amount.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Words that other rule languages use. As names of facts they would match nothing, without an
/// error, so they are refused.
const RESERVED: [&str; 8] = ["and", "or", "none", "one", "nor", "allow", "block", "handler"];

/// Says which part of a policy is wrong, and why.
///
/// Every fault of a policy is found when it is loaded; judging never fails. Only the first fault is
/// reported. As text: `policy.block[1].artifact: "(": unclosed group`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {text}")]
pub struct PolicyError {
    /// The path of the wrong value, for example `policy.block[1].artifact`. It always begins with
    /// `policy`, wherever the policy stands in a larger configuration.
    pub path: String,
    /// What is wrong with the value.
    pub text: String,
}

impl PolicyError {
    pub(super) fn new(path: &str, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), text: text.into() }
    }
}

/// A rule of a [`Policy`](super::Policy), written in Rust instead of a configuration file.
///
/// A rule made here means the same as one in a [file](super), and has the same bounds. It is not
/// checked until a policy is made of it with [`from_rules`](super::Policy::from_rules).
///
/// | in a file | in Rust |
/// |---|---|
/// | `target = "main"` | `Rule::when("target", "main")` |
/// | two conditions in one table | `.and_when(..)` |
/// | `any = [a, b]` | `Rule::any([a, b])` |
/// | `all = [a, b]` | `Rule::all([a, b])` |
/// | `not = a` | `.and_not(a)` |
/// | `name`, `because` | `.named(..)`, `.because(..)` |
///
/// A list of expressions, `target = ["a", "b"]`, is `Rule::any` of two conditions.
///
/// ```
/// use freshmaker::policy::{Facts, Policy, Rule};
///
/// let ours =
///     Rule::when("artifact", "quay\\.io/team/.*").and_not(Rule::when("image_tag", "old-.*"));
/// let theirs =
///     Rule::any([Rule::when("target", "main"), Rule::when("target", "next")]).named("theirs");
/// let policy = Policy::from_rules([ours, theirs], [])?;
/// assert!(policy.judge(&Facts::default().with("artifact", "quay.io/team/app")).allowed);
/// let verdict = policy.judge(&Facts::default().with("target", "next"));
/// assert_eq!(verdict.rule, "policy.allow[1].any[1]");
/// # Ok::<(), freshmaker::policy::PolicyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Rule(Vec<(String, Raw)>);

impl Rule {
    /// Makes a rule that holds if a value of this fact matches the expression from end to end.
    ///
    /// `Rule::when("image_tag", "1")` does not hold for the tag `1.2`; with the expression `1.*` it
    /// does. The names of facts are listed in [the module](super#facts).
    pub fn when(fact: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self(Vec::new()).and_when(fact, pattern)
    }

    /// Makes a rule that holds if at least one of these rules holds. The list must not be empty.
    ///
    /// The verdict names the first one that holds, as in `policy.allow[1].any[0]`. Conditions that
    /// are added to the rule must hold as well.
    pub fn any(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self(vec![("any".into(), Raw::list(rules))])
    }

    /// Makes a rule that holds if all of these rules hold. The list must not be empty.
    pub fn all(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self(vec![("all".into(), Raw::list(rules))])
    }

    /// Adds a condition: a value of this fact must match the expression as well.
    pub fn and_when(self, fact: impl Into<String>, pattern: impl Into<String>) -> Self {
        self.with(fact.into(), Raw::Text(pattern.into()))
    }

    /// Adds a condition: the other rule must not hold.
    ///
    /// A missing fact makes the other rule not hold, so the condition then holds. If this is called
    /// several times, none of the other rules may hold.
    pub fn and_not(self, rule: Rule) -> Self {
        self.with("not".into(), rule.into_raw())
    }

    /// Gives the rule a name, which comes back in the [`Verdict`](super::Verdict).
    pub fn named(self, name: impl Into<String>) -> Self {
        self.with("name".into(), Raw::Text(name.into()))
    }

    /// Gives the rule a reason, which comes back in the [`Verdict`](super::Verdict).
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

/// A rule that was checked and can be evaluated.
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
    /// An expression without special characters is compared as text, so long lists of names need
    /// little memory.
    Text(String),
    Regex(Regex),
}

impl Pattern {
    /// Returns whether the whole value matches.
    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Text(text) => text == value,
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

impl Compiled {
    /// Returns the condition whose fact is not known, as the path of the condition and the name of
    /// the fact; the first one, at any depth.
    pub(super) fn unknown_fact(&self, known: &dyn Fn(&str) -> bool) -> Option<(String, &str)> {
        let own = self.facts.iter().map(|(fact, _)| fact.as_str()).find(|fact| !known(fact));
        let inner = self.any.iter().flatten().chain(&self.all).chain(&self.not);
        own.map(|fact| (format!("{}.{fact}", self.path), fact))
            .or_else(|| inner.into_iter().find_map(|rule| rule.unknown_fact(known)))
    }

    /// Returns the rule to name as the one that matched: this one, or the deepest alternative of
    /// `any` that did. `None` if the rule does not match.
    ///
    /// ```text
    /// target = "main", any = [{ kind = "rpm" }, { kind = "image" }]
    /// target main, kind image    the second alternative, any[1]
    /// target main, kind module   None: no alternative matches
    /// target next, kind image    None: the target does not match
    /// ```
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

    /// Returns whether the rule holds whatever further facts become known; `None` if that depends
    /// on them.
    pub(super) fn holds(&self, facts: &Facts) -> Option<bool> {
        let fact = |(key, patterns): &(String, Vec<Pattern>)| {
            let mut values = facts.get(key).peekable();
            values.peek()?;
            Some(values.any(|value| patterns.iter().any(|pattern| pattern.matches(value))))
        };
        let alternatives = self.any.iter().map(|rules| any(rules.iter().map(|rule| rule.holds(facts))));
        let all = self.all.iter().map(|rule| rule.holds(facts));
        let not = self.not.iter().map(|rule| rule.holds(facts).map(|holds| !holds));
        let conditions = self.facts.iter().map(fact).chain(alternatives).chain(all).chain(not);
        any(conditions.map(|holds| holds.map(|holds| !holds))).map(|one_fails| !one_fails)
    }
}

/// Returns whether one of these is true; `None` if that is not known.
pub(super) fn any(values: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut found = Some(false);
    for value in values {
        match value {
            Some(true) => return Some(true),
            None => found = None,
            Some(false) => {}
        }
    }
    found
}

/// Checks rules and counts them, so that the bounds hold for a whole policy.
#[derive(Debug, Default)]
pub(super) struct Compiler {
    rules: usize,
    patterns: usize,
    depth: usize,
}

impl Compiler {
    /// Checks a list of rules of which any may match. The list may be empty.
    pub(super) fn list(&mut self, path: &str, rules: Vec<Raw>) -> Result<Vec<Compiled>, PolicyError> {
        rules.into_iter().enumerate().map(|(i, rule)| self.rule(format!("{path}[{i}]"), rule, None)).collect()
    }

    /// Checks one rule, with its conditions and the rules within. `outer` is the rule whose name
    /// and reason it inherits: those of `any` and `all`, but not of `not`, which names no match.
    ///
    /// # Errors
    /// If it is no table or has no condition, if a bound is exceeded, or if a condition has a
    /// fault.
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
            // Such a rule would match everything or nothing, and readers disagree about which.
            return Err(PolicyError::new(&rule.path, "a rule needs at least one condition"));
        }
        for (key, value) in conditions {
            self.condition(&mut rule, &key, value)?;
        }
        self.depth -= 1;
        Ok(rule)
    }

    /// Checks one condition and adds it to the rule. `all` and `not` may be given several times,
    /// `any` once.
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

    /// Checks the rules of `any` or `all`, of which there must be at least one.
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

    /// Checks a condition about a fact: one expression, a list of them, or a table whose keys
    /// continue the name of the fact.
    fn fact(&mut self, rule: &mut Compiled, path: &str, key: String, value: Raw) -> Result<(), PolicyError> {
        if !key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) || key.is_empty() {
            return Err(PolicyError::new(path, "the name of a fact has only letters, digits, and _ - ."));
        }
        let patterns = match value {
            // A dotted key of TOML, such as `parameter.branch`.
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

    /// Checks and compiles one expression. An expression without special characters is kept as text
    /// and compared as such.
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
        if let Some(meant) = as_glob(&text) {
            return Err(PolicyError::new(
                path,
                format!("{text:?} looks like a glob, but is a regular expression; {meant}"),
            ));
        }
        let compile = |expression: &str| RegexBuilder::new(expression).size_limit(REGEX_BYTES_MAX).build();
        // Compile the text alone first: `a)|(b` is no valid expression, although it would become
        // one between the anchors.
        compile(&text)
            .and_then(|_| compile(&format!(r"\A(?:{text})\z")))
            .map(Pattern::Regex)
            .map_err(|error| PolicyError::new(path, format!("{text:?}: {}", reason(&error))))
    }
}

/// Returns what to write instead, if the expression looks like a glob: an asterisk that repeats one
/// letter, digit or mark, or stands first. `legacy-*` would match `legacy--` and not `legacy-app`.
///
/// ```text
/// legacy-*       write "legacy-.*"
/// *-dev          write ".*-dev"
/// legacy-.*      None, and so for  (ab)*  [a-z]*  \d*  a{2}*
/// ```
fn as_glob(text: &str) -> Option<String> {
    let (mut meant, mut found, mut class) = (String::new(), false, false);
    // Whether an asterisk here would be one of a glob; at the start there is nothing to repeat.
    let mut literal = true;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '*' && literal && !class {
            meant.push('.');
            found = true;
        }
        meant.push(c);
        if c == '\\' {
            meant.extend(chars.next());
        }
        class = c == '[' || class && c != ']';
        literal = !class && !"\\.)]}*+?|(^$".contains(c);
    }
    found.then(|| format!("write {meant:?}, or put what the asterisk repeats between (?: and )"))
}

/// Returns the last line of the library's message; the lines before it draw the expression again.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim().trim_start_matches("error: ").trim_end_matches('.').to_owned()
}

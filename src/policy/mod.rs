//! Rules of what may be rebuilt.
//!
//! A policy has `allow` and `block` rules: something may be rebuilt if an allow rule matches it (or there is none) and no block rule does.
//! Rules hold for everything, or only for one handler, for one kind of artifact, or for both together:
//!
//! ```toml
//! [[policy.block]]
//! name = "freeze"
//! because = "the release is frozen until Monday"
//! artifact = 'registry\.example\.org/product/.*'
//! not = { image_tag = ["dev", "nightly-.*"] }
//!
//! [[policy.kind.image.allow]]
//! any = [{ image_name = '.*/base' }, { parameter.branch = "stable" }]
//!
//! [[policy.handler.nightly.block]]
//! target = "stable"
//! ```
//!
//! A rule is a set of conditions that all have to hold:
//!
//! * the name of a fact, with a regular expression or a list of them: one of the expressions matches one of the fact's values from its first
//!   to its last character. A fact that is missing matches nothing;
//! * `any`, `all` and `not`, with rules in turn. `not` turns its whole rule round, so `not = { target = "x" }` holds where there is no target.
//!
//! `name` and `because` are for people: they come back in the [`Verdict`].
//!
//! Beside the rules a policy can say which plans are so large that somebody has to look at them first. What is said for one handler counts
//! instead of what is said for all:
//!
//! ```toml
//! [policy]
//! ask_above = 50
//!
//! [policy.handler.nightly]
//! ask_above = 500
//! ```
//!
//! The event of a plan with more builds is [skipped](crate::rebuild::EventState::Skipped) with the code `ask_first`, until somebody
//! [confirms](crate::engine::Handle::confirm) that plan.

mod load;
mod rule;

pub use rule::{PolicyError, Rule};

use crate::artifact::{Artifact, ArtifactKind, Parameter};
use rule::{Compiled, Compiler};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// What is known about an artifact and the event that concerns it: names with one or more values.
///
/// ```
/// use freshmaker::policy::Facts;
/// use freshmaker::{Artifact, ArtifactKind};
///
/// let image = Artifact::new("quay.io/team/app:1.2", ArtifactKind::Image).with_parameter("branch", "main");
/// let facts = Facts::default().with("manual", "true").about(&image);
/// assert!(facts.get("image_name").eq(["quay.io/team/app"]));
/// assert!(facts.get("image_tag").eq(["1.2"]));
/// assert!(facts.get("parameter.branch").eq(["main"]));
/// assert_eq!(facts.get("system").count(), 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(BTreeMap<String, BTreeSet<String>>);

impl Facts {
    /// The same facts with one more. A name that is there already gets a further value.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.entry(key.into()).or_default().insert(value.into());
        self
    }

    /// The same facts with those of an artifact, in place of any others of the same names:
    /// `artifact` (its id), `kind`, `system`, `target`, `source`, `parameter.<name>`, and of an image `image_name`, `image_tag` and `image_digest`.
    ///
    /// What the artifact does not have is no fact.
    #[must_use]
    pub fn about(mut self, artifact: &Artifact) -> Self {
        const OURS: [&str; 8] =
            ["artifact", "kind", "system", "target", "source", "image_name", "image_tag", "image_digest"];
        // A handler's own facts must not be able to answer for the artifact.
        self.0.retain(|key, _| !OURS.contains(&key.as_str()) && !key.starts_with("parameter."));
        self = self.with("artifact", artifact.id.as_str()).with("kind", kind_name(artifact.kind));
        let known = [
            ("system", artifact.system.as_deref()),
            ("target", Some(artifact.target.as_str()).filter(|target| !target.is_empty())),
            ("source", artifact.source.as_ref().map(|source| source.location.as_str())),
        ];
        for (key, value) in known {
            if let Some(value) = value {
                self = self.with(key, value);
            }
        }
        if artifact.kind == ArtifactKind::Image {
            self = self.about_image(artifact.id.as_str());
        }
        for (name, value) in artifact.parameters.iter() {
            let key = format!("parameter.{name}");
            match value {
                Parameter::Flag(flag) => self = self.with(key, flag.to_string()),
                Parameter::Number(number) => self = self.with(key, number.to_string()),
                Parameter::Text(text) => self = self.with(key, text),
                Parameter::Set(texts) => self.0.entry(key).or_default().extend(texts.iter().cloned()),
            }
        }
        self
    }

    /// The values of a fact; none if it is not known.
    pub fn get(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    fn about_image(mut self, reference: &str) -> Self {
        let (reference, digest) = match reference.split_once('@') {
            Some((reference, digest)) => (reference, Some(digest)),
            None => (reference, None),
        };
        // A colon before the last slash belongs to the port of the registry.
        let (name, tag) = match reference.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (reference, None),
        };
        self = self.with("image_name", name);
        for (key, value) in [("image_tag", tag), ("image_digest", digest)] {
            if let Some(value) = value {
                self = self.with(key, value);
            }
        }
        self
    }
}

/// The name of a kind in rules and configuration, which is also its serialized form.
fn kind_name(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Rpm => "rpm",
        ArtifactKind::Image => "image",
        ArtifactKind::Module => "module",
        ArtifactKind::ImageRepository => "image_repository",
        ArtifactKind::Repository => "repository",
    }
}

/// Rules of what may be rebuilt.
///
/// Usually a part of a configuration file, see [the module](self) for its form; or made with [`from_rules`](Self::from_rules).
/// All rules are checked when it is made. Cheap to clone.
///
/// ```
/// use freshmaker::policy::{Facts, Policy};
///
/// let policy: Policy = serde_json::from_str(r#"{"block": [{"artifact": "debian:.*"}, {"target": ["eol", "old-.*"]}]}"#)?;
/// let verdict = policy.judge(&Facts::default().with("artifact", "app").with("target", "old-7"));
/// assert!(!verdict.allowed);
/// assert_eq!(verdict.rule, "policy.block[1]");
///
/// let wrong = serde_json::from_str::<Policy>(r#"{"block": [{"artifact": "("}]}"#).unwrap_err();
/// assert!(wrong.to_string().starts_with(r#"policy.block[0].artifact: "(": unclosed group"#));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Policy {
    sections: Arc<[Section]>,
    ask_above: Arc<AskAbove>,
    /// Whose rules count beside those for every handler.
    handler: Option<Arc<str>>,
}

/// The largest plans that are started unasked.
#[derive(Clone, Debug, Default)]
struct AskAbove {
    general: Option<u32>,
    handlers: BTreeMap<String, u32>,
}

/// Rules with one extent.
#[derive(Debug)]
struct Section {
    handler: Option<String>,
    kind: Option<ArtifactKind>,
    allow: Vec<Compiled>,
    block: Vec<Compiled>,
}

impl Section {
    fn concerns(&self, handler: Option<&str>, facts: &Facts) -> bool {
        self.handler.as_deref().is_none_or(|name| handler == Some(name))
            && self.kind.is_none_or(|kind| facts.get("kind").any(|value| value == kind_name(kind)))
    }
}

impl Policy {
    /// Everything may be rebuilt.
    #[must_use]
    pub fn allow_all() -> Self {
        Self::default()
    }

    /// A policy of rules that hold for everything.
    ///
    /// # Errors
    /// [`PolicyError`] with the place of the first rule that makes no sense.
    pub fn from_rules(
        allow: impl IntoIterator<Item = Rule>,
        block: impl IntoIterator<Item = Rule>,
    ) -> Result<Self, PolicyError> {
        let mut compiler = Compiler::default();
        let section = Section {
            handler: None,
            kind: None,
            allow: compiler.list("policy.allow", allow.into_iter().map(Rule::into_raw).collect())?,
            block: compiler.list("policy.block", block.into_iter().map(Rule::into_raw).collect())?,
        };
        Ok(Self { sections: [section].into(), ..Self::default() })
    }

    /// The same policy, in which the rules of this handler count as well.
    #[must_use]
    pub fn for_handler(&self, name: &str) -> Self {
        Self { handler: Some(name.into()), ..self.clone() }
    }

    /// The same policy, in which a plan with more builds than this is not started unasked, unless something else is said for its handler.
    #[must_use]
    pub fn with_ask_above(mut self, builds: u32) -> Self {
        Arc::make_mut(&mut self.ask_above).general = Some(builds);
        self
    }

    /// How many builds a plan may have to be started unasked; `None` if any number. What is said for a single handler counts only in a policy
    /// [for that handler](Self::for_handler).
    #[must_use]
    pub fn ask_above(&self) -> Option<u32> {
        let own = self.handler.as_deref().and_then(|handler| self.ask_above.handlers.get(handler));
        own.copied().or(self.ask_above.general)
    }

    /// Whether these facts may be acted on, with the rule that says so. Rules of a single handler count only
    /// in a policy [for that handler](Self::for_handler).
    #[must_use]
    pub fn judge(&self, facts: &Facts) -> Verdict {
        self.decide(self.handler.as_deref(), facts)
    }

    /// Whether this handler may act on these facts, with the rule that says so.
    #[must_use]
    pub fn judge_for(&self, handler: &str, facts: &Facts) -> Verdict {
        self.decide(Some(handler), facts)
    }

    /// Whether there is no rule at all, so that facts need not be collected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }

    /// The handlers that have rules of their own: a name that no handler has is a mistake in the configuration.
    pub fn handlers(&self) -> impl Iterator<Item = &str> {
        let names: BTreeSet<_> = self.sections.iter().filter_map(|section| section.handler.as_deref()).collect();
        names.into_iter()
    }

    fn decide(&self, handler: Option<&str>, facts: &Facts) -> Verdict {
        let sections: Vec<_> = self.sections.iter().filter(|section| section.concerns(handler, facts)).collect();
        if let Some(rule) = sections.iter().flat_map(|section| &section.block).find_map(|rule| rule.find(facts)) {
            return Verdict::of(false, rule);
        }
        let mut allow = sections.iter().flat_map(|section| &section.allow).peekable();
        if allow.peek().is_none() {
            return Verdict { allowed: true, rule: NOTHING_BLOCKS.into(), name: None, because: None };
        }
        match allow.find_map(|rule| rule.find(facts)) {
            Some(rule) => Verdict::of(true, rule),
            None => Verdict { allowed: false, rule: NOTHING_ALLOWS.into(), name: None, because: None },
        }
    }
}

const NOTHING_BLOCKS: &str = "no rule blocks it";
const NOTHING_ALLOWS: &str = "no allow rule matches";

/// The answer of a policy, with the rule that gave it.
///
/// ```
/// use freshmaker::policy::{Facts, Policy, Rule};
///
/// let freeze = Rule::when("target", "stable").named("freeze").because("frozen until Monday");
/// let policy = Policy::from_rules([], [freeze])?;
/// let verdict = policy.judge(&Facts::default().with("target", "stable"));
/// assert_eq!(verdict.to_string(), "blocked by policy.block[0] (freeze): frozen until Monday");
/// assert_eq!(policy.judge(&Facts::default()).to_string(), "allowed: no rule blocks it");
/// # Ok::<(), freshmaker::policy::PolicyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Verdict {
    /// Whether it may be rebuilt.
    pub allowed: bool,
    /// The rule, by its path in the configuration; or in words why no rule decided.
    pub rule: String,
    /// The name of the rule, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The reason for the rule, as its author wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

impl Verdict {
    fn of(allowed: bool, rule: &Compiled) -> Self {
        Self { allowed, rule: rule.path.clone(), name: rule.name.clone(), because: rule.because.clone() }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.allowed { "allowed" } else { "blocked" })?;
        if self.rule == NOTHING_BLOCKS || self.rule == NOTHING_ALLOWS {
            return write!(f, ": {}", self.rule);
        }
        write!(f, " by {}", self.rule)?;
        if let Some(name) = &self.name {
            write!(f, " ({name})")?;
        }
        match &self.because {
            Some(because) => write!(f, ": {because}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;

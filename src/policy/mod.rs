//! Policies: rules that say which artifacts may be rebuilt.
//!
//! The planner asks the policy about every artifact that could become part of a plan, including
//! those that were asked for by name. A blocked artifact is excluded from the plan, with the reason
//! code `policy` and the [`Verdict`] as text, and so is everything that would only be rebuilt
//! because of it. Repositories that are prepared on demand are the exception: they are not judged.
//!
//! # How a policy decides
//!
//! A policy has `block` rules and `allow` rules. In this order:
//!
//! 1. If a block rule matches, the artifact is blocked.
//! 2. Else, if there is no allow rule, it is allowed.
//! 3. Else, if an allow rule matches, it is allowed.
//! 4. Else it is blocked.
//!
//! So a policy without rules allows everything, block rules alone are a blocklist, and allow rules
//! make an allowlist. If several rules match, the verdict names the first one: rules of the whole
//! policy before rules of a section, and in a section in the order of the file.
//!
//! Rules apply to everything, or only to one handler, to one kind of artifact, or to both together.
//! Only the rules that apply are counted above: allow rules for images do not restrict packages.
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
//! # Conditions
//!
//! A rule is a table of conditions. All of them must hold, and there must be at least one:
//!
//! * `fact = "expression"`, or a list of expressions. It holds if one of the expressions matches
//!   one of the values of the fact, from the first to the last character. If the fact is missing,
//!   it does not hold. Numbers and booleans are compared as text: `parameter.workers = 4`.
//! * `any = [rule, …]`. It holds if at least one of the rules holds.
//! * `all = [rule, …]`. It holds if all of the rules hold.
//! * `not = rule`. It holds if the rule does not hold, and therefore also if a fact of that rule is
//!   missing: `not = { target = "x" }` holds for an artifact without a target.
//!
//! `name` and `because` are texts for people, and come back in the [`Verdict`]. Rules within `any`
//! and `all` inherit both from the rule around them.
//!
//! Expressions are regular expressions of the crate `regex`: no look-around and no back-references,
//! so matching takes time linear in the length of the value. Upper and lower case are different
//! unless the expression begins with `(?i)`. Remember to write `\.` for a dot in a host name.
//!
//! An expression that looks like a glob, such as `legacy-*`, is an error: as a regular expression
//! it matches `legacy--` and not `legacy-app`. Write `legacy-.*`.
//!
//! # Facts
//!
//! [`Facts::about`] adds what is known about an artifact: `artifact` (its id), `kind`, `system`,
//! `target`, `source`, `parameter.<name>`, and for an image `image_name`, `image_tag` and
//! `image_digest`. [`Context::facts`](crate::handler::Context::facts) adds `dry_run` (`true` or
//! `false`), [`rebuild_requested`](crate::handler::rebuild_requested) adds `manual` (`true`). A
//! handler may add facts of its own, see [`Planner::facts`](crate::plan::Planner::facts).
//!
//! The name of a fact consists of ASCII letters, digits, `_`, `-` and `.`. It must not be one of
//! `and`, `or`, `none`, `one`, `nor`, `allow`, `block` and `handler`.
//!
//! A rule about a fact that nothing adds would never hold, so a misspelt fact is an error when the
//! engine is built. Declare the facts of your handlers with
//! [`EngineBuilder::facts`](crate::engine::EngineBuilder::facts); where a policy is used without an
//! engine, call [`Policy::check_facts`].
//!
//! # Examples
//!
//! A freeze of everything, except what a person asks for with
//! [`rebuild_requested`](crate::handler::rebuild_requested):
//!
//! ```toml
//! [[policy.block]]
//! name = "freeze"
//! because = "code freeze until Monday"
//! artifact = ".*"
//! not = { manual = "true" }
//! ```
//!
//! An allowlist: rebuild only the images of one team, and never a release candidate:
//!
//! ```toml
//! [[policy.kind.image.allow]]
//! image_name = 'registry\.example\.org/team/.*'
//!
//! [[policy.kind.image.block]]
//! image_tag = '.*-rc\d+'
//! ```
//!
//! A blocklist of packages for one handler:
//!
//! ```toml
//! [[policy.handler.nightly.kind.rpm.block]]
//! because = "these take more than six hours"
//! artifact = ["chromium", "libreoffice", "texlive-.*"]
//! ```
//!
//! # Confirmation of large plans
//!
//! A policy can also say how many builds a plan may have before a person must confirm it. A number
//! for one handler replaces the number for all:
//!
//! ```toml
//! [policy]
//! ask_above = 50
//!
//! [policy.handler.nightly]
//! ask_above = 500
//! ```
//!
//! A plan with more builds is not started. Its event is
//! [skipped](crate::rebuild::EventState::Skipped) with the code `ask_first`, and the plan is
//! stored, until a person [confirms](crate::client::Client::confirm) it. With `ask_above = 0` every
//! plan must be confirmed; without `ask_above` none.
//!
//! # Errors and bounds
//!
//! Every fault is found when the policy is loaded, with its path in the configuration. Judging
//! never fails. These are faults as well, because they are likely mistakes: an unknown key, a rule
//! without conditions, an empty list, a key that is given twice in one table, and an unknown kind
//! of artifact. A section of a handler that does not exist, and a fact that nothing adds, are found
//! when the engine is built.
//!
//! | bound | value |
//! |---|---|
//! | rules in a policy, at all depths together | 10,000 |
//! | rules within rules | 16 levels |
//! | expressions in a policy | 50,000 |
//! | length of an expression | 1,000 characters |
//! | memory of a compiled expression | 1 MiB |
//! | tables and lists within each other | 64 levels |

mod load;
mod rule;

pub use rule::{PolicyError, Rule};

use crate::artifact::{Artifact, ArtifactKind, Parameter};
use rule::{Compiled, Compiler};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// What is known about an artifact and the event that concerns it: names, each with one or more
/// values.
///
/// A condition of a rule holds if any of the values matches. A clone copies all names and values.
///
/// ```
/// use freshmaker::policy::Facts;
/// use freshmaker::{Artifact, ArtifactKind};
///
/// let image = Artifact::new("quay.io/team/app:1.2", ArtifactKind::Image)
///     .with_parameter("branch", "main");
/// let facts = Facts::default().with("manual", "true").about(&image);
/// assert!(facts.get("image_name").eq(["quay.io/team/app"]));
/// assert!(facts.get("image_tag").eq(["1.2"]));
/// assert!(facts.get("parameter.branch").eq(["main"]));
/// assert_eq!(facts.get("system").count(), 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(BTreeMap<String, BTreeSet<String>>);

impl Facts {
    /// Adds a fact. If the name exists already, the fact gets a further value.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.entry(key.into()).or_default().insert(value.into());
        self
    }

    /// Adds the facts of an artifact, replacing any facts with these names:
    ///
    /// * `artifact`: its id, as the catalog writes it;
    /// * `kind`: `rpm`, `image`, `module`, `image_repository` or `repository`;
    /// * `system`, `target` and `source` (the location of the recipe), if the artifact has them;
    /// * `parameter.<name>`: one fact for each build parameter; a set has one value for each
    ///   member;
    /// * of an image: `image_name`, and `image_tag` and `image_digest` if the id contains them.
    ///
    /// Facts that the artifact does not have are removed, not kept from an earlier call.
    #[must_use]
    pub fn about(mut self, artifact: &Artifact) -> Self {
        // A fact of a handler must not be taken for a fact of the artifact.
        self.0.retain(|key, _| !ABOUT_ARTIFACTS.contains(&key.as_str()) && !key.starts_with("parameter."));
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

    /// Returns the values of a fact, sorted; an empty iterator if the fact is missing.
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

/// The facts that [`Facts::about`] adds, besides `parameter.<name>`.
const ABOUT_ARTIFACTS: [&str; 8] =
    ["artifact", "kind", "system", "target", "source", "image_name", "image_tag", "image_digest"];

/// The facts that the context and the handlers of this crate add.
const ABOUT_EVENTS: [&str; 2] = ["dry_run", "manual"];

/// Returns the name of a kind in rules and configuration. It is the same as in serde formats.
fn kind_name(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Rpm => "rpm",
        ArtifactKind::Image => "image",
        ArtifactKind::Module => "module",
        ArtifactKind::ImageRepository => "image_repository",
        ArtifactKind::Repository => "repository",
    }
}

/// Rules that decide which artifacts may be rebuilt.
///
/// Read it from a configuration file, in the form that [the module](self) describes, or make it
/// with [`from_rules`](Self::from_rules). All rules are checked then. A clone is cheap: clones
/// share the rules.
///
/// ```
/// use freshmaker::policy::{Facts, Policy};
///
/// let policy: Policy = serde_json::from_str(
///     r#"{"block": [{"artifact": "debian:.*"}, {"target": ["eol", "old-.*"]}]}"#,
/// )?;
/// let verdict = policy.judge(&Facts::default().with("artifact", "app").with("target", "old-7"));
/// assert!(!verdict.allowed);
/// assert_eq!(verdict.rule, "policy.block[1]");
///
/// let wrong = serde_json::from_str::<Policy>(r#"{"block": [{"artifact": "("}]}"#).unwrap_err();
/// assert!(wrong.to_string().starts_with(r#"policy.block[0].artifact: "(": unclosed group"#));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[doc(alias = "freeze")]
#[doc(alias = "allowlist")]
#[doc(alias = "blocklist")]
#[doc(alias = "whitelist")]
#[doc(alias = "blacklist")]
#[derive(Clone, Debug, Default)]
pub struct Policy {
    sections: Arc<[Section]>,
    ask_above: Arc<AskAbove>,
    /// The handler whose rules apply, besides the rules for all handlers.
    handler: Option<Arc<str>>,
}

/// The largest plans that are started without a confirmation, in builds.
#[derive(Clone, Debug, Default)]
struct AskAbove {
    general: Option<u32>,
    handlers: BTreeMap<String, u32>,
}

/// Rules for the same handler and kind.
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
    /// Returns a policy without rules, which allows everything and confirms nothing.
    #[must_use]
    pub fn allow_all() -> Self {
        Self::default()
    }

    /// Makes a policy of rules that apply to everything.
    ///
    /// Without `allow` rules everything is allowed that no `block` rule matches.
    ///
    /// # Errors
    /// [`PolicyError`] with the path of the first rule that is wrong, such as
    /// `policy.block[1].artifact`.
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

    /// Returns the same policy for one handler: its rules apply besides those for all handlers.
    ///
    /// The engine calls this with the registered name of the handler. A name without rules of its
    /// own is no error.
    #[must_use]
    pub fn for_handler(&self, name: &str) -> Self {
        Self { handler: Some(name.into()), ..self.clone() }
    }

    /// Returns the same policy with a limit: a plan with more builds must be confirmed by a person.
    ///
    /// A limit that the configuration sets for a single handler is kept, and counts for that
    /// handler instead. 0 means that every plan must be confirmed.
    #[must_use]
    pub fn with_ask_above(mut self, builds: u32) -> Self {
        Arc::make_mut(&mut self.ask_above).general = Some(builds);
        self
    }

    /// Returns how many builds a plan may have without a confirmation; `None` if there is no limit.
    ///
    /// A limit for a single handler counts only in a policy [for that handler](Self::for_handler),
    /// and there it replaces the general one.
    #[must_use]
    pub fn ask_above(&self) -> Option<u32> {
        let own = self.handler.as_deref().and_then(|handler| self.ask_above.handlers.get(handler));
        own.copied().or(self.ask_above.general)
    }

    /// Decides whether the artifact that these facts describe may be rebuilt.
    ///
    /// Rules for a single handler count only in a policy [for that handler](Self::for_handler).
    /// This takes time linear in the number of rules that apply. See [the module](self) for the
    /// order of the rules.
    #[must_use]
    pub fn judge(&self, facts: &Facts) -> Verdict {
        self.decide(self.handler.as_deref(), facts)
    }

    /// Decides whether this handler may rebuild the artifact that these facts describe.
    ///
    /// The same as [`for_handler`](Self::for_handler) followed by [`judge`](Self::judge).
    #[must_use]
    pub fn judge_for(&self, handler: &str, facts: &Facts) -> Verdict {
        self.decide(Some(handler), facts)
    }

    /// Returns the verdict that blocks everything which these facts are a part of: every artifact,
    /// whatever else becomes known about it. `None` if something may be allowed.
    ///
    /// With this a handler finds out that an event leads to nothing before it asks a catalog. Pass
    /// all facts about the event; a fact that has values gets no further ones. Rules for a kind of
    /// artifact count only if the fact `kind` is among them.
    ///
    /// ```
    /// use freshmaker::policy::{Facts, Policy, Rule};
    ///
    /// let allow = Rule::when("advisory_impact", "critical").and_when("image_name", "ubi9.*");
    /// let policy = Policy::from_rules([allow], [])?;
    /// let advisory = |impact| Facts::default().with("advisory_impact", impact);
    /// let blocked = policy.blocks_all(&advisory("low")).map(|verdict| verdict.to_string());
    /// assert_eq!(blocked.as_deref(), Some("blocked: no allow rule matches"));
    /// assert_eq!(policy.blocks_all(&advisory("critical")), None);
    /// # Ok::<(), freshmaker::policy::PolicyError>(())
    /// ```
    #[must_use]
    pub fn blocks_all(&self, facts: &Facts) -> Option<Verdict> {
        let concerning = |section: &&Section| section.concerns(self.handler.as_deref(), facts);
        let sections: Vec<_> = self.sections.iter().filter(concerning).collect();
        let mut block = sections.iter().flat_map(|section| &section.block);
        if let Some(rule) = block.find(|rule| rule.holds(facts) == Some(true)) {
            return Some(Verdict::of(false, rule));
        }
        let allow: Vec<_> = sections.iter().flat_map(|section| &section.allow).collect();
        let none = !allow.is_empty() && rule::any(allow.iter().map(|rule| rule.holds(facts))) == Some(false);
        none.then(Verdict::nothing_allows)
    }

    /// Returns whether the policy was made without rules, so that facts need not be collected.
    ///
    /// Only [`allow_all`](Self::allow_all) is empty: a policy that was read from a configuration,
    /// or made with [`from_rules`](Self::from_rules), is not, even if it has no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }

    /// Returns the names of the handlers that have a section of their own, each once and sorted.
    ///
    /// The engine refuses a policy that names a handler which is not registered.
    pub fn handlers(&self) -> impl Iterator<Item = &str> {
        let names: BTreeSet<_> = self.sections.iter().filter_map(|section| section.handler.as_deref()).collect();
        names.into_iter()
    }

    /// Checks that every fact in a condition is [one that is always known](self#facts) or one of
    /// `declared`.
    ///
    /// A condition about any other fact would never hold, so what a misspelt rule was to block
    /// would be rebuilt. The engine checks this when it is built, with the facts that
    /// [`EngineBuilder::facts`](crate::engine::EngineBuilder::facts) declares. Call it yourself
    /// where a policy is used without an engine.
    ///
    /// ```
    /// use freshmaker::policy::{Policy, Rule};
    ///
    /// let policy = Policy::from_rules([], [Rule::when("image-name", ".*/app")])?;
    /// let error = policy.check_facts(["advisory"]).unwrap_err();
    /// assert_eq!(error.path, "policy.block[0].image-name");
    /// assert!(error.text.contains("image_name"), "the known facts are listed");
    ///
    /// let policy = Policy::from_rules([], [Rule::when("advisory", "RHSA-.*")])?;
    /// assert!(policy.check_facts(["advisory"]).is_ok());
    /// # Ok::<(), freshmaker::policy::PolicyError>(())
    /// ```
    ///
    /// # Errors
    /// [`PolicyError`] with the path of the first such condition and a list of the known facts.
    pub fn check_facts<'a>(&self, declared: impl IntoIterator<Item = &'a str>) -> Result<(), PolicyError> {
        let known: BTreeSet<&str> = ABOUT_ARTIFACTS.into_iter().chain(ABOUT_EVENTS).chain(declared).collect();
        let is_known = |fact: &str| known.contains(fact) || fact.starts_with("parameter.");
        let mut rules = self.sections.iter().flat_map(|section| section.block.iter().chain(&section.allow));
        let Some((path, fact)) = rules.find_map(|rule| rule.unknown_fact(&is_known)) else { return Ok(()) };
        let known: Vec<_> = known.into_iter().collect();
        let text = format!(
            "there is no fact {fact:?}, so the condition would never hold; there are {}, parameter.<name>; \
             facts that a handler adds are declared with EngineBuilder::facts",
            known.join(", ")
        );
        Err(PolicyError::new(&path, text))
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
            None => Verdict::nothing_allows(),
        }
    }
}

const NOTHING_BLOCKS: &str = "no rule blocks it";
const NOTHING_ALLOWS: &str = "no allow rule matches";

/// The decision of a policy, with the rule that made it.
///
/// As text: `blocked by policy.block[0] (freeze): frozen until Monday`.
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
    /// Whether the artifact may be rebuilt.
    pub allowed: bool,
    /// The path of the rule in the configuration, for example `policy.allow[1].any[0]`. If no rule
    /// decided: `no rule blocks it` or `no allow rule matches`.
    pub rule: String,
    /// The rule's `name`, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The rule's `because`, as its author wrote it, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

impl Verdict {
    fn of(allowed: bool, rule: &Compiled) -> Self {
        Self { allowed, rule: rule.path.clone(), name: rule.name.clone(), because: rule.because.clone() }
    }

    fn nothing_allows() -> Self {
        Self { allowed: false, rule: NOTHING_ALLOWS.into(), name: None, because: None }
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

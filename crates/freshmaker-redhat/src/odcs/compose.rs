use freshmaker::artifact::{ArtifactId, Digest, Parameter, Parameters};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// What a compose is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SourceType {
    /// The packages of a Koji tag.
    Tag,
    /// Modules.
    Module,
    /// Content sets of Pulp: a list of existing repositories, whose contents continue to change.
    Pulp,
    /// A configuration of Pungi that the server knows by name.
    RawConfig,
    /// Builds of Koji.
    Build,
}

impl SourceType {
    /// All source types.
    pub const ALL: [Self; 5] = [Self::Tag, Self::Module, Self::Pulp, Self::RawConfig, Self::Build];

    /// Returns the name in requests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Module => "module",
            Self::Pulp => "pulp",
            Self::RawConfig => "raw_config",
            Self::Build => "build",
        }
    }

    /// Returns the number in answers.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Tag => 1,
            Self::Module => 2,
            Self::Pulp => 4,
            Self::RawConfig => 5,
            Self::Build => 6,
        }
    }
}

/// A flag of a request for a compose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Flag {
    /// Leaves out the dependencies of the packages or modules.
    NoDeps,
    /// Leaves out packages that the tag inherits.
    NoInheritance,
    /// Includes repositories of Pulp that are not published.
    IncludeUnpublishedPulpRepos,
    /// The compose fails if a dependency is broken.
    CheckDeps,
    /// Includes modules that are built but not released.
    IncludeDoneModules,
    /// Leaves out content sets that Pulp does not know.
    IgnoreAbsentPulpRepos,
    /// Does not reuse an older compose.
    NoReuse,
    /// Uses only compatible architectures.
    UseOnlyCompatibleArch,
    /// Allows a compose for production to have no label.
    NoLabel,
}

impl Flag {
    /// All flags, in the order of the service.
    pub const ALL: [Self; 9] = [
        Self::NoDeps,
        Self::NoInheritance,
        Self::IncludeUnpublishedPulpRepos,
        Self::CheckDeps,
        Self::IncludeDoneModules,
        Self::IgnoreAbsentPulpRepos,
        Self::NoReuse,
        Self::UseOnlyCompatibleArch,
        Self::NoLabel,
    ];

    /// Returns the name in requests and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoDeps => "no_deps",
            Self::NoInheritance => "no_inheritance",
            Self::IncludeUnpublishedPulpRepos => "include_unpublished_pulp_repos",
            Self::CheckDeps => "check_deps",
            Self::IncludeDoneModules => "include_done_modules",
            Self::IgnoreAbsentPulpRepos => "ignore_absent_pulp_repos",
            Self::NoReuse => "no_reuse",
            Self::UseOnlyCompatibleArch => "use_only_compatible_arch",
            Self::NoLabel => "no_label",
        }
    }
}

/// The form of the value of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Texts in no order.
    Set,
    /// One text.
    Text,
    /// Texts in order of preference, joined by spaces.
    List,
    Number,
}

/// The part of the request that a key belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Source,
    Request,
}

/// All keys of a new compose except `source_type` and `source`, as the service names them.
const KEYS: [(&str, Form, Room); 20] = [
    ("packages", Form::Set, Room::Source),
    ("builds", Form::Set, Room::Source),
    ("modules", Form::Set, Room::Source),
    ("scratch_modules", Form::Set, Room::Source),
    ("scratch_build_tasks", Form::Set, Room::Source),
    ("modular_koji_tags", Form::Set, Room::Source),
    ("sigkeys", Form::List, Room::Source),
    ("koji_event", Form::Number, Room::Source),
    ("module_defaults_url", Form::Text, Room::Source),
    ("module_defaults_commit", Form::Text, Room::Source),
    ("flags", Form::Set, Room::Request),
    ("results", Form::Set, Room::Request),
    ("arches", Form::Set, Room::Request),
    ("multilib_arches", Form::Set, Room::Request),
    ("multilib_method", Form::Set, Room::Request),
    ("lookaside_repos", Form::Set, Room::Request),
    ("label", Form::Text, Room::Request),
    ("compose_type", Form::Text, Room::Request),
    ("target_dir", Form::Text, Room::Request),
    (LIFETIME, Form::Number, Room::Request),
];

const SOURCE_TYPE: &str = "source_type";
const SOURCE: &str = "source";
const RENEW: &str = "renew";
const LIFETIME: &str = "seconds_to_live";

/// An error in the parameters of a compose.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parameter {key:?} of a compose: {text}")]
pub struct ComposeError {
    /// The key with the error.
    pub key: String,
    /// What is wrong with the value.
    pub text: String,
}

impl ComposeError {
    fn new(key: impl Into<String>, text: impl fmt::Display) -> Self {
        Self { key: key.into(), text: text.to_string() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Work {
    Make(SourceType, BTreeSet<String>),
    Renew(u64),
}

/// A request for a compose: a new one, or a longer lifetime for an existing one.
///
/// It is stored as [`Parameters`], whose keys are those of the service, including `source_type` and
/// `source`. The value of `sigkeys` is one text, because the order of the keys is an order of
/// preference. The key `renew` holds the id of an existing compose.
///
/// ```
/// use freshmaker_redhat::odcs::{Compose, Flag};
/// use freshmaker::artifact::Parameters;
///
/// let compose =
///     Compose::pulp(["rhel-9-for-x86_64-baseos-rpms"]).with_flags([Flag::IgnoreAbsentPulpRepos]);
/// let parameters = Parameters::from(&compose);
/// assert_eq!(parameters.get("source_type"), Some(&"pulp".into()));
/// assert_eq!(Compose::try_from(&parameters)?, compose);
/// // Equal composes are one artifact, whichever event requests them.
/// assert!(compose.artifact().as_str().starts_with("odcs:pulp:"));
/// assert_eq!(Compose::renew(42).artifact().as_str(), "odcs:renew:42");
/// # Ok::<(), freshmaker_redhat::odcs::ComposeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[doc(alias = "repository")]
pub struct Compose {
    work: Work,
    /// Invariant: each key is one of [`KEYS`], with a value of its form.
    rest: BTreeMap<&'static str, Parameter>,
}

impl Compose {
    fn new(kind: SourceType, source: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let source = source.into_iter().map(Into::into).collect();
        Self { work: Work::Make(kind, source), rest: BTreeMap::new() }
    }

    /// Requests a compose of the packages of a Koji tag.
    pub fn tag(tag: impl Into<String>) -> Self {
        Self::new(SourceType::Tag, [tag.into()])
    }

    /// Requests a compose of modules, each given as `name:stream`, `name:stream:version` or
    /// `name:stream:version:context`.
    pub fn module(modules: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::new(SourceType::Module, modules)
    }

    /// Requests a compose of content sets of Pulp.
    #[doc(alias = "content_sets")]
    pub fn pulp(content_sets: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::new(SourceType::Pulp, content_sets)
    }

    /// Requests a compose by a configuration of Pungi that the server knows by this name, at this
    /// commit.
    #[must_use]
    pub fn raw_config(name: &str, commit: &str) -> Self {
        Self::new(SourceType::RawConfig, [format!("{name}#{commit}")])
    }

    /// Requests a compose of builds of Koji, given by NVR.
    pub fn build(builds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::new(SourceType::Build, [] as [String; 0]).with_builds(builds)
    }

    /// Requests a longer lifetime for the compose with this id. If that is gone or has failed, the
    /// service makes an equal one.
    #[must_use]
    pub fn renew(id: u64) -> Self {
        Self { work: Work::Renew(id), rest: BTreeMap::new() }
    }

    fn with_set(mut self, key: &'static str, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.rest.insert(key, Parameter::Set(values.into_iter().map(Into::into).collect()));
        self
    }

    fn with_text(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.rest.insert(key, Parameter::Text(value.into()));
        self
    }

    /// Includes only the packages of these names.
    #[must_use]
    pub fn with_packages(self, packages: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with_set("packages", packages)
    }

    /// Also includes these builds, given by NVR.
    #[must_use]
    pub fn with_builds(self, builds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with_set("builds", builds)
    }

    /// Also includes modules in these Koji tags.
    #[must_use]
    pub fn with_modular_koji_tags(self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with_set("modular_koji_tags", tags)
    }

    /// Takes the defaults of modules from a repository at a commit.
    #[must_use]
    pub fn with_module_defaults(self, url: impl Into<String>, commit: impl Into<String>) -> Self {
        self.with_text("module_defaults_url", url).with_text("module_defaults_commit", commit)
    }

    /// Requires packages to be signed with one of these keys, best first. An empty key allows
    /// unsigned packages.
    #[must_use]
    pub fn with_sigkeys(self, keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let keys: Vec<String> = keys.into_iter().map(Into::into).collect();
        self.with_text("sigkeys", keys.join(" "))
    }

    /// Uses the state of Koji at this event.
    #[must_use]
    pub fn with_koji_event(mut self, event: u32) -> Self {
        self.rest.insert("koji_event", Parameter::Number(event.into()));
        self
    }

    /// Sets the flags.
    #[must_use]
    pub fn with_flags(self, flags: impl IntoIterator<Item = Flag>) -> Self {
        self.with_set("flags", flags.into_iter().map(Flag::name))
    }

    pub(super) fn and_flag(mut self, flag: Flag) -> Self {
        let flags = self.rest.entry("flags").or_insert_with(|| Parameter::Set(BTreeSet::new()));
        if let Parameter::Set(flags) = flags {
            flags.insert(flag.name().to_owned());
        }
        self
    }

    /// Requests further results besides repositories: `iso`, `ostree` or `boot.iso`.
    #[must_use]
    pub fn with_results(self, results: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with_set("results", results)
    }

    /// Sets the architectures. Without this call, the server's configuration decides.
    #[must_use]
    pub fn with_arches(self, arches: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with_set("arches", arches)
    }

    /// Includes packages for several word sizes (multilib) on these architectures, selected by
    /// these methods: `runtime`, `devel` or `all`.
    #[must_use]
    pub fn with_multilib<A: Into<String>, M: Into<String>>(
        self,
        arches: impl IntoIterator<Item = A>,
        methods: impl IntoIterator<Item = M>,
    ) -> Self {
        self.with_set("multilib_arches", arches).with_set("multilib_method", methods)
    }

    /// Excludes packages of these repositories.
    #[must_use]
    pub fn with_lookaside_repos(self, urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with_set("lookaside_repos", urls)
    }

    /// Sets the label of a release, such as `RC-1.0`; Pungi accepts no others.
    #[must_use]
    pub fn with_label(self, label: impl Into<String>) -> Self {
        self.with_text("label", label)
    }

    /// Sets the type: `test` (the default), `nightly`, `production`, `development` or `ci`.
    #[must_use]
    pub fn with_type(self, compose_type: impl Into<String>) -> Self {
        self.with_text("compose_type", compose_type)
    }

    /// Sets how long the compose is kept, in whole seconds. The server has an upper bound.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> Self {
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        self.rest.insert(LIFETIME, Parameter::Number(seconds));
        self
    }

    /// Returns the source type of a new compose, or `None` for a renewal.
    #[must_use]
    pub fn source_type(&self) -> Option<SourceType> {
        match self.work {
            Work::Make(kind, _) => Some(kind),
            Work::Renew(_) => None,
        }
    }

    /// Returns the id of the compose to renew, or `None` for a new compose.
    #[must_use]
    pub fn renewed(&self) -> Option<u64> {
        match self.work {
            Work::Make(..) => None,
            Work::Renew(id) => Some(id),
        }
    }

    /// Returns the artifact id, which is the same for equal composes of all events. It is `odcs:`,
    /// the source type, `:` and the first 32 hexadecimal digits of a SHA-256 digest of the
    /// parameters; for a renewal, `odcs:renew:` and the id of the compose.
    #[must_use]
    pub fn artifact(&self) -> ArtifactId {
        match &self.work {
            Work::Renew(id) => ArtifactId::new(format!("odcs:renew:{id}")),
            Work::Make(kind, _) => {
                // Equal ordered maps of texts, sets and numbers have equal JSON, and serialising
                // them cannot fail.
                let bytes = serde_json::to_vec(&Parameters::from(self)).unwrap_or_default();
                let digest = Digest::of(&bytes);
                let hash = digest.as_str().trim_start_matches("sha256:");
                ArtifactId::new(format!("odcs:{}:{}", kind.name(), &hash[..HASH_DIGITS]))
            }
        }
    }

    pub(super) fn source(&self) -> BTreeSet<&str> {
        match &self.work {
            Work::Make(_, source) => source.iter().map(String::as_str).collect(),
            Work::Renew(_) => BTreeSet::new(),
        }
    }

    pub(super) fn set(&self, key: &str) -> BTreeSet<&str> {
        match self.rest.get(key) {
            Some(Parameter::Set(values)) => values.iter().map(String::as_str).collect(),
            _ => BTreeSet::new(),
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.rest.get(key) {
            Some(Parameter::Text(value)) => Some(value),
            _ => None,
        }
    }

    pub(super) fn number(&self, key: &str) -> Option<i64> {
        match self.rest.get(key) {
            Some(Parameter::Number(value)) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn lifetime(&self) -> Option<Duration> {
        self.number(LIFETIME).and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs)
    }

    /// Returns the body of the request for a new compose.
    pub(super) fn body(&self) -> Map<String, Value> {
        let (mut source, mut body) = (Map::new(), Map::new());
        if let Work::Make(kind, sources) = &self.work {
            source.insert("type".to_owned(), json!(kind.name()));
            source.insert(SOURCE.to_owned(), json!(joined(sources)));
        }
        for (key, form, room) in KEYS {
            let value = match (self.rest.get(key), form) {
                (None, _) => continue,
                (Some(Parameter::Text(text)), Form::List) => json!(text.split(' ').collect::<Vec<_>>()),
                (Some(value), _) => json!(value),
            };
            // The older of the two names that the service accepts.
            let name = if key == LIFETIME { "seconds-to-live" } else { key };
            let room = if room == Room::Source { &mut source } else { &mut body };
            room.insert(name.to_owned(), value);
        }
        body.insert(SOURCE.to_owned(), Value::Object(source));
        body
    }
}

/// Number of hexadecimal digits of the hash in an artifact id: 128 bits.
const HASH_DIGITS: usize = 32;

fn joined(set: &BTreeSet<String>) -> String {
    set.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

impl From<&Compose> for Parameters {
    fn from(compose: &Compose) -> Self {
        let mut parameters = Self::default();
        match &compose.work {
            Work::Make(kind, source) => {
                parameters.insert(SOURCE_TYPE, kind.name());
                if !source.is_empty() {
                    parameters.insert(SOURCE, Parameter::Set(source.clone()));
                }
            }
            Work::Renew(id) => parameters.insert(RENEW, i64::try_from(*id).unwrap_or(i64::MAX)),
        }
        for (key, value) in &compose.rest {
            parameters.insert(*key, value.clone());
        }
        parameters
    }
}

impl From<Compose> for Parameters {
    fn from(compose: Compose) -> Self {
        Self::from(&compose)
    }
}

impl TryFrom<&Parameters> for Compose {
    type Error = ComposeError;

    fn try_from(parameters: &Parameters) -> Result<Self, ComposeError> {
        let work = match parameters.get(RENEW) {
            Some(Parameter::Number(id)) => {
                let id = u64::try_from(*id).map_err(|_| ComposeError::new(RENEW, "is no id of a compose"))?;
                Work::Renew(id)
            }
            Some(_) => return Err(ComposeError::new(RENEW, "has to be a number, the id of a compose")),
            None => Work::Make(source_type(parameters)?, source(parameters)?),
        };
        let mut rest = BTreeMap::new();
        for (key, value) in parameters.iter().filter(|(key, _)| ![RENEW, SOURCE_TYPE, SOURCE].contains(key)) {
            let Some((key, form, _)) = KEYS.into_iter().find(|(known, ..)| *known == key) else {
                return Err(ComposeError::new(key, "there is no such parameter"));
            };
            if matches!(work, Work::Renew(_)) && key != LIFETIME {
                return Err(ComposeError::new(key, "a compose that exists can only be given a new `seconds_to_live`"));
            }
            checked(key, form, value)?;
            rest.insert(key, value.clone());
        }
        if let (Work::Renew(_), Some(_)) = (&work, parameters.get(SOURCE_TYPE).or(parameters.get(SOURCE))) {
            return Err(ComposeError::new(RENEW, "a compose is either renewed or made from a source"));
        }
        let compose = Self { work, rest };
        match (compose.text("module_defaults_url"), compose.text("module_defaults_commit")) {
            (Some(_), None) | (None, Some(_)) => {
                Err(ComposeError::new("module_defaults_url", "goes together with `module_defaults_commit`"))
            }
            (Some(_), Some(_)) | (None, None) => Ok(compose),
        }
    }
}

fn source_type(parameters: &Parameters) -> Result<SourceType, ComposeError> {
    let names = || SourceType::ALL.map(SourceType::name).join(", ");
    let Some(value) = parameters.get(SOURCE_TYPE) else {
        return Err(ComposeError::new(SOURCE_TYPE, format!("is missing; one of {}", names())));
    };
    let known = SourceType::ALL.into_iter().find(|kind| *value == kind.name().into());
    known.ok_or_else(|| ComposeError::new(SOURCE_TYPE, format!("has to be one of {}", names())))
}

fn source(parameters: &Parameters) -> Result<BTreeSet<String>, ComposeError> {
    match parameters.get(SOURCE) {
        None => Ok(BTreeSet::new()),
        Some(value) => {
            checked(SOURCE, Form::Set, value)?;
            match value {
                Parameter::Set(values) => Ok(values.clone()),
                Parameter::Text(_) | Parameter::Number(_) | Parameter::Flag(_) => Ok(BTreeSet::new()),
            }
        }
    }
}

fn checked(key: &str, form: Form, value: &Parameter) -> Result<(), ComposeError> {
    match (form, value) {
        (Form::Set, Parameter::Set(values)) => {
            // The service stores sets as texts, separated by spaces.
            if let Some(value) = values.iter().find(|value| value.is_empty() || value.contains(char::is_whitespace)) {
                return Err(ComposeError::new(key, format!("{value:?} is empty or has a space in it")));
            }
            let unknown = |value: &&String| !Flag::ALL.iter().any(|flag| flag.name() == *value);
            match values.iter().find(unknown).filter(|_| key == "flags") {
                Some(flag) => Err(ComposeError::new(key, format!("there is no flag {flag:?}"))),
                None => Ok(()),
            }
        }
        (Form::Text | Form::List, Parameter::Text(_)) => Ok(()),
        (Form::Number, Parameter::Number(0..)) => Ok(()),
        (Form::Set, _) => Err(ComposeError::new(key, "has to be a set of texts")),
        (Form::Text | Form::List, _) => Err(ComposeError::new(key, "has to be a text")),
        (Form::Number, _) => Err(ComposeError::new(key, "has to be a number that is not negative")),
    }
}

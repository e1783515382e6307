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
    /// Content sets of Pulp: a list of repositories that exist already, and go on to change.
    Pulp,
    /// A configuration of Pungi that the server knows by name.
    RawConfig,
    /// Builds of Koji.
    Build,
}

impl SourceType {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Tag, Self::Module, Self::Pulp, Self::RawConfig, Self::Build];

    /// Its name in requests.
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

    /// Its number in answers.
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

/// What is special about how a compose is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Flag {
    /// Without what the packages or modules depend on.
    NoDeps,
    /// Without packages that the tag inherits.
    NoInheritance,
    /// With repositories of Pulp that are not published.
    IncludeUnpublishedPulpRepos,
    /// It fails if a dependency is broken.
    CheckDeps,
    /// With modules that are built, but not released.
    IncludeDoneModules,
    /// Content sets that Pulp does not know are left out.
    IgnoreAbsentPulpRepos,
    /// No older compose is used again.
    NoReuse,
    /// Only architectures that are compatible.
    UseOnlyCompatibleArch,
    /// A compose for production may have no label.
    NoLabel,
}

impl Flag {
    /// All of them, in the order of the service.
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

    /// Its name in requests and answers.
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

/// What a key holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Texts whose order says nothing.
    Set,
    /// One text.
    Text,
    /// Texts in order of preference, as one text with spaces between.
    List,
    Number,
}

/// Where a key stands in the request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Source,
    Request,
}

/// All keys of a new compose but `source_type` and `source`, as the service names them.
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

/// Parameters are not those of a compose.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parameter {key:?} of a compose: {text}")]
pub struct ComposeError {
    /// The key that is wrong.
    pub key: String,
    /// What is wrong with it.
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

/// A compose as it is asked for: a new one, or one that exists and is to live longer.
///
/// It travels as [`Parameters`], whose keys are those of the service, `source_type` and `source` among them; `sigkeys` is one text,
/// because the order of keys is an order of preference. An existing compose is named by the key `renew`.
///
/// ```
/// use freshmaker_redhat::odcs::{Compose, Flag};
/// use freshmaker::artifact::Parameters;
///
/// let compose = Compose::pulp(["rhel-9-for-x86_64-baseos-rpms"]).with_flags([Flag::IgnoreAbsentPulpRepos]);
/// let parameters = Parameters::from(&compose);
/// assert_eq!(parameters.get("source_type"), Some(&"pulp".into()));
/// assert_eq!(Compose::try_from(&parameters)?, compose);
/// // Equal composes are one artifact, whichever event asks.
/// assert!(compose.artifact().as_str().starts_with("odcs:pulp:"));
/// assert_eq!(Compose::renew(42).artifact().as_str(), "odcs:renew:42");
/// # Ok::<(), freshmaker_redhat::odcs::ComposeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compose {
    work: Work,
    /// Checked: each key is one of [`KEYS`] with a value of its form.
    rest: BTreeMap<&'static str, Parameter>,
}

impl Compose {
    fn new(kind: SourceType, source: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let source = source.into_iter().map(Into::into).collect();
        Self { work: Work::Make(kind, source), rest: BTreeMap::new() }
    }

    /// Of the packages of a Koji tag.
    pub fn tag(tag: impl Into<String>) -> Self {
        Self::new(SourceType::Tag, [tag.into()])
    }

    /// Of modules, each as `name:stream`, `name:stream:version` or `name:stream:version:context`.
    pub fn module(modules: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::new(SourceType::Module, modules)
    }

    /// Of content sets of Pulp.
    pub fn pulp(content_sets: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::new(SourceType::Pulp, content_sets)
    }

    /// By a configuration of Pungi that the server knows under this name, at this commit.
    #[must_use]
    pub fn raw_config(name: &str, commit: &str) -> Self {
        Self::new(SourceType::RawConfig, [format!("{name}#{commit}")])
    }

    /// Of builds of Koji, by their NVRs.
    pub fn build(builds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::new(SourceType::Build, [] as [String; 0]).with_builds(builds)
    }

    /// The compose with this id shall live longer; if it is gone or failed, the service makes an equal one in its place.
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

    /// Only these packages; by their names.
    #[must_use]
    pub fn with_packages(self, packages: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with_set("packages", packages)
    }

    /// These builds as well; by their NVRs.
    #[must_use]
    pub fn with_builds(self, builds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with_set("builds", builds)
    }

    /// Modules that are in these Koji tags as well.
    #[must_use]
    pub fn with_modular_koji_tags(self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with_set("modular_koji_tags", tags)
    }

    /// The defaults of modules, from a repository at a commit.
    #[must_use]
    pub fn with_module_defaults(self, url: impl Into<String>, commit: impl Into<String>) -> Self {
        self.with_text("module_defaults_url", url).with_text("module_defaults_commit", commit)
    }

    /// Packages must be signed by one of these keys, the best first; an empty one allows packages without signature.
    #[must_use]
    pub fn with_sigkeys(self, keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let keys: Vec<String> = keys.into_iter().map(Into::into).collect();
        self.with_text("sigkeys", keys.join(" "))
    }

    /// As Koji was at this event.
    #[must_use]
    pub fn with_koji_event(mut self, event: u32) -> Self {
        self.rest.insert("koji_event", Parameter::Number(event.into()));
        self
    }

    /// What is special about it.
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

    /// What is made besides repositories: `iso`, `ostree`, `boot.iso`.
    #[must_use]
    pub fn with_results(self, results: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with_set("results", results)
    }

    /// For these architectures, instead of those that the server is set to.
    #[must_use]
    pub fn with_arches(self, arches: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with_set("arches", arches)
    }

    /// With packages for several word sizes on these architectures, chosen by these methods: `runtime`, `devel`, `all`.
    #[must_use]
    pub fn with_multilib<A: Into<String>, M: Into<String>>(
        self,
        arches: impl IntoIterator<Item = A>,
        methods: impl IntoIterator<Item = M>,
    ) -> Self {
        self.with_set("multilib_arches", arches).with_set("multilib_method", methods)
    }

    /// Packages of these repositories are not included.
    #[must_use]
    pub fn with_lookaside_repos(self, urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with_set("lookaside_repos", urls)
    }

    /// With a label of a release, such as `RC-1.0`; Pungi takes no others.
    #[must_use]
    pub fn with_label(self, label: impl Into<String>) -> Self {
        self.with_text("label", label)
    }

    /// As `test` (the default), `nightly`, `production`, `development` or `ci`.
    #[must_use]
    pub fn with_type(self, compose_type: impl Into<String>) -> Self {
        self.with_text("compose_type", compose_type)
    }

    /// How long it is kept, in whole seconds; the server has an upper bound.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> Self {
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        self.rest.insert(LIFETIME, Parameter::Number(seconds));
        self
    }

    /// What a new one is made from; `None` if it exists.
    #[must_use]
    pub fn source_type(&self) -> Option<SourceType> {
        match self.work {
            Work::Make(kind, _) => Some(kind),
            Work::Renew(_) => None,
        }
    }

    /// The id of the compose that shall live longer; `None` for a new one.
    #[must_use]
    pub fn renewed(&self) -> Option<u64> {
        match self.work {
            Work::Make(..) => None,
            Work::Renew(id) => Some(id),
        }
    }

    /// The name by which equal composes of all events are one artifact: `odcs:`, the source type, and a hash of the parameters;
    /// `odcs:renew:` and the id of one that exists.
    #[must_use]
    pub fn artifact(&self) -> ArtifactId {
        match &self.work {
            Work::Renew(id) => ArtifactId::new(format!("odcs:renew:{id}")),
            Work::Make(kind, _) => {
                // An ordered map of texts, sets and numbers: equal ones have equal bytes, and serialising cannot fail.
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

    /// The body of the request for a new one.
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
            // The older of the two names that the service takes.
            let name = if key == LIFETIME { "seconds-to-live" } else { key };
            let room = if room == Room::Source { &mut source } else { &mut body };
            room.insert(name.to_owned(), value);
        }
        body.insert(SOURCE.to_owned(), Value::Object(source));
        body
    }
}

/// Digits of the hash in the name of an artifact: 128 bits.
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
            // The service keeps sets as texts with spaces between.
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

use super::compose::{Compose, SourceType};
use crate::messages::odcs::ComposeState;
use freshmaker::artifact::Digest;
use freshmaker::rebuild::{Failure, FailureClass, Observed, Output};
use freshmaker::time::{Timestamp, later};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeSet;
use std::time::Duration;

fn state<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ComposeState, D::Error> {
    let number = i64::deserialize(deserializer)?;
    let unknown = || serde::de::Error::custom(format!("there is no state {number} of a compose"));
    ComposeState::from_number(number).ok_or_else(unknown)
}

/// A compose as the service describes it. Fields that a server leaves out are empty.
///
/// ```
/// use freshmaker_redhat::odcs::ComposeRecord;
/// use freshmaker_redhat::messages::odcs::ComposeState;
///
/// let text = r#"{"id": 3, "state": 2, "source_type": 4, "source": "one two",
///     "result_repofile": "https://odcs.example.org/3.repo"}"#;
/// let record: ComposeRecord = serde_json::from_str(text)?;
/// assert_eq!(record.state, ComposeState::Done);
/// assert_eq!(record.sources().len(), 2);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct ComposeRecord {
    /// Id of the compose.
    pub id: u64,
    /// State of the compose.
    #[serde(deserialize_with = "state")]
    pub state: ComposeState,
    /// Reason for the state.
    #[serde(default)]
    pub state_reason: Option<String>,
    /// User who requested the compose.
    #[serde(default)]
    pub owner: Option<String>,
    /// Number of its [`SourceType`].
    #[serde(default)]
    pub source_type: i64,
    /// Names of the sources, separated by spaces.
    #[serde(default)]
    pub source: Option<String>,
    /// When the compose was requested.
    #[serde(default)]
    pub time_submitted: Option<Timestamp>,
    /// When the compose was finished.
    #[serde(default)]
    pub time_done: Option<Timestamp>,
    /// When the compose expires.
    #[serde(default)]
    pub time_to_expire: Option<Timestamp>,
    /// User who deleted the compose, if a user did.
    #[serde(default)]
    pub removed_by: Option<String>,
    /// URL of the repository file for package managers.
    #[serde(default)]
    pub result_repofile: Option<String>,
    /// The event of Koji whose state the compose shows.
    #[serde(default)]
    pub koji_event: Option<i64>,
    /// Label. For composes of Pulp, where a label has no meaning, the marker of the attempt that
    /// requested it.
    #[serde(default)]
    pub label: Option<String>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    results: Vec<String>,
    #[serde(default)]
    sigkeys: Option<String>,
    #[serde(default)]
    packages: Option<String>,
    #[serde(default)]
    builds: Option<String>,
    #[serde(default)]
    modules: Option<String>,
    #[serde(default)]
    scratch_modules: Option<String>,
    #[serde(default)]
    scratch_build_tasks: Option<String>,
    #[serde(default)]
    modular_koji_tags: Option<String>,
    #[serde(default)]
    module_defaults_url: Option<String>,
    #[serde(default)]
    arches: Option<String>,
    #[serde(default)]
    multilib_arches: Option<String>,
    #[serde(default)]
    multilib_method: i64,
    #[serde(default)]
    lookaside_repos: Option<String>,
    #[serde(default)]
    compose_type: Option<String>,
    #[serde(default)]
    target_dir: Option<String>,
    #[serde(default)]
    pub(super) pungi_compose_id: Option<String>,
    #[serde(default)]
    pub(super) respin_of: Option<String>,
}

/// Returns the words of a set that is stored as one text.
fn words(text: Option<&String>) -> BTreeSet<&str> {
    text.map(|text| text.split_whitespace().collect()).unwrap_or_default()
}

/// Returns signing keys, which are words too, except that an empty key counts.
fn keys(text: Option<&str>) -> Vec<&str> {
    text.filter(|text| !text.is_empty()).map(|text| text.split(' ').collect()).unwrap_or_default()
}

impl ComposeRecord {
    /// Returns the names of the sources. The service completes names of modules, and leaves out
    /// content sets that do not exist.
    #[must_use]
    pub fn sources(&self) -> BTreeSet<&str> {
        words(self.source.as_ref())
    }

    /// Returns the source type, or `None` if this crate does not know the number.
    #[must_use]
    pub fn source_type(&self) -> Option<SourceType> {
        SourceType::ALL.into_iter().find(|kind| kind.number() == self.source_type)
    }

    /// Returns whether the compose is usable, or will be when it is finished.
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        match self.state {
            ComposeState::Wait | ComposeState::Generating => true,
            ComposeState::Done => !self.is_given_up(now),
            ComposeState::Removed | ComposeState::Failed => false,
        }
    }

    /// Returns whether a user has deleted the compose, so that its files may disappear at any
    /// moment. A compose that was renewed after that still names the user.
    fn is_given_up(&self, now: Timestamp) -> bool {
        self.removed_by.is_some() && self.expires_within(now, Duration::ZERO)
    }

    /// Returns how long the compose is kept after it was finished, if the service says so.
    ///
    /// The service gives a compose its whole lifetime when it is finished. A renewal makes this
    /// longer by the time that had passed; the service bounds it.
    pub(super) fn lifetime(&self) -> Option<Duration> {
        (self.time_to_expire? - self.time_done?).to_std().ok()
    }

    /// Returns whether the compose expires within this time.
    pub(super) fn expires_within(&self, now: Timestamp, margin: Duration) -> bool {
        self.time_to_expire.is_some_and(|end| end <= later(now, margin))
    }

    /// Returns whether the compose matches a request, as far as the answer shows. A property that
    /// the request leaves to the server matches any value, except for the keys, whose default the
    /// server publishes.
    pub(super) fn is_made_as(&self, compose: &Compose, default_sigkeys: &[String]) -> bool {
        let same = |key: &str, ours: Option<&String>| compose.set(key) == words(ours);
        self.source_type() == compose.source_type()
            && self.is_made_from(compose)
            && same("packages", self.packages.as_ref())
            && same("builds", self.builds.as_ref())
            && same("modules", self.modules.as_ref())
            && same("scratch_modules", self.scratch_modules.as_ref())
            && same("scratch_build_tasks", self.scratch_build_tasks.as_ref())
            && same("modular_koji_tags", self.modular_koji_tags.as_ref())
            && same("multilib_arches", self.multilib_arches.as_ref())
            && same("lookaside_repos", self.lookaside_repos.as_ref())
            && compose.set("flags") == self.flags.iter().map(String::as_str).collect()
            && self.has_results(compose)
            && self.multilib_method == compose.set("multilib_method").into_iter().map(multilib_bit).sum::<i64>()
            && self.has_keys_and_arches(compose, default_sigkeys)
            && compose.number("koji_event").is_none_or(|event| self.koji_event == Some(event))
            && self.has_defaults(compose)
            && compose.text("label") == self.label.as_deref()
            && compose.text("compose_type").unwrap_or("test") == self.compose_type.as_deref().unwrap_or("test")
            && compose.text("target_dir").unwrap_or("default") == self.target_dir.as_deref().unwrap_or("default")
    }

    /// Compares the sources. The server completes names of modules, and adds modules that they
    /// depend on.
    fn is_made_from(&self, compose: &Compose) -> bool {
        let (asked, got) = (compose.source(), self.sources());
        if self.source_type() != Some(SourceType::Module) {
            return asked == got;
        }
        let completes = |name: &&str, asked: &str| {
            name.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        let all_there = asked.iter().all(|asked| got.iter().any(|name| completes(name, asked)));
        let nothing_else = got.iter().all(|name| asked.iter().any(|asked| completes(name, asked)));
        all_there && (nothing_else || (self.state != ComposeState::Wait && !compose.set("flags").contains("no_deps")))
    }

    fn has_results(&self, compose: &Compose) -> bool {
        let mut asked = compose.set("results");
        asked.insert("repository");
        asked == self.results.iter().map(String::as_str).collect()
    }

    /// Compares keys and architectures. For Pulp the server replaces both by those it finds there.
    fn has_keys_and_arches(&self, compose: &Compose, default_sigkeys: &[String]) -> bool {
        if self.source_type() == Some(SourceType::Pulp) {
            return true;
        }
        let default = default_sigkeys.join(" ");
        let asked = compose.text("sigkeys").unwrap_or(&default);
        let arches = compose.set("arches");
        keys(Some(asked)) == keys(self.sigkeys.as_deref())
            && (arches.is_empty() || arches == words(self.arches.as_ref()))
    }

    fn has_defaults(&self, compose: &Compose) -> bool {
        let url = compose.text("module_defaults_url");
        let both = url.map(|url| format!("{url} {}", compose.text("module_defaults_commit").unwrap_or_default()));
        both == self.module_defaults_url
    }

    /// Returns whether the service made this compose in place of another one that was to be
    /// renewed.
    pub(super) fn is_copy_of(&self, other: &Self) -> bool {
        let pulp = self.source_type() == Some(SourceType::Pulp);
        self.id > other.id
            && self.source_type == other.source_type
            && self.respin_of == other.pungi_compose_id
            && words(self.packages.as_ref()) == words(other.packages.as_ref())
            && words(self.builds.as_ref()) == words(other.builds.as_ref())
            && words(self.modules.as_ref()) == words(other.modules.as_ref())
            && self.flags == other.flags
            && self.results == other.results
            && self.label == other.label
            && self.compose_type == other.compose_type
            && self.module_defaults_url == other.module_defaults_url
            && (pulp || self.sources() == other.sources())
            && (!pulp || self.sources().is_subset(&other.sources()))
            && (pulp
                || (keys(self.sigkeys.as_deref()) == keys(other.sigkeys.as_deref()) && self.arches == other.arches))
    }

    /// Returns the state for the engine.
    pub(super) fn observed(&self, now: Timestamp) -> Observed {
        match self.state {
            ComposeState::Wait | ComposeState::Generating => Observed::Running,
            ComposeState::Done if self.is_given_up(now) => Observed::Canceled,
            ComposeState::Done => Observed::Succeeded(self.output()),
            ComposeState::Removed => Observed::Vanished,
            ComposeState::Failed => self.failure(),
        }
    }

    fn output(&self) -> Output {
        let contents = self.result_repofile.clone().filter(|url| !url.is_empty());
        Output { name: self.id.to_string(), digest: self.digest(), contents }
    }

    /// Returns a digest of the inputs that determine the packages in the compose: Koji's event, or
    /// builds by name. Returns `None` if the inputs are not known: repositories in Pulp change
    /// under the same names, and the service does not describe the configurations of Pungi.
    fn digest(&self) -> Option<Digest> {
        let complete = |module: &&str| module.split(':').count() == 4;
        let determined = match self.source_type()? {
            SourceType::Tag => self.koji_event.is_some(),
            SourceType::Build => true,
            SourceType::Module => self.sources().iter().all(complete),
            SourceType::Pulp | SourceType::RawConfig => false,
        };
        if !determined || self.lookaside_repos.as_ref().is_some_and(|repos| !repos.is_empty()) {
            return None;
        }
        let set = |text: Option<&String>| words(text).into_iter().collect::<Vec<_>>().join(" ");
        let parts = [
            self.source_type.to_string(),
            set(self.source.as_ref()),
            self.koji_event.map(|event| event.to_string()).unwrap_or_default(),
            set(self.packages.as_ref()),
            set(self.builds.as_ref()),
            set(self.modules.as_ref()),
            set(self.scratch_modules.as_ref()),
            set(self.scratch_build_tasks.as_ref()),
            set(self.modular_koji_tags.as_ref()),
            self.module_defaults_url.clone().unwrap_or_default(),
            self.sigkeys.clone().unwrap_or_default(),
            set(self.arches.as_ref()),
            set(self.multilib_arches.as_ref()),
            self.multilib_method.to_string(),
            self.flags.join(" "),
            self.results.join(" "),
        ];
        Some(Digest::of_parts(parts.iter().map(String::as_bytes)))
    }

    fn failure(&self) -> Observed {
        let reason = self.state_reason.as_deref().unwrap_or("no reason was given");
        if reason.starts_with("Canceled by ") {
            return Observed::Canceled;
        }
        let machinery = MACHINERY.iter().any(|words| reason.contains(words));
        let class = if machinery { FailureClass::Infrastructure } else { FailureClass::Deterministic };
        // The first lines say what happened; the log of Pungi follows.
        let text: String = reason.chars().take(REASON_CHARS_MAX).collect();
        Observed::Failed(Failure::new(class, format!("compose {}: {text}", self.id)))
    }
}

/// Largest number of characters of a reason, which may contain a whole log of Pungi.
const REASON_CHARS_MAX: usize = 2000;

/// Parts of reasons that point to the infrastructure and not to the request.
const MACHINERY: [&str; 12] = [
    "Can not schedule compose",
    "connection has failed",
    "Compose has taken more time than allowed",
    "Compose stuck in",
    "Compose target dir doesn't exist",
    "No space left on device",
    "timed out",
    "Timeout",
    "Connection refused",
    "Connection aborted",
    "Connection reset",
    "Temporary failure in name resolution",
];

fn multilib_bit(method: &str) -> i64 {
    match method {
        "runtime" => 1,
        "devel" => 2,
        "all" => 4,
        _ => 0,
    }
}

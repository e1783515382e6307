//! Reads the configuration file. Each error names file, line and key.

use crate::Result;
use freshmaker::backend::Retention;
use freshmaker_sql::PostgresConfig;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Either this or `storage`.
    pub(crate) state: Option<PathBuf>,
    pub(crate) storage: Option<Storage>,
    pub(crate) catalog: PathBuf,
    #[serde(default)]
    pub(crate) topic_prefixes: Vec<String>,
    pub(crate) freshmaker_messages: Option<String>,
    /// Whether nothing is really built.
    #[serde(default)]
    pub(crate) dry_run: bool,
    #[serde(default)]
    pub(crate) retention: Kept,
    pub(crate) fedora_messaging: Option<FedoraMessaging>,
    pub(crate) koji: Koji,
    pub(crate) odcs: Option<OdcsComposer>,
    pub(crate) mbs: Option<Mbs>,
    pub(crate) advisories: Option<Advisories>,
    pub(crate) web: Option<Site>,
    /// Where traces are sent; without it they are not.
    pub(crate) otel: Option<freshmaker_web::TraceSettings>,
}

/// A database that several processes share.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Storage {
    pub(crate) postgres: PostgresConfig,
    /// The name of this process among them; that of the machine if not given.
    pub(crate) replica: Option<String>,
}

impl Storage {
    fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let PostgresConfig { password_file, ca, client_cert, client_key, .. } = &mut self.postgres;
        [password_file, ca, client_cert, client_key].into_iter().flatten()
    }
}

/// How long is kept what nothing needs any more.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    messages_days: Option<NonZeroU64>,
    dead_letters_days: Option<NonZeroU64>,
    events_days: Option<NonZeroU64>,
    pub(crate) events_max: Option<NonZeroU64>,
}

impl Kept {
    pub(crate) fn retention(self) -> Retention {
        let days = |days: NonZeroU64| Duration::from_secs(days.get() * 24 * 3600);
        let mut retention = Retention::default();
        retention.messages = self.messages_days.map(days).or(retention.messages);
        retention.dead_letters = self.dead_letters_days.map(days);
        retention.events = self.events_days.map(days);
        retention.events_max = self.events_max.map(NonZeroU64::get);
        retention
    }
}

/// The REST interfaces and the pages: where, and the keys of freshmaker-web.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Site {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) base_url: Option<String>,
    pub(crate) authentication: freshmaker_web::Authentication,
    pub(crate) access: freshmaker_web::Access,
    pub(crate) limits: freshmaker_web::Limits,
    pub(crate) page: freshmaker_web::PageConfig,
}

/// The services that know what an advisory fixes, and which released images contain it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Advisories {
    pub(crate) errata: Errata,
    pub(crate) pulp: Pulp,
    /// One of these two.
    pub(crate) lightblue: Option<Lightblue>,
    pub(crate) pyxis: Option<Pyxis>,
    /// Content sets that no repository is asked for, as a regular expression.
    pub(crate) exclude_content_sets_pattern: Option<String>,
    /// Keys that packages of repositories for images are signed with, best first.
    #[serde(default)]
    pub(crate) sigkeys: Vec<String>,
    /// Files of repositories that images are built with, by name and version of the image.
    #[serde(default)]
    pub(crate) extra_repositories: BTreeMap<String, Vec<String>>,
    /// Whether rebuilds do not become the latest builds of their targets.
    #[serde(default = "yes")]
    pub(crate) isolated: bool,
    /// Whether images are rebuilt for the architectures of their last build alone.
    #[serde(default)]
    pub(crate) arch_overrides: bool,
    /// The server of the repositories that images are built from, if not that of their last builds.
    pub(crate) git_base_url: Option<String>,
    /// Whether nothing is built on a release that is newer than the latest released one.
    #[serde(default)]
    pub(crate) released_only: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Errata {
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) kerberos: bool,
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pulp {
    pub(crate) url: String,
    pub(crate) user: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lightblue {
    pub(crate) url: String,
    pub(crate) client_cert: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
    #[serde(default)]
    pub(crate) repository_version: String,
    #[serde(default)]
    pub(crate) image_version: String,
    pub(crate) release_categories: Option<BTreeSet<String>>,
    pub(crate) vendors: Option<BTreeSet<String>>,
    /// Each with its registry: `registry.example.com/rhel8/support-tools`.
    #[serde(default)]
    pub(crate) unpublished_exceptions: BTreeSet<String>,
    #[serde(default)]
    pub(crate) build_registries: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pyxis {
    pub(crate) url: String,
    pub(crate) client_cert: Option<PathBuf>,
    pub(crate) api_key_file: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) package_filter: Option<bool>,
    pub(crate) release_categories: Option<BTreeSet<String>>,
    pub(crate) vendors: Option<BTreeSet<String>>,
    /// Each with its registry: `registry.example.com/rhel8/support-tools`.
    #[serde(default)]
    pub(crate) unpublished_exceptions: BTreeSet<String>,
    #[serde(default)]
    pub(crate) build_registries: BTreeSet<String>,
}

impl Advisories {
    fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let lightblue = self.lightblue.as_mut().map(|it| [it.client_cert.as_mut(), it.ca.as_mut()]);
        let pyxis = self.pyxis.as_mut().map(|it| [it.client_cert.as_mut(), it.api_key_file.as_mut(), it.ca.as_mut()]);
        let files = [self.errata.ca.as_mut(), self.pulp.password_file.as_mut(), self.pulp.ca.as_mut()];
        files.into_iter().chain(lightblue.into_iter().flatten()).chain(pyxis.into_iter().flatten()).flatten()
    }
}

/// The build system of modules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mbs {
    pub(crate) url: String,
    #[serde(default = "mbs")]
    pub(crate) name: String,
    #[serde(default = "slots")]
    pub(crate) slots: u32,
    pub(crate) owner: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) kerberos: bool,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) commits: Option<Commits>,
}

/// Who makes new commits in the repositories of modules, and where they are pushed to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Commits {
    pub(crate) name: String,
    pub(crate) email: String,
    #[serde(default)]
    pub(crate) push: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FedoraMessaging {
    pub(crate) file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Koji {
    /// Without it the files in which Koji's client looks are read.
    pub(crate) file: Option<PathBuf>,
    pub(crate) profile: String,
    pub(crate) instance: Option<String>,
    #[serde(default = "koji")]
    pub(crate) name: String,
    #[serde(default = "slots")]
    pub(crate) slots: u32,
    #[serde(default)]
    pub(crate) verify: bool,
    /// Who says what is installed in results.
    #[serde(default)]
    pub(crate) verify_by: VerifyBy,
    /// With it, images are found by what Koji knows of builds that are no older than this.
    pub(crate) images_within_days: Option<u64>,
    pub(crate) poll_s: Option<u64>,
    pub(crate) settle_s: Option<u64>,
}

/// Who says which packages are installed in what was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum VerifyBy {
    #[default]
    Koji,
    /// Lightblue or Pyxis, whichever is configured.
    Catalog,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OdcsComposer {
    pub(crate) url: String,
    #[serde(default = "odcs")]
    pub(crate) name: String,
    #[serde(default = "slots")]
    pub(crate) slots: u32,
    pub(crate) owner: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
}

fn koji() -> String {
    "koji".to_owned()
}

fn mbs() -> String {
    "mbs".to_owned()
}

fn odcs() -> String {
    "odcs".to_owned()
}

fn slots() -> u32 {
    freshmaker::rebuild::ConcurrencyLimits::DEFAULT
}

impl Config {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let place = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{place}: {error}"))?;
        let mut config: Self = toml::from_str(&text).map_err(|error| {
            // Displayed, the error would show the line, in which there may be a password.
            let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count());
            format!("{place}:{}: {}", line + 1, error.message())
        })?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let files = [config.state.as_mut(), Some(&mut config.catalog), config.koji.file.as_mut()];
        let bus = config.fedora_messaging.as_mut().map(|bus| &mut bus.file);
        let odcs = config.odcs.as_mut().map(|odcs| [odcs.token_file.as_mut(), odcs.ca.as_mut()]);
        let mbs = config.mbs.as_mut().map(|mbs| [mbs.token_file.as_mut(), mbs.ca.as_mut()]);
        let storage = config.storage.as_mut().map(Storage::files);
        let advisories = config.advisories.as_mut().map(Advisories::files);
        let all = files.into_iter().chain([bus]).chain(odcs.into_iter().flatten()).chain(mbs.into_iter().flatten());
        let all = all.flatten().chain(advisories.into_iter().flatten()).chain(storage.into_iter().flatten());
        let all = all.chain(config.otel.iter_mut().flat_map(|otel| otel.files()));
        all.for_each(|file| *file = directory.join(&file));
        Ok(config)
    }
}

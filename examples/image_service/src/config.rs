//! The file `image_service.toml`: the whole configuration of the service.

use crate::Result;
use crate::elsewhere::Elsewhere;
use crate::freeze::Freeze;
use crate::git::{self, Git};
use crate::machine::Memory;
use crate::notify::Notify;
use crate::quiet::Quiet;
use freshmaker::artifact::ArtifactId;
use freshmaker::backend::Retention;
use freshmaker_oci::manifest::Platform;
use freshmaker_oci::poll::PollConfig;
use freshmaker_oci::{OciConfig, RegistryConfig};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of the file in the directory of the service.
pub(crate) const FILE: &str = "image_service.toml";

/// More processes than this at once help nobody on one machine.
const SLOTS_MAX: u32 = 256;

/// The shortest time for which something is remembered. A message that came within this time and
/// comes again is the same message.
const KEEP_MIN: Duration = Duration::from_secs(86_400);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(default)]
    tree: Option<Tree>,
    #[serde(default)]
    sources: Vec<Tree>,
    /// Where the Containerfiles are: `tree`, or all `sources`.
    #[serde(skip)]
    pub(crate) trees: Vec<Tree>,
    #[serde(default)]
    pub(crate) build: Build,
    #[serde(default)]
    pub(crate) poll: PollConfig,
    #[serde(default)]
    pub(crate) start: Start,
    #[serde(default)]
    pub(crate) registries: BTreeMap<String, RegistryConfig>,
    #[serde(default)]
    pub(crate) credentials_files: Vec<PathBuf>,
    #[serde(default)]
    pub(crate) web: Option<Web>,
    #[serde(default)]
    pub(crate) hooks: Hooks,
    /// Where traces are sent; without it they are not.
    #[serde(default)]
    pub(crate) otel: Option<freshmaker_web::TraceSettings>,
    #[serde(default)]
    pub(crate) freeze: Vec<Freeze>,
    #[serde(default)]
    pub(crate) quiet: Vec<Quiet>,
    #[serde(default)]
    pub(crate) retention: Keep,
    #[serde(default)]
    pub(crate) notify: Vec<Notify>,
    /// Where everything is kept that the service stores.
    #[serde(default = "state")]
    pub(crate) state: PathBuf,
}

/// A tree of Containerfiles.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tree {
    pub(crate) path: PathBuf,
    /// The repository that has the tree, instead of a directory.
    pub(crate) git: Option<Git>,
    /// Where the commits of the repository are kept.
    #[serde(skip)]
    pub(crate) checkout: PathBuf,
    /// How images are named, if the tree has no `freshmaker.toml`.
    pub(crate) image: Option<String>,
    /// The pause between two looks at the files.
    pub(crate) interval: Seconds,
}

impl Default for Tree {
    fn default() -> Self {
        Self { path: PathBuf::from("."), git: None, checkout: PathBuf::new(), image: None, interval: Seconds(10.0) }
    }
}

/// How an image is built, and what has to succeed before its tag moves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Build {
    /// `buildah`, `podman`, `docker`, or a program of one's own.
    pub(crate) program: String,
    /// The service that builds, instead of a program.
    pub(crate) elsewhere: Option<Elsewhere>,
    /// What each image is built for; this machine alone, if there are none.
    pub(crate) platforms: Vec<Platform>,
    /// How many builds run at once; as many as processors and memory allow, if not given.
    slots: Option<u32>,
    /// What one build may need, to find out how many the memory allows.
    memory_mib: u64,
    pub(crate) timeout: Seconds,
    /// How long the log and the files of an attempt are kept after its end.
    pub(crate) keep_for: Seconds,
    /// How often a build is tried whose machinery fails, and not its recipe.
    pub(crate) tries: u32,
    /// How long a base must have stayed the same before something is built on it, unless a group
    /// of images has another period.
    pub(crate) quiet: Seconds,
    /// What files and images are dated with, in seconds since 1970; so that the same content has
    /// the same digest.
    pub(crate) source_date_epoch: Option<i64>,
    /// Commands with their arguments; empty for none.
    /// When the tag stays, although what was built is not exactly what it names.
    pub(crate) same: Same,
    pub(crate) test: Vec<String>,
    pub(crate) sign: Vec<String>,
    pub(crate) attest: Vec<String>,
    /// Variables for all of them.
    pub(crate) environment: BTreeMap<String, String>,
    /// With less free space than this where the state is, no build starts.
    pub(crate) free_mib: u64,
    /// With less memory than this, no build starts.
    pub(crate) free_memory_mib: u64,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            program: "buildah".to_owned(),
            elsewhere: None,
            platforms: Vec::new(),
            slots: None,
            memory_mib: 512,
            timeout: Seconds(3600.0),
            keep_for: Seconds(7_776_000.0),
            tries: 12,
            quiet: Seconds(0.0),
            source_date_epoch: Some(0),
            same: Same::Content,
            test: Vec::new(),
            sign: Vec::new(),
            attest: Vec::new(),
            environment: BTreeMap::new(),
            free_mib: 1024,
            free_memory_mib: 256,
        }
    }
}

impl Build {
    /// Returns how many builds run at once.
    pub(crate) fn slots(&self) -> u32 {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        self.slots.unwrap_or_else(|| self.slots_of(processors, Memory::now()))
    }

    fn slots_of(&self, processors: usize, memory: Option<Memory>) -> u32 {
        let by_memory = memory.and_then(|memory| memory.total.checked_div(self.memory_mib)).unwrap_or(u64::MAX);
        let slots = by_memory.min(processors.try_into().unwrap_or(u64::MAX));
        u32::try_from(slots).unwrap_or(SLOTS_MAX).clamp(1, SLOTS_MAX)
    }

    /// Returns the platforms as builders take them; `None` if there are none.
    pub(crate) fn platforms_as_text(&self) -> Option<String> {
        let platforms: Vec<_> = self.platforms.iter().map(Platform::to_string).collect();
        (!platforms.is_empty()).then(|| platforms.join(","))
    }
}

/// What has to be the same in two images for the tag to stay at the earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Same {
    /// The configuration and all layers.
    Content,
    /// The configuration, and all files with their modes, owners and contents.
    Files,
    /// The configuration, and the packages with their versions, if only a base has changed.
    Packages,
}

/// What the service does about images that are not as they should be when nothing has happened.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Start {
    /// Whether images that the registry does not have are built.
    pub(crate) missing: Mend,
    /// Whether images are rebuilt that are built on something else than their parents are.
    pub(crate) stale: Mend,
    /// The pause between two such looks at everything.
    pub(crate) interval: Seconds,
}

impl Default for Start {
    fn default() -> Self {
        Self { missing: Mend::Rebuild, stale: Mend::Rebuild, interval: Seconds(3600.0) }
    }
}

/// How long the service remembers what it did. What it needs to go on stays in any case.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Keep {
    messages: Option<Seconds>,
    dead_letters: Option<Seconds>,
    events: Option<Seconds>,
    events_max: Option<u64>,
}

impl Keep {
    /// Returns the bounds for the engine.
    pub(crate) fn retention(&self) -> Retention {
        let mut retention = Retention::default();
        if let Some(messages) = self.messages {
            retention.messages = Some(messages.duration());
        }
        retention.dead_letters = self.dead_letters.map(Seconds::duration);
        retention.events = self.events.map(Seconds::duration);
        retention.events_max = self.events_max;
        retention
    }

    /// Returns what is wrong, as a sentence with the key before it.
    fn fault(&self) -> Option<String> {
        let times = [("messages", self.messages), ("dead_letters", self.dead_letters), ("events", self.events)];
        let is_short = |time: &Option<Seconds>| time.is_some_and(|time| time.duration() < KEEP_MIN);
        if let Some((key, _)) = times.iter().find(|(_, time)| is_short(time)) {
            return Some(format!("{key}: it is shorter than a day ({} s)", KEEP_MIN.as_secs()));
        }
        (self.events_max == Some(0)).then(|| "events_max: nothing could be shown of what was done".to_owned())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mend {
    Rebuild,
    Ignore,
}

/// The REST interface and the pages: where, and the keys of `freshmaker-web`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Web {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) authentication: freshmaker_web::Authentication,
    pub(crate) access: freshmaker_web::Access,
    pub(crate) limits: freshmaker_web::Limits,
    /// The pages for people; without the section there are none.
    pub(crate) page: Option<freshmaker_web::PageConfig>,
}

/// What others announce to the REST interface.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Hooks {
    /// The file with the secret that web hooks of git are signed with; without it there are none.
    pub(crate) git_secret_file: Option<PathBuf>,
    /// What fetches the tree before it is looked at again, as a list of words.
    pub(crate) fetch: Vec<String>,
}

/// Images, by texts with which their names begin; all images, if there are none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Images(pub(crate) Vec<String>);

impl Images {
    pub(crate) fn contain(&self, image: &ArtifactId) -> bool {
        self.0.is_empty() || self.0.iter().any(|start| image.as_str().starts_with(start))
    }
}

/// A duration in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct Seconds(f64);

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> std::result::Result<Self, String> {
        Duration::try_from_secs_f64(seconds).map(|_| Self(seconds)).map_err(|error| error.to_string())
    }
}

impl Seconds {
    pub(crate) fn of(seconds: u32) -> Self {
        Self(seconds.into())
    }

    pub(crate) fn duration(self) -> Duration {
        Duration::try_from_secs_f64(self.0).unwrap_or_default()
    }
}

/// Returns a word in braces that no part of the name of an image has.
fn not_replaced(pattern: &str) -> Option<&str> {
    let words = pattern.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(word, _)| word);
    words.into_iter().find(|word| !["path", "name", "tag"].contains(word))
}

fn state() -> PathBuf {
    PathBuf::from(".image_service")
}

impl Config {
    /// Reads the file of a directory. Paths in it are relative to the directory.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let place = path.display();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let there = directory.display();
                return Err(
                    format!("{place}: there is none; `image_service init {there} --registry …` writes it").into()
                );
            }
            Err(error) => return Err(format!("{place}: {error}").into()),
        };
        let mut config: Self = toml::from_str(&text).map_err(|error| format!("{place}: {error}"))?;
        config.fault().map_or(Ok(()), |fault| Err(format!("{place}: {fault}")))?;
        config.state = directory.join(&config.state);
        let is_one = config.sources.is_empty();
        config.trees = std::mem::take(&mut config.sources);
        if is_one {
            config.trees.push(config.tree.take().unwrap_or_default());
        }
        for tree in &mut config.trees {
            tree.path = match &tree.git {
                None => directory.join(&tree.path),
                Some(git) => {
                    tree.checkout = config.state.join(if is_one { "git".to_owned() } else { git.place() });
                    git::current(&tree.checkout).join(&tree.path).components().collect()
                }
            };
        }
        let relative = config.credentials_files.iter_mut();
        let relative = relative.chain(&mut config.hooks.git_secret_file);
        let relative = relative.chain(config.otel.iter_mut().flat_map(|otel| otel.files()));
        let relative = relative.chain(config.build.elsewhere.as_mut().and_then(Elsewhere::token_file));
        relative.for_each(|path| *path = directory.join(&path));
        if Path::new(&config.build.program).components().count() > 1 {
            config.build.program = directory.join(&config.build.program).display().to_string();
        }
        Ok(config)
    }

    /// Returns what is wrong, as a sentence with the key before it.
    fn fault(&self) -> Option<String> {
        let Build { program, slots, timeout, tries, test, sign, attest, .. } = &self.build;
        if let Some(slots) = slots.filter(|slots| !(1..=SLOTS_MAX).contains(slots)) {
            return Some(format!("build.slots: {slots} is not a number from 1 to {SLOTS_MAX}"));
        }
        let patterns = self.tree.iter().chain(&self.sources).filter_map(|tree| tree.image.as_deref());
        if let Some(word) = patterns.into_iter().find_map(not_replaced) {
            return Some(format!("tree.image: {{{word}}} is not replaced: one of path, name, tag"));
        }
        if let Some(fault) = self.retention.fault() {
            return Some(format!("retention.{fault}"));
        }
        if *tries == 0 {
            return Some("build.tries: no build would ever be tried".to_owned());
        }
        if program.is_empty() {
            return Some("build.program: it is empty".to_owned());
        }
        if timeout.duration() < Duration::from_secs(1) {
            return Some("build.timeout: it is shorter than a second".to_owned());
        }
        if let Some(Err(error)) = self.build.elsewhere.as_ref().map(Elsewhere::system) {
            return Some(format!("build.elsewhere: {error}"));
        }
        if let Some(fault) = self.notify.iter().find_map(Notify::fault) {
            return Some(format!("notify: {fault}"));
        }
        if let Some(fault) = self.fault_of_trees() {
            return Some(fault);
        }
        let commands = [("test", test), ("sign", sign), ("attest", attest)];
        let empty = commands.into_iter().find(|(_, command)| command.first().is_some_and(String::is_empty));
        empty.map(|(key, _)| format!("build.{key}: the first word is the program, and it is empty"))
    }

    fn fault_of_trees(&self) -> Option<String> {
        if self.tree.is_some() && !self.sources.is_empty() {
            return Some("tree: with [[sources]], make it one of them".to_owned());
        }
        let of_tree = self.tree.iter().map(|tree| ("tree", tree));
        for (key, tree) in of_tree.chain(self.sources.iter().map(|source| ("sources", source))) {
            let Some(git) = &tree.git else { continue };
            if let Some(fault) = git.fault(&tree.path) {
                return Some(format!("{key}.git: {fault}"));
            }
            if !self.hooks.fetch.is_empty() {
                return Some(format!("hooks.fetch: a repository under {key}.git is fetched without it"));
            }
            // A branch is fetched once, whatever its files are used for.
            let others = self.sources.iter().filter_map(|source| source.git.as_ref());
            if others.filter(|other| other.place() == git.place()).any(|other| other != git) {
                return Some(format!("{key}.git: sections for one branch must have the same interval and submodules"));
            }
        }
        None
    }

    /// Returns how registries are reached.
    pub(crate) fn oci(&self) -> OciConfig {
        let mut config = OciConfig::of_user();
        config.registries.clone_from(&self.registries);
        if !self.credentials_files.is_empty() {
            config.credentials_files.clone_from(&self.credentials_files);
        }
        let platforms = &self.build.platforms;
        if !platforms.is_empty() && !platforms.contains(&config.platform) {
            config.platform = platforms[0].clone();
        }
        config
    }

    /// Returns the registries that are reached without TLS.
    pub(crate) fn plain_http(&self) -> impl Iterator<Item = &str> {
        self.registries.iter().filter(|(_, registry)| registry.plain_http).map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> std::result::Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), text).unwrap();
        Config::read(directory.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let config = read("[tree]\npath = 'images'\n[build]\nprogram = './build.sh'\n").unwrap();
        let [tree] = config.trees.as_slice() else { panic!("{:?}", config.trees) };
        assert!(tree.path.is_absolute() && tree.path.ends_with("images"));
        assert!(Path::new(&config.build.program).is_absolute());
        assert!(config.state.ends_with(".image_service"));
        assert_eq!(read("").unwrap().build.program, "buildah");
    }

    #[test]
    fn mistakes_name_their_key() {
        for (text, wanted) in [
            ("[build]\nslots = 0", "build.slots: 0"),
            ("[build]\ntries = 0", "build.tries"),
            ("[retention]\nevents = 60", "retention.events: it is shorter"),
            ("[retention]\nevents_max = 0", "retention.events_max"),
            ("[retention]\nevent = 864000", "event"),
            ("[[quiet]]\nperiod = 60", "images"),
            ("[build]\nprogram = ''", "build.program"),
            ("[build]\ntimeout = 0.5", "build.timeout"),
            ("[build]\nplatforms = ['amd64']", "linux/amd64"),
            ("[build.elsewhere]\nservice = 'http'\nurl = 'builds'", "build.elsewhere"),
            ("[build.elsewhere]\nservice = 'jenkins'", "jenkins"),
            ("[build.elsewhere]\nservice = 'github'\nowner = 'example'", "repository"),
            ("[build]\nkeep_for = -1", "keep_for = -1"),
            ("[build]\ntest = ['']", "build.test"),
            ("[tree]\ninterval = -1", "interval = -1"),
            ("[start]\nstale = 'maybe'", "maybe"),
            ("[biuld]", "biuld"),
            ("[tree.git]\nurl = 'images'", "tree.git: url"),
            ("[tree.git]\nurl = '/srv/images'\n[hooks]\nfetch = ['git', 'pull']", "hooks.fetch"),
            ("[[sources]]\npath = 'a'\n[[sources]]\ngit = { url = 'images' }", "sources.git: url"),
            ("[tree]\n[[sources]]\npath = 'a'", "tree: with [[sources]]"),
            ("[[sources]]\ngit = { url = '/srv/images' }\n[hooks]\nfetch = ['git', 'pull']", "hooks.fetch"),
            (
                "[[sources]]\ngit = { url = '/srv/images' }\n[[sources]]\ngit = { url = '/srv/images', interval = 5 }",
                "sources.git: sections for one branch",
            ),
            ("[[notify]]\nimages = ['a']", "notify: it needs either"),
            ("[[notify]]\nurl = 'chat'", "notify: url"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(wanted) && error.contains(FILE), "{text}: {error}");
        }
    }

    #[test]
    fn builds_run_side_by_side_as_processors_and_memory_allow() {
        let memory = |total| Some(Memory { total, available: 0 });
        let build = Build { memory_mib: 1000, ..Build::default() };
        for (processors, memory, wanted) in
            [(4, memory(16_000), 4), (8, memory(3999), 3), (4, memory(100), 1), (4, None, 4), (1000, None, SLOTS_MAX)]
        {
            assert_eq!(build.slots_of(processors, memory), wanted, "{processors} {memory:?}");
        }
        assert_eq!(Build { memory_mib: 0, ..build.clone() }.slots_of(4, memory(100)), 4);
        assert_eq!(Build { slots: Some(7), ..build }.slots(), 7);
    }

    #[test]
    fn what_is_not_said_of_retention_is_as_usual() {
        assert_eq!(read("").unwrap().retention.retention(), Retention::default());
        let retention = read("[retention]\nevents = 86400\nevents_max = 1000\n").unwrap().retention.retention();
        assert_eq!((retention.events, retention.events_max), (Some(KEEP_MIN), Some(1000)));
        assert_eq!((retention.messages, retention.dead_letters), (Retention::default().messages, None));
    }

    #[test]
    fn the_file_of_init_is_read() {
        let text = crate::init::text("localhost:5000/team", crate::init::Transport::PlainHttp);
        let config = read(&text).unwrap();
        assert_eq!(config.trees[0].image.as_deref(), Some("localhost:5000/team/{path}:{tag}"));
        assert_eq!(config.plain_http().collect::<Vec<_>>(), ["localhost:5000"]);
        let defaults = read("").unwrap();
        assert_eq!((config.build.slots(), config.poll.interval), (defaults.build.slots(), config.poll.interval));
    }
}

//! A build system that runs one configured program for each build. Unix only.
//!
//! # Input of the program
//! Each attempt has a directory `<state_dir>/<attempt id>/`. The program gets the environment of
//! the engine, the configured variables, and these:
//!
//! | Variable | Value |
//! |---|---|
//! | `FRESHMAKER_ARTIFACT` | the id of the artifact |
//! | `FRESHMAKER_SOURCE`, `FRESHMAKER_REVISION` | where the recipe is; empty if there is none |
//! | `FRESHMAKER_ATTEMPT` | the id of the attempt |
//! | `FRESHMAKER_RELEASE` | the suffix for the release |
//! | `FRESHMAKER_NO_CACHE` | `1` if no cache may be used, else `0` |
//! | `FRESHMAKER_PARENTS` | JSON array of `{"id", "kinds", "digest"}`; empty above 64 KiB |
//! | `FRESHMAKER_PARAMETER_…` | each parameter that is a text, see below |
//! | `FRESHMAKER_REQUEST` | file with all of these, the target, the mode and all parameters, as JSON |
//! | `FRESHMAKER_RESULT` | file to write the result to |
//!
//! The variable of a parameter ends with the parameter's name in upper case, with `_` for all
//! characters but ASCII letters and digits: the variable of `file` is `FRESHMAKER_PARAMETER_FILE`.
//! If two names become the same, neither gets a variable. If all of them together are longer than
//! 64 KiB, none gets one. The request file has all parameters.
//!
//! The program runs in the source directory if the source is a directory, else in the directory of
//! the attempt. Its standard input is empty.
//!
//! # Output of the program
//!
//! The result is a JSON object of at most 64 KiB:
//! `{"digest": "sha256:…", "name": "…", "contents": "…"}`. All keys are optional. If there is no
//! digest, dependents are always rebuilt.
//!
//! * Exit status 0 with a valid result is a success.
//! * Exit status 75 (`EX_TEMPFAIL`), and a stop by a signal from outside, are infrastructure
//!   failures.
//! * Every other exit status is a failure of the recipe.
//!
//! # Guarantees
//! A small supervisor process holds a lock on the directory, keeps running if the engine stops,
//! stops the program when its time is up, and records how it ended. Therefore:
//!
//! * an engine that starts again knows the state of every build from the directory alone;
//! * no attempt is started twice;
//! * when a build has ended, its whole process group has ended.
//!
//! A program that moves itself to another process group is not followed. Its build counts as
//! running as long as it keeps the inherited lock (descriptor 9) open without a recorded end, or
//! until it is cancelled.
//!
//! `state_dir` must be on a local file system, because locks of network file systems are not
//! inherited. If it does not exist, it is created, and only its owner may enter it; the mode of an
//! existing directory is not changed.
//!
//! # What is removed
//! The directory of an attempt is removed, with its log, when [`keep_for`](CommandConfig::keep_for)
//! has passed since `status` last reported how the attempt ended. An attempt that runs, or whose
//! end was never reported, keeps its directory. After each submission up to 16 directories are
//! removed.
//!
//! How an attempt ended is kept in one file of at most 8 MiB, which has room for more than ten
//! thousand attempts, the latest ones. So an attempt whose directory was removed is not started
//! again, and `status` and `find` still answer how it ended.
//!
//! The age of an end is not measured by the date alone: the date is read about once in an hour, and
//! the age grows by at most a tenth of `keep_for` each time. So setting the date far ahead removes
//! nothing early, and directories of a system that is used rarely are kept longer. A directory that
//! cannot be read, or that belongs to no attempt, is left and logged once.

mod program;
mod result;
mod retention;
mod state_dir;
mod supervisor;

pub use program::ProgramError;

use async_trait::async_trait;
use freshmaker::artifact::{ArtifactId, Parameter};
use freshmaker::backend::{BuildRequest, BuildSystem, Capabilities, Clock, Error, Found, Remedy, Result};
use freshmaker::engine::SystemClock;
use freshmaker::graph::EdgeKind;
use freshmaker::plan::PlanParent;
use freshmaker::rebuild::{AttemptId, ExternalId, Observed, SessionId};
use freshmaker::time::Timestamp;
use retention::{Moment, Retention};
use rustix::process::Signal;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The program that [`CommandBuildSystem`] runs, and its bounds.
///
/// In serde formats, durations are numbers of seconds, with fractions if needed.
///
/// ```
/// use freshmaker_local::command::CommandConfig;
/// use std::time::Duration;
///
/// let config = CommandConfig::new("/usr/local/bin/build-image", "/var/lib/freshmaker/builds")
///     .with_arguments(["--push"])
///     .with_variable("REGISTRY", "registry.example")
///     .with_timeout(Duration::from_secs(1800));
/// let read: CommandConfig = serde_json::from_str(
///     r#"{"program": "/usr/local/bin/build-image", "state_dir": "/var/lib/freshmaker/builds",
///         "arguments": ["--push"], "environment": {"REGISTRY": "registry.example"},
///         "timeout": 1800}"#,
/// )?;
/// assert_eq!(config, read);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CommandConfig {
    /// The program. A name without `/` is searched in `PATH`.
    pub program: PathBuf,
    /// The arguments of the program, the same for each build.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// The directory that contains the directories of the attempts. It is made if it does not
    /// exist.
    pub state_dir: PathBuf,
    /// Variables that are added to the environment of the program.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The longest duration of a build, after which it is stopped. Rounded up to whole seconds; 1
    /// hour by default.
    #[serde(default = "default_timeout", deserialize_with = "seconds")]
    pub timeout: Duration,
    /// How many bytes of the program's output are kept: three quarters from the beginning, and the
    /// rest from the end; 1 MiB by default.
    #[serde(default = "default_log_bytes_max")]
    pub log_bytes_max: u64,
    /// How long a program may take after it was asked to stop, before it is killed; 10 seconds by
    /// default.
    #[serde(default = "default_stop_grace", deserialize_with = "seconds")]
    pub stop_grace: Duration,
    /// How long to wait between two polls of a running build; 200 milliseconds by default.
    #[serde(default = "default_poll", deserialize_with = "seconds")]
    pub poll: Duration,
    /// How long the directory of an attempt is kept after its end was reported; 90 days by default.
    /// See [the module](self#what-is-removed).
    #[serde(default = "default_keep_for", deserialize_with = "seconds")]
    pub keep_for: Duration,
}

fn default_timeout() -> Duration {
    Duration::from_secs(3600)
}

fn default_log_bytes_max() -> u64 {
    1024 * 1024
}

fn default_stop_grace() -> Duration {
    Duration::from_secs(10)
}

fn default_poll() -> Duration {
    Duration::from_millis(200)
}

fn default_keep_for() -> Duration {
    Duration::from_secs(90 * 24 * 3600)
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

impl CommandConfig {
    /// Makes a configuration with this program, and defaults for everything else.
    pub fn new(program: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            state_dir: state_dir.into(),
            environment: BTreeMap::new(),
            timeout: default_timeout(),
            log_bytes_max: default_log_bytes_max(),
            stop_grace: default_stop_grace(),
            poll: default_poll(),
            keep_for: default_keep_for(),
        }
    }

    /// Returns the path of the program, after a look at whether it could be started now.
    ///
    /// A build looks for its program only when it starts. Call this first, to tell a person about a
    /// wrong name before anything is stored.
    ///
    /// ```
    /// use freshmaker_local::command::CommandConfig;
    ///
    /// assert!(CommandConfig::new("sh", "state").find_program().is_ok());
    /// let error = CommandConfig::new("no-such-program", "state").find_program().unwrap_err();
    /// assert_eq!(error.to_string(), "the program no-such-program is not in any directory of PATH");
    /// ```
    ///
    /// # Errors
    /// There is no such file, it is not executable, or it is a script whose interpreter (`#!`) does
    /// not exist.
    pub fn find_program(&self) -> Result<PathBuf, ProgramError> {
        program::check(&self.program, self.search_path().as_deref())
    }

    fn search_path(&self) -> Option<OsString> {
        self.environment.get("PATH").map(OsString::from).or_else(|| std::env::var_os("PATH"))
    }

    /// Returns the same configuration with these arguments.
    #[must_use]
    pub fn with_arguments<T: Into<String>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    /// Returns the same configuration with one more environment variable.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Returns the same configuration with another [`timeout`](Self::timeout).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Returns the same configuration with another [`log_bytes_max`](Self::log_bytes_max).
    #[must_use]
    pub fn with_log_bytes_max(mut self, log_bytes_max: u64) -> Self {
        self.log_bytes_max = log_bytes_max;
        self
    }

    /// Returns the same configuration with another [`stop_grace`](Self::stop_grace).
    #[must_use]
    pub fn with_stop_grace(mut self, stop_grace: Duration) -> Self {
        self.stop_grace = stop_grace;
        self
    }

    /// Returns the same configuration with another [`poll`](Self::poll).
    #[must_use]
    pub fn with_poll(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// Returns the same configuration with another [`keep_for`](Self::keep_for).
    #[must_use]
    pub fn with_keep_for(mut self, keep_for: Duration) -> Self {
        self.keep_for = keep_for;
        self
    }
}

impl fmt::Debug for CommandConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of environment variables are often secrets, so only the names are shown.
        f.debug_struct("CommandConfig")
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .field("state_dir", &self.state_dir)
            .field("environment", &self.environment.keys())
            .field("timeout", &self.timeout)
            .field("log_bytes_max", &self.log_bytes_max)
            .field("stop_grace", &self.stop_grace)
            .field("poll", &self.poll)
            .field("keep_for", &self.keep_for)
            .finish()
    }
}

/// A build system that runs a configured program. See the [module](self) for its input and output.
///
/// ```
/// use freshmaker_local::command::{CommandBuildSystem, CommandConfig};
/// use freshmaker::backend::BuildSystem;
///
/// # let directory = tempfile::tempdir()?;
/// # let state_dir = directory.path();
/// let script = r#"printf '{"name": "%s"}' "$FRESHMAKER_ARTIFACT" >"$FRESHMAKER_RESULT""#;
/// let config = CommandConfig::new("/bin/sh", state_dir).with_arguments(["-c", script]);
/// let builds = CommandBuildSystem::new(config)?;
/// assert!(builds.capabilities().lookup);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CommandBuildSystem {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: CommandConfig,
    /// Names the state directory: attempts are where it is.
    session: SessionId,
    /// The supervisors that this process has started, so that none stays a zombie. The list is
    /// locked during every start, so that a lookup waits for a start that is in progress.
    children: Mutex<Vec<Child>>,
    retention: Retention,
}

/// Withdraws a start whose caller has gone away, if it has not happened yet.
struct Withdrawal(Arc<AtomicBool>);

impl Drop for Withdrawal {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl CommandBuildSystem {
    /// Makes a build system that runs this program.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if a name in `environment` cannot be a variable,
    /// [`Unavailable`](Remedy::Unavailable) if the state directory cannot be made. Whether the
    /// program exists is checked at each build.
    pub fn new(mut config: CommandConfig) -> Result<Self> {
        const PLACE: &str = "command build system";
        if let Some(name) = config.environment.keys().find(|name| !is_variable(name)) {
            let text = format!("{name:?} is not a name of an environment variable");
            return Err(Error::new(Remedy::Unsupported, PLACE, text));
        }
        config.state_dir = for_the_owner()
            .recursive(true)
            .create(&config.state_dir)
            .and_then(|()| config.state_dir.canonicalize())
            .map_err(|error| {
                let text = format!("the state directory {}: {error}", config.state_dir.display());
                Error::new(Remedy::Unavailable, PLACE, text)
            })?;
        let session = state_dir::identity(&config.state_dir).map(SessionId::new).map_err(|error| {
            let text = format!("the state directory {}: {error}", config.state_dir.display());
            Error::new(Remedy::Unavailable, PLACE, text)
        })?;
        let retention = Retention::new(config.keep_for);
        Ok(Self { inner: Arc::new(Inner { config, session, children: Mutex::new(Vec::new()), retention }) })
    }

    /// Returns what the program has printed in this attempt so far, up to the configured bound.
    /// What is beyond the beginning of a long output comes when the program has ended: a line with
    /// the number of bytes that were left out, and the end. This reads a file.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) if there is no such attempt,
    /// [`Unavailable`](Remedy::Unavailable) if it cannot be read.
    pub fn log(&self, attempt: &AttemptId) -> Result<String> {
        let place = || format!("command build system, log of {attempt}");
        let Some(directory) = self.inner.directory(attempt.as_str()) else {
            return Err(Error::new(Remedy::NotFound, place(), "this is no id of ours"));
        };
        match std::fs::read(directory.join("log")) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::new(Remedy::NotFound, place(), error)),
            Err(error) => Err(Error::new(Remedy::Unavailable, place(), error)),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        lost: Remedy,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(answer) => answer,
            Err(error) => Err(Error::new(lost, "command build system", error)),
        }
    }
}

#[async_trait]
impl BuildSystem for CommandBuildSystem {
    fn capabilities(&self) -> Capabilities {
        Capabilities { lookup: true, settle: Duration::ZERO, poll: self.inner.config.poll, submissions: None }
    }

    /// All attempts of a state directory have one session, which is never closed: it only says
    /// where they are.
    async fn session(&self) -> Result<Option<SessionId>> {
        Ok(Some(self.inner.session.clone()))
    }

    fn is_here(&self, session: &SessionId) -> bool {
        *session == self.inner.session
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        let request = request.clone();
        let withdrawn = Arc::new(AtomicBool::new(false));
        let _withdrawal = Withdrawal(Arc::clone(&withdrawn));
        let submitted = self.blocking(Remedy::Unclear, move |inner| inner.submit(&request, &withdrawn)).await;
        // Not waited for: a directory may be large.
        let inner = Arc::clone(&self.inner);
        drop(tokio::task::spawn_blocking(move || inner.sweep()));
        submitted
    }

    async fn find(&self, request: &BuildRequest, _since: Timestamp) -> Result<Vec<Found>> {
        let attempt = request.attempt.clone();
        self.blocking(Remedy::Unavailable, move |inner| inner.find(&attempt)).await
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        let ids = ids.to_vec();
        self.blocking(Remedy::Unavailable, move |inner| inner.status(&ids)).await
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        let id = id.clone();
        self.blocking(Remedy::Unavailable, move |inner| inner.cancel(&id)).await
    }
}

impl Inner {
    /// Returns the directory of an attempt; `None` if the id is not one that this build system can
    /// have made.
    fn directory(&self, id: &str) -> Option<PathBuf> {
        is_plain(id).then(|| self.config.state_dir.join(id))
    }

    fn children(&self) -> MutexGuard<'_, Vec<Child>> {
        // The list is consistent after every statement.
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, request: &BuildRequest, withdrawn: &AtomicBool) -> Result<ExternalId> {
        let place = || format!("command build system, submit {}", request.attempt);
        let unavailable = |error: io::Error| Error::new(Remedy::Unavailable, place(), error);
        let rejected = |text: String| Error::new(Remedy::Rejected, place(), text);
        let external = ExternalId::new(request.attempt.as_str());
        let directory = self
            .directory(request.attempt.as_str())
            .ok_or_else(|| rejected("the attempt's id is not made of hexadecimal digits and dashes".into()))?;

        let mut children = self.children();
        reap(&mut children);
        if withdrawn.load(Ordering::SeqCst) {
            return Err(Error::new(Remedy::Unavailable, place(), "withdrawn before the start"));
        }
        if self.removed(request.attempt.as_str()).map_err(unavailable)?.is_some() {
            return Ok(external);
        }
        match for_the_owner().create(&directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(unavailable(error)),
            _ => {}
        }
        // If another process has the lock, the build is running. The marks say that it ran before,
        // or must not run any more.
        let Some(lock) = supervisor::lock(&directory).map_err(unavailable)? else { return Ok(external) };
        if result::started(&directory).map_err(unavailable)?
            || result::exists(&directory.join("cancel")).map_err(unavailable)?
        {
            return Ok(external);
        }
        match self.start(request, &directory, lock) {
            Ok(child) => children.push(child),
            // Nothing runs and nothing will: the engine submits under another id.
            Err(error) => {
                self.told(&directory);
                return Err(error);
            }
        }
        Ok(external)
    }

    /// Starts the supervisor of an attempt, which gets the lock.
    fn start(&self, request: &BuildRequest, directory: &Path, lock: File) -> Result<Child> {
        let place = || format!("command build system, submit {}", request.attempt);
        let unavailable = |error: io::Error| Error::new(Remedy::Unavailable, place(), error);
        let rejected = |text: String| Error::new(Remedy::Rejected, place(), text);
        let program =
            supervisor::resolve(&self.config.program, self.config.search_path().as_deref()).map_err(rejected)?;
        retention::not_told(directory).map_err(unavailable)?;
        write_request(directory, request).map_err(unavailable)?;
        let source = request.source.as_ref().map(|source| Path::new(&source.location));
        let start = supervisor::Start {
            directory,
            working: source.filter(|source| source.is_dir()).unwrap_or(directory),
            program: &program,
            arguments: &self.config.arguments,
            environment: self.environment(directory, request),
            timeout: self.config.timeout,
            stop_grace: self.config.stop_grace,
            log_bytes_max: self.config.log_bytes_max,
        };
        start.spawn(lock).map_err(|error| {
            if supervisor::passes(&error) {
                return unavailable(error);
            }
            rejected(format!("the program {} cannot be started: {error}", program.display()))
        })
    }

    fn find(&self, attempt: &AttemptId) -> Result<Vec<Found>> {
        let unavailable =
            |error: io::Error| Error::new(Remedy::Unavailable, format!("command build system, find {attempt}"), error);
        let Some(directory) = self.directory(attempt.as_str()) else { return Ok(Vec::new()) };
        reap(&mut self.children());
        self.state_dir_is_there().map_err(unavailable)?;
        // The order matters: an attempt that ends between the two checks has recorded its start.
        let observed = if supervisor::held(&directory).map_err(unavailable)?
            || result::started(&directory).map_err(unavailable)?
        {
            Some(self.observe(&directory).map_err(unavailable)?)
        } else {
            self.removed(attempt.as_str()).map_err(unavailable)?
        };
        let found = |observed| Found { external: ExternalId::new(attempt.as_str()), observed };
        Ok(observed.map(found).into_iter().collect())
    }

    fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        reap(&mut self.children());
        self.state_dir_is_there()
            .map_err(|error| Error::new(Remedy::Unavailable, "command build system, status", error))?;
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            let observed = match self.directory(id.as_str()).map(|directory| self.tell(id.as_str(), &directory)) {
                None => Observed::Vanished,
                Some(Ok(observed)) => observed,
                // An attempt that cannot be read must not hide the others. It counts as unchanged
                // while it is missing.
                Some(Err(error)) => {
                    tracing::warn!(attempt = %id, %error, "the state of a build cannot be read");
                    continue;
                }
            };
            found.push(Found { external: id.clone(), observed });
        }
        Ok(found)
    }

    fn cancel(&self, id: &ExternalId) -> Result<()> {
        let place = || format!("command build system, cancel {id}");
        let unavailable = |error: io::Error| Error::new(Remedy::Unavailable, place(), error);
        self.state_dir_is_there().map_err(unavailable)?;
        let directory = match self.directory(id.as_str()) {
            Some(directory) if result::exists(&directory).map_err(unavailable)? => directory,
            Some(_) if self.removed(id.as_str()).map_err(unavailable)?.is_some() => return Ok(()),
            _ => return Err(Error::new(Remedy::NotFound, place(), "there is no such attempt")),
        };
        if result::exists(&directory.join("status")).map_err(unavailable)? {
            return Ok(());
        }
        // The age of the mark is the time since the first request to cancel.
        match std::fs::OpenOptions::new().write(true).create_new(true).open(directory.join("cancel")) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(unavailable(error)),
            _ => {}
        }
        supervisor::signal(&directory, Signal::TERM).map_err(unavailable)?;
        // This kills a program that has ignored the request for too long.
        self.observe(&directory).map_err(unavailable)?;
        Ok(())
    }

    fn observe(&self, directory: &Path) -> io::Result<Observed> {
        result::observe(directory, self.config.stop_grace, self.config.timeout)
    }

    /// Returns the state of an attempt, and leaves a mark if that is its end. The end of one whose
    /// directory was removed is still known.
    fn tell(&self, id: &str, directory: &Path) -> io::Result<Observed> {
        let observed = self.observe(directory)?;
        match observed {
            Observed::Running => {}
            Observed::Vanished => return Ok(self.removed(id)?.unwrap_or(observed)),
            _ => self.told(directory),
        }
        Ok(observed)
    }

    /// Leaves the mark that the end of an attempt was reported.
    fn told(&self, directory: &Path) {
        if let Err(error) = self.retention.told(&self.config.state_dir, directory, SystemClock.now()) {
            // Without the mark the directory is kept.
            tracing::warn!(directory = %directory.display(), %error, "that a build has ended cannot be marked");
        }
    }

    /// Returns how an attempt ended whose directory was removed.
    fn removed(&self, id: &str) -> io::Result<Option<Observed>> {
        retention::end(&self.config.state_dir, id)
    }

    fn sweep(&self) {
        let observe = |directory: &Path| self.observe(directory);
        if let Err(error) = self.retention.sweep(&self.config.state_dir, Moment::by(&SystemClock), observe) {
            tracing::warn!(%error, "directories of builds that are not kept any longer cannot be removed");
        }
    }

    /// Checks that the state directory exists. If it is missing, nothing is known about the
    /// attempts in it.
    fn state_dir_is_there(&self) -> io::Result<()> {
        std::fs::read_dir(&self.config.state_dir).map(drop)
    }

    fn environment(&self, directory: &Path, request: &BuildRequest) -> BTreeMap<String, OsString> {
        let (location, revision) = match &request.source {
            Some(source) => (source.location.as_str(), source.revision.as_deref().unwrap_or_default()),
            None => Default::default(),
        };
        let parents = serde_json::to_string(&parents(request)).unwrap_or_default();
        let parents = if parents.len() <= VARIABLE_BYTES_MAX { parents } else { String::new() };
        let configured = self.config.environment.iter().map(|(name, value)| (name.clone(), value.into()));
        let ours = [
            ("FRESHMAKER_ARTIFACT", request.artifact.as_str().into()),
            ("FRESHMAKER_SOURCE", location.into()),
            ("FRESHMAKER_REVISION", revision.into()),
            ("FRESHMAKER_ATTEMPT", request.attempt.as_str().into()),
            ("FRESHMAKER_RELEASE", request.release.as_str().into()),
            ("FRESHMAKER_NO_CACHE", if request.no_cache { "1" } else { "0" }.into()),
            ("FRESHMAKER_PARENTS", parents.into()),
            ("FRESHMAKER_REQUEST", directory.join("request.json").into()),
            ("FRESHMAKER_RESULT", directory.join("result.json").into()),
        ];
        let ours = ours.map(|(name, value): (&str, OsString)| (name.to_owned(), value));
        configured.chain(parameters(request)).chain(ours).collect()
    }
}

/// The prefix of variables for parameters. Variables with it in the engine's own environment are
/// not passed on.
const PARAMETER: &str = "FRESHMAKER_PARAMETER_";

/// Longest variable, in bytes. Systems bound it (Linux: 128 KiB); the request file has no bound.
const VARIABLE_BYTES_MAX: usize = 64 * 1024;

fn is_variable(name: &str) -> bool {
    // Shells remove every other name from the environment that they pass on.
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
}

/// Whether this can be the id of an attempt, and so the name of its directory.
fn is_plain(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// Makes directories that only their owner may enter.
fn for_the_owner() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

fn reap(children: &mut Vec<Child>) {
    children.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_)) | Err(_)));
}

#[derive(Serialize)]
struct Parent<'a> {
    id: &'a ArtifactId,
    kinds: &'a [EdgeKind],
    digest: Option<&'a str>,
}

fn parents(request: &BuildRequest) -> Vec<Parent<'_>> {
    request
        .parents
        .iter()
        .map(|PlanParent { id, kinds, digest, .. }| Parent {
            id,
            kinds,
            digest: digest.as_ref().map(|digest| digest.as_str()),
        })
        .collect()
}

/// Returns the parameters that are texts as variables, so that a shell need not parse JSON.
fn parameters(request: &BuildRequest) -> BTreeMap<String, OsString> {
    let mut variables: BTreeMap<String, Option<&str>> = BTreeMap::new();
    for (name, value) in request.parameters.iter() {
        let Parameter::Text(text) = value else { continue };
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let name = format!("{PARAMETER}{}", name.chars().map(plain).collect::<String>());
        // A variable cannot contain a NUL.
        let value = Some(text.as_str()).filter(|text| !text.contains('\0'));
        variables.entry(name).and_modify(|twice| *twice = None).or_insert(value);
    }
    let length = |(name, value): (&String, &Option<&str>)| value.map_or(0, |value| name.len() + value.len());
    if variables.iter().map(length).sum::<usize>() > VARIABLE_BYTES_MAX {
        return BTreeMap::new();
    }
    variables.into_iter().filter_map(|(name, value)| Some((name, value?.into()))).collect()
}

fn write_request(directory: &Path, request: &BuildRequest) -> io::Result<()> {
    let source = request.source.as_ref();
    let text = serde_json::to_vec_pretty(&serde_json::json!({
        "version": 1,
        "attempt": request.attempt,
        "build": request.build,
        "artifact": request.artifact,
        "kind": request.kind,
        "source": source.map(|source| serde_json::json!({"location": source.location, "revision": source.revision})),
        "target": request.target,
        "mode": request.mode,
        "parameters": request.parameters,
        "release": request.release,
        "no_cache": request.no_cache,
        "parents": parents(request),
    }))?;
    let temporary = directory.join("request.json.tmp");
    std::fs::write(&temporary, text)?;
    std::fs::rename(temporary, directory.join("request.json"))
}

use crate::koji::xmlrpc::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A submission of a client, as a script sees it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Submission {
    /// The method: `buildContainer` or `build`.
    pub method: String,
    /// The source with its revision.
    pub source: String,
    /// The build target.
    pub target: String,
    /// The options of the call.
    pub options: Value,
    /// Number of this submission among those of the same source (without revision) and target, from
    /// 1.
    pub number: u32,
}

impl Submission {
    /// Returns the source without its revision, which identifies what is built.
    #[must_use]
    pub fn artifact(&self) -> &str {
        self.source.split('#').next().unwrap_or_default()
    }
}

/// How a task ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The task succeeds, with a build.
    Succeeds,
    /// The builder raises a fault.
    Fails {
        /// Number of the fault.
        code: i64,
        /// Text of the fault.
        text: String,
    },
    /// The task never ends by itself.
    Hangs,
    /// The task disappears, as after a restore of the database from a backup.
    Vanishes,
}

/// The scripted progress and result of a submission.
///
/// ```
/// use freshmaker_redhat::fakes::koji::Fate;
/// use std::time::Duration;
///
/// let slow = Fate::succeeds()
///     .taking(Duration::from_secs(600))
///     .with_version("1.24")
///     .with_rpm("x86_64", "zlib-1.2.11-40.el9");
/// let broken = Fate::fails(1012, "could not init mock buildroot");
/// assert_ne!(slow, broken);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fate {
    /// How long the task waits for a builder. Default: 0.
    pub queued: Duration,
    /// How long the builder works on the task. Default: 0.
    pub takes: Duration,
    /// How the task ends.
    pub end: End,
    /// The architectures that are built, each with packages (name, version and release): those that
    /// are installed in an image, or those that a build of packages makes. Default: `x86_64`
    /// without packages.
    pub rpms: BTreeMap<String, Vec<String>>,
    /// Version of the build. Default: `1.0`.
    pub version: String,
    /// Digest of the image index. Default: derived from the name of the build.
    pub digest: Option<String>,
}

impl Fate {
    fn ending(end: End) -> Self {
        Self {
            queued: Duration::ZERO,
            takes: Duration::ZERO,
            end,
            rpms: BTreeMap::from([("x86_64".to_owned(), Vec::new())]),
            version: "1.0".to_owned(),
            digest: None,
        }
    }

    /// Creates a fate that succeeds at once, for `x86_64`.
    #[must_use]
    pub fn succeeds() -> Self {
        Self::ending(End::Succeeds)
    }

    /// Creates a fate that fails at once with this fault.
    #[must_use]
    pub fn fails(code: i64, text: impl Into<String>) -> Self {
        Self::ending(End::Fails { code, text: text.into() })
    }

    /// Creates a fate in which the task runs until it is cancelled.
    #[must_use]
    pub fn hangs() -> Self {
        Self::ending(End::Hangs)
    }

    /// Creates a fate in which the task disappears at the moment at which it would have ended.
    #[must_use]
    pub fn vanishes() -> Self {
        Self::ending(End::Vanishes)
    }

    /// Sets how long the builder works on the task.
    #[must_use]
    pub fn taking(mut self, takes: Duration) -> Self {
        self.takes = takes;
        self
    }

    /// Sets how long the task waits for a builder, by the clock of the fake; zero by default.
    #[must_use]
    pub fn queued(mut self, queued: Duration) -> Self {
        self.queued = queued;
        self
    }

    /// Adds a package to an architecture.
    #[must_use]
    pub fn with_rpm(mut self, arch: impl Into<String>, nvr: impl Into<String>) -> Self {
        self.rpms.entry(arch.into()).or_default().push(nvr.into());
        self
    }

    /// Sets the version of the build.
    #[must_use]
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Sets the digest of the image index.
    #[must_use]
    pub fn with_digest(mut self, digest: impl Into<String>) -> Self {
        self.digest = Some(digest.into());
        self
    }
}

/// A fault of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// The connection breaks before the hub receives the request.
    RequestLost,
    /// The request takes effect, and the connection breaks before the answer.
    AnswerLost,
    /// The request takes effect, and the answer breaks off after this number of bytes, including
    /// its head.
    AnswerCut(usize),
    /// The request takes effect, and the answer is a complete HTTP response whose XML breaks off
    /// after this number of bytes.
    Truncated(usize),
    /// The request takes effect, and no answer comes on a connection that stays open.
    Stalls,
    /// A proxy answers with an HTML page and status 200; the hub receives no request.
    Html,
    /// A proxy answers with this status; the hub receives no request.
    Status(u16),
    /// The request takes effect, and a proxy answers with this status.
    StatusAfter(u16),
    /// The hub does nothing and answers with this fault.
    Fault(i64, String),
    /// The hub is offline for maintenance, and answers with fault 1014.
    Offline,
    /// All sessions expire just before the call.
    Expired,
    /// The hub receives the request twice, as from a proxy that retries; the client gets the second
    /// answer.
    Twice,
    /// The request arrives at the hub this much later, whether or not the client still waits.
    LateRequest(Duration),
    /// The hub accepts the session of the request at once, and carries out the call this much
    /// later. Through this gap a request escapes a
    /// [fence](freshmaker::backend::BuildSystem::fence).
    LateWork(Duration),
}

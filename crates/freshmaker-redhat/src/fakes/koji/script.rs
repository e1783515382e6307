use crate::koji::xmlrpc::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a client submitted.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Submission {
    /// `buildContainer` or `build`.
    pub method: String,
    /// The source, with its revision.
    pub source: String,
    /// The target.
    pub target: String,
    /// The options.
    pub options: Value,
    /// The how-manieth submission of this source and target it is, from one.
    pub number: u32,
}

impl Submission {
    /// The source without its revision: what is built, whatever its revision.
    #[must_use]
    pub fn artifact(&self) -> &str {
        self.source.split('#').next().unwrap_or_default()
    }
}

/// How a task ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// Well, with a build.
    Succeeds,
    /// By a fault of the builder.
    Fails {
        /// Its code.
        code: i64,
        /// Its text.
        text: String,
    },
    /// Never by itself.
    Hangs,
    /// The task is gone, as after the database was set back.
    Vanishes,
}

/// What becomes of a submission.
///
/// ```
/// use freshmaker_redhat::fakes::koji::Fate;
/// use std::time::Duration;
///
/// let slow = Fate::succeeds().taking(Duration::from_secs(600)).with_version("1.24").with_rpm("x86_64", "zlib-1.2.11-40.el9");
/// let broken = Fate::fails(1012, "could not init mock buildroot");
/// assert_ne!(slow, broken);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fate {
    /// How long the task waits for a builder.
    pub queued: Duration,
    /// How long the builder has it.
    pub takes: Duration,
    /// How it ends.
    pub end: End,
    /// The architectures that are built, each with the packages (name, version and release) that end up installed in an image, or are made by
    /// a build of packages.
    pub rpms: BTreeMap<String, Vec<String>>,
    /// The version of the build.
    pub version: String,
    /// The digest of an image, the same for all architectures; made from the name of the build, if not set.
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

    /// Success at once, for one architecture.
    #[must_use]
    pub fn succeeds() -> Self {
        Self::ending(End::Succeeds)
    }

    /// Failure at once.
    #[must_use]
    pub fn fails(code: i64, text: impl Into<String>) -> Self {
        Self::ending(End::Fails { code, text: text.into() })
    }

    /// It runs until it is cancelled.
    #[must_use]
    pub fn hangs() -> Self {
        Self::ending(End::Hangs)
    }

    /// It is gone as soon as it would have ended.
    #[must_use]
    pub fn vanishes() -> Self {
        Self::ending(End::Vanishes)
    }

    /// The same after so long a time with a builder.
    #[must_use]
    pub fn taking(mut self, takes: Duration) -> Self {
        self.takes = takes;
        self
    }

    /// The same after so long a wait for a builder.
    #[must_use]
    pub fn queued(mut self, queued: Duration) -> Self {
        self.queued = queued;
        self
    }

    /// The same with one more package for an architecture.
    #[must_use]
    pub fn with_rpm(mut self, arch: impl Into<String>, nvr: impl Into<String>) -> Self {
        self.rpms.entry(arch.into()).or_default().push(nvr.into());
        self
    }

    /// The same with another version.
    #[must_use]
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// The same with this digest.
    #[must_use]
    pub fn with_digest(mut self, digest: impl Into<String>) -> Self {
        self.digest = Some(digest.into());
        self
    }
}

/// What goes wrong with one call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// The connection breaks before the hub has the request.
    RequestLost,
    /// The request takes effect, and the connection breaks before the answer.
    AnswerLost,
    /// The request takes effect, and the answer breaks off after so many bytes, its head included.
    AnswerCut(usize),
    /// The request takes effect, and the answer is whole HTTP around XML that breaks off after so many bytes.
    Truncated(usize),
    /// The request takes effect, and no answer comes.
    Stalls,
    /// A proxy answers with a page and status 200; the hub has no request.
    Html,
    /// A proxy answers with this status; the hub has no request.
    Status(u16),
    /// The request takes effect, and a proxy answers with this status.
    StatusAfter(u16),
    /// The hub answers with this fault instead of doing anything.
    Fault(i64, String),
    /// The hub is off-line for maintenance, which it says by a fault.
    Offline,
    /// The session has just expired.
    Expired,
    /// The request comes twice, as from a proxy that tries again; the client sees the second answer.
    Twice,
    /// The request is on its way so long, and is read and answered only then, whether or not the client still waits.
    LateRequest(Duration),
    /// The session of the request is accepted at once, and its work is done so much later: the gap through which a request escapes a
    /// [fence](freshmaker::backend::BuildSystem::fence).
    LateWork(Duration),
}

//! Records: the stored rows, as values.
//!
//! *Invariant:* a record decides nothing; what changes the rows of events, builds and attempts is
//! the transition function or admission. *Invariant:* a number or identity is never given to
//! another row. *Invariant:* `version` of an event, a build or an attempt rises with every stored
//! change, and a change is written only over the version that it was decided on. Dependencies and
//! causes have no version: that of the build stands for them.

use super::state::{AttemptState, BuildState, EventState};
use crate::artifact::{ArtifactId, ArtifactKind, Digest, Nvr, Parameters, Source};
use crate::event::{Envelope, Message};
use crate::plan::{PlanParent, RebuildReason};
use crate::reason::Reason;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Number of an event. Events and builds draw from one sequence, so the numbers of either have
/// gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub i64);

/// Number of a build. Events and builds draw from one sequence, so the numbers of either have gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BuildId(pub i64);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identity of an attempt, a UUID; also the marker that the build system keeps and by which the
/// attempt can be looked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(Arc<str>);

impl AttemptId {
    /// Makes an identity from its text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Makes a version 4 UUID made of 128 random bits.
    #[must_use]
    pub fn from_random(bits: u128) -> Self {
        let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        Self::new(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of an attempt in its build system: a task number, a job name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExternalId(Arc<str>);

impl ExternalId {
    /// Makes an id from its text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Makes an external id of this attempt for a job that several attempts may share:
    /// `id@attempt`. An external id belongs to one attempt, so each of them needs its own.
    ///
    /// ```
    /// use freshmaker::rebuild::{AttemptId, ExternalId};
    ///
    /// let attempt = AttemptId::from_random(7);
    /// let shared = ExternalId::shared(&ExternalId::new("4711"), &attempt);
    /// assert_eq!(shared.as_str(), format!("4711@{attempt}"));
    /// assert_eq!(shared.unshared(), Some(ExternalId::new("4711")));
    /// ```
    #[must_use]
    pub fn shared(id: &Self, attempt: &AttemptId) -> Self {
        Self::new(format!("{id}@{attempt}"))
    }

    /// Returns the id of the job in the service, if this id was made by [`shared`](Self::shared).
    #[must_use]
    pub fn unshared(&self) -> Option<Self> {
        self.0.rsplit_once('@').map(|(id, _)| Self::new(id))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The session of a build system in which an attempt is submitted, by its public name: never a key.
///
/// It is stored with the intent, so that any run that finds the intent can
/// [close](crate::rebuild::Effect::LookUp) the session before it looks the attempt up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// Makes an id from its text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Number of one run of an engine, which is also its fencing token: a later run has a higher
/// number.
///
/// A run begins when an engine takes its lease, and is over when that lease is released or lost.
/// Any other run may take over rows that name a run whose lease is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub i64);

impl RunId {
    /// Stands for no run: in rows that no engine has touched yet, and for changes made through a
    /// client.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of changes of a row. A change is written only over the version it was decided on.
pub type Version = u32;

/// Whether a build is made for use, for a test, or only pretended. Builds of different modes are
/// never shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildMode {
    /// Its output is meant to be used.
    #[default]
    Real,
    /// It is really built, and its output is not meant to be used.
    Scratch,
    /// It is not built: [`DryRun`](crate::backend::DryRun) answers for the build system.
    DryRun,
}

/// Says which requests may share a build: those with equal keys, if their parameters can be united.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BuildKey {
    /// Registered name of the build system.
    pub system: String,
    /// What is built.
    pub artifact: ArtifactId,
    /// Target or branch.
    pub target: String,
    /// Its mode.
    pub mode: BuildMode,
}

impl fmt::Display for BuildKey {
    /// The stored form: a JSON array, so that no separator can be forged by a name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            BuildMode::Real => "real",
            BuildMode::Scratch => "scratch",
            BuildMode::DryRun => "dry_run",
        };
        let parts = serde_json::json!([self.system, self.artifact.as_str(), self.target, mode]);
        write!(f, "{parts}")
    }
}

/// Whether a build is the current or the next one of its key. A key has at most one of each that
/// has not ended; the next build waits for the end of the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildSlot {
    /// Queued or running.
    Current,
    /// Waits for the current one.
    Successor,
}

/// An event as one handler has decided on it. Each handler of a message has an event of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Its number.
    pub id: EventId,
    /// Number of changes so far.
    pub version: Version,
    /// How far it is.
    pub state: EventState,
    /// The source of the message that brought it: the registered name of a bus, or one that the
    /// engine uses for messages of its own. Empty in rows that version 0.1 has written.
    pub source: String,
    /// Identity of the message that brought it; unique within the source.
    pub message_id: String,
    /// The handler that decided on it.
    pub handler: String,
    /// 1 at first, one more for each retry.
    pub generation: u32,
    /// The event that this one retries.
    pub retry_of: Option<EventId>,
    /// What came in.
    pub envelope: Envelope,
    /// Whether its builds are pretended, scratch or real.
    pub mode: BuildMode,
    /// Why it is in its state.
    pub reason: Reason,
    /// Hash of the plan it follows.
    pub plan: Option<Digest>,
    /// How many of its builds have not ended; builds that it no longer wants do not count.
    pub builds_open: u32,
    /// How many of its builds ended well.
    pub builds_done: u32,
    /// How many of its builds failed or were cancelled.
    pub builds_failed: u32,
    /// When it was asked to be cancelled.
    pub cancel_at: Option<Timestamp>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it ended.
    pub done_at: Option<Timestamp>,
}

/// One artifact being rebuilt, possibly for several events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// Its number.
    pub id: BuildId,
    /// Number of changes so far.
    pub version: Version,
    /// How far it is.
    pub state: BuildState,
    /// Which requests may share it.
    pub key: BuildKey,
    /// Whether it is the current or the next build of its key.
    pub slot: BuildSlot,
    /// The kind of the artifact.
    pub kind: ArtifactKind,
    /// The recipe.
    pub source: Option<Source>,
    /// The parameters for the build system.
    pub parameters: Parameters,
    /// What it is built from. Digests of parents that are rebuilt too are taken from their builds
    /// when it is submitted.
    pub parents: Vec<PlanParent>,
    /// Packages that its result must contain, or newer ones: what its causes want it rebuilt for.
    pub demands: BTreeSet<Nvr>,
    /// Why it is rebuilt: the strongest of the reasons of its causes.
    pub because: RebuildReason,
    /// Whether one of its causes asked for it itself; then it is built even if its inputs are those
    /// of its latest output.
    pub asked: bool,
    /// Digest of everything it is made of (recipe, parameters, contents of its parents), known from
    /// its submission or reuse on. A later build of the same key with the same inputs need not run.
    /// `None` if the content of a parent is not known.
    pub inputs: Option<Digest>,
    /// How many builds it waits for.
    pub pending: u32,
    /// Its priority, the highest first: minus its position in the queue of its build system, see
    /// [`QueuePositions`](super::QueuePositions).
    pub priority: i64,
    /// Expected duration.
    pub estimate: Option<Duration>,
    /// How many attempts it has had, with any outcome.
    pub attempts: u32,
    /// How many tries it has had; a submission that never reached the build system is not a try.
    pub tries: u32,
    /// How many submissions of the present try had no effect, through no fault of the build:
    /// refused for the moment, found not to have arrived, or interrupted; or how often a repository
    /// was gone right before it. Requests that were certainly not sent do not count. 0 again when
    /// the next try begins.
    pub resubmits: u32,
    /// Whether the next try must not use any cache.
    pub no_cache: bool,
    /// Release of the try under way, or of the next one: a number that rises with every try of its
    /// artifact. A resubmission repeats it.
    pub release: Option<String>,
    /// Not to be submitted before.
    pub not_before: Option<Timestamp>,
    /// Why it is in its state.
    pub reason: Reason,
    /// Its output, when it has ended well.
    pub output: Option<super::Output>,
    /// When it was asked to be cancelled.
    pub cancel_at: Option<Timestamp>,
    /// When it was planned.
    pub created_at: Timestamp,
    /// When it ended.
    pub done_at: Option<Timestamp>,
}

impl BuildRecord {
    /// Returns whether this row differs from the other one only in the progress of the build: what
    /// was planned (key, recipe, parameters, parents, demands, reason, priority, estimate) is the
    /// same.
    #[must_use]
    pub fn is_planned_as(&self, other: &Self) -> bool {
        self.id == other.id
            && self.key == other.key
            && self.kind == other.kind
            && self.source == other.source
            && self.parameters == other.parameters
            && self.parents == other.parents
            && self.demands == other.demands
            && self.because == other.because
            && self.asked == other.asked
            && self.priority == other.priority
            && self.estimate == other.estimate
            && self.created_at == other.created_at
    }

    /// Returns whether this build need not run if its inputs are those of its latest output: it is
    /// only rebuilt because of its parents, was not asked for itself, and may use caches. A
    /// repository is never reused, because its service removes it when its lifetime ends.
    #[must_use]
    pub fn may_be_reused(&self) -> bool {
        let wanted = self.because != RebuildReason::Dependency || self.asked || self.no_cache;
        !wanted && self.kind != ArtifactKind::Repository
    }
}

/// One submission of a build to its build system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Its identity, which is also its marker in the build system.
    pub id: AttemptId,
    /// Number of changes so far.
    pub version: Version,
    /// How far it is.
    pub state: AttemptState,
    /// The build it is for.
    pub build: BuildId,
    /// The build system it went to.
    pub system: String,
    /// 1 for the first of its build.
    pub number: u32,
    /// The run that changed it last; another run looks the attempt up instead of waiting for an
    /// answer to its submission.
    pub run: RunId,
    /// The release string it was submitted with.
    pub release: String,
    /// The session it was submitted in, if its build system has sessions.
    pub session: Option<SessionId>,
    /// When the intent was stored: always before the call.
    pub intent_at: Timestamp,
    /// The build system's id, written once.
    pub external: Option<ExternalId>,
    /// When the build system reported the end of the attempt. `None` while it runs.
    pub observed_at: Option<Timestamp>,
    /// Why it is in its state.
    pub reason: Reason,
    /// When it must have ended.
    pub deadline: Option<Timestamp>,
    /// Not to be looked up or asked about before.
    pub not_before: Option<Timestamp>,
}

/// Whether a dependency needs the parent's output, or only its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DependencyKind {
    /// The child needs the parent's output; a failed parent fails it.
    Needs,
    /// The child only comes after the parent, however that ends.
    After,
}

/// One build waits for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The build that the child waits for.
    pub parent: BuildId,
    /// The build that waits.
    pub child: BuildId,
    /// What the child needs of the parent.
    pub kind: DependencyKind,
    /// Whether the wait is over; set once, which makes releasing idempotent.
    pub satisfied: bool,
}

/// The link from a build to an event that it is made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The build.
    pub build: BuildId,
    /// The event that wants it.
    pub event: EventId,
    /// Why the event wants it: artifact names, changed or rebuilt.
    pub because: Vec<ArtifactId>,
    /// `false` once the event was cancelled and no longer wants it.
    pub live: bool,
}

/// The state of a message in the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InboxState {
    /// Stored.
    New,
    /// Being handled. If its run dies meanwhile, a try is counted.
    Claimed,
    /// Handled.
    Done,
    /// No handler wanted it.
    Ignored,
    /// A dead letter: it could not be read or handled, and is kept with its bytes.
    Dead,
}

/// Which message: unique in the inbox.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageKey {
    /// Registered name of the bus, or `local`.
    pub source: String,
    /// [`Message::identity`].
    pub message_id: String,
}

impl InboxRecord {
    /// Makes the record of a message that has just come in from this source.
    #[must_use]
    pub fn new(source: &str, message: Message, received_at: Timestamp) -> Self {
        Self {
            source: source.to_owned(),
            message_id: message.identity(),
            message,
            state: InboxState::New,
            tries: 0,
            waits: 0,
            run: RunId::NONE,
            received_at,
            not_before: None,
            reason: None,
        }
    }

    /// Returns the same message as a dead letter, for this reason.
    #[must_use]
    pub fn dead(self, reason: Reason) -> Self {
        Self { state: InboxState::Dead, reason: Some(reason), ..self }
    }

    /// Returns the same message with the escape sequence of Rust (`\u{0}`) for each control
    /// character of its identity and its topic: not every storage can hold them.
    #[must_use]
    pub fn escaped(self) -> Self {
        let Message { id, topic, .. } = &self.message;
        let message = Message { id: without_controls(id), topic: without_controls(topic), ..self.message };
        Self { message_id: message.identity(), message, ..self }
    }

    /// Which message it is.
    #[must_use]
    pub fn key(&self) -> MessageKey {
        MessageKey { source: self.source.clone(), message_id: self.message_id.clone() }
    }
}

/// A message that came in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InboxRecord {
    /// Registered name of the bus, or `local`.
    pub source: String,
    /// [`Message::identity`]; unique within the source.
    pub message_id: String,
    /// The message as it was received: topic, headers and body.
    pub message: Message,
    /// How far it is.
    pub state: InboxState,
    /// How often handling it ended badly: the process died, or a handler did not end in time.
    pub tries: u32,
    /// How often it had to wait because a backend failed; this does not count as a try.
    pub waits: u32,
    /// The run that claimed it last.
    pub run: RunId,
    /// When it was stored.
    pub received_at: Timestamp,
    /// Not to be handled before.
    pub not_before: Option<Timestamp>,
    /// Why it is dead, or why it waits.
    pub reason: Option<Reason>,
}

fn without_controls(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempt_ids_are_version_4_uuids() {
        for bits in [0, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let id = AttemptId::from_random(bits);
            let groups: Vec<_> = id.as_str().split('-').map(str::len).collect();
            assert_eq!(groups, [8, 4, 4, 4, 12]);
            assert_eq!(&id.as_str()[14..15], "4");
            assert!("89ab".contains(&id.as_str()[19..20]), "{id}");
        }
    }

    #[test]
    fn build_keys_cannot_be_forged() {
        let key = |system: &str, artifact: &str| {
            BuildKey { system: system.into(), artifact: artifact.into(), target: String::new(), mode: BuildMode::Real }
                .to_string()
        };
        assert_eq!(key("command", "debian:12"), r#"["command","debian:12","","real"]"#);
        assert_ne!(key("a", "b\",\"c"), key("a\",\"b", "c"));
    }
}

//! Asks handlers what to do about a message: the second of three steps, between `message` and
//! `admission`.
//!
//! Nothing is stored, submitted or published here, so a decision can be made again at any time:
//! after a crash, after a conflict, or for a preview. What is read are catalogs, the history of
//! builds, and the policy.
//!
//! * A handler returns an error of its own, or panics: its event fails with the code
//!   `handler_failed`.
//! * A handler passes on a transient error of a backend: the message waits, and this handler is
//!   asked again later. What the others have decided is stored.
//! * A handler does not end within `handler_timeout`: likewise, and that is a try of the message.
//!
//! A dry run of a single event differs in its mode, which becomes part of its event and builds, and
//! in the queue of its builds; what is read is the same.
//!
//! Bounds: a plan with more than `Limits::plan_builds_max` builds fails its event
//! (`plan_too_large`); a plan above the policy's `ask_above` is left to a person (`plan::gate`);
//! `LATEST_MAX` bounds the search for an earlier content.

use super::calls::{NoAnswer, in_time, unharmed};
use super::registry::{Entry, Opened, Registry};
use super::retry_event::{NoRetry, Retry};
use crate::artifact::{Artifact, ArtifactId, ArtifactKind, Digest};
use crate::backend::{BoxError, BuildFilter, Clock, DryRun, Error, Paging, Remedy, StorageReads, with_causes};
use crate::client::ASK_FIRST;
use crate::event::{Envelope, Message, ParseError, Received};
use crate::handler::{Context, Decision, Readable};
use crate::plan::{Gate, Plan};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::rebuild::{BuildMode, BuildState, EventId, Outcome, Output};
use crate::time::Timestamp;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Asks handlers, and completes and checks their answers.
#[derive(Debug)]
pub(super) struct Decider {
    /// Handlers by kind, and parsers.
    pub(super) registry: Registry,
    /// What handlers may read through their context.
    pub(super) readable: Arc<Readable>,
    /// Names of the registered build systems, composers included.
    pub(super) systems: BTreeSet<String>,
    /// Largest number of builds of a plan; the event of a larger one fails.
    pub(super) plan_builds_max: u32,
    /// The clock of time limits.
    pub(super) clock: Arc<dyn Clock>,
    /// Time limit of a handler, with all that it asks.
    pub(super) handler_timeout: Duration,
}

/// Says why there is no decision.
#[derive(Debug)]
pub(super) enum Undecided {
    /// A backend failed for the moment.
    Backend(Error),
    /// This handler did not end within the time limit.
    Late(String, Duration),
    /// The event that is to be retried is not there any more.
    Gone(EventId),
}

impl From<NoRetry> for Undecided {
    fn from(none: NoRetry) -> Self {
        match none {
            NoRetry::Backend(error) => Self::Backend(error),
            NoRetry::Gone(event) => Self::Gone(event),
        }
    }
}

impl From<Error> for Undecided {
    fn from(error: Error) -> Self {
        Self::Backend(error)
    }
}

impl From<Undecided> for Error {
    fn from(undecided: Undecided) -> Self {
        match undecided {
            Undecided::Backend(error) => error,
            Undecided::Late(handler, limit) => {
                let place = format!("handler {handler}");
                Self::new(Remedy::Unavailable, place, NoAnswer::Late(limit))
            }
            Undecided::Gone(event) => Self::new(Remedy::NotFound, "retry", format!("there is no event {event}")),
        }
    }
}

/// Holds a message as handlers see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming<'a> {
    /// The identity of the message.
    pub(super) id: &'a str,
    /// When the message was stored.
    pub(super) at: Timestamp,
    /// Its headers, of which `Message::CONFIRMS`, `Message::EXACTLY`, `Message::HANDLER`,
    /// `Message::RETRIES` and `Message::PART` matter here.
    pub(super) headers: &'a BTreeMap<String, String>,
    /// How many messages led to it, each emitted by a handler of the one before.
    pub(super) generation: u32,
    /// The event that was read from it.
    pub(super) envelope: &'a Envelope,
}

/// Holds the answer of one handler.
#[derive(Clone, Debug)]
pub(super) struct Answered<'a> {
    /// The name of the handler.
    pub(super) handler: &'a str,
    /// The mode of the event, which is that of the engine unless this one is a dry run.
    pub(super) mode: BuildMode,
    /// What it decided.
    pub(super) decided: Decided,
}

/// What comes of asking one handler.
pub(super) type Answer<'a> = Result<Answered<'a>, Undecided>;

/// Holds what one handler decided, completed and checked.
#[derive(Clone, Debug)]
pub(super) enum Decided {
    /// Nothing is stored for this handler.
    Ignore,
    /// An event with or without builds.
    Event(Outcome),
    /// Messages to be handled next.
    Emit(Vec<Message>),
    /// Events to be cancelled.
    Cancel(Vec<EventId>),
}

impl Decided {
    /// Returns whether nothing follows from it: the handler ignores the message.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Ignore => true,
            Self::Event(_) => false,
            Self::Emit(messages) => messages.is_empty(),
            Self::Cancel(events) => events.is_empty(),
        }
    }
}

/// The longest chain of messages that each were emitted because of the one before. Handlers that
/// emit for each other would otherwise go on for ever.
const GENERATIONS_MAX: u32 = 10;

/// Number of latest builds of one artifact among which its latest content is searched; builds of
/// another mode are skipped.
const LATEST_MAX: u32 = 20;

impl Decider {
    /// Returns the mode of the engine, which is part of each build key, but for those of single dry
    /// runs.
    pub(super) fn mode(&self) -> BuildMode {
        self.readable.mode
    }

    /// Returns a digest of the policy: two engines of one version with the same rules have the
    /// same.
    pub(super) fn policy_digest(&self) -> Digest {
        Digest::of(format!("{:?}", self.readable.policy).as_bytes())
    }

    /// Reads the event of a message; `None` if no handler wants it.
    pub(super) fn read(&self, message: &Message) -> Option<Result<Envelope, ParseError>> {
        self.registry.read(message)
    }

    /// Asks each handler of the event's kind, all at the same time, but for those whose decision is
    /// stored already. Each answer comes with the position of its handler in the order of their
    /// registration.
    ///
    /// The header `Message::HANDLER` restricts this to one handler. The header `Message::CONFIRMS`
    /// has the hash of a plan that a person has confirmed, `Message::EXACTLY` that of the only one
    /// that may be started. `retry` says what is done over.
    ///
    /// An answer is an error if a backend failed for the moment, if the storage failed in whatever
    /// way while contents were searched, or if the handler is late: it is to be asked again.
    pub(super) fn ask_each<'a>(
        &'a self,
        incoming: Incoming<'a>,
        retry: Option<&'a Retry>,
        stored: &BTreeSet<String>,
        now: Timestamp,
    ) -> Vec<BoxFuture<'a, (usize, Answer<'a>)>> {
        let only = incoming.headers.get(Message::HANDLER);
        let wanted = |entry: &&Entry| only.is_none_or(|name| *name == entry.name) && !stored.contains(&entry.name);
        let of_kind = self.registry.of_kind(&incoming.envelope.kind).filter(wanted).enumerate();
        of_kind
            .map(|(position, entry)| {
                self.ask(entry, incoming, retry, now).map(move |answer| (position, answer)).boxed()
            })
            .collect()
    }

    /// Asks one handler, and completes its answer. It is a dry run if the engine makes nothing
    /// else, or if the event, its message or the retried event says so.
    async fn ask<'a>(
        &'a self,
        entry: &'a Entry,
        incoming: Incoming<'_>,
        retry: Option<&Retry>,
        now: Timestamp,
    ) -> Answer<'a> {
        let handler = entry.name.as_str();
        let was_dry = retry.is_some_and(|retry| retry.of.mode == BuildMode::DryRun);
        let mode = |dry_run| if dry_run { BuildMode::DryRun } else { self.mode() };
        let asks = was_dry || Message::is_dry(incoming.headers);
        let opened = unharmed(|| entry.handler.open(incoming.envelope))
            .unwrap_or_else(|text| Err(format!("the event cannot be read: its reader panicked: {text}").into()));
        let Opened { dry_run, handle } = match opened {
            Ok(opened) => opened,
            Err(error) => return Ok(Answered { handler, mode: mode(asks), decided: failed(error.as_ref()) }),
        };
        let mode = mode(asks || dry_run);
        let received = Received { message_id: incoming.id.to_owned(), at: incoming.at };
        let cx = Context::new(self.readable.clone(), handler, received, now);
        let cx = if mode == BuildMode::DryRun { cx.dry() } else { cx };
        let answer = match in_time(&*self.clock, self.handler_timeout, async { handle(cx).await }).await {
            Ok(answer) => answer,
            Err(NoAnswer::Late(limit)) => return Err(Undecided::Late(handler.to_owned(), limit)),
            Err(NoAnswer::Panicked(text)) => Err(BoxError::from(format!("the handler panicked: {text}"))),
        };
        let decided = match answer.map_err(|error| error.downcast::<Error>()) {
            Ok(decision) => self.complete(handler, mode, decision, incoming, retry).await?,
            Err(Ok(error)) if error.is_transient() => return Err(Undecided::Backend(*error)),
            Err(Ok(error)) => failed(&error),
            Err(Err(error)) => failed(error.as_ref()),
        };
        Ok(Answered { handler, mode, decided })
    }

    /// Completes a decision. A plan goes through four steps: it is cut down to what is retried,
    /// contents that the catalog does not know are filled in, each node gets its build system, and
    /// the gate may hold the plan back until a person confirms it. A retry is confirmed by the
    /// person who wants it.
    async fn complete(
        &self,
        handler: &str,
        mode: BuildMode,
        decision: Decision,
        incoming: Incoming<'_>,
        retry: Option<&Retry>,
    ) -> Result<Decided, Undecided> {
        Ok(match decision {
            Decision::Ignore => Decided::Ignore,
            Decision::Skip(why) => Decided::Event(Outcome::Skip(Reason::new("skipped", why))),
            Decision::Rebuild(plan) => {
                let plan = match retry {
                    Some(retry) => retry.cut(plan),
                    None => plan,
                };
                let plan = self.with_known_contents(plan).await?;
                if let Some(other) =
                    incoming.headers.get(Message::EXACTLY).filter(|hash| **hash != plan.hash().to_string())
                {
                    let text = format!("plan {other} was to be applied, but it is plan {} now", plan.hash());
                    return Ok(Decided::Event(Outcome::Skip(Reason::new("plan_changed", text))));
                }
                let confirmed: Option<Digest> = match incoming.headers.get(Message::CONFIRMS) {
                    Some(text) => text.parse().ok(),
                    // A person who retries has not seen a plan that was never to be confirmed.
                    None => retry.filter(|retry| retry.of.reason.code != ASK_FIRST).map(|_| plan.hash()),
                };
                let policy = self.readable.policy.for_handler(handler);
                Decided::Event(gate(self.route(plan, mode), &policy, confirmed.as_ref()))
            }
            Decision::Emit(_) if incoming.generation >= GENERATIONS_MAX => {
                let text =
                    format!("it emits messages, and {GENERATIONS_MAX} led to this one, each from the one before");
                Decided::Event(Outcome::Fail(Reason::new("handler_failed", text)))
            }
            Decision::Emit(messages) => Decided::Emit(messages),
            Decision::Cancel(events) => Decided::Cancel(events),
        })
    }

    /// Fills in the contents of parents that the catalog does not know, from builds that are
    /// stored. The plan stays as it is if there is no storage (in a preview).
    async fn with_known_contents(&self, plan: Plan) -> Result<Plan, Error> {
        let Some(reads) = self.readable.history.as_deref().map(|storage| storage.reads()) else { return Ok(plan) };
        let mut contents = BTreeMap::new();
        for id in plan.unknown_contents() {
            if let Some(digest) = self.latest_content(reads, &id).await? {
                contents.insert(id, digest);
            }
        }
        Ok(plan.with_contents(&contents))
    }

    /// Returns the digest of the latest output of an artifact in the mode of this engine, if one of
    /// its latest `LATEST_MAX` builds has an output with a digest.
    async fn latest_content(&self, reads: &dyn StorageReads, id: &ArtifactId) -> Result<Option<Digest>, Error> {
        // A build that was cancelled too late has an output as well.
        let states = vec![BuildState::Done, BuildState::Reused, BuildState::Canceled];
        Ok(latest_output(reads, id, self.mode(), states).await?.and_then(|output| output.digest))
    }

    /// Returns the plan with the name of the build system of each node. The event fails instead if
    /// the plan is too large (`plan_too_large`) or a node has no registered system
    /// (`no_build_system`). Builds of a single dry run get the name of their queue instead.
    fn route(&self, plan: Plan, mode: BuildMode) -> Outcome {
        let limit = self.plan_builds_max as usize;
        if plan.len() > limit {
            let text = format!("the plan has {} builds, more than the {limit} that are allowed", plan.len());
            return Outcome::Fail(Reason::new("plan_too_large", text));
        }
        let mut systems: BTreeMap<ArtifactId, String> = BTreeMap::new();
        for node in plan.nodes() {
            match self.system_of(&node.artifact) {
                Ok(system) => {
                    let system = if mode == self.mode() { system } else { DryRun::QUEUE.to_owned() };
                    systems.insert(node.artifact.id.clone(), system);
                }
                Err(text) => return Outcome::Fail(Reason::new("no_build_system", text)),
            }
        }
        Outcome::Build { plan: Box::new(plan), systems }
    }

    /// Returns the build system of an artifact: the one that it names, otherwise the only
    /// registered one.
    ///
    /// # Errors
    /// A sentence for people, if the named system is not registered, or if none is named and there
    /// is not exactly one.
    fn system_of(&self, artifact: &Artifact) -> Result<String, String> {
        let known = || self.systems.iter().cloned().collect::<Vec<_>>().join(", ");
        match &artifact.system {
            Some(name) if self.systems.contains(name) => Ok(name.clone()),
            Some(name) => Err(format!("{} is built by {name:?}, but registered are only: {}", artifact.id, known())),
            None if self.systems.len() == 1 => Ok(known()),
            None => {
                let kind = if artifact.kind == ArtifactKind::Repository { "repository" } else { "artifact" };
                Err(format!(
                    "the {kind} {} names no build system, and there is not exactly one: {}",
                    artifact.id,
                    known()
                ))
            }
        }
    }
}

/// Returns the output of the latest build of an artifact in one of these states and of this mode
/// that has one; builds of another mode are passed over, `LATEST_MAX` in all.
pub(super) async fn latest_output(
    reads: &dyn StorageReads,
    artifact: &ArtifactId,
    mode: BuildMode,
    states: Vec<BuildState>,
) -> Result<Option<Output>, Error> {
    let filter = BuildFilter { states, artifacts: vec![artifact.clone()], ..BuildFilter::default() };
    let builds = reads.builds(filter, Paging::first(LATEST_MAX)).await?.items;
    let mut of_mode = builds.into_iter().filter(|build| build.key.mode == mode);
    Ok(of_mode.find_map(|build| build.output))
}

/// Returns a failed event, with the text of the error and its causes.
fn failed(error: &(dyn std::error::Error + 'static)) -> Decided {
    Decided::Event(Outcome::Fail(Reason::new("handler_failed", with_causes(error))))
}

/// Holds a plan back that is so large that a person has to confirm it, unless its hash is
/// confirmed.
fn gate(outcome: Outcome, policy: &Policy, confirmed: Option<&Digest>) -> Outcome {
    let Outcome::Build { plan, systems } = outcome else { return outcome };
    match plan.gate(policy, confirmed) {
        Gate::Open => Outcome::Build { plan, systems },
        Gate::Ask(ask) => Outcome::Ask { plan, reason: Reason::new(ASK_FIRST, ask.to_string()) },
    }
}

//! What the services around Freshmaker say, and what it is asked for: event types, and a [`Parser`] for each sort of message.
//!
//! | topic behind the prefix | parser | kind | fields |
//! |---|---|---|---|
//! | `brew.task.closed`, `brew.task.failed` | [`koji::CONTAINER_TASK`] | `koji.container-task-changed` | task, states, repository, commit, branch, target; only of `buildContainer` |
//! | `buildsys.task.state.change` | [`koji::TASK`] | `koji.task-changed` | task, states, method |
//! | `brew.sign.rpm` | [`koji::SIGNED`] | `koji.rpm-signed` | build |
//! | `errata.activity.status` | [`errata::STATUS`] | `errata.advisory-status-changed` | advisory, status before and now, title, contents |
//! | `errata.activity.signing` | [`errata::SIGNING`] | `errata.module-advisory-signed` | advisory, build; only of modules in `QE` |
//! | `odcs.state.change`, `odcs.state.changed`, `odcs.compose.state-changed` | [`odcs::COMPOSE`] | `odcs.compose-changed` | compose, state, reason |
//! | `mbs.module.state.change` | [`mbs::MODULE`] | `mbs.module-changed` | build, module, stream, version, context, state |
//! | `git.receive` | [`dist_git::COMMIT`] | `dist-git.spec-changed`, `dist-git.dockerfile-changed`, `dist-git.module-metadata-changed` | namespace, repository, branch, commit, file |
//! | `distgit.commit` | [`dist_git::UMB_COMMIT`] | the same | the same |
//! | `distgit.push`, `pagure.git.receive` | [`dist_git::UMB_PUSH`], [`dist_git::PAGURE_PUSH`] | the same | the same, without file |
//! | `bodhi.update.complete.stable` | [`bodhi::UPDATE_STABLE`] | `bodhi.update-stable` | update, builds, release, branch, severity |
//! | `freshmaker.manual.rebuild` | [`request::MANUAL_REBUILD`] | `freshmaker.manual-rebuild` | those of the interface |
//! | `freshmaker.async.manual.build` | [`request::ASYNC_BUILD`] | `freshmaker.async-build` | those of the interface |
//! | `freshmaker.manage.eventcancel` | [`request::CANCEL_EVENT`] | `freshmaker.cancel-event` | event, builds, tries |
//!
//! Parsers give the facts of a message and look nothing up: whether an advisory is one of bundles is for a handler to ask. The same facts come in
//! several forms, and each is understood everywhere: plain as in Fedora Messaging and UMB, wrapped in `msg` as in fedmsg, as JSON within a
//! text, in an AMQP 1.0 section that RabbitMQ did not take off, and, with an empty body, in the headers.
//!
//! Fields that are not known are skipped in messages of services, which grow, and refused in [requests](request), where they are slips. What is
//! missing or of another type is a [`ParseError`] with the path, `msg.info.request[0]`.
//!
//! ```
//! use freshmaker::Message;
//! use freshmaker_redhat::messages::{self, errata::AdvisoryStatusChanged;
//!
//! let parsers = messages::parsers(["org.fedoraproject.prod", "VirtualTopic.eng"]);
//! let message = Message {
//!     id: "ID:1".into(),
//!     topic: "/topic/VirtualTopic.eng.errata.activity.status".into(),
//!     headers: [].into(),
//!     body: r#"{"errata_id": 139856, "from": "QE", "to": "SHIPPED_LIVE", "synopsis": "Important: security update"}"#.into(),
//! };
//! let envelope = parsers.parse(&message).expect("a topic of ours")?;
//! assert_eq!(envelope.search_key, "139856");
//! assert_eq!(envelope.open::<AdvisoryStatusChanged>()?.to, "SHIPPED_LIVE");
//!
//! let broken = Message { body: r#"{"msg": {"errata_id": true, "to": "QE"}}"#.into(), ..message };
//! let error = parsers.parse(&broken).expect("a topic of ours").unwrap_err();
//! assert_eq!(error.place, "msg.errata_id");
//! assert_eq!(error.reason, "expected a whole number, not negative, found true or false");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod bodhi;
mod body;
pub mod dist_git;
pub mod errata;
mod field;
pub mod koji;
pub mod mbs;
pub mod odcs;
pub mod request;

use body::{Body, Fault, Shape};
use field::Field;
use freshmaker::event::{Envelope, Event, Message, ParseError, Parsed, Parser, Parsers};
use freshmaker::rebuild::ExternalId;

/// Numbers of event kinds that Freshmaker's REST interface shows; 0 to 18 are reserved for these names.
pub const RESERVED_KINDS: [(i32, &str); 19] = [
    (0, "MBSModuleStateChangeEvent"),
    (1, "GitModuleMetadataChangeEvent"),
    (2, "GitRPMSpecChangeEvent"),
    (3, "TestingEvent"),
    (4, "GitDockerfileChangeEvent"),
    (5, "BodhiUpdateCompleteStableEvent"),
    (6, "KojiTaskStateChangeEvent"),
    (7, "BrewSignRPMEvent"),
    (8, "ErrataAdvisoryRPMsSignedEvent"),
    (9, "BrewContainerTaskStateChangeEvent"),
    (10, "ErrataAdvisoryStateChangedEvent"),
    (11, "FreshmakerManualRebuildEvent"),
    (12, "ODCSComposeStateChangeEvent"),
    (13, "ManualRebuildWithAdvisoryEvent"),
    (14, "FreshmakerAsyncManualBuildEvent"),
    (15, "BotasErrataShippedEvent"),
    (16, "ManualBundleRebuildEvent"),
    (17, "FlatpakModuleAdvisoryReadyEvent"),
    (18, "FlatpakApplicationManualBuildEvent"),
];

/// All parsers.
pub const ALL: [Parser; 15] = [
    koji::CONTAINER_TASK,
    koji::TASK,
    koji::SIGNED,
    errata::STATUS,
    errata::SIGNING,
    odcs::COMPOSE,
    mbs::MODULE,
    dist_git::COMMIT,
    dist_git::UMB_COMMIT,
    dist_git::UMB_PUSH,
    dist_git::PAGURE_PUSH,
    bodhi::UPDATE_STABLE,
    request::MANUAL_REBUILD,
    request::ASYNC_BUILD,
    request::CANCEL_EVENT,
];

/// The numbers that Freshmaker's interface shows for kinds of this module; what they are called is in
/// [`RESERVED_KINDS`](RESERVED_KINDS). A request to cancel is no event there and has none. Numbers that are missing are of events
/// that only a look-up tells from others.
pub const NUMBERS: [(&str, i32); 13] = [
    (mbs::ModuleChanged::KIND, 0),
    (dist_git::ModuleMetadataChanged::KIND, 1),
    (dist_git::SpecChanged::KIND, 2),
    (dist_git::DockerfileChanged::KIND, 4),
    (bodhi::UpdateStable::KIND, 5),
    (koji::TaskChanged::KIND, 6),
    (koji::RpmSigned::KIND, 7),
    (koji::ContainerTaskChanged::KIND, 9),
    (errata::AdvisoryStatusChanged::KIND, 10),
    (odcs::ComposeChanged::KIND, 12),
    (request::ManualRebuild::KIND, 13),
    (request::AsyncBuild::KIND, 14),
    (errata::ModuleAdvisorySigned::KIND, 17),
];

/// The number that Freshmaker's interface shows for a kind.
///
/// ```
/// use freshmaker_redhat::messages::number;
///
/// assert_eq!(number("koji.task-changed"), Some(6));
/// assert_eq!(number("image.pushed"), None);
/// ```
#[must_use]
pub fn number(kind: &str) -> Option<i32> {
    NUMBERS.iter().find(|(name, _)| *name == kind).map(|(_, number)| *number)
}

/// [All parsers](ALL) behind these prefixes.
pub fn parsers(prefixes: impl IntoIterator<Item = impl AsRef<str>>) -> Parsers {
    ALL.into_iter().fold(Parsers::new(prefixes), Parsers::with)
}

/// Reads the parts of a message that `shape` names, and what `parse` makes of them.
fn read(
    message: &Message,
    shape: &'static Shape,
    parse: impl FnOnce(&Body) -> Result<Option<Envelope>, Fault>,
) -> Parsed {
    let envelope = body::open(message, shape).and_then(|body| parse(&body));
    envelope.map_err(|Fault { place, reason }| error(message, place, reason)).transpose()
}

fn error(message: &Message, place: String, reason: String) -> ParseError {
    ParseError { message: message.identity(), topic: message.topic.clone(), place, reason }
}

/// The stored form of an event that a message brought.
fn parsed<E: Event>(message: &Message, event: &E) -> Result<Option<Envelope>, Fault> {
    // The identity of a message without id is a digest, which most events do not need.
    let identity = if event.search_key().is_some() { String::new() } else { message.identity() };
    Envelope::of(event, &identity).map(Some).map_err(|error| Fault::new("body", error.to_string()))
}

/// The number that `find` finds in a message, if it is there.
fn hint(
    message: &Message,
    shape: &'static Shape,
    find: impl FnOnce(&Field<'_, '_>) -> Result<i64, Fault>,
) -> Option<ExternalId> {
    let body = body::open(message, shape).ok()?;
    find(&Field::root(&body)).ok().map(|id| ExternalId::new(id.to_string()))
}

/// Whether a whole topic ends with `topic`, behind any prefix.
fn is_topic(whole: &str, topic: &str) -> bool {
    whole.strip_suffix(topic).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with(['.', '/']))
}

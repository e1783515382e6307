//! Events and parsers for the messages of Red Hat's and Fedora's services, and for requests of
//! people.
//!
//! Each parser reads the topics below, after any [prefix](Parsers), and makes events of the kinds
//! below:
//!
//! * [`koji::CONTAINER_TASK`]: `brew.task.closed` and `brew.task.failed` become
//!   `koji.container-task-changed`, with task, states, repository, commit, branch and target. Only
//!   tasks with the method `buildContainer`.
//! * [`koji::TASK`]: `buildsys.task.state.change` becomes `koji.task-changed`, with task, states,
//!   method, and the instance of Koji.
//! * [`koji::SIGNED`]: `brew.sign.rpm` becomes `koji.rpm-signed`, with the build.
//! * [`errata::STATUS`]: `errata.activity.status` becomes `errata.advisory-status-changed`, with
//!   advisory, status before and now, title and types of contents.
//! * [`errata::SIGNING`]: `errata.activity.signing` becomes `errata.module-advisory-signed`, with
//!   advisory and build. Only advisories for modules in the status `QE`.
//! * [`odcs::COMPOSE`]: `odcs.state.change`, `odcs.state.changed` and `odcs.compose.state-changed`
//!   become `odcs.compose-changed`, with compose, state and reason.
//! * [`mbs::MODULE`]: `mbs.module.state.change` becomes `mbs.module-changed`, with build, module,
//!   stream, version, context and state.
//! * [`dist_git::COMMIT`], [`dist_git::UMB_COMMIT`]: `git.receive` and `distgit.commit` become
//!   `dist-git.spec-changed`, `dist-git.dockerfile-changed` or `dist-git.module-metadata-changed`,
//!   with namespace, repository, branch, commit and file.
//! * [`dist_git::UMB_PUSH`], [`dist_git::PAGURE_PUSH`]: `distgit.push` and `pagure.git.receive`
//!   become the same, without a file.
//! * [`bodhi::UPDATE_STABLE`]: `bodhi.update.complete.stable` becomes `bodhi.update-stable`, with
//!   update, builds, release, branch and severity.
//! * [`request::MANUAL_REBUILD`]: `freshmaker.manual.rebuild` becomes `freshmaker.manual-rebuild`.
//! * [`request::ASYNC_BUILD`]: `freshmaker.async.manual.build` becomes `freshmaker.async-build`.
//! * [`request::CANCEL_EVENT`]: `freshmaker.manage.eventcancel` becomes `freshmaker.cancel-event`,
//!   with event, builds and tries.
//!
//! A parser returns the facts of a message and looks nothing up: whether an advisory is one for
//! bundles is for a handler to ask. Each parser accepts these forms of the same facts:
//!
//! * plain JSON, as in Fedora Messaging and UMB;
//! * JSON in the field `msg`, as in fedmsg;
//! * JSON within a JSON text;
//! * any of these in an AMQP 1.0 section that RabbitMQ did not remove;
//! * an empty body, with the facts in the headers.
//!
//! Unknown fields are skipped in messages of services, whose formats grow. In [requests](request)
//! they are likely mistakes, and are refused. A field that is missing or has another type is a
//! [`ParseError`] with its path, for example `msg.info.request[0]`.
//!
//! ```
//! use freshmaker::Message;
//! use freshmaker_redhat::messages::{self, errata::AdvisoryStatusChanged};
//!
//! let parsers = messages::parsers(["org.fedoraproject.prod", "VirtualTopic.eng"]);
//! let message = Message {
//!     id: "ID:1".into(),
//!     topic: "/topic/VirtualTopic.eng.errata.activity.status".into(),
//!     headers: [].into(),
//!     body: r#"{"errata_id": 139856, "from": "QE", "to": "SHIPPED_LIVE",
//!         "synopsis": "Important: security update"}"#
//!         .into(),
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

/// Numbers that Freshmaker's REST interface shows for kinds of events. 0 to 18 are reserved for
/// these names. Older versions of the service call 8 `ErrataAdvisoryRPMsSignedEvent`.
pub const RESERVED_KINDS: [(i32, &str); 19] = [
    (0, "MBSModuleStateChangeEvent"),
    (1, "GitModuleMetadataChangeEvent"),
    (2, "GitRPMSpecChangeEvent"),
    (3, "TestingEvent"),
    (4, "GitDockerfileChangeEvent"),
    (5, "BodhiUpdateCompleteStableEvent"),
    (6, "KojiTaskStateChangeEvent"),
    (7, "BrewSignRPMEvent"),
    (8, "ErrataRPMAdvisoryShippedEvent"),
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

/// All parsers of this module. A new one is entered here and in the list above, and its kind in
/// [`RESERVED_KINDS`] if Freshmaker has a number for it.
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

/// The numbers that Freshmaker's interface shows for the kinds of this module.
///
/// [`RESERVED_KINDS`] has Freshmaker's names for the numbers. A request to cancel
/// is not an event there and has no number. The numbers that are missing here are of events that
/// Freshmaker distinguishes by a lookup.
pub const NUMBERS: [(&str, i32); 14] = [
    (mbs::ModuleChanged::KIND, 0),
    (dist_git::ModuleMetadataChanged::KIND, 1),
    (dist_git::SpecChanged::KIND, 2),
    (dist_git::DockerfileChanged::KIND, 4),
    (bodhi::UpdateStable::KIND, 5),
    (koji::TaskChanged::KIND, 6),
    (koji::RpmSigned::KIND, 7),
    (errata::AdvisoryRpmsSigned::KIND, 8),
    (koji::ContainerTaskChanged::KIND, 9),
    (errata::AdvisoryStatusChanged::KIND, 10),
    (odcs::ComposeChanged::KIND, 12),
    (request::ManualRebuild::KIND, 13),
    (request::AsyncBuild::KIND, 14),
    (errata::ModuleAdvisorySigned::KIND, 17),
];

/// Kinds of events that come later, and the numbers that Freshmaker's interface has for them:
/// operator bundles of a shipped advisory, their rebuild on request, and the build of Flatpak
/// applications on request. No other event gets these names.
pub const RESERVED_NUMBERS: [(&str, i32); 3] =
    [("errata.bundle-advisory-shipped", 15), ("freshmaker.bundle-rebuild", 16), ("freshmaker.flatpak-build", 18)];

/// Returns the number that Freshmaker's interface shows for a kind; `None` if it has none.
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

/// Returns [all parsers](ALL), with these prefixes. See [`Parsers::new`].
pub fn parsers(prefixes: impl IntoIterator<Item = impl AsRef<str>>) -> Parsers {
    ALL.into_iter().fold(Parsers::new(prefixes), Parsers::with)
}

/// Reads the parts of a message that `shape` names, and calls `parse` with them.
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

/// Makes the stored form of an event that a message brought.
fn parsed<E: Event>(message: &Message, event: &E) -> Result<Option<Envelope>, Fault> {
    // Without an id in the message, its identity is a digest. Most events do not need it.
    let identity = if event.search_key().is_some() { String::new() } else { message.identity() };
    Envelope::of(event, &identity).map(Some).map_err(|error| Fault::new("body", error.to_string()))
}

/// Returns the number that `find` reads from a message, if it is there.
fn hint(
    message: &Message,
    shape: &'static Shape,
    find: impl FnOnce(&Field<'_, '_>) -> Result<i64, Fault>,
) -> Option<ExternalId> {
    let body = body::open(message, shape).ok()?;
    find(&Field::root(&body)).ok().map(|id| ExternalId::new(id.to_string()))
}

/// Returns whether a whole topic ends with `topic`, after any prefix.
fn is_topic(whole: &str, topic: &str) -> bool {
    whole.strip_suffix(topic).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with(['.', '/']))
}

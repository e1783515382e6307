//! Events: facts that handlers decide on, and the messages and stored forms that carry them.
//!
//! A bus delivers a [`Message`]: bytes with a topic. Reading it gives an [`Envelope`], the stored
//! form of one event, and [`Envelope::open`] gives back the typed [`Event`] that a handler
//! receives.
//!
//! The engine finds out what a message is by its topic, in this order:
//!
//! 1. If a registered handler's event type has this [`KIND`](Event::KIND) or
//!    [alias](Event::ALIASES), the body is its JSON. See [`parse`].
//! 2. Else the registered [`Parsers`] read it, if the topic is one of theirs. They translate the
//!    messages of other services.
//! 3. Else the message is acknowledged and ignored. Nothing is stored.
//!
//! A message that is for an event type or a parser, but cannot be read, becomes a dead letter. Its
//! reason has the code `malformed` and the text of the [`ParseError`].

mod parsers;
mod topics;

pub use parsers::{Parsed, Parser, Parsers};

use crate::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A fact that handlers decide on, for example that a base image was pushed.
///
/// [`KIND`](Event::KIND) is stored and sent, so choose it once. If the Rust type is renamed, the
/// kind stays. If the kind must be renamed, move the old name to [`ALIASES`](Event::ALIASES): old
/// messages are then still read, and stored under the new name.
///
/// The JSON form of the type is stored with the event. If you add a field, give it a
/// `#[serde(default)]`, so that events stored by earlier versions can still be read.
///
/// ```
/// use freshmaker::Event;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Serialize, Deserialize)]
/// struct BaseImagePushed {
///     image: String,
/// }
///
/// impl Event for BaseImagePushed {
///     const KIND: &'static str = "registry.base-image-pushed";
///
///     fn search_key(&self) -> Option<String> {
///         Some(self.image.clone())
///     }
/// }
/// ```
#[doc(alias = "webhook")]
#[doc(alias = "trigger")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event: it does not implement `freshmaker::Event`",
    label = "not an event",
    note = "an event is a type of your own with `Serialize`, `Deserialize` and `impl Event`, whose `KIND` is its stored name",
    note = "a handler takes the event by value as its first argument, and `freshmaker::Context` as its second"
)]
pub trait Event: Serialize + DeserializeOwned + Send + 'static {
    /// The stable stored name: lower case, with dots and dashes. It is also the topic of
    /// [messages](Message::of) that carry the event.
    ///
    /// Two event types with the same kind must not be used in one engine.
    const KIND: &'static str;

    /// Earlier names of the same kind. Messages with these topics are read as well. None by
    /// default.
    const ALIASES: &'static [&'static str] = &[];

    /// Returns a short text that people search by: an image, an advisory, a revision.
    ///
    /// `None`, the default, stands for the id of the message.
    fn search_key(&self) -> Option<String> {
        None
    }

    /// Returns whether a person asked for the event, rather than that something happened. `false`
    /// by default. The value is stored and shown; it does not change the order of builds.
    fn manual(&self) -> bool {
        false
    }

    /// Returns who asked for the event, if a person did. `None` by default.
    fn requester(&self) -> Option<String> {
        None
    }

    /// Returns whether the event asks for a dry run: it is planned as always, and its builds go to
    /// [`DryRun`](crate::backend::DryRun) instead of a build system. `false` by default.
    ///
    /// An engine in the mode [`DryRun`](crate::rebuild::BuildMode::DryRun) makes a dry run of every
    /// event.
    fn dry_run(&self) -> bool {
        false
    }

    /// Returns how urgent the event is. [`Moderate`](Severity::Moderate) by default.
    ///
    /// While builds of several events wait for the same build system, the severity decides how
    /// large the share of each event is.
    fn severity(&self) -> Severity {
        Severity::default()
    }
}

/// How urgent an event is, in the words of security advisories.
///
/// Each step up gets four times the share of a build system's capacity, as long as events of
/// several severities wait for it: `critical` gets 16 times the share of `moderate`. No severity is
/// starved: each waiting event has a share. In serde formats a severity is its name in lower case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A quarter of the share of a moderate event.
    Low = 0,
    /// The default, for events that say nothing about their severity.
    #[default]
    Moderate = 1,
    /// Four times the share of a moderate event.
    Important = 2,
    /// Sixteen times the share of a moderate event.
    Critical = 3,
}

impl Severity {
    /// All severities, lowest first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Moderate, Self::Important, Self::Critical];

    /// Returns the number under which the severity is stored: 0 (low) to 3 (critical).
    #[must_use]
    pub fn number(self) -> i16 {
        self as i16
    }

    /// Returns the severity of a stored number; `None` if the number is unknown.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.number() == number)
    }

    fn is_moderate(&self) -> bool {
        *self == Self::Moderate
    }
}

/// A message of a bus: a body of bytes with an id, a topic and headers.
///
/// [`Message::of`] makes a message that carries an [`Event`]. Messages of other services are read
/// by [`Parsers`]. The engine stores a wanted message before it acknowledges it; a message with a
/// body of more than 8 MiB (by default) becomes a dead letter with the code `too_large`.
///
/// ```
/// use freshmaker::Message;
/// use freshmaker::event::parse;
/// use freshmaker::handler::ImagePushed;
///
/// let message = Message::of("17", &ImagePushed { image: "debian:12".into(), digest: None })?;
/// assert_eq!(message.topic, "image.pushed");
///
/// let envelope = parse::<ImagePushed>(&message).expect("a topic of its own")?;
/// assert_eq!(envelope.open::<ImagePushed>()?.image, "debian:12");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The sender's id of the message, unique within its source; empty if the sender has no ids.
    #[serde(default)]
    pub id: String,
    /// The dotted address of the message, for example `org.example.build.done`.
    pub topic: String,
    /// The header fields. The engine reads only those that are named below, from any sender of the
    /// message: who may publish on a bus that the engine listens to may do what they say.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body as it was received.
    pub body: Vec<u8>,
}

impl Message {
    /// Header with the [hash](crate::Plan::hash) of a plan that a person has looked at and
    /// confirms.
    ///
    /// If the message leads to exactly this plan, the plan is started however large it is.
    /// [`Client::confirm`](crate::client::Client::confirm) sends such messages.
    pub const CONFIRMS: &'static str = "freshmaker-confirms";

    /// Header with the [hash](crate::Plan::hash) of the only plan that may be started. If the
    /// message leads to another one, its event is skipped.
    ///
    /// [`Client::apply`](crate::client::Client::apply) sends such messages.
    pub const EXACTLY: &'static str = "freshmaker-exactly";

    /// Header that says how many messages, each emitted by a handler of the one before, led to this
    /// one. The engine writes it, so that handlers which emit for each other come to an end.
    pub const GENERATION: &'static str = "freshmaker-generation";

    /// Header with the name of the only handler that gets the message. Without it, all handlers of
    /// the kind get it.
    pub const HANDLER: &'static str = "freshmaker-handler";

    /// Header with the number of the event that this message retries, see
    /// [`Client::retry`](crate::client::Client::retry). It counts only if a client has sent the
    /// message.
    pub const RETRIES: &'static str = "freshmaker-retries";

    /// Header that says which part of an event is retried.
    pub const PART: &'static str = "freshmaker-part";

    /// Header that makes the events of a message dry runs if its value is `true`, whatever the
    /// event [says itself](Event::dry_run). Messages that a handler
    /// [emits](crate::Decision::Emit) in a dry run have it.
    pub const DRY_RUN: &'static str = "freshmaker-dry-run";

    /// Header with the name of the person who wants what the message asks for. It counts only if a
    /// client has sent the message, and then more than what an event that is
    /// [manual](Event::manual) says itself.
    pub const REQUESTER: &'static str = "freshmaker-requester";

    /// Makes a message that carries an event: its topic is the kind, its body the event's JSON.
    ///
    /// If `id` is empty, the message is identified by its content, see
    /// [`identity`](Self::identity).
    ///
    /// # Errors
    /// If the event has no JSON form, for example because it has a map whose keys are not texts.
    pub fn of<E: Event>(id: impl Into<String>, event: &E) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id: id.into(),
            topic: E::KIND.to_owned(),
            headers: BTreeMap::new(),
            body: serde_json::to_vec(event)?,
        })
    }

    /// Returns whether the headers ask for a dry run, see [`DRY_RUN`](Self::DRY_RUN).
    pub(crate) fn is_dry(headers: &BTreeMap<String, String>) -> bool {
        headers.get(Self::DRY_RUN).is_some_and(|value| value == "true")
    }

    /// Returns the identity by which the engine recognizes repeated deliveries.
    ///
    /// This is the sender's id. If that is empty, it is the digest of topic and body, so two
    /// messages without id and with equal topic and body count as one.
    #[must_use]
    pub fn identity(&self) -> String {
        if self.id.is_empty() {
            crate::artifact::Digest::of_parts([self.topic.as_bytes(), &self.body]).to_string()
        } else {
            self.id.clone()
        }
    }
}

/// The stored form of an event: its kind, the text people search by, and its JSON.
///
/// An envelope is stored with the event, so its serde form is stable: fields may be added, with a
/// default, and never change their meaning.
///
/// ```
/// use freshmaker::Envelope;
/// use freshmaker::handler::ImagePushed;
///
/// let envelope = Envelope::of(&ImagePushed { image: "debian:12".into(), digest: None }, "message-1")?;
/// assert_eq!((envelope.kind.as_str(), envelope.search_key.as_str()), ("image.pushed", "debian:12"));
/// assert_eq!(envelope.payload["image"], "debian:12");
/// assert_eq!(envelope.open::<ImagePushed>()?.image, "debian:12");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// The event's [`KIND`](Event::KIND), also if the message used one of its aliases.
    pub kind: String,
    /// The event's [`search_key`](Event::search_key), or the id of the message if it has none.
    pub search_key: String,
    /// Whether a person asked for the event.
    #[serde(default)]
    pub manual: bool,
    /// Who asked, if a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<String>,
    /// How urgent the event is.
    #[serde(default, skip_serializing_if = "Severity::is_moderate")]
    pub severity: Severity,
    /// The JSON form of the event.
    pub payload: serde_json::Value,
}

/// Says why a message that is for an event type or a parser could not be read, and where.
///
/// The engine makes the message a dead letter with this text as its reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message {message} on {topic}: {place}: {reason}")]
pub struct ParseError {
    /// The [identity](Message::identity) of the message.
    pub message: String,
    /// The topic of the message.
    pub topic: String,
    /// The path of the value within the body, or line and column.
    pub place: String,
    /// What is wrong there.
    pub reason: String,
}

impl Envelope {
    /// Makes the stored form of an event. `message_id` is the search key of an event that has none.
    ///
    /// # Errors
    /// If the event has no JSON form, for example because it has a map whose keys are not texts.
    pub fn of<E: Event>(event: &E, message_id: &str) -> Result<Self, serde_json::Error> {
        Ok(Self {
            kind: E::KIND.to_owned(),
            search_key: event.search_key().unwrap_or_else(|| message_id.to_owned()),
            manual: event.manual(),
            requester: event.requester(),
            severity: event.severity(),
            payload: serde_json::to_value(event)?,
        })
    }

    /// Returns the typed event.
    ///
    /// # Errors
    /// If the stored JSON does not fit the type `E`. This happens if the type has changed since the
    /// event was stored. The kind is not compared.
    pub fn open<E: Event>(&self) -> Result<E, serde_json::Error> {
        E::deserialize(&self.payload)
    }
}

/// Returns whether messages of this topic are events of type `E`: the topic is its kind or an
/// alias.
#[must_use]
pub fn is_of<E: Event>(topic: &str) -> bool {
    topic == E::KIND || E::ALIASES.contains(&topic)
}

/// Reads the message as an event of type `E`; `None` if the topic is neither its kind nor an alias.
///
/// # Errors
/// [`ParseError`] with line and column if the body is not the JSON of an `E`. Both count from 1;
/// line 0 means that the error has no position.
pub fn parse<E: Event>(message: &Message) -> Option<Result<Envelope, ParseError>> {
    if !is_of::<E>(&message.topic) {
        return None;
    }
    Some(read_json::<E>(message))
}

/// Reads the body as the JSON of an `E`, whatever the topic is.
fn read_json<E: Event>(message: &Message) -> Result<Envelope, ParseError> {
    let identity = message.identity();
    let event = serde_json::from_slice::<E>(&message.body);
    event.and_then(|event| Envelope::of(&event, &identity)).map_err(|error| ParseError {
        message: identity.clone(),
        topic: message.topic.clone(),
        place: format!("line {} column {}", error.line(), error.column()),
        reason: error.to_string(),
    })
}

/// Which message brought an event, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The [identity](Message::identity) of the message.
    pub message_id: String,
    /// When the engine stored the message.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Pushed {
        image: String,
    }

    impl Event for Pushed {
        const KIND: &'static str = "test.pushed";
        const ALIASES: &'static [&'static str] = &["test.old-pushed"];
    }

    fn message(topic: &str, body: &str) -> Message {
        Message { id: "m1".into(), topic: topic.into(), headers: BTreeMap::new(), body: body.into() }
    }

    #[test]
    fn a_message_of_another_kind_is_not_ours() {
        assert!(parse::<Pushed>(&message("test.other", "{")).is_none());
    }

    #[test]
    fn an_old_name_is_understood_and_stored_under_the_new_one() {
        let envelope = parse::<Pushed>(&message("test.old-pushed", r#"{"image":"a"}"#)).unwrap().unwrap();
        assert_eq!(envelope.kind, "test.pushed");
        assert_eq!(envelope.search_key, "m1");
        assert_eq!(envelope.open::<Pushed>().unwrap().image, "a");
    }

    #[test]
    fn a_broken_message_of_ours_names_the_place() {
        let error = parse::<Pushed>(&message("test.pushed", "{\"image\":\n 7}")).unwrap().unwrap_err();
        assert_eq!(error.place, "line 2 column 2");
        assert!(error.to_string().contains("test.pushed"), "{error}");
    }

    #[test]
    fn severities_keep_their_numbers_and_what_says_nothing_is_moderate() {
        for (severity, number) in Severity::ALL.into_iter().zip(0..) {
            assert_eq!((severity.number(), Severity::from_number(number)), (number, Some(severity)));
        }
        assert_eq!(Severity::from_number(4), None);
        let mut envelope = parse::<Pushed>(&message("test.pushed", r#"{"image":"a"}"#)).unwrap().unwrap();
        let old = serde_json::to_value(&envelope).unwrap();
        assert!(old.get("severity").is_none(), "as stored by earlier versions");
        assert_eq!(serde_json::from_value::<Envelope>(old).unwrap(), envelope);
        envelope.severity = Severity::Critical;
        assert_eq!(serde_json::to_value(&envelope).unwrap()["severity"], "critical");
    }

    #[test]
    fn messages_without_id_are_known_by_their_content() {
        let mut first = message("t", "x");
        first.id.clear();
        let mut second = first.clone();
        assert_eq!(first.identity(), second.identity());
        second.body.push(b' ');
        assert_ne!(first.identity(), second.identity());
    }
}

//! Facts that came in, and the names under which they are stored.

mod parsers;
mod topics;

pub use parsers::{Parsed, Parser, Parsers};

use crate::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A fact about the build world that handlers can decide on.
///
/// [`KIND`](Event::KIND) is stored and sent; choose it once. Where a type must be renamed, the kind stays;
/// where a kind must be renamed, the old one goes to [`ALIASES`](Event::ALIASES).
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
pub trait Event: Serialize + DeserializeOwned + Send + 'static {
    /// The stable stored name, lower case with dots and dashes.
    const KIND: &'static str;

    /// Earlier names of the same kind, still understood.
    const ALIASES: &'static [&'static str] = &[];

    /// What the event is about, in one short text people search by: an image, an advisory, a revision.
    fn search_key(&self) -> Option<String> {
        None
    }

    /// Whether a person asked for it, rather than something that happened.
    fn manual(&self) -> bool {
        false
    }

    /// Who asked for it, if somebody did.
    fn requester(&self) -> Option<String> {
        None
    }

    /// How bad it is to wait with it, which decides on its share of the build systems while others wait as well.
    fn severity(&self) -> Severity {
        Severity::default()
    }
}

/// How bad it is to wait with an event. The words are those of security advisories; what says nothing about it is moderate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It can wait: a quarter of the share of what is moderate.
    Low = 0,
    /// Ordinary.
    #[default]
    Moderate = 1,
    /// Four times the share of what is moderate.
    Important = 2,
    /// Sixteen times the share of what is moderate.
    Critical = 3,
}

impl Severity {
    /// All of them, from the lowest.
    pub const ALL: [Self; 4] = [Self::Low, Self::Moderate, Self::Important, Self::Critical];

    /// The stored number.
    #[must_use]
    pub fn number(self) -> i16 {
        self as i16
    }

    /// The severity of a stored number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.number() == number)
    }

    fn is_moderate(&self) -> bool {
        *self == Self::Moderate
    }
}

/// What a bus delivered: bytes with an address.
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
    /// The sender's identity of the message, unique within its source; empty if it has none.
    #[serde(default)]
    pub id: String,
    /// Dotted address, `org.example.build.done`.
    pub topic: String,
    /// Header fields.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Message {
    /// The header that names the [hash](crate::Plan::hash) of a plan that somebody has seen and wants: if that is what its event leads to, it
    /// is started however large it is. [`Handle::confirm`](crate::engine::Handle::confirm) sends such messages.
    pub const CONFIRMS: &'static str = "freshmaker-confirms";

    /// The header that names the only handler that is to see the message.
    pub const HANDLER: &'static str = "freshmaker-handler";

    /// The message that carries an event of ours: topic is the kind, body the JSON form.
    ///
    /// # Errors
    /// If the event has no JSON form (a map whose keys are not texts, for example).
    pub fn of<E: Event>(id: impl Into<String>, event: &E) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id: id.into(),
            topic: E::KIND.to_owned(),
            headers: BTreeMap::new(),
            body: serde_json::to_vec(event)?,
        })
    }

    /// The identity by which repeated deliveries are known: the sender's id, or the digest of topic and body.
    #[must_use]
    pub fn identity(&self) -> String {
        if self.id.is_empty() {
            crate::artifact::Digest::of_parts([self.topic.as_bytes(), &self.body]).to_string()
        } else {
            self.id.clone()
        }
    }
}

/// An event in its stored form: its kind, what it is about, and its JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// [`Event::KIND`].
    pub kind: String,
    /// [`Event::search_key`], else the message's id.
    pub search_key: String,
    /// Whether a person asked for it.
    #[serde(default)]
    pub manual: bool,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<String>,
    /// How bad it is to wait.
    #[serde(default, skip_serializing_if = "Severity::is_moderate")]
    pub severity: Severity,
    /// The event's JSON form.
    pub payload: serde_json::Value,
}

/// A message of ours that could not be understood: where, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message {message} on {topic}: {place}: {reason}")]
pub struct ParseError {
    /// Identity of the message.
    pub message: String,
    /// Its topic.
    pub topic: String,
    /// Path within the body, or line and column.
    pub place: String,
    /// What is wrong there.
    pub reason: String,
}

impl Envelope {
    /// The stored form of an event.
    ///
    /// # Errors
    /// If the event has no JSON form.
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

    /// The event itself.
    ///
    /// # Errors
    /// If the stored JSON is not of this type (any more).
    pub fn open<E: Event>(&self) -> Result<E, serde_json::Error> {
        E::deserialize(&self.payload)
    }
}

/// Whether messages of this topic are events of type `E`.
#[must_use]
pub fn is_of<E: Event>(topic: &str) -> bool {
    topic == E::KIND || E::ALIASES.contains(&topic)
}

/// Reads the message as an event of type `E`; `None` if the topic is not one of its kinds.
///
/// # Errors
/// [`ParseError`] with line and column if the body is not the JSON of an `E`.
pub fn parse<E: Event>(message: &Message) -> Option<Result<Envelope, ParseError>> {
    if !is_of::<E>(&message.topic) {
        return None;
    }
    let identity = message.identity();
    let event = serde_json::from_slice::<E>(&message.body);
    Some(event.and_then(|event| Envelope::of(&event, &identity)).map_err(|error| ParseError {
        message: identity.clone(),
        topic: message.topic.clone(),
        place: format!("line {} column {}", error.line(), error.column()),
        reason: error.to_string(),
    }))
}

/// The context in which an event is handled: which message brought it, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Identity of the message.
    pub message_id: String,
    /// When it was stored.
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

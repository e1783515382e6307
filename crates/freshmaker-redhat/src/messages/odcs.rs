//! Events and parsers for ODCS, which composes package repositories on demand.

use super::body::{Fault, Shape};
use super::field::Field;
use super::{hint, is_topic, parsed, read};
use freshmaker::event::{Event, Message, Parsed, Parser};
use freshmaker::rebuild::ExternalId;
use serde::{Deserialize, Serialize};

/// The state of a compose, with the names and numbers of ODCS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComposeState {
    /// The compose was requested.
    Wait = 0,
    /// The compose is being made.
    Generating = 1,
    /// The compose can be used.
    Done = 2,
    /// The compose has expired and was removed.
    Removed = 3,
    /// The compose could not be made.
    Failed = 4,
}

impl ComposeState {
    /// All states, in the order of the numbers of ODCS.
    pub const ALL: [Self; 5] = [Self::Wait, Self::Generating, Self::Done, Self::Removed, Self::Failed];

    /// Returns the number that ODCS has for the state.
    #[must_use]
    pub fn number(self) -> i64 {
        self as i64
    }

    /// Returns the state of a number of ODCS; `None` if the number is unknown.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    fn read(field: &Field<'_, '_>) -> Result<Self, Fault> {
        Self::from_number(field.number()?).ok_or_else(|| field.fault("no state of a compose"))
    }
}

/// Says that a compose has changed its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComposeChanged {
    /// The compose.
    pub compose_id: i64,
    /// Its state now.
    pub state: ComposeState,
    /// The reason for the state, in the words of ODCS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Event for ComposeChanged {
    const KIND: &'static str = "odcs.compose-changed";

    fn search_key(&self) -> Option<String> {
        Some(self.compose_id.to_string())
    }
}

/// Reads changes of composes, and makes [`ComposeChanged`]. The topics are those that Freshmaker,
/// UMB and Fedora use.
pub const COMPOSE: Parser = Parser::new(&TOPICS, &[ComposeChanged::KIND], compose);

const TOPICS: [&str; 3] = ["odcs.state.change", "odcs.state.changed", "odcs.compose.state-changed"];

const SHAPE: Shape = Shape::Fields(&[(
    "compose",
    Shape::Fields(&[("id", Shape::Whole), ("state", Shape::Whole), ("state_reason", Shape::Whole)]),
)]);

fn compose(message: &Message) -> Parsed {
    read(message, &SHAPE, |body| {
        let root = Field::root(body);
        let compose = root.at("compose");
        parsed(
            message,
            &ComposeChanged {
                compose_id: compose.at("id").id()?,
                state: ComposeState::read(&compose.at("state"))?,
                reason: compose.at("state_reason").optional_text()?,
            },
        )
    })
}

/// Returns the number of the compose that a message of ODCS is about, as a
/// [hint](freshmaker::engine::EngineBuilder::hints).
///
/// Only the end of the topic and the number are read, so any prefix will do. Returns `None` for all
/// other messages, including broken ones.
///
/// ```
/// use freshmaker::Message;
/// use freshmaker_redhat::messages;
///
/// let (topic, body) =
///     ("VirtualTopic.eng.odcs.state.changed".into(), r#"{"compose": {"id": 7}}"#.into());
/// let message = Message { id: "1".into(), topic, headers: [].into(), body };
/// let hint = messages::odcs::compose_hint(&message).map(|id| id.to_string());
/// assert_eq!(hint.as_deref(), Some("7"));
/// ```
#[must_use]
pub fn compose_hint(message: &Message) -> Option<ExternalId> {
    if !TOPICS.into_iter().any(|topic| is_topic(&message.topic, topic)) {
        return None;
    }
    hint(message, &SHAPE, |root| root.at("compose").at("id").id())
}

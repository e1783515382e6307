//! ODCS, which composes repositories.

use super::body::{Fault, Shape};
use super::field::Field;
use super::{hint, is_topic, parsed, read};
use freshmaker::event::{Event, Message, Parsed, Parser};
use freshmaker::rebuild::ExternalId;
use serde::{Deserialize, Serialize};

/// Where a compose is. The words are those of ODCS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComposeState {
    /// Asked for.
    Wait = 0,
    /// Being made.
    Generating = 1,
    /// Can be used.
    Done = 2,
    /// Was there, and is no more.
    Removed = 3,
    /// Could not be made.
    Failed = 4,
}

impl ComposeState {
    /// All of them, in the order of the numbers of ODCS.
    pub const ALL: [Self; 5] = [Self::Wait, Self::Generating, Self::Done, Self::Removed, Self::Failed];

    /// The number of ODCS.
    #[must_use]
    pub fn number(self) -> i64 {
        self as i64
    }

    /// The state of a number.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    fn read(field: &Field<'_, '_>) -> Result<Self, Fault> {
        Self::from_number(field.number()?).ok_or_else(|| field.fault("no state of a compose"))
    }
}

/// A compose has another state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComposeChanged {
    /// The compose.
    pub compose_id: i64,
    /// Its state now.
    pub state: ComposeState,
    /// Why, in the words of ODCS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Event for ComposeChanged {
    const KIND: &'static str = "odcs.compose-changed";

    fn search_key(&self) -> Option<String> {
        Some(self.compose_id.to_string())
    }
}

/// Composes that change their state: [`ComposeChanged`]. The topics are those of Freshmaker, of UMB and of Fedora.
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

/// The compose that a message of ODCS is about, whatever else it says and whatever prefix its topic has: its state has changed, so an attempt
/// of this id is worth a look. Anything else is no hint, broken messages included.
///
/// ```
/// use freshmaker::{Message, messages};
///
/// let (topic, body) = ("VirtualTopic.eng.odcs.state.changed".into(), r#"{"compose": {"id": 7}}"#.into());
/// let message = Message { id: "1".into(), topic, headers: [].into(), body };
/// assert_eq!(messages::odcs::compose_hint(&message).map(|id| id.to_string()).as_deref(), Some("7"));
/// ```
#[must_use]
pub fn compose_hint(message: &Message) -> Option<ExternalId> {
    if !TOPICS.into_iter().any(|topic| is_topic(&message.topic, topic)) {
        return None;
    }
    hint(message, &SHAPE, |root| root.at("compose").at("id").id())
}

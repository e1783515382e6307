//! Events and parsers for the Module Build Service (MBS).

use super::body::{Fault, Shape};
use super::field::Field;
use super::{hint, is_topic, parsed, read};
use freshmaker::event::{Event, Message, Parsed, Parser};
use freshmaker::rebuild::ExternalId;
use serde::{Deserialize, Serialize};

/// The state of a module build, with the names and numbers of MBS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModuleState {
    /// The build was requested.
    Init = 0,
    /// The request was checked, and the build waits in the queue.
    Wait = 1,
    /// The components of the module are being built.
    Build = 2,
    /// All components are built.
    Done = 3,
    /// The build has failed.
    Failed = 4,
    /// The module can be used.
    Ready = 5,
    /// The module could be used, and will be removed.
    Garbage = 6,
}

impl ModuleState {
    /// All states, in the order of the numbers of MBS.
    pub const ALL: [Self; 7] =
        [Self::Init, Self::Wait, Self::Build, Self::Done, Self::Failed, Self::Ready, Self::Garbage];

    /// Returns the number that MBS has for the state.
    #[must_use]
    pub fn number(self) -> i64 {
        self as i64
    }

    /// Returns the state of a number of MBS; `None` if the number is unknown.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    fn read(field: &Field<'_, '_>) -> Result<Self, Fault> {
        Self::from_number(field.number()?).ok_or_else(|| field.fault("no state of a module"))
    }
}

/// Says that the build of a module has changed its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleChanged {
    /// The build.
    pub build_id: i64,
    /// The module.
    pub name: String,
    /// Its stream.
    pub stream: String,
    /// Its version, if it has one already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its context, if it has one already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Its state now.
    pub state: ModuleState,
}

impl Event for ModuleChanged {
    const KIND: &'static str = "mbs.module-changed";

    fn search_key(&self) -> Option<String> {
        Some(self.build_id.to_string())
    }
}

const TOPIC: &str = "mbs.module.state.change";

/// Reads changes of module builds, and makes [`ModuleChanged`].
pub const MODULE: Parser = Parser::new(&[TOPIC], &[ModuleChanged::KIND], module);

const ID_SHAPE: Shape = Shape::Fields(&[("id", Shape::Whole)]);

/// Returns the number of the module build whose state has changed; `None` for other messages. For
/// [`EngineBuilder::hints`](freshmaker::engine::EngineBuilder::hints).
///
/// ```
/// use freshmaker::Message;
/// use freshmaker_redhat::messages;
///
/// let topic = "org.fedoraproject.prod.mbs.module.state.change".into();
/// let body = r#"{"id": 7, "state": 5}"#.into();
/// let message = Message { id: "1".into(), topic, headers: [].into(), body };
/// let hint = messages::mbs::module_hint(&message).map(|id| id.to_string());
/// assert_eq!(hint.as_deref(), Some("7"));
/// ```
#[must_use]
pub fn module_hint(message: &Message) -> Option<ExternalId> {
    if !is_topic(&message.topic, TOPIC) {
        return None;
    }
    hint(message, &ID_SHAPE, |root| root.at("id").id())
}

const SHAPE: Shape = Shape::Fields(&[
    ("id", Shape::Whole),
    ("name", Shape::Whole),
    ("stream", Shape::Whole),
    ("version", Shape::Whole),
    ("context", Shape::Whole),
    ("state", Shape::Whole),
]);

fn module(message: &Message) -> Parsed {
    read(message, &SHAPE, |body| {
        let root = Field::root(body);
        parsed(
            message,
            &ModuleChanged {
                build_id: root.at("id").id()?,
                name: root.at("name").owned()?,
                stream: root.at("stream").owned()?,
                version: root.at("version").optional_text()?,
                context: root.at("context").optional_text()?,
                state: ModuleState::read(&root.at("state"))?,
            },
        )
    })
}

//! The messages of the service Freshmaker about events and builds.

use super::Forms;
use freshmaker::Reason;
use freshmaker::engine::{Announcement, Announcer};
use freshmaker::rebuild::{BuildId, EventId, EventState, Neighbourhood, Notification, PublicBuildState, RowKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The content of a notification: the state of an event or a build, and the reason. The event or
/// build may have another state by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateChange {
    /// The state of an event.
    Event(EventId, EventState, Reason),
    /// The state of a build.
    Build(BuildId, PublicBuildState, Reason),
}

#[derive(Deserialize)]
struct Body<I, S> {
    id: I,
    state: S,
    reason: Reason,
}

impl StateChange {
    /// The topic of messages about an event, with all its builds.
    pub const EVENT: &'static str = "event.state.changed";

    /// The topic of messages about an event, with a summary of its builds.
    pub const EVENT_MIN: &'static str = "event.state.changed.min";

    /// The topic of messages about a build.
    pub const BUILD: &'static str = "build.state.changed";

    /// Reads a notification; `None` if this version of the crate does not know its form.
    #[must_use]
    pub fn of(notification: &Notification) -> Option<Self> {
        match notification.of {
            RowKey::Event(_) => read(notification).map(|Body { id, state, reason }| Self::Event(id, state, reason)),
            RowKey::Build(_) => read(notification).map(|Body { id, state, reason }| Self::Build(id, state, reason)),
            RowKey::Attempt(_) => None,
        }
    }
}

fn read<T: DeserializeOwned>(notification: &Notification) -> Option<T> {
    T::deserialize(&notification.body).ok()
}

impl StateChange {
    /// Returns Freshmaker's messages about this notification: two for an event, one for a build.
    ///
    /// Returns no messages if the event or build has no form. State and reason are those of the
    /// notification; everything else is read from the rows.
    #[must_use]
    pub fn messages(&self, forms: &Forms<'_>) -> Vec<Announcement> {
        match self {
            Self::Event(id, state, reason) => {
                let Some(event) = forms.event(*id).map(|event| event.in_state(*state, reason)) else {
                    return Vec::new();
                };
                let whole = message(Self::EVENT, &event);
                vec![whole, message(Self::EVENT_MIN, &event.summarised())]
            }
            Self::Build(id, state, reason) => {
                let build = forms.build(*id).map(|build| build.in_state(*state, reason));
                build.iter().map(|build| message(Self::BUILD, build)).collect()
            }
        }
    }
}

fn message(topic: &str, form: &impl Serialize) -> Announcement {
    let body = serde_json::to_value(form).expect("a form has only texts, numbers and maps of texts");
    Announcement { topic: topic.to_owned(), body }
}

/// Publishes Freshmaker's messages in addition to the engine's own.
///
/// The topics are `event.state.changed`, `event.state.changed.min` and `build.state.changed`, the
/// bodies as [`forms`](super) describes.
///
/// ```
/// use freshmaker_redhat::forms::FreshmakerMessages;
///
/// let builder = freshmaker::Engine::builder()
///     .announcer(FreshmakerMessages::new("https://freshmaker.example.org"));
/// # drop(builder);
/// ```
#[derive(Clone, Debug)]
pub struct FreshmakerMessages {
    base: String,
}

impl FreshmakerMessages {
    /// Makes messages in which every `url` begins with `base`, followed by `/api/1/…`.
    pub fn new(base: impl Into<String>) -> Self {
        Self { base: base.into() }
    }
}

impl Announcer for FreshmakerMessages {
    fn announce(&self, change: &Notification, rows: &Neighbourhood) -> Vec<Announcement> {
        if let Some(change_of_state) = StateChange::of(change) {
            return change_of_state.messages(&Forms::new(rows, &self.base));
        }
        tracing::error!(
            of = %change.of,
            "a stored notification makes no sense: Freshmaker's messages leave it out"
        );
        Vec::new()
    }
}

//! The messages that the service Freshmaker sends about events and builds.

use super::Forms;
use freshmaker::Reason;
use freshmaker::engine::{Announcement, Announcer};
use freshmaker::rebuild::{BuildId, EventId, EventState, Neighbourhood, Notification, PublicBuildState};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What a notification tells: which event or build is in which state, and why. By now it may be in another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Of an event.
    Event(EventId, EventState, Reason),
    /// Of a build.
    Build(BuildId, PublicBuildState, Reason),
}

#[derive(Deserialize)]
struct Body<I, S> {
    id: I,
    state: S,
    reason: Reason,
}

impl Told {
    /// The topic of an event with its whole builds.
    pub const EVENT: &'static str = "event.state.changed";

    /// The topic of an event with a summary of its builds.
    pub const EVENT_MIN: &'static str = "event.state.changed.min";

    /// The topic of a build.
    pub const BUILD: &'static str = "build.state.changed";

    /// What this notification tells; `None` if it is none of this version of the crate.
    #[must_use]
    pub fn of(notification: &Notification) -> Option<Self> {
        match notification.aggregate.as_str() {
            "event" => read(notification).map(|Body { id, state, reason }| Self::Event(id, state, reason)),
            "build" => read(notification).map(|Body { id, state, reason }| Self::Build(id, state, reason)),
            _ => None,
        }
    }
}

fn read<T: DeserializeOwned>(notification: &Notification) -> Option<T> {
    T::deserialize(&notification.body).ok()
}

impl Told {
    /// The messages that Freshmaker sends of this: two of an event, one of a build, and none of what has no form. The state is what is told,
    /// everything else is as the rows are.
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

/// Sends Freshmaker's messages besides the engine's own: `event.state.changed`, `event.state.changed.min` and
/// `build.state.changed`, with the bodies that [`forms`](super) describes.
///
/// ```
/// use freshmaker_redhat::forms::FreshmakerMessages;
///
/// let builder = freshmaker::Engine::builder().announcer(FreshmakerMessages::new("https://freshmaker.example.org"));
/// # drop(builder);
/// ```
#[derive(Clone, Debug)]
pub struct FreshmakerMessages {
    base: String,
}

impl FreshmakerMessages {
    /// Messages whose `url` is this one, followed by `/api/1/…`.
    pub fn new(base: impl Into<String>) -> Self {
        Self { base: base.into() }
    }
}

impl Announcer for FreshmakerMessages {
    fn announce(&self, change: &Notification, rows: &Neighbourhood) -> Vec<Announcement> {
        if let Some(told) = Told::of(change) {
            return told.messages(&Forms::new(rows, &self.base));
        }
        tracing::error!(
            change.aggregate,
            change.id,
            "a stored notification makes no sense: Freshmaker's messages leave it out"
        );
        Vec::new()
    }
}

//! History and outbox: what is written beside the changed rows.
//!
//! Each change of state of an event, a build or an attempt becomes one row of the history. A change
//! that users see also becomes a notification: every change of state of an event, each change of
//! the public state of a build, and none of an attempt. Both are part of the commit of the change,
//! so neither exists without it.
//!
//! *Invariant:* of one row, each transition starts in the state in which the one before ended, and
//! versions rise; they need not be consecutive. *Invariant:* a transition names the actor and the
//! run.
//!
//! Two decisions at the same time: the version of a transition is above that of the loaded row,
//! and the row is written only over the loaded version. So two decisions cannot both add a
//! transition of one version.

use super::commit::{RowChange, RowKey};
use super::neighbourhood::Neighbourhood;
use super::record::{AttemptId, AttemptRecord, BuildId, BuildRecord, EventId, EventRecord, RunId, Version};
use super::state::{AttemptState, BuildState, EventState};
use crate::reason::Reason;
use crate::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// Who or what made a change.
///
/// Its text, which is also its stored form and its form in JSON, is the kind, and for handlers and
/// persons a colon and the name.
///
/// ```
/// use freshmaker::rebuild::Actor;
///
/// let actor = Actor::Handler("rebuild_layers".to_owned());
/// assert_eq!(actor.to_string(), "handler:rebuild_layers");
/// assert_eq!("handler:rebuild_layers".parse(), Ok(actor));
/// assert_eq!(serde_json::to_string(&Actor::Poll)?, r#""poll""#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// The decision of the handler with this name.
    Handler(String),
    /// A person or a program that used a client, by the name that it gave.
    Person(String),
    /// The answer of a build system or a verifier to a question of the engine.
    Poll,
    /// A moment that has passed.
    Timer,
    /// The engine, by itself: it submitted a build, or got the answer to a submission.
    Engine,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handler(name) => write!(f, "handler:{name}"),
            Self::Person(name) => write!(f, "person:{name}"),
            Self::Poll => f.write_str("poll"),
            Self::Timer => f.write_str("timer"),
            Self::Engine => f.write_str("engine"),
        }
    }
}

impl Actor {
    /// The actor within a sentence: `handler rebuild_layers`; a person is the name alone.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Handler(name) => format!("handler {name}"),
            Self::Person(name) => name.clone(),
            Self::Poll | Self::Timer | Self::Engine => format!("the {self}"),
        }
    }
}

/// A text is not the stored form of an [`Actor`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an actor: expected handler:NAME, person:NAME, poll, timer or engine")]
pub struct ActorError(String);

impl FromStr for Actor {
    type Err = ActorError;

    fn from_str(text: &str) -> Result<Self, ActorError> {
        match text.split_once(':') {
            Some(("handler", name)) => Ok(Self::Handler(name.to_owned())),
            Some(("person", name)) => Ok(Self::Person(name.to_owned())),
            None if text == "poll" => Ok(Self::Poll),
            None if text == "timer" => Ok(Self::Timer),
            None if text == "engine" => Ok(Self::Engine),
            _ => Err(ActorError(text.to_owned())),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A change of state, as the history keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// What changed.
    #[serde(flatten)]
    pub of: RowKey,
    /// Version after the change; increasing, and `from` is the `to` of the one before.
    pub version: Version,
    /// State before; `None` for the first.
    pub from: Option<String>,
    /// State after.
    pub to: String,
    /// The reason of the new state.
    pub reason: Reason,
    /// Who or what made it.
    pub actor: Actor,
    /// The run that made it; [`RunId::NONE`] for a client.
    pub run: RunId,
    /// When it was decided, by the clock of the storage.
    pub at: Timestamp,
}

/// A message about a change, to be published after the change is stored.
///
/// JSON schemas of the bodies are in `schemas/` of the repository. An
/// [`Announcer`](crate::engine::Announcer) publishes the same changes in another form.
///
/// There is a notification about a build when its public state changes: the step from `SUBMITTING`
/// to `BUILDING` has none. There is one about an event when its state changes; a request to cancel
/// it has none. The steps between are in the history.
///
/// | topic | fields of the body |
/// |---|---|
/// | `event.changed` | `schema` (`freshmaker.event/1`), `id`, `version`, `state` ([`EventState`]), `reason`, `kind`, `search_key`, `message_id`, `handler`, `mode`, `plan`, `builds` (`open`, `done`, `failed`) |
/// | `build.changed` | `schema` (`freshmaker.build/1`), `id`, `version`, `state` ([`PublicBuildState`](super::PublicBuildState)), `detail` ([`BuildState`]), `reason`, `artifact`, `system`, `mode`, `rebuild_reason`, `output` |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// The event or build that changed.
    #[serde(flatten)]
    pub of: RowKey,
    /// Version of the row after the change.
    pub version: Version,
    /// Topic, without the prefix of a bus.
    pub topic: String,
    /// JSON body.
    pub body: serde_json::Value,
}

/// One change of state within a decision.
///
/// A new row is stored once, in the state in which the decision leaves it, so its first change is
/// read from the row itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    NewEvent(EventId),
    NewBuild(BuildId),
    NewAttempt(AttemptId),
    /// An event changed; with the row as it was right after it.
    Event {
        from: EventState,
        row: Box<EventRecord>,
    },
    /// A build changed; with the row as it was right after it.
    Build {
        from: BuildState,
        row: Box<BuildRecord>,
    },
    /// An attempt changed; with the row as it was right after it.
    Attempt {
        from: AttemptState,
        row: Box<AttemptRecord>,
    },
}

/// Where a change comes from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) actor: Actor,
    pub(super) run: RunId,
    pub(super) at: Timestamp,
}

impl Change {
    /// Returns the rows of the history and the outbox about this change, the notification first.
    /// `now` has the rows as the decision leaves them; the first transition of a new row is made
    /// from there.
    pub(super) fn rows(self, now: &Neighbourhood, origin: &Origin) -> Vec<RowChange> {
        let (transition, notification) = match self {
            Self::NewEvent(id) => match now.events.get(&id) {
                Some(row) => (of_event_state(origin, None, row), Some(about_event(row))),
                None => return Vec::new(),
            },
            Self::NewBuild(id) => match now.builds.get(&id) {
                Some(row) => (of_build_state(origin, None, row), Some(about_build(row))),
                None => return Vec::new(),
            },
            Self::NewAttempt(id) => match now.attempts.get(&id) {
                Some(row) => (of_attempt_state(origin, None, row), None),
                None => return Vec::new(),
            },
            Self::Event { from, row } => (of_event_state(origin, Some(from), &row), Some(about_event(&row))),
            Self::Build { from, row } => {
                let public = from.public() != row.state.public();
                (of_build_state(origin, Some(from), &row), public.then(|| about_build(&row)))
            }
            Self::Attempt { from, row } => (of_attempt_state(origin, Some(from), &row), None),
        };
        let notification = notification.map(RowChange::Notification);
        notification.into_iter().chain([RowChange::Transition(transition)]).collect()
    }
}

/// Returns the transition of an event; `from` is `None` for a new one.
fn of_event_state(origin: &Origin, from: Option<EventState>, row: &EventRecord) -> Transition {
    let states = (from.map(EventState::as_str), row.state.as_str());
    transition(origin, (RowKey::Event(row.id), row.version), states, &row.reason)
}

/// Returns the transition of a build, in internal states; `from` is `None` for a new one.
fn of_build_state(origin: &Origin, from: Option<BuildState>, row: &BuildRecord) -> Transition {
    let states = (from.map(BuildState::as_str), row.state.as_str());
    transition(origin, (RowKey::Build(row.id), row.version), states, &row.reason)
}

/// Returns the transition of an attempt; `from` is `None` for a new one.
fn of_attempt_state(origin: &Origin, from: Option<AttemptState>, row: &AttemptRecord) -> Transition {
    let states = (from.map(AttemptState::as_str), row.state.as_str());
    transition(origin, (RowKey::Attempt(row.id.clone()), row.version), states, &row.reason)
}

fn transition(
    origin: &Origin,
    (of, version): (RowKey, Version),
    (from, to): (Option<&str>, &str),
    reason: &Reason,
) -> Transition {
    Transition {
        of,
        version,
        from: from.map(str::to_owned),
        to: to.to_owned(),
        reason: reason.clone(),
        actor: origin.actor.clone(),
        run: origin.run,
        at: origin.at,
    }
}

/// Returns the notification about a build, by the schema `freshmaker.build/1`. `state` is the
/// public state, `detail` the internal one.
fn about_build(build: &BuildRecord) -> Notification {
    Notification {
        of: RowKey::Build(build.id),
        version: build.version,
        topic: "build.changed".into(),
        body: serde_json::json!({
            "schema": "freshmaker.build/1",
            "id": build.id,
            "version": build.version,
            "artifact": build.key.artifact,
            "system": build.key.system,
            "mode": build.key.mode,
            "state": build.state.public(),
            "detail": build.state,
            "reason": build.reason,
            "rebuild_reason": build.because,
            "output": build.output,
        }),
    }
}

/// Returns the notification about an event, by the schema `freshmaker.event/1`.
fn about_event(event: &EventRecord) -> Notification {
    Notification {
        of: RowKey::Event(event.id),
        version: event.version,
        topic: "event.changed".into(),
        body: serde_json::json!({
            "schema": "freshmaker.event/1",
            "id": event.id,
            "version": event.version,
            "message_id": event.message_id,
            "kind": event.envelope.kind,
            "search_key": event.envelope.search_key,
            "handler": event.handler,
            "mode": event.mode,
            "state": event.state,
            "reason": event.reason,
            "plan": event.plan,
            "builds": { "open": event.builds_open, "done": event.builds_done, "failed": event.builds_failed },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_have_stable_texts() {
        for (actor, text) in [
            (Actor::Handler("a:b".into()), "handler:a:b"),
            (Actor::Person(String::new()), "person:"),
            (Actor::Poll, "poll"),
            (Actor::Timer, "timer"),
            (Actor::Engine, "engine"),
        ] {
            assert_eq!((actor.to_string().as_str(), text.parse().as_ref()), (text, Ok(&actor)));
        }
        for text in ["", "Poll", "robot:1", "handler"] {
            assert_eq!(text.parse::<Actor>(), Err(ActorError(text.to_owned())));
        }
    }
}

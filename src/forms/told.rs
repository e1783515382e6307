use super::Forms;
use crate::reason::Reason;
use crate::rebuild::{BuildId, EventId, EventState, Notice, PublicBuildState};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What a notice tells: which event or build is in which state, and why. By now it may be in another one.
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

    /// What this notice tells; `None` if it is none of this version of the crate.
    #[must_use]
    pub fn of(notice: &Notice) -> Option<Self> {
        match notice.aggregate.as_str() {
            "event" => read(notice).map(|Body { id, state, reason }| Self::Event(id, state, reason)),
            "build" => read(notice).map(|Body { id, state, reason }| Self::Build(id, state, reason)),
            _ => None,
        }
    }
}

fn read<T: DeserializeOwned>(notice: &Notice) -> Option<T> {
    T::deserialize(&notice.body).ok()
}

impl Forms<'_> {
    /// The messages that Freshmaker sends of such a change, as topic and body: two of an event, one of a build, and none of what has no
    /// form. The state is what is told, everything else is as the rows are.
    #[must_use]
    pub fn messages(&self, told: &Told) -> Vec<(&'static str, Value)> {
        match told {
            Told::Event(id, state, reason) => {
                let event = self.event(*id).map(|event| event.in_state(*state, reason));
                let both = |event: super::EventForm| [json(&event), json(&event.summarised())];
                event.map_or_else(Vec::new, |event| {
                    [Told::EVENT, Told::EVENT_MIN].into_iter().zip(both(event)).collect()
                })
            }
            Told::Build(id, state, reason) => {
                let build = self.build(*id).map(|build| build.in_state(*state, reason));
                build.into_iter().map(|build| (Told::BUILD, json(&build))).collect()
            }
        }
    }
}

fn json(form: &impl serde::Serialize) -> Value {
    serde_json::to_value(form).expect("a form has only texts, numbers and maps of texts")
}

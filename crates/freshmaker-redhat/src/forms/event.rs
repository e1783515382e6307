use super::{BuildForm, Forms, moment};
use crate::messages::{self, RESERVED_KINDS};
use freshmaker::Reason;
use freshmaker::rebuild::{BuildMode, EventId, EventState};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// An event as Freshmaker shows it. See [`forms`](super) for what each key means here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventForm {
    /// Its number.
    pub id: EventId,
    /// The message that brought it.
    pub message_id: String,
    /// What it is about.
    pub search_key: String,
    /// The number of its kind.
    pub event_type_id: Option<i32>,
    /// [`EventState::number`].
    pub state: i16,
    /// How far it is.
    pub state_name: EventState,
    /// Why.
    pub state_reason: String,
    /// When it was stored.
    pub time_created: String,
    /// When it ended.
    pub time_done: Option<String>,
    /// Where it is shown.
    pub url: String,
    /// Whether its builds are only pretended.
    pub dry_run: bool,
    /// Who asked.
    pub requester: Option<String>,
    /// What was asked for.
    pub requested_rebuilds: Vec<String>,
    /// What the requester wanted to be kept with it.
    pub requester_metadata: Map<String, Value>,
    /// Events that it builds on.
    pub depends_on_events: Vec<EventId>,
    /// Events that build on it.
    pub depending_events: Vec<EventId>,
    /// The builds that it wants, or wanted.
    #[serde(flatten)]
    pub builds: Builds,
}

/// How an event shows its builds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Builds {
    /// Version 1: whole, by number.
    Builds(Vec<BuildForm>),
    /// Version 2: how many there are in each state that one of them is in, and the `total`.
    BuildsSummary(BTreeMap<&'static str, usize>),
}

impl EventForm {
    /// The same event when it was in this state, for whoever tells of states that have passed.
    #[must_use]
    pub fn in_state(mut self, state: EventState, reason: &Reason) -> Self {
        (self.state, self.state_name) = (state.number(), state);
        self.state_reason.clone_from(&reason.text);
        if !state.is_terminal() {
            self.time_done = None;
        }
        self
    }

    /// Version 2 instead of version 1.
    #[must_use]
    pub fn summarised(mut self) -> Self {
        if let Builds::Builds(builds) = &self.builds {
            let mut summary = BTreeMap::from([("total", builds.len())]);
            for build in builds {
                *summary.entry(build.state_name.as_str()).or_default() += 1;
            }
            self.builds = Builds::BuildsSummary(summary);
        }
        self
    }
}

impl Forms<'_> {
    /// An event with its builds; `None` if the rows do not have it.
    #[must_use]
    pub fn event(&self, id: EventId) -> Option<EventForm> {
        let event = self.rows.events.get(&id)?;
        let request = &event.envelope.payload;
        let requested = request.get("container_images").and_then(Value::as_array).into_iter().flatten();
        let metadata = request.get("metadata").and_then(Value::as_object);
        let caused = self.rows.causes.keys().filter(|(_, event)| *event == id);
        Some(EventForm {
            id,
            message_id: event.message_id.clone(),
            search_key: event.envelope.search_key.clone(),
            event_type_id: type_id(&event.envelope.kind),
            state: event.state.number(),
            state_name: event.state,
            state_reason: event.reason.text.clone(),
            time_created: moment(event.created_at),
            time_done: event.done_at.map(moment),
            url: format!("{}/api/1/events/{id}", self.base),
            dry_run: event.mode == BuildMode::DryRun,
            requester: event.envelope.requester.clone(),
            requested_rebuilds: requested.filter_map(Value::as_str).map(str::to_owned).collect(),
            requester_metadata: metadata.cloned().unwrap_or_default(),
            depends_on_events: Vec::new(),
            depending_events: Vec::new(),
            builds: Builds::Builds(caused.filter_map(|(build, _)| self.build(*build)).collect()),
        })
    }
}

/// The number of a kind, by its own name or by that which Freshmaker has for it.
fn type_id(kind: &str) -> Option<i32> {
    let reserved = || RESERVED_KINDS.iter().find(|(_, name)| *name == kind).map(|(number, _)| *number);
    messages::number(kind).or_else(reserved)
}

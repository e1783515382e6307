use super::{BuildForm, Forms, moment};
use crate::messages::{self, RESERVED_KINDS};
use freshmaker::Reason;
use freshmaker::rebuild::{BuildMode, EventId, EventRecord, EventState, PublicBuildState};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// An event in Freshmaker's form, in the order of its keys in JSON. See [`forms`](super) for the
/// meaning of each key.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "rest", derive(utoipa::ToSchema))]
pub struct EventForm {
    /// The builds that the event wants or wanted.
    #[serde(flatten)]
    #[cfg_attr(feature = "rest", schema(value_type = super::described::EitherBuilds))]
    pub builds: Builds,
    /// Events that depend on this one; always empty.
    #[cfg_attr(feature = "rest", schema(value_type = Vec<i64>))]
    pub depending_events: Vec<EventId>,
    /// The event that the request builds on, if it names one.
    #[cfg_attr(feature = "rest", schema(value_type = Vec<i64>))]
    pub depends_on_events: Vec<EventId>,
    /// Whether it is a dry run.
    pub dry_run: bool,
    /// The number of its kind.
    pub event_type_id: Option<i32>,
    /// The number of the event.
    #[cfg_attr(feature = "rest", schema(value_type = i64))]
    pub id: EventId,
    /// The id of the message that brought it.
    pub message_id: String,
    /// The images that were asked for.
    pub requested_rebuilds: Vec<String>,
    /// Who asked for it.
    pub requester: Option<String>,
    /// Data that the requester wanted to have stored.
    #[cfg_attr(feature = "rest", schema(value_type = Object))]
    pub requester_metadata: Map<String, Value>,
    /// The text that people search by.
    pub search_key: String,
    /// The number of the state: [`EventState::number`].
    pub state: i16,
    /// The state: `INITIALIZED`, `BUILDING`, `COMPLETE`, `FAILED`, `SKIPPED` or `CANCELED`.
    #[cfg_attr(feature = "rest", schema(value_type = String))]
    pub state_name: EventState,
    /// The reason for the state.
    pub state_reason: String,
    /// When the event was stored.
    #[cfg_attr(feature = "rest", schema(format = DateTime))]
    pub time_created: String,
    /// When the event ended.
    #[cfg_attr(feature = "rest", schema(format = DateTime))]
    pub time_done: Option<String>,
    /// The address of this form.
    pub url: String,
}

/// The builds of an event, in one of two versions of the form.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Builds {
    /// Version 1: all builds in their form, by number.
    Builds(Vec<BuildForm>),
    /// Version 2: the number of builds in each state that occurs, and the `total`.
    BuildsSummary(BTreeMap<&'static str, usize>),
}

impl EventForm {
    /// Returns the same event with an earlier state, for messages about that state.
    #[must_use]
    pub fn in_state(mut self, state: EventState, reason: &Reason) -> Self {
        (self.state, self.state_name) = (state.number(), state);
        self.state_reason = self.reason_of(reason);
        if !state.is_terminal() {
            self.time_done = None;
        }
        self
    }

    /// Returns the text of a reason. If it counts builds, it counts those that the form has: the
    /// engine also counts repositories that were prepared for them.
    fn reason_of(&self, reason: &Reason) -> String {
        let (mut done, mut ended) = (0, 0);
        match &self.builds {
            Builds::Builds(builds) => {
                done = builds.iter().filter(|build| build.state_name == PublicBuildState::Done).count();
                ended = builds.len();
            }
            Builds::BuildsSummary(summary) => {
                done += summary.get(PublicBuildState::Done.as_str()).copied().unwrap_or_default();
                ended += summary.get("total").copied().unwrap_or_default();
            }
        }
        match reason.code.as_str() {
            "complete" if done == 1 => "its only build ended well".to_owned(),
            "complete" => format!("all {done} builds ended well"),
            "all_failed" if ended == 1 => "its only build is in failed state".to_owned(),
            "all_failed" => format!("all {ended} builds are in failed state"),
            "some_failed" => format!("{} of {ended} builds failed", ended - done.min(ended)),
            _ => reason.text.clone(),
        }
    }

    /// Returns the same event in version 2 of the form.
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

impl EventForm {
    /// Makes the form of an event with its builds, and with an address below a base URL.
    pub(crate) fn of(event: &EventRecord, builds: Builds, base: &str) -> Self {
        let request = &event.envelope.payload;
        let requested = request.get("container_images").and_then(Value::as_array).into_iter().flatten();
        let metadata = request.get("metadata").and_then(Value::as_object);
        let depends_on = request.get("freshmaker_event_id").and_then(Value::as_i64).map(EventId);
        let mut form = Self {
            builds,
            depending_events: Vec::new(),
            depends_on_events: depends_on.into_iter().collect(),
            dry_run: event.mode == BuildMode::DryRun,
            event_type_id: type_id(&event.envelope.kind),
            id: event.id,
            message_id: event.message_id.clone(),
            requested_rebuilds: requested.filter_map(Value::as_str).map(str::to_owned).collect(),
            requester: event.envelope.requester.clone(),
            requester_metadata: metadata.map(sorted).unwrap_or_default(),
            search_key: event.envelope.search_key.clone(),
            state: event.state.number(),
            state_name: event.state,
            state_reason: String::new(),
            time_created: moment(event.created_at),
            time_done: event.done_at.map(moment),
            url: format!("{base}/api/1/events/{}", event.id),
        };
        form.state_reason = form.reason_of(&event.reason);
        form
    }
}

impl Forms<'_> {
    /// Returns the form of an event with its builds; `None` if the rows do not have it.
    #[must_use]
    pub fn event(&self, id: EventId) -> Option<EventForm> {
        let event = self.rows.events.get(&id)?;
        let caused = self.rows.causes.keys().filter(|(_, event)| *event == id);
        let builds = caused.filter_map(|(build, _)| self.build(*build)).collect();
        Some(EventForm::of(event, Builds::Builds(builds), self.base))
    }
}

/// Returns the same object with its keys, at every depth, in their order; some programs keep the
/// order in which they came.
fn sorted(object: &Map<String, Value>) -> Map<String, Value> {
    let mut object = object.clone();
    object.sort_keys();
    object.values_mut().for_each(Value::sort_all_objects);
    object
}

/// Returns the number of a kind, given its own name or Freshmaker's name for it.
fn type_id(kind: &str) -> Option<i32> {
    let reserved = || RESERVED_KINDS.iter().find(|(_, name)| *name == kind).map(|(number, _)| *number);
    messages::number(kind).or_else(reserved)
}

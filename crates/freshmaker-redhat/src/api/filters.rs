//! The filters of lists. `None` means that no row can match.

use super::answer::Failure;
use super::paging::{First, saturated};
use crate::messages::{NUMBERS, RESERVED_KINDS};
use freshmaker::artifact::{ArtifactId, ArtifactKind};
use freshmaker::backend::{BuildFilter, EventFilter};
use freshmaker::rebuild::{BuildId, BuildState, EventId, EventState, ExternalId, PublicBuildState};
use serde::Deserialize;
use utoipa::IntoParams;

/// The columns by which the service orders events and builds.
pub(super) const EVENT_COLUMNS: [&str; 2] = ["id", "message_id"];
pub(super) const BUILD_COLUMNS: [&str; 7] =
    ["id", "name", "event_id", "dep_on_id", "build_id", "original_nvr", "rebuilt_nvr"];

/// The kinds of artifacts that the service has.
pub(super) const KINDS: [ArtifactKind; 4] =
    [ArtifactKind::Rpm, ArtifactKind::Image, ArtifactKind::Module, ArtifactKind::ImageRepository];

/// Which events. All parameters may be repeated.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct EventQuery {
    /// Brought by one of these messages.
    message_id: Vec<String>,
    /// About one of these.
    search_key: Vec<String>,
    /// Of one of these kinds, by number: see `event-types/`.
    event_type_id: Vec<String>,
    /// In one of these states, by number or name.
    state: Vec<String>,
    /// Asked for by one of these people.
    requester: Vec<String>,
}

/// Which builds. Of a parameter that is repeated the first value counts, and an empty one does not
/// restrict.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct BuildQuery {
    /// Of artifacts of this kind, by number or name: see `build-types/`.
    #[serde(rename = "type")]
    #[param(value_type = Option<String>)]
    kind: First,
    /// In this state, by number or name: see `build-states/`.
    #[param(value_type = Option<String>)]
    state: First,
    /// Of artifacts with this name.
    #[param(value_type = Option<String>)]
    name: First,
    /// Of the event with this number.
    #[param(value_type = Option<String>)]
    event_id: First,
    /// That need the build with this number.
    #[param(value_type = Option<String>)]
    dep_on_id: First,
    /// With the task of this number in Koji.
    #[param(value_type = Option<String>)]
    build_id: First,
    /// Of this release.
    #[param(value_type = Option<String>)]
    original_nvr: First,
    /// That have built this release.
    #[param(value_type = Option<String>)]
    rebuilt_nvr: First,
    /// Of events of this kind, by number: see `event-types/`.
    #[param(value_type = Option<String>)]
    event_type_id: First,
    /// Of events about this.
    #[param(value_type = Option<String>)]
    event_search_key: First,
}

/// Reads the filter of a list of events.
pub(super) fn events(query: EventQuery) -> Result<Option<EventFilter>, Failure> {
    let EventQuery { message_id, search_key, event_type_id, state, requester } = query;
    // An empty text is the number of no kind.
    let kind_of = |text: &String| if text.is_empty() { Ok(i64::MIN) } else { number("event_type_id", text) };
    let numbers = event_type_id.iter().map(kind_of);
    let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
    let kinds: Vec<_> = numbers.iter().flat_map(|number| kinds_of(*number)).collect();
    let states = state.iter().map(|text| event_state(text)).collect::<Result<Vec<_>, _>>()?;
    let states: Vec<_> = states.into_iter().flatten().collect();
    if (kinds.is_empty() && !numbers.is_empty()) || (states.is_empty() && !state.is_empty()) {
        return Ok(None);
    }
    Ok(Some(EventFilter {
        states,
        kinds,
        search_keys: search_key,
        message_ids: message_id,
        requesters: requester,
        ..EventFilter::default()
    }))
}

/// Reads the filter of a list of builds. An empty parameter does not restrict.
pub(super) fn builds(query: &BuildQuery) -> Result<Option<BuildFilter>, Failure> {
    let text = |value: &First| value.given().map(str::to_owned).into_iter().collect::<Vec<_>>();
    let numbers = |name, value: &First| value.given().map(|text| number(name, text)).transpose();
    let kinds = match query.kind.given() {
        Some(text) => vec![artifact_kind(text)?],
        None => KINDS.to_vec(),
    };
    let states = query.state.given().map_or(Ok(Vec::new()), build_states)?;
    let event_type = numbers("event_type_id", &query.event_type_id)?;
    let event_kinds: Vec<_> = event_type.into_iter().flat_map(kinds_of).collect();
    if event_type.is_some() && event_kinds.is_empty() {
        return Ok(None);
    }
    let artifact = query.original_nvr.given().map(ArtifactId::new);
    let task = numbers("build_id", &query.build_id)?;
    Ok(Some(BuildFilter {
        states,
        kinds,
        event_kinds,
        search_keys: text(&query.event_search_key),
        names: text(&query.name),
        outputs: text(&query.rebuilt_nvr),
        artifacts: artifact.into_iter().collect(),
        events: numbers("event_id", &query.event_id)?.map(EventId).into_iter().collect(),
        parents: numbers("dep_on_id", &query.dep_on_id)?.map(BuildId).into_iter().collect(),
        externals: task.map(|id| ExternalId::new(id.to_string())).into_iter().collect(),
        ..BuildFilter::default()
    }))
}

/// Reads a number. One that has no room becomes one that no row has.
fn number(name: &str, text: &str) -> Result<i64, Failure> {
    saturated(text.trim()).ok_or_else(|| Failure::bad(format!("\"{name}\" must be an integer.")))
}

/// Our kinds of events, and the service's own name, that have this number.
pub(super) fn kinds_of(number: i64) -> Vec<String> {
    let ours = NUMBERS.iter().filter(|(_, known)| i64::from(*known) == number).map(|(kind, _)| *kind);
    let theirs = RESERVED_KINDS.iter().filter(|(known, _)| i64::from(*known) == number).map(|(_, kind)| *kind);
    ours.chain(theirs).map(str::to_owned).collect()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads the state of an event; `None` for a number that no state has.
fn event_state(text: &str) -> Result<Option<EventState>, Failure> {
    if is_number(text) {
        return Ok(text.parse().ok().and_then(EventState::from_number));
    }
    let state = text.to_ascii_uppercase().parse().map(Some);
    state.map_err(|_| Failure::bad(format!("Invalid state was supplied: {text}")))
}

/// Reads a state of a build, and returns those of ours that are shown as it.
fn build_states(text: &str) -> Result<Vec<BuildState>, Failure> {
    let state = match is_number(text) {
        true => text.parse().ok().and_then(PublicBuildState::from_number),
        false => text.to_ascii_uppercase().parse().ok(),
    };
    let state = state.ok_or_else(|| Failure::bad("An invalid state was supplied"))?;
    Ok(BuildState::ALL.iter().copied().filter(|ours| ours.public() == state).collect())
}

fn artifact_kind(text: &str) -> Result<ArtifactKind, Failure> {
    let mut named = KINDS.into_iter().filter(|kind| {
        let name = crate::forms::type_name(*kind).unwrap_or_default();
        if is_number(text) { text.parse() == Ok(kind.number()) } else { name.eq_ignore_ascii_case(text) }
    });
    named.next().ok_or_else(|| Failure::bad("An invalid artifact type was supplied"))
}

//! The filters of lists. `None` means that nothing can fit.

use super::answer::Failure;
use super::paging::Query;
use crate::messages::{NUMBERS, RESERVED_KINDS};
use freshmaker::artifact::{ArtifactId, ArtifactKind};
use freshmaker::backend::{BuildFilter, EventFilter};
use freshmaker::rebuild::{BuildId, BuildState, EventId, EventState, ExternalId, PublicBuildState};

/// The columns by which the service orders events and builds.
pub(super) const EVENT_COLUMNS: [&str; 2] = ["id", "message_id"];
pub(super) const BUILD_COLUMNS: [&str; 7] =
    ["id", "name", "event_id", "dep_on_id", "build_id", "original_nvr", "rebuilt_nvr"];

/// The kinds of artifacts that the service has.
pub(super) const KINDS: [ArtifactKind; 4] =
    [ArtifactKind::Rpm, ArtifactKind::Image, ArtifactKind::Module, ArtifactKind::ImageRepository];

/// Reads the filter of a list of events.
pub(super) fn events(query: &Query) -> Result<Option<EventFilter>, Failure> {
    let owned = |name| query.all(name).map(str::to_owned).collect::<Vec<_>>();
    let numbers = query.all("event_type_id").map(|text| number("event_type_id", text));
    let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
    let kinds: Vec<_> = numbers.iter().flat_map(|number| kinds_of(*number)).collect();
    let asked = query.all("state").count();
    let states = query.all("state").map(event_state).collect::<Result<Vec<_>, _>>()?;
    let states: Vec<_> = states.into_iter().flatten().collect();
    if (kinds.is_empty() && !numbers.is_empty()) || (states.is_empty() && asked > 0) {
        return Ok(None);
    }
    Ok(Some(EventFilter {
        states,
        kinds,
        search_keys: owned("search_key"),
        message_ids: owned("message_id"),
        requesters: owned("requester"),
        ..EventFilter::default()
    }))
}

/// Reads the filter of a list of builds. An empty parameter does not restrict.
pub(super) fn builds(query: &Query) -> Result<Option<BuildFilter>, Failure> {
    let given = |name| query.first(name).filter(|text| !text.is_empty());
    let text = |name| given(name).map(str::to_owned).into_iter().collect::<Vec<_>>();
    let numbers = |name| given(name).map(|text| number(name, text)).transpose();
    let kinds = match given("type") {
        Some(text) => vec![artifact_kind(text)?],
        None => KINDS.to_vec(),
    };
    let states = given("state").map_or(Ok(Vec::new()), build_states)?;
    let event_type = numbers("event_type_id")?;
    let event_kinds: Vec<_> = event_type.into_iter().flat_map(kinds_of).collect();
    if event_type.is_some() && event_kinds.is_empty() {
        return Ok(None);
    }
    Ok(Some(BuildFilter {
        states,
        kinds,
        event_kinds,
        search_keys: text("event_search_key"),
        names: text("name"),
        outputs: text("rebuilt_nvr"),
        artifacts: text("original_nvr").into_iter().map(ArtifactId::new).collect(),
        events: numbers("event_id")?.map(EventId).into_iter().collect(),
        parents: numbers("dep_on_id")?.map(BuildId).into_iter().collect(),
        externals: numbers("build_id")?.map(|id| ExternalId::new(id.to_string())).into_iter().collect(),
        ..BuildFilter::default()
    }))
}

fn number(name: &str, text: &str) -> Result<i64, Failure> {
    text.trim().parse().map_err(|_| Failure::bad(format!("\"{name}\" must be an integer.")))
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

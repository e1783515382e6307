//! Finds out whether another decision about the same artifacts was stored since a handler was
//! asked.
//!
//! A decision names the contents of parents as the catalogs answered. If a handler takes long,
//! another message may be handled meanwhile, on newer answers. If the older decision was then
//! stored behind the newer one, builds would be made from older contents until the next change. So
//! the handler is asked again instead.
//!
//! ```text
//! 10:00  message 1: the catalog says that base is A; the answer is slow
//! 10:01  base is pushed: B
//! 10:02  message 2: the catalog says B; stored as event 7, which builds app from B
//! 10:03  message 1 is to be stored: event 7 has app and is newer, so its handler is asked again
//! ```
//!
//! Events of the same message do not count: its handlers were asked at the same moment.
//!
//! Two processes that store at the same moment conflict over the rows that both change, and each
//! looks again. What this check does not see is a decision whose builds have all been planned and
//! ended between this look and the commit.
//!
//! Bounds: `RECENT_MAX` events are looked at, and `message` asks again `ASKED_MAX` times at most.

use super::core::Core;
use crate::backend::{Error, EventFilter, Paging};
use crate::plan::Plan;
use crate::rebuild::{BuildMode, EventState, InboxRecord};
use crate::time::Timestamp;

/// Largest number of events that are looked at. If there are more since the handler was asked, it
/// is asked again.
const RECENT_MAX: u32 = 100;

/// Returns whether an event of another message that was stored since `began`, by the clock of the
/// storage, builds an artifact of one of these plans in the same mode.
pub(super) async fn is_overtaken(
    core: &Core,
    message: &InboxRecord,
    began: Timestamp,
    plans: &[(BuildMode, &Plan)],
) -> Result<bool, Error> {
    if plans.is_empty() {
        return Ok(false);
    }
    // Those that build nothing do not matter.
    let states = vec![EventState::Building, EventState::Complete, EventState::Canceled];
    let filter = EventFilter { states, ..EventFilter::default() };
    let newest = core.reads().events(filter, Paging::first(RECENT_MAX)).await?.items;
    let all_are_recent = newest.len() == RECENT_MAX as usize && newest.iter().all(|event| event.created_at >= began);
    if all_are_recent {
        return Ok(true);
    }
    let others = newest.iter().filter(|event| event.message_id != message.message_id || event.source != message.source);
    for event in others.filter(|event| event.created_at >= began && event.plan.is_some()) {
        let Some(other) = core.reads().plan(event.id).await? else { continue };
        let mut same_mode = plans.iter().filter(|(mode, _)| *mode == event.mode);
        if same_mode.any(|(_, plan)| other.nodes().any(|node| plan.node(&node.artifact.id).is_some())) {
            return Ok(true);
        }
    }
    Ok(false)
}

//! Asks the storage from time to time to remove old rows. How long they are kept is configured by
//! `backend::Retention`; `StorageUpkeep::sweep` of each storage finds and removes them.
//!
//! Only one run does it: the one that publishes the first partition of the notifications. It asks
//! the storage once in an hour, and repeats the call, with a pause after each small transaction,
//! until nothing is removed.
//!
//! * The clock of the storage is set: nothing is removed until the engine is started again.
//! * The storage fails: it is asked again at the next turn.
//! * The process dies: what was removed is gone, and the next run goes on.
//! * Two runs do it at the same time, because the partition has just moved from one to the other:
//!   each removes what the other one has left.

use super::core::Core;
use crate::backend::Remedy;
use crate::time::since;
use futures_util::future::select;
use futures_util::pin_mut;
use std::time::Duration;

/// Time between two turns.
const TURN: Duration = Duration::from_secs(3600);

/// How far the clock of the storage may be set while rows are still removed.
const CLOCK_MAX: Duration = Duration::from_secs(3600);

/// Largest number of rows of each sort that are removed in one transaction.
const SWEPT_AT_ONCE: u32 = 200;

/// Removes until the stop was requested.
pub(super) async fn run(core: &Core) {
    while !core.is_stopping() {
        let more = core.partitions().contains(&0) && sweep(core).await;
        let pause = core.sleep(if more { core.options.pace } else { TURN });
        let stopped = core.stopped();
        pin_mut!(pause, stopped);
        select(pause, stopped).await;
    }
}

/// Removes once; returns whether there may be more.
///
/// Nothing is removed if the clock of the storage was set by more than `CLOCK_MAX` since this
/// engine began: by a clock that is a year ahead, everything would be old.
async fn sweep(core: &Core) -> bool {
    let (now, steady) = (core.storage_now(), core.steady_now());
    if steady.is_some_and(|steady| since(now, steady).max(since(steady, now)) > CLOCK_MAX) {
        tracing::warn!(engine.stage = "retention", "the clock of the storage was set: nothing is removed");
        return false;
    }
    match core.storage.upkeep().sweep(core.run(), core.options.retention, SWEPT_AT_ONCE).await {
        Ok(swept) => {
            if !swept.is_empty() {
                tracing::debug!(swept.messages, swept.events, swept.builds, "removed what is not kept any longer");
            }
            !swept.is_empty()
        }
        Err(error) => {
            if error.remedy == Remedy::Fenced {
                core.lose();
            } else {
                tracing::warn!(engine.stage = "retention", %error, "nothing was removed; trying again later");
            }
            false
        }
    }
}

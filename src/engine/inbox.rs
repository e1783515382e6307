//! Stores what becomes of a message that this run has claimed.
//!
//! The storage writes such a change only if the message is still claimed by this run. So a change
//! that is repeated, or that comes after another run has taken the message, writes nothing.

use super::commit::{Conflicts, Stored};
use super::core::Core;
use super::outages::STORAGE;
use crate::reason::Reason;
use crate::rebuild::{Commit, InboxRecord, InboxState, RowChange};
use crate::time::later;
use std::time::Duration;

/// Gives a message back, to be claimed again by any run after a pause. The pause counts by the
/// clock of the storage.
pub(super) async fn postpone(core: &Core, record: InboxRecord, pause: Duration, reason: Reason) {
    let not_before = Some(later(core.storage_now(), pause));
    finish(core, InboxRecord { not_before, state: InboxState::New, reason: Some(reason), ..record }).await;
}

/// Gives a message back that has to wait for something that is not its fault, with the back-off of
/// `Limits::backoff` for the number of waits with the same code. No try is counted.
pub(super) async fn wait(core: &Core, record: InboxRecord, reason: Reason) {
    let same = record.reason.as_ref().is_some_and(|before| before.code == reason.code);
    let waits = if same { record.waits.saturating_add(1) } else { 1 };
    postpone(core, InboxRecord { waits, ..record }, core.limits.backoff(waits), reason).await;
}

/// The text of a reason whose own text the storage refuses.
const UNSTORABLE: &str = "the storage refuses the text of the reason; it is in the log";

/// Stores the end of a message, or that it was given back, and logs a dead letter.
///
/// Repeats the commit until it is stored, or until the message is no longer claimed by this run. If
/// the storage refuses the change, it is stored without the text of its reason; if it refuses that
/// too, the row stays claimed, and the next claim of this run returns it again.
pub(super) async fn finish(core: &Core, mut record: InboxRecord) {
    if let Some(reason) = record.reason.as_ref().filter(|_| record.state == InboxState::Dead) {
        tracing::warn!(message.source = record.source, message.id = record.message_id, %reason, "a message is a dead letter");
    }
    let mut conflicts = Conflicts::default();
    loop {
        match core.store(Commit::by(core.run(), vec![RowChange::Inbox(record.clone())])).await {
            Stored::Yes | Stored::Fenced => return,
            Stored::Refused(error) if record.reason.as_ref().is_some_and(|reason| reason.text != UNSTORABLE) => {
                tracing::error!(message.id = record.message_id, %error, "the storage refuses a reason");
                record.reason = record.reason.map(|reason| Reason::new(reason.code, UNSTORABLE));
            }
            // It is claimed again at once, and would be handled again at once.
            Stored::Refused(error) => return core.pause("message", STORAGE, &error).await,
            Stored::Conflict | Stored::Unknown if is_handled(core, &record).await => return,
            Stored::Conflict => conflicts.pause(core).await,
            Stored::Unknown => {}
        }
    }
}

/// Returns whether the message is no longer claimed by this run, or is gone.
///
/// Asked after a conflict or an unknown outcome: `true` means that the commit was stored, or that
/// another run has the message. An error is repeated after a pause, without a limit.
pub(super) async fn is_handled(core: &Core, record: &InboxRecord) -> bool {
    loop {
        match core.reads().message(&record.source, &record.message_id).await {
            Ok(stored) => {
                return stored.is_none_or(|row| row.state != InboxState::Claimed || row.run != core.run());
            }
            Err(error) => core.pause("message", STORAGE, &error).await,
        }
    }
}

//! What becomes of a message that this run has claimed.

use super::commit::{Conflicts, Stored};
use super::core::Core;
use crate::reason::Reason;
use crate::rebuild::{Commit, InboxRecord, InboxState, RowChange};
use crate::time::later;
use std::time::Duration;

/// Gives a message back, to be handled after a pause.
pub(super) async fn postpone(core: &Core, record: InboxRecord, pause: Duration, reason: Reason) {
    let not_before = Some(later(core.storage_now(), pause));
    finish(core, InboxRecord { not_before, state: InboxState::New, reason: Some(reason), ..record }).await;
}

/// Stores what became of a message that this run has claimed.
pub(super) async fn finish(core: &Core, record: InboxRecord) {
    if let Some(reason) = record.reason.as_ref().filter(|_| record.state == InboxState::Dead) {
        tracing::warn!(message.source = record.source, message.id = record.message_id, %reason, "a message is a dead letter");
    }
    let mut conflicts = Conflicts::default();
    loop {
        match core.store(Commit::by(core.run(), vec![RowChange::Inbox(record.clone())])).await {
            Stored::Yes | Stored::Refused(_) | Stored::Fenced => return,
            Stored::Conflict | Stored::Unknown if is_handled(core, &record).await => return,
            Stored::Conflict => conflicts.pause(core).await,
            Stored::Unknown => {}
        }
    }
}

/// Whether the message is no longer this task's: a commit without a clear outcome was stored.
pub(super) async fn is_handled(core: &Core, record: &InboxRecord) -> bool {
    loop {
        match core.reads().message(&record.source, &record.message_id).await {
            Ok(stored) => {
                return stored.is_none_or(|row| row.state != InboxState::Claimed || row.run != core.run());
            }
            Err(error) => core.pause("message", &error).await,
        }
    }
}

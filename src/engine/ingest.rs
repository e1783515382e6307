//! Stores the messages of one bus in the inbox.
//!
//! The stage waits in `Bus::receive` for up to `Options::batch` (200) messages. It writes the ones
//! that a handler or a parser wants as rows of the inbox, in one commit, and acknowledges all of
//! them after that. So no message is lost if the process dies at any point; one that is stored and
//! not acknowledged is delivered again and meets its own row.
//!
//! * The bus fails, panics or loses its connection: `receive` is repeated after a pause.
//!   `acknowledge` is repeated until it succeeds; it has the time limit of calls.
//! * The storage is away: the commit is repeated, and nothing more is received meanwhile.
//! * The storage refuses the commit: it is logged, and nothing of the batch is acknowledged. After
//!   a pause the next batch is received.
//! * The lease is lost: nothing changes. Messages are stored without a run, and the stage goes on
//!   in the next one; a bus would not deliver again what a connection that still holds has got.
//! * A message is too large, or cannot be read, or its reader panics: it is stored as a dead letter
//!   and acknowledged, so that it does not block others.

use super::commit::Stored;
use super::core::Core;
use crate::backend::{Bus, Delivery, DeliveryTag, Error, Remedy};
use crate::reason::Reason;
use crate::rebuild::{Commit, InboxRecord, RowChange};
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use futures_util::pin_mut;
use std::panic::AssertUnwindSafe;

/// Receives, stores and acknowledges until the stop is requested.
///
/// # Cancel safety
/// Dropping the future loses no message: one that is not stored is not acknowledged.
pub(super) async fn run(core: &Core, name: &str, bus: &dyn Bus) {
    while !core.is_stopping() {
        let receive = AssertUnwindSafe(bus.receive(core.options.batch as usize)).catch_unwind();
        let stopped = core.stopped();
        pin_mut!(stopped);
        let deliveries = match select(receive, stopped).await {
            Either::Left((Ok(Ok(deliveries)), _)) => deliveries,
            Either::Left((failed, _)) => {
                let error = match failed {
                    Ok(Err(error)) => error,
                    _ => Error::new(Remedy::Unavailable, format!("{name}: receive"), "it panicked"),
                };
                core.pause("ingest", &error).await;
                continue;
            }
            Either::Right(_) => return,
        };
        let tags: Vec<DeliveryTag> = deliveries.iter().map(|delivery| delivery.tag).collect();
        let wanted: Vec<_> = deliveries.into_iter().filter_map(|delivery| receive_one(core, name, delivery)).collect();
        if let Stored::Refused(error) = core.store_surely(Commit::unfenced(wanted)).await {
            tracing::error!(bus = name, "the storage refuses messages; they are not acknowledged");
            core.pause("ingest", &error).await;
            continue;
        }
        while let Err(error) = core.answer(|| format!("{name}: acknowledge"), bus.acknowledge(&tags)).await {
            core.pause("ingest", &error).await;
        }
    }
}

/// Returns the inbox row for a delivery; `None` if no handler wants it.
///
/// A hint about a live attempt is recorded in any case, and wakes `watch`. The message becomes a
/// dead letter if its body has more bytes than allowed (`too_large`; it is not parsed) or cannot be
/// read (`malformed`).
fn receive_one(core: &Core, source: &str, delivery: Delivery) -> Option<RowChange> {
    let message = delivery.message;
    if core.hints.note(&message) {
        core.wake.watch.notify_one();
    }
    if !core.decider.registry.wants(&message.topic) {
        return None;
    }
    let dead = if message.body.len() > core.options.message_bytes_max {
        let text = format!(
            "its body has {} bytes, more than the {} that are allowed",
            message.body.len(),
            core.options.message_bytes_max
        );
        Some(Reason::new("too_large", text))
    } else {
        core.decider.read(&message)?.err().map(|error| Reason::new("malformed", error.to_string()))
    };
    let record = InboxRecord::new(source, message, core.now());
    let Some(reason) = dead else { return Some(RowChange::Receive(record)) };
    tracing::warn!(message.source = source, message.id = record.message_id, %reason, "a message is a dead letter");
    Some(RowChange::Receive(record.dead(reason)))
}

//! Stores the messages of one bus in the inbox.
//!
//! The stage waits in `Bus::receive` for up to `Options::batch` (200) messages. It writes the ones
//! that a handler or a parser wants as rows of the inbox, in one commit, and acknowledges all of
//! them after that. So no message is lost if the process dies at any point; one that is stored and
//! not acknowledged is delivered again and meets its own row.
//!
//! * The bus fails, panics or loses its connection: `receive` is repeated after a pause.
//!   `acknowledge` is repeated until it succeeds or the engine stops; it has the time limit of
//!   calls.
//! * The storage is away: the commit is repeated, and nothing more is received meanwhile.
//! * The storage refuses the commit: each message is stored alone. One that is refused alone, for
//!   the character NUL in its id for example, is stored as a dead letter with its texts escaped. If
//!   that is refused too, it is logged and not acknowledged; after a pause the next batch is
//!   received.
//! * The lease is lost: nothing changes. Messages are stored without a run, and the stage goes on
//!   in the next run. It must not be dropped with the run: a bus does not deliver a message again
//!   while the connection that has received it still holds.
//! * A message is too large, or cannot be read, or its reader panics: it is stored as a dead letter
//!   and acknowledged, so that it does not block others.

use super::commit::Stored;
use super::core::{Core, let_others_run};
use super::outages::STORAGE;
use crate::backend::{Bus, Delivery, DeliveryTag, Error, Remedy};
use crate::event::Message;
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
            Either::Left((Ok(Ok(deliveries)), _)) if !deliveries.is_empty() => {
                core.works("ingest", name);
                deliveries
            }
            Either::Left((failed, _)) => {
                let error = match failed {
                    Ok(Err(error)) => error,
                    // Its connection is closed, for example, and it should have waited.
                    Ok(Ok(_)) => {
                        Error::new(Remedy::Corrupt, format!("{name}: receive"), "it answers without a message")
                    }
                    Err(_) => Error::new(Remedy::Unavailable, format!("{name}: receive"), "it panicked"),
                };
                core.pause("ingest", name, &error).await;
                continue;
            }
            Either::Right(_) => return,
        };
        let deliveries: Vec<_> =
            deliveries.into_iter().map(|delivery| (delivery.tag, receive_one(core, name, delivery))).collect();
        let (tags, refused) = store(core, name, deliveries).await;
        while let Err(error) = core.answer(|| format!("{name}: acknowledge"), bus.acknowledge(&tags)).await {
            if core.is_stopping() {
                return;
            }
            core.pause("acknowledge", name, &error).await;
        }
        core.works("acknowledge", name);
        match refused {
            Some(error) => core.pause("ingest", STORAGE, &error).await,
            None => core.works("ingest", STORAGE),
        }
        // Neither a bus that always has more, nor a storage in memory, ever waits.
        let_others_run().await;
    }
}

/// Stores messages. Returns which deliveries are to be acknowledged (those that are stored, and
/// those that no handler wants), and why the storage refuses the others, if there are any.
async fn store(
    core: &Core,
    bus: &str,
    deliveries: Vec<(DeliveryTag, Option<InboxRecord>)>,
) -> (Vec<DeliveryTag>, Option<Error>) {
    let wanted = deliveries.iter().filter_map(|(_, record)| record.clone());
    let all = Commit::unfenced(wanted.map(RowChange::Receive).collect());
    let Stored::Refused(error) = core.store_surely(all).await else {
        return (deliveries.into_iter().map(|(tag, _)| tag).collect(), None);
    };
    tracing::warn!(bus, %error, "the storage refuses messages; each is stored alone");
    let (mut stored, mut refused) = (Vec::new(), None);
    for (tag, record) in deliveries {
        match store_one(core, record).await {
            Ok(()) => stored.push(tag),
            Err(error) => refused = Some(error),
        }
    }
    (stored, refused)
}

/// Stores a message alone; as a dead letter, if the storage refuses it.
///
/// # Errors
/// The storage refuses the dead letter as well.
async fn store_one(core: &Core, record: Option<InboxRecord>) -> Result<(), Error> {
    let Some(record) = record else { return Ok(()) };
    let receive = |record| core.store_surely(Commit::unfenced(vec![RowChange::Receive(record)]));
    let Stored::Refused(error) = receive(record.clone()).await else { return Ok(()) };
    let odd = record.escaped().dead(Reason::new("refused", error.to_string()));
    tracing::warn!(message.source = odd.source, message.id = odd.message_id, %error, "a message is a dead letter");
    match receive(odd.clone()).await {
        Stored::Refused(error) => {
            let InboxRecord { source, message_id, .. } = odd;
            tracing::error!(message.source = source, message.id = message_id, %error, "a message cannot be stored");
            Err(error)
        }
        _ => Ok(()),
    }
}

impl Core {
    /// Why this message is not read, if its body has more bytes than allowed.
    pub(super) fn too_large(&self, message: &Message) -> Option<Reason> {
        let (bytes, max) = (message.body.len(), self.options.message_bytes_max);
        let text = || format!("its body has {bytes} bytes, more than the {max} that are allowed");
        (bytes > max).then(|| Reason::new("too_large", text()))
    }
}

/// Returns the inbox row for a delivery; `None` if no handler wants it.
///
/// A hint about a live attempt is recorded in any case, and wakes `watch`. The message becomes a
/// dead letter if its body has more bytes than allowed (`too_large`; it is not parsed) or cannot be
/// read (`malformed`).
fn receive_one(core: &Core, source: &str, delivery: Delivery) -> Option<InboxRecord> {
    let message = delivery.message;
    if core.hints.note(&message) {
        core.wake.watch.notify_one();
    }
    if !core.decider.registry.wants(&message.topic) {
        return None;
    }
    let dead = match core.too_large(&message) {
        None => core.decider.read(&message)?.err().map(|error| Reason::new("malformed", error.to_string())),
        too_large => too_large,
    };
    let record = InboxRecord::new(source, message, core.now());
    let Some(reason) = dead else { return Some(record) };
    tracing::warn!(message.source = source, message.id = record.message_id, %reason, "a message is a dead letter");
    Some(record.dead(reason))
}

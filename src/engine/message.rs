//! Handles messages of the inbox: the first of three steps, before `decision` and `admission`.
//!
//! The stage claims rows of the inbox that are new and due, or that were claimed by a run that is
//! over, oldest first. It is woken when messages are stored, when a message has been handled, and
//! after a tick. At most `Options::handlers_max` (8) messages are handled at the same time.
//!
//! * A backend of a handler fails with a transient error: the message is given back, with a
//!   back-off that grows up to `Limits::backoff_max`. This does not count as a try and has no
//!   limit.
//! * A handler fails or panics: its event fails with this text; the message is handled.
//! * A handler hangs: it keeps one of the places until the run is over. Handlers have no time
//!   limit.
//! * The answer to a claim is lost: each claim lists what the stage is handling. What the rows show
//!   as claimed by this run and is not in the list is claimed again.
//! * The process dies: each claim counts a try in the row, so a message that kills the process is
//!   tried at most `Limits::message_tries_max` (5) times and is then a dead letter, code `poison`.
//! * The lease is lost: the stage is dropped, and another run claims the messages.

use super::admission;
use super::core::{Core, progress};
use super::decision::Incoming;
use super::inbox::{finish, postpone};
use crate::backend::{Claim, Error, Remedy};
use crate::reason::Reason;
use crate::rebuild::InboxRecord;
use futures_util::FutureExt;
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeSet;

/// Claims messages and handles them until the stop was requested and all of them have ended.
///
/// After the start of a run, a message that was claimed before may be the one that killed the
/// process. So messages are handled one at a time until a claim returns one in its first try.
/// Otherwise a crash would count a try for each message that happened to be handled at that moment:
///
/// ```text
/// claim: A (2nd try)        handled alone
/// claim: B (2nd try)        handled alone; if B kills the process, only B has one try more
/// claim: C (1st try)        from here on up to 8 at a time
/// ```
pub(super) async fn run(core: &Core) {
    let mut under_way = FuturesUnordered::new();
    let mut holding = BTreeSet::new();
    let mut alone = true;
    loop {
        let free = if alone { 1 } else { core.options.handlers_max }.saturating_sub(under_way.len());
        if core.is_stopping() {
            if under_way.is_empty() {
                return;
            }
        } else if free > 0 {
            let limit = u32::try_from(free).unwrap_or(u32::MAX);
            let claim = Claim { run: core.run(), holding: holding.iter().cloned().collect(), limit };
            match core.storage.claim(&claim).await {
                Ok(claimed) => {
                    alone = alone && claimed.iter().all(|record| record.tries > 1);
                    holding.extend(claimed.iter().map(InboxRecord::key));
                    under_way.extend(claimed.into_iter().map(|record| {
                        let key = record.key();
                        handle(core, record).map(|()| key)
                    }));
                }
                Err(error) if error.remedy == Remedy::Fenced => core.lose(),
                Err(error) => core.pause("message", &error).await,
            }
        }
        if let Some(handled) = progress(&mut under_way, core.wait(&core.wake.messages, None)).await {
            holding.remove(&handled);
        }
    }
}

/// Handles one claimed message up to its end: decided and stored, given back, or a dead letter.
///
/// It becomes a dead letter without asking a handler if it has used up its tries (`poison`), if no
/// handler is registered for it any more (`no_handler`), or if it cannot be read (`malformed`).
async fn handle(core: &Core, record: InboxRecord) {
    if record.tries > core.limits.message_tries_max {
        let text = format!("handling it was begun {} times and never ended", record.tries - 1);
        return finish(core, record.dead(Reason::new("poison", text))).await;
    }
    let envelope = match core.decider.read(&record.message) {
        None => {
            let text = format!("no handler is registered for messages with the topic {:?}", record.message.topic);
            return finish(core, record.dead(Reason::new("no_handler", text))).await;
        }
        Some(Err(error)) => return finish(core, record.dead(Reason::new("malformed", error.to_string()))).await,
        Some(Ok(envelope)) => envelope,
    };
    let (id, at, headers) = (&record.message_id, record.received_at, &record.message.headers);
    let incoming = Incoming { id, at, headers, envelope: &envelope };
    match core.decider.decide(incoming, core.now()).await {
        Ok(decisions) => admission::store(core, &record, &envelope, decisions).await,
        Err(error) => wait_for_backend(core, record, &error).await,
    }
}

/// Gives a message back because a backend of a handler failed, with the back-off of
/// `Limits::backoff` for the number of such waits. The message is not at fault, so the try does not
/// count.
async fn wait_for_backend(core: &Core, record: InboxRecord, error: &Error) {
    let waits = record.waits.saturating_add(1);
    let pause = core.limits.backoff(waits);
    tracing::warn!(message.id = record.message_id, %error, "a backend of a handler failed; the message waits");
    let tries = record.tries.saturating_sub(1);
    let reason = Reason::new("waiting", error.to_string());
    postpone(core, InboxRecord { tries, waits, ..record }, pause, reason).await;
}

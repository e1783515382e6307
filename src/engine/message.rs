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

/// Inbox to decisions: claims messages, reads them, has them decided and admitted. The first of
/// three steps.
///
/// A message that was claimed before, when the process died, may be what killed it: until a fresh
/// one turns up, messages are handled alone, so that the deaths are counted against the right one.
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

/// The message is not at fault, so the try does not count.
async fn wait_for_backend(core: &Core, record: InboxRecord, error: &Error) {
    let waits = record.waits.saturating_add(1);
    let pause = core.limits.backoff(waits);
    tracing::warn!(message.id = record.message_id, %error, "a backend of a handler failed; the message waits");
    let tries = record.tries.saturating_sub(1);
    let reason = Reason::new("waiting", error.to_string());
    postpone(core, InboxRecord { tries, waits, ..record }, pause, reason).await;
}

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
//! * A handler does not end within `handler_timeout`: it is dropped, a try is counted, and the
//!   message is given back with a back-off.
//! * Another decision about the same artifacts is stored while the handlers are asked: they are
//!   asked again, at most `ASKED_MAX` times; see `overtaken`.
//! * The answer to a claim is lost: each claim lists what the stage is handling. What the rows show
//!   as claimed by this run and is not in the list is claimed again.
//! * The process dies: whoever claims the messages that it has left counts a try for each of them.
//!   After `Limits::message_tries_max` (5) tries a message is a dead letter, code `poison`.
//! * The run ends because the stop was requested: what it still handles is given back without a
//!   try, by `Storage::release`.
//! * The lease is lost: the stage is dropped, and another run claims the messages.

use super::admission::{self, About, Stand, generation};
use super::core::{Core, progress};
use super::decision::{Answered, Incoming, Undecided};
use super::inbox::{finish, postpone, wait};
use super::outages::STORAGE;
use super::retry::Retry;
use crate::backend::{Claim, Remedy};
use crate::client::Client;
use crate::event::{Envelope, Message};
use crate::reason::Reason;
use crate::rebuild::InboxRecord;
use futures_util::FutureExt;
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long one message is handled alone. One that has been handled for so long has not killed the
/// process, so that the others need not wait for it.
const ALONE_MAX: Duration = Duration::from_secs(60);

/// The handlers of one message are asked so often, if other decisions are stored meanwhile. The
/// last answer is stored in any case.
const ASKED_MAX: u32 = 5;

/// The reason code of messages whose handlers did not end in time.
const LATE: &str = "handler_timed_out";

/// Claims messages and handles them until the stop was requested and all of them have ended.
///
/// After the start of a run, a message that a dead run has left may be the one that killed the
/// process. These come first, and are handled one at a time. Otherwise a crash would count a try
/// for each message that happened to be handled at that moment:
///
/// ```text
/// claim: A (left, 1 try)    handled alone
/// claim: B (left, 1 try)    handled alone; if B kills the process, only B has one try more
/// claim: C (new, 0 tries)   from here on up to 8 at a time
/// ```
pub(super) async fn run(core: &Core) {
    let mut under_way = FuturesUnordered::new();
    let mut holding = BTreeSet::new();
    let mut alone = Some(Duration::MAX);
    loop {
        alone = alone.filter(|until| core.elapsed() < *until);
        let most = if alone.is_some() { 1 } else { core.options.handlers_max };
        let free = most.saturating_sub(under_way.len());
        if core.is_stopping() {
            if under_way.is_empty() {
                return;
            }
        } else if free > 0 {
            let limit = u32::try_from(free).unwrap_or(u32::MAX);
            let claim = Claim {
                run: core.run(),
                holding: holding.iter().cloned().collect(),
                limit,
                pause_max: core.pause_max(),
            };
            match core.storage.claim(&claim).await {
                Ok(claimed) => {
                    core.works("message", STORAGE);
                    let left = claimed.iter().any(|record| record.tries > 0);
                    alone = alone.filter(|_| left).map(|_| core.elapsed().saturating_add(ALONE_MAX));
                    holding.extend(claimed.iter().map(InboxRecord::key));
                    under_way.extend(claimed.into_iter().map(|record| {
                        let key = record.key();
                        handle(core, record).map(|()| key)
                    }));
                }
                Err(error) if error.remedy == Remedy::Fenced => core.lose(),
                Err(error) => core.pause("message", STORAGE, &error).await,
            }
        }
        if let Some(handled) = progress(&mut under_way, core.wait(&core.wake.messages, alone)).await {
            holding.remove(&handled);
        }
    }
}

/// Handles one claimed message up to its end: decided and stored, given back, or a dead letter.
///
/// It becomes a dead letter without asking a handler if it has used up its tries (`poison`), if no
/// handler is registered for it any more (`no_handler`), if its body is `too_large`, as one that a
/// client has stored may be, or if it cannot be read (`malformed`).
async fn handle(core: &Core, record: InboxRecord) {
    if record.tries >= core.limits.message_tries_max {
        let reason = used_up(&record);
        return finish(core, record.dead(reason)).await;
    }
    if let Some(reason) = core.too_large(&record.message) {
        return finish(core, record.dead(reason)).await;
    }
    let envelope = match core.decider.read(&record.message) {
        None => {
            let text = format!("no handler is registered for messages with the topic {:?}", record.message.topic);
            return finish(core, record.dead(Reason::new("no_handler", text))).await;
        }
        Some(Err(error)) => return finish(core, record.dead(Reason::new("malformed", error.to_string()))).await,
        Some(Ok(envelope)) => asked_by(&record, envelope),
    };
    for round in 1..=ASKED_MAX {
        let began = core.storage_now();
        let (decisions, retry) = match decide(core, &record, &envelope).await {
            Ok(decided) => decided,
            Err(undecided) => return give_back(core, record, undecided).await,
        };
        let may_ask_again = round < ASKED_MAX;
        let about = About { record: &record, envelope: &envelope, retry: retry.as_ref(), began, may_ask_again };
        if admission::store(core, about, decisions).await == Stand::Ended {
            return;
        }
    }
}

/// Returns the event of a message. What a person asks for through a client is asked for by that
/// person, whatever the body says.
fn asked_by(record: &InboxRecord, envelope: Envelope) -> Envelope {
    match record.message.headers.get(Message::REQUESTER) {
        Some(by) if envelope.manual && record.source == Client::LOCAL => {
            Envelope { requester: Some(by.clone()), ..envelope }
        }
        _ => envelope,
    }
}

/// Gives a message back about which there is no decision now.
async fn give_back(core: &Core, record: InboxRecord, undecided: Undecided) {
    match undecided {
        Undecided::Backend(error) => {
            tracing::warn!(message.id = record.message_id, %error, "a backend of a handler failed; the message waits");
            wait(core, record, Reason::new("waiting", error.to_string())).await;
        }
        Undecided::Gone(event) => {
            let text = format!("event {event}, which is to be retried, is not there any more");
            finish(core, record.dead(Reason::new("event_gone", text))).await;
        }
        Undecided::Late(handler, limit) => {
            let reason = Reason::new("handler_timed_out", format!("handler {handler} did not end within {limit:?}"));
            tracing::error!(message.id = record.message_id, %reason, "a handler was dropped");
            let tries = record.tries.saturating_add(1);
            postpone(core, InboxRecord { tries, ..record }, core.limits.backoff(tries), reason).await;
        }
    }
}

/// Asks the handlers about a message, and says what it retries.
async fn decide<'a>(
    core: &'a Core,
    record: &InboxRecord,
    envelope: &Envelope,
) -> Result<(Vec<Answered<'a>>, Option<Retry>), Undecided> {
    let headers = &record.message.headers;
    let generation = generation(record);
    let incoming = Incoming { id: &record.message_id, at: record.received_at, headers, generation, envelope };
    // Only a client can ask for a retry, which names the person who wants it.
    let retry = if record.source == Client::LOCAL { Retry::of(incoming, core.reads()).await? } else { None };
    let decisions = core.decider.decide(incoming, retry.as_ref(), core.now()).await?;
    Ok((decisions, retry))
}

/// Returns why a message that has used up its tries is a dead letter.
fn used_up(record: &InboxRecord) -> Reason {
    let tries = record.tries;
    match &record.reason {
        Some(reason) if reason.code == LATE => Reason::new(LATE, format!("{reason} ({tries} tries)")),
        _ => Reason::new("poison", format!("the process died {tries} times while it was handled")),
    }
}

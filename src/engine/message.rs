//! Handles messages of the inbox: the first of three steps, before `decision` and `admission`.
//!
//! The stage claims rows of the inbox that are new and due, or that were claimed by a run that is
//! over, oldest first. It is woken when messages are stored, when a message has been handled, and
//! after a tick. At most `Options::handlers_max` (8) messages are handled at the same time.
//!
//! All handlers of a message are asked at the same time. If they answer within `PATIENCE` of each
//! other, their decisions are stored in one transaction; otherwise the decisions that are there are
//! stored, and the other handlers are waited for. So a handler that hangs or fails delays no other
//! one:
//!
//! ```text
//! 10:00:00  message 1: handlers a and b are asked
//! 10:00:02  a has decided; b has not
//! 10:00:03  event 7 of a is stored; message 1 stays claimed
//! 10:10:00  b did not end in time: message 1 is given back, with one try more
//! 10:10:05  only b is asked, because a has its event
//! ```
//!
//! * A backend of a handler fails with a transient error: the message is given back, with a
//!   back-off that grows up to `Limits::backoff_max`. This does not count as a try and has no
//!   limit.
//! * A handler fails or panics: its event fails with this text; the message is handled.
//! * A handler does not end within `handler_timeout`: it is dropped, a try is counted, and the
//!   message is given back with a back-off.
//! * Another decision about the same artifacts is stored while the handlers are asked: they are
//!   asked again, at most `ASKED_MAX` times; see `overtaken`.
//! * A decision contradicts builds under way, or a row that it needs cannot be read: what the other
//!   handlers decided is stored, and the message is given back with a back-off. After about a day
//!   of waiting for builds it is a dead letter, code `waits_for_builds`.
//! * A dead letter at once: no handler wants the message any more (`no_handler`), it is `too_large`
//!   or `malformed`, the storage refuses the decision (`refused`), or the event that is to be
//!   retried is gone (`event_gone`).
//! * The answer to a claim is lost: each claim lists what the stage is handling. What the rows show
//!   as claimed by this run and is not in the list is claimed again.
//! * The process dies: the run that claims the messages it has left counts a try for each of them.
//!   After `Limits::message_tries_max` (5) tries a message is a dead letter, code `poison`.
//! * The run ends because the stop was requested: what it still handles is given back without a
//!   try, by `Storage::release`.
//! * The lease is lost: the stage is dropped, and another run claims the messages.

use super::admission::{self, About, Blocked, Part, Stand, generation, handlers_with_events};
use super::core::{Core, beside, progress};
use super::decision::{Answer, Answered, Incoming, Undecided};
use super::inbox::{finish, postpone, wait};
use super::lease;
use super::outages::STORAGE;
use super::retry_event::Retry;
use crate::backend::{Claim, Remedy};
use crate::client::Client;
use crate::event::{Envelope, Message};
use crate::reason::Reason;
use crate::rebuild::{InboxRecord, InboxState, MessageKey};
use crate::time::later;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long one message is handled alone. If it is still being handled after this time, it has not
/// killed the process, so that the others need not wait for it.
const ALONE_MAX: Duration = Duration::from_secs(60);

/// How long handlers that have decided wait for others of the same message, to be stored together.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the handlers of one message are asked, if other decisions are stored meanwhile. The
/// last answer is stored in any case.
const ASKED_MAX: u32 = 5;

/// The reason code of messages whose handlers did not end in time.
const LATE: &str = "handler_timed_out";

/// Claims messages and handles them until the stop was requested and all of them have ended.
///
/// A message that a dead run has left may be the one that killed the process. These are handled one
/// at a time, and nothing else beside them. Otherwise a crash would count a try for each message
/// that happened to be handled at that moment:
///
/// ```text
/// claim: A (left, 1 try)           handled alone
/// claim: B (left, 1 try)           handled alone; if B kills the process, only B has one try more
/// claim: C (new, 0 tries)          from here on up to 8 at a time
/// claim: D (new), E, F (left)      E and F are given back until C and D have ended
/// ```
pub(super) async fn run(core: &Core) {
    let mut under_way = FuturesUnordered::new();
    let mut holding = BTreeSet::new();
    let mut survived = Survived::default();
    let mut alone = Some(Duration::MAX);
    loop {
        alone = alone.filter(|until| core.elapsed() < *until);
        let mut ended = Vec::new();
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
            let (claimed, meanwhile) = beside(&mut under_way, claimed(core, &claim)).await;
            ended = meanwhile;
            if let Some(claimed) = claimed {
                let (was_alone, left) = (alone.is_some(), claimed.iter().any(|record| survived.is_left(record)));
                alone = left.then(|| core.elapsed().saturating_add(ALONE_MAX));
                holding.extend(claimed.iter().map(InboxRecord::key));
                under_way.extend(claimed.into_iter().map(|record| {
                    let (key, tries) = (record.key(), record.tries);
                    // Its turn comes when nothing else is handled.
                    let comes_again = !was_alone && survived.is_left(&record);
                    let handled = if comes_again { again(core, record).boxed() } else { handle(core, record).boxed() };
                    handled.map(move |()| (key, (!comes_again).then_some(tries)))
                }));
            }
        }
        if ended.is_empty() {
            ended.extend(progress(&mut under_way, core.wait(&core.wake.messages, alone)).await);
        }
        for (key, tries) in ended {
            holding.remove(&key);
            survived.handled(key, tries);
        }
    }
}

/// Claims messages. Returns `None`, after a pause, if the storage fails, and if the run is over.
async fn claimed(core: &Core, claim: &Claim) -> Option<Vec<InboxRecord>> {
    match core.storage.claim(claim).await {
        Ok(claimed) => {
            core.works("message", STORAGE);
            if claimed.iter().any(|record| is_early(core, record)) && !lease::renew(core).await {
                core.lose();
                return None;
            }
            return Some(claimed);
        }
        Err(error) if error.remedy == Remedy::Fenced => core.lose(),
        Err(error) => core.pause("message", STORAGE, &error).await,
    }
    None
}

/// The messages with tries that this process has handled and given back, with the number of tries
/// that they had: as long as it is the same, no process has died of them since.
#[derive(Debug, Default)]
struct Survived(BTreeMap<MessageKey, u32>);

/// Beyond so many messages all are forgotten. Each is then handled alone once more.
const SURVIVED_MAX: usize = 10_000;

impl Survived {
    /// Returns whether a process may have died of this message. One that is late has killed nobody.
    fn is_left(&self, record: &InboxRecord) -> bool {
        let is_late = record.reason.as_ref().is_some_and(|reason| reason.code == LATE);
        record.tries > 0 && !is_late && self.0.get(&record.key()) != Some(&record.tries)
    }

    /// Records that a message was handled, when it had so many tries; `None` if it was only given
    /// back.
    fn handled(&mut self, message: MessageKey, tries: Option<u32>) {
        if let Some(tries) = tries.filter(|tries| *tries > 0) {
            if self.0.len() >= SURVIVED_MAX {
                self.0.clear();
            }
            self.0.insert(message, tries);
        }
    }
}

/// Gives a message back, to be claimed again at once.
async fn again(core: &Core, record: InboxRecord) {
    finish(core, InboxRecord { state: InboxState::New, ..record }).await;
}

/// Returns whether the storage hands over a message more than a second before its time. Its clock
/// was set back then, and this run has not read it since: without a look at it, the message would
/// be given back until a moment that counts as past, and come again at once.
fn is_early(core: &Core, record: &InboxRecord) -> bool {
    let now = later(core.storage_now(), Duration::from_secs(1));
    record.not_before.is_some_and(|not_before| not_before > now)
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
    // A new message has no events, unless a run has ended while it was handled; `admission` looks.
    let was_handled = record.tries > 0 || record.reason.is_some();
    let mut stored = if was_handled { handlers_with_events(core, &record).await } else { BTreeSet::new() };
    for round in 1..=ASKED_MAX {
        let retry = match retry(core, &record, &envelope).await {
            Ok(retry) => retry,
            Err(why) => return give_back(core, record, Open::Undecided(why)).await,
        };
        let (began, may_ask_again) = (core.storage_now(), round < ASKED_MAX);
        let about = About { record: &record, envelope: &envelope, retry: retry.as_ref(), began, may_ask_again };
        match decide(core, about, &mut stored).await {
            Stand::Overtaken => {}
            _ => return,
        }
    }
}

/// Asks the handlers about a message, but for those whose decision is stored, and stores what they
/// decide. The message is given back if there is something that could not be decided or stored.
///
/// Adds to `stored` the handlers whose decision was stored, in case the others are to be asked
/// again.
async fn decide(core: &Core, about: About<'_>, stored: &mut BTreeSet<String>) -> Stand {
    let asked = core.decider.ask_each(incoming(about.record, about.envelope), about.retry, stored, core.now());
    let mut asked: FuturesUnordered<_> = asked.into_iter().collect();
    let mut open = Vec::new();
    loop {
        let mut decided = Vec::new();
        for answer in answers(core, &mut asked).await {
            match answer {
                Ok(answer) => decided.push(answer),
                Err(why) => open.push(Open::Undecided(why)),
            }
        }
        let part = if asked.is_empty() && open.is_empty() { Part::Last } else { Part::More };
        if part == Part::Last || !decided.is_empty() {
            match store(core, about, decided, stored, part).await {
                Ok(blocked) => open.extend(blocked.into_iter().map(Open::Blocked)),
                Err(stand) => return stand,
            }
        }
        if asked.is_empty() {
            break;
        }
    }
    if let Some(why) = open.into_iter().min_by_key(Open::rank) {
        give_back(core, about.record.clone(), why).await;
    }
    Stand::Ended
}

/// Stores decisions together, or each handler's alone if one of them is in the way of the others.
/// Returns what cannot be stored.
///
/// # Errors
/// The message is no longer this run's, or the decisions are overtaken.
async fn store(
    core: &Core,
    about: About<'_>,
    decided: Vec<Answered<'_>>,
    stored: &mut BTreeSet<String>,
    part: Part,
) -> Result<Vec<Blocked>, Stand> {
    let effective = decided.iter().filter(|answer| !answer.decided.is_empty());
    let several: Vec<_> = if effective.clone().count() > 1 { effective.cloned().collect() } else { Vec::new() };
    match admission::store(core, about, decided, stored, part).await {
        Stand::Stored => return Ok(Vec::new()),
        Stand::Blocked(why) if several.is_empty() => return Ok(vec![why]),
        Stand::Blocked(_) => {}
        stand => return Err(stand),
    }
    let mut blocked = Vec::new();
    for answer in several {
        match admission::store(core, about, vec![answer], stored, Part::More).await {
            Stand::Stored => {}
            Stand::Blocked(why) => blocked.push(why),
            stand => return Err(stand),
        }
    }
    // What was in the way is gone.
    if blocked.is_empty() && part == Part::Last {
        return Box::pin(store(core, about, Vec::new(), stored, part)).await;
    }
    Ok(blocked)
}

/// Says why a message cannot be ended.
enum Open {
    /// A handler could not decide.
    Undecided(Undecided),
    /// What a handler decided cannot be stored.
    Blocked(Blocked),
}

impl Open {
    /// Orders the reasons of one message: first what counts as a try, so that there is an end, and
    /// last what makes a dead letter of it, since the others may still end well.
    fn rank(&self) -> u8 {
        match self {
            Self::Undecided(Undecided::Late(..)) => 0,
            Self::Undecided(Undecided::Backend(_)) | Self::Blocked(Blocked::Builds(_) | Blocked::Storage(_)) => 1,
            Self::Undecided(Undecided::Gone(_)) | Self::Blocked(Blocked::Refused(_)) => 2,
        }
    }
}

/// Waits for the first answer, and for those that come within `PATIENCE` of the one before; returns
/// them in the order of the handlers.
async fn answers<'a, F>(core: &Core, asked: &mut FuturesUnordered<F>) -> Vec<Answer<'a>>
where
    F: Future<Output = (usize, Answer<'a>)>,
{
    let mut answers: Vec<_> = asked.next().await.into_iter().collect();
    while !asked.is_empty()
        && let Some(answer) = progress(asked, core.sleep(PATIENCE)).await
    {
        answers.push(answer);
    }
    answers.sort_by_key(|(position, _)| *position);
    answers.into_iter().map(|(_, answer)| answer).collect()
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

/// Gives a message back that cannot be ended now, or makes a dead letter of it.
async fn give_back(core: &Core, record: InboxRecord, why: Open) {
    match why {
        Open::Blocked(Blocked::Builds(reason)) => wait_for_builds(core, record, reason).await,
        Open::Blocked(Blocked::Storage(error)) => wait(core, record, Reason::new("waiting", error.to_string())).await,
        Open::Blocked(Blocked::Refused(error)) => {
            tracing::error!(message.id = record.message_id, %error, "the storage refuses what follows from a message");
            finish(core, record.dead(Reason::new("refused", error.to_string()))).await;
        }
        Open::Undecided(Undecided::Backend(error)) => {
            tracing::warn!(message.id = record.message_id, %error, "a backend of a handler failed; the message waits");
            wait(core, record, Reason::new("waiting", error.to_string())).await;
        }
        Open::Undecided(Undecided::Gone(event)) => {
            let text = format!("event {event}, which is to be retried, is not there any more");
            finish(core, record.dead(Reason::new("event_gone", text))).await;
        }
        Open::Undecided(Undecided::Late(handler, limit)) => {
            let reason = Reason::new("handler_timed_out", format!("handler {handler} did not end within {limit:?}"));
            tracing::error!(message.id = record.message_id, %reason, "a handler was dropped");
            let tries = record.tries.saturating_add(1);
            postpone(core, InboxRecord { tries, ..record }, core.limits.backoff(tries), reason).await;
        }
    }
}

/// Gives a message back whose plan contradicts builds under way, with a back-off. After
/// `Limits::resubmits_max` waits, about a day, it is a dead letter: whatever it waits for does not
/// end.
async fn wait_for_builds(core: &Core, record: InboxRecord, reason: Reason) {
    let waited = record.reason.as_ref().is_some_and(|before| before.code == reason.code);
    if waited && record.waits >= core.limits.resubmits_max {
        return finish(core, record.dead(reason)).await;
    }
    wait(core, record, reason).await;
}

/// Returns a message as handlers see it.
fn incoming<'a>(record: &'a InboxRecord, envelope: &'a Envelope) -> Incoming<'a> {
    let headers = &record.message.headers;
    let generation = generation(record);
    Incoming { id: &record.message_id, at: record.received_at, headers, generation, envelope }
}

/// Returns what a message retries. Only a client can ask for a retry, which names the person who
/// wants it.
async fn retry(core: &Core, record: &InboxRecord, envelope: &Envelope) -> Result<Option<Retry>, Undecided> {
    if record.source != Client::LOCAL {
        return Ok(None);
    }
    Ok(Retry::of(incoming(record, envelope), core.reads()).await?)
}

/// Returns why a message that has used up its tries is a dead letter.
fn used_up(record: &InboxRecord) -> Reason {
    let tries = record.tries;
    match &record.reason {
        Some(reason) if reason.code == LATE => Reason::new(LATE, format!("{reason} ({tries} tries)")),
        _ => Reason::new("poison", format!("the process died {tries} times while it was handled")),
    }
}

//! Turns the decisions about one message into rows: the third of three steps, after `message` and
//! `decision`.
//!
//! `store` is called for each message whose handlers have decided. It reads the builds of the
//! plan's build keys and everything connected to them, and the state of the queues. It writes
//! events, plans, builds, dependencies, history, notifications, emitted messages, and the end of
//! the message in one transaction. Cancellations are the exception: each is an input of its own,
//! stored before.
//!
//! * A row changed in between, or the outcome of the commit is unknown: the stage looks whether the
//!   message is still claimed by this run. If so, the rows are made again from a fresh load.
//! * A plan needs builds under way to end first, a row that it needs cannot be read, or the storage
//!   refuses what follows from it: nothing is stored, and `message` decides what becomes of that.
//! * The lease is lost or the process dies: the run that claims the message next asks the handlers
//!   again. Cancellations that were stored stay; repeated, they change nothing.

use super::commit::{Conflicts, Stored};
use super::core::Core;
use super::decision::{Answered, Decided};
use super::group::NotApplied;
use super::inbox::is_handled;
use super::outages::STORAGE;
use super::overtaken::is_overtaken;
use super::retry_event::Retry;
use crate::backend::{BuildFilter, Error, EventFilter, Paging, Remedy, Scope};
use crate::client::Client;
use crate::event::{Envelope, Message};
use crate::reason::Reason;
use crate::rebuild::{
    Actor, Admission, BuildId, BuildMode, BuildState, EventId, InboxRecord, InboxState, Input, Outcome, QueuePositions,
    Rebuild, RowChange,
};
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::task::Poll;

/// Says what the handlers decided about.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// The claimed message.
    pub(super) record: &'a InboxRecord,
    /// The event that was read from it.
    pub(super) envelope: &'a Envelope,
    /// What it does over, if it is a retry.
    pub(super) retry: Option<&'a Retry>,
    /// When the handlers were asked, by the clock of the storage.
    pub(super) began: Timestamp,
    /// Whether the handlers can be asked again, if another decision was stored meanwhile.
    pub(super) may_ask_again: bool,
}

/// Says what became of decisions.
#[derive(Debug)]
pub(super) enum Stand {
    /// They are stored, and the message may still be claimed by this run.
    Stored,
    /// The message is no longer this run's.
    Ended,
    /// Nothing was stored, because a newer decision was: the handlers are to be asked again.
    Overtaken,
    /// Nothing was stored, for this reason.
    Blocked(Blocked),
}

/// Says why decisions cannot be stored as they are.
#[derive(Debug)]
pub(super) enum Blocked {
    /// They have to wait for the end of builds under way.
    Builds(Reason),
    /// A row that they need cannot be read, or the storage does not answer what they need.
    Storage(Error),
    /// The storage refuses them for good.
    Refused(Error),
}

/// Says whether other handlers of the same message are still to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The message stays claimed.
    More,
    /// The message is handled.
    Last,
}

/// Holds what the handlers of one message decided, sorted by what it leads to. Each entry has the
/// name of its handler and the mode of its event.
#[derive(Debug, Default)]
struct Decisions<'a> {
    /// Events to be stored, each with or without builds.
    events: Vec<(&'a str, BuildMode, Outcome)>,
    /// Messages to be put into the inbox, each with its position among those of its handler.
    emitted: Vec<(&'a str, usize, Message)>,
    /// Events to be cancelled.
    canceled: Vec<(&'a str, BuildMode, EventId)>,
}

impl<'a> Decisions<'a> {
    /// Sorts decisions by kind, and drops those that ignore the message.
    fn sort(answers: Vec<Answered<'a>>) -> Self {
        let mut decisions = Self::default();
        for Answered { handler, mode, decided } in answers {
            match decided {
                Decided::Ignore => {}
                Decided::Event(outcome) => decisions.events.push((handler, mode, outcome)),
                Decided::Emit(messages) => {
                    let messages = messages.into_iter().enumerate();
                    let messages =
                        messages.map(|(position, message)| (handler, position, Self::in_mode(message, mode)));
                    decisions.emitted.extend(messages);
                }
                Decided::Cancel(events) => {
                    decisions.canceled.extend(events.into_iter().map(|event| (handler, mode, event)));
                }
            }
        }
        decisions
    }

    /// Returns a message whose events are dry runs if it comes from one, whichever engine handles
    /// it.
    fn in_mode(mut message: Message, mode: BuildMode) -> Message {
        if mode == BuildMode::DryRun {
            message.headers.insert(Message::DRY_RUN.to_owned(), "true".to_owned());
        }
        message
    }
}

/// Stores the decisions in one transaction, with the last of them that the message is handled;
/// cancellations are stored before it, each on its own. Adds to `stored` the handlers whose
/// decision leads to something.
///
/// Returns when that is done, when the message is no longer this run's, or with the reason why it
/// cannot be done. If the storage fails for the moment while rows are prepared, that is repeated
/// after a pause, without a limit.
///
/// # Cancel safety
/// The transaction is stored or not. If it is not, the message stays claimed until the run is over
/// or claims again without holding it.
pub(super) async fn store(
    core: &Core,
    about: About<'_>,
    decided: Vec<Answered<'_>>,
    stored: &mut BTreeSet<String>,
    part: Part,
) -> Stand {
    let About { record, envelope, .. } = about;
    let effective = decided.iter().filter(|answer| !answer.decided.is_empty());
    let handlers: Vec<_> = effective.map(|answer| answer.handler.to_owned()).collect();
    let is_ignored = stored.is_empty() && handlers.is_empty();
    let state = if is_ignored { InboxState::Ignored } else { InboxState::Done };
    let done = (part == Part::Last).then(|| InboxRecord { state, reason: None, ..record.clone() });
    let mut decisions = Decisions::sort(decided);
    for (handler, mode, event) in &decisions.canceled {
        if *mode == BuildMode::DryRun && !is_dry_run(core, *event).await {
            tracing::info!(message.id = record.message_id, event.id = event.0, "a dry run cancels no real event");
            continue;
        }
        let by = Actor::Handler((*handler).to_owned());
        let because = format!("{} {}", envelope.kind, envelope.search_key);
        match core.apply(Input::Cancel { event: *event, by, because }, None).await {
            Err(NotApplied::Refused(error) | NotApplied::Unreadable(error)) => {
                return Stand::Blocked(Blocked::Storage(error));
            }
            Err(NotApplied::Fenced) => return Stand::Ended,
            // An event that has ended already needs no cancelling.
            Ok(_) | Err(NotApplied::Illegal(_)) => {}
        }
    }
    let mut conflicts = Conflicts::default();
    loop {
        let admitting = core.admitting.lock().await;
        let outcome = match admit(core, about, &decisions, done.clone()).await {
            Ok(outcome) => {
                core.works("admission", STORAGE);
                outcome
            }
            Err(NotStored::Backend(error)) if error.remedy == Remedy::Corrupt || !error.is_transient() => {
                return Stand::Blocked(Blocked::Storage(error));
            }
            Err(NotStored::Backend(error)) => {
                drop(admitting);
                core.pause("admission", STORAGE, &error).await;
                continue;
            }
            Err(NotStored::Builds(reason)) => return Stand::Blocked(Blocked::Builds(reason)),
            Err(NotStored::Overtaken) => return Stand::Overtaken,
        };
        drop(admitting);
        match outcome {
            Stored::Yes => {
                stored.extend(handlers);
                return Stand::Stored;
            }
            Stored::Fenced => return Stand::Ended,
            Stored::Refused(error) => return Stand::Blocked(Blocked::Refused(error)),
            Stored::Conflict | Stored::Unknown if is_handled(core, record).await => return Stand::Ended,
            Stored::Conflict => conflicts.pause(core).await,
            Stored::Unknown => {}
        }
        // A handler has one event for each message. One whose event is there has decided: in this
        // commit, whose outcome was not known, or in a run that has ended since.
        let there = handlers_with_events(core, record).await;
        decisions.events.retain(|(handler, ..)| !there.contains(*handler));
    }
}

/// Returns the handlers that have an event of this message. As long as the storage fails it is
/// asked again after a pause.
pub(super) async fn handlers_with_events(core: &Core, record: &InboxRecord) -> BTreeSet<String> {
    let filter = EventFilter { message_ids: vec![record.message_id.clone()], ..EventFilter::default() };
    let of = |paging| core.reads().events(filter.clone(), paging);
    loop {
        match Paging::first(Paging::LIMIT_MAX).collect(usize::MAX, of).await {
            Ok(found) => {
                let ours = found.items.into_iter().filter(|event| event.source == record.source);
                return ours.map(|event| event.handler).collect();
            }
            Err(error) => core.pause("admission", STORAGE, &error).await,
        }
    }
}

/// Returns whether an event is a dry run. As long as the storage fails it is asked again after a
/// pause.
async fn is_dry_run(core: &Core, event: EventId) -> bool {
    let filter = EventFilter { ids: vec![event], ..EventFilter::default() };
    loop {
        match core.reads().events(filter.clone(), Paging::first(1)).await {
            Ok(found) => return found.items.first().is_some_and(|event| event.mode == BuildMode::DryRun),
            Err(error) if error.is_transient() => core.pause("admission", STORAGE, &error).await,
            Err(_) => return false,
        }
    }
}

/// Says why decisions cannot be stored now.
enum NotStored {
    /// The storage failed while rows were read or numbers reserved.
    Backend(Error),
    /// They have to wait for the end of builds under way.
    Builds(Reason),
    /// A newer decision about the same artifacts was stored meanwhile.
    Overtaken,
}

impl From<Error> for NotStored {
    fn from(error: Error) -> Self {
        Self::Backend(error)
    }
}

/// Turns all decisions into rows and stores them, with `done`, the record of the message if it is
/// handled then.
///
/// A plan that cannot be joined with builds under way has to wait, if one of those builds was
/// stored before. If all of them come from the same message, waiting would not help: the
/// decision contradicts one of an earlier handler, and its event fails with the code
/// `contradiction`.
///
/// The commit names the run even if nothing changes builds, so that it is fenced.
///
/// # Errors
/// `NotStored` if the storage cannot be read, a plan has to wait, or the decisions are overtaken.
async fn admit(
    core: &Core,
    about: About<'_>,
    decisions: &Decisions<'_>,
    done: Option<InboxRecord>,
) -> Result<Stored, NotStored> {
    let admissions = admissions(core, about, decisions).await?;
    let keys: Vec<_> = admissions.iter().flat_map(Admission::keys).collect();
    let loaded = if admissions.is_empty() { Default::default() } else { core.storage.load(&Scope::Keys(keys)).await? };
    // After the rows were loaded: what is stored later conflicts with them.
    let plans = decisions.events.iter().filter_map(|(_, mode, outcome)| Some((*mode, outcome.to_be_built()?)));
    let plans: Vec<_> = plans.collect();
    if about.may_ask_again && is_overtaken(core, about.record, about.began, &plans).await? {
        return Err(NotStored::Overtaken);
    }
    let under_way: BTreeSet<BuildId> = loaded.builds.keys().copied().collect();
    let mut beginning = Rebuild::beginning(loaded, core.run());
    let mut rebuild = in_steps(|rows| beginning.step(rows)).await;
    for mut admission in admissions {
        let mut admitting = rebuild.admitting(&admission);
        let Err(wait) = in_steps(|rows| admitting.step(rows)).await else { continue };
        if wait.builds.iter().any(|build| under_way.contains(build)) {
            return Err(NotStored::Builds(Reason::new("waits_for_builds", wait.to_string())));
        }
        // Nothing that ends by itself is in the way: this decision contradicts an earlier one about
        // the same message.
        let text = "it contradicts what another handler decided about the same message";
        admission.outcome = Outcome::Fail(Reason::new("contradiction", text));
        // A failed event has no builds that could be refused.
        let _ = rebuild.admit(&admission);
    }
    let mut committing = rebuild.committing();
    let mut commit = in_steps(|rows| committing.step(rows)).await;
    commit.run = Some(core.run());
    commit.changes.extend(emitted(core, about.record, &decisions.emitted));
    commit.changes.extend(done.map(RowChange::Inbox));
    Ok(core.store(commit).await)
}

/// Number of rows that are decided on before everything else of the process goes on. They take a
/// few milliseconds.
const ROWS_AT_ONCE: usize = 1000;

/// Does something step by step, and lets everything else go on between two steps.
async fn in_steps<T>(mut step: impl FnMut(usize) -> ControlFlow<T>) -> T {
    loop {
        if let ControlFlow::Break(done) = step(ROWS_AT_ONCE) {
            return done;
        }
        let mut yielded = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// Returns each decision about an event with reserved ids and the state of the queues.
///
/// One id is for the event, and one for each build that the plan could need; ids that are not used
/// are gaps.
async fn admissions(
    core: &Core,
    About { record, envelope, retry, .. }: About<'_>,
    decisions: &Decisions<'_>,
) -> Result<Vec<Admission>, Error> {
    let queues = queues(core, decisions).await?;
    let mut admissions = Vec::new();
    for (handler, mode, outcome) in &decisions.events {
        let first = core.storage.reserve(u32::try_from(outcome.builds() + 1).unwrap_or(u32::MAX)).await?;
        admissions.push(Admission {
            event: EventId(first),
            first_build: BuildId(first + 1),
            source: record.source.clone(),
            message_id: record.message_id.clone(),
            handler: (*handler).to_owned(),
            generation: retry.map_or(1, |retry| retry.of.generation.saturating_add(1)),
            retry_of: retry.map(|retry| retry.of.id),
            envelope: requested(envelope, retry),
            mode: *mode,
            queues: queues.clone(),
            outcome: outcome.clone(),
        });
    }
    Ok(admissions)
}

/// Returns the event as it is stored: a retry is requested by the person who wants it.
fn requested(envelope: &Envelope, retry: Option<&Retry>) -> Envelope {
    match retry {
        Some(retry) => Envelope { manual: true, requester: retry.by.clone(), ..envelope.clone() },
        None => envelope.clone(),
    }
}

/// Returns how many messages led to this one, each emitted by a handler of the one before.
pub(super) fn generation(record: &InboxRecord) -> u32 {
    let emitted = record.source == Client::EMITTED;
    let header = record.message.headers.get(Message::GENERATION).filter(|_| emitted);
    header.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Returns the inbox rows of the messages that handlers emitted.
///
/// A message without an id gets `source/message/handler/position`, which is the same if the
/// decision is made again. So a repeated decision does not emit a message twice.
fn emitted(core: &Core, record: &InboxRecord, messages: &[(&str, usize, Message)]) -> Vec<RowChange> {
    let messages = messages.iter().map(|(handler, position, message)| {
        let id = format!("{}/{}/{handler}/{position}", record.source, record.message_id);
        let mut message = if message.id.is_empty() { Message { id, ..message.clone() } } else { message.clone() };
        message.headers.insert(Message::GENERATION.to_owned(), (generation(record) + 1).to_string());
        RowChange::Receive(InboxRecord::new(Client::EMITTED, message, core.now()))
    });
    messages.collect()
}

/// Returns the state of the queues that builds of these decisions join: of each build system the
/// priority of the most urgent ready build, and those of the builds that were started. Without a
/// decision that has builds, nothing is read.
async fn queues(core: &Core, decisions: &Decisions<'_>) -> Result<QueuePositions, Error> {
    let mut queues = QueuePositions::default();
    let systems = decisions.events.iter().filter_map(|(.., outcome)| match outcome {
        Outcome::Build { systems, .. } => Some(systems.values().map(String::as_str)),
        _ => None,
    });
    let systems: BTreeSet<_> = systems.flatten().collect();
    if !systems.is_empty() {
        let due = core.reads().due(core.run(), core.due_limits(1, 0)).await?;
        due.ready.iter().for_each(|build| queues.waits(&build.key.system, build.priority));
        for (system, priorities) in &due.started {
            priorities.iter().for_each(|priority| queues.started(system, *priority));
        }
        // A queue in which nothing is ready or runs is not empty if builds of it are blocked.
        let idle = systems.into_iter().filter(|system| !queues.is_known(system));
        let filter = BuildFilter {
            systems: idle.map(str::to_owned).collect(),
            states: vec![BuildState::Blocked],
            ..BuildFilter::default()
        };
        if !filter.systems.is_empty() {
            let blocked = core.reads().builds(filter, Paging::first(Paging::LIMIT_MAX)).await?.items;
            blocked.iter().for_each(|build| queues.waits(&build.key.system, build.priority));
        }
    }
    Ok(queues)
}

use super::commit::{Conflicts, Stored};
use super::core::Core;
use super::decision::Decided;
use super::inbox::{finish, is_handled, postpone};
use crate::backend::{DueLimits, Error, Scope};
use crate::client::Client;
use crate::event::{Envelope, Message};
use crate::reason::Reason;
use crate::rebuild::{
    Actor, Admission, BuildId, EventId, InboxRecord, InboxState, Input, Lines, Outcome, Rebuild, RowChange,
};
use std::collections::BTreeSet;

/// What the handlers of one message decided, by what it leads to.
#[derive(Debug, Default)]
struct Decisions<'a> {
    events: Vec<(&'a str, Outcome)>,
    emitted: Vec<Message>,
    canceled: Vec<(&'a str, EventId)>,
}

impl<'a> Decisions<'a> {
    fn sort(decided: Vec<(&'a str, Decided)>) -> Self {
        let mut decisions = Self::default();
        for (handler, decision) in decided {
            match decision {
                Decided::Ignore => {}
                Decided::Event(outcome) => decisions.events.push((handler, outcome)),
                Decided::Emit(messages) => decisions.emitted.extend(messages),
                Decided::Cancel(events) => decisions.canceled.extend(events.into_iter().map(|event| (handler, event))),
            }
        }
        decisions
    }

    /// Whether any handler has something to say about the message.
    fn are_empty(&self) -> bool {
        self.events.is_empty() && self.emitted.is_empty() && self.canceled.is_empty()
    }
}

/// Decisions to rows: the third of three steps. Stores them, and that the message is handled, in
/// one transaction.
pub(super) async fn store(core: &Core, record: &InboxRecord, envelope: &Envelope, decided: Vec<(&str, Decided)>) {
    let decisions = Decisions::sort(decided);
    for (handler, event) in &decisions.canceled {
        let by = Actor::Handler((*handler).to_owned());
        let because = format!("{} {}", envelope.kind, envelope.search_key);
        // An event that has ended already needs no cancelling.
        let _ = core.apply(&Input::Cancel { event: *event, by, because }, None).await;
    }
    let state = if decisions.are_empty() { InboxState::Ignored } else { InboxState::Done };
    let done = InboxRecord { state, reason: None, ..record.clone() };
    let mut conflicts = Conflicts::default();
    loop {
        let admitting = core.admitting.lock().await;
        let stored = match admit(core, record, envelope, &decisions, done.clone()).await {
            Ok(stored) => stored,
            Err(NotNow::Backend(error)) => {
                core.pause("admission", &error).await;
                continue;
            }
            Err(NotNow::Builds(reason)) => {
                drop(admitting);
                let tries = record.tries.saturating_sub(1);
                return postpone(core, InboxRecord { tries, ..record.clone() }, core.options.tick, reason).await;
            }
        };
        drop(admitting);
        match stored {
            Stored::Yes | Stored::Fenced => return,
            Stored::Refused(error) => {
                tracing::error!(message.id = record.message_id, %error, "the storage refuses what follows from a message");
                let reason = Reason::new("refused", error.to_string());
                return finish(core, record.clone().dead(reason)).await;
            }
            Stored::Conflict | Stored::Unknown if is_handled(core, record).await => return,
            Stored::Conflict => conflicts.pause(core).await,
            Stored::Unknown => {}
        }
    }
}

/// Why decisions cannot be stored now.
enum NotNow {
    Backend(Error),
    /// They have to wait for builds under way.
    Builds(Reason),
}

impl From<Error> for NotNow {
    fn from(error: Error) -> Self {
        Self::Backend(error)
    }
}

/// Turns all decisions into rows and stores them.
async fn admit(
    core: &Core,
    record: &InboxRecord,
    envelope: &Envelope,
    decisions: &Decisions<'_>,
    done: InboxRecord,
) -> Result<Stored, NotNow> {
    let admissions = admissions(core, record, envelope, decisions).await?;
    let keys: Vec<_> = admissions.iter().flat_map(Admission::keys).collect();
    let loaded = if admissions.is_empty() { Default::default() } else { core.storage.load(&Scope::Keys(keys)).await? };
    let under_way: BTreeSet<BuildId> = loaded.builds.keys().copied().collect();
    let mut rebuild = Rebuild::new(loaded, core.run());
    for mut admission in admissions {
        let Err(wait) = rebuild.admit(&admission) else { continue };
        if wait.builds.iter().any(|build| under_way.contains(build)) {
            return Err(NotNow::Builds(Reason::new("waits_for_builds", wait.to_string())));
        }
        // Nothing that ends by itself is in the way: this decision contradicts an earlier one about
        // the same message.
        let text = "it contradicts what another handler decided about the same message";
        admission.outcome = Outcome::Fail(Reason::new("contradiction", text));
        // A failed event has no builds that could be refused.
        let _ = rebuild.admit(&admission);
    }
    let handlers: Vec<_> = decisions.events.iter().map(|(handler, _)| *handler).collect();
    let mut commit = rebuild.commit(Actor::Handler(handlers.join(", ")));
    commit.run = Some(core.run());
    commit.changes.extend(emitted(core, record, &decisions.emitted));
    commit.changes.push(RowChange::Inbox(done));
    Ok(core.store(commit).await)
}

/// Each decision with unused numbers, and where it stands in the queues.
async fn admissions(
    core: &Core,
    record: &InboxRecord,
    envelope: &Envelope,
    decisions: &Decisions<'_>,
) -> Result<Vec<Admission>, Error> {
    let lines = lines(core, decisions).await?;
    let mut admissions = Vec::new();
    for (handler, outcome) in &decisions.events {
        let first = core.storage.reserve(u32::try_from(outcome.builds() + 1).unwrap_or(u32::MAX)).await?;
        admissions.push(Admission {
            event: EventId(first),
            first_build: BuildId(first + 1),
            source: record.source.clone(),
            message_id: record.message_id.clone(),
            handler: (*handler).to_owned(),
            envelope: envelope.clone(),
            mode: core.decider.mode(),
            lines: lines.clone(),
            outcome: outcome.clone(),
        });
    }
    Ok(admissions)
}

/// Messages that handlers emitted. Those without an id get one that is the same if the decision is
/// made again.
fn emitted(core: &Core, record: &InboxRecord, messages: &[Message]) -> Vec<RowChange> {
    let messages = messages.iter().enumerate().map(|(position, message)| {
        let id = format!("{}/{}/{position}", record.source, record.message_id);
        let message = if message.id.is_empty() { Message { id, ..message.clone() } } else { message.clone() };
        RowChange::Receive(InboxRecord::new(Client::EMITTED, message, core.now()))
    });
    messages.collect()
}

/// Where the queues stand that builds of these decisions join.
async fn lines(core: &Core, decisions: &Decisions<'_>) -> Result<Lines, Error> {
    let mut lines = Lines::default();
    if decisions.events.iter().any(|(_, outcome)| matches!(outcome, Outcome::Build { .. })) {
        let due = core.reads().due(core.run(), DueLimits { ready: 1, attempts: 0 }).await?;
        due.ready.iter().for_each(|build| lines.waits(&build.key.system, build.priority));
        for (system, priorities) in &due.started {
            priorities.iter().for_each(|priority| lines.started(system, *priority));
        }
    }
    Ok(lines)
}

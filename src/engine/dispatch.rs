use super::Handle;
use super::commit::Stored;
use super::core::{Core, progress};
use super::registry::Entry;
use crate::artifact::{Artifact, ArtifactId, ArtifactKind, Digest};
use crate::backend::{BoxError, BuildFilter, Claim, DueLimits, Error, Paging, Scope, StorageExt, with_causes};
use crate::event::{Envelope, Message, Received};
use crate::handler::{Context, Decision};
use crate::plan::{Gate, Plan};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::rebuild::{
    Admission, BuildId, BuildState, EventId, InboxRecord, InboxState, Input, Lines, Outcome, Rebuild, RowChange,
};
use crate::time::later;
use futures_util::FutureExt;
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// Inbox to plan: claims messages, asks the handlers, stores what they decide.
///
/// A message that was claimed before, when the process died, may be what killed it: until a fresh one turns up, messages are handled
/// alone, so that the deaths are counted against the right one.
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
            let claim =
                Claim { owner: core.owner(), holding: holding.iter().cloned().collect(), limit, at: core.now() };
            match core.storage.claim(&claim).await {
                Ok(claimed) => {
                    alone = alone && claimed.iter().all(|record| record.tries > 1);
                    holding.extend(claimed.iter().map(InboxRecord::key));
                    under_way.extend(claimed.into_iter().map(|record| {
                        let key = record.key();
                        handle(core, record).map(|()| key)
                    }));
                }
                Err(error) => core.pause("dispatch", &error).await,
            }
        }
        if let Some(handled) = progress(&mut under_way, core.wait(&core.wake.dispatch, None)).await {
            holding.remove(&handled);
        }
    }
}

/// Builds of one artifact that are looked at for its latest content; those of other modes are passed over.
const LATEST_MAX: u32 = 20;

/// The reason of an event whose plan has to be confirmed.
pub(super) const ASK_FIRST: &str = "ask_first";

/// What the handlers of one message decided.
struct Decided<'a> {
    builds: Vec<(&'a Entry, Outcome)>,
    emitted: Vec<Message>,
    canceled: Vec<EventId>,
}

async fn handle(core: &Core, record: InboxRecord) {
    if record.tries > core.limits.message_tries_max {
        let text = format!("handling it was begun {} times and never ended", record.tries - 1);
        return finish(core, record, InboxState::Dead, Some(Reason::new("poison", text))).await;
    }
    let envelope = match core.registry.read(&record.message) {
        None => return finish(core, record, InboxState::Ignored, None).await,
        Some(Err(error)) => {
            let reason = Reason::new("malformed", error.to_string());
            return finish(core, record, InboxState::Dead, Some(reason)).await;
        }
        Some(Ok(envelope)) => envelope,
    };
    match decide(core, &record, &envelope).await {
        Ok(decided) => {
            for event in &decided.canceled {
                let by = format!("{} {}", envelope.kind, envelope.search_key);
                // An event that has ended already needs no cancelling.
                let _ = core.apply(&Input::Cancel { event: *event, by }, None).await;
            }
            commit(core, record, &envelope, decided).await;
        }
        Err(error) => {
            let waits = record.waits.saturating_add(1);
            let pause = core.limits.backoff(waits);
            tracing::warn!(message.id = record.message_id, %error, "a handler's backend failed; the message waits");
            // The message is not at fault, so the try does not count.
            let tries = record.tries.saturating_sub(1);
            let reason = Reason::new("waiting", error.to_string());
            postpone(core, InboxRecord { tries, waits, ..record }, pause, reason).await;
        }
    }
}

/// Asks every handler of the kind. A handler's own error fails its event; a transient error of a backend stops everything.
async fn decide<'a>(core: &'a Core, record: &InboxRecord, envelope: &'a Envelope) -> Result<Decided<'a>, Error> {
    let mut decided = Decided { builds: Vec::new(), emitted: Vec::new(), canceled: Vec::new() };
    let header = |name: &str| record.message.headers.get(name);
    let confirmed: Option<Digest> = header(Message::CONFIRMS).and_then(|text| text.parse().ok());
    let only = header(Message::HANDLER);
    let concerned = |entry: &&Entry| only.is_none_or(|name| *name == entry.name);
    for entry in core.registry.of_kind(&envelope.kind).filter(concerned) {
        let received = Received { message_id: record.message_id.clone(), at: record.received_at };
        let cx = Context::new(core.readable.clone(), &entry.name, received, core.now());
        let answer = AssertUnwindSafe(entry.handler.handle(envelope, cx)).catch_unwind().await;
        match answer.unwrap_or_else(|_| Err(BoxError::from("the handler panicked"))) {
            Ok(Decision::Ignore) => {}
            Ok(Decision::Skip(why)) => decided.builds.push((entry, Outcome::Skip(Reason::new("skipped", why)))),
            Ok(Decision::Rebuild(plan)) => {
                let plan = complete(core, plan).await?;
                let policy = core.readable.policy.for_handler(&entry.name);
                decided.builds.push((entry, ask(route(core, plan), &policy, confirmed.as_ref())));
            }
            Ok(Decision::Emit(messages)) => decided.emitted.extend(messages),
            Ok(Decision::Cancel(events)) => decided.canceled.extend(events),
            Err(error) => match error.downcast::<Error>() {
                Ok(error) if error.is_transient() => return Err(*error),
                Ok(error) => decided.builds.push((entry, failed(&error))),
                Err(error) => decided.builds.push((entry, failed(error.as_ref()))),
            },
        }
    }
    Ok(decided)
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Outcome {
    Outcome::Fail(Reason::new("handler_failed", with_causes(error)))
}

/// Fills in the contents of parents that the catalog does not know, as far as they were built here.
async fn complete(core: &Core, plan: Plan) -> Result<Plan, Error> {
    let mut contents = BTreeMap::new();
    for id in plan.unknown_contents() {
        // A build that was cancelled too late has an output as well.
        let states = vec![BuildState::Done, BuildState::Reused, BuildState::Canceled];
        let filter = BuildFilter { states, artifact: Some(id.clone()), ..BuildFilter::default() };
        let builds = core.storage.builds(filter, Paging::first(LATEST_MAX)).await?.items;
        let latest = builds.into_iter().find(|build| build.key.mode == core.readable.mode && build.output.is_some());
        if let Some(digest) = latest.and_then(|build| build.output?.digest) {
            contents.insert(id, digest);
        }
    }
    Ok(plan.with_contents(&contents))
}

/// Says which registered system builds each node.
fn route(core: &Core, plan: Plan) -> Outcome {
    let limit = core.limits.plan_builds_max as usize;
    if plan.len() > limit {
        let text = format!("the plan has {} builds, more than the {limit} that are allowed", plan.len());
        return Outcome::Fail(Reason::new("plan_too_large", text));
    }
    let mut systems: BTreeMap<ArtifactId, String> = BTreeMap::new();
    for node in plan.nodes() {
        match core.system_of(&node.artifact) {
            Ok(system) => drop(systems.insert(node.artifact.id.clone(), system)),
            Err(text) => return Outcome::Fail(Reason::new("no_build_system", text)),
        }
    }
    Outcome::Build { plan: Box::new(plan), systems }
}

/// Holds a plan back that is too large to be started unasked.
fn ask(outcome: Outcome, policy: &Policy, confirmed: Option<&Digest>) -> Outcome {
    let Outcome::Build { plan, systems } = outcome else { return outcome };
    match plan.gate(policy, confirmed) {
        Gate::Open => Outcome::Build { plan, systems },
        Gate::Ask(ask) => Outcome::Ask { plan, reason: Reason::new(ASK_FIRST, ask.to_string()) },
    }
}

impl Core {
    fn system_of(&self, artifact: &Artifact) -> Result<String, String> {
        let known = || self.systems.keys().cloned().collect::<Vec<_>>().join(", ");
        match &artifact.system {
            Some(name) if self.systems.contains_key(name) => Ok(name.clone()),
            Some(name) => Err(format!("{} is built by {name:?}, but registered are only: {}", artifact.id, known())),
            None if self.systems.len() == 1 => Ok(known()),
            None => {
                let kind = if artifact.kind == ArtifactKind::Repository { "repository" } else { "artifact" };
                Err(format!(
                    "the {kind} {} names no build system, and there is not exactly one: {}",
                    artifact.id,
                    known()
                ))
            }
        }
    }
}

/// Stores the decisions and that the message is handled, in one transaction.
async fn commit(core: &Core, record: InboxRecord, envelope: &Envelope, decided: Decided<'_>) {
    let planning = core.planning.lock().await;
    loop {
        match admit(core, &record, envelope, &decided).await {
            Ok(Ok(mut changes)) => {
                let handled = !decided.builds.is_empty() || !decided.emitted.is_empty() || !decided.canceled.is_empty();
                let state = if handled { InboxState::Done } else { InboxState::Ignored };
                changes.push(RowChange::Inbox(InboxRecord { state, reason: None, ..record.clone() }));
                if core.store(changes).await == Stored::Yes || is_handled(core, &record).await {
                    return;
                }
            }
            Ok(Err(reason)) => {
                drop(planning);
                let tries = record.tries.saturating_sub(1);
                return postpone(core, InboxRecord { tries, ..record }, core.options.tick, reason).await;
            }
            Err(error) => core.pause("dispatch", &error).await,
        }
    }
}

/// Whether a commit without a clear outcome was stored: then the message is no longer this task's.
async fn is_handled(core: &Core, record: &InboxRecord) -> bool {
    loop {
        match core.storage.message(&record.source, &record.message_id).await {
            Ok(stored) => {
                return stored.is_none_or(|row| row.state != InboxState::Claimed || row.owner != core.owner());
            }
            Err(error) => core.pause("dispatch", &error).await,
        }
    }
}

/// The rows of all decisions; or the reason why they must wait for builds under way.
async fn admit(
    core: &Core,
    record: &InboxRecord,
    envelope: &Envelope,
    decided: &Decided<'_>,
) -> Result<Result<Vec<RowChange>, Reason>, Error> {
    let mut admissions = Vec::new();
    let lines = lines(core, decided).await?;
    for (entry, outcome) in &decided.builds {
        let first = core.storage.reserve(u32::try_from(outcome.builds() + 1).unwrap_or(u32::MAX)).await?;
        admissions.push(Admission {
            event: EventId(first),
            first_build: BuildId(first + 1),
            message_id: record.message_id.clone(),
            handler: entry.name.clone(),
            envelope: envelope.clone(),
            mode: core.readable.mode,
            lines: lines.clone(),
            outcome: outcome.clone(),
        });
    }
    let keys: Vec<_> = admissions.iter().flat_map(Admission::keys).collect();
    let loaded = if keys.is_empty() { Default::default() } else { core.storage.load(&Scope::Keys(keys)).await? };
    let under_way: BTreeSet<BuildId> = loaded.builds.keys().copied().collect();
    let mut rebuild = Rebuild::new(loaded, core.owner(), core.now());
    for mut admission in admissions {
        let Err(wait) = rebuild.admit(&admission) else { continue };
        if wait.builds.iter().any(|build| under_way.contains(build)) {
            return Ok(Err(Reason::new("waits_for_builds", wait.to_string())));
        }
        // Nothing that ends by itself is in the way: this decision contradicts an earlier one about the same message.
        let text = "it contradicts what another handler decided about the same message";
        admission.outcome = Outcome::Fail(Reason::new("contradiction", text));
        // A failed event has no builds that could be refused.
        let _ = rebuild.admit(&admission);
    }
    let mut changes = rebuild.changes();
    for (position, message) in decided.emitted.iter().enumerate() {
        let id = format!("{}/{position}", record.message_id);
        let message = if message.id.is_empty() { Message { id, ..message.clone() } } else { message.clone() };
        changes.push(RowChange::Receive(core.inbox_record(Handle::EMITTED, message, None)));
    }
    Ok(Ok(changes))
}

/// Where the lines stand that builds of this decision join.
async fn lines(core: &Core, decided: &Decided<'_>) -> Result<Lines, Error> {
    let mut lines = Lines::default();
    if decided.builds.iter().any(|(_, outcome)| matches!(outcome, Outcome::Build { .. })) {
        let due = core.storage.due(core.now(), DueLimits { ready: 1, attempts: 0 }).await?;
        due.ready.iter().for_each(|build| lines.waits(&build.key.system, build.priority));
        for (system, priorities) in &due.started {
            priorities.iter().for_each(|priority| lines.started(system, *priority));
        }
    }
    Ok(lines)
}

async fn postpone(core: &Core, record: InboxRecord, pause: Duration, reason: Reason) {
    let not_before = Some(later(core.now(), pause));
    finish(core, InboxRecord { not_before, ..record }, InboxState::New, Some(reason)).await;
}

async fn finish(core: &Core, record: InboxRecord, state: InboxState, reason: Option<Reason>) {
    if let Some(reason) = reason.as_ref().filter(|_| state == InboxState::Dead) {
        tracing::warn!(message.id = record.message_id, %reason, "a message is dead");
    }
    let record = InboxRecord { state, reason, ..record };
    core.store_surely(vec![RowChange::Inbox(record)]).await;
}

use super::tables::Tables;
use crate::backend::{Result, Retention, Swept};
use crate::rebuild::{
    AttemptId, BuildId, BuildRecord, BuildState, EventId, InboxRecord, InboxState, RowKey, RunId, Version,
};
use crate::store::fenced;
use crate::time::{Timestamp, earlier};

/// Removes rows that are not kept any longer, at most `limit` of each sort.
pub(super) fn sweep(
    tables: &mut Tables,
    run: RunId,
    retention: Retention,
    limit: usize,
    now: Timestamp,
) -> Result<Swept> {
    if !tables.leases.contains_key(&run) {
        return Err(fenced(run));
    }
    let events = old_events(tables, retention, limit, now);
    events.iter().for_each(|event| remove_event(tables, *event));
    let builds: Vec<_> =
        tables.builds.values().filter(|build| is_needless(tables, build)).map(|build| build.id).take(limit).collect();
    builds.iter().for_each(|build| remove_build(tables, *build));
    let is_old = |row: &InboxRecord| {
        let age = match row.state {
            InboxState::Done | InboxState::Ignored => retention.messages,
            InboxState::Dead => retention.dead_letters,
            InboxState::New | InboxState::Claimed => None,
        };
        let old = age.is_some_and(|age| row.received_at <= earlier(now, age));
        old && !tables.has_event_of(&row.source, &row.message_id)
    };
    let messages: Vec<_> =
        tables.inbox.iter().filter(|(_, row)| is_old(row)).map(|(number, _)| *number).take(limit).collect();
    for number in &messages {
        tables.put_inbox(*number, None);
    }
    Ok(Swept { messages: messages.len() as u64, events: events.len() as u64, builds: builds.len() as u64 })
}

/// Events that have ended long ago, or of which there are too many; oldest first.
fn old_events(tables: &Tables, retention: Retention, limit: usize, now: Timestamp) -> Vec<EventId> {
    let ended = || tables.events.values().filter(|event| event.state.is_terminal());
    let kept = retention.events_max.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let surplus = ended().count().saturating_sub(kept);
    let before = retention.events.map(|age| earlier(now, age));
    let is_old = |done: Option<Timestamp>| before.zip(done).is_some_and(|(before, done)| done <= before);
    let old = ended().enumerate().filter(|(place, event)| *place < surplus || is_old(event.done_at));
    old.map(|(_, event)| event.id).take(limit).collect()
}

/// Whether a build has ended, no event wants it any more, and no build is made from it.
fn is_needless(tables: &Tables, build: &BuildRecord) -> bool {
    let (least, most) = (BuildId(i64::MIN), BuildId(i64::MAX));
    let (id, first, last) = (build.id, EventId(i64::MIN), EventId(i64::MAX));
    let mut edges = tables.dependencies.range((id, least)..=(id, most)).map(|(_, edge)| edge);
    let state = |id: BuildId| tables.builds.get(&id).map(|build| build.state);
    let is_open = |id: BuildId| state(id).is_some_and(|state| !state.is_terminal());
    let mut newer = tables.outputs.range((build.key.clone(), BuildId(id.0 + 1))..=(build.key.clone(), most));
    // Of builds that have run the latest is kept, since its time is the estimate of the next one.
    let has_run = build.state == BuildState::Done;
    let is_replaced = newer.any(|(_, newer)| !has_run || state(*newer) == Some(BuildState::Done));
    build.state.is_terminal()
        && tables.causes.range((id, first)..=(id, last)).next().is_none()
        && (build.output.is_none() || is_replaced)
        // A build that ended without what it waited for still counts that: it goes first.
        && !edges.any(|edge| !edge.satisfied || is_open(edge.child))
}

fn remove_event(tables: &mut Tables, event: EventId) {
    let caused = tables.caused.range((event, BuildId(i64::MIN))..=(event, BuildId(i64::MAX)));
    for (_, build) in caused.copied().collect::<Vec<_>>() {
        tables.put_cause((build, event), None);
    }
    tables.plans.remove(&event);
    forget_history(tables, RowKey::Event(event));
    tables.put_event(event, None);
}

fn remove_build(tables: &mut Tables, build: BuildId) {
    let (least, most) = (BuildId(i64::MIN), BuildId(i64::MAX));
    let as_parent = tables.dependencies.range((build, least)..=(build, most)).map(|(key, _)| *key);
    let as_child = tables.parents.range((build, least)..=(build, most)).map(|(child, parent)| (*parent, *child));
    for edge in as_parent.chain(as_child).collect::<Vec<_>>() {
        tables.put_dependency(edge, None);
    }
    let attempts = tables.attempts_of.range((build, 0, AttemptId::new(""))..).take_while(|(of, ..)| *of == build);
    for attempt in attempts.map(|(.., attempt)| attempt.clone()).collect::<Vec<_>>() {
        tables.put_attempt(&attempt, None);
        forget_history(tables, RowKey::Attempt(attempt));
    }
    forget_history(tables, RowKey::Build(build));
    tables.put_build(build, None);
}

fn forget_history(tables: &mut Tables, of: RowKey) {
    let (first, last) = ((of.clone(), 0), (of, Version::MAX));
    for key in tables.transitions.range(first..=last).map(|(key, _)| key.clone()).collect::<Vec<_>>() {
        tables.transitions.remove(&key);
    }
}

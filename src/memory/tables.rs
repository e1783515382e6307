use super::documents::Shelf;
use crate::backend::Result;
use crate::plan::Plan;
use crate::reason::Reason;
use crate::rebuild::{
    AttemptId, AttemptRecord, AttemptState, BuildId, BuildKey, BuildRecord, BuildSlot, BuildState, Cause, Commit,
    Dependency, EventId, EventRecord, EventState, ExternalId, InboxRecord, InboxState, MessageKey, Notification,
    Position, RowChange, RowKey, RunId, Transition, Version,
};
use crate::store::{
    Rows, Side, conflict, external_changed, external_taken, fenced, full, in_order, missing, partition,
};
use crate::time::{Timestamp, from_micros, to_micros};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Aggregate, its number, version, topic.
type NotificationKey = (RowKey, Version, String);

/// Source and identity of the message, handler, generation.
type EventKey = (String, String, String, u32);

/// All rows, and the indexes that keep every question from looking at all of them.
///
/// Each table has one function that puts or removes a row, keeps the indexes and returns the row
/// that was there: the same function writes a change and takes it back.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) inbox: BTreeMap<u64, InboxRecord>,
    pub(super) inbox_ids: BTreeMap<(String, String), u64>,
    pub(super) inbox_states: BTreeSet<(InboxState, u64)>,
    pub(super) events: BTreeMap<EventId, EventRecord>,
    event_keys: BTreeMap<EventKey, EventId>,
    pub(super) builds: BTreeMap<BuildId, BuildRecord>,
    /// The queue of each build system.
    pub(super) ready: BTreeMap<String, BTreeSet<(Reverse<i64>, BuildId)>>,
    open: BTreeMap<(BuildKey, BuildSlot), BuildId>,
    pub(super) outputs: BTreeSet<(BuildKey, BuildId)>,
    pub(super) attempts: BTreeMap<AttemptId, AttemptRecord>,
    pub(super) attempts_of: BTreeSet<(BuildId, u32, AttemptId)>,
    pub(super) live: BTreeSet<(Timestamp, AttemptId)>,
    live_of: BTreeMap<BuildId, AttemptId>,
    pub(super) live_tally: BTreeMap<String, u64>,
    pub(super) succeeded: BTreeSet<(Timestamp, AttemptId)>,
    /// Ready builds, live attempts and new messages that have a moment before which they must not
    /// be touched.
    pub(super) not_before: BTreeSet<(Timestamp, Waits)>,
    externals: BTreeMap<(String, ExternalId), AttemptId>,
    pub(super) dependencies: BTreeMap<(BuildId, BuildId), Dependency>,
    pub(super) parents: BTreeSet<(BuildId, BuildId)>,
    pub(super) causes: BTreeMap<(BuildId, EventId), Cause>,
    pub(super) caused: BTreeSet<(EventId, BuildId)>,
    pub(super) plans: BTreeMap<EventId, Plan>,
    pub(super) transitions: BTreeMap<(RowKey, Version), Transition>,
    /// By partition and position.
    pub(super) outbox: BTreeMap<(u16, i64), Notification>,
    outbox_ids: BTreeMap<NotificationKey, (u16, i64)>,
    pub(super) positions: BTreeMap<(u16, String), i64>,
    pub(super) trimmed: BTreeMap<u16, i64>,
    pub(super) inbox_tally: BTreeMap<InboxState, u64>,
    pub(super) event_tally: BTreeMap<EventState, u64>,
    pub(super) build_tally: BTreeMap<BuildState, u64>,
    last_inbox: u64,
    last_notification: i64,
    pub(super) last_row: i64,
    pub(super) last_run: RunId,
    /// Runs that are not over, and until when their leases hold.
    pub(super) leases: BTreeMap<RunId, Timestamp>,
    /// Who publishes which partition.
    pub(super) publishers: BTreeMap<u16, RunId>,
    pub(super) partitions: u16,
    pub(super) edges: u64,
    pub(super) documents: Shelf,
}

/// What waits for a moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waits {
    Message(u64),
    Build(BuildId),
    Attempt(AttemptId),
}

/// How to take one change back.
#[derive(Debug)]
enum Undo {
    Inbox(u64, Option<InboxRecord>),
    Event(EventId, Option<EventRecord>),
    Build(BuildId, Option<BuildRecord>),
    Attempt(AttemptId, Option<AttemptRecord>),
    Dependency((BuildId, BuildId), Option<Dependency>),
    Cause((BuildId, EventId), Option<Cause>),
    Plan(EventId, Option<Plan>),
    Transition((RowKey, Version)),
    Notification((u16, i64), Option<Notification>),
    Position((u16, String), Option<i64>),
    Trimmed(u16, Option<i64>),
    Edges(u64),
}

fn new_again(letter: InboxRecord) -> InboxRecord {
    InboxRecord { state: InboxState::New, tries: 0, waits: 0, not_before: None, ..letter }
}

fn ignored(letter: InboxRecord, why: Reason) -> InboxRecord {
    InboxRecord { state: InboxState::Ignored, reason: Some(why), ..letter }
}

impl Tables {
    /// Writes the whole commit or nothing of it.
    pub(super) fn write(&mut self, commit: Commit) -> Result<()> {
        self.check(&commit)?;
        let Commit { run, edges, at_most, changes, .. } = commit;
        let mut undo = Vec::with_capacity(changes.len());
        let mut changes = in_order(changes).into_iter();
        let written = changes.try_for_each(|change| self.write_one(change, run, edges, &mut undo));
        let written = written.and_then(|()| self.check_limits(&at_most));
        if written.is_err() {
            undo.into_iter().rev().for_each(|step| self.take_back(step));
        }
        written
    }

    /// What must hold before anything is written.
    fn check(&self, commit: &Commit) -> Result<()> {
        if let Some(run) = commit.run.filter(|run| !self.leases.contains_key(run)) {
            return Err(fenced(run));
        }
        if let Some(edges) = commit.edges.filter(|edges| *edges != self.edges) {
            return Err(conflict(format!("dependencies were added: there are {}, not {edges}", self.edges)));
        }
        for (key, expected) in &commit.unchanged {
            let (what, id, found) = match key {
                RowKey::Event(id) => ("event", id.to_string(), self.events.get(id).map(|row| row.version)),
                RowKey::Build(id) => ("build", id.to_string(), self.builds.get(id).map(|row| row.version)),
                RowKey::Attempt(id) => ("attempt", id.to_string(), self.attempts.get(id).map(|row| row.version)),
            };
            check_version(what, id, found, Some(*expected))?;
        }
        Ok(())
    }

    fn check_limits(&self, at_most: &[(String, u32)]) -> Result<()> {
        let live = |system: &String| self.live_tally.get(system).copied().unwrap_or_default();
        match at_most.iter().find(|(system, limit)| live(system) > u64::from(*limit)) {
            Some((system, limit)) => Err(full(system, *limit)),
            None => Ok(()),
        }
    }

    fn write_one(
        &mut self,
        change: RowChange,
        run: Option<RunId>,
        edges: Option<u64>,
        undo: &mut Vec<Undo>,
    ) -> Result<()> {
        let step = match change {
            RowChange::Receive(record) => {
                undo.extend(self.receive(record));
                return Ok(());
            }
            RowChange::Inbox(record) => self.change_inbox(record, run)?,
            RowChange::Requeue(key) => self.change_letter(key, new_again)?,
            RowChange::Dismiss(key, why) => self.change_letter(key, |letter| ignored(letter, why))?,
            RowChange::Event { record, expected } => self.write_event(*record, expected)?,
            RowChange::Build { record, expected, .. } => self.write_build(*record, expected)?,
            RowChange::Attempt { record, expected } => self.write_attempt(*record, expected)?,
            RowChange::Dependency(row) => {
                self.must_have_build(row.parent)?;
                self.must_have_build(row.child)?;
                let key = (row.parent, row.child);
                if !row.satisfied && !self.dependencies.contains_key(&key) {
                    let Some(edges) = edges else {
                        return Err(conflict("a dependency is added without the count of edges it was decided on"));
                    };
                    undo.push(Undo::Edges(self.edges));
                    self.edges = edges + 1;
                }
                Undo::Dependency(key, self.put_dependency(key, Some(row)))
            }
            RowChange::Cause(row) => {
                self.must_have_build(row.build)?;
                self.must_have_event(row.event)?;
                let key = (row.build, row.event);
                Undo::Cause(key, self.put_cause(key, Some(row)))
            }
            RowChange::Plan { event, plan } => {
                self.must_have_event(event)?;
                Undo::Plan(event, self.plans.insert(event, *plan))
            }
            RowChange::Transition(mut row) => {
                row.at = stored(row.at);
                let key = (row.of.clone(), row.version);
                if self.transitions.contains_key(&key) {
                    return Err(conflict(format!("{} version {} is in the history already", key.0, key.1)));
                }
                self.transitions.insert(key.clone(), row);
                Undo::Transition(key)
            }
            RowChange::Notification(row) => self.add_notification(row)?,
            RowChange::Position(row) => self.write_position(row, run)?,
            RowChange::Trim { partition, up_to } => {
                self.must_publish(partition, run)?;
                let gone: Vec<_> =
                    self.outbox.range((partition, i64::MIN)..=(partition, up_to)).map(|(key, _)| *key).collect();
                for key in gone {
                    let row = self.put_notification(key, None);
                    undo.push(Undo::Notification(key, row));
                }
                Undo::Trimmed(partition, self.trimmed.insert(partition, up_to))
            }
        };
        undo.push(step);
        Ok(())
    }

    fn take_back(&mut self, step: Undo) {
        match step {
            Undo::Inbox(number, row) => drop(self.put_inbox(number, row)),
            Undo::Event(id, row) => drop(self.put_event(id, row)),
            Undo::Build(id, row) => drop(self.put_build(id, row)),
            Undo::Attempt(id, row) => drop(self.put_attempt(&id, row)),
            Undo::Dependency(key, row) => drop(self.put_dependency(key, row)),
            Undo::Cause(key, row) => drop(self.put_cause(key, row)),
            Undo::Plan(event, row) => drop(replace(&mut self.plans, event, row)),
            Undo::Transition(key) => drop(self.transitions.remove(&key)),
            Undo::Notification(key, row) => drop(self.put_notification(key, row)),
            Undo::Position(key, position) => drop(replace(&mut self.positions, key, position)),
            Undo::Trimmed(partition, position) => drop(replace(&mut self.trimmed, partition, position)),
            Undo::Edges(count) => self.edges = count,
        }
    }

    fn receive(&mut self, mut record: InboxRecord) -> Option<Undo> {
        if self.inbox_ids.contains_key(&(record.source.clone(), record.message_id.clone())) {
            return None;
        }
        record.received_at = stored(record.received_at);
        record.not_before = record.not_before.map(stored);
        self.last_inbox += 1;
        let number = self.last_inbox;
        Some(Undo::Inbox(number, self.put_inbox(number, Some(record))))
    }

    /// What was received stays as it was.
    fn change_inbox(&mut self, record: InboxRecord, by: Option<RunId>) -> Result<Undo> {
        let key = (record.source, record.message_id);
        let Some((&number, before)) =
            self.inbox_ids.get(&key).and_then(|number| self.inbox.get(number).map(|row| (number, row)))
        else {
            return Err(missing(format!("no message {} from {}", key.1, key.0)));
        };
        if before.state != InboxState::Claimed || Some(before.run) != by {
            return Err(conflict(format!("message {} from {} is not claimed by this run", key.1, key.0)));
        }
        let InboxRecord { state, tries, waits, run, reason, .. } = record;
        let not_before = record.not_before.map(stored);
        let row = InboxRecord { state, tries, waits, run, not_before, reason, ..before.clone() };
        Ok(Undo::Inbox(number, self.put_inbox(number, Some(row))))
    }

    /// A dead letter becomes something else.
    fn change_letter(
        &mut self,
        MessageKey { source, message_id }: MessageKey,
        after: impl FnOnce(InboxRecord) -> InboxRecord,
    ) -> Result<Undo> {
        let key = (source, message_id);
        let number = self.inbox_ids.get(&key).copied();
        let Some((number, before)) = number.and_then(|number| Some((number, self.inbox.get(&number)?))) else {
            return Err(missing(format!("no message {} from {}", key.1, key.0)));
        };
        if before.state != InboxState::Dead {
            return Err(conflict(format!("message {} from {} is not a dead letter", key.1, key.0)));
        }
        let row = after(before.clone());
        Ok(Undo::Inbox(number, self.put_inbox(number, Some(row))))
    }

    fn write_event(&mut self, record: EventRecord, expected: Option<Version>) -> Result<Undo> {
        let id = record.id;
        check_version("event", id, self.events.get(&id).map(|row| row.version), expected)?;
        if let Some(other) = self.event_keys.get(&event_key(&record)).filter(|other| **other != id) {
            return Err(conflict(format!("event {id}: event {other} is of the same message and handler")));
        }
        Ok(Undo::Event(id, self.put_event(id, Some(record))))
    }

    fn write_build(&mut self, record: BuildRecord, expected: Option<Version>) -> Result<Undo> {
        let id = record.id;
        check_version("build", id, self.builds.get(&id).map(|row| row.version), expected)?;
        if !record.state.is_terminal() {
            let other = self.open.get(&(record.key.clone(), record.slot)).filter(|other| **other != id);
            if let Some(other) = other {
                return Err(conflict(format!("build {id}: build {other} of the same key and slot has not ended")));
            }
        }
        Ok(Undo::Build(id, self.put_build(id, Some(record))))
    }

    fn write_attempt(&mut self, record: AttemptRecord, expected: Option<Version>) -> Result<Undo> {
        let id = record.id.clone();
        let before = self.attempts.get(&id);
        check_version("attempt", &id, before.map(|row| row.version), expected)?;
        let known = before.and_then(|row| row.external.as_ref());
        if known.is_some() && known != record.external.as_ref() {
            return Err(external_changed(format!("attempt {id}: the external id is written once")));
        }
        self.must_have_build(record.build)?;
        if record.state.is_live()
            && let Some(other) = self.live_of.get(&record.build).filter(|other| **other != id)
        {
            return Err(conflict(format!("attempt {id}: attempt {other} of build {} is live", record.build)));
        }
        if let Some(external) = &record.external
            && let Some(other) = self.externals.get(&(record.system.clone(), external.clone()))
            && *other != id
        {
            let text = format!("attempt {id}: {external} on {} belongs to attempt {other}", record.system);
            return Err(external_taken(text));
        }
        let before = self.put_attempt(&id, Some(record));
        Ok(Undo::Attempt(id, before))
    }

    fn add_notification(&mut self, notification: Notification) -> Result<Undo> {
        if self.outbox_ids.contains_key(&notification_key(&notification)) {
            let Notification { of, version, topic, .. } = notification;
            return Err(conflict(format!("{of} version {version} has a message for {topic} already")));
        }
        self.last_notification += 1;
        let key = (partition(&notification.of, self.partitions), self.last_notification);
        Ok(Undo::Notification(key, self.put_notification(key, Some(notification))))
    }

    fn write_position(&mut self, row: Position, run: Option<RunId>) -> Result<Undo> {
        self.must_publish(row.partition, run)?;
        let key = (row.partition, row.bus);
        let before = replace(&mut self.positions, key.clone(), row.position);
        Ok(Undo::Position(key, before))
    }

    fn must_publish(&self, partition: u16, run: Option<RunId>) -> Result<()> {
        let holder = self.publishers.get(&partition).copied();
        let holds = run.is_some() && holder == run;
        holds.then_some(()).ok_or_else(|| conflict(format!("partition {partition} is published by another run")))
    }

    /// Whether there is an event of this message.
    pub(super) fn has_event_of(&self, source: &str, message_id: &str) -> bool {
        let first = (source.to_owned(), message_id.to_owned(), String::new(), 0);
        let mut keys = self.event_keys.range(first..).map(|(key, _)| key);
        keys.next().is_some_and(|key| key.0 == source && key.1 == message_id)
    }

    fn must_have_build(&self, id: BuildId) -> Result<()> {
        self.builds.contains_key(&id).then_some(()).ok_or_else(|| missing(format!("no build {id}")))
    }

    fn must_have_event(&self, id: EventId) -> Result<()> {
        self.events.contains_key(&id).then_some(()).ok_or_else(|| missing(format!("no event {id}")))
    }
}

/// One function for each table with indexes: puts or removes a row, and returns the one that was
/// there.
impl Tables {
    pub(super) fn put_inbox(&mut self, number: u64, row: Option<InboxRecord>) -> Option<InboxRecord> {
        if let Some(row) = &row {
            self.inbox_ids.insert((row.source.clone(), row.message_id.clone()), number);
            self.inbox_states.insert((row.state, number));
        }
        let waits = |row: &InboxRecord| row.not_before.filter(|_| row.state == InboxState::New);
        self.wait(Waits::Message(number), self.inbox.get(&number).and_then(waits), row.as_ref().and_then(waits));
        let state = row.as_ref().map(|row| row.state);
        let gone = row.is_none();
        let before = replace(&mut self.inbox, number, row);
        tally(&mut self.inbox_tally, before.as_ref().map(|row| row.state), state);
        if let Some(before) = &before {
            if state != Some(before.state) {
                self.inbox_states.remove(&(before.state, number));
            }
            if gone {
                self.inbox_ids.remove(&(before.source.clone(), before.message_id.clone()));
            }
        }
        before
    }

    pub(super) fn put_event(&mut self, id: EventId, row: Option<EventRecord>) -> Option<EventRecord> {
        let row = row.map(|mut row| {
            row.created_at = stored(row.created_at);
            row.cancel_at = row.cancel_at.map(stored);
            row.done_at = row.done_at.map(stored);
            row
        });
        let state = row.as_ref().map(|row| row.state);
        if let Some(row) = &row {
            self.event_keys.insert(event_key(row), id);
        }
        let gone = row.is_none();
        let before = replace(&mut self.events, id, row);
        if let Some(before) = before.as_ref().filter(|_| gone) {
            self.event_keys.remove(&event_key(before));
        }
        tally(&mut self.event_tally, before.as_ref().map(|row| row.state), state);
        before
    }

    pub(super) fn put_build(&mut self, id: BuildId, row: Option<BuildRecord>) -> Option<BuildRecord> {
        let row = row.map(|mut row| {
            row.created_at = stored(row.created_at);
            row.not_before = row.not_before.map(stored);
            row.cancel_at = row.cancel_at.map(stored);
            row.done_at = row.done_at.map(stored);
            row
        });
        let before = self.builds.remove(&id);
        let waits = |row: &BuildRecord| row.not_before.filter(|_| row.state == BuildState::Ready);
        self.wait(Waits::Build(id), before.as_ref().and_then(waits), row.as_ref().and_then(waits));
        tally(&mut self.build_tally, before.as_ref().map(|row| row.state), row.as_ref().map(|row| row.state));
        if let Some(before) = &before {
            if let Some(queue) = self.ready.get_mut(&before.key.system) {
                queue.remove(&(Reverse(before.priority), id));
            }
            self.outputs.remove(&(before.key.clone(), id));
            let slot = (before.key.clone(), before.slot);
            if self.open.get(&slot) == Some(&id) {
                self.open.remove(&slot);
            }
        }
        if let Some(row) = row {
            if row.state == BuildState::Ready {
                let queue = self.ready.entry(row.key.system.clone()).or_default();
                queue.insert((Reverse(row.priority), id));
            }
            if row.output.is_some() {
                self.outputs.insert((row.key.clone(), id));
            }
            if !row.state.is_terminal() {
                self.open.insert((row.key.clone(), row.slot), id);
            }
            self.builds.insert(id, row);
        }
        before
    }

    pub(super) fn put_attempt(&mut self, id: &AttemptId, row: Option<AttemptRecord>) -> Option<AttemptRecord> {
        let row = row.map(|mut row| {
            row.intent_at = stored(row.intent_at);
            row.observed_at = row.observed_at.map(stored);
            row.deadline = row.deadline.map(stored);
            row.not_before = row.not_before.map(stored);
            row
        });
        let before = self.attempts.remove(id);
        let waits = |row: &AttemptRecord| row.not_before.filter(|_| row.state.is_live());
        self.wait(Waits::Attempt(id.clone()), before.as_ref().and_then(waits), row.as_ref().and_then(waits));
        let live = |row: &&AttemptRecord| row.state.is_live();
        let system = |row: &AttemptRecord| row.system.clone();
        let (was, is) = (before.as_ref().filter(live).map(system), row.as_ref().filter(live).map(system));
        tally(&mut self.live_tally, was, is);
        if let Some(before) = &before {
            self.attempts_of.remove(&(before.build, before.number, id.clone()));
            self.live.remove(&(unobserved_since(before), id.clone()));
            self.succeeded.remove(&(unobserved_since(before), id.clone()));
            if self.live_of.get(&before.build) == Some(id) {
                self.live_of.remove(&before.build);
            }
            if let Some(external) = &before.external {
                self.externals.remove(&(before.system.clone(), external.clone()));
            }
        }
        if let Some(row) = row {
            self.attempts_of.insert((row.build, row.number, id.clone()));
            if row.state.is_live() {
                self.live.insert((unobserved_since(&row), id.clone()));
                self.live_of.insert(row.build, id.clone());
            }
            if row.state == AttemptState::Succeeded {
                self.succeeded.insert((unobserved_since(&row), id.clone()));
            }
            if let Some(external) = &row.external {
                self.externals.insert((row.system.clone(), external.clone()), id.clone());
            }
            self.attempts.insert(id.clone(), row);
        }
        before
    }

    fn wait(&mut self, what: Waits, before: Option<Timestamp>, after: Option<Timestamp>) {
        if let Some(before) = before {
            self.not_before.remove(&(before, what.clone()));
        }
        if let Some(after) = after {
            self.not_before.insert((after, what));
        }
    }

    pub(super) fn put_dependency(&mut self, key: (BuildId, BuildId), row: Option<Dependency>) -> Option<Dependency> {
        let (parent, child) = key;
        if row.is_some() {
            self.parents.insert((child, parent));
        } else {
            self.parents.remove(&(child, parent));
        }
        replace(&mut self.dependencies, key, row)
    }

    pub(super) fn put_cause(&mut self, key: (BuildId, EventId), row: Option<Cause>) -> Option<Cause> {
        let (build, event) = key;
        if row.is_some() {
            self.caused.insert((event, build));
        } else {
            self.caused.remove(&(event, build));
        }
        replace(&mut self.causes, key, row)
    }

    fn put_notification(&mut self, key: (u16, i64), row: Option<Notification>) -> Option<Notification> {
        if let Some(row) = &row {
            self.outbox_ids.insert(notification_key(row), key);
        }
        let gone = row.is_none();
        let before = replace(&mut self.outbox, key, row);
        if let Some(before) = before.as_ref().filter(|_| gone) {
            self.outbox_ids.remove(&notification_key(before));
        }
        before
    }
}

impl Rows for &Tables {
    fn builds(&mut self, ids: &[BuildId]) -> Result<Vec<BuildRecord>> {
        Ok(ids.iter().filter_map(|id| self.builds.get(id).cloned()).collect())
    }

    fn open_builds(&mut self, keys: &[BuildKey]) -> Result<Vec<BuildRecord>> {
        let slots =
            keys.iter().flat_map(|key| [BuildSlot::Current, BuildSlot::Successor].map(|slot| (key.clone(), slot)));
        let ids = slots.filter_map(|slot| self.open.get(&slot));
        Ok(ids.filter_map(|id| self.builds.get(id).cloned()).collect())
    }

    fn latest_outputs(&mut self, keys: &[BuildKey]) -> Result<Vec<BuildRecord>> {
        let of_key = |key: &BuildKey| (key.clone(), BuildId(i64::MIN))..=(key.clone(), BuildId(i64::MAX));
        let latest = keys.iter().filter_map(|key| self.outputs.range(of_key(key)).next_back());
        Ok(latest.filter_map(|(_, id)| self.builds.get(id).cloned()).collect())
    }

    fn dependencies(&mut self, of: &[BuildId], side: Side) -> Result<Vec<Dependency>> {
        let (least, most) = (BuildId(i64::MIN), BuildId(i64::MAX));
        let mut found = Vec::new();
        for &id in of {
            match side {
                Side::Parent => {
                    found.extend(self.dependencies.range((id, least)..=(id, most)).map(|(_, row)| row.clone()))
                }
                Side::Child => found.extend(
                    self.parents
                        .range((id, least)..=(id, most))
                        .filter_map(|&(child, parent)| self.dependencies.get(&(parent, child)).cloned()),
                ),
            }
        }
        Ok(found)
    }

    fn causes(&mut self, of: &[BuildId]) -> Result<Vec<Cause>> {
        let range = |id| (id, EventId(i64::MIN))..=(id, EventId(i64::MAX));
        Ok(of.iter().flat_map(|&id| self.causes.range(range(id)).map(|(_, row)| row.clone())).collect())
    }

    fn caused(&mut self, event: EventId) -> Result<Vec<BuildId>> {
        let of_event = (event, BuildId(i64::MIN))..=(event, BuildId(i64::MAX));
        Ok(self.caused.range(of_event).map(|(_, build)| *build).collect())
    }

    fn events(&mut self, ids: &[EventId]) -> Result<Vec<EventRecord>> {
        Ok(ids.iter().filter_map(|id| self.events.get(id).cloned()).collect())
    }

    fn attempts(&mut self, ids: &[AttemptId]) -> Result<Vec<AttemptRecord>> {
        Ok(ids.iter().filter_map(|id| self.attempts.get(id).cloned()).collect())
    }

    fn live_attempts(&mut self, of: &[BuildId]) -> Result<Vec<AttemptRecord>> {
        let live = of.iter().filter_map(|id| self.live_of.get(id));
        Ok(live.filter_map(|id| self.attempts.get(id).cloned()).collect())
    }
}

fn replace<K: Ord, V>(table: &mut BTreeMap<K, V>, key: K, row: Option<V>) -> Option<V> {
    match row {
        Some(row) => table.insert(key, row),
        None => table.remove(&key),
    }
}

fn tally<S: Ord>(counts: &mut BTreeMap<S, u64>, before: Option<S>, after: Option<S>) {
    if let Some(state) = before
        && let Some(count) = counts.get_mut(&state)
    {
        *count -= 1;
        if *count == 0 {
            counts.remove(&state);
        }
    }
    if let Some(state) = after {
        *counts.entry(state).or_default() += 1;
    }
}

fn event_key(event: &EventRecord) -> EventKey {
    (event.source.clone(), event.message_id.clone(), event.handler.clone(), event.generation)
}

fn notification_key(notification: &Notification) -> NotificationKey {
    (notification.of.clone(), notification.version, notification.topic.clone())
}

pub(super) fn unobserved_since(attempt: &AttemptRecord) -> Timestamp {
    attempt.observed_at.unwrap_or(attempt.intent_at)
}

/// Every storage keeps microseconds.
pub(super) fn stored(at: Timestamp) -> Timestamp {
    from_micros(to_micros(at))
}

fn check_version(
    what: &str,
    id: impl std::fmt::Display,
    found: Option<Version>,
    expected: Option<Version>,
) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(match (found, expected) {
        (Some(_), None) => conflict(format!("{what} {id} is there already")),
        (None, _) => conflict(format!("{what} {id} is not there")),
        (Some(found), Some(expected)) => {
            conflict(format!("{what} {id} has version {found}, this was decided on version {expected}"))
        }
    })
}

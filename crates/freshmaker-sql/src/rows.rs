//! Stored forms of the records. What cannot be read back is reported with its table and number,
//! never guessed.

use super::schema::{attempts, build_causes, build_deps, builds, events, inbox, notifications, transitions};
use diesel::prelude::{AsChangeset, Insertable, Queryable, Selectable};
use freshmaker::Reason;
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker::event::{Envelope, Message, Severity};
use freshmaker::plan::RebuildReason;
use freshmaker::rebuild::{
    AttemptId, AttemptRecord, AttemptState, BuildId, BuildKey, BuildMode, BuildRecord, BuildSlot, BuildState, Cause,
    Dependency, DependencyKind, EventId, EventRecord, EventState, ExternalId, InboxRecord, InboxState, MessageKey,
    Notification, RowKey, RunId, SessionId, Transition,
};
use freshmaker::store::{PLACE, partition};
use freshmaker::time::{Timestamp, from_micros, to_micros};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = inbox, treat_none_as_null = true, treat_none_as_default_value = false)]
pub(crate) struct InboxRow {
    pub(crate) source: String,
    pub(crate) message_id: String,
    sender_id: String,
    topic: String,
    headers: String,
    body: Vec<u8>,
    state: i16,
    pub(crate) tries: i64,
    waits: i64,
    pub(crate) run: i64,
    received_at: i64,
    not_before: Option<i64>,
    reason_code: Option<String>,
    reason_text: Option<String>,
}

#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = events, treat_none_as_null = true, treat_none_as_default_value = false)]
pub(crate) struct EventRow {
    id: i64,
    version: i64,
    state: i16,
    source: String,
    message_id: String,
    handler: String,
    generation: i64,
    retry_of: Option<i64>,
    kind: String,
    search_key: String,
    manual: bool,
    requester: Option<String>,
    severity: i16,
    payload: String,
    mode: i16,
    reason_code: String,
    reason_text: String,
    plan: Option<String>,
    builds_open: i64,
    builds_done: i64,
    builds_failed: i64,
    cancel_at: Option<i64>,
    created_at: i64,
    done_at: Option<i64>,
}

#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = builds, treat_none_as_null = true, treat_none_as_default_value = false)]
pub(crate) struct BuildRow {
    id: i64,
    version: i64,
    state: i16,
    system: String,
    build_key: String,
    artifact: String,
    target: String,
    mode: i16,
    slot: i16,
    kind: i16,
    source: Option<String>,
    parameters: String,
    parents: String,
    demands: String,
    because: i16,
    asked: bool,
    inputs: Option<String>,
    pending: i64,
    priority: i64,
    estimate: Option<i64>,
    tries: i64,
    resubmits: i64,
    attempts: i64,
    no_cache: bool,
    release: Option<String>,
    not_before: Option<i64>,
    reason_code: String,
    reason_text: String,
    output: Option<String>,
    cancel_at: Option<i64>,
    created_at: i64,
    done_at: Option<i64>,
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = attempts, treat_none_as_default_value = false)]
pub(crate) struct AttemptRow {
    id: String,
    version: i64,
    state: i16,
    build: i64,
    system: String,
    number: i64,
    run: i64,
    release: String,
    session: Option<String>,
    intent_at: i64,
    external: Option<String>,
    observed_at: Option<i64>,
    reason_code: String,
    reason_text: String,
    deadline: Option<i64>,
    not_before: Option<i64>,
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = build_deps, treat_none_as_default_value = false)]
pub(crate) struct DependencyRow {
    parent: i64,
    child: i64,
    kind: i16,
    satisfied: bool,
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = build_causes, treat_none_as_default_value = false)]
pub(crate) struct CauseRow {
    build: i64,
    event: i64,
    because: String,
    live: bool,
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = transitions, treat_none_as_default_value = false)]
pub(crate) struct TransitionRow {
    aggregate: String,
    id: String,
    version: i64,
    from_state: Option<String>,
    to_state: String,
    reason_code: String,
    reason_text: String,
    actor: String,
    run: i64,
    at: i64,
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = notifications, treat_none_as_default_value = false)]
pub(crate) struct NotificationRow {
    partition: i16,
    aggregate: String,
    id: String,
    version: i64,
    topic: String,
    body: String,
}

impl InboxRow {
    /// Whether this is one of these messages.
    pub(crate) fn is_held(&self, holding: &[MessageKey]) -> bool {
        holding.iter().any(|key| key.source == self.source && key.message_id == self.message_id)
    }

    pub(crate) fn of(record: &InboxRecord) -> Result<Self> {
        let Message { id, topic, headers, body } = &record.message;
        Ok(Self {
            source: record.source.clone(),
            message_id: record.message_id.clone(),
            sender_id: id.clone(),
            topic: topic.clone(),
            headers: json(headers)?,
            body: body.clone(),
            state: inbox_number(record.state),
            tries: record.tries.into(),
            waits: record.waits.into(),
            run: record.run.0,
            received_at: to_micros(record.received_at),
            not_before: micros(record.not_before),
            reason_code: record.reason.as_ref().map(|reason| reason.code.clone()),
            reason_text: record.reason.as_ref().map(|reason| reason.text.clone()),
        })
    }

    pub(crate) fn record(self) -> Result<InboxRecord> {
        let row = format!("{} of {}", self.message_id, self.source);
        let place = Place { table: "inbox", id: &row };
        let reason = self.reason_code.map(|code| Reason::new(code, self.reason_text.unwrap_or_default()));
        Ok(InboxRecord {
            message: Message {
                id: self.sender_id,
                topic: self.topic,
                headers: place.json("headers", &self.headers)?,
                body: self.body,
            },
            state: place.coded("state", self.state, inbox_state)?,
            tries: place.small("tries", self.tries)?,
            waits: place.small("waits", self.waits)?,
            run: RunId(self.run),
            received_at: from_micros(self.received_at),
            not_before: moment(self.not_before),
            reason,
            source: self.source,
            message_id: self.message_id,
        })
    }
}

impl InboxRow {
    /// The record of a dead letter: headers that cannot be read are left out, so that the rest can
    /// be seen.
    pub(crate) fn letter(mut self) -> Result<InboxRecord> {
        if serde_json::from_str::<BTreeMap<String, String>>(&self.headers).is_err() {
            self.headers = "{}".to_owned();
        }
        self.record()
    }
}

impl EventRow {
    pub(crate) fn of(record: &EventRecord) -> Result<Self> {
        let Envelope { kind, search_key, manual, requester, severity, payload } = &record.envelope;
        Ok(Self {
            id: record.id.0,
            version: record.version.into(),
            state: record.state.number(),
            source: record.source.clone(),
            message_id: record.message_id.clone(),
            handler: record.handler.clone(),
            generation: record.generation.into(),
            retry_of: record.retry_of.map(|event| event.0),
            kind: kind.clone(),
            search_key: search_key.clone(),
            manual: *manual,
            requester: requester.clone(),
            severity: severity.number(),
            payload: json(payload)?,
            mode: mode_number(record.mode),
            reason_code: record.reason.code.clone(),
            reason_text: record.reason.text.clone(),
            plan: record.plan.as_ref().map(ToString::to_string),
            builds_open: record.builds_open.into(),
            builds_done: record.builds_done.into(),
            builds_failed: record.builds_failed.into(),
            cancel_at: micros(record.cancel_at),
            created_at: to_micros(record.created_at),
            done_at: micros(record.done_at),
        })
    }

    pub(crate) fn record(self) -> Result<EventRecord> {
        let place = Place { table: "events", id: &self.id };
        Ok(EventRecord {
            id: EventId(self.id),
            version: place.small("version", self.version)?,
            state: place.coded("state", self.state, EventState::from_number)?,
            source: self.source,
            message_id: self.message_id,
            handler: self.handler,
            generation: place.small("generation", self.generation)?,
            retry_of: self.retry_of.map(EventId),
            envelope: Envelope {
                kind: self.kind,
                search_key: self.search_key,
                manual: self.manual,
                requester: self.requester,
                severity: place.coded("severity", self.severity, Severity::from_number)?,
                payload: place.json("payload", &self.payload)?,
            },
            mode: place.coded("mode", self.mode, mode_of)?,
            reason: Reason::new(self.reason_code, self.reason_text),
            plan: self.plan.map(|text| text.parse()).transpose().map_err(|error| place.corrupt("plan", error))?,
            builds_open: place.small("builds_open", self.builds_open)?,
            builds_done: place.small("builds_done", self.builds_done)?,
            builds_failed: place.small("builds_failed", self.builds_failed)?,
            cancel_at: moment(self.cancel_at),
            created_at: from_micros(self.created_at),
            done_at: moment(self.done_at),
        })
    }
}

impl BuildRow {
    pub(crate) fn of(record: &BuildRecord) -> Result<Self> {
        Ok(Self {
            id: record.id.0,
            version: record.version.into(),
            state: record.state.number(),
            system: record.key.system.clone(),
            build_key: record.key.to_string(),
            artifact: record.key.artifact.to_string(),
            target: record.key.target.clone(),
            mode: mode_number(record.key.mode),
            slot: slot_number(record.slot),
            kind: record.kind.number(),
            source: record.source.as_ref().map(json).transpose()?,
            parameters: json(&record.parameters)?,
            parents: json(&record.parents)?,
            demands: json(&record.demands)?,
            because: record.because.number(),
            asked: record.asked,
            inputs: record.inputs.as_ref().map(ToString::to_string),
            pending: record.pending.into(),
            priority: record.priority,
            estimate: record.estimate.map(|estimate| i64::try_from(estimate.as_micros()).unwrap_or(i64::MAX)),
            tries: record.tries.into(),
            resubmits: record.resubmits.into(),
            attempts: record.attempts.into(),
            no_cache: record.no_cache,
            release: record.release.clone(),
            not_before: micros(record.not_before),
            reason_code: record.reason.code.clone(),
            reason_text: record.reason.text.clone(),
            output: record.output.as_ref().map(json).transpose()?,
            cancel_at: micros(record.cancel_at),
            created_at: to_micros(record.created_at),
            done_at: micros(record.done_at),
        })
    }

    pub(crate) fn record(self) -> Result<BuildRecord> {
        let place = Place { table: "builds", id: &self.id };
        Ok(BuildRecord {
            id: BuildId(self.id),
            version: place.small("version", self.version)?,
            state: place.coded("state", self.state, BuildState::from_number)?,
            key: BuildKey {
                system: self.system,
                artifact: self.artifact.into(),
                target: self.target,
                mode: place.coded("mode", self.mode, mode_of)?,
            },
            slot: place.coded("slot", self.slot, slot_of)?,
            kind: place.coded("kind", self.kind, freshmaker::artifact::ArtifactKind::from_number)?,
            source: self.source.map(|text| place.json("source", &text)).transpose()?,
            parameters: place.json("parameters", &self.parameters)?,
            parents: place.json("parents", &self.parents)?,
            demands: place.json("demands", &self.demands)?,
            because: place.coded("because", self.because, RebuildReason::from_number)?,
            asked: self.asked,
            inputs: self.inputs.map(|text| text.parse()).transpose().map_err(|error| place.corrupt("inputs", error))?,
            pending: place.small("pending", self.pending)?,
            priority: self.priority,
            estimate: self.estimate.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))),
            tries: place.small("tries", self.tries)?,
            resubmits: place.small("resubmits", self.resubmits)?,
            attempts: place.small("attempts", self.attempts)?,
            no_cache: self.no_cache,
            release: self.release,
            not_before: moment(self.not_before),
            reason: Reason::new(self.reason_code, self.reason_text),
            output: self.output.map(|text| place.json("output", &text)).transpose()?,
            cancel_at: moment(self.cancel_at),
            created_at: from_micros(self.created_at),
            done_at: moment(self.done_at),
        })
    }
}

impl AttemptRow {
    pub(crate) fn of(record: &AttemptRecord) -> Self {
        Self {
            id: record.id.to_string(),
            version: record.version.into(),
            state: record.state.number(),
            build: record.build.0,
            system: record.system.clone(),
            number: record.number.into(),
            run: record.run.0,
            release: record.release.clone(),
            session: record.session.as_ref().map(ToString::to_string),
            intent_at: to_micros(record.intent_at),
            external: record.external.as_ref().map(ToString::to_string),
            observed_at: micros(record.observed_at),
            reason_code: record.reason.code.clone(),
            reason_text: record.reason.text.clone(),
            deadline: micros(record.deadline),
            not_before: micros(record.not_before),
        }
    }

    pub(crate) fn record(self) -> Result<AttemptRecord> {
        let place = Place { table: "attempts", id: &self.id };
        Ok(AttemptRecord {
            id: AttemptId::new(self.id.as_str()),
            version: place.small("version", self.version)?,
            state: place.coded("state", self.state, AttemptState::from_number)?,
            build: BuildId(self.build),
            system: self.system,
            number: place.small("number", self.number)?,
            run: RunId(self.run),
            release: self.release,
            session: self.session.map(SessionId::new),
            intent_at: from_micros(self.intent_at),
            external: self.external.map(ExternalId::new),
            observed_at: moment(self.observed_at),
            reason: Reason::new(self.reason_code, self.reason_text),
            deadline: moment(self.deadline),
            not_before: moment(self.not_before),
        })
    }
}

impl DependencyRow {
    pub(crate) fn key(&self) -> (i64, i64) {
        (self.parent, self.child)
    }

    pub(crate) fn of(record: &Dependency) -> Self {
        let kind = match record.kind {
            DependencyKind::Needs => 0,
            DependencyKind::After => 1,
        };
        Self { parent: record.parent.0, child: record.child.0, kind, satisfied: record.satisfied }
    }

    pub(crate) fn record(self) -> Result<Dependency> {
        let id = format!("({}, {})", self.parent, self.child);
        let kind = Place { table: "build_deps", id: &id }.coded("kind", self.kind, |number| match number {
            0 => Some(DependencyKind::Needs),
            1 => Some(DependencyKind::After),
            _ => None,
        })?;
        Ok(Dependency { parent: BuildId(self.parent), child: BuildId(self.child), kind, satisfied: self.satisfied })
    }
}

impl CauseRow {
    pub(crate) fn key(&self) -> (i64, i64) {
        (self.build, self.event)
    }

    pub(crate) fn of(record: &Cause) -> Result<Self> {
        let because = json(&record.because)?;
        Ok(Self { build: record.build.0, event: record.event.0, because, live: record.live })
    }

    pub(crate) fn record(self) -> Result<Cause> {
        let id = format!("({}, {})", self.build, self.event);
        let because = Place { table: "build_causes", id: &id }.json("because", &self.because)?;
        Ok(Cause { build: BuildId(self.build), event: EventId(self.event), because, live: self.live })
    }
}

impl TransitionRow {
    pub(crate) fn of(record: &Transition) -> Self {
        Self {
            aggregate: record.of.aggregate().to_owned(),
            id: record.of.id(),
            version: record.version.into(),
            from_state: record.from.clone(),
            to_state: record.to.clone(),
            reason_code: record.reason.code.clone(),
            reason_text: record.reason.text.clone(),
            actor: record.actor.to_string(),
            run: record.run.0,
            at: to_micros(record.at),
        }
    }

    pub(crate) fn record(self) -> Result<Transition> {
        let place = Place { table: "transitions", id: &self.id };
        let version = place.small("version", self.version)?;
        let actor = self.actor.parse().map_err(|error| place.corrupt("actor", error))?;
        Ok(Transition {
            version,
            actor,
            of: place.row(&self.aggregate, &self.id)?,
            from: self.from_state,
            to: self.to_state,
            reason: Reason::new(self.reason_code, self.reason_text),
            run: RunId(self.run),
            at: from_micros(self.at),
        })
    }
}

impl NotificationRow {
    pub(crate) fn of(record: &Notification, partitions: u16) -> Result<Self> {
        let partition = partition(&record.of, partitions);
        Ok(Self {
            partition: i16::try_from(partition).unwrap_or_default(),
            aggregate: record.of.aggregate().to_owned(),
            id: record.of.id(),
            version: record.version.into(),
            topic: record.topic.clone(),
            body: json(&record.body)?,
        })
    }

    pub(crate) fn record(self) -> Result<Notification> {
        let place = Place { table: "notifications", id: &self.id };
        let (version, body) = (place.small("version", self.version)?, place.json("body", &self.body)?);
        Ok(Notification { version, body, of: place.row(&self.aggregate, &self.id)?, topic: self.topic })
    }
}

/// Where a value was read.
pub(crate) struct Place<'a> {
    pub(crate) table: &'static str,
    pub(crate) id: &'a dyn fmt::Display,
}

impl Place<'_> {
    fn corrupt(&self, column: &str, text: impl fmt::Display) -> Error {
        Error::new(Remedy::Corrupt, format!("{} {}", self.table, self.id), format!("{column}: {text}"))
    }

    pub(crate) fn coded<T>(&self, column: &str, number: i16, from: impl FnOnce(i16) -> Option<T>) -> Result<T> {
        from(number).ok_or_else(|| self.corrupt(column, format!("unknown number {number}")))
    }

    pub(crate) fn small(&self, column: &str, number: i64) -> Result<u32> {
        u32::try_from(number).map_err(|_| self.corrupt(column, format!("{number} is out of range")))
    }

    fn row(&self, aggregate: &str, id: &str) -> Result<RowKey> {
        let unknown = || self.corrupt("aggregate", format!("{aggregate} {id} is no event, build or attempt"));
        RowKey::parse(aggregate, id).ok_or_else(unknown)
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, column: &str, text: &str) -> Result<T> {
        serde_json::from_str(text).map_err(|error| self.corrupt(column, error))
    }
}

pub(crate) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::new(Remedy::Rejected, PLACE, error))
}

pub(crate) fn micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(to_micros)
}

pub(crate) fn moment(micros: Option<i64>) -> Option<Timestamp> {
    micros.map(from_micros)
}

const INBOX_STATES: [InboxState; 5] =
    [InboxState::New, InboxState::Claimed, InboxState::Done, InboxState::Ignored, InboxState::Dead];

pub(crate) fn inbox_number(state: InboxState) -> i16 {
    match state {
        InboxState::New => 0,
        InboxState::Claimed => 1,
        InboxState::Done => 2,
        InboxState::Ignored => 3,
        InboxState::Dead => 4,
    }
}

pub(crate) fn inbox_state(number: i16) -> Option<InboxState> {
    INBOX_STATES.into_iter().find(|state| inbox_number(*state) == number)
}

pub(crate) fn mode_number(mode: BuildMode) -> i16 {
    match mode {
        BuildMode::Real => 0,
        BuildMode::Scratch => 1,
        BuildMode::DryRun => 2,
    }
}

fn mode_of(number: i16) -> Option<BuildMode> {
    [BuildMode::Real, BuildMode::Scratch, BuildMode::DryRun].into_iter().find(|mode| mode_number(*mode) == number)
}

pub(crate) fn slot_number(slot: BuildSlot) -> i16 {
    match slot {
        BuildSlot::Current => 0,
        BuildSlot::Successor => 1,
    }
}

fn slot_of(number: i16) -> Option<BuildSlot> {
    [BuildSlot::Current, BuildSlot::Successor].into_iter().find(|slot| slot_number(*slot) == number)
}

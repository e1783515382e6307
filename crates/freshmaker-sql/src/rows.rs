//! Converts records to rows and back. A row that cannot be read back is reported with its table and
//! number; no value of it is guessed.

use super::schema::{attempts, build_causes, build_deps, builds, events, inbox, notifications, transitions};
use super::text::StoredText;
use crate::parameters;
use diesel::prelude::{AsChangeset, Insertable, Queryable, Selectable};
use freshmaker::Reason;
use freshmaker::artifact::ArtifactKind;
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
use std::str::FromStr;
use std::time::Duration;

#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = inbox, treat_none_as_null = true, treat_none_as_default_value = false)]
pub(crate) struct InboxRow {
    pub(crate) source: StoredText,
    pub(crate) message_id: StoredText,
    sender_id: StoredText,
    topic: StoredText,
    headers: StoredText,
    body: Vec<u8>,
    state: i16,
    pub(crate) tries: i64,
    waits: i64,
    pub(crate) run: i64,
    received_at: i64,
    not_before: Option<i64>,
    reason_code: Option<StoredText>,
    reason_text: Option<StoredText>,
}

#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = events, treat_none_as_null = true, treat_none_as_default_value = false)]
pub(crate) struct EventRow {
    id: i64,
    version: i64,
    state: i16,
    source: StoredText,
    message_id: StoredText,
    handler: StoredText,
    generation: i64,
    retry_of: Option<i64>,
    kind: StoredText,
    search_key: StoredText,
    manual: bool,
    requester: Option<StoredText>,
    severity: i16,
    payload: StoredText,
    mode: i16,
    reason_code: StoredText,
    reason_text: StoredText,
    plan: Option<StoredText>,
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
    system: StoredText,
    build_key: StoredText,
    artifact: StoredText,
    target: StoredText,
    mode: i16,
    slot: i16,
    kind: i16,
    source: Option<StoredText>,
    parameters: StoredText,
    parents: StoredText,
    demands: StoredText,
    because: i16,
    asked: bool,
    inputs: Option<StoredText>,
    pending: i64,
    priority: i64,
    estimate: Option<i64>,
    tries: i64,
    resubmits: i64,
    attempts: i64,
    no_cache: bool,
    release: Option<StoredText>,
    not_before: Option<i64>,
    reason_code: StoredText,
    reason_text: StoredText,
    output: Option<StoredText>,
    cancel_at: Option<i64>,
    created_at: i64,
    done_at: Option<i64>,
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = attempts, treat_none_as_default_value = false)]
pub(crate) struct AttemptRow {
    id: StoredText,
    version: i64,
    state: i16,
    build: i64,
    system: StoredText,
    number: i64,
    run: i64,
    release: StoredText,
    session: Option<StoredText>,
    intent_at: i64,
    external: Option<StoredText>,
    observed_at: Option<i64>,
    reason_code: StoredText,
    reason_text: StoredText,
    deadline: Option<i64>,
    not_before: Option<i64>,
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = build_deps, treat_none_as_default_value = false)]
pub(crate) struct DependencyRow {
    parent: i64,
    child: i64,
    kind: i16,
    pub(crate) satisfied: bool,
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = build_causes, treat_none_as_default_value = false)]
pub(crate) struct CauseRow {
    build: i64,
    event: i64,
    because: StoredText,
    pub(crate) live: bool,
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = transitions, treat_none_as_default_value = false)]
pub(crate) struct TransitionRow {
    aggregate: StoredText,
    id: StoredText,
    version: i64,
    from_state: Option<StoredText>,
    to_state: StoredText,
    reason_code: StoredText,
    reason_text: StoredText,
    actor: StoredText,
    run: i64,
    at: i64,
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = notifications, treat_none_as_default_value = false)]
pub(crate) struct NotificationRow {
    partition: i16,
    aggregate: StoredText,
    id: StoredText,
    version: i64,
    topic: StoredText,
    body: StoredText,
}

impl InboxRow {
    /// Whether this is one of these messages.
    pub(crate) fn is_held(&self, holding: &[MessageKey]) -> bool {
        holding.iter().any(|key| self.source == key.source && self.message_id == key.message_id)
    }

    /// As `freshmaker::store::due_since` of the record.
    pub(crate) fn due_since(&self) -> i64 {
        self.not_before.unwrap_or(self.received_at)
    }

    pub(crate) fn of(record: &InboxRecord) -> Result<Self> {
        let Message { id, topic, headers, body } = &record.message;
        Ok(Self {
            source: record.source.clone().into(),
            message_id: record.message_id.clone().into(),
            sender_id: id.clone().into(),
            topic: topic.clone().into(),
            headers: json(headers)?.into(),
            body: body.clone(),
            state: inbox_number(record.state),
            tries: record.tries.into(),
            waits: record.waits.into(),
            run: record.run.0,
            received_at: to_micros(record.received_at),
            not_before: micros(record.not_before),
            reason_code: record.reason.as_ref().map(|reason| reason.code.clone().into()),
            reason_text: record.reason.as_ref().map(|reason| reason.text.clone().into()),
        })
    }

    pub(crate) fn record(self) -> Result<InboxRecord> {
        let row = format!("{} of {}", self.message_id, self.source);
        let place = Place { table: "inbox", id: &row };
        let text = self.reason_text.unwrap_or_else(|| String::new().into());
        let reason = self.reason_code.map(|code| place.reason(code, text)).transpose()?;
        Ok(InboxRecord {
            message: Message {
                id: place.text("sender_id", self.sender_id)?,
                topic: place.text("topic", self.topic)?,
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
            source: place.text("source", self.source)?,
            message_id: place.text("message_id", self.message_id)?,
        })
    }
}

impl InboxRow {
    /// The record of a dead letter: headers that cannot be read are left out, and texts are shown
    /// as far as they can be read, so that the rest can be seen.
    pub(crate) fn letter(mut self) -> Result<InboxRecord> {
        let headers = self.headers.as_str().ok().map(serde_json::from_str::<BTreeMap<String, String>>);
        if !matches!(headers, Some(Ok(_))) {
            self.headers = "{}".to_owned().into();
        }
        Self {
            sender_id: self.sender_id.shown(),
            topic: self.topic.shown(),
            reason_code: self.reason_code.map(StoredText::shown),
            reason_text: self.reason_text.map(StoredText::shown),
            ..self
        }
        .record()
    }
}

impl EventRow {
    /// The same without what is long to read: what came in.
    pub(crate) fn brief(self) -> Self {
        Self { payload: "null".to_owned().into(), ..self }
    }

    pub(crate) fn key(&self) -> RowKey {
        RowKey::Event(EventId(self.id))
    }

    pub(crate) fn of(record: &EventRecord) -> Result<Self> {
        let Envelope { kind, search_key, manual, requester, severity, payload } = &record.envelope;
        Ok(Self {
            id: record.id.0,
            version: record.version.into(),
            state: record.state.number(),
            source: record.source.clone().into(),
            message_id: record.message_id.clone().into(),
            handler: record.handler.clone().into(),
            generation: record.generation.into(),
            retry_of: record.retry_of.map(|event| event.0),
            kind: kind.clone().into(),
            search_key: search_key.clone().into(),
            manual: *manual,
            requester: requester.clone().map(Into::into),
            severity: severity.number(),
            payload: json(payload)?.into(),
            mode: mode_number(record.mode),
            reason_code: record.reason.code.clone().into(),
            reason_text: record.reason.text.clone().into(),
            plan: record.plan.as_ref().map(|plan| plan.to_string().into()),
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
            source: place.text("source", self.source)?,
            message_id: place.text("message_id", self.message_id)?,
            handler: place.text("handler", self.handler)?,
            generation: place.small("generation", self.generation)?,
            retry_of: self.retry_of.map(EventId),
            envelope: Envelope {
                kind: place.text("kind", self.kind)?,
                search_key: place.text("search_key", self.search_key)?,
                manual: self.manual,
                requester: place.maybe("requester", self.requester)?,
                severity: place.coded("severity", self.severity, Severity::from_number)?,
                payload: place.json("payload", &self.payload)?,
            },
            mode: place.coded("mode", self.mode, mode_of)?,
            reason: place.reason(self.reason_code, self.reason_text)?,
            plan: place.parsed("plan", self.plan)?,
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
    /// The same without what is long to read: what it is made of.
    pub(crate) fn brief(self) -> Self {
        let (object, list) = ("{}".to_owned(), "[]".to_owned());
        Self { source: None, parameters: object.into(), parents: list.clone().into(), demands: list.into(), ..self }
    }

    pub(crate) fn key(&self) -> RowKey {
        RowKey::Build(BuildId(self.id))
    }

    pub(crate) fn of(record: &BuildRecord) -> Result<Self> {
        Ok(Self {
            id: record.id.0,
            version: record.version.into(),
            state: record.state.number(),
            system: record.key.system.clone().into(),
            build_key: record.key.to_string().into(),
            artifact: record.key.artifact.to_string().into(),
            target: record.key.target.clone().into(),
            mode: mode_number(record.key.mode),
            slot: slot_number(record.slot),
            kind: record.kind.number(),
            source: record.source.as_ref().map(json).transpose()?.map(Into::into),
            parameters: json(&record.parameters)?.into(),
            parents: json(&record.parents)?.into(),
            demands: json(&record.demands)?.into(),
            because: record.because.number(),
            asked: record.asked,
            inputs: record.inputs.as_ref().map(|inputs| inputs.to_string().into()),
            pending: record.pending.into(),
            priority: record.priority,
            estimate: record.estimate.map(|estimate| i64::try_from(estimate.as_micros()).unwrap_or(i64::MAX)),
            tries: record.tries.into(),
            resubmits: record.resubmits.into(),
            attempts: record.attempts.into(),
            no_cache: record.no_cache,
            release: record.release.clone().map(Into::into),
            not_before: micros(record.not_before),
            reason_code: record.reason.code.clone().into(),
            reason_text: record.reason.text.clone().into(),
            output: record.output.as_ref().map(json).transpose()?.map(Into::into),
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
                system: place.text("system", self.system)?,
                artifact: place.text("artifact", self.artifact)?.into(),
                target: place.text("target", self.target)?,
                mode: place.coded("mode", self.mode, mode_of)?,
            },
            slot: place.coded("slot", self.slot, slot_of)?,
            kind: place.coded("kind", self.kind, ArtifactKind::from_number)?,
            source: self.source.map(|text| place.json("source", &text)).transpose()?,
            parameters: place.json::<parameters::Stored>("parameters", &self.parameters)?.0,
            parents: place.json("parents", &self.parents)?,
            demands: place.json("demands", &self.demands)?,
            because: place.coded("because", self.because, RebuildReason::from_number)?,
            asked: self.asked,
            inputs: place.parsed("inputs", self.inputs)?,
            pending: place.small("pending", self.pending)?,
            priority: self.priority,
            estimate: self.estimate.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))),
            tries: place.small("tries", self.tries)?,
            resubmits: place.small("resubmits", self.resubmits)?,
            attempts: place.small("attempts", self.attempts)?,
            no_cache: self.no_cache,
            release: place.maybe("release", self.release)?,
            not_before: moment(self.not_before),
            reason: place.reason(self.reason_code, self.reason_text)?,
            output: self.output.map(|text| place.json("output", &text)).transpose()?,
            cancel_at: moment(self.cancel_at),
            created_at: from_micros(self.created_at),
            done_at: moment(self.done_at),
        })
    }
}

impl AttemptRow {
    pub(crate) fn key(&self) -> RowKey {
        RowKey::Attempt(AttemptId::new(self.id.to_string()))
    }

    pub(crate) fn of(record: &AttemptRecord) -> Self {
        Self {
            id: record.id.to_string().into(),
            version: record.version.into(),
            state: record.state.number(),
            build: record.build.0,
            system: record.system.clone().into(),
            number: record.number.into(),
            run: record.run.0,
            release: record.release.clone().into(),
            session: record.session.as_ref().map(|session| session.to_string().into()),
            intent_at: to_micros(record.intent_at),
            external: record.external.as_ref().map(|external| external.to_string().into()),
            observed_at: micros(record.observed_at),
            reason_code: record.reason.code.clone().into(),
            reason_text: record.reason.text.clone().into(),
            deadline: micros(record.deadline),
            not_before: micros(record.not_before),
        }
    }

    pub(crate) fn record(self) -> Result<AttemptRecord> {
        let place = Place { table: "attempts", id: &self.id };
        let id = self.id.as_str().map_err(|error| place.corrupt("id", error))?;
        Ok(AttemptRecord {
            id: AttemptId::new(id),
            version: place.small("version", self.version)?,
            state: place.coded("state", self.state, AttemptState::from_number)?,
            build: BuildId(self.build),
            system: place.text("system", self.system)?,
            number: place.small("number", self.number)?,
            run: RunId(self.run),
            release: place.text("release", self.release)?,
            session: place.maybe("session", self.session)?.map(SessionId::new),
            intent_at: from_micros(self.intent_at),
            external: place.maybe("external", self.external)?.map(ExternalId::new),
            observed_at: moment(self.observed_at),
            reason: place.reason(self.reason_code, self.reason_text)?,
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
        let kind = dependency_number(record.kind);
        Self { parent: record.parent.0, child: record.child.0, kind, satisfied: record.satisfied }
    }

    pub(crate) fn record(self) -> Result<Dependency> {
        let id = Pair(self.parent, self.child);
        let kind = Place { table: "build_deps", id: &id }.coded("kind", self.kind, dependency_of)?;
        Ok(Dependency { parent: BuildId(self.parent), child: BuildId(self.child), kind, satisfied: self.satisfied })
    }
}

impl CauseRow {
    pub(crate) fn key(&self) -> (i64, i64) {
        (self.build, self.event)
    }

    pub(crate) fn of(record: &Cause) -> Result<Self> {
        let because = json(&record.because)?;
        Ok(Self { build: record.build.0, event: record.event.0, because: because.into(), live: record.live })
    }

    pub(crate) fn record(self) -> Result<Cause> {
        let id = Pair(self.build, self.event);
        let because = Place { table: "build_causes", id: &id }.json("because", &self.because)?;
        Ok(Cause { build: BuildId(self.build), event: EventId(self.event), because, live: self.live })
    }
}

impl TransitionRow {
    pub(crate) fn of(record: &Transition) -> Self {
        Self {
            aggregate: record.of.aggregate().to_owned().into(),
            id: record.of.id().into(),
            version: record.version.into(),
            from_state: record.from.clone().map(Into::into),
            to_state: record.to.clone().into(),
            reason_code: record.reason.code.clone().into(),
            reason_text: record.reason.text.clone().into(),
            actor: record.actor.to_string().into(),
            run: record.run.0,
            at: to_micros(record.at),
        }
    }

    pub(crate) fn record(self) -> Result<Transition> {
        let place = Place { table: "transitions", id: &self.id };
        let version = place.small("version", self.version)?;
        let actor = place.text("actor", self.actor)?.parse().map_err(|error| place.corrupt("actor", error))?;
        Ok(Transition {
            version,
            actor,
            of: place.row(&self.aggregate, &self.id)?,
            from: place.maybe("from_state", self.from_state)?,
            to: place.text("to_state", self.to_state)?,
            reason: place.reason(self.reason_code, self.reason_text)?,
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
            aggregate: record.of.aggregate().to_owned().into(),
            id: record.of.id().into(),
            version: record.version.into(),
            topic: record.topic.clone().into(),
            body: json(&record.body)?.into(),
        })
    }

    pub(crate) fn record(self) -> Result<Notification> {
        let place = Place { table: "notifications", id: &self.id };
        let (version, body) = (place.small("version", self.version)?, place.json("body", &self.body)?);
        let topic = place.text("topic", self.topic)?;
        Ok(Notification { version, body, of: place.row(&self.aggregate, &self.id)?, topic })
    }
}

/// The identity of a row that has two numbers.
struct Pair(i64, i64);

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.0, self.1)
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

    fn row(&self, aggregate: &StoredText, id: &StoredText) -> Result<RowKey> {
        let known = aggregate.as_str().ok().zip(id.as_str().ok());
        let unknown = || self.corrupt("aggregate", format!("{aggregate} {id} is no event, build or attempt"));
        known.and_then(|(aggregate, id)| RowKey::parse(aggregate, id)).ok_or_else(unknown)
    }

    pub(crate) fn text(&self, column: &str, text: StoredText) -> Result<String> {
        text.into_string().map_err(|error| self.corrupt(column, error))
    }

    fn maybe(&self, column: &str, text: Option<StoredText>) -> Result<Option<String>> {
        text.map(|text| self.text(column, text)).transpose()
    }

    fn parsed<T: FromStr<Err: fmt::Display>>(&self, column: &str, text: Option<StoredText>) -> Result<Option<T>> {
        let parsed = self.maybe(column, text)?.map(|text| text.parse()).transpose();
        parsed.map_err(|error| self.corrupt(column, error))
    }

    fn reason(&self, code: StoredText, text: StoredText) -> Result<Reason> {
        Ok(Reason::new(self.text("reason_code", code)?, self.text("reason_text", text)?))
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, column: &str, text: &StoredText) -> Result<T> {
        let text = text.as_str().map_err(|error| self.corrupt(column, error))?;
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

pub(crate) fn dependency_number(kind: DependencyKind) -> i16 {
    match kind {
        DependencyKind::Needs => 0,
        DependencyKind::After => 1,
    }
}

fn dependency_of(number: i16) -> Option<DependencyKind> {
    [DependencyKind::Needs, DependencyKind::After].into_iter().find(|kind| dependency_number(*kind) == number)
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

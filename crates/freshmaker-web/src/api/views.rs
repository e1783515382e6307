//! The JSON forms of rows in the API.
//!
//! *Invariant:* a form is a promise: fields are added, and none changes its meaning.

use chrono::{DateTime, Utc};
use freshmaker::artifact::ArtifactKind;
use freshmaker::backend::{CausedCount, Violation};
use freshmaker::client::{Stuck, StuckSubject};
use freshmaker::event::Severity;
use freshmaker::plan::Exclusion;
use freshmaker::rebuild::{
    AttemptRecord, BuildMode, BuildRecord, BuildSlot, BuildState, EventForecast, EventRecord, InboxRecord, Output,
    PathStep, Transition, WaitingFor,
};
use freshmaker::{ArtifactId, Reason, RebuildReason};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// The name that an enumeration has in JSON.
pub(crate) fn name_of(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// Values that have a JSON form, because all their keys are texts.
pub(super) fn json_of(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// A part of a list, with the way to the next part.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listing<T: ToSchema> {
    pub(crate) items: Vec<T>,
    /// The cursor of the next part; not there in the last one. It is also in the header `Link`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
    /// How many there are in all parts, if `count=true` asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<u64>,
    /// Rows that belong here and cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unreadable: Vec<UnreadableView>,
}

/// A row that cannot be read.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnreadableView {
    pub(crate) rule: String,
    pub(crate) text: String,
}

impl From<Violation> for UnreadableView {
    fn from(Violation { rule, text }: Violation) -> Self {
        Self { rule, text }
    }
}

/// Why something is as it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReasonView {
    /// A stable name.
    pub(crate) code: String,
    /// A sentence.
    pub(crate) text: String,
}

impl From<Reason> for ReasonView {
    fn from(Reason { code, text }: Reason) -> Self {
        Self { code, text }
    }
}

/// How many builds an event has.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CountsView {
    /// They have not ended.
    open: u32,
    /// They were built, or did not have to be.
    done: u32,
    /// They failed, or what they need did.
    failed: u32,
    /// They were cancelled.
    canceled: u32,
}

impl CountsView {
    /// The counts of an event. Its record counts builds that were cancelled among those that
    /// failed.
    fn of(event: &EventRecord, counts: &[CausedCount]) -> Self {
        let EventRecord { builds_open: open, builds_done: done, builds_failed, .. } = *event;
        let canceled = counts.iter().filter(|count| count.live && count.state == BuildState::Canceled);
        let canceled: u64 = canceled.map(|count| count.count).sum();
        let canceled = u32::try_from(canceled).unwrap_or(u32::MAX).min(builds_failed);
        Self { open, done, failed: builds_failed - canceled, canceled }
    }
}

/// An event, as one handler deals with it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventView {
    pub(crate) id: i64,
    /// The number of its changes; also in the header `ETag`.
    pub(crate) version: u32,
    /// `INITIALIZED`, `BUILDING`, `COMPLETE`, `FAILED`, `SKIPPED` or `CANCELED`.
    pub(crate) state: &'static str,
    pub(crate) reason: ReasonView,
    pub(crate) kind: String,
    pub(crate) search_key: String,
    pub(crate) manual: bool,
    pub(crate) requester: Option<String>,
    #[schema(value_type = String)]
    pub(crate) severity: Severity,
    /// Where its message came from: the name of a bus, `local` or `emitted`.
    pub(crate) source: String,
    pub(crate) message_id: String,
    pub(crate) handler: String,
    pub(crate) generation: u32,
    pub(crate) retry_of: Option<i64>,
    /// `real`, `scratch` or `dry_run`.
    #[schema(value_type = String)]
    pub(crate) mode: BuildMode,
    /// The hash of the plan that it follows.
    pub(crate) plan: Option<String>,
    pub(crate) builds: CountsView,
    pub(crate) cancel_at: Option<DateTime<Utc>>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) done_at: Option<DateTime<Utc>>,
    /// What came in; only where one event is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(crate) payload: Option<Value>,
}

impl EventView {
    /// The form within a list.
    pub(crate) fn brief(event: EventRecord, counts: &[CausedCount]) -> Self {
        Self { payload: None, ..Self::whole(event, counts) }
    }

    pub(crate) fn whole(event: EventRecord, counts: &[CausedCount]) -> Self {
        Self {
            builds: CountsView::of(&event, counts),
            id: event.id.0,
            version: event.version,
            state: event.state.as_str(),
            reason: event.reason.into(),
            kind: event.envelope.kind,
            search_key: event.envelope.search_key,
            manual: event.envelope.manual,
            requester: event.envelope.requester,
            severity: event.envelope.severity,
            source: event.source,
            message_id: event.message_id,
            handler: event.handler,
            generation: event.generation,
            retry_of: event.retry_of.map(|id| id.0),
            mode: event.mode,
            plan: event.plan.map(|plan| plan.to_string()),
            cancel_at: event.cancel_at,
            created_at: event.created_at,
            done_at: event.done_at,
            payload: Some(event.envelope.payload),
        }
    }
}

/// One artifact being rebuilt, possibly for several events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BuildView {
    pub(crate) id: i64,
    /// The number of its changes; also in the header `ETag`.
    pub(crate) version: u32,
    /// How far it is, as Freshmaker says it.
    pub(crate) state: &'static str,
    /// How far it is, in detail.
    pub(crate) detail: &'static str,
    pub(crate) reason: ReasonView,
    pub(crate) system: String,
    #[schema(value_type = String)]
    pub(crate) artifact: ArtifactId,
    pub(crate) target: String,
    /// `real`, `scratch` or `dry_run`.
    #[schema(value_type = String)]
    pub(crate) mode: BuildMode,
    /// `current` or `successor`.
    #[schema(value_type = String)]
    pub(crate) slot: BuildSlot,
    #[schema(value_type = String)]
    pub(crate) kind: ArtifactKind,
    #[schema(value_type = String)]
    pub(crate) rebuild_reason: RebuildReason,
    /// How many builds it waits for.
    pub(crate) pending: u32,
    pub(crate) priority: i64,
    pub(crate) attempts: u32,
    pub(crate) tries: u32,
    pub(crate) estimate_s: Option<u64>,
    #[schema(value_type = Option<Object>)]
    pub(crate) output: Option<Output>,
    pub(crate) not_before: Option<DateTime<Utc>>,
    pub(crate) cancel_at: Option<DateTime<Utc>>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) done_at: Option<DateTime<Utc>>,
    /// What it is built from and with; only where one build is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(crate) inputs: Option<Value>,
}

impl BuildView {
    /// The form within a list.
    pub(crate) fn brief(build: BuildRecord) -> Self {
        Self {
            id: build.id.0,
            version: build.version,
            state: build.state.public().as_str(),
            detail: build.state.as_str(),
            reason: build.reason.into(),
            system: build.key.system,
            artifact: build.key.artifact,
            target: build.key.target,
            mode: build.key.mode,
            slot: build.slot,
            kind: build.kind,
            rebuild_reason: build.because,
            pending: build.pending,
            priority: build.priority,
            attempts: build.attempts,
            tries: build.tries,
            estimate_s: build.estimate.map(|estimate| estimate.as_secs()),
            output: build.output,
            not_before: build.not_before,
            cancel_at: build.cancel_at,
            created_at: build.created_at,
            done_at: build.done_at,
            inputs: None,
        }
    }

    pub(crate) fn whole(build: BuildRecord) -> Self {
        let inputs = json!({
            "source": json_of(&build.source),
            "parameters": json_of(&build.parameters),
            "parents": json_of(&build.parents),
            "demands": build.demands.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "release": build.release,
            "digest": build.inputs.as_ref().map(ToString::to_string),
        });
        Self { inputs: Some(inputs), ..Self::brief(build) }
    }
}

/// One submission of a build.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttemptView {
    /// Its identity, which the build system keeps as well.
    pub(crate) id: String,
    pub(crate) version: u32,
    pub(crate) state: &'static str,
    pub(crate) reason: ReasonView,
    pub(crate) build: i64,
    pub(crate) system: String,
    /// 1 for the first of its build.
    pub(crate) number: u32,
    pub(crate) release: String,
    /// What the build system calls it.
    pub(crate) external_id: Option<String>,
    pub(crate) intent_at: DateTime<Utc>,
    pub(crate) observed_at: Option<DateTime<Utc>>,
    pub(crate) deadline: Option<DateTime<Utc>>,
}

impl From<AttemptRecord> for AttemptView {
    fn from(attempt: AttemptRecord) -> Self {
        Self {
            id: attempt.id.as_str().to_owned(),
            version: attempt.version,
            state: attempt.state.as_str(),
            reason: attempt.reason.into(),
            build: attempt.build.0,
            system: attempt.system,
            number: attempt.number,
            release: attempt.release,
            external_id: attempt.external.map(|id| id.as_str().to_owned()),
            intent_at: attempt.intent_at,
            observed_at: attempt.observed_at,
            deadline: attempt.deadline,
        }
    }
}

/// A change of state.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TransitionView {
    pub(crate) version: u32,
    /// Not there for the first.
    pub(crate) from: Option<String>,
    pub(crate) to: String,
    pub(crate) reason: ReasonView,
    /// `handler:NAME`, `person:NAME`, `poll`, `timer` or `engine`.
    pub(crate) actor: String,
    pub(crate) at: DateTime<Utc>,
}

impl From<Transition> for TransitionView {
    fn from(row: Transition) -> Self {
        let Transition { version, from, to, reason, actor, at, .. } = row;
        Self { version, from, to, reason: reason.into(), actor: actor.to_string(), at }
    }
}

/// Why a build does not go on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WaitsView {
    reason: ReasonView,
    /// The build that really holds it: itself, or one that it waits for.
    blocker: i64,
    /// The way over dependencies from a build that it waits for directly to the blocker.
    path: Vec<StepView>,
    /// How many steps in the middle of the path are left out.
    path_hidden: usize,
    /// How many further builds it waits for directly.
    others: usize,
    /// Since when the blocker is as it is.
    since: Option<DateTime<Utc>>,
    /// The next moment that can change it. Not there if that is up to a person, or not known.
    next: Option<NextView>,
}

/// A build on the way to a blocker.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepView {
    build: i64,
    artifact: String,
    /// How far it is, in detail.
    state: &'static str,
}

/// The next moment that can change something.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NextView {
    at: DateTime<Utc>,
    /// `ends`, `starts`, `slot` or `retry`.
    what: String,
}

impl From<WaitingFor> for WaitsView {
    fn from(waits: WaitingFor) -> Self {
        let step = |PathStep { build, artifact, state, .. }: PathStep| StepView {
            build: build.0,
            artifact: artifact.as_str().to_owned(),
            state: state.as_str(),
        };
        Self {
            reason: waits.reason.into(),
            blocker: waits.blocker.0,
            path: waits.path.into_iter().map(step).collect(),
            path_hidden: waits.path_hidden,
            others: waits.others,
            since: waits.since,
            next: waits.next.map(|next| NextView { at: next.at, what: name_of(&next.what) }),
        }
    }
}

/// When an event is expected to end.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ForecastView {
    /// The moment of the forecast.
    at: DateTime<Utc>,
    /// When the last of its builds ends. Not there if some of them have no expected time.
    end: Option<DateTime<Utc>>,
    /// When the last of those builds ends that have an expected time.
    known_end: Option<DateTime<Utc>>,
    /// How many of its builds are open.
    open: usize,
    /// How many of them have no expected time: they wait for a person.
    unknown: usize,
    /// How many of them have run for longer than was estimated.
    overdue: usize,
    /// The builds that decide on `known_end`, in the order in which they end.
    critical_path: Vec<i64>,
}

impl From<EventForecast> for ForecastView {
    fn from(forecast: EventForecast) -> Self {
        let EventForecast { at, end, known_end, open, unknown, overdue, critical_path, .. } = forecast;
        let critical_path = critical_path.into_iter().map(|build| build.0).collect();
        Self { at, end, known_end, open, unknown, overdue, critical_path }
    }
}

/// A candidate that is not rebuilt.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExclusionView {
    pub(crate) artifact: String,
    pub(crate) code: String,
    pub(crate) text: String,
    /// The excluded artifact that it would only follow.
    pub(crate) follows: Option<String>,
}

impl ExclusionView {
    pub(crate) fn of(id: &ArtifactId, exclusion: &Exclusion) -> Self {
        let Exclusion { code, text, follows } = exclusion.clone();
        let follows = follows.map(|id| id.as_str().to_owned());
        Self { artifact: id.as_str().to_owned(), code, text, follows }
    }
}

/// A message that came in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MessageView {
    pub(crate) source: String,
    pub(crate) id: String,
    pub(crate) topic: String,
    /// `new`, `claimed`, `done`, `ignored` or `dead`.
    pub(crate) state: String,
    pub(crate) reason: Option<ReasonView>,
    pub(crate) tries: u32,
    pub(crate) received_at: DateTime<Utc>,
    /// How long the body is.
    pub(crate) bytes: usize,
    /// The headers; only where one message is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(crate) headers: Option<Value>,
    /// The body, if it is UTF-8; only where one message is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
    /// The body in Base64, if it is not UTF-8; only where one message is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body_base64: Option<String>,
}

impl MessageView {
    /// The form within a list.
    pub(crate) fn brief(row: InboxRecord) -> Self {
        Self {
            source: row.source,
            id: row.message_id,
            topic: row.message.topic,
            state: name_of(&row.state),
            reason: row.reason.map(Into::into),
            tries: row.tries,
            received_at: row.received_at,
            bytes: row.message.body.len(),
            headers: None,
            body: None,
            body_base64: None,
        }
    }

    pub(crate) fn whole(row: InboxRecord) -> Self {
        use base64::Engine as _;
        let headers = Some(json!(row.message.headers));
        let (body, body_base64) = match String::from_utf8(row.message.body.clone()) {
            Ok(text) => (Some(text), None),
            Err(error) => (None, Some(base64::engine::general_purpose::STANDARD.encode(error.as_bytes()))),
        };
        Self { headers, body, body_base64, ..Self::brief(row) }
    }
}

/// Something that has not moved for a long time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StuckView {
    /// `message`, `build`, `bus`, or `row` for a stored row that cannot be read.
    pub(crate) what: &'static str,
    /// Its number or name.
    pub(crate) id: String,
    /// The live attempt of a build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<String>,
    pub(crate) since: DateTime<Utc>,
    pub(crate) cause: ReasonView,
    /// What a person can do.
    pub(crate) advice: &'static str,
}

impl From<Stuck> for StuckView {
    fn from(stuck: Stuck) -> Self {
        let Stuck { what, since, cause, advice, .. } = stuck;
        let (what, id, attempt) = match what {
            StuckSubject::Message(key) | StuckSubject::DeadLetter(key) => {
                ("message", format!("{}/{}", key.source, key.message_id), None)
            }
            StuckSubject::Build { build, attempt } => {
                ("build", build.to_string(), attempt.map(|attempt| attempt.as_str().to_owned()))
            }
            StuckSubject::Bus { bus, partition } => ("bus", format!("{bus}/{partition}"), None),
            StuckSubject::Row(row) => ("row", row, None),
            other => ("other", format!("{other:?}"), None),
        };
        Self { what, id, attempt, since, cause: cause.into(), advice }
    }
}

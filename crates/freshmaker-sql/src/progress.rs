//! The columns of builds, attempts and messages that change while they make progress. The other
//! columns are written once and say what the row is about.

use super::rows::{inbox_number, json, micros, slot_number};
use super::schema::{attempts, builds, inbox};
use diesel::prelude::AsChangeset;
use freshmaker::Reason;
use freshmaker::backend::Result;
use freshmaker::rebuild::{AttemptRecord, BuildRecord, InboxRecord, InboxState};

/// The columns of a message that its handling changes.
#[derive(Debug, AsChangeset)]
#[diesel(table_name = inbox, treat_none_as_null = true)]
pub(crate) struct InboxProgress {
    state: i16,
    tries: i64,
    waits: i64,
    run: i64,
    not_before: Option<i64>,
    reason_code: Option<String>,
    reason_text: Option<String>,
}

/// The columns of a dead letter that change. `None` leaves a column as it is.
#[derive(Debug, Default, AsChangeset)]
#[diesel(table_name = inbox)]
pub(crate) struct LetterChange {
    state: i16,
    tries: Option<i64>,
    waits: Option<i64>,
    not_before: Option<Option<i64>>,
    reason_code: Option<String>,
    reason_text: Option<String>,
}

/// The columns of a build that change while it makes progress.
#[derive(Debug, AsChangeset)]
#[diesel(table_name = builds, treat_none_as_null = true)]
pub(crate) struct BuildProgress {
    pub(crate) version: i64,
    pub(crate) state: i16,
    pub(crate) slot: i16,
    pub(crate) inputs: Option<String>,
    pub(crate) pending: i64,
    pub(crate) tries: i64,
    pub(crate) resubmits: i64,
    pub(crate) attempts: i64,
    pub(crate) no_cache: bool,
    pub(crate) release: Option<String>,
    pub(crate) not_before: Option<i64>,
    pub(crate) reason_code: String,
    pub(crate) reason_text: String,
    pub(crate) output: Option<String>,
    pub(crate) cancel_at: Option<i64>,
    pub(crate) done_at: Option<i64>,
}

/// The columns of an attempt that change while it makes progress.
#[derive(Debug, AsChangeset)]
#[diesel(table_name = attempts, treat_none_as_null = true)]
pub(crate) struct AttemptProgress {
    version: i64,
    state: i16,
    run: i64,
    session: Option<String>,
    external: Option<String>,
    observed_at: Option<i64>,
    reason_code: String,
    reason_text: String,
    deadline: Option<i64>,
    not_before: Option<i64>,
}

impl InboxProgress {
    pub(crate) fn of(record: &InboxRecord) -> Self {
        Self {
            state: inbox_number(record.state),
            tries: record.tries.into(),
            waits: record.waits.into(),
            run: record.run.0,
            not_before: micros(record.not_before),
            reason_code: record.reason.as_ref().map(|reason| reason.code.clone()),
            reason_text: record.reason.as_ref().map(|reason| reason.text.clone()),
        }
    }
}

impl LetterChange {
    /// It is handled again, with no tries.
    pub(crate) fn new_again() -> Self {
        let state = inbox_number(InboxState::New);
        Self { state, tries: Some(0), waits: Some(0), not_before: Some(None), ..Self::default() }
    }

    pub(crate) fn ignored(why: Reason) -> Self {
        let state = inbox_number(InboxState::Ignored);
        Self { state, reason_code: Some(why.code), reason_text: Some(why.text), ..Self::default() }
    }
}

impl BuildProgress {
    pub(crate) fn of(record: &BuildRecord) -> Result<Self> {
        Ok(Self {
            version: record.version.into(),
            state: record.state.number(),
            slot: slot_number(record.slot),
            inputs: record.inputs.as_ref().map(ToString::to_string),
            pending: record.pending.into(),
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
            done_at: micros(record.done_at),
        })
    }
}

impl AttemptProgress {
    pub(crate) fn of(record: &AttemptRecord) -> Self {
        Self {
            version: record.version.into(),
            state: record.state.number(),
            run: record.run.0,
            session: record.session.as_ref().map(ToString::to_string),
            external: record.external.as_ref().map(ToString::to_string),
            observed_at: micros(record.observed_at),
            reason_code: record.reason.code.clone(),
            reason_text: record.reason.text.clone(),
            deadline: micros(record.deadline),
            not_before: micros(record.not_before),
        }
    }
}

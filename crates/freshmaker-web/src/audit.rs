//! The audit log: who did what, and who was refused.
//!
//! *Invariant:* a write has a row before it is made. If the row cannot be stored, nothing is
//! changed. The outcome of the write is added afterwards; if a row stays `begun`, the outcome is
//! not known.

use crate::auth::Caller;
use crate::documents::Store;
use crate::problem::Problem;
use crate::web::Web;
use chrono::{DateTime, Utc};
use freshmaker::backend::{Document, Error, NewDocument, Remedy, Result};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Refusals are kept apart, so that many of them do not push out the writes.
const WRITES: &str = "web.audit";
const REFUSALS: &str = "web.refusal";

/// Texts in a row are cut here.
const TEXT_MAX: usize = 500;

/// A row of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct AuditRow {
    /// Who: the name of a principal, or `anonymous`.
    pub who: String,
    /// What: the name of the operation, or the method of a refused request.
    pub what: String,
    /// On what: `event 17`, or the path of a refused request.
    pub on: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it failed or was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The id of the request.
    pub request_id: String,
    /// From which address, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// When it began.
    pub at: DateTime<Utc>,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It began, and its end is not known.
    Begun,
    /// It was done.
    Done,
    /// It was not done, or that is not known; `detail` says why.
    Failed,
    /// The caller was not allowed to.
    Refused,
}

/// Which part of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// Writes.
    #[default]
    Writes,
    /// Requests that were refused.
    Refusals,
}

#[derive(Debug)]
pub(crate) struct Audit {
    store: Store,
    keep: u32,
}

impl Audit {
    pub(crate) fn new(store: Store, keep: u32) -> Self {
        Self { store, keep }
    }

    async fn put(&self, kind: &str, row: &AuditRow, before: Option<&Document>) -> Result<Document> {
        let body = serde_json::to_value(row).map_err(|error| Error::new(Remedy::Rejected, "audit log", error))?;
        let id = before.map_or_else(|| format!("{:032x}", fastrand::u128(..)), |document| document.id.clone());
        let (kind, expected) = (kind.to_owned(), before.map(|document| document.version));
        let document = NewDocument { kind, id, expected, body, expires_at: None, keep: Some(self.keep) };
        self.store.put(document).await
    }

    /// Rows, newest first, each with its number.
    pub(crate) async fn list(&self, part: Part, before: Option<i64>, limit: u32) -> Result<Vec<(i64, AuditRow)>> {
        let kind = match part {
            Part::Writes => WRITES,
            Part::Refusals => REFUSALS,
        };
        let documents = self.store.list(kind, before, limit).await?;
        let rows = documents.into_iter().map(|Document { number, id, body, .. }| {
            let row = serde_json::from_value(body);
            let row = row.map_err(|error| Error::new(Remedy::Corrupt, format!("audit log: {id}"), error));
            row.map(|row| (number, row))
        });
        rows.collect()
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

impl Web {
    /// Does what a caller asks for, with a row in the audit log: `what` is the name of the
    /// operation, `on` what it is done to, such as `event 17`.
    ///
    /// # Errors
    /// 503 if the row cannot be stored, and then nothing is done; else that of `act`.
    pub async fn audited<T>(
        &self,
        caller: &Caller,
        what: &str,
        on: &str,
        act: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let mut row = self.row(caller, what, on, Outcome::Begun, None);
        let document = self.ask(self.audit().put(WRITES, &row, None)).await?;
        let result = act.await;
        row.outcome = if result.is_ok() { Outcome::Done } else { Outcome::Failed };
        row.detail = result.as_ref().err().map(|problem| shortened(&problem.detail));
        if let Err(problem) = self.ask(self.audit().put(WRITES, &row, Some(&document))).await {
            let request_id = &caller.request_id;
            tracing::error!(
                request_id,
                what,
                on,
                problem = problem.logged(),
                "the end of a write is not in the audit log"
            );
        }
        result
    }

    /// Notes that a caller was refused. If that cannot be stored, it is logged.
    pub async fn audit_refusal(&self, caller: &Caller, what: &str, on: &str, problem: &Problem) {
        let row = self.row(caller, what, on, Outcome::Refused, Some(shortened(&problem.detail)));
        let AuditRow { who, detail, request_id, .. } = &row;
        tracing::warn!(who, what, on = row.on, request_id, detail, "refused");
        if let Err(problem) = self.ask(self.audit().put(REFUSALS, &row, None)).await {
            tracing::error!(request_id, problem = problem.logged(), "a refusal is not in the audit log");
        }
    }

    fn row(&self, caller: &Caller, what: &str, on: &str, outcome: Outcome, detail: Option<String>) -> AuditRow {
        AuditRow {
            who: caller.name().to_owned(),
            what: what.to_owned(),
            on: shortened(on),
            outcome,
            detail,
            request_id: caller.request_id.clone(),
            address: caller.address.map(|address| address.to_string()),
            at: self.now(),
        }
    }
}

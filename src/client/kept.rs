//! Plans that are kept by their hash, and applied. Whether a plan is still what would be made is
//! checked here before anything is sent, and by `engine::decision` when the message is handled.

use super::send::rejected;
use super::{Client, PLACE};
use crate::artifact::Digest;
use crate::backend::{Document, Error, NewDocument, Remedy, Result};
use crate::engine::{PreviewOutcome, Previewed};
use crate::event::Message;
use crate::plan::Plan;
use crate::time::{Timestamp, later};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The kind of the documents with plans; their id is the hash of the plan.
const KIND: &str = "plan";

/// A plan that was previewed and is kept for a day, so that exactly this plan can be applied.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct KeptPlan {
    /// The plan.
    pub plan: Plan,
    /// The handler that made it.
    pub handler: String,
    /// The message whose event it was made for.
    pub message: Message,
    /// The person who asked for the preview.
    pub by: String,
    /// When it was first stored.
    pub since: Timestamp,
    /// Until when it is kept.
    pub until: Option<Timestamp>,
    /// The identity of the message that applies it: another one each time it is previewed anew.
    applied: String,
}

/// The result of [`Client::apply`].
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// A message was stored under this identity. When it is handled, the plan is started if it is
    /// still the same.
    Sent(String),
    /// Nothing was stored: the same event would now lead to this other plan, or to none.
    Changed(Option<Box<Plan>>),
}

impl KeptPlan {
    /// Returns the identity of the message that [applies](Client::apply) the plan, among those of
    /// the source [`Client::LOCAL`].
    #[must_use]
    pub fn application(&self) -> &str {
        &self.applied
    }
}

#[derive(Serialize, Deserialize)]
struct Body {
    handler: String,
    message: Message,
    by: String,
    plan: Plan,
}

impl Client {
    /// How long a plan is [kept](Self::keep_plans).
    pub const PLAN_KEPT: Duration = Duration::from_secs(24 * 3600);

    /// The most plans that are kept; beyond, the oldest are removed.
    pub const PLANS_MAX: u32 = 1000;

    /// Previews what each handler would decide about this message now, and keeps the plans under
    /// their hashes for a day, so that they can be [applied](Self::apply). Nothing is submitted or
    /// published.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if this client has no [preview](Self::with_preview);
    /// [`Rejected`](Remedy::Rejected) if the message cannot be read, or a plan is too large to be
    /// kept; transient errors of a catalog or of the storage.
    pub async fn keep_plans(&self, message: Message, by: &str) -> Result<Vec<Previewed>> {
        let previewed = self.preview_message(&message).await?;
        for Previewed { handler, decision } in &previewed {
            let (PreviewOutcome::Rebuilds(plan) | PreviewOutcome::Asks { plan, .. }) = decision else { continue };
            let (handler, message, by) = (handler.clone(), message.clone(), by.to_owned());
            let body = serde_json::to_value(Body { handler, message, by, plan: (**plan).clone() });
            self.keep(&plan.hash(), body.map_err(|error| rejected(error.to_string()))?).await?;
        }
        Ok(previewed)
    }

    async fn keep(&self, hash: &Digest, body: serde_json::Value) -> Result<()> {
        let (documents, id) = (self.documents().await?, hash.to_string());
        loop {
            let there = documents.get(KIND, &id).await?;
            let new = NewDocument {
                expected: there.map(|document| document.version),
                expires_at: Some(later(self.now(), Self::PLAN_KEPT)),
                keep: Some(Self::PLANS_MAX),
                ..NewDocument::new(KIND, &id, body.clone())
            };
            match documents.put(new).await {
                // Another caller has previewed the same plan.
                Err(error) if error.remedy == Remedy::Conflict => {}
                stored => return stored.map(drop),
            }
        }
    }

    /// Returns a plan that is kept.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) if it was not kept or is not kept any more; else those of the
    /// storage.
    pub async fn kept_plan(&self, hash: &Digest) -> Result<KeptPlan> {
        let found = self.documents().await?.get(KIND, &hash.to_string()).await?;
        let none = || Error::new(Remedy::NotFound, PLACE, format!("no plan {hash} is kept"));
        let Document { id, number, version, body, created_at, expires_at, .. } = found.ok_or_else(none)?;
        let body: Body = serde_json::from_value(body)
            .map_err(|error| Error::new(Remedy::Corrupt, PLACE, format!("plan {id}: {error}")))?;
        let Body { handler, message, by, plan } = body;
        let applied = format!("plan/{id}/{number}.{version}");
        Ok(KeptPlan { plan, handler, message, by, since: created_at, until: expires_at, applied })
    }

    /// Returns the plan to which the event of a kept plan would lead now; `None` if it would lead
    /// to none.
    ///
    /// # Errors
    /// As for [`keep_plans`](Self::keep_plans).
    pub async fn plan_again(&self, kept: &KeptPlan) -> Result<Option<Plan>> {
        let previewed = self.preview_message(&kept.message).await?;
        let same = previewed.into_iter().find(|previewed| previewed.handler == kept.handler);
        Ok(match same.map(|previewed| previewed.decision) {
            Some(PreviewOutcome::Rebuilds(plan) | PreviewOutcome::Asks { plan, .. }) => Some(*plan),
            _ => None,
        })
    }

    /// Applies a kept plan exactly as it was shown, however large it is, or does nothing.
    ///
    /// If the same event leads to another plan by now, nothing is stored, and that plan is
    /// returned; [`Plan::diff`] says what is different. If the plan changes after this call and
    /// before the message is handled, the event is skipped with the code `plan_changed`. Applying a
    /// plan a second time has no effect, unless it was previewed anew.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) if the plan is not kept; else as for
    /// [`keep_plans`](Self::keep_plans).
    pub async fn apply(&self, hash: &Digest, by: &str) -> Result<Applied> {
        let kept = self.kept_plan(hash).await?;
        if let Ok(stored) = self.message(Self::LOCAL, &kept.applied).await {
            return Ok(Applied::Sent(stored.message_id));
        }
        let now = self.plan_again(&kept).await?;
        if now.as_ref().map(Plan::hash).as_ref() != Some(hash) {
            return Ok(Applied::Changed(now.map(Box::new)));
        }
        let headers = [
            (Message::CONFIRMS, hash.to_string()),
            (Message::EXACTLY, hash.to_string()),
            (Message::HANDLER, kept.handler),
            (Message::REQUESTER, by.to_owned()),
        ];
        let mut message = Message { id: kept.applied, ..kept.message };
        message.headers.extend(headers.map(|(name, value)| (name.to_owned(), value)));
        self.send_decision(message).await.map(Applied::Sent)
    }
}

//! Plans that are previewed, kept for a day, and applied as they were seen.

use super::messages::{Accepted, NewMessage, accepted, described};
use super::views::{ReasonView, json_of};
use crate::auth::Caller;
use crate::extract::{Hash, JsonBody};
use crate::problem::{self, Problem, ProblemBody, ProblemCode};
use crate::web::Web;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use freshmaker::Plan;
use freshmaker::artifact::Digest;
use freshmaker::client::{Applied, KeptPlan, Sent};
use freshmaker::engine::{PreviewOutcome, Previewed};
use freshmaker::plan::PlanDiff;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What handlers would do about a message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PreviewView {
    /// One for each handler that wants the message.
    items: Vec<ForeseenView>,
}

/// What a handler would do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ForeseenView {
    /// The name of the handler.
    handler: String,
    /// `ignores`, `skips`, `fails`, `asks` (a person first, because the plan is large), `rebuilds`,
    /// `emits` or `cancels`.
    decision: &'static str,
    /// Why it would skip, fail or ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<ReasonView>,
    /// The hash under which the plan is kept, for a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    /// How many builds the plan has.
    #[serde(skip_serializing_if = "Option::is_none")]
    builds: Option<usize>,
    /// The plan.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Value>,
}

impl From<Previewed> for ForeseenView {
    fn from(Previewed { handler, decision, .. }: Previewed) -> Self {
        let plain = |decision, reason: Option<ReasonView>| Self {
            handler: handler.clone(),
            decision,
            reason,
            hash: None,
            builds: None,
            plan: None,
        };
        let planned = |decision, plan: &Plan, reason| Self {
            hash: Some(plan.hash().to_string()),
            builds: Some(plan.len()),
            plan: Some(json_of(plan)),
            ..plain(decision, reason)
        };
        match decision {
            PreviewOutcome::Ignores => plain("ignores", None),
            PreviewOutcome::Skips(reason) => plain("skips", Some(reason.into())),
            PreviewOutcome::Fails(reason) => plain("fails", Some(reason.into())),
            PreviewOutcome::Asks { plan, reason } => planned("asks", &plan, Some(reason.into())),
            PreviewOutcome::Rebuilds(plan) => planned("rebuilds", &plan, None),
            PreviewOutcome::Emits(_) => plain("emits", None),
            PreviewOutcome::Cancels(_) => plain("cancels", None),
            _ => plain("other", None),
        }
    }
}

/// A plan that is kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeptPlanView {
    hash: String,
    /// The handler that would follow it.
    handler: String,
    /// Who has asked for it.
    by: String,
    since: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<DateTime<Utc>>,
    #[schema(value_type = Object)]
    plan: Value,
}

/// How a plan that is kept differs from the one that the same message would lead to now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlanDiffView {
    /// Whether it can still be applied.
    same: bool,
    /// The hash of the present plan; not there if the message leads to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<String>,
    /// The differences in words.
    text: String,
    /// The differences.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<Value>,
}

/// Says what handlers would do about a message, and keeps their plans for a day, at most 1,000.
/// Nothing is started.
#[utoipa::path(
    post,
    path = "/api/3/plans",
    tag = "plans",
    request_body = NewMessage,
    responses((status = 200, description = "What each handler would do", body = PreviewView))
)]
pub(crate) async fn preview(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(new): JsonBody<NewMessage>,
) -> Result<Response, Problem> {
    let previewed = previewed(&web, &caller, &headers, new).await?;
    let items = previewed.into_iter().map(ForeseenView::from).collect();
    Ok(problem::json(StatusCode::OK, &[], PreviewView { items }))
}

/// What handlers would do about a message; their plans are kept.
pub(crate) async fn previewed(
    web: &Web,
    caller: &Caller,
    headers: &HeaderMap,
    new: NewMessage,
) -> Result<Vec<Previewed>, Problem> {
    let message = web.permitted(caller, "preview", described(caller, headers, new)?, "").await?;
    let on = format!("topic {}", message.topic);
    // Catalogs are asked: this takes as long as a request may take.
    web.audited(caller, "preview", &on, async {
        web.client().keep_plans(message, caller.name()).await.map_err(Problem::from)
    })
    .await
}

/// A plan that is kept.
#[utoipa::path(
    get,
    path = "/api/3/plans/{hash}",
    tag = "plans",
    params(("hash" = String, Path, description = "The hash of the plan")),
    responses((status = 200, description = "The plan", body = KeptPlanView))
)]
pub(crate) async fn one(State(web): State<Web>, Hash(hash): Hash) -> Result<Response, Problem> {
    let KeptPlan { plan, handler, by, since, until, .. } = web.ask(web.client().kept_plan(&hash)).await?;
    let (hash, plan) = (hash.to_string(), json_of(&plan));
    Ok(problem::json(StatusCode::OK, &[], KeptPlanView { hash, handler, by, since, until, plan }))
}

/// How a plan that is kept differs from the one that the same message would lead to now.
#[utoipa::path(
    get,
    path = "/api/3/plans/{hash}/diff",
    tag = "plans",
    params(("hash" = String, Path, description = "The hash of the plan")),
    responses((status = 200, description = "The differences", body = PlanDiffView))
)]
pub(crate) async fn diff(State(web): State<Web>, Hash(hash): Hash) -> Result<Response, Problem> {
    let compared = web.compared(&hash).await?;
    let now = compared.now.as_ref().map(|now| now.hash().to_string());
    let (same, diff) = (compared.is_same(), compared.diff());
    let text = diff.as_ref().map_or_else(|| NONE.to_owned(), ToString::to_string);
    let view = PlanDiffView { same, now, text, diff: diff.as_ref().map(json_of) };
    Ok(problem::json(StatusCode::OK, &[], view))
}

/// A plan that is kept, and the one that the same message leads to now.
#[derive(Debug)]
pub(crate) struct Compared {
    kept: Plan,
    now: Option<Plan>,
}

impl Compared {
    /// Whether it can still be applied.
    pub(crate) fn is_same(&self) -> bool {
        self.now.as_ref().is_some_and(|now| now.hash() == self.kept.hash())
    }

    /// The differences; `None` if the message leads to no plan.
    pub(crate) fn diff(&self) -> Option<PlanDiff<'_>> {
        self.now.as_ref().map(|now| self.kept.diff(now))
    }
}

impl Web {
    /// Compares a plan that is kept with the present one; catalogs are asked for that.
    pub(crate) async fn compared(&self, hash: &Digest) -> Result<Compared, Problem> {
        let kept = self.ask(self.client().kept_plan(hash)).await?;
        let now = self.client().plan_again(&kept).await?;
        Ok(Compared { kept: kept.plan, now })
    }
}

pub(crate) const NONE: &str = "the message leads to no plan any more";

/// Does exactly what a plan says that is kept, or nothing: if the same message leads to another
/// plan by now, the answer has the difference. To apply a plan twice is the same as once.
#[utoipa::path(
    post,
    path = "/api/3/plans/{hash}/apply",
    tag = "plans",
    params(("hash" = String, Path, description = "The hash of the plan")),
    responses(
        (status = 202, description = "The message that starts it", body = Accepted),
        (status = 409, description = "The plan is another one by now", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(crate) async fn apply(State(web): State<Web>, caller: Caller, Hash(hash): Hash) -> Result<Response, Problem> {
    let sent = applied(&web, &caller, &hash).await?;
    Ok(accepted("../../", &sent))
}

/// Does what a plan says, and returns the message that does.
pub(crate) async fn applied(web: &Web, caller: &Caller, hash: &Digest) -> Result<Sent, Problem> {
    web.audited(caller, "apply", &format!("plan {hash}"), async {
        let kept = web.ask(web.client().kept_plan(hash)).await?;
        web.permitted(caller, "apply", kept.message.clone(), "").await?;
        let known = web.is_sent(kept.application()).await?;
        match web.client().apply(hash, caller.name()).await? {
            Applied::Sent(message) if known => Ok(Sent::Known(message)),
            Applied::Sent(message) => Ok(Sent::New(message)),
            Applied::Changed(now) => {
                let text = now.map_or_else(|| NONE.to_owned(), |now| kept.plan.diff(&now).without_times().to_string());
                Err(Problem::new(ProblemCode::PlanChanged, text))
            }
        }
    })
    .await
}

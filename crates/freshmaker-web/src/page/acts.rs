//! What the forms of the pages do: each calls the handler of the API, and then shows a page.
//!
//! A form that is sent twice has its effect once: an event is cancelled, confirmed or retried once,
//! a plan is applied once, and a form about an older version is refused.

use super::form::Form;
use super::links;
use super::see_other;
use super::visit::Visit;
use crate::api::builds::{Resolution, Why};
use crate::api::events::{Cancellation, Part};
use crate::api::failures::{Cause, retried_by_cause};
use crate::api::systems::NewPause;
use crate::api::{builds, dead_letters, events, plans, systems};
use crate::auth::Allowed;
use crate::extract::{Hash, JsonBody, MaybeJson, Name, Number, Source, System};
use crate::problem::{Problem, ProblemCode};
use crate::routes::PageRoute;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::Response;
use axum::routing::post;
use freshmaker::artifact::Digest;
use freshmaker::client::{Client, Sent};
use freshmaker::rebuild::EventId;
use serde::Deserialize;

/// What forms do.
pub(super) fn routes() -> Vec<PageRoute> {
    let (rebuilders, admins) = (Allowed::REBUILDERS, Allowed::ADMINS);
    let act = |allowed, path, route| (allowed, Method::POST, path, route);
    vec![
        act(rebuilders, "/events/{id}/cancel", post(cancel)),
        act(rebuilders, "/events/{id}/confirm", post(confirm)),
        act(rebuilders, "/events/{id}/retry", post(retry)),
        act(rebuilders, "/failures/retry", post(retry_group)),
        act(admins, "/builds/{id}/give-up", post(give_up)),
        act(admins, "/attempts/{id}/resolve", post(resolve)),
        act(rebuilders, "/plans", post(super::plans::preview)),
        act(rebuilders, "/plans/{hash}/apply", post(apply)),
        act(admins, "/systems/{system}/pause", post(pause)),
        act(admins, "/systems/{system}/resume", post(resume)),
        act(admins, "/messages/{source}/{id}/requeue", post(requeue)),
        act(admins, "/messages/{source}/{id}/dismiss", post(dismiss)),
        act(Allowed::Everybody, "/sign-in", post(super::sign_in::sign_in)),
        act(Allowed::Everybody, "/sign-out", post(super::sign_in::sign_out)),
    ]
}

/// What a page says after a form was carried out.
pub(super) fn told(code: &str) -> Option<&'static str> {
    let told = match code {
        "cancelled" => "The event is being cancelled. What other events want as well goes on for them.",
        "confirmed" => "Confirmed. The event that follows the plan is listed below as soon as it is stored.",
        "retried" => "Retried. The new event is listed below as soon as it is stored.",
        "group-retried" => "Retried. The new events are among the events as soon as they are stored.",
        "confirmed-before" => "It was confirmed already, so nothing was started now. Its event is listed below.",
        "retried-before" => "It was retried already, so nothing was started now. Its event is listed below.",
        "applied-before" => "It was applied already, so nothing was started now. Its event is listed below.",
        "nothing-to-retry" => {
            "Nothing was retried: every event with such failures was retried already, is still open, or is not for you."
        }
        "applied" => "Applied. The event that follows the plan is listed below as soon as it is stored.",
        "given-up" => "The build was given up.",
        "resolved" => "Stored. The build goes on as if the build system had said so.",
        "paused" => "Paused. What runs goes on; nothing more is submitted.",
        "resumed" => "Resumed. What is ready is submitted again.",
        "requeued" => "The message is handled again.",
        "dismissed" => "The message was put away.",
        _ => return None,
    };
    Some(told)
}

/// The headers that refuse a decision about another version than the one that was looked at.
fn seen(version: u32) -> HeaderMap {
    let tag = HeaderValue::from_str(&crate::api::etag::tag(version)).expect("a number is printable ASCII");
    HeaderMap::from_iter([(header::IF_MATCH, tag)])
}

/// What the form to cancel an event sends.
#[derive(Deserialize)]
struct Canceled {
    /// May be empty.
    #[serde(default)]
    why: String,
}

async fn cancel(visit: Visit, Number(id): Number, Form(Canceled { why }): Form<Canceled>) -> Result<Response, Problem> {
    let Visit { web, caller, root, .. } = visit;
    let given = Cancellation { why: Some(why).filter(|why| !why.trim().is_empty()) };
    // Whatever has ended meanwhile: who cancels wants that nothing more is started.
    events::cancel(State(web), caller, Number(id), HeaderMap::new(), MaybeJson(Some(given))).await?;
    see_other(&format!("{root}events/{id}?told=cancelled"))
}

/// What the form to confirm a plan sends.
#[derive(Deserialize)]
struct Confirmed {
    version: u32,
    plan: String,
}

async fn confirm(visit: Visit, Number(id): Number, Form(form): Form<Confirmed>) -> Result<Response, Problem> {
    let Visit { web, caller, root, .. } = &visit;
    let plan: Digest = form.plan.parse().map_err(|_| Problem::new(ProblemCode::Invalid, "this is no plan"))?;
    let headers = seen(form.version);
    let sent = events::confirmed(web, caller, EventId(id), &headers, &plan).await?;
    see_message(root, &sent, "confirmed")
}

/// What the form to retry an event sends.
#[derive(Deserialize)]
struct Retried {
    part: Part,
}

async fn retry(visit: Visit, Number(id): Number, Form(Retried { part }): Form<Retried>) -> Result<Response, Problem> {
    let Visit { web, caller, root, .. } = &visit;
    let sent = events::retried(web, caller, EventId(id), &HeaderMap::new(), part).await?;
    see_message(root, &sent, "retried")
}

async fn retry_group(visit: Visit, Form(cause): Form<Cause>) -> Result<Response, Problem> {
    let Visit { web, caller, root, .. } = &visit;
    match retried_by_cause(web, caller, &cause).await {
        Ok(_) => see_other(&format!("{root}events?told=group-retried")),
        Err(problem) if problem.code == ProblemCode::Rejected => {
            let since =
                cause.since.map_or_else(String::new, |since| format!("&since={}", links::encoded(&since.to_rfc3339())));
            see_other(&format!("{root}failures?told=nothing-to-retry{since}"))
        }
        Err(problem) => Err(problem),
    }
}

/// Goes to the page of a message that was sent, which shows its events as soon as there are any. It
/// says whether this was done before.
fn see_message(root: &str, sent: &Sent, told: &str) -> Result<Response, Problem> {
    let before = if matches!(sent, Sent::Known(_)) { "-before" } else { "" };
    see_other(&format!("{root}messages/{}/{}?told={told}{before}", Client::LOCAL, links::encoded(sent.id())))
}

/// What the form to give up a build sends.
#[derive(Deserialize)]
struct GivenUp {
    version: u32,
    why: String,
}

async fn give_up(visit: Visit, Number(id): Number, Form(form): Form<GivenUp>) -> Result<Response, Problem> {
    let Visit { web, caller, root, .. } = visit;
    let body = JsonBody(Why { why: form.why });
    builds::give_up(State(web), caller, Number(id), seen(form.version), body).await?;
    see_other(&format!("{root}builds/{id}?told=given-up"))
}

/// What the form about an unclear submission sends.
#[derive(Deserialize)]
struct Resolved {
    build: i64,
    outcome: String,
    #[serde(default)]
    external_id: String,
}

async fn resolve(visit: Visit, Name(id): Name, Form(form): Form<Resolved>) -> Result<Response, Problem> {
    let Visit { web, caller, root, .. } = visit;
    let resolution = match form.outcome.as_str() {
        "found" => Resolution::Found { external_id: form.external_id },
        "never_submitted" => Resolution::NeverSubmitted {},
        _ => return Err(Problem::new(ProblemCode::Invalid, "say whether the build system has it")),
    };
    builds::resolve(State(web), caller, Name(id), JsonBody(resolution)).await?;
    see_other(&format!("{root}builds/{}?told=resolved", form.build))
}

async fn apply(visit: Visit, Hash(hash): Hash) -> Result<Response, Problem> {
    let Visit { web, caller, root, .. } = &visit;
    let sent = plans::applied(web, caller, &hash).await?;
    see_message(root, &sent, "applied")
}

async fn pause(visit: Visit, System(system): System, Form(form): Form<NewPause>) -> Result<Response, Problem> {
    let Visit { web, caller, root, .. } = visit;
    if web.ask(web.client().pauses()).await?.iter().all(|pause| pause.system != system) {
        systems::pause(State(web), caller, System(system), JsonBody(form)).await?;
    }
    see_other(&format!("{root}queue?told=paused"))
}

async fn resume(visit: Visit, System(system): System) -> Result<Response, Problem> {
    let Visit { web, caller, root, .. } = visit;
    if web.ask(web.client().pauses()).await?.iter().any(|pause| pause.system == system) {
        systems::resume(State(web), caller, System(system)).await?;
    }
    see_other(&format!("{root}queue?told=resumed"))
}

async fn requeue(visit: Visit, Source(source): Source, Name(id): Name) -> Result<Response, Problem> {
    let Visit { web, caller, root, .. } = visit;
    let page = format!("{root}messages/{}/{}?told=requeued", links::encoded(&source), links::encoded(&id));
    let message = web.ask(web.client().message(&source, &id)).await?;
    // Sent twice, or handled by another person.
    if message.state == freshmaker::rebuild::InboxState::Dead {
        dead_letters::requeue(State(web), caller, Source(source), Name(id)).await?;
    }
    see_other(&page)
}

async fn dismiss(
    visit: Visit,
    Source(source): Source,
    Name(id): Name,
    Form(why): Form<Why>,
) -> Result<Response, Problem> {
    let Visit { web, caller, root, .. } = visit;
    let page = format!("{root}messages/{}/{}?told=dismissed", links::encoded(&source), links::encoded(&id));
    let message = web.ask(web.client().message(&source, &id)).await?;
    // Sent twice, or handled by another person.
    if message.state == freshmaker::rebuild::InboxState::Dead {
        dead_letters::dismiss(State(web), caller, Source(source), Name(id), JsonBody(why)).await?;
    }
    see_other(&page)
}

//! `/plans/new` and `/plans/{hash}`: previews a plan, shows how it differs from a plan made now,
//! and applies exactly it.

use super::answer;
use super::decided::Decided;
use super::form::Form;
use super::frame::{Frame, Place};
use super::see_other;
use super::states::Chip;
use super::visit::Visit;
use super::{links, text};
use crate::api::messages::NewMessage;
use crate::api::plans::{NONE, previewed};
use crate::auth::Allowed;
use crate::extract::Hash;
use crate::problem::{Problem, ProblemCode};
use askama::Template;
use axum::http::HeaderMap;
use axum::response::Response;
use freshmaker::Plan;
use freshmaker::artifact::Digest;
use freshmaker::client::{Client, KeptPlan};
use freshmaker::engine::{PreviewOutcome, Previewed};
use freshmaker::event::Event;
use freshmaker::handler::{ImagePushed, RebuildRequested, SourceChanged};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The most builds of a plan that are listed; the whole plan is behind the link to its JSON.
const BUILDS_MAX: usize = 200;

/// The most lines of a difference that are shown.
const LINES_MAX: usize = 300;

#[derive(Template)]
#[template(path = "plan_new.html")]
struct NewPage {
    frame: Frame,
    what: &'static str,
    subject: String,
    /// What handlers would do, if a preview was requested.
    answers: Option<Vec<Answer>>,
}

/// What one handler would do.
struct Answer {
    handler: String,
    chip: Chip,
    text: String,
    hash: Option<String>,
}

impl From<Previewed> for Answer {
    fn from(Previewed { handler, decision, .. }: Previewed) -> Self {
        let plain = |class, word, text: String| {
            let chip = Chip::new(class, word);
            Self { handler: handler.clone(), chip, text, hash: None }
        };
        let planned =
            |class, word, plan: &Plan, text| Self { hash: Some(plan.hash().to_string()), ..plain(class, word, text) };
        match decision {
            PreviewOutcome::Ignores => plain("stop", "IGNORES", "it has nothing to say about this".to_owned()),
            PreviewOutcome::Skips(reason) => plain("same", "SKIPS", reason.text),
            PreviewOutcome::Fails(reason) => plain("fail", "FAILS", reason.text),
            PreviewOutcome::Asks { plan, reason } => planned("ask", "ASKS FIRST", &plan, reason.text),
            PreviewOutcome::Rebuilds(plan) => {
                let text = text::count(&plan.len(), "build");
                planned("run", "REBUILDS", &plan, text)
            }
            PreviewOutcome::Emits(messages) => plain("run", "EMITS", text::count(&messages.len(), "message")),
            PreviewOutcome::Cancels(events) => plain("stop", "CANCELS", text::count(&events.len(), "event")),
            _ => plain("ask", "OTHER", String::new()),
        }
    }
}

/// The form for a preview; `changed` or `rebuild` in the address fill it.
pub(crate) async fn new(visit: Visit) -> Result<Response, Problem> {
    let given = ["image", "source", "rebuild"].into_iter().find_map(|what| Some((what, visit.value(what)?)));
    let (what, subject) = given.unwrap_or(("image", ""));
    let page =
        NewPage { frame: visit.frame(Place::Plans, "Preview"), what, subject: subject.to_owned(), answers: None };
    answer(&visit, &page)
}

/// What the form sends.
#[derive(Deserialize)]
pub(crate) struct Wanted {
    what: String,
    #[serde(default)]
    subject: String,
    #[serde(default)]
    topic: String,
    #[serde(default)]
    body: String,
}

impl Wanted {
    fn message(&self, by: &str) -> Result<NewMessage, Problem> {
        let subject = self.subject.trim();
        let invalid = |field: &str, text: &str| {
            Problem::new(ProblemCode::Invalid, "the form is not complete").parameter(field, text)
        };
        if self.what != "message" && subject.is_empty() {
            return Err(invalid("subject", "write the name of an artifact"));
        }
        let (topic, body) = match self.what.as_str() {
            "image" => (ImagePushed::KIND, json!({ "image": subject })),
            "source" => (SourceChanged::KIND, json!({ "artifact": subject })),
            "rebuild" => (RebuildRequested::KIND, json!({ "artifacts": [subject], "requester": by })),
            _ => {
                let body: Value = serde_json::from_str(&self.body)
                    .map_err(|error| invalid("body", &format!("it is no JSON: {error}")))?;
                (self.topic.trim(), body)
            }
        };
        Ok(NewMessage { topic: topic.to_owned(), headers: BTreeMap::new(), body: Some(body), body_base64: None })
    }
}

/// Asks the handlers, and goes to the plan if there is one alone. Nothing is started, so the form
/// can be sent as often as somebody likes.
pub(crate) async fn preview(visit: Visit, Form(wanted): Form<Wanted>) -> Result<Response, Problem> {
    let found = previewed(&visit.web, &visit.caller, &HeaderMap::new(), wanted.message(visit.caller.name())?).await?;
    let answers: Vec<Answer> = found.into_iter().map(Answer::from).collect();
    let mut hashes = answers.iter().filter_map(|answer| answer.hash.as_ref());
    if let (Some(hash), None) = (hashes.next(), hashes.next()) {
        return see_other(&format!("{}plans/{hash}", visit.root));
    }
    let what = ["image", "source", "rebuild"].into_iter().find(|what| *what == wanted.what).unwrap_or("message");
    let page =
        NewPage { frame: visit.frame(Place::Plans, "Preview"), what, subject: wanted.subject, answers: Some(answers) };
    answer(&visit, &page)
}

#[derive(Template)]
#[template(path = "plan.html")]
struct PlanPage {
    frame: Frame,
    hash: Digest,
    kept: KeptPlan,
    /// How long it takes at least.
    at_least: Duration,
    hidden: usize,
    waves: usize,
    codes: Vec<super::event::Code>,
    /// How the plan would be now, if that was requested.
    difference: Option<Difference>,
    may_apply: bool,
    applied: Option<Decided>,
}

/// How a plan differs from what the same message would lead to now.
struct Difference {
    is_same: bool,
    lines: Vec<String>,
    hidden: usize,
}

impl PlanPage {
    /// Whether it is known that it is another plan by now, which would be refused.
    fn is_past(&self) -> bool {
        self.difference.as_ref().is_some_and(|difference| !difference.is_same)
    }
}

pub(crate) async fn page(visit: Visit, Hash(hash): Hash) -> Result<Response, Problem> {
    show(&visit, hash, None).await
}

/// The same, compared with now; catalogs are asked for that.
pub(crate) async fn difference(visit: Visit, Hash(hash): Hash) -> Result<Response, Problem> {
    let compared = visit.web.compared(&hash).await?;
    let is_same = compared.is_same();
    let text = compared.diff().map_or_else(|| NONE.to_owned(), |diff| diff.without_times().to_string());
    let lines: Vec<_> = text.lines().take(LINES_MAX).map(str::to_owned).collect();
    let hidden = text.lines().count() - lines.len();
    show(&visit, hash, Some(Difference { is_same, lines, hidden })).await
}

/// How long a plan takes at least, with as many slots as the build systems have. Artifacts that
/// name no system are built by the one that is configured, if there is one alone.
fn at_least(plan: &Plan, limits: &BTreeMap<String, u32>) -> Duration {
    let only = limits.values().next().copied().filter(|_| limits.len() == 1);
    let slots = |system: Option<&str>| system.map_or(only, |system| limits.get(system).copied());
    plan.lower_bound_by(|system| slots(system).unwrap_or(u32::MAX))
}

async fn show(visit: &Visit, hash: Digest, difference: Option<Difference>) -> Result<Response, Problem> {
    let kept = visit.web.ask(visit.web.client().kept_plan(&hash)).await?;
    let json = match &difference {
        Some(_) => format!("api/3/plans/{hash}/diff"),
        None => format!("api/3/plans/{hash}"),
    };
    let page = PlanPage {
        frame: visit.frame(Place::Plans, format!("Plan {}", hash.short())).json(json),
        at_least: at_least(&kept.plan, &visit.web.concurrency_limits()),
        hidden: kept.plan.len().saturating_sub(BUILDS_MAX),
        waves: kept.plan.waves().count(),
        codes: super::event::codes(&kept.plan),
        applied: Decided::of(visit, kept.application()).await?,
        kept,
        hash,
        difference,
        may_apply: visit.may(Allowed::REBUILDERS),
    };
    answer(visit, &page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use freshmaker::{Artifact, ArtifactGraph, ArtifactKind};

    #[test]
    fn a_preview_takes_as_long_as_the_slots_need() {
        let mut graph = ArtifactGraph::new();
        for (name, system) in [("a", None), ("b", None), ("c", None), ("d", Some("slow"))] {
            let image = Artifact::new(name, ArtifactKind::Image).with_source(name, None);
            let image = image.with_estimate(Duration::from_secs(60));
            graph.insert(match system {
                Some(system) => image.with_system(system),
                None => image,
            });
        }
        let plan = graph.planner().rebuild("a").rebuild("b").rebuild("c").rebuild("d").plan().unwrap();
        let minutes = |limits: &[(&str, u32)]| {
            let limits = limits.iter().map(|(name, limit)| ((*name).to_owned(), *limit)).collect();
            at_least(&plan, &limits).as_secs() / 60
        };
        assert_eq!(minutes(&[]), 1, "nothing is known of slots");
        assert_eq!(minutes(&[("slow", 1)]), 3, "what names no system is built by the only one");
        assert_eq!(minutes(&[("slow", 1), ("fast", 3)]), 1, "it is not known which of them builds the others");
    }
}

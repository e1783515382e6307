//! `/events/{id}/not-rebuilt`: what a change reaches and is left out, and why.

use super::answer;
use super::event::{Code, codes};
use super::frame::{Frame, Place};
use super::visit::Visit;
use super::{links, text};
use crate::api::paging::LIMIT_MAX;
use crate::extract::Number;
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::ArtifactId;
use freshmaker::plan::Exclusion;
use freshmaker::rebuild::EventId;

#[derive(Template)]
#[template(path = "not_rebuilt.html")]
struct NotRebuiltPage {
    frame: Frame,
    event: EventId,
    codes: Vec<Code>,
    chosen: Option<String>,
    rows: Vec<(ArtifactId, Exclusion)>,
    total: usize,
    next: Option<String>,
    in_event: String,
}

/// What is not rebuilt because of an event, by name, and why.
pub(crate) async fn page(visit: Visit, Number(id): Number) -> Result<Response, Problem> {
    let plan = visit.web.plan_of(id).await?;
    let chosen = visit.value("code").map(str::to_owned);
    let behind = visit.value("behind").unwrap_or_default();
    let wanted = |exclusion: &Exclusion| chosen.as_ref().is_none_or(|code| *code == exclusion.code);
    let total = plan.exclusions().filter(|(_, exclusion)| wanted(exclusion)).count();
    // They are in the order of their names.
    let rest = plan.exclusions().filter(|(id, exclusion)| wanted(exclusion) && id.as_str() > behind);
    let mut rows: Vec<_> =
        rest.take(LIMIT_MAX as usize + 1).map(|(id, exclusion)| (id.clone(), exclusion.clone())).collect();
    let more = rows.len() > LIMIT_MAX as usize;
    rows.truncate(LIMIT_MAX as usize);
    let json = match &chosen {
        Some(code) => format!("api/3/events/{id}/excluded?code={}", links::encoded(code)),
        None => format!("api/3/events/{id}/excluded"),
    };
    let next = rows.last().filter(|_| more).map(|(id, _)| visit.query_with("behind", id.as_str()));
    let page = NotRebuiltPage {
        frame: visit.frame(Place::Events, format!("Event {id}: not rebuilt")).json(json),
        event: EventId(id),
        codes: codes(&plan),
        chosen,
        rows,
        total,
        next,
        in_event: format!("?event={id}"),
    };
    answer(&visit, &page)
}

//! `/events/{id}/not-rebuilt`: what a change reaches and is left out, and why.

use super::answer;
use super::event::{Code, codes};
use super::frame::{Frame, Place};
use super::list::Parts;
use super::visit::Visit;
use super::{links, text};
use crate::api::events::ExcludedQuery;
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
    parts: Parts,
    in_event: String,
}

/// What is not rebuilt because of an event, by name, and why.
pub(crate) async fn page(visit: Visit, Number(id): Number) -> Result<Response, Problem> {
    let plan = visit.web.plan_of(id).await?;
    let query: ExcludedQuery = visit.read()?;
    let (rows, total, next) = query.rows(&plan);
    let page = NotRebuiltPage {
        frame: visit
            .frame(Place::Events, format!("Event {id}: not rebuilt"))
            .json(visit.with_query(&format!("api/3/events/{id}/excluded"))),
        event: EventId(id),
        codes: codes(&plan),
        chosen: visit.value("code").map(str::to_owned),
        rows: rows.into_iter().map(|(id, exclusion)| (id.clone(), exclusion.clone())).collect(),
        total,
        parts: Parts::new(&visit, next.as_ref()),
        in_event: format!("?event={id}"),
    };
    answer(&visit, &page)
}

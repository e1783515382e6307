//! `/audit`: who did what, and who was refused.

use super::answer;
use super::frame::{Frame, Place};
use super::list::{Filter, Parts};
use super::states::Chip;
use super::text;
use super::visit::Visit;
use crate::api::tokens::AuditQuery;
use crate::audit::{AuditRow, Outcome, Part};
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    filter: Filter,
    rows: Vec<AuditRow>,
    is_of_refusals: bool,
    /// The queries of both parts of the log, with the same filter.
    writes: String,
    refusals: String,
    parts: Parts,
}

impl AuditPage {
    fn chip(outcome: &Outcome) -> Chip {
        match outcome {
            Outcome::Begun => Chip::new("ask", "BEGUN"),
            Outcome::Done => Chip::new("done", "DONE"),
            Outcome::Failed => Chip::new("fail", "FAILED"),
            Outcome::Refused => Chip::new("stop", "REFUSED"),
        }
    }
}

pub(crate) async fn page(visit: Visit) -> Result<Response, Problem> {
    let query: AuditQuery = visit.read()?;
    let is_of_refusals = query.part == Part::Refusals;
    let (rows, next) = query.rows(&visit.web).await?;
    let fields = [
        ("who", "Who", "alice"),
        ("what", "What, or on what", "cancel, event 7"),
        ("outcome", "Outcome", "done, failed, begun or refused"),
    ];
    let page = AuditPage {
        frame: visit.frame(Place::Audit, "Audit log").json(visit.with_query("api/3/audit")).every(15),
        filter: Filter::new(&visit, &fields),
        rows,
        is_of_refusals,
        writes: visit.query_with("part", "writes"),
        refusals: visit.query_with("part", "refusals"),
        parts: Parts::new(&visit, next.as_ref()),
    };
    answer(&visit, &page)
}

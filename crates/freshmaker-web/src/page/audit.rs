//! `/audit`: who did what, and who was refused.

use super::answer;
use super::frame::{Frame, Place};
use super::states::Chip;
use super::text;
use super::visit::Visit;
use crate::api::paging::Cursor;
use crate::api::tokens::AuditQuery;
use crate::audit::{AuditRow, Outcome, Part};
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    rows: Vec<AuditRow>,
    is_of_refusals: bool,
    next: Option<String>,
    first: Option<String>,
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
    let json = format!("api/3/audit?{}", visit.query_text());
    let page = AuditPage {
        frame: visit.frame(Place::Audit, "Audit log").json(json.trim_end_matches('?')).every(15),
        rows,
        is_of_refusals,
        next: next.map(|cursor: Cursor| visit.query_with("cursor", &cursor.encoded())),
        first: visit.value("cursor").map(|_| visit.query_with("cursor", "")),
    };
    answer(&visit, &page)
}

//! `/report`: how long it took from a message to the end of the last rebuild because of it.

use super::answer;
use super::frame::{Frame, Place};
use super::list::Parts;
use super::text;
use super::visit::Visit;
use crate::api::paging::Cursor;
use crate::api::report::ReportQuery;
use crate::api::views;
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::client::{TimeToFix, TimesToFix};
use freshmaker::event::Severity;
use std::time::Duration;

#[derive(Template)]
#[template(path = "report.html")]
struct ReportPage {
    frame: Frame,
    rows: Vec<Row>,
    times: Vec<TimeToFix>,
    since: String,
    until: String,
    /// The query of the same rows as CSV.
    csv: String,
    parts: Parts,
}

/// The events of one severity.
struct Row {
    severity: String,
    events: usize,
    median: Duration,
    p90: Duration,
}

impl Row {
    fn of(severity: String, times: &TimesToFix) -> Option<Self> {
        let (median, p90) = (times.percentile(50)?, times.percentile(90)?);
        Some(Self { severity, events: times.events.len(), median, p90 })
    }
}

pub(crate) async fn page(visit: Visit) -> Result<Response, Problem> {
    let web = &visit.web;
    let query: ReportQuery = visit.read()?;
    let (filter, paging) = query.filter()?;
    let times = web.ask(web.client().times_to_fix(filter, paging)).await?;
    let by_severity = Severity::ALL.iter().rev().filter_map(|severity| {
        let events = times.events.iter().filter(|time| time.event.envelope.severity == *severity);
        let mut of = TimesToFix::default();
        of.events = events.cloned().collect();
        Row::of(views::name_of(severity), &of)
    });
    let next = times.next.map(|number| Cursor(number.to_string()));
    let page = ReportPage {
        frame: visit.frame(Place::Report, "Time to fix").json(visit.with_query("api/3/report")).every(60),
        rows: by_severity.chain(Row::of("all".to_owned(), &times)).collect(),
        times: times.events,
        since: visit.value("since").unwrap_or_default().to_owned(),
        until: visit.value("until").unwrap_or_default().to_owned(),
        csv: visit.query_as("format", "csv"),
        parts: Parts::new(&visit, next.as_ref()),
    };
    answer(&visit, &page)
}

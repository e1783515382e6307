//! How long events took from their message to the end of the last rebuild because of them.

use super::paging::{Cursor, LIMIT_MAX, Limit, answer, paging};
use super::views::{Listing, name_of};
use crate::extract::{Query, parsed};
use crate::problem::Problem;
use crate::web::Web;
use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, Utc};
use freshmaker::backend::{EventFilter, Paging};
use freshmaker::client::{TimeToFix, TimesToFix};
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use utoipa::{IntoParams, ToSchema};

/// How long one event took.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TimeToFixView {
    pub(crate) event: i64,
    pub(crate) search_key: String,
    pub(crate) severity: String,
    /// How many builds were done.
    pub(crate) builds: u32,
    /// When its message was received, if it is still kept.
    pub(crate) received_at: Option<DateTime<Utc>>,
    pub(crate) done_at: Option<DateTime<Utc>>,
    /// From the message to the end of the last build; from the decision on, if the message is not
    /// kept any more.
    pub(crate) took_s: u64,
}

impl From<TimeToFix> for TimeToFixView {
    fn from(TimeToFix { event, received_at, took, .. }: TimeToFix) -> Self {
        Self {
            event: event.id.0,
            severity: name_of(&event.envelope.severity),
            search_key: event.envelope.search_key,
            builds: event.builds_done,
            received_at,
            done_at: event.done_at,
            took_s: took.as_secs(),
        }
    }
}

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportFormat {
    Json,
    Csv,
}

impl FromStr for ReportFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            _ => Err("it is neither json nor csv"),
        }
    }
}

/// Which events, and in which form.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReportQuery {
    /// Stored at or after this moment.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<DateTime<Utc>>)]
    since: Option<DateTime<Utc>>,
    /// Stored before this moment.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<DateTime<Utc>>)]
    until: Option<DateTime<Utc>>,
    /// The part of the list that a part before has named.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
    /// How many events are looked at: 1 to 200. Default: 200.
    #[serde(default = "all")]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Limit,
    /// `json` (default) or `csv`.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>)]
    format: Option<ReportFormat>,
}

fn all() -> Limit {
    Limit(LIMIT_MAX)
}

impl ReportQuery {
    /// The events that are asked for, and which part of them.
    pub(crate) fn filter(&self) -> Result<(EventFilter, Paging), Problem> {
        let filter = EventFilter { created_from: self.since, created_until: self.until, ..EventFilter::default() };
        Ok((filter, paging(self.cursor.as_ref(), self.limit, false)?))
    }
}

/// Tells how long events took whose builds have all ended well, newest first. A part of the list
/// looks at so many events as `limit` says, and leaves out those of which a build failed.
#[utoipa::path(
    get,
    path = "/api/3/report",
    tag = "operations",
    params(ReportQuery),
    responses(
        (status = 200, description = "A part of the list", content(
            (Listing<TimeToFixView> = "application/json"), (String = "text/csv"),
        ))
    )
)]
pub(crate) async fn report(
    State(web): State<Web>,
    uri: Uri,
    Query(query): Query<ReportQuery>,
) -> Result<Response, Problem> {
    let (filter, paging) = query.filter()?;
    let TimesToFix { events, next, .. } = web.ask(web.client().times_to_fix(filter, paging)).await?;
    let rows: Vec<_> = events.into_iter().map(TimeToFixView::from).collect();
    let next = next.map(|number| Cursor(number.to_string()));
    let csv = (query.format == Some(ReportFormat::Csv)).then(|| csv(&rows));
    let mut response = answer(&uri, rows, next.as_ref(), None, Vec::new());
    if let Some(csv) = csv {
        *response.body_mut() = csv.into();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present"));
        let name = HeaderValue::from_static("attachment; filename=\"time-to-fix.csv\"");
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// The rows as RFC 4180 describes.
fn csv(rows: &[TimeToFixView]) -> String {
    let moment = |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
    let mut text = "event,search_key,severity,builds,received_at,done_at,took_s\r\n".to_owned();
    for row in rows {
        let fields = [
            row.event.to_string(),
            quoted(&row.search_key),
            row.severity.clone(),
            row.builds.to_string(),
            moment(row.received_at).unwrap_or_default(),
            moment(row.done_at).unwrap_or_default(),
            row.took_s.to_string(),
        ];
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    text
}

/// A text as one field. Spreadsheets take what begins with one of these characters for a formula,
/// which a message must not bring: then an apostrophe comes first.
fn quoted(text: &str) -> String {
    let is_formula = text.trim_start().starts_with(['=', '+', '-', '@', '\t', '\r']);
    let mark = if is_formula { "'" } else { "" };
    format!("\"{mark}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_field_or_is_a_formula() {
        assert_eq!(quoted("debian:12"), "\"debian:12\"");
        assert_eq!(quoted("a\",\r\nb"), "\"a\"\",\r\nb\"");
        for text in ["=cmd|' /C calc'!A0", "+1", "-1", "@x", " =1"] {
            assert!(quoted(text).starts_with("\"'"), "{text}");
        }
    }
}

//! `/health`: whether the service can do its work, what does not move, and what rows contradict
//! each other.

use super::answer;
use super::frame::{Frame, Place};
use super::visit::Visit;
use super::{links, text};
use crate::api::operations::{Check, checks};
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::backend::{Overview, Violation};
use freshmaker::client::{Stuck, StuckSubject};
use std::time::Duration;

/// After this time without a change something is listed, if the request names no other time.
const STUCK: Duration = Duration::from_secs(3600);

/// The most rows that are shown.
const ROWS_MAX: usize = 100;

#[derive(Template)]
#[template(path = "health.html")]
struct HealthPage {
    frame: Frame,
    checks: Vec<Check>,
    overview: Option<Overview>,
    stuck: Vec<Row>,
    stuck_hidden: usize,
    /// Missing if the check, which reads all rows, was not requested.
    violations: Option<Vec<Violation>>,
    streams: usize,
    version: &'static str,
}

/// Something that does not move.
struct Row {
    stuck: Stuck,
    what: String,
    path: Option<String>,
}

impl Row {
    fn of(stuck: Stuck) -> Self {
        let (what, path) = match &stuck.what {
            StuckSubject::Build { build, .. } => (format!("build {build}"), Some(format!("builds/{build}"))),
            StuckSubject::Message(key) | StuckSubject::DeadLetter(key) => {
                let path = format!("messages/{}/{}", links::encoded(&key.source), links::encoded(&key.message_id));
                (format!("message {} of {}", key.message_id, key.source), Some(path))
            }
            StuckSubject::Bus { bus, partition } => (format!("bus {bus}, partition {partition}"), None),
            other => (format!("{other:?}"), None),
        };
        Self { stuck, what, path }
    }
}

pub(crate) async fn page(visit: Visit) -> Result<Response, Problem> {
    let web = &visit.web;
    let checks = checks(web).await;
    // A storage that does not answer is what this page is there to tell.
    let overview = web.ask(web.client().overview()).await.ok();
    let stuck = web.ask(web.client().stuck(STUCK)).await.unwrap_or_default();
    let stuck_hidden = stuck.len().saturating_sub(ROWS_MAX);
    let violations = match visit.value("check") {
        Some("rows") => Some(web.ask(web.client().check_consistency()).await?),
        _ => None,
    };
    let page = HealthPage {
        frame: visit.frame(Place::Health, "Health").json("readyz").every(10),
        checks,
        overview,
        stuck: stuck.into_iter().take(ROWS_MAX).map(Row::of).collect(),
        stuck_hidden,
        violations,
        streams: web.hub().counts().0,
        version: env!("CARGO_PKG_VERSION"),
    };
    answer(&visit, &page)
}

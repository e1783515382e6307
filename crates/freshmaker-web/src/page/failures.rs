//! `/failures`: what failed, by cause.

use super::answer;
use super::frame::{Frame, Place};
use super::visit::Visit;
use super::{links, text};
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::backend::{BuildCount, BuildFilter};
use freshmaker::rebuild::BuildState;

#[derive(Template)]
#[template(path = "failures.html")]
struct FailuresPage {
    frame: Frame,
    groups: Vec<BuildCount>,
}

pub(crate) async fn page(visit: Visit) -> Result<Response, Problem> {
    let web = &visit.web;
    let after = visit.position().await?;
    let failed = BuildFilter { states: vec![BuildState::Failed], ..BuildFilter::default() };
    let mut groups = web.ask(web.client().count_builds(failed)).await?;
    groups.sort_by_key(|row| std::cmp::Reverse(row.count));
    let page = FailuresPage {
        frame: visit.frame(Place::Failures, "Failures by cause").json("api/3/counts?state=FAILED").live(after),
        groups,
    };
    answer(&visit, &page)
}

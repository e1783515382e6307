//! `/failures`: what failed, by cause.

use super::answer;
use super::frame::{Frame, Place};
use super::visit::Visit;
use super::{links, text};
use crate::api::failures::{EVENTS_MAX, FailuresQuery};
use crate::auth::Allowed;
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::client::FailureGroup;

#[derive(Template)]
#[template(path = "failures.html")]
struct FailuresPage {
    frame: Frame,
    groups: Vec<FailureGroup>,
    since: String,
    may_decide: bool,
}

pub(crate) async fn page(visit: Visit) -> Result<Response, Problem> {
    let after = visit.position().await?;
    let FailuresQuery { since } = visit.read()?;
    let page = FailuresPage {
        groups: visit.web.ask(visit.web.client().failures(since)).await?,
        frame: visit.frame(Place::Failures, "Failures by cause").json(visit.with_query("api/3/failures")).live(after),
        since: visit.value("since").unwrap_or_default().to_owned(),
        may_decide: visit.may(Allowed::REBUILDERS),
    };
    answer(&visit, &page)
}

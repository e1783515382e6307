//! `/builds`: the list of builds, with its filters.

use super::answer;
use super::frame::{Frame, Place};
use super::list::{List, Parts};
use super::visit::Visit;
use super::{links, states, text};
use crate::api::builds::BuildsQuery;
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::backend::BuildFilter;
use freshmaker::rebuild::BuildRecord;

#[derive(Template)]
#[template(path = "builds.html")]
struct BuildsPage {
    frame: Frame,
    list: List,
    parts: Parts,
    builds: Vec<BuildRecord>,
}

pub(crate) async fn page(visit: Visit) -> Result<Response, Problem> {
    let web = &visit.web;
    let after = visit.position().await?;
    let query: BuildsQuery = visit.read()?;
    let (filter, paging) = query.filter()?;
    let all = BuildFilter { states: Vec::new(), systems: Vec::new(), reason_codes: Vec::new(), ..filter.clone() };
    let counts = web.ask(web.client().count_builds(all)).await?;
    let rows: Vec<_> =
        counts.iter().map(|row| ([row.state.as_str(), &row.reason_code, &row.system], row.count)).collect();
    let facets = [("State", "state"), ("Reason", "reason"), ("Build system", "system")];
    let fields = [("artifact", "Artifact", "the whole name"), ("event", "Event", "its number")];
    let found = web.ask(web.client().builds(filter, paging)).await?;
    let page = BuildsPage {
        frame: visit.frame(Place::Builds, "Builds").json(visit.with_query("api/3/builds")).live(after),
        list: List::new(&visit, facets, &rows, &fields),
        parts: Parts::of(&visit, &found),
        builds: found.items,
    };
    answer(&visit, &page)
}

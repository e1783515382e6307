//! `/builds`: the list of builds, by what it can be narrowed to.

use super::answer;
use super::events::{Field, fields, kept};
use super::facets::{Facet, facets};
use super::frame::{Frame, Place};
use super::visit::Visit;
use super::{links, states, text};
use crate::api::builds::BuildsQuery;
use crate::api::paging::Cursor;
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::backend::{BuildFilter, Page};
use freshmaker::rebuild::BuildRecord;

#[derive(Template)]
#[template(path = "builds.html")]
struct BuildsPage {
    frame: Frame,
    facets: Vec<Facet>,
    total: u64,
    builds: Vec<BuildRecord>,
    unreadable: usize,
    fields: Vec<Field>,
    kept: Vec<(String, String)>,
    is_narrowed: bool,
    next: Option<String>,
    first: Option<String>,
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
    let names = [("State", "state"), ("Reason", "reason"), ("Build system", "system")];
    let (facets, total) = facets(&visit, names, &rows);
    let Page { items, next, unreadable, .. } = web.ask(web.client().builds(filter, paging)).await?;
    let fields = fields(&visit, &[("artifact", "Artifact", "the whole name"), ("event", "Event", "its number")]);
    let page = BuildsPage {
        frame: visit
            .frame(Place::Builds, "Builds")
            .json(format!("api/3/builds?{}", visit.query_text()).trim_end_matches('?'))
            .live(after),
        facets,
        total,
        builds: items,
        unreadable: unreadable.len(),
        kept: kept(&visit, &fields),
        fields,
        is_narrowed: !visit.query.is_empty(),
        next: next.map(|number| visit.query_with("cursor", &Cursor(number.to_string()).encoded())),
        first: visit.value("cursor").map(|_| visit.query_with("cursor", "")),
    };
    answer(&visit, &page)
}

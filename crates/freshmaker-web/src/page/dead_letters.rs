//! `/dead-letters`: messages that could not be understood or handled.

use super::answer;
use super::frame::{Frame, Place};
use super::visit::Visit;
use super::{dead_letters, links, text};
use crate::api::dead_letters::DeadLettersQuery;
use crate::api::paging::Cursor;
use crate::auth::Allowed;
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::backend::Page;
use freshmaker::client::Client;
use freshmaker::rebuild::{InboxRecord, InboxState};

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct DeadLettersPage {
    frame: Frame,
    total: u64,
    letters: Vec<InboxRecord>,
    unreadable: usize,
    next: Option<String>,
    first: Option<String>,
    may_repair: bool,
}

/// Whether handlers may get it once more: what a bus has refused is not for them.
pub(crate) fn is_for_handlers(letter: &InboxRecord) -> bool {
    letter.state == InboxState::Dead && letter.source != Client::REFUSED
}

pub(crate) async fn page(visit: Visit) -> Result<Response, Problem> {
    let web = &visit.web;
    let after = visit.position().await?;
    let query: DeadLettersQuery = visit.read()?;
    let paging = query.paging()?.counted();
    let Page { items, next, total, unreadable } = web.ask(web.client().dead_letters(paging)).await?;
    let json = format!("api/3/dead-letters?{}", visit.query_text());
    let page = DeadLettersPage {
        frame: visit.frame(Place::DeadLetters, "Dead letters").json(json.trim_end_matches('?')).live(after).every(10),
        total: total.unwrap_or_default(),
        letters: items,
        unreadable: unreadable.len(),
        next: next.map(|number| visit.query_with("cursor", &Cursor(number.to_string()).encoded())),
        first: visit.value("cursor").map(|_| visit.query_with("cursor", "")),
        may_repair: visit.may(Allowed::ADMINS),
    };
    answer(&visit, &page)
}

//! `/dead-letters`: messages that could not be read or handled.

use super::answer;
use super::frame::{Frame, Place};
use super::list::Parts;
use super::visit::Visit;
use super::{dead_letters, links, text};
use crate::api::dead_letters::DeadLettersQuery;
use crate::auth::Allowed;
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::client::Client;
use freshmaker::rebuild::{InboxRecord, InboxState};

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct DeadLettersPage {
    frame: Frame,
    total: u64,
    letters: Vec<InboxRecord>,
    parts: Parts,
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
    let found = web.ask(web.client().dead_letters(paging)).await?;
    let page = DeadLettersPage {
        frame: visit
            .frame(Place::DeadLetters, "Dead letters")
            .json(visit.with_query("api/3/dead-letters"))
            .live(after)
            .every(10),
        total: found.total.unwrap_or_default(),
        parts: Parts::of(&visit, &found),
        letters: found.items,
        may_repair: visit.may(Allowed::ADMINS),
    };
    answer(&visit, &page)
}

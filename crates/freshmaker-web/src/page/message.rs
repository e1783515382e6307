//! `/messages/{source}/{id}`: a message that came in, and what became of it.

use super::answer;
use super::frame::{Frame, Place};
use super::states::Chip;
use super::visit::Visit;
use super::{dead_letters, links, states, text};
use crate::auth::Allowed;
use crate::extract::{Name, Source};
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::backend::{EventFilter, Paging};
use freshmaker::rebuild::{EventRecord, InboxRecord, InboxState};

/// How much of a body is shown, in characters.
const BODY_MAX: usize = 20_000;

/// The most events of a message that are listed; there is one for each handler.
const EVENTS_MAX: u32 = 50;

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    frame: Frame,
    message: InboxRecord,
    events: Vec<EventRecord>,
    body: Option<String>,
    cut: bool,
    may_repair: bool,
}

impl MessagePage {
    fn chip(&self) -> Chip {
        match self.message.state {
            InboxState::New => Chip::new("wait", "NEW"),
            InboxState::Claimed => Chip::new("run", "BEING HANDLED"),
            InboxState::Done => Chip::new("done", "HANDLED"),
            InboxState::Ignored => Chip::new("same", "IGNORED"),
            InboxState::Dead => Chip::new("fail", "DEAD LETTER"),
        }
    }

    /// Whether it is a dead letter, also one that a bus has refused.
    fn is_dead(&self) -> bool {
        self.message.state == InboxState::Dead
    }

    /// Whether its events are still to come.
    fn is_open(&self) -> bool {
        matches!(self.message.state, InboxState::New | InboxState::Claimed)
    }
}

/// One message, with its bytes.
pub(crate) async fn page(visit: Visit, Source(source): Source, Name(id): Name) -> Result<Response, Problem> {
    let after = visit.position().await?;
    let message = visit.web.ask(visit.web.client().message(&source, &id)).await?;
    let filter = EventFilter { message_ids: vec![id.clone()], ..EventFilter::default() };
    let mut events = visit.web.ask(visit.web.client().events(filter, Paging::first(EVENTS_MAX))).await?.items;
    events.retain(|event| event.source == source);
    let text = std::str::from_utf8(&message.message.body).ok();
    let cut = text.is_some_and(|text| text.chars().count() > BODY_MAX);
    let body = text.map(|text| text.chars().take(BODY_MAX).collect());
    let title = format!("Message {}", text::plain(&id));
    let page = MessagePage {
        frame: visit
            .frame(Place::DeadLetters, title)
            .json(format!("api/3/messages/{}/{}", links::encoded(&source), links::encoded(&id)))
            .live(after)
            .every(5),
        message,
        events,
        body,
        cut,
        may_repair: visit.may(Allowed::ADMINS),
    };
    answer(&visit, &page)
}

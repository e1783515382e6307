//! Earlier decisions of people about an event: by whom, when, and the event that followed.

use super::visit::Visit;
use crate::audit::{AuditRow, Outcome, Part};
use crate::problem::Problem;
use freshmaker::backend::{EventFilter, Paging};
use freshmaker::client::Client;
use freshmaker::event::Message;
use freshmaker::rebuild::{EventId, EventRecord};
use freshmaker::time::Timestamp;
use std::collections::BTreeSet;

/// The most rows of the audit log that are searched for who did something.
const LOOKED_AT: u32 = 200;

/// A decision, of which there is one message.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    /// Who, if the message says so.
    pub(crate) by: Option<String>,
    pub(crate) at: Timestamp,
    /// The message, among those that were sent through a client.
    pub(crate) message: String,
    /// Not there while the message waits to be handled.
    pub(crate) event: Option<EventId>,
}

impl Decided {
    /// The decision whose message has this identity, if it was made.
    pub(crate) async fn of(visit: &Visit, message: &str) -> Result<Option<Self>, Problem> {
        let web = &visit.web;
        if !web.is_sent(message).await? {
            return Ok(None);
        }
        let sent = web.ask(web.client().message(Client::LOCAL, message)).await?;
        let event = events(visit, vec![message.to_owned()]).await?.pop();
        Ok(Some(Self {
            by: sent.message.headers.get(Message::REQUESTER).cloned(),
            at: sent.received_at,
            message: message.to_owned(),
            event: event.map(|event| event.id),
        }))
    }
}

/// Who confirmed the plan of an event, if it was confirmed. The message names who asked for the
/// event, so the name is from the audit log; it is not there for what another program confirmed.
pub(crate) async fn confirmation(visit: &Visit, event: EventId) -> Result<Option<Decided>, Problem> {
    let Some(decided) = Decided::of(visit, &Client::confirmation(event)).await? else { return Ok(None) };
    let by = who_did(visit, "confirm", &format!("event {event}, ")).await?;
    Ok(Some(Decided { by, ..decided }))
}

/// Who did this last, as far as the newest rows of the audit log say: `on` is how its text begins.
async fn who_did(visit: &Visit, what: &str, on: &str) -> Result<Option<String>, Problem> {
    let rows = visit.web.ask(visit.web.audit().list(Part::Writes, None, LOOKED_AT)).await?;
    let is_it = |row: &AuditRow| row.what == what && row.on.starts_with(on) && row.outcome == Outcome::Done;
    Ok(rows.into_iter().map(|(_, row)| row).find(is_it).map(|row| row.who))
}

/// Of these events those whose plans were confirmed.
pub(crate) async fn confirmed(visit: &Visit, asking: &[EventRecord]) -> Result<BTreeSet<EventId>, Problem> {
    let asking = asking.iter().filter(|event| event.reason.code == super::states::ASKS);
    let messages: Vec<_> = asking.map(|event| Client::confirmation(event.id)).collect();
    if messages.is_empty() {
        return Ok(BTreeSet::new());
    }
    let events = events(visit, messages).await?;
    Ok(events.iter().filter_map(|event| Client::confirmed_by(&event.message_id)).collect())
}

/// The events that came of messages that were sent through a client.
async fn events(visit: &Visit, message_ids: Vec<String>) -> Result<Vec<EventRecord>, Problem> {
    let web = &visit.web;
    let filter = EventFilter { message_ids, ..EventFilter::default() };
    let mut events = web.ask(web.client().events(filter, Paging::first(Paging::LIMIT_MAX))).await?.items;
    events.retain(|event| event.source == Client::LOCAL);
    Ok(events)
}

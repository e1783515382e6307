//! Follows what an engine does until there is nothing left to do.

use crate::Result;
use crate::display::{Display, LOOK};
use crate::out::say;
use crate::summary::of_plan;
use freshmaker::backend::{EventFilter, Paging};
use freshmaker::client::Client;
use freshmaker::rebuild::{EventId, EventRecord};

/// Without a terminal there is a line for each such part of the work.
const PARTS: u64 = 10;

/// Which events are followed.
#[derive(Clone, Debug)]
pub(crate) enum Followed {
    /// Those that these messages bring.
    Messages(Vec<String>),
    /// Those with larger numbers, and that of this message.
    After(EventId, Option<String>),
}

impl Followed {
    pub(crate) async fn events(&self, client: &Client) -> Result<Vec<EventRecord>> {
        let mut events = Vec::new();
        match self {
            Self::Messages(ids) => {
                for id in ids {
                    let filter = EventFilter { message_ids: vec![id.clone()], ..EventFilter::default() };
                    events.extend(client.events(filter, Paging::first(Paging::LIMIT_MAX)).await?.items);
                }
            }
            Self::After(last, _) => {
                let page = client.events(EventFilter::default(), Paging::first(Paging::LIMIT_MAX)).await?;
                events.extend(page.items.into_iter().filter(|event| event.id > *last));
            }
        }
        events.sort_by_key(|event| event.id);
        Ok(events)
    }

    /// What cannot be handled at all leaves no event, only its message.
    async fn is_understood(&self, client: &Client) -> Result<()> {
        let messages = match self {
            Self::Messages(ids) => ids.as_slice(),
            Self::After(_, id) => id.as_slice(),
        };
        let dead = client.dead_letters(Paging::first(Paging::LIMIT_MAX)).await?.items;
        match dead.into_iter().find(|letter| messages.contains(&letter.message_id)) {
            Some(letter) => {
                Err(letter.reason.map_or_else(|| "no reason is known".to_owned(), |reason| reason.text).into())
            }
            None => Ok(()),
        }
    }
}

/// Shows the plans and then the progress; returns the events when all that the engine has to do is
/// done.
pub(crate) async fn follow(client: &Client, followed: &Followed) -> Result<Vec<EventRecord>> {
    let mut changes = client.subscribe().await?;
    loop {
        if client.overview().await?.messages_waiting == 0 {
            break;
        }
        tokio::select! {
            _ = changes.next() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    followed.is_understood(client).await?;
    let events = followed.events(client).await?;
    for event in &events {
        show_plan(client, event).await?;
    }
    let mut display = Display::new(PARTS);
    loop {
        // In this order: if there was nothing left to do, the events that are read afterwards are
        // at their ends.
        let overview = client.overview().await?;
        let events = followed.events(client).await?;
        let open: u64 = events.iter().map(|event| u64::from(event.builds_open)).sum();
        display.show(&events, overview.builds_running.min(open));
        if overview.is_idle() {
            display.done();
            return Ok(events);
        }
        tokio::select! {
            _ = changes.next() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn show_plan(client: &Client, event: &EventRecord) -> Result<()> {
    match client.plan(event.id).await? {
        Some(plan) => {
            // First, because a large plan fills more than a screen.
            say!("{}\n", of_plan(&plan));
            say!("{}\n", plan.to_string().trim_end());
        }
        None => say!("event {}: {}", event.id, event.reason),
    }
    Ok(())
}

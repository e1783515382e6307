//! What operators do with a service, through its client. Each function returns the text to be
//! shown. Several examples have this module.

use crate::Result;
use freshmaker::backend::{EventFilter, Paging, Violation};
use freshmaker::client::Client;
use freshmaker::rebuild::{EventId, InboxRecord};

/// The program that has this module.
const PROGRAM: &str = env!("CARGO_PKG_NAME");

/// Refuses what was decided before: a second time has no effect.
pub(crate) async fn only_once(client: &Client, message: String) -> Result<()> {
    if client.message(Client::LOCAL, &message).await.is_err() {
        return Ok(());
    }
    let filter = EventFilter { message_ids: vec![message], ..EventFilter::default() };
    let follows = client.events(filter, Paging::first(1)).await?.items.pop();
    let follows = follows.map_or("it is not handled yet".to_owned(), |event| format!("see event {}", event.id));
    Err(format!("that was done before, and has no effect a second time: {follows}").into())
}

/// Starts a plan that was too large to be started unasked.
pub(crate) async fn confirm(client: &Client, event: EventId) -> Result<String> {
    only_once(client, Client::confirmation(event)).await?;
    let plan = client.event(event).await?.plan.ok_or_else(|| format!("event {event} has no plan"))?;
    Ok(format!("event {event} is started, by message {}", client.confirm(event, &plan).await?))
}

/// Returns all messages that could not be handled.
pub(crate) async fn dead_letters(client: &Client) -> Result<Vec<InboxRecord>> {
    Ok(Paging::first(Paging::LIMIT_MAX).collect(usize::MAX, |paging| client.dead_letters(paging)).await?.items)
}

/// Says why each of these messages could not be handled, in a line each.
pub(crate) fn about_letters(letters: &[InboxRecord]) -> Vec<String> {
    let line = |letter: &InboxRecord| {
        let reason = letter.reason.as_ref().map_or_else(|| "no reason is known".to_owned(), ToString::to_string);
        format!("{} from {}: {reason}", letter.message_id, letter.source)
    };
    match letters {
        [] => vec!["no dead letters".to_owned()],
        letters => letters.iter().map(line).collect(),
    }
}

/// Handles a message again.
pub(crate) async fn requeue(client: &Client, id: &str) -> Result<String> {
    client.requeue(&source_of(client, id).await?, id).await?;
    Ok(format!("{id} is handled again"))
}

/// Puts a message away that cannot be handled.
pub(crate) async fn dismiss(client: &Client, id: &str, reason: &str, by: &str) -> Result<String> {
    client.dismiss(&source_of(client, id).await?, id, reason, by).await?;
    Ok(format!("{id} was put away"))
}

async fn source_of(client: &Client, id: &str) -> Result<String> {
    let letter = dead_letters(client).await?.into_iter().find(|letter| letter.message_id == id);
    Ok(letter.ok_or_else(|| format!("there is no dead letter {id}; `{PROGRAM} dead-letters` lists them"))?.source)
}

/// Returns what in the storage contradicts itself or cannot be read, and says it, in a line each.
pub(crate) async fn check_state(client: &Client) -> Result<(Vec<Violation>, Vec<String>)> {
    let violations = client.check_consistency().await?;
    let said = match &violations[..] {
        [] => vec!["what is stored is consistent".to_owned()],
        violations => violations.iter().map(ToString::to_string).collect(),
    };
    Ok((violations, said))
}

//! The command `retry`: handles an ended event again, as a whole or only what failed.

use crate::Result;
use crate::out::say;
use crate::show;
use freshmaker::backend::{BuildFilter, EventFilter, Paging};
use freshmaker::client::{Client, RetryPart};
use freshmaker::rebuild::{BuildState, EventId, InboxState};
use std::time::Duration;

/// The service that runs has so long to decide: it looks for messages of other processes every 5
/// seconds. Its catalogs may need longer; nothing is lost then.
const PATIENCE: Duration = Duration::from_secs(10);

/// Stores the wish. If the service that runs decides soon, the new event with its plan is shown,
/// else what is to be expected.
pub(crate) async fn retry(client: &Client, event: EventId, part: RetryPart, by: &str) -> Result<bool> {
    let message = client.retry(event, part, by).await?;
    let Ok(handled) = tokio::time::timeout(PATIENCE, client.wait_until_handled(&message)).await else {
        say!("event {event} will be retried: no service has decided on it yet. To be built again, if that is");
        say!("still what catalogs and policy say then:");
        expected(client, event, part).await?.iter().for_each(|line| say!("  {line}"));
        return Ok(true);
    };
    let handled = handled?;
    if handled.state == InboxState::Dead {
        let reason = handled.reason.map_or_else(|| "no reason is known".to_owned(), |reason| reason.text);
        return Err(format!("event {event} cannot be retried: {reason}").into());
    }
    let filter = EventFilter { message_ids: vec![message], ..EventFilter::default() };
    let events = client.events(filter, Paging::first(Paging::LIMIT_MAX)).await?.items;
    if events.is_empty() {
        say!("event {event} was retried: its handler has nothing to rebuild any more");
    }
    for retried in events.iter().filter(|retried| retried.retry_of == Some(event)) {
        say!("event {event} is retried:");
        show::show(client, Some(retried.id)).await?;
    }
    Ok(true)
}

/// What the retry would build, as far as stored rows say it.
async fn expected(client: &Client, event: EventId, part: RetryPart) -> Result<Vec<String>> {
    let states = BuildState::ALL.iter().copied();
    let states: Vec<_> = states.filter(|state| state.is_terminal() && !state.is_success()).collect();
    let failed = BuildFilter { events: vec![event], states, ..BuildFilter::default() };
    let failed = client.builds(failed, Paging::first(Paging::LIMIT_MAX).oldest_first()).await?.items;
    if part == RetryPart::Failed && !failed.is_empty() {
        return Ok(failed.iter().map(|it| format!("{} ({}: {})", it.key.artifact, it.state, it.reason)).collect());
    }
    let plan = client.plan(event).await?;
    let planned: Vec<_> = plan.iter().flat_map(|plan| plan.nodes()).map(|node| node.artifact.id.to_string()).collect();
    Ok(if planned.is_empty() { vec!["whatever is affected: the event has no plan".to_owned()] } else { planned })
}

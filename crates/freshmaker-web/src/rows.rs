//! Rows beside events and builds, for metrics and traces of what has ended.

use freshmaker::backend::{Remedy, Result};
use freshmaker::client::Client;
use freshmaker::rebuild::{AttemptRecord, BuildId, EventId, EventRecord};
use freshmaker::time::Timestamp;
use std::collections::BTreeMap;

/// Rows beside builds.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// The events that caused each build, the first of them first.
    pub(crate) causes: BTreeMap<BuildId, Vec<EventId>>,
    pub(crate) attempts: BTreeMap<BuildId, Vec<AttemptRecord>>,
}

impl Beside {
    pub(crate) async fn of(client: &Client, builds: Vec<BuildId>) -> Result<Self> {
        let mut beside = Self::default();
        for cause in client.links(builds.clone()).await?.causes {
            beside.causes.entry(cause.build).or_default().push(cause.event);
        }
        for attempt in client.attempts_of(builds).await? {
            beside.attempts.entry(attempt.build).or_default().push(attempt);
        }
        Ok(beside)
    }
}

/// When the message of an event was received, if it is still kept and can be read.
pub(crate) async fn received_at(client: &Client, event: &EventRecord) -> Result<Option<Timestamp>> {
    match client.message(&event.source, &event.message_id).await {
        Ok(message) => Ok(Some(message.received_at)),
        Err(error) if matches!(error.remedy, Remedy::NotFound | Remedy::Corrupt) => Ok(None),
        Err(error) => Err(error),
    }
}

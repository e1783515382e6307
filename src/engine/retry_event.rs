//! Handles an ended event again because a person asks for it: what becomes of the message that
//! asks. (Whether a failed *build* is tried again is decided in `rebuild::apply`, with the numbers
//! of `rebuild::limits`.)
//!
//! The handler of the event decides again, from what the catalogs and the policy say now. If only
//! the failed part is retried, the plan is cut down to the artifacts whose builds did not end well.
//! What had ended stays as it is: the retry is an event of its own, with `generation` and
//! `retry_of`.

use super::decision::{Incoming, latest_output};
use crate::artifact::ArtifactId;
use crate::backend::{BuildFilter, Error, EventFilter, Paging, StorageReads};
use crate::client::Client;
use crate::event::Message;
use crate::plan::Plan;
use crate::reason::Reason;
use crate::rebuild::{BuildState, EventId, EventRecord, Output};
use std::collections::{BTreeMap, BTreeSet};

/// Says why there is no retry although a message asks for one.
#[derive(Debug)]
pub(super) enum NoRetry {
    /// The storage failed.
    Backend(Error),
    /// There is no such event any more.
    Gone(EventId),
}

impl From<Error> for NoRetry {
    fn from(error: Error) -> Self {
        Self::Backend(error)
    }
}

/// Holds the event that is retried, and what its builds have become.
#[derive(Clone, Debug)]
pub(super) struct Retry {
    /// The event.
    pub(super) of: EventRecord,
    /// The person who wants it.
    pub(super) by: Option<String>,
    /// Whether only what did not end well is built.
    failed_only: bool,
    /// Artifacts whose builds did not end well.
    failed: BTreeSet<ArtifactId>,
    /// What the builds that ended well have made.
    made: BTreeMap<ArtifactId, Output>,
}

impl Retry {
    /// Returns the retry that a message asks for; `None` if it asks for none.
    ///
    /// # Errors
    /// The storage failed, or there is no such event any more.
    pub(super) async fn of(incoming: Incoming<'_>, reads: &dyn StorageReads) -> Result<Option<Self>, NoRetry> {
        let header = |name| incoming.headers.get(name);
        let Some(id) = header(Message::RETRIES).and_then(|text| text.parse().ok()).map(EventId) else {
            return Ok(None);
        };
        let filter = EventFilter { ids: vec![id], ..EventFilter::default() };
        let mut found = reads.events(filter, Paging::first(1)).await?;
        found.must_be_readable()?;
        let of = found.items.pop().ok_or(NoRetry::Gone(id))?;
        let failed_only = header(Message::PART).is_some_and(|part| part == Client::FAILED_PART);
        let by = header(Message::REQUESTER).cloned();
        let (mut failed, mut made) = (BTreeSet::new(), BTreeMap::new());
        let filter = BuildFilter { events: vec![id], ..BuildFilter::default() };
        let builds = |paging| reads.builds(filter.clone(), paging);
        let builds = Paging::first(Paging::LIMIT_MAX).collect(usize::MAX, builds).await?;
        // One that cannot be read may be the one that failed.
        builds.must_be_readable()?;
        for build in builds.items {
            let artifact = build.key.artifact;
            if build.state.is_success() {
                // The latest comes first.
                made.entry(artifact).or_insert(build.output.unwrap_or_default());
            } else if build.state.is_terminal() {
                failed.insert(artifact);
            }
        }
        if failed_only {
            // Something newer may have been built since.
            for (artifact, output) in &mut made {
                let ended_well = vec![BuildState::Done, BuildState::Reused];
                if let Some(newest) = latest_output(reads, artifact, of.mode, ended_well).await? {
                    *output = newest;
                }
            }
        }
        Ok(Some(Self { of, by, failed_only, failed, made }))
    }

    /// Returns the part of a plan that is retried. If the event has no builds that failed, it has
    /// failed itself, and the whole plan is retried.
    pub(super) fn cut(&self, plan: Plan) -> Plan {
        if !self.failed_only || self.failed.is_empty() {
            return plan;
        }
        let text = format!("event {}, which this one retries, has built it or did not build it", self.of.id);
        plan.part(&self.failed, &self.made, &Reason::new("not_retried", text))
    }
}

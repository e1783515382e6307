//! Finds what has not moved in its time, and names the cause of each.

use super::Client;
use crate::backend::{BuildFilter, Due, EventFilter, Paging, Remedy, Result, Violation};
use crate::reason::Reason;
use crate::rebuild::{
    AttemptId, BuildId, BuildRecord, BuildState, EventState, InboxState, MessageKey, PausedSystem, RowKey, Transition,
};
use crate::time::{Timestamp, earlier};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Something that has not changed for a long time, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stuck {
    /// What does not move.
    pub what: StuckSubject,
    /// Since when.
    pub since: Timestamp,
    /// The cause, as far as it is stored.
    pub cause: Reason,
    /// What a person can do, in one sentence.
    pub advice: &'static str,
}

/// What does not move.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StuckSubject {
    /// A message that is not handled yet.
    Message(MessageKey),
    /// A message that could not be read or handled, or that a bus has refused.
    DeadLetter(MessageKey),
    /// A build, with its live attempt, if it has one.
    Build {
        /// The build.
        build: BuildId,
        /// Its live attempt.
        attempt: Option<AttemptId>,
    },
    /// A bus that does not take the notifications of a partition.
    Bus {
        /// Registered name of the bus.
        bus: String,
        /// The partition.
        partition: u16,
    },
    /// A stored row that cannot be read, as [`check_consistency`](Client::check_consistency) names
    /// it.
    Row(String),
}

const OLDEST: Paging = Paging { oldest_first: true, ..Paging::first(Paging::LIMIT_MAX) };

impl Client {
    /// Lists what has not changed for longer than this time, with the cause of each: dead letters,
    /// messages that wait, builds that are ready, being submitted, verified or stopped, attempts
    /// that are overdue, buses that take no notifications, and rows among these that cannot be
    /// read. Oldest first within each sort; at most [`Paging::LIMIT_MAX`] of each are read. A
    /// person who cannot remove the cause takes an entry from the list with
    /// [`dismiss`](Self::dismiss) or [`give_up`](Self::give_up).
    ///
    /// A build that waits for another build is not listed; the other build is. Nor is one that
    /// waits for its turn while others run in its build system. A running build is listed only
    /// after its deadline.
    ///
    /// ```
    /// use freshmaker::client::Client;
    /// use freshmaker::memory::MemoryStorage;
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// # futures_util::FutureExt::now_or_never(async {
    /// let client = Client::new(Arc::new(MemoryStorage::new()));
    /// for stuck in client.stuck(Duration::from_secs(3600)).await? {
    ///     println!("{:?} since {}: {} ({})", stuck.what, stuck.since, stuck.cause, stuck.advice);
    /// }
    /// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
    /// ```
    ///
    /// # Errors
    /// Those of the storage.
    #[doc(alias = "health")]
    pub async fn stuck(&self, for_longer_than: Duration) -> Result<Vec<Stuck>> {
        // What is stored has times of the clock of the storage.
        let due = self.due(0).await?;
        let before = earlier(due.now, for_longer_than);
        let mut unreadable = BTreeSet::new();
        let mut stuck = self.stuck_messages(&mut unreadable).await?;
        stuck.extend(self.stuck_builds(&due, &mut unreadable).await?);
        stuck.extend(self.stuck_buses(&mut unreadable).await?);
        let states = EventState::ALL.iter().copied().filter(|state| !state.is_terminal()).collect();
        let open = EventFilter { states, ..EventFilter::default() };
        unreadable.extend(texts(self.events(open, OLDEST).await?.unreadable));
        stuck.extend(unreadable.into_iter().map(unread));
        stuck.retain(|stuck| stuck.since <= before);
        Ok(stuck)
    }

    async fn stuck_messages(&self, unreadable: &mut BTreeSet<String>) -> Result<Vec<Stuck>> {
        // Apart, so that many dead letters hide no message that waits.
        let waiting = self.messages(vec![InboxState::New, InboxState::Claimed], OLDEST).await?;
        let dead = self.messages(vec![InboxState::Dead], OLDEST).await?;
        unreadable.extend(texts(dead.unreadable.into_iter().chain(waiting.unreadable)));
        let messages = dead.items.into_iter().chain(waiting.items).map(|message| {
            let (cause, advice) = match message.state {
                InboxState::Dead if message.source == Self::REFUSED => {
                    (Reason::new("dead", "a bus has refused it"), "mend what is wrong with the bus, then dismiss it")
                }
                InboxState::Dead => {
                    let advice = "mend what is wrong with it, then requeue it, or dismiss it";
                    (Reason::new("dead", "it is a dead letter"), advice)
                }
                InboxState::Claimed => {
                    (Reason::new("handled", "a handler is busy with it"), "look at the catalogs that it asks")
                }
                _ => {
                    let cause = Reason::new("not_handled", "no engine has handled it yet");
                    (cause, "see that an engine runs, and what the cause says")
                }
            };
            let cause = message.reason.clone().unwrap_or(cause);
            let what = match message.state {
                InboxState::Dead => StuckSubject::DeadLetter(message.key()),
                _ => StuckSubject::Message(message.key()),
            };
            Stuck { what, since: message.received_at, cause, advice }
        });
        Ok(messages.collect())
    }

    async fn stuck_builds(&self, due: &Due, unreadable: &mut BTreeSet<String>) -> Result<Vec<Stuck>> {
        let states = vec![
            BuildState::Ready,
            BuildState::Submitting,
            BuildState::Building,
            BuildState::Verifying,
            BuildState::Canceling,
        ];
        let filter = BuildFilter { states, ..BuildFilter::default() };
        let builds = self.builds(filter, OLDEST).await?;
        unreadable.extend(texts(builds.unreadable));
        let pauses: BTreeMap<_, PausedSystem> =
            self.pauses().await?.into_iter().map(|pause| (pause.system.clone(), pause.into())).collect();
        let mut stuck = Vec::new();
        for build in builds.items {
            let busy = due.live.get(&build.key.system).copied().unwrap_or_default();
            let pause = pauses.get(&build.key.system).filter(|_| build.state == BuildState::Ready);
            if busy > 0 && pause.is_none() && is_queued(&build) {
                continue;
            }
            let mut found = match self.stuck_build(build, due.now).await {
                Err(error) if error.remedy == Remedy::Corrupt => {
                    unreadable.insert(error.to_string());
                    continue;
                }
                found => found?,
            };
            if let (Some(stuck), Some(pause)) = (&mut found, pause) {
                stuck.cause = pause.reason.clone();
                stuck.advice = "resume the build system";
            }
            stuck.extend(found);
        }
        Ok(stuck)
    }

    async fn stuck_build(&self, build: BuildRecord, now: Timestamp) -> Result<Option<Stuck>> {
        let attempts = self.attempts(build.id).await?;
        let live = attempts.into_iter().rev().find(|attempt| attempt.state.is_live());
        let overdue = live.as_ref().and_then(|attempt| attempt.deadline).filter(|deadline| *deadline <= now);
        let (since, advice) = match (build.state, overdue) {
            (BuildState::Building, None) => return Ok(None),
            (BuildState::Building, Some(deadline)) => (Some(deadline), "see that an engine has its build system"),
            (BuildState::Ready, _) => {
                (None, "see that an engine has its build system, with a free place; or give it up")
            }
            (BuildState::Submitting, _) => (None, "look into the build system, then resolve the attempt"),
            (BuildState::Verifying, _) => (None, "see that its verifier answers; or give the build up"),
            _ => (None, "see that its build system answers; or give the build up"),
        };
        let since = match since {
            Some(since) => since,
            None => unmoved_since(&build, &self.transitions(&RowKey::Build(build.id)).await?),
        };
        let cause = match (build.state, &live) {
            (BuildState::Submitting, Some(attempt)) => attempt.reason.clone(),
            (BuildState::Ready, _) if is_queued(&build) => {
                let text = format!("no engine has started it, and nothing runs in {}", build.key.system);
                Reason::new("not_started", text)
            }
            _ => build.reason,
        };
        let what = StuckSubject::Build { build: build.id, attempt: live.map(|attempt| attempt.id) };
        Ok(Some(Stuck { what, since, cause, advice }))
    }

    async fn stuck_buses(&self, unreadable: &mut BTreeSet<String>) -> Result<Vec<Stuck>> {
        let reads = self.reads().await?;
        let mut stuck = Vec::new();
        for (number, partition) in (0..).zip(reads.outbox().await?.partitions) {
            for (bus, position) in partition.buses.into_iter().filter(|(_, position)| *position < partition.last) {
                let mut found = reads.notifications(Some(number), position, 1).await?;
                unreadable.extend(texts(found.unreadable));
                let Some((_, first)) = found.items.pop() else { continue };
                let history = self.transitions(&first.of).await?;
                let since = history.iter().find(|row| row.version >= first.version);
                // Its history is not kept any more, so it is old.
                let since = since.map_or(Timestamp::UNIX_EPOCH, |row| row.at);
                let text = format!("{bus} has not taken the message about {}", first.of);
                let (cause, advice) = (Reason::new("not_published", text), "see that the bus can be reached");
                stuck.push(Stuck { what: StuckSubject::Bus { bus, partition: number }, since, cause, advice });
            }
        }
        Ok(stuck)
    }
}

/// Whether a build only waits for its turn. If something runs in its build system, that is no
/// cause for worry, however long it takes: what runs is looked at itself.
fn is_queued(build: &BuildRecord) -> bool {
    build.state == BuildState::Ready && matches!(build.reason.code.as_str(), "planned" | "ready")
}

fn texts(unreadable: impl IntoIterator<Item = Violation>) -> impl Iterator<Item = String> {
    unreadable.into_iter().map(|row| row.text)
}

/// A row that cannot be read; when it was damaged is not known.
fn unread(row: String) -> Stuck {
    Stuck {
        cause: Reason::new("unreadable", row.as_str()),
        what: StuckSubject::Row(row),
        since: Timestamp::UNIX_EPOCH,
        advice: "it decides nothing, and what needs it waits: mend the row in the database, or go back to a backup",
    }
}

/// Since when a build with this history, oldest first, is where it is.
pub(super) fn unmoved_since(build: &BuildRecord, history: &[Transition]) -> Timestamp {
    // A build that cannot be sent goes back and forth between these, and does not move.
    let waits = ["READY", "SUBMITTING"];
    let still = history.iter().rev().enumerate();
    let mut still = still.take_while(|(place, row)| *place == 0 || waits.contains(&row.to.as_str()));
    let moves = !matches!(build.state, BuildState::Ready | BuildState::Submitting);
    let first = if moves { still.next() } else { still.last() };
    first.map_or(build.created_at, |(_, first)| first.at)
}

//! The storage of one process in the simulated world.

use super::backends::{PERSON, Shared, now};
use super::executor::step;
use super::faults::Fault;
use super::handlers::Noted;
use super::trouble::Trouble;
use async_trait::async_trait;
use freshmaker::backend::{
    BuildCount, BuildFilter, BuildLinks, CausedCount, Claim, Document, Documents, Due, DueLimits, Error, EventCount,
    EventFilter, Lease, Links, NewDocument, Notifications, Outbox, Overview, Page, Paging, Remedy, Result, Retention,
    Scope, Storage, StorageReads, StorageUpkeep, Swept, Violation,
};
use freshmaker::event::Event as _;
use freshmaker::plan::{Observation, Plan};
use freshmaker::rebuild::{
    AttemptRecord, AttemptState, BuildId, BuildMode, BuildRecord, BuildState, Commit, EventId, EventRecord,
    InboxRecord, InboxState, Neighbourhood, RowChange, RowKey, RunId, Transition,
};
use freshmaker::time::{Timestamp, later};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A commit that takes effect at this moment, if it still fits then.
#[derive(Debug)]
pub(super) struct Late {
    at: Timestamp,
    /// The run that made it, also if the commit does not name it.
    run: Option<RunId>,
    commit: Commit,
}

/// The storage of one process. Its calls fail before or after they took effect, and take time.
#[derive(Debug)]
pub(super) struct SimStorage {
    pub(super) rows: Arc<dyn Storage>,
    pub(super) shared: Shared,
    pub(super) fault: Option<Fault>,
    /// Late commits, of all processes.
    pub(super) late: Arc<Mutex<Vec<Late>>>,
}

#[async_trait]
impl Storage for SimStorage {
    fn upkeep(&self) -> &dyn StorageUpkeep {
        self
    }

    fn reads(&self) -> &dyn StorageReads {
        self
    }

    fn documents(&self) -> &dyn Documents {
        self
    }

    async fn lease(&self, held: Option<RunId>) -> Result<Lease> {
        if held.is_some() {
            self.shared.delay().await;
            self.shared.fails("storage.lease, before").await?;
        }
        let lease = now(self.rows.lease(held))?;
        self.shared.world().leased(&lease);
        step().await;
        if held.is_some() {
            self.shared.fails("storage.lease, after it was done,").await?;
        }
        Ok(lease)
    }

    async fn release(&self, run: RunId) -> Result<()> {
        self.shared.delay().await;
        self.shared.fails("storage.release").await?;
        now(self.rows.release(run))?;
        self.shared.world().released(run);
        Ok(())
    }

    async fn reserve(&self, count: u32) -> Result<i64> {
        self.shared.delay().await;
        self.shared.fails("storage.reserve").await?;
        now(self.rows.reserve(count))
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<InboxRecord>> {
        step().await;
        self.shared.fails("storage.claim, before").await?;
        let claimed = now(self.rows.claim(claim))?;
        step().await;
        self.shared.fails("storage.claim, after it was done,").await?;
        Ok(claimed)
    }

    async fn load(&self, scope: &Scope) -> Result<Neighbourhood> {
        self.shared.delay().await;
        self.shared.fails("storage.load").await?;
        let loaded = now(self.rows.load(scope))?;
        step().await;
        let broken = self.shared.world().broken_row;
        if broken.is_some_and(|build| loaded.builds.contains_key(&build)) {
            return Err(Error::new(Remedy::Corrupt, "storage.load", "a row cannot be read"));
        }
        Ok(loaded)
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.shared.delay().await;
        match self.meets_commit("storage.commit, before").await {
            // An engine that takes it for stored.
            Err(_) if self.fault == Some(Fault::UnclearTakenForStored) => return Ok(()),
            met => met?,
        }
        let run = commit.run;
        let commit = match self.fault {
            Some(fault) => fault.spoil(commit),
            None => commit,
        };
        if self.is_late() {
            let at = {
                let mut world = self.shared.world();
                let seconds = world.rng.u64(1..=70);
                later(world.now(), Duration::from_secs(seconds))
            };
            self.late.lock().unwrap_or_else(PoisonError::into_inner).push(Late { at, run, commit });
            // The answer is lost: the process that waits for it gives up, or has died by then.
            return std::future::pending().await;
        }
        self.objects(&commit)?;
        let connects =
            commit.changes.iter().any(|change| matches!(change, RowChange::Cause(_) | RowChange::Dependency(_)));
        now(self.rows.commit(commit))?;
        self.shared.world().committed(run);
        if connects {
            self.audit()?;
        }
        step().await;
        self.meets_commit("storage.commit, after it was done,").await
    }
}

#[async_trait]
impl StorageUpkeep for SimStorage {
    async fn migrate(&self) -> Result<()> {
        now(self.rows.upkeep().migrate())
    }

    async fn sweep(&self, run: RunId, retention: Retention, limit: u32) -> Result<Swept> {
        self.shared.delay().await;
        self.shared.fails("sweep").await?;
        let before = self.open()?;
        let swept = now(self.rows.upkeep().sweep(run, retention, limit))?;
        if self.open()? != before {
            self.shared.world().violation(format!("{swept:?} was removed, and some of it had not ended"));
        }
        self.shared.world().swept += swept.events;
        Ok(swept)
    }
}

impl SimStorage {
    /// Every question is a place where the process may die, and may fail.
    async fn asked(&self) -> Result<&dyn StorageReads> {
        step().await;
        self.shared.fails("storage.reads").await?;
        self.settle();
        Ok(self.rows.reads())
    }

    /// As [`asked`](Self::asked), for documents.
    async fn kept(&self) -> Result<&dyn Documents> {
        step().await;
        self.shared.fails("storage.documents").await?;
        Ok(self.rows.documents())
    }

    /// What has not ended, in numbers.
    fn open(&self) -> Result<[u64; 4]> {
        let overview = now(self.rows.reads().overview())?;
        let Overview { events_open, builds_waiting, builds_running, messages_waiting, .. } = overview;
        Ok([events_open, builds_waiting, builds_running, messages_waiting])
    }

    /// An error of a commit may leave open whether it was stored.
    async fn meets_commit(&self, place: &str) -> Result<()> {
        let met = self.shared.fails(place).await;
        let unclear = self.shared.world().rng.bool();
        match met {
            Err(error) if unclear => Err(error.with_remedy(Remedy::Unclear)),
            met => met,
        }
    }

    /// Whether the next commit takes effect after its caller has given up.
    fn is_late(&self) -> bool {
        let mut world = self.shared.world();
        let chance = world.weather.late_commit;
        let late = self.shared.process != PERSON && world.weather.odd_max > 0 && world.chance(chance);
        if late {
            world.weather.odd_max -= 1;
            world.say(|| "a commit takes effect later".to_owned());
        }
        late
    }

    /// Rows are consistent at any moment.
    fn audit(&self) -> Result<()> {
        for Violation { rule, text } in now(self.rows.reads().check_consistency())? {
            self.shared.world().violation(format!("{rule}: {text}"));
        }
        Ok(())
    }

    /// In some worlds, what is stored about the attempts of one artifact always meets a change, or
    /// what it was made into cannot be stored, nor a new note.
    fn objects(&self, commit: &Commit) -> Result<()> {
        let mut world = self.shared.world();
        let attempts = commit.changes.iter().filter_map(|change| match change {
            RowChange::Attempt { record, .. } => Some((record.build, record.state)),
            _ => None,
        });
        let attempts: BTreeMap<BuildId, AttemptState> = attempts.collect();
        let hit = commit.changes.iter().any(|change| match change {
            RowChange::Build { record, .. } => {
                let (artifact, attempt) = (&record.key.artifact, attempts.get(&record.id));
                attempt.is_some() && world.ails(Trouble::Conflicts, artifact)
                    || attempt == Some(&AttemptState::Succeeded) && world.ails(Trouble::Refusals, artifact)
            }
            RowChange::Receive(record) => {
                record.state == InboxState::New
                    && record.message.topic == Noted::KIND
                    && world.suffers(Trouble::Refusals)
            }
            _ => false,
        });
        if !hit {
            return Ok(());
        }
        world.asked("a commit".to_owned());
        Err(if world.suffers(Trouble::Refusals) {
            Error::new(Remedy::Rejected, "storage.commit", "it has a character that cannot be stored")
        } else {
            Error::new(Remedy::Conflict, "storage.commit", "it has changed meanwhile")
        })
    }

    /// In some worlds, a row breaks while it is built.
    fn hide(&self, due: &mut Due) {
        let mut world = self.shared.world();
        let building = due
            .attempts
            .iter()
            .find(|(_, build)| build.state == BuildState::Building && world.ails(Trouble::Row, &build.key.artifact));
        if let Some(build) = building.map(|(_, build)| build.id) {
            world.broken_row = Some(build);
        }
        let Some(broken) = world.broken_row else { return };
        let before = due.attempts.len() + due.ready.len();
        due.attempts.retain(|(_, build)| build.id != broken);
        due.ready.retain(|build| build.id != broken);
        if due.attempts.len() + due.ready.len() < before {
            let text = format!("build {broken} cannot be read");
            due.unreadable.push(Violation { rule: "unreadable".into(), text });
        }
    }

    /// Lets late commits take effect whose time has come. The storage refuses what no longer fits.
    fn settle(&self) {
        let at = self.shared.world().now();
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let (due, rest) = std::mem::take(&mut *late).into_iter().partition(|late| late.at <= at);
        *late = rest;
        drop(late);
        for Late { run, commit, .. } in due {
            if now(self.rows.commit(commit)).is_ok() {
                self.shared.world().committed(run);
            }
        }
    }
}

#[async_trait]
impl StorageReads for SimStorage {
    async fn due(&self, run: RunId, limits: DueLimits) -> Result<Due> {
        let mut due = now(self.asked().await?.due(run, limits))?;
        if self.fault == Some(Fault::NoConcurrencyLimit) {
            due.live.clear();
        }
        self.hide(&mut due);
        if self.fault == Some(Fault::UnreadableStopsAll) && !due.unreadable.is_empty() {
            return Err(Error::new(Remedy::Corrupt, "storage.due", "a row cannot be read"));
        }
        Ok(due)
    }

    async fn events(&self, filter: EventFilter, paging: Paging) -> Result<Page<EventRecord>> {
        now(self.asked().await?.events(filter, paging))
    }

    async fn events_with_counts(
        &self,
        filter: EventFilter,
        paging: Paging,
    ) -> Result<Page<(EventRecord, Vec<CausedCount>)>> {
        now(self.asked().await?.events_with_counts(filter, paging))
    }

    async fn builds(&self, filter: BuildFilter, paging: Paging) -> Result<Page<BuildRecord>> {
        now(self.asked().await?.builds(filter, paging))
    }

    async fn builds_with_links(&self, filter: BuildFilter, paging: Paging) -> Result<Page<(BuildRecord, BuildLinks)>> {
        now(self.asked().await?.builds_with_links(filter, paging))
    }

    async fn count_events(&self, filter: EventFilter) -> Result<Vec<EventCount>> {
        now(self.asked().await?.count_events(filter))
    }

    async fn count_builds(&self, filter: BuildFilter) -> Result<Vec<BuildCount>> {
        now(self.asked().await?.count_builds(filter))
    }

    async fn links(&self, builds: Vec<BuildId>) -> Result<Links> {
        now(self.asked().await?.links(builds))
    }

    async fn attempts(&self, builds: Vec<BuildId>) -> Result<Vec<AttemptRecord>> {
        now(self.asked().await?.attempts(builds))
    }

    async fn transitions(&self, of: &RowKey) -> Result<Vec<Transition>> {
        now(self.asked().await?.transitions(of))
    }

    async fn message(&self, source: &str, message_id: &str) -> Result<Option<InboxRecord>> {
        now(self.asked().await?.message(source, message_id))
    }

    async fn messages(&self, states: Vec<InboxState>, paging: Paging) -> Result<Page<InboxRecord>> {
        now(self.asked().await?.messages(states, paging))
    }

    async fn plan(&self, event: EventId) -> Result<Option<Plan>> {
        now(self.asked().await?.plan(event))
    }

    async fn durations(&self, mode: BuildMode, limit: u32) -> Result<Vec<Observation>> {
        now(self.asked().await?.durations(mode, limit))
    }

    async fn notifications(&self, partition: Option<u16>, after: i64, limit: u32) -> Result<Notifications> {
        now(self.asked().await?.notifications(partition, after, limit))
    }

    async fn outbox(&self) -> Result<Outbox> {
        now(self.asked().await?.outbox())
    }

    async fn overview(&self) -> Result<Overview> {
        now(self.asked().await?.overview())
    }

    async fn check_consistency(&self) -> Result<Vec<Violation>> {
        now(self.rows.reads().check_consistency())
    }
}

#[async_trait]
impl Documents for SimStorage {
    async fn get(&self, kind: &str, id: &str) -> Result<Option<Document>> {
        now(self.kept().await?.get(kind, id))
    }

    async fn list(&self, kind: &str, before: Option<i64>, limit: u32) -> Result<Vec<Document>> {
        let documents = now(self.kept().await?.list(kind, before, limit))?;
        Ok(if self.fault == Some(Fault::PausesNotAsked) { Vec::new() } else { documents })
    }

    async fn put(&self, document: NewDocument) -> Result<Document> {
        now(self.kept().await?.put(document))
    }

    async fn remove(&self, kind: &str, id: &str) -> Result<bool> {
        now(self.kept().await?.remove(kind, id))
    }
}

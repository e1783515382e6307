use super::{Client, PLACE};
use crate::backend::{BuildFilter, Due, DueLimits, Error, Page, Paging, Remedy, Result};
use crate::rebuild::{
    BuildId, BuildRecord, BuildState, ConcurrencyLimits, LiveForecast, OpenBuilds, RowKey, RunId, WaitingFor,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// Builds whose rows and links are asked for at once.
const CHUNK: usize = Paging::LIMIT_MAX as usize;

/// The most levels of dependencies that are followed for one build, and the most builds that are
/// read.
const LEVELS_MAX: usize = 64;
const ANCESTORS_MAX: usize = 2_000;

/// The most ready and running builds of the build systems concerned that are read for one build.
const QUEUE_MAX: u32 = 200;

/// Questions about what is under way, and what it waits for.
impl Client {
    /// Reads the builds that have not ended, what they wait for, who wants them, their live
    /// attempts, and which build systems are paused.
    ///
    /// From one answer follow the forecast and what any number of builds wait for, without further
    /// calls of the storage. A program that shows it to many people should keep it for a moment. At
    /// most [`OpenBuilds::BUILDS_MAX`] builds are read, the oldest ones, in pages of 1,000, with
    /// about three queries for each page. The pages are not of one moment: a build that waits for a
    /// build which was planned meanwhile has no expected time until the next call.
    ///
    /// ```
    /// use freshmaker::client::Client;
    /// use freshmaker::memory::MemoryStorage;
    /// use freshmaker::rebuild::{ConcurrencyLimits, EventId};
    /// use std::sync::Arc;
    ///
    /// # futures_util::FutureExt::now_or_never(async {
    /// let client = Client::new(Arc::new(MemoryStorage::new()));
    /// let open = client.open_builds().await?;
    /// let forecast = open.forecast(&ConcurrencyLimits::new([("koji".to_owned(), 20)].into()));
    /// if let Some(event) = forecast.event(EventId(7)) {
    ///     println!("expected to end at {:?}, critical path {:?}", event.end, event.critical_path);
    /// }
    /// let waiting = open.waiting(Some(&forecast));
    /// for build in open.builds.keys() {
    ///     if let Some(waits) = waiting.of(*build) {
    ///         println!("build {build}: {}; next change {:?}", waits.reason, waits.next);
    ///     }
    /// }
    /// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
    /// ```
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn open_builds(&self) -> Result<OpenBuilds> {
        let mut open = self.nothing_open().await?;
        open.live = self.due(0).await?.live;
        let states = BuildState::ALL.iter().copied().filter(|state| !state.is_terminal()).collect();
        let filter = BuildFilter { states, ..BuildFilter::default() };
        let mut paging = Paging::first(Paging::LIMIT_MAX).oldest_first();
        loop {
            let Page { items, next, unreadable, .. } = self.builds(filter.clone(), paging).await?;
            open.complete &= unreadable.is_empty();
            let ids: Vec<_> = items.iter().map(|build| build.id).collect();
            self.add(&mut open, items).await?;
            self.link(&mut open, ids).await?;
            match next {
                Some(next) if open.builds.len() < OpenBuilds::BUILDS_MAX => paging = paging.behind(next),
                more => {
                    open.complete &= more.is_none();
                    return Ok(open);
                }
            }
        }
    }

    /// Returns when the open builds and their events are expected to end: [`OpenBuilds::forecast`]
    /// of [`open_builds`](Self::open_builds).
    ///
    /// # Errors
    /// Those of the storage.
    #[doc(alias = "ETA")]
    pub async fn forecast(&self, limits: &ConcurrencyLimits) -> Result<LiveForecast> {
        Ok(self.open_builds().await?.forecast(limits))
    }

    /// Returns what a build waits for: the path over its dependencies to the build that really
    /// holds it, why that build does not continue, since when, and the next moment that can change
    /// this. `None` if the build runs, or has ended for another reason than the failure of a build
    /// that it needs.
    ///
    /// The answer follows from the present rows. At most 64 levels of dependencies and 2,000 builds
    /// are read, and 200 of each build system concerned; builds beyond are reported as not read.
    /// For many builds at once use [`open_builds`](Self::open_builds).
    ///
    /// The state of an engine's circuit breaker is not stored. A build system counts as unreachable
    /// while a build that could not be sent to it waits for its next try.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) for an unknown build, and those of the storage.
    pub async fn waiting_for(&self, build: BuildId) -> Result<Option<WaitingFor>> {
        let mut open = self.nothing_open().await?;
        let row = self.rows(&mut open, &[build]).await?.pop();
        let row = row.ok_or_else(|| Error::new(Remedy::NotFound, PLACE, format!("there is no build {build}")))?;
        self.add(&mut open, vec![row]).await?;
        self.add_ancestors(&mut open, build).await?;
        self.add_queues(&mut open).await?;
        let Some(mut waits) = open.waiting(None).of(build) else { return Ok(None) };
        if let (None, Some(blocker)) = (waits.since, open.builds.get(&waits.blocker)) {
            let history = self.transitions(&RowKey::Build(blocker.id)).await?;
            waits.since = Some(super::stuck::unmoved_since(blocker, &history));
        }
        Ok(Some(waits))
    }

    /// Nothing yet, but what concerns all builds.
    async fn nothing_open(&self) -> Result<OpenBuilds> {
        let paused = self.pauses().await?.into_iter().map(|pause| (pause.system.clone(), pause.into())).collect();
        Ok(OpenBuilds { at: self.now(), paused, complete: true, ..OpenBuilds::default() })
    }

    /// The live attempts of all build systems, and at most this many ready builds of each.
    pub(super) async fn due(&self, ready: u32) -> Result<Due> {
        let limits = DueLimits { ready, attempts: 0, pause_max: Duration::MAX };
        self.reads().await?.due(RunId::NONE, limits).await
    }

    /// The rows of these builds, at most a chunk.
    async fn rows(&self, open: &mut OpenBuilds, ids: &[BuildId]) -> Result<Vec<BuildRecord>> {
        let filter = BuildFilter { ids: ids.to_vec(), ..BuildFilter::default() };
        let Page { items, unreadable, .. } = self.builds(filter, Paging::first(Paging::LIMIT_MAX)).await?;
        open.complete &= unreadable.is_empty();
        Ok(items)
    }

    /// Adds builds, and the live attempts of those that have one; at most a chunk.
    async fn add(&self, open: &mut OpenBuilds, builds: Vec<BuildRecord>) -> Result<()> {
        let waits = [BuildState::Blocked, BuildState::Ready];
        let submitted = builds.iter().filter(|build| !build.state.is_terminal() && !waits.contains(&build.state));
        let submitted: Vec<_> = submitted.map(|build| build.id).collect();
        if !submitted.is_empty() {
            let attempts = self.attempts_of(submitted).await?;
            let live = attempts.into_iter().filter(|attempt| attempt.state.is_live());
            open.attempts.extend(live.map(|attempt| (attempt.build, attempt)));
        }
        open.builds.extend(builds.into_iter().map(|build| (build.id, build)));
        Ok(())
    }

    /// Adds what these builds wait for, and who wants them; at most a chunk.
    async fn link(&self, open: &mut OpenBuilds, ids: Vec<BuildId>) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let children: BTreeSet<_> = ids.iter().copied().collect();
        let links = self.links(ids).await?;
        let waits = links.dependencies.into_iter().filter(|edge| !edge.satisfied && children.contains(&edge.child));
        open.dependencies.extend(waits);
        open.causes.extend(links.causes);
        Ok(())
    }

    /// Adds what a build waits for, directly or over others, level by level.
    async fn add_ancestors(&self, open: &mut OpenBuilds, build: BuildId) -> Result<()> {
        let mut level = vec![build];
        for _ in 0..LEVELS_MAX {
            let waits = |id: &BuildId| {
                let state = open.builds.get(id).map(|row| row.state);
                matches!(state, Some(BuildState::Blocked | BuildState::DependencyFailed))
            };
            level.retain(waits);
            if level.is_empty() {
                return Ok(());
            }
            let first = open.dependencies.len();
            self.link(open, level).await?;
            let parents = open.dependencies[first..].iter().map(|edge| edge.parent);
            let parents: BTreeSet<_> = parents.filter(|parent| !open.builds.contains_key(parent)).collect();
            let room = ANCESTORS_MAX.saturating_sub(open.builds.len()).min(CHUNK);
            open.complete &= parents.len() <= room;
            level = parents.into_iter().take(room).collect();
            let rows = if level.is_empty() { Vec::new() } else { self.rows(open, &level).await? };
            self.add(open, rows).await?;
        }
        open.complete = false;
        Ok(())
    }

    /// Adds what is before and beside the ready builds in the queues of their build systems.
    async fn add_queues(&self, open: &mut OpenBuilds) -> Result<()> {
        let ready = open.builds.values().filter(|build| build.state == BuildState::Ready);
        let systems: BTreeSet<_> = ready.clone().map(|build| build.key.system.clone()).collect();
        let waits: Vec<_> = ready.map(|build| build.id).collect();
        if waits.is_empty() {
            return Ok(());
        }
        let due = self.due(QUEUE_MAX).await?;
        open.live = due.live;
        let before: Vec<_> = due.ready.into_iter().filter(|build| systems.contains(&build.key.system)).collect();
        let full = |system: &String| before.iter().filter(|build| build.key.system == *system).count();
        let hidden = systems.iter().any(|system| full(system) >= QUEUE_MAX as usize);
        let behind = waits.iter().any(|id| before.iter().all(|build| build.id != *id));
        open.complete &= !(hidden && behind);
        let of = |states: &[BuildState], code: Option<&str>| BuildFilter {
            states: states.to_vec(),
            systems: systems.iter().cloned().collect(),
            reason_codes: code.into_iter().map(str::to_owned).collect(),
            ..BuildFilter::default()
        };
        let unsent = self.builds(of(&[BuildState::Ready], Some("not_sent")), Paging::first(QUEUE_MAX)).await?;
        let running = of(&[BuildState::Submitting, BuildState::Building], None);
        let running = self.builds(running, Paging::first(QUEUE_MAX)).await?;
        self.add(open, before.into_iter().chain(unsent.items).collect()).await?;
        self.add(open, running.items).await
    }
}

//! Holds what all stages of an engine share: backends, bounds, wake-ups, and the lease of the
//! current run.
//!
//! No state of a build is kept here. A process that dies loses only the list of the unreadable rows
//! that were reported, the generator of random numbers, and the lease, which expires in the
//! storage.
//!
//! Two signals end a stage. `Core::stop` requests the end: a stage takes no new work, completes the
//! calls under way, and returns. `Core::lose` says that the storage refuses this run: nothing that
//! a stage does can be stored any more, so the engine drops all stages at once.
//!
//! Two clocks are involved. Moments in rows (`not_before`, deadlines) are compared by the clock of
//! the storage. Pauses, polls, circuit breakers and time limits are measured by the monotonic part
//! of the engine's clock, `Core::elapsed`, so setting a clock changes none of them.

use super::decision::Decider;
use super::group::Group;
use super::hints::Hints;
use super::options::Options;
use super::outages::{Outage, Outages, STORAGE};
use super::{Announcer, Preview};
use crate::backend::{
    BuildSystem, Bus, Capabilities, Clock, DryRun, Due, DueLimits, Error, Lease, Remedy, Storage, StorageReads,
    Verifier, Violation,
};
use crate::client::{Client, Shared, Wake};
use crate::rebuild::{AttemptId, BuildKey, BuildMode, BuildRecord, ConcurrencyLimits, Followed, Limits, RunId};
use crate::time::{Timestamp, later, since};
use futures_util::future::{Either, select};
use futures_util::pin_mut;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Holds what all stages share. It has no state of any build.
#[derive(Debug)]
pub(super) struct Core {
    /// The client of this engine. It shares the wake-ups, and migrates the storage before the first
    /// use.
    pub(super) client: Client,
    /// The storage. Stages write to it through `Core::store` and `Core::apply`; only `publish`
    /// commits directly.
    pub(super) storage: Arc<dyn Storage>,
    /// Buses, by registered name, which is also the source of their messages.
    pub(super) buses: BTreeMap<String, Arc<dyn Bus>>,
    /// Build systems and composers, by registered name. `Core::backend` chooses among them.
    pub(super) systems: BTreeMap<String, Arc<dyn BuildSystem>>,
    /// What each build system can do. They are asked once, when the engine is made.
    capabilities: BTreeMap<String, Capabilities>,
    /// Verifiers, by the name of the build system whose results they look at.
    pub(super) verifiers: BTreeMap<String, Arc<dyn Verifier>>,
    /// Live attempts that messages can be about, and those of them that may have changed.
    pub(super) hints: Hints,
    /// Authors of further messages about each notification, in the order of registration.
    pub(super) announcers: Vec<Box<dyn Announcer>>,
    /// Handlers, parsers and catalogs; shared with `Preview`.
    pub(super) decider: Arc<Decider>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: Limits,
    /// How many live attempts each build system may have, over all runs of the storage.
    pub(super) concurrency: ConcurrencyLimits,
    pub(super) options: Options,
    /// Source of attempt ids and of the random part of pauses. It is mixed with the id of each new
    /// run.
    rng: Mutex<fastrand::Rng>,
    /// Signals within the process. A signal that is missed costs at most one tick.
    pub(super) wake: Arc<Wake>,
    /// The lease as of its last renewal.
    held: Mutex<Held>,
    /// Since when attempts have been followed, by any run of this engine.
    followed: Mutex<Followed>,
    /// What is logged only once, by its text: unreadable rows, missing build systems; at most
    /// `REPORTED_MAX`.
    /// Attempts whose submission is under way in this process, until its answer is stored.
    submitting: Mutex<BTreeSet<AttemptId>>,
    reported: Mutex<BTreeSet<String>>,
    /// The outages that last.
    outages: Mutex<Outages>,
    /// Whether the stop was requested; reset by the next call of `run_until`.
    stopping: AtomicBool,
    /// Whether there is a call of `run_until` that has not ended.
    started: AtomicBool,
    /// Notified when `stopping` is set.
    stopped: Notify,
    /// Whether the lease of the current run is lost; reset when a new run begins.
    lost: AtomicBool,
    /// Notified when `lost` is set.
    lost_now: Notify,
    /// Notified when another process may have stored something.
    heard: Notify,
    /// Held while the decision of a handler is turned into rows and stored. Each decision adds
    /// dependencies, so of two that are stored at the same time one would end in a conflict.
    pub(super) admitting: tokio::sync::Mutex<()>,
    /// The facts about builds that wait to be decided on.
    pub(super) group: Group,
}

/// The lease of the current run, as of its last renewal.
#[derive(Debug, Default)]
struct Held {
    /// The run, which is also its fencing token; `RunId::NONE` if there is no run.
    run: RunId,
    /// Up to when the lease certainly holds: the request for the last renewal plus the `ttl`. By
    /// the monotonic clock, and by the engine's date, which also counts while the machine sleeps.
    until: (Duration, Timestamp),
    /// How long the lease holds after a renewal.
    ttl: Duration,
    /// The moment of the last renewal by the clock of the storage, and when its answer was here.
    storage: (Timestamp, Duration),
    /// The same of the first lease of this engine: a clock that is set may cost the lease, and the
    /// next run must still know that it was set.
    began: Option<(Timestamp, Duration)>,
    /// Partitions of the outbox that this run publishes until the next renewal.
    partitions: Vec<u16>,
}

/// Largest number of texts in `Core::reported`; later ones are not logged.
const REPORTED_MAX: usize = 1000;

/// Shortest time between two wake-ups by other processes: each makes all stages read.
const HEARD_PACE: Duration = Duration::from_millis(50);

/// Longest pause of a loop that repeats one thing while a backend is away.
const OUTAGE_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Counts the failures in a row of a loop that repeats one thing.
#[derive(Debug, Default)]
pub(super) struct Failures(u32);

impl Failures {
    /// Returns how many there were.
    pub(super) fn count(&self) -> u32 {
        self.0
    }

    /// Counts one more, and returns the pause after it: the first one, doubled with each failure in
    /// a row, up to `OUTAGE_PAUSE_MAX`.
    pub(super) fn pause(&mut self, first: Duration) -> Duration {
        let pause = first.saturating_mul(1 << self.0.min(10));
        self.0 = self.0.saturating_add(1);
        pause.min(OUTAGE_PAUSE_MAX)
    }
}

/// Holds what the builder hands over to `Core::new`.
pub(super) struct Parts {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) buses: BTreeMap<String, Arc<dyn Bus>>,
    pub(super) systems: BTreeMap<String, Arc<dyn BuildSystem>>,
    pub(super) verifiers: BTreeMap<String, Arc<dyn Verifier>>,
    pub(super) hints: Hints,
    pub(super) announcers: Vec<Box<dyn Announcer>>,
    pub(super) decider: Decider,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: Limits,
    pub(super) concurrency: ConcurrencyLimits,
    pub(super) options: Options,
    pub(super) rng: fastrand::Rng,
}

/// Decides when a stage reads the rows again: soon after something happened, but at most once in
/// each interval of `Options::pace` (10 milliseconds).
///
/// A stage that was woken reads at once if the interval since its last look has passed, otherwise
/// at the end of the interval. All wake-ups within one interval lead to one look:
///
/// ```text
///  0 ms  the stage reads
///  2 ms  a build ends: the stage is woken, but waits
///  7 ms  another build ends
/// 10 ms  the stage reads, and sees both ends
/// 25 ms  a third build ends: the stage reads at once
/// ```
#[derive(Debug)]
pub(super) struct Pace {
    /// The end of the interval since the last look, as all moments here by `Core::elapsed`.
    not_before: Duration,
    /// Whether something has happened since the last look.
    pending: bool,
    /// When to look again if nothing happens: the first moment at which a row, a poll or a circuit
    /// breaker is due.
    next: Option<Duration>,
}

impl Pace {
    /// Returns a pace that is due at once, so that a new run reads the rows first.
    pub(super) fn new() -> Self {
        Self { not_before: Duration::ZERO, pending: true, next: None }
    }

    /// Records that something has happened: a wake-up, the end of a call, or a timer.
    pub(super) fn hurry(&mut self) {
        self.pending = true;
    }

    /// Returns whether to look now. The answer is always `false` after the stop was requested.
    pub(super) fn is_due(&self, core: &Core) -> bool {
        self.pending && self.not_before <= core.elapsed() && !core.is_stopping()
    }

    /// Records that the stage has looked. If nothing happens, it looks again at `next`, or after a
    /// tick.
    pub(super) fn looked(&mut self, core: &Core, next: Option<Duration>) {
        *self = Self { not_before: core.elapsed().saturating_add(core.options.pace), pending: false, next };
    }

    /// Returns when to look if nothing happens; `None` after the stop was requested.
    pub(super) fn at(&self, core: &Core) -> Option<Duration> {
        let at = if self.pending { Some(self.not_before) } else { self.next };
        at.filter(|_| !core.is_stopping())
    }
}

/// Waits until one of the calls under way ends, and returns its output; returns `None` if `wait`
/// ends first.
///
/// The calls stay in `under_way`, so nothing is lost when `wait` wins. They make progress only
/// while the stage waits here or in [`beside`].
pub(super) async fn progress<F: Future>(
    under_way: &mut FuturesUnordered<F>,
    wait: impl Future<Output = ()>,
) -> Option<F::Output> {
    pin_mut!(wait);
    if under_way.is_empty() {
        wait.await;
        return None;
    }
    match select(under_way.next(), wait).await {
        Either::Left((output, _)) => output,
        Either::Right(_) => None,
    }
}

/// Waits for something else while the calls under way go on: a storage that does not answer, or a
/// pause, delays none of them. Returns its output, and those of the calls that have ended
/// meanwhile.
pub(super) async fn beside<F: Future, T>(
    under_way: &mut FuturesUnordered<F>,
    other: impl Future<Output = T>,
) -> (T, Vec<F::Output>) {
    pin_mut!(other);
    let mut ended = Vec::new();
    loop {
        if under_way.is_empty() {
            return (other.await, ended);
        }
        match select(other.as_mut(), under_way.next()).await {
            Either::Left((output, _)) => return (output, ended),
            Either::Right((call, _)) => ended.extend(call),
        }
    }
}

/// Marks that the engine runs.
pub(super) struct Started<'a>(&'a AtomicBool);

impl Drop for Started<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Lets the other stages of the engine, and other tasks of its thread, make a step.
pub(super) async fn let_others_run() {
    let mut has_waited = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Core {
    pub(super) fn new(mut parts: Parts) -> Self {
        let (wake, decider) = (Arc::<Wake>::default(), Arc::new(parts.decider));
        let shared = Shared {
            wake: Arc::clone(&wake),
            clock: Arc::clone(&parts.clock),
            rng: parts.rng.fork(),
            tick: parts.options.tick,
            preview: Preview::new(Arc::clone(&decider)),
        };
        let capabilities = parts.systems.iter().map(|(name, system)| (name.clone(), system.capabilities()));
        Self {
            capabilities: capabilities.collect(),
            client: Client::beside(Arc::clone(&parts.storage), shared),
            storage: parts.storage,
            buses: parts.buses,
            systems: parts.systems,
            verifiers: parts.verifiers,
            hints: parts.hints,
            announcers: parts.announcers,
            decider,
            clock: parts.clock,
            limits: parts.limits,
            concurrency: parts.concurrency,
            options: parts.options,
            rng: Mutex::new(parts.rng),
            wake,
            held: Mutex::default(),
            followed: Mutex::default(),
            submitting: Mutex::default(),
            reported: Mutex::default(),
            outages: Mutex::default(),
            stopping: AtomicBool::new(false),
            started: AtomicBool::new(false),
            stopped: Notify::new(),
            lost: AtomicBool::new(false),
            lost_now: Notify::new(),
            heard: Notify::new(),
            admitting: tokio::sync::Mutex::new(()),
            group: Group::default(),
        }
    }

    /// Returns the questions that can be asked of the storage.
    pub(super) fn reads(&self) -> &dyn StorageReads {
        self.storage.reads()
    }

    /// Withdraws the request to stop, before the first run of a call of `run_until`. Until what is
    /// returned is dropped, there can be no second call.
    ///
    /// # Errors
    /// `Rejected` if there is a call of `run_until` that has not ended.
    pub(super) fn start(&self) -> Result<Started<'_>, Error> {
        if self.started.swap(true, Ordering::SeqCst) {
            let text = "it runs already: a second call of run_until would share its end with the first";
            return Err(Error::new(Remedy::Rejected, "engine", text));
        }
        self.stopping.store(false, Ordering::SeqCst);
        Ok(Started(&self.started))
    }

    /// Requests the end: tells every stage to take no new work, and wakes all of them.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.stopped.notify_waiters();
        self.wake.all();
    }

    /// Completes when the end was requested; at once if it was requested before.
    pub(super) async fn stopped(&self) {
        until(&self.stopping, &self.stopped).await;
    }

    /// Returns whether the end was requested.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Records that the storage has refused this run. `lease::keep` returns then, and the engine
    /// drops all stages of the run.
    pub(super) fn lose(&self) {
        self.lost.store(true, Ordering::SeqCst);
        self.lost_now.notify_waiters();
    }

    /// Completes when the current run is over; at once if it is over already.
    pub(super) async fn lost(&self) {
        until(&self.lost, &self.lost_now).await;
    }

    /// Locks the lease. The guard is never held over an `await`.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a lease that was just taken or renewed; `asked` is the moment of the request, by both
    /// clocks.
    ///
    /// A new run resets the signal of a lost lease and mixes its id into the random numbers. The
    /// `publish` stages are woken, since the partitions may have changed.
    pub(super) fn set_lease(&self, lease: &Lease, asked: (Duration, Timestamp)) {
        let storage = (lease.now, self.elapsed());
        let (before, began) = {
            let held = self.held();
            (held.run, held.began.or(Some(storage)))
        };
        let until = (asked.0.saturating_add(lease.ttl), later(asked.1, lease.ttl));
        *self.held() =
            Held { run: lease.run, until, ttl: lease.ttl, storage, began, partitions: lease.partitions.clone() };
        if before != lease.run {
            self.lost.store(false, Ordering::SeqCst);
            // Two runs with one seed must not make the same identities.
            let mut rng = self.rng();
            let mixed = rng.u64(..) ^ lease.run.0.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15);
            rng.seed(mixed);
        }
        self.wake.publish.notify_waiters();
    }

    /// Replaces the id of the run, and nothing else; used to set `RunId::NONE` when a lease was
    /// given back.
    pub(super) fn set_run(&self, run: RunId) {
        self.held().run = run;
    }

    /// Returns the current run; `RunId::NONE` before the first one and after one that was stopped.
    pub(super) fn run(&self) -> RunId {
        self.held().run
    }

    /// Returns the partitions of the outbox that this run publishes.
    pub(super) fn partitions(&self) -> Vec<u16> {
        self.held().partitions.clone()
    }

    /// Returns whether the lease certainly holds, by both parts of the engine's clock.
    ///
    /// A process that was suspended finds here that its lease has expired, before it sends anything
    /// that another run may be looking up. If the date was set forward instead, the answer is wrong
    /// until the next renewal, and a submission is postponed. Only `drive` asks, right before each
    /// submission; for all writes the storage decides.
    pub(super) fn lease_holds(&self) -> bool {
        let (until, date) = self.held().until;
        self.elapsed() < until && self.now() < date
    }

    /// Returns the current date and time by the engine's clock: for rows, not for pauses.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the time by the monotonic part of the engine's clock, by which all pauses are
    /// measured.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Returns the current time by the clock of the storage, counted on from the last renewal of
    /// the lease.
    pub(super) fn storage_now(&self) -> Timestamp {
        let (renewed, at) = self.held().storage;
        later(renewed, self.elapsed().saturating_sub(at))
    }

    /// Returns the longest pause that this engine stores with a row.
    pub(super) fn pause_max(&self) -> Duration {
        let settle = self.capabilities.values().map(|system| system.settle).max().unwrap_or_default();
        self.limits.backoff_max.max(settle).max(super::repositories::ASKED_AGAIN)
    }

    /// Returns the bounds of a question for what is due.
    pub(super) fn due_limits(&self, ready: u32, attempts: u32) -> DueLimits {
        DueLimits { ready, attempts, pause_max: self.pause_max() }
    }

    /// Returns how long the lease holds after a renewal.
    pub(super) fn ttl(&self) -> Duration {
        self.held().ttl
    }

    /// Returns the current time by the clock of the storage as if it had not been set since this
    /// engine began; `None` before the first lease.
    pub(super) fn steady_now(&self) -> Option<Timestamp> {
        let (began, at) = self.held().began?;
        Some(later(began, self.elapsed().saturating_sub(at)))
    }

    /// Locks what is known of the attempts that are followed. The guard is never held over an
    /// `await`.
    pub(super) fn followed(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the attempts whose submission is under way. The guard is never held over an `await`.
    pub(super) fn submitting(&self) -> MutexGuard<'_, BTreeSet<AttemptId>> {
        self.submitting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when a further row becomes due, by `elapsed`.
    pub(super) fn due_next(&self, due: &Due) -> Option<Duration> {
        due.next.map(|next| self.elapsed().saturating_add(since(next, due.now)))
    }

    /// Sleeps for a duration.
    pub(super) async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }

    /// Waits for a wake-up, but not longer than until `at`, and never longer than a tick.
    ///
    /// The tick bounds the cost of a wake-up that is missed or that belongs to another process.
    pub(super) async fn wait(&self, hint: &Notify, at: Option<Duration>) {
        let tick = self.options.tick;
        let timer = self.sleep(at.map_or(tick, |at| at.saturating_sub(self.elapsed()).min(tick)));
        let hint = hint.notified();
        pin_mut!(timer, hint);
        select(hint, timer).await;
    }

    /// Waits for a signal, but not longer than a tick, and then for the pace of a stage.
    ///
    /// The caller makes the signal before it reads the rows. So a change that is stored between the
    /// read and this call is not missed.
    pub(super) async fn wait_for(&self, signal: Notified<'_>) {
        let timer = self.sleep(self.options.tick);
        pin_mut!(timer, signal);
        select(signal, timer).await;
        self.sleep(self.options.pace).await;
    }

    /// Wakes all stages when another process may have stored something; never returns.
    pub(super) async fn hear(&self) {
        loop {
            match self.client.storage().await {
                Ok(storage) => storage.upkeep().changed().await,
                Err(_) => std::future::pending().await,
            }
            self.wake.all();
            self.heard.notify_one();
            self.sleep(HEARD_PACE).await;
        }
    }

    /// Waits until another process was heard since the last call, but not longer than this.
    pub(super) async fn wait_for_others(&self, most: Duration) {
        let (timer, heard) = (self.sleep(most), self.heard.notified());
        pin_mut!(timer, heard);
        select(heard, timer).await;
    }

    /// Logs stored rows that cannot be read, each once and at most `REPORTED_MAX` of them. The
    /// process forgets them when it ends, so a new process logs them again.
    pub(super) fn report(&self, unreadable: &[Violation]) {
        for row in unreadable.iter().filter(|row| self.is_new(row.text.clone())) {
            tracing::error!(row = row.text, "a stored row cannot be read and is left out; check_consistency lists it");
        }
    }

    /// Returns whether this was not reported before in this process; `false` for everything after
    /// `REPORTED_MAX` of them.
    pub(super) fn is_new(&self, text: String) -> bool {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.len() < REPORTED_MAX && reported.insert(text)
    }

    /// As [`pause`](Self::pause), for a loop that repeats one thing: the pause doubles with each
    /// failure in a row, up to `OUTAGE_PAUSE_MAX`.
    pub(super) async fn pause_longer(
        &self,
        failures: &mut Failures,
        stage: &'static str,
        backend: &str,
        error: &Error,
    ) {
        self.fails(stage, backend, error);
        self.sleep(failures.pause(self.options.backend_pause)).await;
    }

    /// Returns what a stage has read from the storage, or `None`, after a pause, if that failed.
    pub(super) async fn read<T>(
        &self,
        stage: &'static str,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Option<T> {
        match answer.await {
            Ok(read) => {
                self.works(stage, STORAGE);
                Some(read)
            }
            Err(error) => {
                self.pause(stage, STORAGE, &error).await;
                None
            }
        }
    }

    /// Logs that a backend failed, if an outage begins with that, and sleeps for
    /// `Options::backend_pause` (1 second).
    ///
    /// The pause does not grow. The stage that calls this repeats its step afterwards, and calls
    /// [`works`](Self::works) if that succeeds.
    pub(super) async fn pause(&self, stage: &'static str, backend: &str, error: &Error) {
        self.fails(stage, backend, error);
        self.sleep(self.options.backend_pause).await;
    }

    /// Logs that a backend failed, if an outage begins with that.
    pub(super) fn fails(&self, stage: &'static str, backend: &str, error: &Error) {
        let failed = self.outages().failed(stage, backend, self.elapsed());
        match failed {
            Some(Outage { failures, .. }) => {
                tracing::warn!(engine.stage = stage, backend, failures, %error, "a backend failed; trying again");
            }
            None => tracing::debug!(engine.stage = stage, backend, %error, "a backend failed again"),
        }
    }

    /// Logs the end of an outage, if there was one.
    pub(super) fn works(&self, stage: &'static str, backend: &str) {
        if let Some(Outage { since, failures, .. }) = self.outages().ended(stage, backend) {
            let lasted = self.elapsed().saturating_sub(since);
            tracing::warn!(engine.stage = stage, backend, failures, ?lasted, "a backend works again");
        }
    }

    fn outages(&self) -> MutexGuard<'_, Outages> {
        self.outages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the build system of a build; `None` if no system of that name is registered, or if
    /// the build is real and this engine only makes dry runs.
    ///
    /// Builds of a dry run go to `DryRun`, whichever system their key names.
    pub(super) fn backend(&self, key: &BuildKey) -> Option<&dyn BuildSystem> {
        match key.mode {
            BuildMode::DryRun => Some(&DryRun),
            BuildMode::Real | BuildMode::Scratch => {
                self.systems.get(&key.system).filter(|_| self.is_ours(key)).map(AsRef::as_ref)
            }
        }
    }

    /// Returns what the build system of a build can do. If it is not registered, that is what
    /// `DryRun` can do; nobody then asks it anything.
    pub(super) fn capabilities(&self, key: &BuildKey) -> Capabilities {
        let known = self.capabilities.get(&key.system).filter(|_| key.mode != BuildMode::DryRun);
        known.copied().unwrap_or_else(|| DryRun.capabilities())
    }

    /// Returns how many submissions a build system takes at the same time; `None` if it does not
    /// say.
    pub(super) fn submissions(&self, system: &str) -> Option<NonZeroU32> {
        self.capabilities.get(system)?.submissions
    }

    /// Returns whether this process can start the build: its build system is registered. If not, it
    /// is left to others, and that is logged once for each system.
    pub(super) fn builds(&self, key: &BuildKey) -> bool {
        let known = self.backend(key).is_some();
        if !known && self.is_new(format!("build system {:?}", key.system)) {
            tracing::error!(system = key.system, "builds wait for a build system that is not registered here");
        }
        known
    }

    /// Returns whether the result of this build is verified before it counts. Results of a dry run
    /// are not.
    pub(super) fn has_verifier(&self, build: &BuildRecord) -> bool {
        build.key.mode != BuildMode::DryRun && self.verifiers.contains_key(&build.key.system)
    }

    /// Returns whether this engine may touch a build: a dry-run engine only touches dry-run builds,
    /// any other engine touches all.
    ///
    /// This does not say that the system of the build is registered here.
    pub(super) fn is_ours(&self, key: &BuildKey) -> bool {
        key.mode == BuildMode::DryRun || self.decider.mode() != BuildMode::DryRun
    }

    /// Locks the random numbers. The guard is never held over an `await`.
    pub(super) fn rng(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a fresh random id for an attempt (128 bits), which is also its marker in the build
    /// system.
    pub(super) fn new_attempt(&self) -> AttemptId {
        AttemptId::from_random(self.rng().u128(..))
    }
}

/// Completes when the flag is set; the code that sets the flag notifies `set` afterwards. The
/// waiter is made before the flag is read, so that a notification in between is not missed.
async fn until(flag: &AtomicBool, set: &Notify) {
    loop {
        let notified = set.notified();
        if flag.load(Ordering::SeqCst) {
            return;
        }
        notified.await;
    }
}

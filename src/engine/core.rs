use super::decision::Decider;
use super::hints::Hints;
use super::options::Options;
use super::{Announcer, Preview};
use crate::backend::{BuildSystem, Bus, Clock, DryRun, Error, Lease, Storage, StorageReads, Verifier, Violation};
use crate::client::{Client, Shared, Wake};
use crate::rebuild::{AttemptId, BuildKey, BuildMode, BuildRecord, ConcurrencyLimits, Limits, RunId};
use crate::time::{Timestamp, later, since};
use futures_util::future::{Either, select};
use futures_util::pin_mut;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// What all stages share: backends, bounds and wake-ups, and the lease of the present run. It has
/// no state of any build.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) client: Client,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) buses: BTreeMap<String, Arc<dyn Bus>>,
    pub(super) systems: BTreeMap<String, Arc<dyn BuildSystem>>,
    pub(super) verifiers: BTreeMap<String, Arc<dyn Verifier>>,
    pub(super) hints: Hints,
    pub(super) announcers: Vec<Box<dyn Announcer>>,
    pub(super) decider: Arc<Decider>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: Limits,
    pub(super) slots: ConcurrencyLimits,
    pub(super) options: Options,
    rng: Mutex<fastrand::Rng>,
    pub(super) wake: Arc<Wake>,
    held: Mutex<Held>,
    /// Rows that cannot be read, as far as that was said.
    reported: Mutex<BTreeSet<String>>,
    stopping: AtomicBool,
    stopped: Notify,
    lost: AtomicBool,
    lost_now: Notify,
    /// One decision of a handler is stored after another: each adds dependencies, so two at a time
    /// would be a conflict.
    pub(super) admitting: tokio::sync::Mutex<()>,
    /// Intents are stored in the order in which their builds were chosen.
    pub(super) starting: tokio::sync::Mutex<()>,
}

/// The lease of the present run.
#[derive(Debug, Default)]
struct Held {
    run: RunId,
    /// Until when it holds at least, by the engine's clock.
    until: Timestamp,
    /// How much later it is by the clock of the storage than by that of the engine.
    ahead: Duration,
    /// How much earlier.
    behind: Duration,
    partitions: Vec<u16>,
}

/// Unreadable rows that are said one by one.
const REPORTED_MAX: usize = 1000;

/// What an engine is made of.
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
    pub(super) slots: ConcurrencyLimits,
    pub(super) options: Options,
    pub(super) rng: fastrand::Rng,
}

/// When a stage looks at the rows again: soon after something happened, but not after each of many
/// things that happen at once.
#[derive(Debug)]
pub(super) struct Pace {
    not_before: Timestamp,
    pending: bool,
    next: Option<Timestamp>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { not_before: Timestamp::MIN_UTC, pending: true, next: None }
    }

    /// Something has happened.
    pub(super) fn hurry(&mut self) {
        self.pending = true;
    }

    /// Whether to look now; no more, once the end was asked for.
    pub(super) fn is_due(&self, core: &Core) -> bool {
        self.pending && self.not_before <= core.now() && !core.is_stopping()
    }

    /// The stage has looked; without a hint it wants to look again at `next`.
    pub(super) fn looked(&mut self, core: &Core, next: Option<Timestamp>) {
        *self = Self { not_before: later(core.now(), core.options.pace), pending: false, next };
    }

    /// When to look if nothing happens; never, once the end was asked for.
    pub(super) fn at(&self, core: &Core) -> Option<Timestamp> {
        let at = if self.pending { Some(self.not_before) } else { self.next };
        at.filter(|_| !core.is_stopping())
    }
}

/// Waits until one of the calls under way ends, and returns what it gave, or until there is
/// something else to do.
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
        Self {
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
            slots: parts.slots,
            options: parts.options,
            rng: Mutex::new(parts.rng),
            wake,
            held: Mutex::default(),
            reported: Mutex::default(),
            stopping: AtomicBool::new(false),
            stopped: Notify::new(),
            lost: AtomicBool::new(false),
            lost_now: Notify::new(),
            admitting: tokio::sync::Mutex::new(()),
            starting: tokio::sync::Mutex::new(()),
        }
    }

    pub(super) fn reads(&self) -> &dyn StorageReads {
        self.storage.reads()
    }

    /// Before the first run of a call to `run_until`.
    pub(super) fn start(&self) {
        self.stopping.store(false, Ordering::SeqCst);
    }

    /// Tells every stage to take no new work.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.stopped.notify_waiters();
        self.wake.all();
    }

    /// Completes once the end was asked for.
    pub(super) async fn stopped(&self) {
        until(&self.stopping, &self.stopped).await;
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// The storage says that the present run is over.
    pub(super) fn lose(&self) {
        self.lost.store(true, Ordering::SeqCst);
        self.lost_now.notify_waiters();
    }

    /// Completes once the present run is over.
    pub(super) async fn lost(&self) {
        until(&self.lost, &self.lost_now).await;
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a lease that was just taken or renewed.
    pub(super) fn set_lease(&self, lease: &Lease) {
        let now = self.now();
        let before = self.run();
        let held = Held {
            run: lease.run,
            until: later(now, lease.ttl),
            ahead: since(lease.now, now),
            behind: since(now, lease.now),
            partitions: lease.partitions.clone(),
        };
        *self.held() = held;
        if before != lease.run {
            self.lost.store(false, Ordering::SeqCst);
            // Two runs with one seed must not make the same identities.
            let mut rng = self.rng();
            let mixed = rng.u64(..) ^ lease.run.0.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15);
            rng.seed(mixed);
        }
        self.wake.publish.notify_waiters();
    }

    pub(super) fn set_run(&self, run: RunId) {
        self.held().run = run;
    }

    /// The present run; [`RunId::NONE`] before the first and after the last.
    pub(super) fn run(&self) -> RunId {
        self.held().run
    }

    /// The partitions of the notifications that this run publishes.
    pub(super) fn partitions(&self) -> Vec<u16> {
        self.held().partitions.clone()
    }

    /// Whether the lease certainly holds, as far as the engine's clock tells: a run that was
    /// stopped for long must not go on as if nothing had happened.
    pub(super) fn lease_holds(&self) -> bool {
        self.now() < self.held().until
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The present moment by the clock of the storage, as of the last renewal of the lease.
    pub(super) fn storage_now(&self) -> Timestamp {
        let held = self.held();
        crate::time::earlier(later(self.now(), held.ahead), held.behind)
    }

    /// A moment of the storage's clock, by the engine's.
    pub(super) fn local(&self, at: Timestamp) -> Timestamp {
        let held = self.held();
        later(crate::time::earlier(at, held.ahead), held.behind)
    }

    pub(super) async fn sleep(&self, duration: Duration) {
        self.clock.sleep_until(later(self.now(), duration)).await;
    }

    /// Waits for a hint, but no longer than until `at` and than a tick.
    pub(super) async fn wait(&self, hint: &Notify, at: Option<Timestamp>) {
        let tick = later(self.now(), self.options.tick);
        let timer = self.clock.sleep_until(at.map_or(tick, |at| at.min(tick)));
        let hint = hint.notified();
        pin_mut!(timer, hint);
        select(hint, timer).await;
    }

    /// Waits for a signal that was asked for before the stage looked, but no longer than a tick.
    pub(super) async fn wait_for(&self, signal: Notified<'_>) {
        let timer = self.sleep(self.options.tick);
        pin_mut!(timer, signal);
        select(signal, timer).await;
        self.sleep(self.options.pace).await;
    }

    /// Says which stored rows cannot be read; each once.
    pub(super) fn report(&self, unreadable: &[Violation]) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        for row in unreadable {
            if reported.len() < REPORTED_MAX && reported.insert(row.text.clone()) {
                tracing::error!(
                    row = row.text,
                    "a stored row cannot be read and is left out; check_consistency lists it"
                );
            }
        }
    }

    /// After a backend failed: says so once, and waits a little.
    pub(super) async fn pause(&self, stage: &'static str, error: &Error) {
        tracing::warn!(engine.stage = stage, %error, "a backend failed; trying again");
        self.sleep(self.options.backend_pause).await;
    }

    /// The build system of this build, if this engine may touch it and has its system. Builds of a
    /// dry run are only pretended.
    pub(super) fn backend(&self, key: &BuildKey) -> Option<&dyn BuildSystem> {
        match key.mode {
            BuildMode::DryRun => Some(&DryRun),
            BuildMode::Real | BuildMode::Scratch => {
                self.systems.get(&key.system).filter(|_| self.is_ours(key)).map(AsRef::as_ref)
            }
        }
    }

    /// Whether the build's result is verified before it counts. That of a dry run is not.
    pub(super) fn has_verifier(&self, build: &BuildRecord) -> bool {
        build.key.mode != BuildMode::DryRun && self.verifiers.contains_key(&build.key.system)
    }

    /// Whether this engine may touch such a build: a dry-run engine only touches dry-run builds.
    pub(super) fn is_ours(&self, key: &BuildKey) -> bool {
        key.mode == BuildMode::DryRun || self.decider.mode() != BuildMode::DryRun
    }

    pub(super) fn rng(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn new_attempt(&self) -> AttemptId {
        AttemptId::from_random(self.rng().u128(..))
    }
}

/// Completes once the flag is set; whoever sets it notifies.
async fn until(flag: &AtomicBool, set: &Notify) {
    loop {
        let notified = set.notified();
        if flag.load(Ordering::SeqCst) {
            return;
        }
        notified.await;
    }
}

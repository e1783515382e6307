use super::hints::Hints;
use super::registry::Registry;
use super::{Announcer, Options};
use crate::backend::{BuildSystem, Bus, Clock, DryRun, Error, Result, Storage, Verifier};
use crate::handler::Readable;
use crate::rebuild::{
    AttemptId, BuildKey, BuildMode, BuildRecord, BuildState, ConcurrencyLimits, Limits, Notification, RowChange,
};
use crate::time::{Timestamp, later};
use futures_util::future::{Either, select};
use futures_util::pin_mut;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OnceCell, broadcast};

/// What all stages share. Backends, bounds and wake-ups; no state of any build.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) buses: BTreeMap<String, Arc<dyn Bus>>,
    pub(super) systems: BTreeMap<String, Arc<dyn BuildSystem>>,
    pub(super) verifiers: BTreeMap<String, Arc<dyn Verifier>>,
    pub(super) hints: Hints,
    pub(super) announcers: Vec<Box<dyn Announcer>>,
    pub(super) registry: Registry,
    pub(super) readable: Arc<Readable>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: Limits,
    pub(super) slots: ConcurrencyLimits,
    pub(super) options: Options,
    rng: Mutex<fastrand::Rng>,
    pub(super) notifications: broadcast::Sender<Notification>,
    pub(super) wake: Wake,
    owner: AtomicI64,
    stopping: AtomicBool,
    migrated: OnceCell<()>,
    /// Two plans committed at the same time could each join what the other is about to change.
    pub(super) planning: tokio::sync::Mutex<()>,
    /// Intents are stored in the order in which their builds were chosen.
    pub(super) starting: tokio::sync::Mutex<()>,
}

/// Hints that there is work. A missed one costs at most a tick.
#[derive(Debug, Default)]
pub(super) struct Wake {
    pub(super) dispatch: Notify,
    pub(super) drive: Notify,
    pub(super) watch: Notify,
    pub(super) verify: Notify,
    pub(super) publish: Notify,
    /// The end was asked for.
    pub(super) stopped: Notify,
    /// Something was stored; for those who wait for a certain state.
    pub(super) changed: Notify,
}

impl Wake {
    /// The stages that these changes give something to do, to be woken once they are stored.
    pub(super) fn concerned(&self, changes: &[RowChange]) -> Vec<&Notify> {
        let any = |concerns: fn(&RowChange) -> bool| changes.iter().any(concerns);
        let stages = [
            (&self.dispatch, any(|change| matches!(change, RowChange::Receive(_) | RowChange::Inbox(_)))),
            (&self.drive, any(|change| matches!(change, RowChange::Build { .. }))),
            (&self.watch, any(|change| matches!(change, RowChange::Build { .. } | RowChange::Attempt { .. }))),
            (
                &self.verify,
                any(
                    |change| matches!(change, RowChange::Build { record, .. } if record.state == BuildState::Verifying),
                ),
            ),
            (&self.publish, any(|change| matches!(change, RowChange::Notification(_)))),
        ];
        stages.into_iter().filter(|(_, concerned)| *concerned).map(|(stage, _)| stage).collect()
    }
}

pub(super) struct Parts {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) buses: BTreeMap<String, Arc<dyn Bus>>,
    pub(super) systems: BTreeMap<String, Arc<dyn BuildSystem>>,
    pub(super) verifiers: BTreeMap<String, Arc<dyn Verifier>>,
    pub(super) hints: Hints,
    pub(super) announcers: Vec<Box<dyn Announcer>>,
    pub(super) registry: Registry,
    pub(super) readable: Readable,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: Limits,
    pub(super) slots: ConcurrencyLimits,
    pub(super) options: Options,
    pub(super) rng: fastrand::Rng,
}

/// Notifications kept for a subscriber that does not keep up; older ones are dropped for it.
const NOTIFICATIONS_KEPT: usize = 1024;

/// When a stage looks at the rows again: soon after something happened, but not after each of many things that happen at once.
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

/// Waits until one of the calls under way ends, and returns what it gave, or until there is something else to do.
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
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            storage: parts.storage,
            buses: parts.buses,
            systems: parts.systems,
            verifiers: parts.verifiers,
            hints: parts.hints,
            announcers: parts.announcers,
            registry: parts.registry,
            readable: Arc::new(parts.readable),
            clock: parts.clock,
            limits: parts.limits,
            slots: parts.slots,
            options: parts.options,
            rng: Mutex::new(parts.rng),
            notifications: broadcast::Sender::new(NOTIFICATIONS_KEPT),
            wake: Wake::default(),
            owner: AtomicI64::new(0),
            stopping: AtomicBool::new(false),
            migrated: OnceCell::new(),
            planning: tokio::sync::Mutex::new(()),
            starting: tokio::sync::Mutex::new(()),
        }
    }

    /// The storage, brought up to date first.
    pub(super) async fn storage(&self) -> Result<&dyn Storage> {
        self.migrated.get_or_try_init(|| self.storage.migrate()).await?;
        Ok(self.storage.as_ref())
    }

    pub(super) fn begin(&self, owner: i64) {
        self.owner.store(owner, Ordering::SeqCst);
        // Two runs with one seed must not make the same identities.
        let mut rng = self.rng();
        let mixed = rng.u64(..) ^ owner.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        rng.seed(mixed);
        drop(rng);
        self.stopping.store(false, Ordering::SeqCst);
    }

    /// Tells every stage to take no new work.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake.stopped.notify_waiters();
        self.wake_all();
    }

    fn wake_all(&self) {
        for stage in [&self.wake.dispatch, &self.wake.drive, &self.wake.watch, &self.wake.verify, &self.wake.publish] {
            stage.notify_one();
        }
        self.wake.changed.notify_waiters();
    }

    /// Completes once the end was asked for.
    pub(super) async fn stopped(&self) {
        loop {
            let asked = self.wake.stopped.notified();
            if self.is_stopping() {
                return;
            }
            asked.await;
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Token of the present run; 0 before the first.
    pub(super) fn owner(&self) -> i64 {
        self.owner.load(Ordering::SeqCst)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
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

    /// After a backend failed: says so once, and waits a little.
    pub(super) async fn pause(&self, stage: &'static str, error: &Error) {
        tracing::warn!(engine.stage = stage, %error, "a backend failed; trying again");
        self.sleep(self.options.backend_pause).await;
    }

    /// Who builds this build, if this engine may touch it and has its system: builds of a dry run are only pretended, whoever does it.
    pub(super) fn backend(&self, key: &BuildKey) -> Option<&dyn BuildSystem> {
        match key.mode {
            BuildMode::DryRun => Some(&DryRun),
            BuildMode::Real | BuildMode::Scratch => {
                self.systems.get(&key.system).filter(|_| self.is_ours(key)).map(AsRef::as_ref)
            }
        }
    }

    /// Whether somebody looks at the build's result before it counts. What is only pretended has none.
    pub(super) fn has_verifier(&self, build: &BuildRecord) -> bool {
        build.key.mode != BuildMode::DryRun && self.verifiers.contains_key(&build.key.system)
    }

    /// Whether such a build is this engine's business at all: one that makes a dry run touches no others.
    pub(super) fn is_ours(&self, key: &BuildKey) -> bool {
        key.mode == BuildMode::DryRun || self.readable.mode != BuildMode::DryRun
    }

    pub(super) fn rng(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn new_attempt(&self) -> AttemptId {
        AttemptId::from_random(self.rng().u128(..))
    }
}

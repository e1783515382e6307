//! Queues: the position of a build in the queue of its build system, and which ready builds start.
//!
//! `QueuePositions` assigns positions when a plan is admitted; they are stored as the priority of
//! each build. `Schedule` chooses among ready builds by that priority, within the concurrency
//! limits as this process sees them; the storage enforces them for all. Neither reads or writes
//! rows: the caller passes what the storage returned.
//!
//! The algorithm is self-clocked fair queueing, with the builds of one event as a flow. A position
//! is an amount of work in microseconds; the priority is minus the position. The builds of an event
//! follow each other in the order of their ranks: the position of a build is that of the build
//! before it plus its own estimate times 1 (critical), 4, 16 or 64 (low severity). The first one
//! follows the current position of the queue.
//!
//! Example: one queue, two events of moderate severity, all builds estimated at 10 minutes, current
//! position 0. One step is 16 · 10 = 160 minutes of position.
//!
//! ```text
//! event A, three builds   160, 320, 480
//! A's first build starts  the current position is now 160
//! event B, two builds     320, 480
//! order                   A2 or B1, the other, then A3 or B2: they alternate
//! ```
//!
//! *Invariant:* a build never moves back in its queue. *Invariant:* each build counts for at least
//! one minute of work, so every start moves the queue on. *Invariant:* the order of ready builds is
//! total and does not depend on the order in which they were added.
//!
//! Two decisions at the same time may assign the same positions, because both read the same current
//! position. That is harmless: builds with equal priorities start by number. Two runs that start
//! builds at the same time are limited by the storage, which checks the limit when it writes an
//! attempt.

use crate::event::Severity;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// The concurrency limit of each build system: how many of its attempts may be live at once.
///
/// ```
/// use freshmaker::rebuild::ConcurrencyLimits;
///
/// let slots = ConcurrencyLimits::new([("farm".to_owned(), 4)].into()).with_others(2);
/// assert_eq!((slots.limit("farm"), slots.limit("arm64")), (4, 2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConcurrencyLimits {
    limits: BTreeMap<String, u32>,
    others: u32,
}

impl Default for ConcurrencyLimits {
    fn default() -> Self {
        Self::new(BTreeMap::new())
    }
}

impl ConcurrencyLimits {
    /// Makes limits by registered name of the system. A system without one has
    /// [`ConcurrencyLimits::DEFAULT`].
    #[must_use]
    pub fn new(limits: BTreeMap<String, u32>) -> Self {
        Self { limits, others: Self::DEFAULT }
    }

    /// Sets the limit of systems that have none of their own.
    #[must_use]
    pub fn with_others(mut self, limit: u32) -> Self {
        self.others = limit;
        self
    }

    /// The limit of a system for which none was set.
    pub const DEFAULT: u32 = 10;

    /// Returns how many attempts of this system may be live at once.
    #[must_use]
    pub fn limit(&self, system: &str) -> u32 {
        self.limits.get(system).copied().unwrap_or(self.others)
    }

    /// Returns the system that has a limit of its own, if there is exactly one.
    #[must_use]
    pub(super) fn only(&self) -> Option<&str> {
        self.limits.keys().next().filter(|_| self.limits.len() == 1).map(String::as_str)
    }
}

/// The current position of each build system's queue, from which a new event gets its positions.
///
/// Each system has one queue of builds. A build has one position in it, which it gets when it is
/// planned and which never moves back. A position is an amount of work, and is stored as a
/// priority: minus the position, so that the higher priority goes first. The builds of an event get
/// their positions one after another, in descending order of rank, each as far behind the previous
/// one as it has work itself. So of two events that wait, each advances as if it had half of the
/// system, however many builds the other has. A later event starts at the current position, and not
/// at the end of the queue: it overtakes what waits with its share of the system, and with no more.
///
/// ```
/// use freshmaker::Severity;
/// use freshmaker::rebuild::{Entry, QueuePositions};
/// use std::time::Duration;
///
/// let entry = |minutes: u64| Entry { system: "farm", rank: Duration::from_secs(60 * minutes), estimate: Duration::from_secs(600) };
/// let mut queues = QueuePositions::default();
/// let large = queues.enqueue(Severity::Moderate, &[entry(10), entry(30), entry(20)]);
/// assert!(large[1] > large[2] && large[2] > large[0], "the longest path first");
///
/// // The first of the large event has been started, the second is the most urgent one that waits.
/// queues.started("farm", large[1]);
/// queues.waits("farm", large[2]);
/// let other = queues.enqueue(Severity::Moderate, &[entry(10)]);
/// assert!(other[0] == large[2] && other[0] > large[0], "the events alternate");
/// let urgent = queues.enqueue(Severity::Critical, &[entry(10)]);
/// assert!(urgent[0] > large[2], "before all that waits");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueuePositions {
    queues: BTreeMap<String, QueueState>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct QueueState {
    /// Priority of the most urgent build that waits.
    head: Option<i64>,
    /// Priorities of builds that were started and have not ended.
    started: Vec<i64>,
}

/// A build that is to get its position in the queue of its build system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The build system.
    pub system: &'a str,
    /// Expected time from its start to the end of the last build that waits for it.
    pub rank: Duration,
    /// How long it will probably take.
    pub estimate: Duration,
}

impl QueuePositions {
    /// The least work that a build counts for. Each build that is started moves the queue on by at
    /// least this much, so that even a flood of events with one short build each cannot delay for
    /// ever what came before them.
    pub const LEAST: Duration = Duration::from_secs(60);

    /// Notes that a build with this priority is ready and waits. Only the highest one of a system
    /// matters.
    pub fn waits(&mut self, system: &str, priority: i64) {
        let queue = self.queues.entry(system.to_owned()).or_default();
        queue.head = queue.head.max(Some(priority));
    }

    /// Returns whether a build of this system is known to wait or to have been started.
    pub(crate) fn is_known(&self, system: &str) -> bool {
        self.queues.contains_key(system)
    }

    /// Notes that a build with this priority has been started and has not ended.
    pub fn started(&mut self, system: &str, priority: i64) {
        self.queues.entry(system.to_owned()).or_default().started.push(priority);
    }

    /// Returns the priorities of the builds of one event, in the order of `builds`. Of builds with
    /// equal ranks the earlier entry goes first.
    ///
    /// The queues themselves do not change: the current position follows from what is started
    /// later. Takes O(n log n) for n builds.
    #[must_use]
    pub fn enqueue(&self, severity: Severity, builds: &[Entry<'_>]) -> Vec<i64> {
        let mut order: Vec<usize> = (0..builds.len()).collect();
        order.sort_by_key(|&entry| Reverse(builds[entry].rank));
        let stretch = stretch(severity);
        let mut queues: BTreeMap<&str, i64> = BTreeMap::new();
        let mut priorities = vec![0; builds.len()];
        for entry in order {
            let Entry { system, estimate, .. } = builds[entry];
            let place = queues.entry(system).or_insert_with(|| self.current(system));
            *place = place.saturating_sub(work(estimate, stretch));
            priorities[entry] = *place;
        }
        priorities
    }

    /// Returns how far behind the current position of the queue a priority is; negative if it is
    /// before it.
    pub(super) fn behind(&self, system: &str, priority: i64) -> i64 {
        self.current(system).saturating_sub(priority)
    }

    /// Returns the priority that is this far behind the current position of the queue.
    pub(super) fn priority(&self, system: &str, behind: i64) -> i64 {
        self.current(system).saturating_sub(behind)
    }

    /// Returns the priority at the current position of the queue: that of the last build that was
    /// started in its turn.
    ///
    /// A build was started in its turn if its priority is at least that of the most urgent build
    /// that waits; others only ran because those before them were not ready. Of the builds in turn
    /// that have not ended the lowest priority counts. Without any, it is the priority of the most
    /// urgent build that waits; an empty queue is at 0.
    fn current(&self, system: &str) -> i64 {
        let Some(queue) = self.queues.get(system) else { return 0 };
        let in_turn = queue.started.iter().copied().filter(|priority| queue.head.is_none_or(|head| *priority >= head));
        in_turn.min().or(queue.head).unwrap_or_default()
    }
}

/// Returns the factor between the work of a build and its distance from the previous one. Each step
/// of severity has four times the share of the step below.
fn stretch(severity: Severity) -> i64 {
    match severity {
        Severity::Critical => 1,
        Severity::Important => 4,
        Severity::Moderate => 16,
        Severity::Low => 64,
    }
}

/// Returns the distance of a build from the previous one, in microseconds. Saturates.
fn work(estimate: Duration, stretch: i64) -> i64 {
    i64::try_from(estimate.max(QueuePositions::LEAST).as_micros()).unwrap_or(i64::MAX).saturating_mul(stretch)
}

/// Chooses which ready builds start next: for each build system the one with the highest priority,
/// as long as the system is below its concurrency limit.
///
/// Builds are known by a `T`, and of builds with equal priorities the lower one goes first; so the
/// order is total, and does not depend on the order in which they were added. While a ready build
/// waits for a system below its limits, [`start`](Self::start) returns a build.
///
/// ```
/// use freshmaker::rebuild::{Schedule, ConcurrencyLimits};
///
/// let mut schedule = Schedule::new(ConcurrencyLimits::new([("farm".to_owned(), 1)].into()));
/// schedule.ready("farm", -5, "libs");
/// schedule.ready("farm", -3, "base");
/// assert_eq!((schedule.start(), schedule.start()), (Some("base"), None));
/// schedule.ended("farm");
/// schedule.at_most("farm", 0);
/// assert_eq!(schedule.start(), None, "it takes no request now");
/// schedule.at_most("farm", 1);
/// assert_eq!(schedule.start(), Some("libs"));
/// ```
#[derive(Clone, Debug)]
pub struct Schedule<T> {
    limits: ConcurrencyLimits,
    queues: BTreeMap<String, Queue<T>>,
}

#[derive(Clone, Debug)]
struct Queue<T> {
    limit: u32,
    live: u32,
    /// How many may still start.
    starts: u32,
    ready: BinaryHeap<(i64, Reverse<T>)>,
}

impl<T: Ord> Schedule<T> {
    /// Nothing is ready, and nothing lives.
    #[must_use]
    pub fn new(limits: ConcurrencyLimits) -> Self {
        Self { limits, queues: BTreeMap::new() }
    }

    /// Adds live attempts of this system.
    pub fn live(&mut self, system: &str, attempts: u32) {
        let queue = self.queue(system);
        queue.live = queue.live.saturating_add(attempts);
    }

    /// Sets how many builds of this system may still start. Its concurrency limit holds as well.
    pub fn at_most(&mut self, system: &str, starts: u32) {
        self.queue(system).starts = starts;
    }

    /// Adds a ready build.
    pub fn ready(&mut self, system: &str, priority: i64, build: T) {
        self.queue(system).ready.push((priority, Reverse(build)));
    }

    /// Returns the build that starts next, and counts it as live. `None` if no build is ready in a
    /// system below its limit.
    ///
    /// Takes a step for each system, and logarithmic time in the ready builds of the chosen one.
    pub fn start(&mut self) -> Option<T> {
        let open = self.queues.values_mut().filter(|queue| queue.live < queue.limit && queue.starts > 0);
        let queue = open.max_by(|a, b| a.ready.peek().cmp(&b.ready.peek()))?;
        let (_, Reverse(build)) = queue.ready.pop()?;
        queue.live += 1;
        queue.starts -= 1;
        Some(build)
    }

    /// Records that a live attempt of this build system has ended, so that another build may start.
    /// Without a live attempt this changes nothing.
    pub fn ended(&mut self, system: &str) {
        let queue = self.queue(system);
        queue.live = queue.live.saturating_sub(1);
    }

    fn queue(&mut self, system: &str) -> &mut Queue<T> {
        // Asked for each build: a name is copied only once.
        if !self.queues.contains_key(system) {
            let queue = Queue { limit: self.limits.limit(system), live: 0, starts: u32::MAX, ready: BinaryHeap::new() };
            self.queues.insert(system.to_owned(), queue);
        }
        self.queues.get_mut(system).expect("it was put there if it was not there")
    }
}

//! Forecast: plays a plan through the real schedule on virtual time.
//!
//! Reads a plan or a list of tasks, and no rows; `live` makes the tasks of stored builds. The
//! simulation goes from end to end of a task: start what the schedule starts, go on to the earliest
//! moment at which tasks end, end all of them, make ready what waited for them, and begin again.
//!
//! Cost: O((n + m) log n) for n tasks and m dependencies.
//!
//! Example: limit 1; task 0 takes 5 minutes, 1 and 2 wait for it and take 1 and 10; 3 takes 8.
//!
//! ```text
//! ranks       15, 1, 10, 8
//! minute  0   0 and 3 are ready: 0 starts, it has the longest path
//! minute  5   1, 2 and 3 are ready: 2 starts
//! minute 15   3 starts; then 1 at 23; the end is at 24
//! ```
//!
//! *Invariant:* the same workload and limits give the same forecast: nothing depends on time or
//! chance. *Invariant:* the makespan is not below the lower bound.

use super::schedule::{ConcurrencyLimits, Entry, QueuePositions, Schedule};
use crate::event::Severity;
use crate::graph::{Affected, Csr, CsrError};
use crate::plan::Plan;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// A build of a [`Workload`], in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task<'a> {
    /// The build system.
    pub system: &'a str,
    /// What the schedule knows: how long it will probably take.
    pub estimate: Duration,
    /// What the schedule does not know: how long it takes.
    pub duration: Duration,
}

/// Why a workload cannot be played to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Endless {
    /// A task waits for the one with this number, which is not there; `u32::MAX` if there are more
    /// tasks than can be numbered.
    #[error("task {0} is not in the workload")]
    Unknown(u32),
    /// This many tasks wait for each other in a cycle, or for such tasks.
    #[error("{0} tasks wait for each other in a cycle, or for such tasks")]
    Cycle(u32),
    /// A build system has tasks and a concurrency limit of 0.
    #[error("the build system {0:?} has a concurrency limit of 0")]
    NoSlot(String),
}

/// Builds and what they wait for, in numbers, to be played through the schedule on virtual time.
///
/// ```
/// use freshmaker::rebuild::{ConcurrencyLimits, Task, Workload};
/// use std::time::Duration;
///
/// let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
/// let task = |length: u64| Task { system: "farm", estimate: minutes(length), duration: minutes(length) };
/// // The second and the third wait for the first.
/// let workload = Workload::new(vec![task(5), task(1), task(10), task(8)], &[(0, 1), (0, 2)])?;
/// let forecast = workload.play(&ConcurrencyLimits::default().with_others(1))?;
/// assert_eq!(forecast.makespan, minutes(24));
/// assert_eq!(workload.play(&ConcurrencyLimits::default().with_others(2))?.makespan, minutes(15));
/// # Ok::<(), freshmaker::rebuild::Endless>(())
/// ```
#[derive(Clone, Debug)]
pub struct Workload<'a> {
    tasks: Vec<Task<'a>>,
    ranks: Vec<Duration>,
    waits: Csr,
    /// All tasks in waves: parents before children.
    order: Affected,
}

impl<'a> Workload<'a> {
    /// Makes a workload of these tasks, numbered from 0 in this order, and of who waits for whom:
    /// pairs of (parent, child), in any order; repeated pairs make no difference.
    ///
    /// # Errors
    /// [`Endless::Unknown`] and [`Endless::Cycle`].
    pub fn new(tasks: Vec<Task<'a>>, waits: &[(u32, u32)]) -> Result<Self, Endless> {
        let count = u32::try_from(tasks.len()).map_err(|_| Endless::Unknown(u32::MAX))?;
        let waits = Csr::new(count, waits).map_err(|error| match error {
            CsrError::NoSuchNode { parent, .. } if parent >= count => Endless::Unknown(parent),
            CsrError::NoSuchNode { child, .. } => Endless::Unknown(child),
            CsrError::TooManyEdges(_) => Endless::Unknown(u32::MAX),
        })?;
        let everything: Vec<_> = (0..count).collect();
        let order = waits.affected(&everything);
        let waits_for_itself = everything.iter().any(|task| waits.children(*task).contains(task));
        if waits_for_itself || order.cycles().len() > 0 {
            let left = tasks.len() - waits.topological_order().len();
            return Err(Endless::Cycle(u32::try_from(left).unwrap_or(u32::MAX)));
        }
        let mut workload = Self { tasks, ranks: Vec::new(), waits, order };
        workload.ranks = workload.longest(|task| task.estimate);
        Ok(workload)
    }

    /// Replaces the ranks, which are the longest paths of estimates, by these: one for each task.
    /// Missing ones stay, surplus ones are ignored.
    #[must_use]
    pub fn with_ranks(mut self, ranks: &[Duration]) -> Self {
        for (own, rank) in self.ranks.iter_mut().zip(ranks) {
            *own = *rank;
        }
        self
    }

    /// Returns for each task the expected time from its start to the end of the last task that
    /// waits for it, unless [`with_ranks`](Self::with_ranks) has set another rank.
    #[must_use]
    pub fn ranks(&self) -> &[Duration] {
        &self.ranks
    }

    /// Returns for each task the longest path that begins with it, by this length of a task.
    fn longest(&self, length: impl Fn(&Task<'_>) -> Duration) -> Vec<Duration> {
        let lengths: Vec<_> = self.tasks.iter().map(length).collect();
        self.waits.ranks(&self.order, &lengths)
    }

    /// Returns a duration that no schedule can beat: the larger of the longest path and, of each
    /// system, its work divided by its concurrency limit. Real durations count, not estimates.
    #[must_use]
    pub fn lower_bound(&self, limits: &ConcurrencyLimits) -> Duration {
        let chain = self.longest(|task| task.duration).into_iter().max().unwrap_or_default();
        let mut work: BTreeMap<&str, Duration> = BTreeMap::new();
        for task in &self.tasks {
            let work = work.entry(task.system).or_default();
            *work = work.saturating_add(task.duration);
        }
        let shares = work.into_iter().map(|(system, work)| work / limits.limit(system).max(1));
        shares.fold(chain, Duration::max)
    }

    /// Plays all tasks through the [`Schedule`], as one event that begins when nothing else is
    /// there.
    ///
    /// # Errors
    /// [`Endless::NoSlot`].
    pub fn play(&self, limits: &ConcurrencyLimits) -> Result<Forecast, Endless> {
        if let Some(task) = self.tasks.iter().find(|task| limits.limit(task.system) == 0) {
            return Err(Endless::NoSlot(task.system.to_owned()));
        }
        let entries = self.tasks.iter().zip(&self.ranks);
        let entries = entries.map(|(task, rank)| Entry { system: task.system, rank: *rank, estimate: task.estimate });
        let priorities = QueuePositions::default().enqueue(Severity::default(), &entries.collect::<Vec<_>>());
        let begin = vec![Begin::Waits(Duration::ZERO); self.tasks.len()];
        let played = Simulation::new(&self.tasks, &self.waits, &priorities, &begin, limits).play();
        let spans: Vec<_> = played.into_iter().map(|played| played.unwrap_or_default().span).collect();
        let makespan = spans.iter().map(|span| span.end).max().unwrap_or_default();
        let idle = self.idle(limits, makespan);
        Ok(Forecast { makespan, lower_bound: self.lower_bound(limits), spans, idle })
    }

    /// Returns for each build system how much of its capacity until the end has nothing to do.
    fn idle(&self, limits: &ConcurrencyLimits, makespan: Duration) -> BTreeMap<String, Duration> {
        let mut idle: BTreeMap<&str, Duration> = BTreeMap::new();
        for task in &self.tasks {
            let time = || makespan.saturating_mul(limits.limit(task.system));
            let left = idle.entry(task.system).or_insert_with(time);
            *left = left.saturating_sub(task.duration);
        }
        idle.into_iter().map(|(system, idle)| (system.to_owned(), idle)).collect()
    }
}

/// How a task is when a simulation begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Begin {
    /// It starts when all that it waits for has ended, in its turn, and not before this.
    Waits(Duration),
    /// It runs, and ends after its duration; it counts against the limit of its build system or
    /// not.
    Runs { counts: bool },
    /// It never starts or never ends, and what waits for it never starts. It may count against the
    /// limit.
    Held { counts: bool },
}

/// When a task runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Played {
    pub(super) span: Span,
    /// What had to end right before it could start, if anything had.
    pub(super) follows: Option<Follow>,
}

/// A task that had to end right before another one could start.
#[derive(Clone, Copy, Debug)]
pub(super) enum Follow {
    /// The other one waited for it.
    Parent(u32),
    /// It started because the other one ended, within the limit of their build system.
    Slot(u32),
}

/// Something that happens at a moment of a simulation: ends come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Ends(u32),
    /// A task that waited for nothing but this moment is ready.
    Ready(u32),
}

/// Tasks that are played through the schedule, from any beginning.
pub(super) struct Simulation<'s, 'a> {
    tasks: &'s [Task<'a>],
    waits: &'s Csr,
    priorities: &'s [i64],
    begin: &'s [Begin],
    schedule: Schedule<u32>,
    /// Of each task, how many it waits for.
    pending: Vec<usize>,
    moments: BinaryHeap<Reverse<(Duration, Moment)>>,
    /// Of each task that is ready: since when, and which parent made it ready.
    ready: Vec<(Duration, Option<u32>)>,
    /// Of each build system, the task that ended last and counted against its limit, and when.
    freed: BTreeMap<&'a str, (Duration, u32)>,
    played: Vec<Option<Played>>,
}

impl<'s, 'a> Simulation<'s, 'a> {
    /// All slices have one element for each task.
    pub(super) fn new(
        tasks: &'s [Task<'a>],
        waits: &'s Csr,
        priorities: &'s [i64],
        begin: &'s [Begin],
        limits: &ConcurrencyLimits,
    ) -> Self {
        Self {
            tasks,
            waits,
            priorities,
            begin,
            schedule: Schedule::new(limits.clone()),
            pending: (0..waits.nodes()).map(|task| waits.parents(task).len()).collect(),
            moments: BinaryHeap::new(),
            ready: vec![(Duration::ZERO, None); tasks.len()],
            freed: BTreeMap::new(),
            played: vec![None; tasks.len()],
        }
    }

    /// Returns when each task runs; `None` if it never starts or never ends.
    pub(super) fn play(mut self) -> Vec<Option<Played>> {
        for (task, begin) in (0..).zip(self.begin) {
            let Task { system, duration, .. } = self.tasks[task as usize];
            match *begin {
                Begin::Waits(_) if self.pending[task as usize] == 0 => self.ready(task, Duration::ZERO, None),
                Begin::Waits(_) | Begin::Held { counts: false } => {}
                Begin::Held { counts: true } => self.schedule.live(system, 1),
                Begin::Runs { counts } => {
                    self.schedule.live(system, u32::from(counts));
                    self.run(task, Duration::ZERO, duration, None);
                }
            }
        }
        let mut now = Duration::ZERO;
        loop {
            while let Some(task) = self.schedule.start() {
                let (since, because) = self.ready[task as usize];
                let Task { system, duration, .. } = self.tasks[task as usize];
                let freed = self.freed.get(system).filter(|(at, _)| *at == now).map(|(_, by)| Follow::Slot(*by));
                let follows = if since == now { because.map(Follow::Parent) } else { freed };
                self.run(task, now, duration, follows);
            }
            let Some(&Reverse((next, _))) = self.moments.peek() else { break };
            now = next;
            // All that ends at one moment, before anything starts.
            while self.moments.peek().is_some_and(|Reverse((at, _))| *at == now)
                && let Some(Reverse((_, moment))) = self.moments.pop()
            {
                match moment {
                    Moment::Ends(task) => self.end(task, now),
                    Moment::Ready(task) => self.ready(task, now, None),
                }
            }
        }
        self.played
    }

    fn run(&mut self, task: u32, start: Duration, duration: Duration, follows: Option<Follow>) {
        let end = start.saturating_add(duration);
        self.played[task as usize] = Some(Played { span: Span { start, end }, follows });
        self.moments.push(Reverse((end, Moment::Ends(task))));
    }

    fn end(&mut self, task: u32, now: Duration) {
        if !matches!(self.begin[task as usize], Begin::Runs { counts: false }) {
            let system = self.tasks[task as usize].system;
            self.schedule.ended(system);
            self.freed.insert(system, (now, task));
        }
        let waits = self.waits;
        for &child in waits.children(task) {
            let pending = &mut self.pending[child as usize];
            *pending = pending.saturating_sub(1);
            if *pending == 0 {
                self.ready(child, now, Some(task));
            }
        }
    }

    /// The task waits for no other one any more.
    fn ready(&mut self, task: u32, now: Duration, because: Option<u32>) {
        match self.begin[task as usize] {
            Begin::Waits(until) if until > now => self.moments.push(Reverse((until, Moment::Ready(task)))),
            Begin::Waits(_) => {
                self.ready[task as usize] = (now, because);
                self.schedule.ready(self.tasks[task as usize].system, self.priorities[task as usize], task);
            }
            Begin::Runs { .. } | Begin::Held { .. } => {}
        }
    }
}

/// From when to when a build runs, from the start of the whole on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// When it starts.
    pub start: Duration,
    /// When it ends.
    pub end: Duration,
}

/// When what will happen, if every build takes as long as was said and nothing else is built
/// meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// When the last build ends.
    pub makespan: Duration,
    /// No order of the builds could end sooner.
    pub lower_bound: Duration,
    /// Each build's time, in the order of the tasks, or of [`Plan::nodes`].
    pub spans: Vec<Span>,
    /// Of each build system, the unused time within its limit, summed over all tasks that could run
    /// at once.
    pub idle: BTreeMap<String, Duration>,
}

impl Plan {
    /// How long this plan will take, if its estimates hold: all its builds, played through the
    /// schedule that the engine uses.
    ///
    /// An artifact that names no build system goes to the only one that has a limit, else to one
    /// without a name.
    ///
    /// ```
    /// use freshmaker::rebuild::ConcurrencyLimits;
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Policy};
    /// use std::time::Duration;
    ///
    /// let mut graph = ArtifactGraph::new();
    /// graph.insert(Artifact::new("debian", ArtifactKind::Image));
    /// for name in ["app", "shop", "site"] {
    ///     graph.insert(Artifact::new(name, ArtifactKind::Image).with_source(name, None));
    ///     graph.depend(name, "debian", EdgeKind::ParentImage)?;
    /// }
    /// let plan = graph.plan(&["debian".into()], &Policy::allow_all())?;
    /// let forecast = plan.forecast(&ConcurrencyLimits::default().with_others(2))?;
    /// assert_eq!(forecast.makespan, Duration::from_secs(1200));
    /// assert_eq!(forecast.lower_bound, Duration::from_secs(900));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Endless::NoSlot`] if a build system may run nothing.
    pub fn forecast(&self, limits: &ConcurrencyLimits) -> Result<Forecast, Endless> {
        let numbers: BTreeMap<_, u32> = self.nodes().map(|node| &node.artifact.id).zip(0..).collect();
        let mut tasks = Vec::with_capacity(self.len());
        let mut waits = Vec::new();
        for (node, child) in self.nodes().zip(0..) {
            let system = node.artifact.system.as_deref().or(limits.only()).unwrap_or_default();
            tasks.push(Task { system, estimate: node.estimate, duration: node.estimate });
            waits.extend(self.needs(node).filter_map(|parent| Some((*numbers.get(&parent.artifact.id)?, child))));
        }
        let ranks: Vec<_> = self.nodes().map(|node| node.rank).collect();
        Workload::new(tasks, &waits)?.with_ranks(&ranks).play(limits)
    }
}

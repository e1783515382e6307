//! Forecast: plays a plan through the real schedule on virtual time.
//!
//! Reads a plan or a list of tasks, and no rows. The simulation goes from end to end of a task:
//! start what the schedule starts, go on to the earliest moment at which tasks end, end all of
//! them, make ready what waited for them, and begin again.
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
    /// A task waits for one that is not there, or more tasks than can be numbered.
    #[error("task {0} is not in the workload")]
    Unknown(u32),
    /// Tasks wait for each other in a cycle.
    #[error("{0} tasks wait for each other in a cycle, or for such tasks")]
    Cycle(u32),
    /// A build system has tasks and no slot.
    #[error("the build system {0:?} has no slot")]
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
    /// Tasks, numbered from 0 in this order, and who waits: pairs of (parent, child), in any order,
    /// of which repeated ones count once more and make no difference.
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
        let mut schedule = Schedule::new(limits.clone());
        let mut waits_for: Vec<_> = (0..self.waits.nodes()).map(|task| self.waits.parents(task).len()).collect();
        for (task, _) in (0..).zip(&waits_for).filter(|(_, count)| **count == 0) {
            schedule.ready(self.tasks[task as usize].system, priorities[task as usize], task);
        }
        let mut spans = vec![Span::default(); self.tasks.len()];
        let mut running: BinaryHeap<Reverse<(Duration, u32)>> = BinaryHeap::new();
        let mut now = Duration::ZERO;
        loop {
            while let Some(task) = schedule.start() {
                let end = now.saturating_add(self.tasks[task as usize].duration);
                spans[task as usize] = Span { start: now, end };
                running.push(Reverse((end, task)));
            }
            let Some(&Reverse((end, _))) = running.peek() else { break };
            now = end;
            // All that end at one moment, before anything starts.
            while running.peek().is_some_and(|Reverse((end, _))| *end == now)
                && let Some(Reverse((_, task))) = running.pop()
            {
                schedule.ended(self.tasks[task as usize].system);
                for &child in self.waits.children(task) {
                    waits_for[child as usize] -= 1;
                    if waits_for[child as usize] == 0 {
                        schedule.ready(self.tasks[child as usize].system, priorities[child as usize], child);
                    }
                }
            }
        }
        let idle = self.idle(limits, now);
        Ok(Forecast { makespan: now, lower_bound: self.lower_bound(limits), spans, idle })
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
    /// Of each build system, the time in which its slots have nothing to do, all slots together.
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

//! What a build waits for: the path over its dependencies to the build that really holds it, why
//! that one does not go on, and the next moment that can change it.
//!
//! Of the builds that a build waits for directly, the path follows the one that holds it longest: a
//! failed one first, then one that waits for a person, then the one with the longest expected way
//! to its end. All paths come from one walk in topological order.
//!
//! Cost: O((n + m) log n) for the builds and dependencies that were read, once; then one path is
//! linear in its length.
//!
//! Example: `app` waits for `lib` and `docs`; `lib` waits for `base`, which has 15 of 25 minutes to
//! go; `lib` and `app` take 10 minutes, `docs` runs for 5 more.
//!
//! ```text
//! base  running, 15 minutes left
//! lib   held by base, 25 minutes to its end
//! docs  running, 5 minutes left
//! app   held by lib: the path is lib, base; the blocker is base; the next moment is in 15 minutes
//! ```
//!
//! *Invariant:* every sentence comes from the rows that were read, never from a stored sentence
//! about another build.

use super::live::LiveForecast;
use super::open::{Numbered, OpenBuilds, expected};
use super::record::{BuildId, BuildRecord};
use super::state::BuildState;
use crate::artifact::{ArtifactId, ArtifactKind};
use crate::plan::short;
use crate::reason::Reason;
use crate::time::{Timestamp, later, since};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Cells of a name in a sentence.
const NAME: usize = 80;

/// What keeps a build from going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WaitKind {
    /// Something that it needs failed or was cancelled.
    Failed,
    /// A person must say what became of its submission.
    NeedsDecision,
    /// A person has paused its build system.
    Paused,
    /// Its build system could not be reached lately: the engines leave it alone for a while.
    Unreachable,
    /// It is tried again after a pause.
    BackOff,
    /// It waits for its turn within the concurrency limit of its build system.
    Queue,
    /// It is built.
    Running,
    /// It is a repository that is prepared.
    Repository,
    /// Its result is checked.
    Verifying,
    /// It is being stopped.
    Canceling,
    /// It waits for other builds.
    Blocked,
}

impl WaitKind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Failed,
        Self::NeedsDecision,
        Self::Paused,
        Self::Unreachable,
        Self::BackOff,
        Self::Queue,
        Self::Running,
        Self::Repository,
        Self::Verifying,
        Self::Canceling,
        Self::Blocked,
    ];

    /// Returns the reason code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::NeedsDecision => "needs_decision",
            Self::Paused => "paused",
            Self::Unreachable => "unreachable",
            Self::BackOff => "back_off",
            Self::Queue => "queue",
            Self::Running => "running",
            Self::Repository => "repository",
            Self::Verifying => "verifying",
            Self::Canceling => "canceling",
            Self::Blocked => "blocked",
        }
    }

    /// Returns how hopeless it is to wait: the end of builds of a higher class is not known.
    fn class(self) -> u8 {
        match self {
            Self::Failed => 2,
            Self::NeedsDecision | Self::Paused => 1,
            _ => 0,
        }
    }
}

/// What a build waits for, by [`Waiting::of`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WaitingFor {
    /// The build that waits.
    pub build: BuildId,
    /// What keeps the blocker from going on, or that it runs.
    pub kind: WaitKind,
    /// The [code](WaitKind::as_str) of the kind, and a sentence about the build.
    pub reason: Reason,
    /// The build that really holds it: itself, or one that it waits for.
    pub blocker: BuildId,
    /// The way over dependencies from a build that it waits for directly to the blocker. Empty if
    /// it is held by itself.
    pub path: Vec<PathStep>,
    /// How many steps in the middle of the path are left out: it has at most
    /// [`PATH_MAX`](Waiting::PATH_MAX).
    pub path_hidden: usize,
    /// How many further builds it waits for directly.
    pub others: usize,
    /// Since when the blocker is as it is, if the rows say so.
    pub since: Option<Timestamp>,
    /// The next moment that can change it. `None` if that is up to a person, or not known.
    pub next: Option<NextMoment>,
}

/// A build on the way to a blocker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PathStep {
    /// The build.
    pub build: BuildId,
    /// What is built.
    pub artifact: ArtifactId,
    /// How far it is.
    pub state: BuildState,
}

/// The next moment that can change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NextMoment {
    /// The moment.
    pub at: Timestamp,
    /// What happens then.
    pub what: NextChange,
}

/// What happens at the next moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NextChange {
    /// The blocker is expected to end.
    Ends,
    /// The blocker is expected to start.
    Starts,
    /// Its build system is expected to be below its concurrency limit.
    Slot,
    /// It is tried again.
    Retry,
}

/// Answers what builds wait for, by [`OpenBuilds::waiting`].
#[derive(Debug)]
pub struct Waiting<'a> {
    open: &'a OpenBuilds,
    forecast: Option<&'a LiveForecast>,
    holds: BTreeMap<BuildId, Hold>,
    /// The place in the queue of each build that only waits for its turn, from 1 on.
    places: BTreeMap<BuildId, usize>,
    /// The build systems that could not be reached lately, and when they are tried again.
    unreachable: BTreeMap<&'a str, Timestamp>,
    /// When each build system is expected to be below its limit again.
    slots: BTreeMap<&'a str, Timestamp>,
}

/// What holds a build.
#[derive(Clone, Copy, Debug)]
struct Hold {
    /// What keeps the build itself.
    own: WaitKind,
    /// Of the blocker.
    class: u8,
    /// Until the build ends.
    left: Duration,
    /// The next build on the way to the blocker.
    through: Option<BuildId>,
}

impl OpenBuilds {
    /// Finds out what each of these builds waits for. With a forecast of the same rows, a build
    /// that waits for its turn says when it is expected to start.
    #[must_use]
    pub fn waiting<'a>(&'a self, forecast: Option<&'a LiveForecast>) -> Waiting<'a> {
        let mut waiting = Waiting {
            open: self,
            forecast,
            holds: BTreeMap::new(),
            places: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            slots: BTreeMap::new(),
        };
        waiting.look_at_systems();
        waiting.find_holds();
        waiting
    }
}

impl<'a> Waiting<'a> {
    /// The most steps of a path that are kept: its beginning and its end.
    pub const PATH_MAX: usize = 20;

    fn look_at_systems(&mut self) {
        let open = self.open;
        let mut queues: BTreeMap<&str, BTreeSet<(Reverse<i64>, BuildId)>> = BTreeMap::new();
        for build in open.builds.values() {
            let system = build.key.system.as_str();
            match (build.state, build.not_before.filter(|until| *until > open.at)) {
                (BuildState::Ready, None) => {
                    queues.entry(system).or_default().insert((Reverse(build.priority), build.id));
                }
                (BuildState::Ready, Some(until)) if build.reason.code == "not_sent" => {
                    let at = self.unreachable.entry(system).or_insert(until);
                    *at = until.min(*at);
                }
                (BuildState::Submitting | BuildState::Building, _) if open.attempts.contains_key(&build.id) => {
                    let end = later(open.at, open.remaining(build).0);
                    let slot = self.slots.entry(system).or_insert(end);
                    *slot = end.min(*slot);
                }
                _ => {}
            }
        }
        let places = queues.into_values().flat_map(|queue| (1..).zip(queue));
        self.places = places.map(|(place, (_, build))| (build, place)).collect();
    }

    fn find_holds(&mut self) {
        let Numbered { builds, waits, .. } = Numbered::of(self.open);
        for number in waits.topological_order() {
            let build = builds[number as usize];
            let parents = waits.parents(number).iter().map(|parent| builds[*parent as usize].id);
            let held = parents.filter_map(|parent| Some((self.holds.get(&parent)?, parent)));
            // Of equals the lowest number, so that the path does not change without a reason.
            let longest = held.max_by_key(|(hold, parent)| (hold.class, hold.left, Reverse(*parent)));
            let hold = match (build.state, longest) {
                (BuildState::Blocked | BuildState::DependencyFailed, Some((hold, parent))) => Hold {
                    own: WaitKind::Blocked,
                    class: hold.class,
                    left: hold.left.saturating_add(expected(build)),
                    through: Some(parent),
                },
                _ => {
                    let Some(own) = self.own(build) else { continue };
                    Hold { own, class: own.class(), left: self.left(build, own), through: None }
                }
            };
            self.holds.insert(build.id, hold);
        }
    }

    /// Returns what keeps a build, regardless of what it waits for; `None` if it ended well.
    fn own(&self, build: &BuildRecord) -> Option<WaitKind> {
        let system = build.key.system.as_str();
        Some(match build.state {
            BuildState::Done | BuildState::Reused => return None,
            BuildState::Failed | BuildState::Canceled => WaitKind::Failed,
            BuildState::Submitting | BuildState::Building if self.open.needs_decision(build.id) => {
                WaitKind::NeedsDecision
            }
            BuildState::Submitting | BuildState::Building if build.kind == ArtifactKind::Repository => {
                WaitKind::Repository
            }
            BuildState::Submitting | BuildState::Building => WaitKind::Running,
            BuildState::Verifying => WaitKind::Verifying,
            BuildState::Canceling => WaitKind::Canceling,
            BuildState::Ready if self.open.paused.contains_key(system) => WaitKind::Paused,
            BuildState::Ready if build.not_before.is_some_and(|until| until > self.open.at) => WaitKind::BackOff,
            BuildState::Ready if self.unreachable.contains_key(system) => WaitKind::Unreachable,
            BuildState::Ready => WaitKind::Queue,
            BuildState::Blocked | BuildState::DependencyFailed => WaitKind::Blocked,
        })
    }

    /// Returns how long a build that waits for no other one takes to its end.
    fn left(&self, build: &BuildRecord, own: WaitKind) -> Duration {
        let starts = match own {
            WaitKind::Running | WaitKind::Repository | WaitKind::Verifying | WaitKind::Canceling => {
                return self.open.remaining(build).0;
            }
            WaitKind::BackOff => build.not_before,
            WaitKind::Queue => self.forecast.and_then(|forecast| forecast.build(build.id)?.start),
            WaitKind::Unreachable => self.unreachable.get(build.key.system.as_str()).copied(),
            _ => None,
        };
        starts.map_or(Duration::ZERO, |starts| since(starts, self.open.at)).saturating_add(expected(build))
    }

    /// Returns what keeps an open build itself: [`WaitKind::Blocked`] if it waits for others,
    /// whatever holds these.
    #[must_use]
    pub fn kind(&self, build: BuildId) -> Option<WaitKind> {
        let row = self.open.builds.get(&build).filter(|row| !row.state.is_terminal())?;
        self.holds.get(&row.id).map(|hold| hold.own).or_else(|| self.own(row))
    }

    /// Returns how many open builds there are of each [`kind`](Self::kind).
    #[must_use]
    pub fn counts(&self) -> BTreeMap<WaitKind, u64> {
        let mut counts = BTreeMap::new();
        for kind in self.open.builds.keys().filter_map(|build| self.kind(*build)) {
            *counts.entry(kind).or_insert(0) += 1;
        }
        counts
    }

    /// Returns what a build waits for. `None` if it is not among the builds that were read, if it
    /// runs, or if it has ended for another reason than a build that it needs.
    #[must_use]
    pub fn of(&self, build: BuildId) -> Option<WaitingFor> {
        let row = self.open.builds.get(&build)?;
        let hold = self.holds.get(&build);
        let through = hold.and_then(|hold| hold.through);
        if through.is_none() {
            let own = self.own(row)?;
            if matches!(own, WaitKind::Running | WaitKind::Repository | WaitKind::Failed) {
                return None;
            }
        }
        let next = |id: &BuildId| self.holds.get(id)?.through;
        // Dependencies have no cycles; the bound holds whatever the rows say.
        let path = std::iter::successors(through, next).take(self.open.builds.len());
        let mut path: Vec<_> = path.filter_map(|id| self.open.builds.get(&id)).collect();
        let blocker = path.last().copied().unwrap_or(row);
        let kind = self.own(blocker)?;
        let reason = Reason::new(kind.as_str(), self.sentence(row, blocker, kind, path.len()));
        let path_hidden = path.len().saturating_sub(Self::PATH_MAX);
        path.drain(path.len().min(Self::PATH_MAX / 2)..(Self::PATH_MAX / 2 + path_hidden).min(path.len()));
        let steps =
            path.iter().map(|step| PathStep { build: step.id, artifact: step.key.artifact.clone(), state: step.state });
        let path = steps.collect();
        let others = usize::try_from(row.pending).unwrap_or(usize::MAX).saturating_sub(1);
        let others = if row.state == BuildState::Blocked { others } else { 0 };
        let (since, next) = (self.since(blocker, kind), self.next(blocker, kind));
        Some(WaitingFor { build, kind, reason, blocker: blocker.id, path, path_hidden, others, since, next })
    }

    fn since(&self, blocker: &BuildRecord, kind: WaitKind) -> Option<Timestamp> {
        match kind {
            WaitKind::Failed => blocker.done_at,
            WaitKind::Paused => self.open.paused.get(&blocker.key.system).map(|paused| paused.since),
            WaitKind::Running | WaitKind::Repository | WaitKind::NeedsDecision => {
                self.open.attempts.get(&blocker.id).map(|attempt| attempt.intent_at)
            }
            _ => None,
        }
    }

    fn next(&self, blocker: &BuildRecord, kind: WaitKind) -> Option<NextMoment> {
        let moment = |at, what| NextMoment { at, what };
        let system = blocker.key.system.as_str();
        match kind {
            WaitKind::Running | WaitKind::Repository | WaitKind::Verifying | WaitKind::Canceling => {
                Some(moment(later(self.open.at, self.open.remaining(blocker).0), NextChange::Ends))
            }
            WaitKind::BackOff => Some(moment(blocker.not_before?, NextChange::Retry)),
            WaitKind::Unreachable => Some(moment(*self.unreachable.get(system)?, NextChange::Retry)),
            WaitKind::Queue => {
                let start = self.forecast.and_then(|forecast| forecast.build(blocker.id)?.start);
                let slot = || self.slots.get(system).map(|at| moment(*at, NextChange::Slot));
                start.map(|at| moment(at, NextChange::Starts)).or_else(slot)
            }
            WaitKind::Failed | WaitKind::NeedsDecision | WaitKind::Paused | WaitKind::Blocked => None,
        }
    }

    fn sentence(&self, row: &BuildRecord, blocker: &BuildRecord, kind: WaitKind, steps: usize) -> String {
        let name = format!("{} (build {})", short(blocker.key.artifact.as_str(), NAME), blocker.id);
        let phrase = self.phrase(blocker, kind);
        match (row.state, steps) {
            (BuildState::DependencyFailed, _) => format!("it cannot be built, because {name} {phrase}"),
            (_, 0) => format!("it {phrase}"),
            (_, 1) => format!("it waits for {name}, which {phrase}"),
            (_, 2) => format!("it waits, behind one other build, for {name}, which {phrase}"),
            _ => format!("it waits, behind {} other builds, for {name}, which {phrase}", steps - 1),
        }
    }

    /// Returns what is said about the blocker, after its name.
    fn phrase(&self, blocker: &BuildRecord, kind: WaitKind) -> String {
        let system = short(&blocker.key.system, NAME);
        let late = if self.open.remaining(blocker).1 { ", for longer than was expected" } else { "" };
        let why = &blocker.reason.text;
        match kind {
            WaitKind::Failed if blocker.state == BuildState::Canceled => format!("was cancelled: {why}"),
            WaitKind::Failed => format!("failed: {why}"),
            WaitKind::NeedsDecision => {
                let text = self.open.attempts.get(&blocker.id).map_or("", |attempt| attempt.reason.text.as_str());
                format!("may have been submitted: {text}")
            }
            WaitKind::Paused => {
                let text = self.open.paused.get(&blocker.key.system).map_or("", |paused| paused.reason.text.as_str());
                format!("does not start: {text}")
            }
            WaitKind::Unreachable => format!("does not start yet: {system} could not be reached lately"),
            WaitKind::BackOff => format!("waits a while: {why}"),
            WaitKind::Queue => {
                let place = self.places.get(&blocker.id).copied().unwrap_or(1);
                let later = if self.open.complete { "" } else { " or later" };
                let live = self.open.live.get(&blocker.key.system).copied().unwrap_or_default();
                let live = if live == 1 { "1 live attempt".to_owned() } else { format!("{live} live attempts") };
                format!("is number {place}{later} in the queue of {system}, which has {live}")
            }
            WaitKind::Running => format!("is being built by {system}{late}"),
            WaitKind::Repository => format!("is being prepared by {system}{late}"),
            WaitKind::Verifying => "was built, and its result is being checked".to_owned(),
            WaitKind::Canceling => format!("is being stopped by {system}"),
            WaitKind::Blocked => "waits for builds that were not read".to_owned(),
        }
    }
}

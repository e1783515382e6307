//! The unit of a decision: the rows that it loads, the changes that it makes, and the commit that
//! follows.
//!
//! A decision runs in three steps. `Rebuild::new` takes the loaded rows; `apply` and `admit` change
//! a copy of them; `commit` compares the copy with what was loaded. The rows that differ are the
//! changes, and the versions of the loaded rows are the conditions under which they may be written.
//! No lock of a database is held between loading and writing.
//!
//! *Invariant:* all moments that a decision writes are counted from the moment at which its rows
//! were read, by the clock of the storage. *Invariant:* every changed row of an event, build or
//! attempt has a higher version than the loaded one. *Invariant:* a decision removes no row.
//!
//! What a commit checks, so that two decisions at the same time cannot contradict each other:
//!
//! | what | how | protects from |
//! |---|---|---|
//! | changed rows | expected version | two decisions about one row |
//! | touched builds | a new version without another change | new causes or dependents that the other decision did not see |
//! | rows relied on | read set | a decision on a row that has changed since |
//! | new unsatisfied dependencies | the version of all edges | two halves of a cycle |
//! | the run | fencing token | a run whose lease is lost |

use super::commit::Commit;
use super::committing::Committing;
use super::history::{Actor, Change};
use super::record::{
    AttemptId, AttemptRecord, BuildId, BuildRecord, Cause, Dependency, DependencyKind, EventId, EventRecord, RunId,
};
use super::state::{AttemptState, BuildState, EventState};
use crate::artifact::{ArtifactId, ArtifactKind};
use crate::plan::Plan;
use crate::reason::Reason;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// The part of the stored rows that a decision needs; see [`Scope`](crate::backend::Scope) for
/// which rows those are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Neighbourhood {
    /// When the rows were read, by the clock of the storage.
    pub at: Timestamp,
    /// The version of the set of dependencies: one more with each commit that adds some that are
    /// not satisfied.
    pub edges: u64,
    /// Events by number.
    pub events: BTreeMap<EventId, EventRecord>,
    /// Builds by number.
    pub builds: BTreeMap<BuildId, BuildRecord>,
    /// Attempts by identity.
    pub attempts: BTreeMap<AttemptId, AttemptRecord>,
    /// Dependencies by (parent, child).
    pub dependencies: BTreeMap<(BuildId, BuildId), Dependency>,
    /// Causes by (build, event).
    pub causes: BTreeMap<(BuildId, EventId), Cause>,
}

impl Neighbourhood {
    /// Returns the attempt for which the build system may have something running. A build has at
    /// most one.
    #[must_use]
    pub fn live_attempt(&self, build: BuildId) -> Option<&AttemptRecord> {
        self.attempts.values().find(|attempt| attempt.build == build && attempt.state.is_live())
    }

    /// Returns the dependencies of other builds on this one, by number of the child; those that are
    /// loaded.
    pub fn dependents(&self, build: BuildId) -> impl Iterator<Item = &Dependency> {
        self.dependencies
            .range((build, BuildId(i64::MIN))..=(build, BuildId(i64::MAX)))
            .map(|(_, dependency)| dependency)
    }

    /// Returns the dependencies of this build on others, of both kinds, by number of the parent.
    ///
    /// Looks at all loaded dependencies, which are ordered by parent.
    pub fn needs(&self, build: BuildId) -> impl Iterator<Item = &Dependency> {
        self.dependencies.values().filter(move |dependency| dependency.child == build)
    }

    /// Returns the builds that prepared repositories for this one and ended well; of several builds
    /// of one key the latest.
    #[must_use]
    pub fn prepared_for(&self, build: BuildId) -> Vec<BuildId> {
        let needed = self.needs(build).filter(|dependency| dependency.kind == DependencyKind::Needs);
        let parents = needed.filter_map(|dependency| self.builds.get(&dependency.parent));
        let prepared = parents.filter(|parent| parent.kind == ArtifactKind::Repository && parent.state.is_success());
        let latest: BTreeMap<_, _> = prepared.map(|parent| (&parent.key, parent.id)).collect();
        latest.into_values().collect()
    }

    /// Returns the causes of this build, live or not, by number of the event.
    pub fn causes_of(&self, build: BuildId) -> impl Iterator<Item = &Cause> {
        self.causes.range((build, EventId(i64::MIN))..=(build, EventId(i64::MAX))).map(|(_, cause)| cause)
    }
}

/// A loaded neighbourhood on which inputs are applied.
///
/// [`apply`](Rebuild::apply) and [`admit`](Rebuild::admit) change the copy in memory;
/// [`commit`](Rebuild::commit) is the difference to what was loaded, with everything that must
/// still hold, to be written in one transaction.
///
/// *Invariant:* the version of a build stands for its causes and for who depends on it, too: a
/// decision that changes one of these changes the version. So of two decisions at the same time,
/// which rest on the same rows, one is a conflict and is made again.
#[derive(Debug)]
pub struct Rebuild {
    pub(super) loaded: Neighbourhood,
    pub(super) now: Neighbourhood,
    pub(super) changes: Vec<(Actor, Change)>,
    pub(super) plans: Vec<(EventId, Plan)>,
    /// Builds that get a new version, whether or not their rows change.
    pub(super) touched: BTreeSet<BuildId>,
    /// Builds that must not have changed when the decision is stored.
    pub(super) relied_on: BTreeSet<BuildId>,
    pub(super) run: RunId,
    pub(super) at: Timestamp,
    /// Who or what makes the changes that follow.
    pub(super) actor: Actor,
}

/// What [`Rebuild::admit`] takes back if a plan is refused: the rows that it changes, as they were
/// before.
#[derive(Debug)]
pub(super) struct Savepoint {
    event: EventId,
    /// Builds as they were; `None` for those that were not there.
    builds: BTreeMap<BuildId, Option<BuildRecord>>,
    /// Dependencies that were not there.
    dependencies: Vec<(BuildId, BuildId)>,
    changes: usize,
    touched: BTreeSet<BuildId>,
}

/// A decision that begins step by step; see [`Rebuild::beginning`].
#[derive(Debug)]
pub struct Beginning {
    /// The loaded rows that were not copied yet.
    rest: Neighbourhood,
    begun: Option<Rebuild>,
}

impl Beginning {
    /// Advances by this many rows, at least one, and returns the decision once all rows are there.
    ///
    /// After that there is nothing left to return, and it continues for ever.
    pub fn step(&mut self, rows: usize) -> ControlFlow<Rebuild> {
        let Some(Rebuild { loaded, now, .. }) = &mut self.begun else { return ControlFlow::Continue(()) };
        for _ in 0..rows.max(1) {
            let copied = copy(&mut self.rest.builds, &mut loaded.builds, &mut now.builds)
                || copy(&mut self.rest.dependencies, &mut loaded.dependencies, &mut now.dependencies)
                || copy(&mut self.rest.causes, &mut loaded.causes, &mut now.causes)
                || copy(&mut self.rest.attempts, &mut loaded.attempts, &mut now.attempts)
                || copy(&mut self.rest.events, &mut loaded.events, &mut now.events);
            if !copied {
                return self.begun.take().map_or(ControlFlow::Continue(()), ControlFlow::Break);
            }
        }
        ControlFlow::Continue(())
    }
}

/// Copies one row to two tables; returns whether there was one.
fn copy<K: Ord + Clone, V: Clone>(
    rest: &mut BTreeMap<K, V>,
    loaded: &mut BTreeMap<K, V>,
    now: &mut BTreeMap<K, V>,
) -> bool {
    let Some((key, row)) = rest.pop_first() else { return false };
    now.insert(key.clone(), row.clone());
    loaded.insert(key, row);
    true
}

impl Savepoint {
    /// Keeps a build that is to be changed or created.
    pub(super) fn keep(&mut self, rebuild: &Rebuild, id: BuildId) {
        self.builds.entry(id).or_insert_with(|| rebuild.now.builds.get(&id).cloned());
    }

    /// Keeps in mind that a dependency is to be added.
    pub(super) fn keep_edge(&mut self, rebuild: &Rebuild, edge: (BuildId, BuildId)) {
        if !rebuild.now.dependencies.contains_key(&edge) {
            self.dependencies.push(edge);
        }
    }
}

impl Rebuild {
    /// Begins a decision on the loaded rows, for this run of an engine ([`RunId::NONE`] for a
    /// client). All changes have the moment at which the rows were read.
    #[must_use]
    pub fn new(loaded: Neighbourhood, run: RunId) -> Self {
        Self::of(loaded.clone(), loaded, run)
    }

    /// Begins to do what [`new`](Self::new) does, step by step.
    #[must_use]
    pub fn beginning(loaded: Neighbourhood, run: RunId) -> Beginning {
        let Neighbourhood { at, edges, .. } = loaded;
        let none = Neighbourhood { at, edges, ..Neighbourhood::default() };
        Beginning { rest: loaded, begun: Some(Self::of(none.clone(), none, run)) }
    }

    fn of(now: Neighbourhood, loaded: Neighbourhood, run: RunId) -> Self {
        Self {
            now,
            at: loaded.at,
            loaded,
            changes: Vec::new(),
            plans: Vec::new(),
            touched: BTreeSet::new(),
            relied_on: BTreeSet::new(),
            run,
            actor: Actor::Engine,
        }
    }

    /// Returns the rows with all changes so far. Versions of rows whose state stayed are those that
    /// were loaded.
    #[must_use]
    pub fn rows(&self) -> &Neighbourhood {
        &self.now
    }

    /// Returns the difference between what was loaded and what is now, and the conditions under
    /// which it may be stored.
    ///
    /// If nothing has changed, the commit has no changes and need not be stored. A build that was
    /// touched is written even if its row is the same. The history has one row for each change of
    /// state, in the order in which the changes were made.
    #[must_use]
    pub fn commit(self) -> Commit {
        let mut committing = self.committing();
        loop {
            if let ControlFlow::Break(commit) = committing.step(usize::MAX) {
                return commit;
            }
        }
    }

    /// Begins to do what [`commit`](Self::commit) does, step by step.
    #[must_use]
    pub fn committing(self) -> Committing {
        Committing::new(self)
    }

    /// Returns what [`roll_back`](Self::roll_back) restores, for the admission of this event.
    pub(super) fn savepoint(&self, event: EventId) -> Savepoint {
        let (builds, dependencies) = (BTreeMap::new(), Vec::new());
        Savepoint { event, builds, dependencies, changes: self.changes.len(), touched: self.touched.clone() }
    }

    /// Restores the rows and changes of a savepoint, and removes the event and that it is a cause
    /// of these builds. The read set and the plans stay as they are: admission adds to neither
    /// before it can be refused.
    pub(super) fn roll_back(&mut self, to: &mut Savepoint, placed: &BTreeMap<ArtifactId, BuildId>) {
        self.now.events.remove(&to.event);
        for build in placed.values() {
            self.now.causes.remove(&(*build, to.event));
        }
        for edge in std::mem::take(&mut to.dependencies) {
            self.now.dependencies.remove(&edge);
        }
        for (id, build) in std::mem::take(&mut to.builds) {
            match build {
                Some(build) => drop(self.now.builds.insert(id, build)),
                None => drop(self.now.builds.remove(&id)),
            }
        }
        self.changes.truncate(to.changes);
        self.touched = std::mem::take(&mut to.touched);
    }

    /// Gives a build a new version although its row may stay: its causes change, or something else
    /// depends on it from now on. A new build needs none.
    pub(super) fn touch(&mut self, id: BuildId) {
        if self.loaded.builds.contains_key(&id) {
            self.touched.insert(id);
        }
    }

    /// Adds a build to the read set: the commit conflicts if the build has changed since it was
    /// loaded. If this decision changes the build as well, its expected version says the same.
    pub(super) fn rely_on(&mut self, id: BuildId) {
        self.relied_on.insert(id);
    }

    /// Changes the state of a build, and notes the change for the history.
    ///
    /// A build that this decision has created only gets the state: it is stored once, in the state
    /// in which the decision leaves it. A final state also sets the moment of the end. The step
    /// must be legal, which debug builds check.
    pub(super) fn set_build(&mut self, id: BuildId, to: BuildState, reason: Reason) {
        let Some(build) = self.now.builds.get_mut(&id) else { return };
        let from = std::mem::replace(&mut build.state, to);
        if !self.loaded.builds.contains_key(&id) {
            // The history of a new build begins with the state in which it is stored.
            if to.is_terminal() {
                (build.reason, build.done_at) = (reason, Some(self.at));
            }
            return;
        }
        debug_assert!(from.allows(to), "build {id}: {from} -> {to}");
        build.version += 1;
        build.reason = reason;
        if to.is_terminal() {
            build.done_at = Some(self.at);
        }
        self.changes.push((self.actor.clone(), Change::Build { from, row: Box::new(build.clone()) }));
    }

    /// Changes the state of an event, and notes the change for the history. A final state also sets
    /// the moment of the end.
    pub(super) fn set_event(&mut self, id: EventId, to: EventState, reason: Reason) {
        let Some(event) = self.now.events.get_mut(&id) else { return };
        debug_assert!(event.state.allows(to), "event {id}: {} -> {to}", event.state);
        let from = std::mem::replace(&mut event.state, to);
        event.reason = reason;
        if to.is_terminal() {
            event.done_at = Some(self.at);
        }
        // The history of a new event begins with the state in which it is stored.
        if !self.loaded.events.contains_key(&id) {
            return;
        }
        event.version += 1;
        self.changes.push((self.actor.clone(), Change::Event { from, row: Box::new(event.clone()) }));
    }

    /// Changes the state of an attempt, and notes the change for the history. The attempt belongs
    /// to this run from now on.
    pub(super) fn set_attempt(&mut self, id: &AttemptId, to: AttemptState, reason: Reason) {
        let Some(attempt) = self.now.attempts.get_mut(id) else { return };
        debug_assert!(attempt.state.allows(to), "attempt {id}: {} -> {to}", attempt.state);
        let from = std::mem::replace(&mut attempt.state, to);
        attempt.version += 1;
        attempt.reason = reason;
        attempt.run = self.run;
        self.changes.push((self.actor.clone(), Change::Attempt { from, row: Box::new(attempt.clone()) }));
    }

    pub(super) fn add_event(&mut self, event: EventRecord) {
        self.changes.push((self.actor.clone(), Change::NewEvent(event.id)));
        self.now.events.insert(event.id, event);
    }

    pub(super) fn add_build(&mut self, build: BuildRecord) {
        self.changes.push((self.actor.clone(), Change::NewBuild(build.id)));
        self.now.builds.insert(build.id, build);
    }

    pub(super) fn add_attempt(&mut self, attempt: AttemptRecord) {
        self.changes.push((self.actor.clone(), Change::NewAttempt(attempt.id.clone())));
        self.now.attempts.insert(attempt.id.clone(), attempt);
    }
}

use super::commit::{Commit, RowChange, RowKey};
use super::history::{Actor, Change, Origin};
use super::record::{
    AttemptId, AttemptRecord, BuildId, BuildRecord, Cause, Dependency, DependencyKind, EventId, EventRecord, RunId,
    Version,
};
use super::state::{AttemptState, BuildState, EventState};
use crate::artifact::ArtifactKind;
use crate::plan::Plan;
use crate::reason::Reason;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The part of the stored rows that a decision needs; see [`Scope`](crate::backend::Scope) for
/// which rows those are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Neighbourhood {
    /// When the rows were read, by the clock of the storage.
    pub at: Timestamp,
    /// How often a dependency that was not satisfied has been added to the storage, in all.
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
    /// The attempt of a build that the build system may have something running for.
    #[must_use]
    pub fn live_attempt(&self, build: BuildId) -> Option<&AttemptRecord> {
        self.attempts.values().find(|attempt| attempt.build == build && attempt.state.is_live())
    }

    /// The dependencies of others on this build.
    pub fn dependents(&self, build: BuildId) -> impl Iterator<Item = &Dependency> {
        self.dependencies
            .range((build, BuildId(i64::MIN))..=(build, BuildId(i64::MAX)))
            .map(|(_, dependency)| dependency)
    }

    /// The dependencies of this build on others.
    pub fn needs(&self, build: BuildId) -> impl Iterator<Item = &Dependency> {
        self.dependencies.values().filter(move |dependency| dependency.child == build)
    }

    /// The builds that prepared repositories for this one; the latest of each.
    #[must_use]
    pub fn prepared_for(&self, build: BuildId) -> Vec<BuildId> {
        let needed = self.needs(build).filter(|dependency| dependency.kind == DependencyKind::Needs);
        let parents = needed.filter_map(|dependency| self.builds.get(&dependency.parent));
        let prepared = parents.filter(|parent| parent.kind == ArtifactKind::Repository && parent.state.is_success());
        let latest: BTreeMap<_, _> = prepared.map(|parent| (&parent.key, parent.id)).collect();
        latest.into_values().collect()
    }

    /// Why this build exists.
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
    pub(super) changes: Vec<Change>,
    pub(super) plans: Vec<(EventId, Plan)>,
    /// Builds that get a new version, whether or not their rows change.
    touched: BTreeSet<BuildId>,
    /// Builds that must not have changed when the decision is stored.
    relied_on: BTreeSet<BuildId>,
    pub(super) run: RunId,
    pub(super) at: Timestamp,
}

/// What [`Rebuild::admit`] takes back if a plan is refused.
pub(super) struct Savepoint {
    now: Neighbourhood,
    changes: usize,
    touched: BTreeSet<BuildId>,
}

impl Rebuild {
    /// Begins with the loaded rows, for this run of an engine ([`RunId::NONE`] for a client), at
    /// the moment at which they were loaded.
    #[must_use]
    pub fn new(loaded: Neighbourhood, run: RunId) -> Self {
        Self {
            now: loaded.clone(),
            at: loaded.at,
            loaded,
            changes: Vec::new(),
            plans: Vec::new(),
            touched: BTreeSet::new(),
            relied_on: BTreeSet::new(),
            run,
        }
    }

    /// The rows as they are now.
    #[must_use]
    pub fn rows(&self) -> &Neighbourhood {
        &self.now
    }

    /// The difference between what was loaded and what is now, and the conditions under which it
    /// may be stored. `actor` is who or what made the changes.
    #[must_use]
    pub fn commit(self, actor: Actor) -> Commit {
        let Self { loaded, now, changes, plans, touched, relied_on, run, at } = self;
        let origin = Origin { actor, run, at };
        let history: Vec<_> = changes.into_iter().flat_map(|change| change.rows(&now, &origin)).collect();
        let mut commit = Commit { run: Some(run).filter(|run| *run != RunId::NONE), ..Commit::default() };
        for (id, mut record) in now.events {
            let expected = loaded.events.get(&id);
            if expected != Some(&record) {
                record.version = next_version(expected.map(|row| row.version), record.version);
                let expected = expected.map(|row| row.version);
                commit.changes.push(RowChange::Event { record: record.into(), expected });
            }
        }
        for (id, mut record) in now.builds {
            let expected = loaded.builds.get(&id);
            if expected != Some(&record) || touched.contains(&id) {
                record.version = next_version(expected.map(|row| row.version), record.version);
                let expected = expected.map(|row| row.version);
                commit.changes.push(RowChange::Build { record: record.into(), expected });
            } else if relied_on.contains(&id) {
                commit.unchanged.push((RowKey::Build(id), record.version));
            }
        }
        for (id, mut record) in now.attempts {
            let expected = loaded.attempts.get(&id);
            if expected != Some(&record) {
                record.version = next_version(expected.map(|row| row.version), record.version);
                let expected = expected.map(|row| row.version);
                commit.changes.push(RowChange::Attempt { record: record.into(), expected });
            }
        }
        for (key, dependency) in now.dependencies {
            let known = loaded.dependencies.get(&key);
            if known != Some(&dependency) {
                if known.is_none() && !dependency.satisfied {
                    commit.edges = Some(loaded.edges);
                }
                commit.changes.push(RowChange::Dependency(dependency));
            }
        }
        for (key, cause) in now.causes {
            if loaded.causes.get(&key) != Some(&cause) {
                commit.changes.push(RowChange::Cause(cause));
            }
        }
        let plans = plans.into_iter().map(|(event, plan)| RowChange::Plan { event, plan: Box::new(plan) });
        commit.changes.extend(history.into_iter().chain(plans));
        commit
    }

    pub(super) fn savepoint(&self) -> Savepoint {
        Savepoint { now: self.now.clone(), changes: self.changes.len(), touched: self.touched.clone() }
    }

    pub(super) fn roll_back(&mut self, to: Savepoint) {
        self.now = to.now;
        self.changes.truncate(to.changes);
        self.touched = to.touched;
    }

    /// Gives a build a new version: its causes change, or something else depends on it from now on.
    pub(super) fn touch(&mut self, id: BuildId) {
        if self.loaded.builds.contains_key(&id) {
            self.touched.insert(id);
        }
    }

    /// Makes the commit a conflict if this build has changed meanwhile: the decision rests on it.
    pub(super) fn rely_on(&mut self, id: BuildId) {
        self.relied_on.insert(id);
    }

    /// Changes the state of a build. A new one is stored once, in the state in which the decision
    /// leaves it.
    pub(super) fn set_build(&mut self, id: BuildId, to: BuildState, reason: Reason) {
        let Some(build) = self.now.builds.get_mut(&id) else { return };
        let from = std::mem::replace(&mut build.state, to);
        if !self.loaded.builds.contains_key(&id) {
            return;
        }
        debug_assert!(from.allows(to), "build {id}: {from} -> {to}");
        build.version += 1;
        build.reason = reason;
        if to.is_terminal() {
            build.done_at = Some(self.at);
        }
        self.changes.push(Change::Build { from, row: Box::new(build.clone()) });
    }

    /// Changes the state of an event.
    pub(super) fn set_event(&mut self, id: EventId, to: EventState, reason: Reason) {
        let Some(event) = self.now.events.get_mut(&id) else { return };
        debug_assert!(event.state.allows(to), "event {id}: {} -> {to}", event.state);
        let from = std::mem::replace(&mut event.state, to);
        event.version += 1;
        event.reason = reason;
        if to.is_terminal() {
            event.done_at = Some(self.at);
        }
        self.changes.push(Change::Event { from, row: Box::new(event.clone()) });
    }

    /// Changes the state of an attempt, which is this run's from now on.
    pub(super) fn set_attempt(&mut self, id: &AttemptId, to: AttemptState, reason: Reason) {
        let Some(attempt) = self.now.attempts.get_mut(id) else { return };
        debug_assert!(attempt.state.allows(to), "attempt {id}: {} -> {to}", attempt.state);
        let from = std::mem::replace(&mut attempt.state, to);
        attempt.version += 1;
        attempt.reason = reason;
        attempt.run = self.run;
        self.changes.push(Change::Attempt { from, row: Box::new(attempt.clone()) });
    }

    pub(super) fn add_event(&mut self, event: EventRecord) {
        self.changes.push(Change::NewEvent(event.id));
        self.now.events.insert(event.id, event);
    }

    pub(super) fn add_build(&mut self, build: BuildRecord) {
        self.changes.push(Change::NewBuild(build.id));
        self.now.builds.insert(build.id, build);
    }

    pub(super) fn add_attempt(&mut self, attempt: AttemptRecord) {
        self.changes.push(Change::NewAttempt(attempt.id.clone()));
        self.now.attempts.insert(attempt.id.clone(), attempt);
    }
}

/// A changed row gets a higher version even if its state stayed.
fn next_version(loaded: Option<Version>, now: Version) -> Version {
    match loaded {
        Some(version) if version == now => version + 1,
        _ => now,
    }
}

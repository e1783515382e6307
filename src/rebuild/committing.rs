//! A commit in steps: the difference between the loaded rows and the rows that a decision leaves,
//! row by row.
//!
//! *Invariant:* the commit does not depend on the steps.

use super::commit::{Commit, RowChange, RowKey};
use super::history::{Actor, Change, Origin};
use super::neighbourhood::{Neighbourhood, Rebuild};
use super::record::{BuildId, EventId, RunId, Version};
use crate::plan::Plan;
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::vec::IntoIter;

/// A commit that is made step by step; see [`Rebuild::committing`].
#[derive(Debug)]
pub struct Committing {
    /// The rows that were not compared yet, as they were loaded.
    loaded: Neighbourhood,
    /// The rows that were not compared yet.
    now: Neighbourhood,
    changes: IntoIter<(Actor, Change)>,
    plans: Vec<(EventId, Plan)>,
    touched: BTreeSet<BuildId>,
    relied_on: BTreeSet<BuildId>,
    run: RunId,
    at: Timestamp,
    /// What is written behind the rows.
    history: Vec<RowChange>,
    commit: Commit,
}

impl Committing {
    pub(super) fn new(decided: Rebuild) -> Self {
        let Rebuild { loaded, now, changes, plans, touched, relied_on, run, at, actor: _ } = decided;
        let commit = Commit { run: Some(run).filter(|run| *run != RunId::NONE), ..Commit::default() };
        let (changes, history) = (changes.into_iter(), Vec::new());
        Self { loaded, now, changes, plans, touched, relied_on, run, at, history, commit }
    }

    /// Advances by this many rows, at least one, and returns the commit once it is complete. It is
    /// then empty.
    pub fn step(&mut self, rows: usize) -> ControlFlow<Commit> {
        for _ in 0..rows.max(1) {
            if !self.advance() {
                let plans = std::mem::take(&mut self.plans).into_iter();
                let plans = plans.map(|(event, plan)| RowChange::Plan { event, plan: Box::new(plan) });
                self.commit.changes.extend(std::mem::take(&mut self.history).into_iter().chain(plans));
                return ControlFlow::Break(std::mem::take(&mut self.commit));
            }
        }
        ControlFlow::Continue(())
    }

    /// Does one row; returns whether there was one.
    fn advance(&mut self) -> bool {
        // The history is made from the rows before these are taken.
        if let Some((actor, change)) = self.changes.next() {
            self.history.extend(change.rows(&self.now, &Origin { actor, run: self.run, at: self.at }));
            return true;
        }
        self.event() || self.build() || self.attempt() || self.dependency() || self.cause()
    }

    fn event(&mut self) -> bool {
        let Some((id, mut record)) = self.now.events.pop_first() else { return false };
        let expected = self.loaded.events.remove(&id);
        if expected.as_ref() != Some(&record) {
            let expected = expected.map(|row| row.version);
            record.version = next_version(expected, record.version);
            self.commit.changes.push(RowChange::Event { record: record.into(), expected });
        }
        true
    }

    fn build(&mut self) -> bool {
        let Some((id, mut record)) = self.now.builds.pop_first() else { return false };
        let expected = self.loaded.builds.remove(&id);
        if expected.as_ref() != Some(&record) || self.touched.contains(&id) {
            let replanned = expected.as_ref().is_none_or(|row| !record.is_planned_as(row));
            let expected = expected.map(|row| row.version);
            record.version = next_version(expected, record.version);
            self.commit.changes.push(RowChange::Build { record: record.into(), expected, replanned });
        } else if self.relied_on.contains(&id) {
            self.commit.unchanged.push((RowKey::Build(id), record.version));
        }
        true
    }

    fn attempt(&mut self) -> bool {
        let Some((id, mut record)) = self.now.attempts.pop_first() else { return false };
        let expected = self.loaded.attempts.remove(&id);
        if expected.as_ref() != Some(&record) {
            let expected = expected.map(|row| row.version);
            record.version = next_version(expected, record.version);
            self.commit.changes.push(RowChange::Attempt { record: record.into(), expected });
        }
        true
    }

    fn dependency(&mut self) -> bool {
        let Some((key, dependency)) = self.now.dependencies.pop_first() else { return false };
        let known = self.loaded.dependencies.remove(&key);
        if known.as_ref() != Some(&dependency) {
            if known.is_none() && !dependency.satisfied {
                self.commit.edges = Some(self.loaded.edges);
            }
            self.commit.changes.push(RowChange::Dependency(dependency));
        }
        true
    }

    fn cause(&mut self) -> bool {
        let Some((key, cause)) = self.now.causes.pop_first() else { return false };
        if self.loaded.causes.remove(&key).as_ref() != Some(&cause) {
            self.commit.changes.push(RowChange::Cause(cause));
        }
        true
    }
}

/// Returns the version under which a changed row is written. Changes of state have raised it
/// already; a change that leaves the state as it is raises it here, once for the whole decision.
fn next_version(loaded: Option<Version>, now: Version) -> Version {
    match loaded {
        Some(version) if version == now => version + 1,
        _ => now,
    }
}

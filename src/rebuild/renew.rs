//! Renewal: prepares a repository again that is lost or stale, before the build that uses it.
//!
//! A repository that a composer has prepared is removed when its time is up, and its contents may
//! be older than what a build needs. The build that prepared it has ended, and a build never leaves
//! a final state. So a new build of the same key prepares it again, and the build that uses it
//! waits for that.
//!
//! Reads the rows of `Scope::Renewal`: the build, what waits for it, and of the keys of its parents
//! the open builds and the latest ones that have an output. Writes new builds, dependencies,
//! causes, and the counts of the events; and the build, which becomes `Blocked`.
//!
//! For each repository, in this order:
//!
//! 1. If it is lost and has been prepared since, the newer one is used; nothing is created.
//! 2. If a build of its key is open, the build waits for that one.
//! 3. Else a new build is created from the latest row of the key, without caches.
//!
//! Example: build 5 is ready and uses what build 3 prepared, which is gone. Number 9 is unused.
//!
//! ```text
//! 4 prepared it since    3 is replaced by 4: dependency 4 -> 5, satisfied; 5 stays ready
//! 7 prepares it now      7 -> 5, unsatisfied; the events of 5 become causes of 7
//! neither                9 is created; 9 -> 5; the events of 5 become causes of 9
//! ```
//!
//! *Invariant:* unsatisfied dependencies form no cycle: a build that would wait for itself fails
//! with the code `cycle`. When a build begins to wait for a renewal, each of its live causes
//! becomes a live cause of the renewal, so that a cancellation stops both.
//!
//! Two decisions at the same time: two renewals of one repository are two current builds of one
//! key, of which the storage accepts one; the other decision is made again and finds the open
//! build. A newer repository that is used is part of the read set, and a build that is waited for
//! gets a new version.

use super::apply::IllegalInput;
use super::limits::Limits;
use super::neighbourhood::Rebuild;
use super::record::{BuildId, BuildRecord, BuildSlot, Cause, Dependency, DependencyKind};
use super::state::BuildState;
use crate::reason::Reason;
use crate::time::later;
use std::collections::BTreeSet;
use std::time::Duration;

impl Rebuild {
    /// Handles the loss of repositories that were prepared for a ready build. For each of them the
    /// build uses what has been prepared since, or waits until it is prepared again.
    ///
    /// `unused` is the first of as many unused build numbers as there are repositories; the number
    /// at the position of a repository is used only if a build is created for it.
    ///
    /// What is gone whenever it is to be used is prepared again after growing pauses. After
    /// `Limits::resubmits_max` times the build fails.
    ///
    /// # Errors
    /// `IllegalInput` if the build is not ready.
    pub(super) fn lost(
        &mut self,
        id: BuildId,
        repositories: &[BuildId],
        unused: BuildId,
        limits: &Limits,
    ) -> Result<(), IllegalInput> {
        self.expect_build(id, BuildState::Ready, "the loss of what was prepared for it")?;
        let mut pause = Duration::ZERO;
        if repositories.iter().any(|repository| self.newer_than(*repository).is_none()) {
            let Some(build) = self.now.builds.get_mut(&id) else { return Ok(()) };
            if build.resubmits > 0 {
                pause = limits.backoff(build.resubmits);
            }
            build.resubmits = build.resubmits.saturating_add(1);
            if build.resubmits > limits.resubmits_max {
                let text =
                    format!("what was prepared for it was gone {} times before it was submitted", build.resubmits);
                self.fail(id, Reason::new("failed", text));
                return Ok(());
            }
        }
        for (repository, unused) in repositories.iter().copied().zip(unused.0..) {
            match self.newer_than(repository) {
                Some(newer) => {
                    let edge = Dependency { parent: newer, child: id, kind: DependencyKind::Needs, satisfied: true };
                    // Nothing else may start or end the build with the lost repository meanwhile.
                    self.rely_on(id);
                    self.rely_on(newer);
                    self.now.dependencies.insert((newer, id), edge);
                }
                None => self.wait_for_renewal(repository, BuildId(unused), id, pause, "is no longer there"),
            }
        }
        Ok(())
    }

    /// Delays a ready build, because no backend can say now whether its repositories still exist.
    /// Its state stays, so the delay is no transition of the history.
    ///
    /// # Errors
    /// `IllegalInput` if the build is not ready.
    pub(super) fn postponed(&mut self, id: BuildId, text: &str, after: Duration) -> Result<(), IllegalInput> {
        self.expect_build(id, BuildState::Ready, "a delay")?;
        let at = self.at;
        if let Some(build) = self.now.builds.get_mut(&id) {
            build.not_before = Some(later(at, after));
            build.reason = Reason::new("postponed", text);
        }
        Ok(())
    }

    /// Returns the latest build that has prepared this repository again since, and ended well.
    fn newer_than(&self, repository: BuildId) -> Option<BuildId> {
        let key = &self.now.builds.get(&repository)?.key;
        let same = self.now.builds.values().rev().filter(|build| build.key == *key && build.id > repository);
        let mut prepared = same.filter(|build| build.state.is_success());
        prepared.next().map(|build| build.id)
    }

    /// Makes the child wait until this repository has been prepared again, after a pause. `why`
    /// completes the sentence "what build N prepared …" in reasons. A child that has ended is left
    /// alone. If the renewal itself waits for the child, the child fails.
    pub(super) fn wait_for_renewal(
        &mut self,
        repository: BuildId,
        unused: BuildId,
        child: BuildId,
        pause: Duration,
        why: &str,
    ) {
        if self.now.builds.get(&child).is_none_or(|child| child.state.is_terminal()) {
            return;
        }
        let renewed = self.renewal(repository, unused, child, pause, why);
        if self.waits_for(renewed, child) {
            // The dependencies have turned round since this build was planned.
            let text = format!(
                "what build {repository} prepared {why}, and build {renewed}, which prepares it anew, waits for this build"
            );
            self.end(child, BuildState::Failed, Reason::new("cycle", text));
            return;
        }
        self.share_causes(child, renewed);
        self.wait(renewed, child, DependencyKind::Needs);
    }

    /// Returns whether a build waits for another one, directly or through others.
    ///
    /// Follows unsatisfied dependencies from the awaited build to all builds that wait for it, each
    /// once: O((b + e) log b) for b builds and e dependencies among them.
    fn waits_for(&self, waiting: BuildId, awaited: BuildId) -> bool {
        let mut reached = BTreeSet::from([awaited]);
        let mut next = vec![awaited];
        while let Some(build) = next.pop() {
            let unsatisfied = self.now.dependents(build).filter(|edge| !edge.satisfied);
            next.extend(unsatisfied.map(|edge| edge.child).filter(|child| reached.insert(*child)));
        }
        reached.contains(&waiting)
    }

    /// Returns the build that prepares this repository again: the open current build of its key,
    /// which gets the priority of the child if that is higher, or a new one with the number
    /// `unused`.
    ///
    /// A new build copies the latest row of the key, and not that of the repository which was lost:
    /// the parameters may have changed since. It has the priority of the child, counts its tries
    /// from 0, and uses no caches. If the repository is not loaded, its own number is returned.
    fn renewal(&mut self, repository: BuildId, unused: BuildId, child: BuildId, pause: Duration, why: &str) -> BuildId {
        let Some(key) = self.now.builds.get(&repository).map(|build| build.key.clone()) else { return repository };
        let wanted = self.now.builds.get(&child).map(|child| child.priority);
        if let Some(id) = self.waiting_or_running(&key, BuildSlot::Current) {
            if let Some(open) = self.now.builds.get_mut(&id) {
                open.priority = open.priority.max(wanted.unwrap_or(open.priority));
            }
            return id;
        }
        // Not what the child was made of: that may have been overtaken since, and must not come
        // back.
        let Some(old) = self.now.builds.values().rev().find(|build| build.key == key).cloned() else {
            return repository;
        };
        let priority = wanted.unwrap_or(old.priority);
        self.add_build(BuildRecord {
            id: unused,
            version: 1,
            state: BuildState::Ready,
            slot: BuildSlot::Current,
            inputs: None,
            pending: 0,
            priority,
            attempts: 0,
            tries: 0,
            resubmits: 0,
            no_cache: true,
            release: None,
            not_before: (!pause.is_zero()).then(|| later(self.at, pause)),
            reason: Reason::new("renewed", format!("what build {repository} prepared {why}")),
            output: None,
            cancel_at: None,
            created_at: self.at,
            done_at: None,
            ..old
        });
        unused
    }

    /// Makes each live cause of one build a live cause of another one. Each event that did not want
    /// the other build until now counts one more open build.
    fn share_causes(&mut self, from: BuildId, to: BuildId) {
        let causes: Vec<_> = self.now.causes_of(from).filter(|cause| cause.live).cloned().collect();
        for cause in causes {
            let event = cause.event;
            if self.now.causes.get(&(to, event)).is_some_and(|known| known.live) {
                continue;
            }
            self.touch(to);
            self.now.causes.insert((to, event), Cause { build: to, ..cause });
            if let Some(event) = self.now.events.get_mut(&event) {
                event.builds_open += 1;
            }
        }
    }
}

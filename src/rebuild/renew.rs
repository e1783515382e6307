use super::apply::IllegalInput;
use super::neighbourhood::Rebuild;
use super::record::{BuildId, BuildRecord, BuildSlot, Cause, Dependency, DependencyKind};
use super::state::BuildState;
use crate::reason::Reason;
use crate::time::later;
use std::collections::BTreeSet;
use std::time::Duration;

impl Rebuild {
    /// What was prepared for a ready build has gone: it waits for what is prepared in its place, or
    /// takes what has been already.
    pub(super) fn lost(&mut self, id: BuildId, repositories: &[BuildId], unused: BuildId) -> Result<(), IllegalInput> {
        self.expect_build(id, BuildState::Ready, "the loss of what was prepared for it")?;
        for (repository, unused) in repositories.iter().copied().zip(unused.0..) {
            match self.newer_than(repository) {
                Some(newer) => {
                    let edge = Dependency { parent: newer, child: id, kind: DependencyKind::Needs, satisfied: true };
                    self.rely_on(newer);
                    self.now.dependencies.insert((newer, id), edge);
                }
                None => self.wait_for_renewal(repository, BuildId(unused), id, "is no longer there"),
            }
        }
        Ok(())
    }

    /// Nobody can say now whether what was prepared for a ready build is still there: it waits.
    pub(super) fn postponed(&mut self, id: BuildId, text: &str, after: Duration) -> Result<(), IllegalInput> {
        self.expect_build(id, BuildState::Ready, "a delay")?;
        let at = self.at;
        if let Some(build) = self.now.builds.get_mut(&id) {
            build.not_before = Some(later(at, after));
            build.reason = Reason::new("postponed", text);
        }
        Ok(())
    }

    /// What has been prepared since in the place of this repository.
    fn newer_than(&self, repository: BuildId) -> Option<BuildId> {
        let key = &self.now.builds.get(&repository)?.key;
        let same = self.now.builds.values().rev().filter(|build| build.key == *key && build.id > repository);
        let mut prepared = same.filter(|build| build.state.is_success());
        prepared.next().map(|build| build.id)
    }

    /// The child is built once this repository has been prepared anew.
    pub(super) fn wait_for_renewal(&mut self, repository: BuildId, unused: BuildId, child: BuildId, why: &str) {
        if self.now.builds.get(&child).is_none_or(|child| child.state.is_terminal()) {
            return;
        }
        let renewed = self.renewal(repository, unused, child, why);
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

    /// Whether a build waits for another one, directly or through others.
    fn waits_for(&self, waiting: BuildId, awaited: BuildId) -> bool {
        let mut reached = BTreeSet::from([awaited]);
        let mut next = vec![awaited];
        while let Some(build) = next.pop() {
            let unsatisfied = self.now.dependents(build).filter(|edge| !edge.satisfied);
            next.extend(unsatisfied.map(|edge| edge.child).filter(|child| reached.insert(*child)));
        }
        reached.contains(&waiting)
    }

    /// The build that prepares this repository anew: one that is under way already, or a new one.
    fn renewal(&mut self, repository: BuildId, unused: BuildId, child: BuildId, why: &str) -> BuildId {
        let Some(key) = self.now.builds.get(&repository).map(|build| build.key.clone()) else { return repository };
        if let Some(open) = self.waiting_or_running(&key, BuildSlot::Current) {
            return open;
        }
        // Not what the child was made of: that may have been overtaken since, and must not come
        // back.
        let Some(old) = self.now.builds.values().rev().find(|build| build.key == key).cloned() else {
            return repository;
        };
        let priority = self.now.builds.get(&child).map_or(old.priority, |child| child.priority);
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
            not_before: None,
            reason: Reason::new("renewed", format!("what build {repository} prepared {why}")),
            output: None,
            cancel_at: None,
            created_at: self.at,
            done_at: None,
            ..old
        });
        unused
    }

    /// Whoever wants the one wants the other as well.
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

use super::apply::IllegalInput;
use super::input::Verification;
use super::neighbourhood::Rebuild;
use super::record::{BuildId, BuildRecord, Cause, DependencyKind, Slot};
use super::state::BuildState;
use crate::artifact::ArtifactKind;
use crate::reason::Reason;
use std::collections::BTreeMap;

impl Rebuild {
    /// What a look at the result showed. `unused` is the first of as many unused build numbers as the build has repositories among its parents.
    pub(super) fn verified(&mut self, id: BuildId, seen: &Verification, unused: BuildId) -> Result<(), IllegalInput> {
        let Some(build) = self.now.builds.get_mut(&id) else {
            return Err(IllegalInput::Unknown(format!("build {id}")));
        };
        if build.state != BuildState::Verifying {
            let (what, state) = (format!("build {id}"), build.state.as_str());
            return Err(IllegalInput::Stale { what, state, input: "a verification" });
        }
        match seen {
            Verification::Passed(digest) => {
                if let (Some(digest), Some(output)) = (digest, &mut build.output) {
                    output.digest = Some(digest.clone());
                }
                self.end(id, BuildState::Done, Reason::new("built", "it was built, and has what was demanded"));
            }
            Verification::Stale(evidence) if !build.no_cache => self.heal(id, evidence, unused),
            Verification::Stale(evidence) | Verification::Failed(evidence) => {
                // Nobody must take it for what is there now.
                build.output = None;
                self.end(id, BuildState::Failed, Reason::new("verification_failed", evidence));
            }
        }
        Ok(())
    }

    /// One more try, without caches, from repositories that are prepared anew.
    fn heal(&mut self, id: BuildId, evidence: &str, unused: BuildId) {
        let release = self.next_release(id);
        let Some(build) = self.now.builds.get_mut(&id) else { return };
        build.no_cache = true;
        // The machinery has done its part: what goes wrong with it from here on is counted anew.
        build.tries = 0;
        build.release = Some(release);
        build.output = None;
        let text = format!("{evidence}; it is built once more, without caches");
        self.set_build(id, BuildState::Ready, Reason::new("stale", text));
        let repositories: Vec<_> = self
            .now
            .needs(id)
            .filter(|edge| edge.kind == DependencyKind::Needs)
            .filter_map(|edge| self.now.builds.get(&edge.parent))
            .filter(|parent| parent.kind == ArtifactKind::Repository && parent.state.is_success())
            .map(|parent| (parent.key.clone(), parent.id))
            .collect::<BTreeMap<_, _>>()
            .into_values()
            .collect();
        for (repository, unused) in repositories.into_iter().zip(unused.0..) {
            let renewed = self.renewal(repository, BuildId(unused), id);
            self.share_causes(id, renewed);
            self.wait(renewed, id, DependencyKind::Needs);
        }
    }

    /// The build that prepares this repository anew: one that is under way already, or a new one.
    fn renewal(&mut self, repository: BuildId, unused: BuildId, child: BuildId) -> BuildId {
        let Some(key) = self.now.builds.get(&repository).map(|build| build.key.clone()) else { return repository };
        if let Some(open) = self.waiting_or_running(&key, Slot::Current) {
            return open;
        }
        // Not what the child was made of: that may have been overtaken since, and must not come back.
        let Some(old) = self.now.builds.values().rev().find(|build| build.key == key).cloned() else {
            return repository;
        };
        let priority = self.now.builds.get(&child).map_or(old.priority, |child| child.priority);
        self.add_build(BuildRecord {
            id: unused,
            version: 1,
            state: BuildState::Ready,
            slot: Slot::Current,
            inputs: None,
            pending: 0,
            priority,
            attempts: 0,
            tries: 0,
            resubmits: 0,
            no_cache: true,
            release: None,
            not_before: None,
            reason: Reason::new("renewed", format!("what build {repository} prepared was found to be stale")),
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
            self.now.causes.insert((to, event), Cause { build: to, ..cause });
            if let Some(event) = self.now.events.get_mut(&event) {
                event.builds_open += 1;
            }
        }
    }
}

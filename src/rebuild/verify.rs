use super::apply::IllegalInput;
use super::input::Verification;
use super::neighbourhood::Rebuild;
use super::record::BuildId;
use super::state::BuildState;
use crate::reason::Reason;

impl Rebuild {
    /// What a look at the result showed. `unused` is the first of as many unused build numbers as
    /// the build has repositories among its parents.
    pub(super) fn verified(&mut self, id: BuildId, seen: &Verification, unused: BuildId) -> Result<(), IllegalInput> {
        self.expect_build(id, BuildState::Verifying, "a verification")?;
        let Some(build) = self.now.builds.get_mut(&id) else { return Ok(()) };
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
        let repositories = self.now.prepared_for(id);
        for (repository, unused) in repositories.into_iter().zip(unused.0..) {
            self.wait_for_renewal(repository, BuildId(unused), id, "was found to be stale");
        }
    }
}

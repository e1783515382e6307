//! Verification: what follows from a look at the result of a build.
//!
//! Reads the rows of `Scope::Renewal`, because a stale result may need its repositories again.
//! Writes the build and everything that follows from its end, or a further try and the renewal of
//! the repositories that were prepared for it.
//!
//! | result | before the try without caches | after it |
//! |---|---|---|
//! | passed, or unverified | done | done |
//! | stale | one more try, without caches | failed |
//! | failed | failed | failed |
//!
//! *Invariant:* a build has at most one try because of a stale result: `no_cache` is set then and
//! never reset. *Invariant:* a result that is refused is not an output, so no later build reuses it
//! and no child is built on it.
//!
//! Two decisions at the same time: both change the build, so one of them conflicts and is stale
//! when it is decided again.

use super::apply::IllegalInput;
use super::input::Verification;
use super::neighbourhood::Rebuild;
use super::record::BuildId;
use super::state::BuildState;
use crate::reason::Reason;
use std::time::Duration;

impl Rebuild {
    /// Applies what a look at the result of a build showed.
    ///
    /// `unused` is the first of as many unused build numbers as the build has repositories among
    /// its parents. If the verifier knows the digest of the content, that digest replaces the one
    /// that the build system gave. A build that was cancelled has left `Verifying` and is not
    /// affected.
    ///
    /// # Errors
    /// `IllegalInput` if the build is not being verified.
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
            Verification::Unverified => {
                self.end(id, BuildState::Done, Reason::new("built", "it was built; its result was not verified"));
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

    /// Prepares one more try after a stale result: without caches, under a new release, and after
    /// each repository that was prepared for the build has been prepared again.
    ///
    /// The tries are counted from 0, because the build itself did not fail. Without repositories
    /// the build is ready at once.
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
            self.wait_for_renewal(repository, BuildId(unused), id, Duration::ZERO, "was found to be stale");
        }
    }
}

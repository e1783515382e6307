//! Verifies the results of builds: a success that a build system reports counts only after the
//! verifier of that system has looked at the result.
//!
//! The stage reads builds in the state `Verifying`, whichever run has submitted them. It is woken
//! when a build enters this state, by the end of a back-off, and by a tick. At most `VERIFIED_MAX`
//! results of each build system are verified at the same time, out of the oldest `LOOKED_AT_MAX`
//! builds in this state. What has not failed yet comes first, then what has waited longest, so that
//! results about which a verifier hangs keep no others waiting.
//!
//! Replicas share the work: the run that publishes about a build also verifies its result. Another
//! run does so when the result has waited for `Limits::backoff_max`, because the first one may have
//! no connection to what the verifier asks.
//!
//! * A verifier fails with a transient error, panics or does not answer in time, or the storage
//!   refuses the verdict: it is asked again after a back-off that grows up to
//!   `Limits::backoff_max`, until a person gives the build up. The failures are counted in memory.
//! * A verifier fails for good: the build fails with this text.
//! * Two runs verify the same result, because one was late or the partition has moved: the second
//!   answer is stale and changes nothing.
//! * The process dies or the lease is lost: the build stays in its state, and is verified again.
//!   Nothing is built on the result before.

use super::backoff::Backoffs;
use super::core::{Core, Pace, beside, progress};
use super::group::NotApplied;
use crate::backend::{BuildFilter, BuildRequest, Error, Made, Paging};
use crate::rebuild::{AttemptRecord, AttemptState, BuildId, BuildRecord, BuildState, Input, RowKey, Verification};
use crate::store::partition;
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};

/// Largest number of results of each build system that are verified at the same time.
const VERIFIED_MAX: usize = 8;

/// Largest number of builds that are looked at. This many may wait for verifiers that are away
/// before others are hidden by them.
const LOOKED_AT_MAX: usize = 20_000;

/// Verifies results until the stop was requested and all calls have ended.
pub(super) async fn run(core: &Core) {
    let mut under_way = FuturesUnordered::new();
    // With the build system, so that a verifier that hangs holds up no other one.
    let mut busy: BTreeMap<BuildId, String> = BTreeMap::new();
    let mut backoffs = Backoffs::default();
    let mut partitions = None;
    let mut pace = Pace::new();
    loop {
        if core.is_stopping() && under_way.is_empty() {
            return;
        }
        let mut ended = Vec::new();
        if pace.is_due(core) {
            let verifying = core.read("verify", verifying(core, &mut partitions));
            let (looked, meanwhile) = beside(&mut under_way, verifying).await;
            ended = meanwhile;
            if let Some(mut builds) = looked {
                let (now, mine) = (core.elapsed(), core.partitions());
                let there: BTreeSet<_> = builds.iter().map(|build| build.id).collect();
                backoffs.keep(|id| there.contains(id), now);
                for build in &builds {
                    if partitions.is_some_and(|count| mine.contains(&partition(&RowKey::Build(build.id), count))) {
                        backoffs.begin(&build.id);
                    } else {
                        backoffs.postpone(build.id, now.saturating_add(core.limits.backoff_max));
                    }
                }
                builds.sort_by_key(|build| backoffs.until(&build.id));
                for build in builds {
                    let of_system = busy.values().filter(|system| **system == build.key.system).count();
                    let may = !busy.contains_key(&build.id) && backoffs.is_due(&build.id, now);
                    if may && of_system < VERIFIED_MAX {
                        busy.insert(build.id, build.key.system.clone());
                        under_way.push(verify(core, build));
                    }
                }
                pace.looked(core, backoffs.next(now));
            }
        }
        if ended.is_empty() {
            ended.extend(progress(&mut under_way, core.wait(&core.wake.verify, pace.at(core))).await);
        }
        for (id, verified) in ended {
            busy.remove(&id);
            match verified {
                Ok(()) => backoffs.succeeded(&id),
                Err(error) => {
                    tracing::warn!(build.id = %id, %error, "a result cannot be looked at now; trying again");
                    backoffs.failed(id, core.elapsed(), &core.limits);
                }
            }
        }
        pace.hurry();
    }
}

/// Returns the builds that wait for verification and that this engine may touch, oldest first.
/// `partitions` becomes the number of partitions of the storage, if there are such builds.
async fn verifying(core: &Core, partitions: &mut Option<u16>) -> Result<Vec<BuildRecord>, Error> {
    let filter = BuildFilter { states: vec![BuildState::Verifying], ..BuildFilter::default() };
    let reads = core.reads();
    let page = |paging| reads.builds(filter.clone(), paging);
    let builds = Paging::first(Paging::LIMIT_MAX).oldest_first().collect(LOOKED_AT_MAX, page).await?;
    core.report(&builds.unreadable);
    if partitions.is_none() && !builds.items.is_empty() {
        *partitions = u16::try_from(reads.outbox().await?.partitions.len()).ok();
    }
    Ok(builds.items.into_iter().filter(|build| core.is_ours(&build.key)).collect())
}

/// Verifies one result and stores the verdict.
///
/// # Errors
/// In the second part of the output: an error after which the result is verified again.
async fn verify(core: &Core, build: BuildRecord) -> (BuildId, Result<(), Error>) {
    let id = build.id;
    match judge(core, &build).await {
        Ok(seen) => (id, decide(core, &build, seen).await),
        Err(error) if error.is_transient() => (id, Err(error)),
        Err(error) => (id, decide(core, &build, Verification::Failed(error.to_string())).await),
    }
}

/// Asks the verifier about the result. It counts without a question if no verifier is registered
/// for its system any more, or if there is no output or no successful attempt.
///
/// # Errors
/// The error of the verifier or the storage; `Unavailable` if the verifier does not answer in time.
async fn judge(core: &Core, build: &BuildRecord) -> Result<Verification, Error> {
    let built = core.succeeded(build.id).await?;
    // A verifier that is no longer registered asks for nothing.
    let verifier = core.verifiers.get(&build.key.system);
    let (Some(verifier), Some(attempt), Some(output)) = (verifier, built, &build.output) else {
        return Ok(Verification::Unverified);
    };
    let Some(external) = attempt.external.clone() else { return Ok(Verification::Unverified) };
    let made = Made { request: BuildRequest::of(build, &attempt), external, output: output.clone() };
    core.answer(|| format!("{}: verifier", build.key.system), verifier.verify(&made)).await
}

impl Core {
    /// Returns the latest attempt of a build that succeeded: the one that made its output.
    pub(super) async fn succeeded(&self, build: BuildId) -> Result<Option<AttemptRecord>, Error> {
        let attempts = self.reads().attempts(vec![build]).await?;
        Ok(attempts.into_iter().rev().find(|attempt| attempt.state == AttemptState::Succeeded))
    }
}

/// Stores a verdict. A stale result gets reserved build ids for the repositories that may have to
/// be prepared anew; ids that are not used are gaps.
///
/// # Errors
/// The ids cannot be reserved, or the storage refuses the verdict.
async fn decide(core: &Core, build: &BuildRecord, seen: Verification) -> Result<(), Error> {
    let unused = match seen {
        // At most all that it is built from is prepared anew.
        Verification::Stale(_) => core.storage.reserve(u32::try_from(build.parents.len()).unwrap_or(u32::MAX)).await?,
        Verification::Passed(_) | Verification::Unverified | Verification::Failed(_) => 0,
    };
    let input = Input::Verified { build: build.id, seen, unused: BuildId(unused) };
    match core.apply(input, Some(build.id)).await {
        Err(NotApplied::Refused(error) | NotApplied::Unreadable(error)) => Err(error),
        // Too late only if it was cancelled meanwhile.
        Ok(_) | Err(NotApplied::Illegal(_) | NotApplied::Fenced) => Ok(()),
    }
}

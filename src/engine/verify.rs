use super::core::{Core, Pace, progress};
use crate::backend::{BuildFilter, BuildRequest, Error, Made, Paging};
use crate::rebuild::{AttemptRecord, AttemptState, BuildId, BuildRecord, BuildState, Input, Verification};
use crate::time::{Timestamp, later};
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};

/// Results that are looked at at the same time.
const VERIFIED_MAX: usize = 8;

/// Results to judgements: what a build system says is done counts only after its verifier has
/// looked at it.
pub(super) async fn run(core: &Core) {
    let mut under_way = FuturesUnordered::new();
    let mut busy = BTreeSet::new();
    let mut waits: BTreeMap<BuildId, Wait> = BTreeMap::new();
    let mut pace = Pace::new();
    loop {
        if core.is_stopping() && under_way.is_empty() {
            return;
        }
        if pace.is_due(core) {
            match verifying(core).await {
                Ok(builds) => {
                    let now = core.now();
                    waits.retain(|id, _| builds.iter().any(|build| build.id == *id));
                    let due = |id: BuildId| waits.get(&id).is_none_or(|wait| wait.until <= now);
                    let idle = builds.into_iter().filter(|build| !busy.contains(&build.id) && due(build.id));
                    for build in idle.take(VERIFIED_MAX - under_way.len()).collect::<Vec<_>>() {
                        busy.insert(build.id);
                        under_way.push(verify(core, build));
                    }
                    pace.looked(core, waits.values().map(|wait| wait.until).filter(|until| *until > now).min());
                }
                Err(error) => core.pause("verify", &error).await,
            }
        }
        if let Some((id, verified)) = progress(&mut under_way, core.wait(&core.wake.verify, pace.at(core))).await {
            busy.remove(&id);
            match verified {
                Ok(()) => drop(waits.remove(&id)),
                Err(error) => {
                    tracing::warn!(build.id = %id, %error, "a result cannot be looked at now; trying again");
                    let tries = waits.get(&id).map_or(1, |wait| wait.tries + 1);
                    waits.insert(id, Wait { tries, until: later(core.now(), core.limits.backoff(tries)) });
                }
            }
        }
        pace.hurry();
    }
}

/// A result that could not be looked at.
#[derive(Debug)]
struct Wait {
    tries: u32,
    until: Timestamp,
}

async fn verifying(core: &Core) -> Result<Vec<BuildRecord>, Error> {
    let filter = BuildFilter { states: vec![BuildState::Verifying], ..BuildFilter::default() };
    let builds = core.reads().builds(filter, Paging::first(Paging::LIMIT_MAX)).await?;
    core.report(&builds.unreadable);
    let builds = builds.items;
    Ok(builds.into_iter().filter(|build| core.is_ours(&build.key)).collect())
}

/// Looks at one result and stores what that showed.
async fn verify(core: &Core, build: BuildRecord) -> (BuildId, Result<(), Error>) {
    let id = build.id;
    match judge(core, &build).await {
        Ok(seen) => (id, decide(core, &build, seen).await),
        Err(error) if error.is_transient() => (id, Err(error)),
        Err(error) => (id, decide(core, &build, Verification::Failed(error.to_string())).await),
    }
}

async fn judge(core: &Core, build: &BuildRecord) -> Result<Verification, Error> {
    let built = core.succeeded(build.id).await?;
    // A verifier that is no longer registered asks for nothing.
    let verifier = core.verifiers.get(&build.key.system);
    let (Some(verifier), Some(attempt), Some(output)) = (verifier, built, &build.output) else {
        return Ok(Verification::Passed(None));
    };
    let Some(external) = attempt.external.clone() else { return Ok(Verification::Passed(None)) };
    let made = Made { request: BuildRequest::of(build, &attempt), external, output: output.clone() };
    core.answer(|| format!("{}: verifier", build.key.system), verifier.verify(&made)).await
}

impl Core {
    /// The attempt that made the output of a build.
    pub(super) async fn succeeded(&self, build: BuildId) -> Result<Option<AttemptRecord>, Error> {
        let attempts = self.reads().attempts(build).await?;
        Ok(attempts.into_iter().rev().find(|attempt| attempt.state == AttemptState::Succeeded))
    }
}

async fn decide(core: &Core, build: &BuildRecord, seen: Verification) -> Result<(), Error> {
    let unused = match seen {
        // At most all that it is built from is prepared anew.
        Verification::Stale(_) => core.storage.reserve(u32::try_from(build.parents.len()).unwrap_or(u32::MAX)).await?,
        Verification::Passed(_) | Verification::Failed(_) => 0,
    };
    let input = Input::Verified { build: build.id, seen, unused: BuildId(unused) };
    // Too late only if it was cancelled meanwhile.
    let _ = core.apply(&input, Some(build.id)).await;
    Ok(())
}

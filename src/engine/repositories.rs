//! Checks that the repositories prepared for a build are still there, right before it is submitted.
//!
//! Repositories expire, and a build may wait longer than they last. `drive` asks here for each
//! build with a parent of kind repository. The composers are asked for the status of the attempts
//! that prepared the repositories, by the same call that followed them.
//!
//! * All are there: the build goes on.
//! * One is gone (failed, cancelled or vanished): `Input::Lost` is stored. The repository is
//!   prepared anew by a build of its own, or by a newer one that exists already, and the build
//!   waits for it.
//! * A composer or the storage does not answer: `Input::Postponed` is stored, and the check is
//!   repeated after a tenth of the age of the build, but not sooner than after `ASKED_AGAIN` and
//!   not later than after `Limits::backoff_max`, without a limit.
//! * The process dies: nothing was submitted; the next run asks again. Reserved ids that were not
//!   used are gaps.

use super::calls::is_here;
use super::core::Core;
use crate::backend::{Error, Scope};
use crate::graph::EdgeKind;
use crate::rebuild::{BuildId, BuildRecord, Input, Observed};
use crate::time::since;
use std::time::Duration;

/// How long a build waits at least if it cannot be known whether its repositories are still there.
pub(super) const ASKED_AGAIN: Duration = Duration::from_secs(30);

/// Returns whether the build can go on. If not, what it waits for has been stored, unless the build
/// was cancelled meanwhile.
pub(super) async fn is_there(core: &Core, build: &BuildRecord) -> bool {
    if !build.parents.iter().any(|parent| parent.kinds.contains(&EdgeKind::Repository)) {
        return true;
    }
    let input = match loss(core, build.id).await {
        Ok(None) => return true,
        Ok(Some(loss)) => loss,
        Err(error) => {
            let text = format!("it is not known whether what was prepared for it is still there: {error}");
            let age = since(core.storage_now(), build.created_at);
            let after = (age / 10).clamp(ASKED_AGAIN, core.limits.backoff_max.max(ASKED_AGAIN));
            Input::Postponed { build: build.id, text, after }
        }
    };
    // Too late only if it was cancelled meanwhile.
    let _ = core.apply(input, Some(build.id)).await;
    false
}

/// Returns the input that says which repositories are gone, with one reserved build id for each;
/// `None` if all are there.
///
/// # Errors
/// The storage or a composer failed.
async fn loss(core: &Core, build: BuildId) -> Result<Option<Input>, Error> {
    let repositories = lost(core, build).await?;
    if repositories.is_empty() {
        return Ok(None);
    }
    let unused = core.storage.reserve(u32::try_from(repositories.len()).unwrap_or(u32::MAX)).await?;
    Ok(Some(Input::Lost { build, repositories, unused: BuildId(unused) }))
}

/// Returns the builds whose repositories are gone.
///
/// The composers are asked one after another, each within the time limit of a call. A repository
/// without a successful attempt, or whose composer is not registered here or is on another host,
/// counts as there; so does one that is missing in the answer.
async fn lost(core: &Core, build: BuildId) -> Result<Vec<BuildId>, Error> {
    let rows = core.storage.load(&Scope::Builds(vec![build])).await?;
    let mut lost = Vec::new();
    for id in rows.prepared_for(build) {
        let Some(repository) = rows.builds.get(&id) else { continue };
        let attempt = core.succeeded(id).await?;
        // A system that is no longer registered says nothing, nor does one about another host.
        let (Some(attempt), Some(backend)) = (attempt, core.backend(&repository.key)) else { continue };
        let is_elsewhere = attempt.session.is_some_and(|session| !is_here(backend, &session));
        let Some(external) = attempt.external.filter(|_| !is_elsewhere) else { continue };
        let asked = [external];
        let place = || format!("{}: status", repository.key.system);
        let found = core.answer(place, backend.status(&asked)).await?;
        let gone = |observed: &Observed| !matches!(observed, Observed::Running | Observed::Succeeded(_));
        if found.iter().any(|found| found.external == asked[0] && gone(&found.observed)) {
            lost.push(id);
        }
    }
    Ok(lost)
}

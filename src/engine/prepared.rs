use super::core::Core;
use crate::backend::{Error, Scope};
use crate::graph::EdgeKind;
use crate::rebuild::{BuildId, BuildRecord, Input, Observed};
use std::time::Duration;

/// How long a build waits if nobody can say whether what was prepared for it is still there.
const ASKED_AGAIN: Duration = Duration::from_secs(30);

/// What is prepared goes when its time is up, and builds may wait longer than that: before one is
/// submitted, those who prepared something for it are asked. Whether it can go on; if not, it has
/// been stored what it waits for.
pub(super) async fn is_there(core: &Core, build: &BuildRecord) -> bool {
    if !build.parents.iter().any(|parent| parent.kinds.contains(&EdgeKind::Repository)) {
        return true;
    }
    let input = match loss(core, build.id).await {
        Ok(None) => return true,
        Ok(Some(loss)) => loss,
        Err(error) => {
            let text = format!("it is not known whether what was prepared for it is still there: {error}");
            Input::Postponed { build: build.id, text, after: ASKED_AGAIN }
        }
    };
    // Too late only if it was cancelled meanwhile.
    let _ = core.apply(&input, Some(build.id)).await;
    false
}

/// That repositories of the build are gone, if any are.
async fn loss(core: &Core, build: BuildId) -> Result<Option<Input>, Error> {
    let repositories = lost(core, build).await?;
    if repositories.is_empty() {
        return Ok(None);
    }
    let unused = core.storage.reserve(u32::try_from(repositories.len()).unwrap_or(u32::MAX)).await?;
    Ok(Some(Input::Lost { build, repositories, unused: BuildId(unused) }))
}

/// The builds whose repositories are gone.
async fn lost(core: &Core, build: BuildId) -> Result<Vec<BuildId>, Error> {
    let rows = core.storage.load(&Scope::Builds(vec![build])).await?;
    let mut lost = Vec::new();
    for id in rows.prepared_for(build) {
        let Some(repository) = rows.builds.get(&id) else { continue };
        let attempt = core.succeeded(id).await?;
        // A system that is no longer registered says nothing.
        let (Some(external), Some(backend)) =
            (attempt.and_then(|attempt| attempt.external), core.backend(&repository.key))
        else {
            continue;
        };
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

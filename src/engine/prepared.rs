use super::core::Core;
use super::drive::in_time;
use crate::backend::{Error, Remedy, Scope};
use crate::graph::EdgeKind;
use crate::rebuild::{BuildId, BuildRecord, Input, Observed};
use std::time::Duration;

/// How long a build waits if nobody can say whether what was prepared for it is still there.
const ASKED_AGAIN: Duration = Duration::from_secs(30);

/// What is prepared goes when its time is up, and builds may wait longer than that: before one is submitted, those who prepared something
/// for it are asked. Whether it can go on; if not, it has been stored what it waits for.
pub(super) async fn is_there(core: &Core, build: &BuildRecord) -> bool {
    if !build.parents.iter().any(|parent| parent.kinds.contains(&EdgeKind::Repository)) {
        return true;
    }
    let input = match lost(core, build.id).await {
        Ok(lost) if lost.is_empty() => return true,
        Ok(repositories) => match core.storage.reserve(u32::try_from(repositories.len()).unwrap_or(u32::MAX)).await {
            Ok(unused) => Input::Lost { build: build.id, repositories, unused: BuildId(unused) },
            Err(error) => postponed(build.id, &error),
        },
        Err(error) => postponed(build.id, &error),
    };
    // Too late only if it was cancelled meanwhile.
    let _ = core.apply(&input, Some(build.id)).await;
    false
}

fn postponed(build: BuildId, error: &Error) -> Input {
    let text = format!("it is not known whether what was prepared for it is still there: {error}");
    Input::Postponed { build, text, after: ASKED_AGAIN }
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
        let found = in_time(core, backend.status(&asked)).await.unwrap_or_else(|| {
            let place = format!("{}: status", repository.key.system);
            Err(Error::new(Remedy::Unavailable, place, "no answer in time"))
        })?;
        let gone = |observed: &Observed| !matches!(observed, Observed::Running | Observed::Succeeded(_));
        if found.iter().any(|found| found.external == asked[0] && gone(&found.observed)) {
            lost.push(id);
        }
    }
    Ok(lost)
}

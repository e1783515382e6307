//! What is run for each build of the demonstration.

use crate::Result;
use crate::out::say;
use crate::store::{Document, Store, pretended_work};
use freshmaker::ArtifactId;
use freshmaker::artifact::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Tells a build where the outputs are.
pub(crate) const STATE: &str = "QUICKSTART_STATE";

#[derive(Deserialize)]
struct Parent {
    id: ArtifactId,
    digest: Option<Digest>,
}

#[derive(Deserialize)]
struct Request {
    parents: Vec<Parent>,
}

/// Makes the output of one artifact from what the engine says it is to be made of.
pub(crate) fn run() -> Result<()> {
    let store = Store::open(Path::new(&variable(STATE)?))?;
    let artifact = ArtifactId::new(variable("FRESHMAKER_ARTIFACT")?);
    let mut parents = BTreeMap::new();
    for parent in parents_of_request()? {
        let digest = parent.digest.ok_or_else(|| format!("nobody knows the content of {}", parent.id))?;
        if !store.has(&digest) {
            return Err(format!("{artifact} cannot be built: its parent {} has no output {digest}", parent.id).into());
        }
        say!("from {} {digest}", parent.id);
        parents.insert(parent.id, digest);
    }
    std::thread::sleep(pretended_work(&artifact));
    let recipe = variable("FRESHMAKER_REVISION")?.parse()?;
    let digest = store.put(&Document { artifact: artifact.clone(), recipe, content: 0, parents })?;
    store.move_tag(&artifact, &digest)?;
    say!("made {artifact} {digest}");
    let result = PathBuf::from(variable("FRESHMAKER_RESULT")?);
    let temporary = result.with_extension("tmp");
    std::fs::write(&temporary, serde_json::json!({"name": artifact, "digest": digest}).to_string())?;
    std::fs::rename(temporary, result)?;
    Ok(())
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).map_err(|error| format!("{name}: {error}; only the engine runs this command").into())
}

fn parents_of_request() -> Result<Vec<Parent>> {
    let text = variable("FRESHMAKER_PARENTS")?;
    if !text.is_empty() {
        return Ok(serde_json::from_str(&text)?);
    }
    // Too many for a variable.
    let request: Request = serde_json::from_slice(&std::fs::read(variable("FRESHMAKER_REQUEST")?)?)?;
    Ok(request.parents)
}

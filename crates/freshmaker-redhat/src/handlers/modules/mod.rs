mod metadata;
mod packages;

pub use metadata::RebuildModule;
pub use packages::{RebuildModulesAfterUpdate, RebuildModulesOfPackage};

use crate::contracts::{Module, Modules};
use freshmaker::artifact::{Artifact, ArtifactKind};
use freshmaker::handler::{Context, Decision, HandlerResult};
use freshmaker::{ArtifactGraph, Reason, RebuildReason};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Plans the rebuild of modules. The handlers of modules share it.
///
/// The id of a module is its name and stream (`perl:5.26`), its target is the stream, and its
/// source is that of its latest build. The policy judges each module. The codes of reasons are
/// those of [`handlers`](crate::handlers).
///
/// See [`RebuildModulesOfPackage`] for an example.
#[derive(Clone, Debug)]
pub struct AffectedModules {
    modules: Arc<dyn Modules>,
    system: String,
}

impl AffectedModules {
    /// Asks this about modules, which the build system `mbs` builds.
    #[must_use]
    pub fn new(modules: Arc<dyn Modules>) -> Self {
        Self { modules, system: "mbs".to_owned() }
    }

    /// Sets the name of the build system.
    #[must_use]
    pub fn with_system(self, system: impl Into<String>) -> Self {
        Self { system: system.into(), ..self }
    }

    fn artifact(&self, module: &Module, commit: &str) -> Artifact {
        let artifact = Artifact::new(module.id(), ArtifactKind::Module).with_system(self.system.as_str());
        let artifact = artifact.with_source(module.source.as_str(), Some(commit));
        Artifact { target: module.stream.clone(), ..artifact }
    }

    /// Returns the decision to rebuild the modules that take one of these packages from this
    /// branch, for this reason, from new commits; or why there are none.
    async fn with_packages(
        &self,
        packages: &BTreeSet<String>,
        branch: Option<&str>,
        why: Reason,
        cx: &Context,
    ) -> HandlerResult {
        let known = self.modules.containing(packages).await?;
        if known.is_empty() {
            return Ok(Decision::Ignore);
        }
        let takes = |module: &&Module| packages.iter().any(|package| module.takes(package, branch));
        let (affected, others): (Vec<_>, Vec<_>) = known.iter().partition(takes);
        if affected.is_empty() {
            let others: Vec<_> = others.iter().map(|module| module.id()).collect();
            let branch = branch.unwrap_or("this branch");
            let text = format!("{} contain it, and take it from other branches than {branch}", others.join(", "));
            return Ok(Decision::Skip(text));
        }
        // MBS builds no commit twice.
        let artifact = |module: &&Module| self.artifact(module, &module.commit).with_parameter("new_commit", true);
        rebuild(affected.iter().map(artifact).collect(), why, cx).await
    }
}

/// Returns the decision to rebuild these, for this reason.
async fn rebuild(artifacts: Vec<Artifact>, why: Reason, cx: &Context) -> HandlerResult {
    let mut graph = ArtifactGraph::new();
    for artifact in &artifacts {
        graph.insert(artifact.clone());
    }
    let mut planner = cx.planner(&graph).await?;
    for artifact in artifacts {
        planner = planner.rebuild_as(artifact.id, RebuildReason::DirectlyAffected, why.clone());
    }
    Ok(Decision::Rebuild(planner.plan()?))
}

use super::AffectedModules;
use crate::messages::bodhi::UpdateStable;
use crate::messages::dist_git::SpecChanged;
use async_trait::async_trait;
use freshmaker::Reason;
use freshmaker::artifact::Nvr;
use freshmaker::handler::{Context, Handler, HandlerResult};
use std::collections::BTreeSet;

/// Rebuilds the modules that contain a package when its spec file changes.
///
/// It asks which modules contain the package. Those are rebuilt whose metadata take it from the
/// branch of the change, or name no branch. The event is [ignored] if no module
/// contains the package, and ends skipped if all take it from elsewhere. A module is rebuilt from a
/// new commit, which the build system makes.
///
/// [ignored]: freshmaker::handler::Decision::Ignore
///
/// ```
/// use freshmaker::Engine;
/// use freshmaker_redhat::handlers::{
///     AffectedModules, RebuildModule, RebuildModulesAfterUpdate, RebuildModulesOfPackage,
/// };
/// use freshmaker_redhat::contracts::Modules;
/// use freshmaker_redhat::messages;
/// use std::sync::Arc;
///
/// fn wire(modules: Arc<dyn Modules>) -> freshmaker::engine::EngineBuilder {
///     let affected = AffectedModules::new(modules);
///     Engine::builder()
///         .parsers(messages::parsers(["org.fedoraproject.prod"]))
///         .on(RebuildModule(affected.clone()))
///         .on(RebuildModulesOfPackage(affected.clone()))
///         .on(RebuildModulesAfterUpdate(affected))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RebuildModulesOfPackage(pub AffectedModules);

#[async_trait]
impl Handler<SpecChanged> for RebuildModulesOfPackage {
    async fn handle(&self, SpecChanged(change): SpecChanged, cx: Context) -> HandlerResult {
        let (package, branch, commit) = (change.repository, change.branch, change.commit);
        let why = format!("the spec file of {package} changed in the commit {commit} of {branch}");
        let why = Reason::new("package_changed", why);
        self.0.with_packages(&[package].into(), Some(&branch), why, &cx).await
    }
}

/// Rebuilds the modules that contain packages of an update when it becomes stable.
///
/// It asks which modules contain one of the packages, all at once, and decides as
/// [`RebuildModulesOfPackage`] does, with the branch of the update. If the message has no branch,
/// modules of all branches are rebuilt.
#[derive(Clone, Debug)]
pub struct RebuildModulesAfterUpdate(pub AffectedModules);

#[async_trait]
impl Handler<UpdateStable> for RebuildModulesAfterUpdate {
    async fn handle(&self, event: UpdateStable, cx: Context) -> HandlerResult {
        let packages = event.builds.iter().map(|build| build.parse::<Nvr>().map(|nvr| nvr.name().to_owned()));
        let packages = packages.collect::<Result<BTreeSet<_>, _>>()?;
        let why = Reason::new("package_stable", format!("{} is stable in {}", event.update_id, event.release));
        self.0.with_packages(&packages, event.branch.as_deref(), why, &cx).await
    }
}

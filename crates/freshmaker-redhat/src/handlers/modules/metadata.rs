use super::{AffectedModules, rebuild};
use crate::messages::dist_git::ModuleMetadataChanged;
use async_trait::async_trait;
use freshmaker::Reason;
use freshmaker::handler::{Context, Decision, Handler, HandlerResult};

/// Rebuilds a module when its metadata change, from the new commit.
///
/// It asks for the latest build of the module, once. A module without a build that is ready ends
/// [skipped](Decision::Skip): its first build is for its maintainer to submit. So does a commit
/// that the latest build was made from.
#[derive(Clone, Debug)]
pub struct RebuildModule(pub AffectedModules);

#[async_trait]
impl Handler<ModuleMetadataChanged> for RebuildModule {
    async fn handle(&self, ModuleMetadataChanged(change): ModuleMetadataChanged, cx: Context) -> HandlerResult {
        let (name, stream) = (&change.repository, &change.branch);
        let Some(module) = self.0.modules.module(name, stream).await? else {
            return Ok(Decision::Skip(format!("no build of the module {name}:{stream} is ready")));
        };
        if module.commit == change.commit {
            return Ok(Decision::Skip(format!("{name}:{stream} is built from the commit {} already", change.commit)));
        }
        let why = Reason::new("metadata_changed", format!("its metadata changed in the commit {}", change.commit));
        rebuild(vec![self.0.artifact(&module, &change.commit)], why, &cx).await
    }
}

//! Handlers that only this service has.

use freshmaker::artifact::{ArtifactId, Nvr};
use freshmaker::backend::CatalogAnswer;
use freshmaker::handler::{Context, Decision, Handler, HandlerResult, RebuildRequested, rebuild_requested};
use freshmaker_local::files::FilesCatalog;
use freshmaker_redhat::handlers::RebuildImagesOnRequest;
use freshmaker_redhat::messages::bodhi::UpdateStable;
use freshmaker_redhat::messages::dist_git::DockerfileChanged;
use freshmaker_redhat::messages::request::ManualRebuild;
use std::sync::Arc;

/// Packages were updated: whatever contains them is rebuilt, and must contain them as they are now.
pub(crate) async fn rebuild_after_update(event: UpdateStable, cx: Context) -> HandlerResult {
    let builds: Vec<Nvr> = event.builds.iter().map(|build| build.parse()).collect::<Result<_, _>>()?;
    let packages: Vec<ArtifactId> = builds.iter().map(|nvr| ArtifactId::new(nvr.name())).collect();
    let CatalogAnswer { graph, unknown } = cx.catalog().known_dependents(&packages).await?;
    let mut updated = packages.into_iter().zip(builds).filter(|(package, _)| !unknown.contains_key(package)).peekable();
    if updated.peek().is_none() {
        return Ok(Decision::Ignore);
    }
    let mut planner = cx.planner(&graph).await?;
    for (package, nvr) in updated {
        for (child, _) in graph.children(&package) {
            planner = planner.demand(child.clone(), nvr.clone());
        }
        planner = planner.changed(package, None);
    }
    Ok(Decision::Rebuild(planner.plan()?))
}

/// Somebody asks for the images of an advisory, or without one for what the files know.
pub(crate) struct RebuildByHand(pub(crate) Option<RebuildImagesOnRequest>);

#[async_trait::async_trait]
impl Handler<ManualRebuild> for RebuildByHand {
    async fn handle(&self, event: ManualRebuild, cx: Context) -> HandlerResult {
        match &self.0 {
            Some(on_request) if event.errata_id.or(event.freshmaker_event_id).is_some() => {
                on_request.handle(event, cx).await
            }
            _ => rebuild_by_hand(event, cx).await,
        }
    }
}

async fn rebuild_by_hand(event: ManualRebuild, cx: Context) -> HandlerResult {
    if event.container_images.is_empty() {
        return Ok(Decision::Skip(
            "which images an advisory affects is not known here: without [advisories] in the configuration \
             the request has to name them"
                .into(),
        ));
    }
    let ManualRebuild { container_images: artifacts, requester, .. } = event;
    rebuild_requested(RebuildRequested { artifacts, dependents: true, requester }, cx).await
}

/// The recipe of an image changed: it is rebuilt from there, and what is built on it follows.
pub(crate) struct RebuildRecipe(pub(crate) Arc<FilesCatalog>);

#[async_trait::async_trait]
impl Handler<DockerfileChanged> for RebuildRecipe {
    async fn handle(&self, DockerfileChanged(change): DockerfileChanged, cx: Context) -> HandlerResult {
        let is_it = |location: &str| {
            location.rsplit(['/', ':']).next().is_some_and(|name| name.trim_end_matches(".git") == change.repository)
        };
        let recipes = self.0.graph().artifacts().filter(|artifact| {
            artifact.source.as_ref().is_some_and(|source| is_it(&source.location))
                && artifact.parameters.get("git_branch").is_none_or(|branch| *branch == change.branch.as_str().into())
        });
        let names: Vec<_> = recipes.map(|artifact| artifact.id.clone()).collect();
        if names.is_empty() {
            return Ok(Decision::Ignore);
        }
        let mut graph = cx.catalog().dependents(&names).await?;
        for name in &names {
            if let Some(mut artifact) = graph.get(name).cloned() {
                if let Some(source) = &mut artifact.source {
                    source.revision = Some(change.commit.clone());
                }
                graph.insert(artifact);
            }
        }
        let planner = cx.planner(&graph).await?;
        Ok(Decision::Rebuild(names.into_iter().fold(planner, |planner, id| planner.rebuild(id)).plan()?))
    }
}

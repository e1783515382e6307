use super::BuiltImages;
use super::built::Root;
use crate::contracts::Recipe;
use crate::messages::dist_git::{Change, DockerfileChanged};
use async_trait::async_trait;
use freshmaker::Reason;
use freshmaker::artifact::{Nvr, Source};
use freshmaker::handler::{Context, Decision, Handler, HandlerResult};
use std::collections::BTreeSet;

/// Rebuilds an image whose recipe in dist-git has changed, from the new commit, and the images that
/// are built on it.
///
/// Listens to commits and pushes, see [`DockerfileChanged`]. It asks for the newest build that was
/// made from the branch, because that has the target and the parameters. The build has the name of
/// the repository, with or without `-container`.
///
/// The event ends [skipped](Decision::Skip), with the reason, if nothing was ever built from the
/// branch, or if the newest build was made from this commit.
///
/// ```
/// use freshmaker_redhat::handlers::{BuiltImages, RebuildImageOfDockerfile};
///
/// fn wire(images: BuiltImages) -> freshmaker::engine::EngineBuilder {
///     freshmaker::Engine::builder().on(RebuildImageOfDockerfile(images))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RebuildImageOfDockerfile(pub BuiltImages);

#[async_trait]
impl Handler<DockerfileChanged> for RebuildImageOfDockerfile {
    async fn handle(&self, DockerfileChanged(change): DockerfileChanged, cx: Context) -> HandlerResult {
        let Change { namespace, repository, branch, commit, .. } = &change;
        let stem = repository.strip_suffix("-container").unwrap_or(repository);
        let names = BTreeSet::from([stem.to_owned(), format!("{stem}-container")]);
        let found = self.0.newest_from_branch(&names, branch).await?;
        let mut missing = Vec::new();
        for (_, newest) in found {
            match newest {
                Ok(image) => {
                    let recipe = self.0.recipe(&image).await?;
                    match renewed(&image, recipe, &change) {
                        Ok(Some(root)) => {
                            let wanted = self.0.built_on(&image, root, &cx).await?;
                            return wanted.decide(cx.facts(), &cx).await;
                        }
                        Ok(None) => {
                            return Ok(Decision::Skip(format!("{image} was built from the commit {commit} already")));
                        }
                        Err(text) => missing.push(text),
                    }
                }
                Err(text) => missing.push(text),
            }
        }
        let missing = missing.join("; ");
        let why =
            format!("{namespace}/{repository} has no build from the branch {branch}, which would tell how: {missing}");
        Ok(Decision::Skip(why))
    }
}

/// Returns the recipe of an image with the new commit; `None` if it has that already.
///
/// # Errors
/// If the image was built from another repository.
fn renewed(image: &Nvr, recipe: Result<Recipe, String>, change: &Change) -> Result<Option<Root>, String> {
    let Change { repository, branch, commit, .. } = change;
    let recipe = match recipe {
        Ok(mut recipe) => {
            let source = recipe.artifact.source.take().unwrap_or_default();
            let last = source.location.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
            if last.trim_end_matches(".git") != repository {
                return Err(format!("{image} was built from {}", source.location));
            }
            if source.revision.as_deref() == Some(commit) {
                return Ok(None);
            }
            recipe.artifact.source = Some(Source { revision: Some(commit.clone()), ..source });
            Ok(recipe)
        }
        error => error,
    };
    let why = Reason::new("source_changed", format!("the branch {branch} of {repository} is at {commit}"));
    Ok(Some(Root::Rebuilt(Box::new(recipe), why)))
}

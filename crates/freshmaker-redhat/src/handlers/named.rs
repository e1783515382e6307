use super::BuiltImages;
use crate::messages::request::AsyncBuild;
use async_trait::async_trait;
use freshmaker::artifact::Nvr;
use freshmaker::handler::{Context, Handler, HandlerResult};
use std::collections::BTreeSet;

/// Most images that one request may name.
const NAMES_MAX: usize = 500;

/// Rebuilds the container images that a person names, independent of any change.
///
/// * Of each name the newest build counts that was made from the requested branch. If there is none
///   for one of the names, the event fails and says for which, and why.
/// * Named images that are built on each other are rebuilt in order, with the images between them;
///   see [`BuiltImages`].
/// * `brew_target` is the target of all these builds; without it, each image has the one of its
///   last build.
/// * A request on top of an earlier event builds all that it names as well. What that event has
///   rebuilt counts as the newest build, if it was.
///
/// A request for a [dry run](freshmaker::Event::dry_run) is planned alike. The rules of the policy
/// have the fact `manual`. See [`BuiltImages`] for an example.
#[derive(Clone, Debug)]
pub struct RebuildNamedImages(pub BuiltImages);

#[async_trait]
impl Handler<AsyncBuild> for RebuildNamedImages {
    async fn handle(&self, event: AsyncBuild, cx: Context) -> HandlerResult {
        let names: BTreeSet<String> = event.names().into_iter().collect();
        if names.len() > NAMES_MAX {
            return Err(format!("the request names {} images, at most {NAMES_MAX}", names.len()).into());
        }
        let named = self.newest(&names, &event.dist_git_branch).await?;
        let wanted = self.0.related(&named, event.brew_target.as_deref()).await?;
        wanted.decide(cx.facts().with("manual", "true"), &cx).await
    }
}

impl RebuildNamedImages {
    /// Returns the newest build of each name from this branch.
    async fn newest(
        &self,
        names: &BTreeSet<String>,
        branch: &str,
    ) -> Result<BTreeSet<Nvr>, freshmaker::backend::BoxError> {
        let mut found = self.0.newest_from_branch(names, branch).await?;
        let (mut newest, mut missing) = (BTreeSet::new(), Vec::new());
        for name in names {
            match found.remove(name) {
                Some(Ok(nvr)) => drop(newest.insert(nvr)),
                Some(Err(why)) => missing.push(why),
                None => missing.push(format!("nothing is known about {name}")),
            }
        }
        if missing.is_empty() {
            return Ok(newest);
        }
        Err(format!("images that were never built from the branch {branch} cannot be rebuilt: {}", missing.join("; "))
            .into())
    }
}

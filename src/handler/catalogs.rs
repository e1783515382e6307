use crate::artifact::ArtifactId;
use crate::backend::{Catalog, CatalogAnswer, Result};
use crate::graph::{ArtifactGraph, EdgeKind};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All registered catalogs as one: artifacts that one catalog knows may have dependents that only
/// another one knows. Cheap to clone.
///
/// The catalogs are asked in the order of their registered names. If several describe one artifact,
/// their parents are united, and the last description with a recipe is kept; if none has a recipe,
/// the last one ([`ArtifactGraph::merge`]).
///
/// ```
/// use freshmaker::backend::Remedy;
/// use freshmaker::handler::Context;
/// use freshmaker::memory::MemoryCatalog;
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, Policy};
/// use std::sync::Arc;
///
/// # futures_util::FutureExt::now_or_never(async {
/// let mut graph = ArtifactGraph::new();
/// graph.insert(Artifact::new("debian", ArtifactKind::Image));
/// let cx = Context::outside(Arc::new(MemoryCatalog::new(graph)), Policy::allow_all(), Default::default());
///
/// assert_eq!(cx.catalog().dependents(&["debian".into()]).await?.len(), 1);
/// let error = cx.catalog().dependents(&["debian".into(), "debbian".into()]).await.unwrap_err();
/// assert_eq!(error.remedy, Remedy::NotFound);
///
/// // If some of the names are somebody else's:
/// let answer = cx.catalog().known_dependents(&["debian".into(), "glibc".into()]).await?;
/// assert_eq!((answer.graph.len(), answer.unknown.len()), (1, 1));
/// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Catalogs(Arc<BTreeMap<String, Arc<dyn Catalog>>>);

impl Catalogs {
    pub(crate) fn new(catalogs: BTreeMap<String, Arc<dyn Catalog>>) -> Self {
        Self(Arc::new(catalogs))
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Returns these artifacts, everything that directly or indirectly depends on them, and every
    /// parent that all these have.
    ///
    /// # Errors
    /// [`NotFound`](crate::backend::Remedy::NotFound) if no catalog knows one of the names; the
    /// error names all of these. Errors of a catalog.
    pub async fn dependents(&self, of: &[ArtifactId]) -> Result<ArtifactGraph> {
        self.known_dependents(of).await?.complete()
    }

    /// Returns these artifacts and their direct parents.
    ///
    /// # Errors
    /// As [`dependents`](Self::dependents).
    pub async fn describe(&self, ids: &[ArtifactId]) -> Result<ArtifactGraph> {
        self.known(ids).await?.complete()
    }

    /// Returns the same as [`dependents`](Self::dependents); names that no catalog knows are listed
    /// in the answer.
    ///
    /// # Errors
    /// Errors of a catalog.
    pub async fn known_dependents(&self, of: &[ArtifactId]) -> Result<CatalogAnswer> {
        let mut all = CatalogAnswer::default();
        let mut asked = BTreeSet::new();
        let mut ask = of.to_vec();
        while !ask.is_empty() {
            for catalog in self.0.values() {
                all.merge(catalog.dependents(&ask).await?);
            }
            asked.extend(ask);
            // What one catalog knows as a dependent may have dependents that another one knows.
            let others = if self.0.len() > 1 { all.graph.dependents(of) } else { BTreeSet::new() };
            ask = others.into_iter().filter(|id| !asked.contains(id)).collect();
        }
        if self.0.len() > 1 {
            self.describe_repositories(&mut all).await?;
        }
        Ok(all.about(of))
    }

    /// Asks all catalogs about the repositories that are needed: the catalog whose image needs one
    /// may know no more of it than its name, and another one how it is prepared.
    ///
    /// Each repository is asked about once, so that it ends.
    async fn describe_repositories(&self, all: &mut CatalogAnswer) -> Result<()> {
        let mut asked: BTreeSet<ArtifactId> = BTreeSet::new();
        loop {
            let needed = all.graph.edges().filter(|(_, _, kind)| *kind == EdgeKind::Repository);
            let needed: BTreeSet<_> = needed.map(|(_, repository, _)| repository.clone()).collect();
            let ask: Vec<_> = needed.difference(&asked).cloned().collect();
            if ask.is_empty() {
                return Ok(());
            }
            for catalog in self.0.values() {
                all.merge(catalog.describe(&ask).await?);
            }
            asked.extend(ask);
        }
    }

    /// Returns the same as [`describe`](Self::describe); names that no catalog knows are listed in
    /// the answer.
    ///
    /// # Errors
    /// Errors of a catalog.
    pub async fn known(&self, ids: &[ArtifactId]) -> Result<CatalogAnswer> {
        let mut all = CatalogAnswer::default();
        for catalog in self.0.values() {
            all.merge(catalog.describe(ids).await?);
        }
        Ok(all.about(ids))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Artifact, ArtifactKind};
    use crate::backend::Remedy;
    use crate::memory::MemoryCatalog;
    use async_trait::async_trait;
    use futures_util::FutureExt;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Debug)]
    struct Counted(MemoryCatalog, AtomicUsize);

    #[async_trait]
    impl Catalog for Counted {
        async fn dependents(&self, of: &[ArtifactId]) -> Result<CatalogAnswer> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.dependents(of).await
        }

        async fn describe(&self, ids: &[ArtifactId]) -> Result<CatalogAnswer> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.describe(ids).await
        }
    }

    fn catalog(edges: &[(&str, &str)]) -> Arc<Counted> {
        let mut graph = ArtifactGraph::new();
        for (child, parent) in edges {
            graph.insert(Artifact::new(*parent, ArtifactKind::Image));
            graph.insert(Artifact::new(*child, ArtifactKind::Image).with_source(*child, None));
            graph.depend(*child, *parent, EdgeKind::ParentImage).unwrap();
        }
        Arc::new(Counted(MemoryCatalog::new(graph), AtomicUsize::new(0)))
    }

    fn names(names: &[&str]) -> Vec<ArtifactId> {
        names.iter().map(|name| ArtifactId::new(*name)).collect()
    }

    #[test]
    fn what_one_knows_leads_to_what_another_knows_in_one_call_a_round() {
        let (images, sites) =
            (catalog(&[("app", "base"), ("tool", "base")]), catalog(&[("site", "app"), ("page", "site")]));
        let all = Catalogs::new(
            [("images".to_owned(), images.clone() as _), ("sites".to_owned(), sites.clone() as _)].into(),
        );
        let asked = names(&["base", "page", "nothing", "nobody"]);
        let answer = all.known_dependents(&asked).now_or_never().unwrap().unwrap();
        let known: Vec<_> = answer.graph.artifacts().map(|artifact| artifact.id.as_str()).collect();
        assert_eq!(known, ["app", "base", "page", "site", "tool"]);
        assert_eq!(answer.unknown.into_keys().collect::<Vec<_>>(), names(&["nobody", "nothing"]));
        // One call each for what was asked, for `app` and `tool`, and for `site`.
        assert_eq!((images.1.load(Ordering::Relaxed), sites.1.load(Ordering::Relaxed)), (3, 3));

        let error = all.describe(&asked).now_or_never().unwrap().unwrap_err();
        assert_eq!(error.remedy, Remedy::NotFound);
        assert!(error.text.contains("nothing") && error.text.contains("nobody"), "{error}");
        let described = all.describe(&names(&["app", "site"])).now_or_never().unwrap().unwrap();
        assert_eq!(described.edges().count(), 2);
    }

    #[test]
    fn a_repository_is_described_by_whoever_knows_it() {
        let repository = Artifact::new("compose", ArtifactKind::Repository);
        let mut images = ArtifactGraph::new();
        images.insert(Artifact::new("base", ArtifactKind::Image));
        images.insert(Artifact::new("app", ArtifactKind::Image).with_source("app", None));
        images.insert(repository.clone());
        images.depend("app", "base", EdgeKind::ParentImage).unwrap();
        images.depend("app", "compose", EdgeKind::Repository).unwrap();
        let mut repositories = ArtifactGraph::new();
        for name in ["compose", "older"] {
            let artifact = Artifact { id: name.into(), ..repository.clone() };
            repositories.insert(artifact.with_source("packages", None));
        }
        repositories.insert(Artifact::new("packages", ArtifactKind::Rpm));
        repositories.depend("compose", "older", EdgeKind::Repository).unwrap();
        repositories.depend("older", "packages", EdgeKind::RuntimeContent).unwrap();
        let catalogs = [("images", images), ("repositories", repositories)]
            .map(|(name, graph)| (name.to_owned(), Arc::new(MemoryCatalog::new(graph)) as _));
        let answer = Catalogs::new(catalogs.into()).known_dependents(&names(&["base"])).now_or_never();
        let graph = answer.unwrap().unwrap().complete().unwrap();
        assert!(graph.get(&"compose".into()).unwrap().on_demand(), "it can be prepared");
        assert_eq!(graph.parents(&"older".into()).len(), 1, "and so can what it needs");
    }
}

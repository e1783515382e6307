use crate::artifact::ArtifactId;
use crate::backend::{Catalog, CatalogAnswer, Result};
use crate::graph::ArtifactGraph;
use async_trait::async_trait;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A catalog that answers from a graph in memory, for tests and for small, fixed sets of artifacts.
///
/// The graph can be replaced or changed at any time, also while an engine runs. An answer is made
/// from one state of the graph.
///
/// ```
/// use freshmaker::memory::MemoryCatalog;
/// use freshmaker::backend::Catalog;
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut graph = ArtifactGraph::new();
/// graph.insert(Artifact::new("debian", ArtifactKind::Image));
/// let catalog = MemoryCatalog::new(graph);
/// assert_eq!(catalog.describe(&["debian".into()]).await?.graph.len(), 1);
///
/// catalog.set(ArtifactGraph::new());
/// assert_eq!(catalog.describe(&["debian".into()]).await?.unknown.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct MemoryCatalog {
    graph: Mutex<ArtifactGraph>,
}

impl MemoryCatalog {
    /// Makes a catalog of this graph.
    #[must_use]
    pub fn new(graph: ArtifactGraph) -> Self {
        Self { graph: Mutex::new(graph) }
    }

    /// Replaces the graph.
    pub fn set(&self, graph: ArtifactGraph) {
        *self.lock() = graph;
    }

    /// Changes the graph in place and returns what `change` returns.
    ///
    /// Calls of the catalog wait meanwhile, so `change` should be quick. It must not use this
    /// catalog.
    pub fn update<T>(&self, change: impl FnOnce(&mut ArtifactGraph) -> T) -> T {
        change(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, ArtifactGraph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(graph: &ArtifactGraph, name: &ArtifactId) -> Result<ArtifactId, String> {
    graph.canonical(name).cloned().ok_or_else(|| format!("there is no artifact {name}"))
}

#[async_trait]
impl Catalog for MemoryCatalog {
    async fn dependents(&self, of: &[ArtifactId]) -> Result<CatalogAnswer> {
        let graph = self.lock();
        Ok(CatalogAnswer::cut(of, |name| find(&graph, name), |found| graph.affected_by(found)))
    }

    async fn describe(&self, ids: &[ArtifactId]) -> Result<CatalogAnswer> {
        let graph = self.lock();
        Ok(CatalogAnswer::cut(ids, |name| find(&graph, name), |found| graph.described(found)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Artifact, ArtifactKind};
    use crate::graph::EdgeKind;

    fn chain() -> ArtifactGraph {
        let mut graph = ArtifactGraph::new();
        for name in ["base", "tool", "app", "site", "other"] {
            graph.insert(Artifact::new(name, ArtifactKind::Image));
        }
        for (child, parent) in [("app", "base"), ("app", "tool"), ("site", "app"), ("tool", "other")] {
            graph.depend(child, parent, EdgeKind::ParentImage).unwrap();
        }
        graph.alias("b", "base").unwrap();
        graph
    }

    #[tokio::test]
    async fn dependents_come_with_all_their_parents() {
        let answer = MemoryCatalog::new(chain()).dependents(&["b".into()]).await.unwrap().graph;
        let names: Vec<_> = answer.artifacts().map(|artifact| artifact.id.as_str()).collect();
        assert_eq!(names, ["app", "base", "site", "tool"]);
        assert_eq!(answer.canonical(&"b".into()), Some(&"base".into()));
    }

    #[tokio::test]
    async fn a_description_ends_at_the_parents() {
        let answer = MemoryCatalog::new(chain()).describe(&["app".into()]).await.unwrap().graph;
        assert_eq!(answer.len(), 3);
        assert_eq!(answer.edges().count(), 2);
        let answer = MemoryCatalog::default().describe(&["app".into()]).await.unwrap();
        assert_eq!(answer.unknown[&"app".into()], "there is no artifact app");
    }
}

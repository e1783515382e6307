use crate::artifact::ArtifactId;
use crate::backend::{Catalog, Error, Remedy, Result};
use crate::graph::ArtifactGraph;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All registered catalogs as one: what depends on an artifact of one may be known to another.
#[derive(Debug)]
pub(super) struct Catalogs(pub(super) BTreeMap<String, Arc<dyn Catalog>>);

#[async_trait]
impl Catalog for Catalogs {
    async fn dependents(&self, of: &[ArtifactId]) -> Result<ArtifactGraph> {
        if let Some(only) = self.only() {
            return only.dependents(of).await;
        }
        let mut graph = ArtifactGraph::new();
        let mut asked = std::collections::BTreeSet::new();
        let mut ask: Vec<ArtifactId> = of.to_vec();
        while !ask.is_empty() {
            for catalog in self.0.values() {
                for id in &ask {
                    match catalog.dependents(std::slice::from_ref(id)).await {
                        Ok(part) => graph.merge(&part),
                        Err(error) if error.remedy == Remedy::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            asked.extend(ask);
            // An artifact that one catalog knows as a dependent may have dependents that only
            // another one knows.
            ask = graph.dependents(of).into_iter().filter(|id| !asked.contains(id)).collect();
        }
        known(&graph, of)?;
        Ok(graph)
    }

    async fn describe(&self, ids: &[ArtifactId]) -> Result<ArtifactGraph> {
        if let Some(only) = self.only() {
            return only.describe(ids).await;
        }
        let mut graph = ArtifactGraph::new();
        for catalog in self.0.values() {
            for id in ids {
                match catalog.describe(std::slice::from_ref(id)).await {
                    Ok(part) => graph.merge(&part),
                    Err(error) if error.remedy == Remedy::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        known(&graph, ids)?;
        Ok(graph)
    }
}

impl Catalogs {
    fn only(&self) -> Option<&Arc<dyn Catalog>> {
        self.0.values().next().filter(|_| self.0.len() == 1)
    }
}

fn known(graph: &ArtifactGraph, ids: &[ArtifactId]) -> Result<()> {
    match ids.iter().find(|id| graph.canonical(id).is_none()) {
        Some(id) => Err(Error::new(Remedy::NotFound, "catalogs", format!("no registered catalog knows {id}"))),
        None => Ok(()),
    }
}

use crate::artifact::{Artifact, ArtifactId};
use crate::graph::EdgeKind;
use petgraph::algo::kosaraju_scc;
use petgraph::stable_graph::StableDiGraph;
use std::fmt;

/// Artifacts that depend on each other in a circle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cycle {
    members: Vec<ArtifactId>,
}

impl Cycle {
    /// The members, by name.
    #[must_use]
    pub fn members(&self) -> &[ArtifactId] {
        &self.members
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, member) in self.members.iter().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{member}")?;
        }
        Ok(())
    }
}

/// Strongly connected components of more than one member, and self-loops. Does not recurse, so depth is no limit.
pub(super) fn find(graph: &StableDiGraph<Artifact, EdgeKind>) -> Vec<Cycle> {
    let mut cycles: Vec<_> = kosaraju_scc(graph)
        .into_iter()
        .filter(|component| component.len() > 1 || graph.contains_edge(component[0], component[0]))
        .map(|component| {
            let mut members: Vec<_> = component.into_iter().map(|node| graph[node].id.clone()).collect();
            members.sort_unstable();
            Cycle { members }
        })
        .collect();
    cycles.sort_unstable();
    cycles
}

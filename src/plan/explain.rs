use super::{Plan, PlanNode};
use crate::artifact::ArtifactId;
use crate::reason::Reason;
use serde::Serialize;
use std::fmt;

/// Why an artifact is in a plan, or why not.
///
/// ```
/// use freshmaker::plan::Explanation;
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Policy};
///
/// let mut graph = ArtifactGraph::new();
/// graph.insert(Artifact::new("debian", ArtifactKind::Image));
/// graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
/// graph.insert(Artifact::new("vendor", ArtifactKind::Image));
/// graph.depend("app", "debian", EdgeKind::ParentImage)?;
/// graph.depend("vendor", "debian", EdgeKind::ParentImage)?;
/// let plan = graph.plan(&["debian".into()], &Policy::allow_all())?;
///
/// assert_eq!(plan.explain(&"debian".into()), Explanation::Changed);
/// assert!(matches!(plan.explain(&"app".into()), Explanation::Rebuilt { path, .. } if path.len() == 2));
/// assert!(matches!(plan.explain(&"vendor".into()), Explanation::Excluded(why) if why.code == "no_recipe"));
/// assert_eq!(plan.explain(&"other".into()), Explanation::Unaffected);
/// assert_eq!(serde_json::to_value(plan.explain(&"vendor".into()))?["excluded"]["code"], "no_recipe");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Explanation<'a> {
    /// It is what changed.
    Changed,
    /// It is rebuilt; the path leads from a change, or from what was asked for, to it.
    Rebuilt {
        /// The build-to-be.
        node: &'a PlanNode,
        /// Artifacts from the start of the change to this one.
        path: Vec<&'a ArtifactId>,
    },
    /// It was a candidate, and is out.
    Excluded(&'a Reason),
    /// No change reaches it.
    Unaffected,
}

impl Plan {
    /// Why this artifact is in the plan, or why not.
    #[must_use]
    pub fn explain(&self, id: &ArtifactId) -> Explanation<'_> {
        if let Some(node) = self.node(id) {
            return Explanation::Rebuilt { node, path: self.path(node) };
        }
        match (self.excluded(id), self.changed.contains_key(id)) {
            (Some(exclusion), _) => Explanation::Excluded(exclusion),
            (None, true) => Explanation::Changed,
            (None, false) => Explanation::Unaffected,
        }
    }

    /// A shortest chain of reasons. Every reason lies in an earlier wave, so the walk ends.
    fn path<'a>(&'a self, node: &'a PlanNode) -> Vec<&'a ArtifactId> {
        let mut path = vec![&node.artifact.id];
        let mut here = node;
        while let Some(reason) = here.because.iter().min_by_key(|id| self.node(id).map_or(0, |node| node.wave + 1)) {
            path.push(reason);
            match self.node(reason) {
                Some(parent) => here = parent,
                None => break,
            }
        }
        path.reverse();
        path
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed => f.write_str("it changed"),
            Self::Unaffected => f.write_str("no change reaches it"),
            Self::Excluded(exclusion) => write!(f, "not rebuilt ({}): {}", exclusion.code, exclusion.text),
            Self::Rebuilt { path, .. } if path.len() == 1 => f.write_str("rebuilt because it was asked for"),
            Self::Rebuilt { path, .. } => {
                f.write_str("rebuilt because ")?;
                for (position, id) in path.iter().enumerate() {
                    f.write_str(if position == 0 { "" } else { " -> " })?;
                    write!(f, "{id}")?;
                }
                Ok(())
            }
        }
    }
}

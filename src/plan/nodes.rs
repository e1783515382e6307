//! The builds of a plan, as a sorted vector that clones of the plan share.
//!
//! A plan of a distribution has tens of thousands of builds, and is cloned by handlers, by the
//! engine and by caches.

use super::PlanNode;
use crate::artifact::ArtifactId;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The builds of a plan, by name. Serialized as a map from names.
///
/// **Invariant:** names ascend strictly. A plan never changes which builds it has, so a sorted
/// vector does what a map would do, in less than half the memory and without a second copy of
/// each name. It is shared with clones of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nodes(Arc<Vec<PlanNode>>);

impl Nodes {
    /// Builds that are in the order of their names already.
    pub(super) fn sorted(nodes: Vec<PlanNode>) -> Self {
        debug_assert!(nodes.is_sorted_by(|a, b| a.artifact.id < b.artifact.id), "a plan is in the order of names");
        Self(Arc::new(nodes))
    }

    /// Builds by the names of their artifacts. A key that is not that name is dropped.
    pub(super) fn of(nodes: BTreeMap<ArtifactId, PlanNode>) -> Self {
        Self::sorted(nodes.into_values().collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Cost: O(log n) comparisons of names.
    pub(super) fn get(&self, id: &ArtifactId) -> Option<&PlanNode> {
        self.find(id).map(|(_, node)| node)
    }

    /// A build, and its place in the order of names. Cost: O(log n) comparisons of names.
    pub(super) fn find(&self, id: &ArtifactId) -> Option<(usize, &PlanNode)> {
        self.0.binary_search_by(|node| node.artifact.id.cmp(id)).ok().map(|at| (at, &self.0[at]))
    }

    pub(super) fn contains_key(&self, id: &ArtifactId) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn values(&self) -> std::slice::Iter<'_, PlanNode> {
        self.0.iter()
    }

    /// The builds, to be changed in everything but their artifacts.
    pub(super) fn values_mut(&mut self) -> std::slice::IterMut<'_, PlanNode> {
        Arc::make_mut(&mut self.0).iter_mut()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ArtifactId> {
        self.0.iter().map(|node| &node.artifact.id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ArtifactId, &PlanNode)> {
        self.0.iter().map(|node| (&node.artifact.id, node))
    }
}

impl Serialize for Nodes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

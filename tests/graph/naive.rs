//! Answers by the plainest means: who reaches whom as a matrix, everything else from that.

use std::collections::BTreeSet;

/// Edges between few nodes.
#[derive(Clone, Debug)]
pub(crate) struct Naive {
    pub(crate) nodes: u32,
    pub(crate) edges: BTreeSet<(u32, u32)>,
}

impl Naive {
    pub(crate) fn new(nodes: u32, edges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        Self { nodes, edges: edges.into_iter().collect() }
    }

    /// Whether a path of at least one edge leads from each node to each other.
    pub(crate) fn reach(&self) -> Vec<Vec<bool>> {
        let nodes = self.nodes as usize;
        let mut reach = vec![vec![false; nodes]; nodes];
        for &(parent, child) in &self.edges {
            reach[parent as usize][child as usize] = true;
        }
        for via in 0..nodes {
            for from in 0..nodes {
                for to in 0..nodes {
                    reach[from][to] |= reach[from][via] && reach[via][to];
                }
            }
        }
        reach
    }

    /// For each node the smallest member of its component.
    pub(crate) fn components(&self) -> Vec<u32> {
        let reach = self.reach();
        let same = |a: usize, b: usize| a == b || reach[a][b] && reach[b][a];
        (0..self.nodes as usize).map(|a| (0..self.nodes).find(|b| same(a, *b as usize)).unwrap()).collect()
    }

    /// For each node its wave, if the change of these reaches it: longest way over components,
    /// found by trying until nothing grows.
    pub(crate) fn waves(&self, changed: &[u32]) -> Vec<Option<usize>> {
        let (reach, component) = (self.reach(), self.components());
        let mut waves: Vec<Option<usize>> = (0..self.nodes)
            .map(|node| {
                let hit = |seed: &u32| *seed == node || reach[*seed as usize][node as usize];
                changed.iter().any(hit).then_some(0)
            })
            .collect();
        loop {
            let before = waves.clone();
            for &(parent, child) in &self.edges {
                if let Some(wave) = waves[parent as usize]
                    && component[parent as usize] != component[child as usize]
                {
                    for member in 0..self.nodes as usize {
                        if component[member] == component[child as usize] {
                            waves[member] = waves[member].max(Some(wave + 1));
                        }
                    }
                }
            }
            if waves == before {
                return waves;
            }
        }
    }

    /// The longest chain of durations from this node on that has no two members of a cycle in a
    /// row.
    pub(crate) fn rank(&self, node: u32, durations: &[u32]) -> u32 {
        let component = self.components();
        let next = self
            .edges
            .iter()
            .filter(|(parent, child)| *parent == node && component[*parent as usize] != component[*child as usize]);
        durations[node as usize] + next.map(|(_, child)| self.rank(*child, durations)).max().unwrap_or(0)
    }
}

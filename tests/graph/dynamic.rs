//! [`DynamicGraph`]: after each of many random changes it equals what is computed from scratch.

use crate::naive::Naive;
use freshmaker::graph::{Csr, DynamicGraph, EdgeChange, FrozenGraph};
use std::collections::{BTreeMap, BTreeSet};

/// Random changes of one graph, with everything told by a graph that is frozen anew each time.
struct Run {
    rng: fastrand::Rng,
    graph: DynamicGraph,
    edges: BTreeSet<(u32, u32)>,
    durations: Vec<u64>,
    changes: BTreeMap<String, usize>,
}

impl Run {
    fn new(seed: u64, nodes: u32) -> Self {
        let mut run = Self {
            rng: fastrand::Rng::with_seed(seed),
            graph: DynamicGraph::new(),
            edges: BTreeSet::new(),
            durations: Vec::new(),
            changes: BTreeMap::new(),
        };
        for node in 0..nodes {
            run.durations.push(run.rng.u64(..6));
            assert_eq!(run.graph.add(run.durations[node as usize]), node);
        }
        run
    }

    fn nodes(&self) -> u32 {
        self.durations.len() as u32
    }

    /// One change. With few nodes and about as many edges, cycles come and go all the time.
    fn step(&mut self) {
        let node = self.rng.u32(..self.nodes());
        let other = self.rng.u32(..self.nodes());
        let change = match self.rng.u8(..16) {
            0 => {
                self.durations[node as usize] = self.rng.u64(..6);
                self.graph.set_duration(node, self.durations[node as usize]);
                return;
            }
            1..8 => self.remove_any(),
            _ => {
                let new = self.edges.insert((node, other));
                let change = self.graph.insert(node, other);
                assert_eq!(change == EdgeChange::Nothing, !new);
                change
            }
        };
        *self.changes.entry(format!("{change:?}")).or_default() += 1;
    }

    fn remove_any(&mut self) -> EdgeChange {
        let Some(&(parent, child)) = self.edges.iter().nth(self.rng.usize(..self.edges.len().max(1))) else {
            return self.graph.remove(0, 0);
        };
        self.edges.remove(&(parent, child));
        self.graph.remove(parent, child)
    }

    fn frozen(&self) -> FrozenGraph {
        let edges: Vec<_> = self.edges.iter().copied().collect();
        FrozenGraph::new(&Csr::new(self.nodes(), &edges).unwrap())
    }

    fn check(&mut self) {
        let frozen = self.frozen();
        let everything: Vec<_> = (0..self.nodes()).collect();
        let mut search = frozen.search();
        search.affected(&everything);
        let ranks = search.ranks(&self.durations);
        for node in 0..self.nodes() {
            assert_eq!(self.graph.rank(node), ranks.get(node), "rank of {node} in {:?}", self.edges);
        }
        let cycles: BTreeSet<BTreeSet<_>> = frozen.cycles().map(|cycle| cycle.iter().copied().collect()).collect();
        let ours = self.graph.components().filter(|members| members.len() > 1);
        assert_eq!(ours.map(|members| members.iter().copied().collect()).collect::<BTreeSet<_>>(), cycles);
        for &(parent, child) in &self.edges {
            let together = self.graph.component(parent).contains(&child);
            assert!(together || self.graph.precedes(parent, child), "{parent} -> {child}");
            assert!(!self.graph.precedes(child, parent));
        }
        assert_eq!(self.graph.components().map(<[u32]>::len).sum::<usize>(), self.nodes() as usize);
        assert_eq!(self.graph.edges(), self.edges.len());
    }
}

#[test]
fn after_every_change_it_equals_a_graph_made_anew() {
    for seed in 0..60 {
        let mut run = Run::new(seed, 4 + seed as u32 % 13);
        for _ in 0..400 {
            run.step();
            run.check();
        }
        for change in ["Edge", "United", "Divided"] {
            assert!(run.changes[change] > 0, "seed {seed} has seen no {change}");
        }
    }
}

#[test]
fn a_million_changes_later_it_still_does() {
    let mut run = Run::new(7, 40);
    for number in 1..=1_000_000 {
        run.step();
        if number % 100 == 0 {
            run.check();
        }
    }
    assert!(run.changes["United"] > 5_000 && run.changes["Divided"] > 5_000, "{:?}", run.changes);
}

/// Large enough that what breaks away from a cycle is a small part of it, and found without a look
/// at the rest.
#[test]
fn large_cycles_lose_small_parts() {
    for seed in 0..4 {
        let mut run = Run::new(seed, 150);
        for number in 1..=12_000 {
            run.step();
            if number % 40 == 0 {
                run.check();
            }
        }
        assert!(run.changes["Divided"] > 100, "{:?}", run.changes);
    }
}

#[test]
fn what_would_close_a_cycle_is_known_before() {
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..300 {
        let edges: Vec<_> = (0..rng.usize(..14)).map(|_| (rng.u32(..8), rng.u32(..8))).collect();
        let mut graph = DynamicGraph::of(&Csr::new(8, &edges).unwrap(), &[1; 8]);
        let reach = Naive::new(8, edges.iter().copied()).reach();
        for (parent, child) in (0..8).flat_map(|parent| (0..8).map(move |child| (parent, child))) {
            let expected = parent == child || reach[child as usize][parent as usize];
            assert_eq!(graph.closes_cycle(parent, child), expected, "{parent} -> {child} in {edges:?}");
        }
    }
}

#[test]
fn one_made_at_once_equals_one_made_edge_by_edge() {
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..200 {
        let edges: Vec<_> = (0..rng.usize(..40)).map(|_| (rng.u32(..12), rng.u32(..12))).collect();
        let durations: Vec<_> = (0..12).map(|_| rng.u64(..9)).collect();
        let mut at_once = DynamicGraph::of(&Csr::new(12, &edges).unwrap(), &durations);
        let mut by_edge = DynamicGraph::new();
        for duration in &durations {
            by_edge.add(*duration);
        }
        for (parent, child) in &edges {
            by_edge.insert(*parent, *child);
        }
        // Both go on to change.
        for _ in 0..6 {
            let (parent, child) = (rng.u32(..12), rng.u32(..12));
            assert_eq!(at_once.remove(parent, child), by_edge.remove(parent, child));
            assert_eq!(at_once.insert(child, parent), by_edge.insert(child, parent));
        }
        for node in 0..12 {
            assert_eq!(at_once.rank(node), by_edge.rank(node));
            let members = |graph: &DynamicGraph| graph.component(node).iter().copied().collect::<BTreeSet<_>>();
            assert_eq!(members(&at_once), members(&by_edge));
            assert_eq!(at_once.children(node).collect::<Vec<_>>(), by_edge.children(node).collect::<Vec<_>>());
            assert_eq!(at_once.parents(node).collect::<Vec<_>>(), by_edge.parents(node).collect::<Vec<_>>());
        }
    }
}

#[test]
fn what_is_no_node_is_passed_over() {
    let mut graph = DynamicGraph::new();
    let node = graph.add(1);
    assert_eq!(graph.insert(node, 9), EdgeChange::Nothing);
    assert_eq!(graph.remove(9, node), EdgeChange::Nothing);
    assert!(!graph.precedes(node, 9) && !graph.closes_cycle(9, node) && graph.component(9).is_empty());
    graph.set_duration(9, 4);
    assert_eq!((graph.rank(9), graph.children(9).count(), graph.parents(9).count()), (0, 0, 0));
}

/// Dividing again and again between the same neighbours uses up the places between them.
#[test]
fn places_between_neighbours_do_not_run_out() {
    let mut graph = DynamicGraph::new();
    let nodes: Vec<_> = (0..40).map(|_| graph.add(1)).collect();
    for _ in 0..200 {
        let cycle: Vec<_> = nodes.iter().copied().zip(nodes.iter().copied().cycle().skip(1)).collect();
        for (parent, child) in &cycle {
            graph.insert(*parent, *child);
        }
        assert_eq!(graph.components().count(), 1);
        assert_eq!(graph.remove(39, 0), EdgeChange::Divided);
        assert_eq!(graph.rank(0), 40);
        for (parent, child) in &cycle {
            graph.remove(*parent, *child);
        }
    }
}

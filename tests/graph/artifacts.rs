//! [`ArtifactGraph`]: names on top of numbers, edges that come and go, questions with limits.

use crate::naive::Naive;
use freshmaker::graph::EdgeKinds;
use freshmaker::{Artifact, ArtifactGraph, ArtifactId, ArtifactKind, EdgeKind};
use std::collections::{BTreeMap, BTreeSet};

const NODES: u32 = 9;

fn name(number: u32) -> ArtifactId {
    // The order of names is not that of numbers.
    ArtifactId::new(format!("{}{number}", ["m", "c", "x"][number as usize % 3]))
}

fn artifact(number: u32) -> Artifact {
    Artifact::new(name(number), ArtifactKind::Rpm).with_source(format!("recipe-{number}"), None)
}

/// What should be known: artifacts, and edges from parent to child with their kinds.
#[derive(Clone, Default)]
struct Model {
    artifacts: BTreeSet<u32>,
    edges: BTreeMap<(u32, u32), BTreeSet<EdgeKind>>,
}

impl Model {
    fn change(&mut self, graph: &mut ArtifactGraph, rng: &mut fastrand::Rng) {
        let (one, two) = (rng.u32(..NODES), rng.u32(..NODES));
        let kind = EdgeKind::ALL[rng.usize(..EdgeKind::ALL.len())];
        let known = self.artifacts.contains(&one) && self.artifacts.contains(&two);
        match rng.u8(..12) {
            0 | 1 => {
                graph.insert(artifact(one));
                self.artifacts.insert(one);
            }
            2 => {
                assert_eq!(graph.remove(&name(one)).is_some(), self.artifacts.remove(&one));
                self.edges.retain(|edge, _| edge.0 != one && edge.1 != one);
            }
            3 | 4 => {
                assert_eq!(graph.forget(&name(two), &name(one), kind).is_ok(), known);
                if let Some(kinds) = self.edges.get_mut(&(one, two)) {
                    kinds.remove(&kind);
                }
                self.edges.retain(|_, kinds| !kinds.is_empty());
            }
            _ => {
                assert_eq!(graph.depend(name(two), name(one), kind).is_ok(), known);
                if known {
                    self.edges.entry((one, two)).or_default().insert(kind);
                }
            }
        }
    }

    fn edges(&self) -> BTreeSet<(ArtifactId, ArtifactId, EdgeKind)> {
        let all = self.edges.iter().flat_map(|(edge, kinds)| kinds.iter().map(move |kind| (edge, *kind)));
        all.map(|((parent, child), kind)| (name(*child), name(*parent), kind)).collect()
    }

    fn check(&self, graph: &ArtifactGraph) {
        let told: Vec<_> = graph.edges().map(|(child, parent, kind)| (child.clone(), parent.clone(), kind)).collect();
        assert!(told.is_sorted(), "by name");
        assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), self.edges());
        let names: Vec<_> = graph.artifacts().map(|artifact| artifact.id.clone()).collect();
        let mut expected: Vec<_> = self.artifacts.iter().map(|number| name(*number)).collect();
        expected.sort();
        assert_eq!(names, expected);
        assert_eq!((graph.len(), graph.is_empty()), (names.len(), names.is_empty()));
        for id in &names {
            let number = graph.number(id).unwrap();
            assert_eq!(graph.numbered(number).unwrap().id, *id);
        }
    }
}

#[test]
fn a_graph_has_what_was_told_and_not_taken_back() {
    for seed in 0..50 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut model, mut graph) = (Model::default(), ArtifactGraph::new());
        for _ in 0..200 {
            model.change(&mut graph, &mut rng);
            model.check(&graph);
        }
    }
}

#[test]
fn merged_graphs_have_what_either_had() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut parts = [(Model::default(), ArtifactGraph::new()), (Model::default(), ArtifactGraph::new())];
        for (model, graph) in &mut parts {
            (0..60).for_each(|_| model.change(graph, &mut rng));
        }
        let [(mut model, mut graph), (other_model, other)] = parts;
        graph.merge(&other);
        model.artifacts.extend(other_model.artifacts);
        for (edge, kinds) in other_model.edges {
            model.edges.entry(edge).or_default().extend(kinds);
        }
        model.check(&graph);
    }
}

/// The number of edges on the shortest way, by trying longer and longer ones.
fn distances(edges: &BTreeSet<(u32, u32)>, from: &[u32]) -> BTreeMap<ArtifactId, u32> {
    let mut found = BTreeMap::new();
    let mut here: BTreeSet<_> = from.iter().copied().collect();
    for distance in 1..=NODES {
        here = edges.iter().filter(|edge| here.contains(&edge.0) && edge.0 != edge.1).map(|edge| edge.1).collect();
        for node in &here {
            found.entry(name(*node)).or_insert(distance);
        }
    }
    found
}

#[test]
fn closures_keep_to_their_limits() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut model, mut graph) = (Model::default(), ArtifactGraph::new());
        (0..80).for_each(|_| model.change(&mut graph, &mut rng));
        let from: Vec<_> = (0..rng.usize(..3)).map(|_| rng.u32(..NODES)).collect();
        let ids: Vec<_> = from.iter().map(|number| name(*number)).collect();
        let kinds: EdgeKinds = EdgeKind::ALL.into_iter().filter(|_| rng.bool()).collect();
        let along = model.edges.iter().filter(|(_, of)| of.iter().any(|kind| kinds.contains(*kind)));
        let along: BTreeSet<_> = along.map(|(edge, _)| *edge).collect();
        let back: BTreeSet<_> = along.iter().map(|(parent, child)| (*child, *parent)).collect();
        let question = graph.closure(&ids).along(kinds);
        assert_eq!(question.dependents(), distances(&along, &from));
        assert_eq!(question.dependencies(), distances(&back, &from));
        let depth = rng.u32(..4);
        let near = |all: BTreeMap<_, u32>| all.into_iter().filter(|(_, at)| *at <= depth).collect::<BTreeMap<_, _>>();
        assert_eq!(question.clone().within(depth).dependents(), near(distances(&along, &from)));
        assert_eq!(question.within(depth).dependencies(), near(distances(&back, &from)));

        // The same edges as numbers.
        let csr = graph.csr(kinds);
        for (parent, child) in &along {
            let (parent, child) = (graph.number(&name(*parent)).unwrap(), graph.number(&name(*child)).unwrap());
            assert!(csr.children(parent).contains(&child) && csr.parents(child).contains(&parent));
        }
        assert_eq!(csr.edges(), along.len());
    }
}

#[test]
fn cycles_are_named_with_a_way_around() {
    let mut seen = 0;
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut model, mut graph) = (Model::default(), ArtifactGraph::new());
        (0..70).for_each(|_| model.change(&mut graph, &mut rng));
        let components = Naive::new(NODES, model.edges.keys().copied()).components();
        let members = |of: u32| (0..NODES).filter(move |node| components[*node as usize] == of);
        let sets: BTreeSet<BTreeSet<_>> = (0..NODES).map(|of| members.clone()(of).map(name).collect()).collect();
        let expected: BTreeSet<_> = sets.into_iter().filter(|set: &BTreeSet<_>| set.len() > 1).collect();
        let cycles = graph.cycles();
        assert_eq!(cycles.iter().map(|it| it.members().iter().cloned().collect()).collect::<BTreeSet<_>>(), expected);
        for cycle in &cycles {
            let way = cycle.example();
            assert_eq!(way[0].0, cycle.members()[0]);
            for (at, (parent, kinds)) in way.iter().enumerate() {
                let (child, _) = &way[(at + 1) % way.len()];
                let between = graph.parents(child).into_iter().filter(|(id, _)| *id == parent).map(|(_, kind)| kind);
                assert_eq!(between.collect::<EdgeKinds>(), *kinds);
            }
            seen += 1;
        }
    }
    assert!(seen > 100);
}

#[test]
fn a_cycle_is_told_in_one_line() {
    let artifacts = ["libc", "perl", "make"].map(|id| Artifact::new(id, ArtifactKind::Rpm));
    let mut graph = ArtifactGraph::of(
        artifacts,
        [
            ("perl".into(), "libc".into(), EdgeKind::Link),
            ("make".into(), "perl".into(), EdgeKind::RuntimeContent),
            ("libc".into(), "make".into(), EdgeKind::BuildDependency),
            ("libc".into(), "libc".into(), EdgeKind::BuildDependency),
        ],
    )
    .unwrap();
    let told = |graph: &ArtifactGraph| graph.cycles().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        told(&graph),
        ["libc, make, perl (libc -[link]-> perl -[runtime_content]-> make -[build_dependency]-> libc)"]
    );
    for number in 0..40 {
        let id = ArtifactId::new(format!("z{number:02}"));
        graph.insert(Artifact::new(id.clone(), ArtifactKind::Rpm));
        graph.depend(id.clone(), "perl", EdgeKind::Link).unwrap();
        graph.depend("perl", id, EdgeKind::Link).unwrap();
    }
    let text = told(&graph).remove(0);
    assert!(text.contains(" and 31 more (libc") && text.len() < 300, "{text}");
}

/// The edges of a node with very many neighbours come and go like others.
#[test]
fn a_hub_loses_and_gains_edges() {
    let mut graph = ArtifactGraph::new();
    (0..300).for_each(|number| graph.insert(artifact(number)));
    for number in 1..300 {
        graph.depend(name(number), name(0), EdgeKind::Link).unwrap();
    }
    for number in (1..300).step_by(2) {
        graph.forget(&name(number), &name(0), EdgeKinds::ALL).unwrap();
    }
    let children: BTreeSet<_> = graph.children(&name(0)).into_iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(children, (2..300).step_by(2).map(name).collect());
    graph.remove(&name(0));
    assert_eq!(graph.edges().count(), 0);
}

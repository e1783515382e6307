//! How long a plan takes, against the bare walk over the same edges that no planner can avoid.
//!
//! `cargo bench --bench planning`. The ratio is what counts; seconds only orient.

use freshmaker::{Artifact, ArtifactGraph, ArtifactId, ArtifactKind, EdgeKind, Policy};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::Bfs;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A layered DAG in which each artifact has up to four parents in earlier layers.
fn layered(layers: u32, width: u32) -> Vec<(u32, Vec<u32>)> {
    let mut rng = fastrand::Rng::with_seed(7);
    (0..layers * width)
        .map(|node| {
            let earlier = node / width * width;
            let mut parents: Vec<_> = (0..4).filter(|_| earlier > 0).map(|_| rng.u32(..earlier)).collect();
            parents.sort_unstable();
            parents.dedup();
            (node, parents)
        })
        .collect()
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..7)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[3]
}

fn main() {
    println!("{:>8} {:>8} {:>8} {:>12} {:>12} {:>8}", "nodes", "edges", "builds", "walk", "plan", "ratio");
    for (layers, width) in [(5, 20), (10, 100), (20, 500)] {
        let nodes = layered(layers, width);
        let edges: usize = nodes.iter().map(|(_, parents)| parents.len()).sum();
        let mut graph = ArtifactGraph::new();
        let mut plain: DiGraph<(), ()> = DiGraph::new();
        for (node, parents) in &nodes {
            let name = format!("registry.example/image-{node:06}");
            graph.insert(Artifact::new(name.as_str(), ArtifactKind::Image).with_source("images", None));
            plain.add_node(());
            for parent in parents {
                let parent_name = format!("registry.example/image-{parent:06}");
                graph.depend(name.as_str(), parent_name, EdgeKind::ParentImage).expect("both were inserted");
                plain.add_edge(NodeIndex::new(*parent as usize), NodeIndex::new(*node as usize), ());
            }
        }
        let changed = [ArtifactId::new("registry.example/image-000000")];
        let policy = Policy::allow_all();
        let builds = graph.plan(&changed, &policy).expect("there is no cycle").len();
        let walk = median(|| {
            let mut bfs = Bfs::new(&plain, NodeIndex::new(0));
            while let Some(node) = bfs.next(&plain) {
                black_box(node);
            }
        });
        let plan = median(|| drop(black_box(graph.plan(&changed, &policy))));
        let ratio = plan.as_secs_f64() / walk.as_secs_f64();
        println!("{:>8} {edges:>8} {builds:>8} {walk:>12.1?} {plan:>12.1?} {ratio:>8.0}", nodes.len());
    }
}

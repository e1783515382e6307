//! A plan with all its names and reasons, against the plan in numbers and the bare walk over the
//! same edges.
//!
//! `cargo bench --bench planning`. The ratios are what counts. Times are the shortest of several
//! runs, which other work on the machine disturbs least.

#[path = "common/debian.rs"]
mod debian;

use freshmaker::graph::{EdgeKinds, FrozenGraph};
use freshmaker::plan::CyclePolicy;
use freshmaker::{Artifact, ArtifactGraph, ArtifactId, ArtifactKind, EdgeKind};
use petgraph::visit::Bfs;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A layered DAG in which each artifact has up to four parents in earlier layers.
fn layered(layers: u32, width: u32) -> Result<ArtifactGraph, Box<dyn std::error::Error>> {
    let mut rng = fastrand::Rng::with_seed(7);
    let name = |number: u32| ArtifactId::new(format!("registry.example/image-{number:06}"));
    let artifacts = (0..layers * width).map(|number| Artifact::new(name(number), ArtifactKind::Image));
    let mut edges = Vec::new();
    for number in width..layers * width {
        let earlier = number / width * width;
        edges.extend((0..4).map(|_| (name(number), name(rng.u32(..earlier)), EdgeKind::ParentImage)));
    }
    Ok(ArtifactGraph::of(artifacts.map(|artifact| artifact.with_source("images", None)), edges)?)
}

/// Debian's sources with their build and runtime dependencies.
fn archive() -> Result<ArtifactGraph, Box<dyn std::error::Error>> {
    let text = debian::text()?;
    let debian = debian::Debian::parse(&text)?;
    let ids: Vec<_> = debian.sources.iter().map(|source| ArtifactId::new(source.name)).collect();
    let artifacts =
        debian.sources.iter().zip(&ids).map(|(source, id)| {
            Artifact::new(id.clone(), ArtifactKind::Rpm).with_source("archive", Some(source.version))
        });
    let named = |edges: &[(u32, u32)], kind| {
        edges
            .iter()
            .map(|(child, parent)| (ids[*child as usize].clone(), ids[*parent as usize].clone(), kind))
            .collect()
    };
    let mut edges: Vec<_> = named(&debian.build, EdgeKind::BuildDependency);
    edges.extend(named(&debian.runtime, EdgeKind::RuntimeContent));
    Ok(ArtifactGraph::of(artifacts, edges)?)
}

fn shortest<R>(mut run: impl FnMut() -> R) -> Duration {
    let times = (0..15).map(|_| {
        let start = Instant::now();
        black_box(run());
        start.elapsed()
    });
    times.min().unwrap_or_default()
}

fn measure(name: &str, graph: &ArtifactGraph, changed: &ArtifactId) -> Result<(), Box<dyn std::error::Error>> {
    let planner = || graph.planner().changed(changed.clone(), None).cycles(CyclePolicy::Group);
    let plan = planner().plan()?;
    let root = graph.number(changed).ok_or("no such artifact")?;
    let csr = graph.csr(EdgeKinds::ALL);
    let frozen = FrozenGraph::new(&csr);
    let durations = vec![600_u32; csr.nodes() as usize];
    let mut search = frozen.search();
    let numbers = shortest(|| {
        search.affected(&[root]);
        search.ranks(&durations).longest()
    });
    let walk = shortest(|| {
        let mut bfs = Bfs::new(&csr, root);
        while let Some(node) = bfs.next(&csr) {
            black_box(node);
        }
    });
    let named = shortest(|| planner().plan());
    let stored = shortest(|| plan.hash());
    let builds = u32::try_from(plan.len().max(1))?;
    println!(
        "{name:<20} {:>7} {:>8} {builds:>7} {walk:>10.1?} {numbers:>10.1?} {named:>10.1?} {:>9.1?} {:>7.0} x {stored:>10.1?}",
        graph.len(),
        csr.edges(),
        named / builds,
        named.as_secs_f64() / walk.as_secs_f64(),
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "{:<20} {:>7} {:>8} {:>7} {:>10} {:>10} {:>10} {:>9} {:>9} {:>10}",
        "", "nodes", "edges", "builds", "walk", "numbers", "plan", "a build", "to walk", "hash"
    );
    for (layers, width) in [(5, 20), (10, 100), (20, 500)] {
        measure("layers of images", &layered(layers, width)?, &"registry.example/image-000000".into())?;
    }
    let archive = archive()?;
    measure("Debian 12, glibc", &archive, &"glibc".into())?;
    let start = Instant::now();
    let broken = archive.planner().changed("glibc", None).cycles(CyclePolicy::Break(EdgeKinds::ALL)).plan()?;
    let time = start.elapsed();
    let given_up: usize = broken.cycles().iter().map(|cycle| cycle.broken.len()).sum();
    let cycles = broken.cycles().len();
    println!("the same with its {cycles} cycles broken at {given_up} dependencies: {time:.1?}");
    Ok(())
}

//! How long a rebuild of Debian takes under the schedule, against what no schedule can beat, and
//! against first come, first served.
//!
//! `cargo bench --bench scheduling`, or with `-- 100` for a hundred draws of the durations instead
//! of ten. Printed is makespan / lower bound: the mean over the draws and, in brackets, the worst.
//! The ratio is what counts; seconds only orient.
//!
//! What is built is everything that glibc reaches in Debian 12. `both`: by any dependency; `link`:
//! only by those of binaries that are there at build time as well, which is what a change of an
//! interface reaches. Packages that depend on each other in a cycle cannot all wait: in `both` and
//! `link` cycles are broken (`CyclePolicy::Break`); in `both-scc` and `link-scc` no member of a
//! cycle waits for another (`CyclePolicy::Group`).
//!
//! Durations are lognormal with sigma 1.75, scaled to mean 1, and do not depend on the package. A
//! history is the true duration times lognormal noise: with sigma 1.2 it is wrong by a factor of
//! three, up or down, for every third package.

#[path = "common/debian.rs"]
mod debian;

use debian::{Debian, Edges};
use freshmaker::graph::EdgeKinds;
use freshmaker::plan::CyclePolicy;
use freshmaker::rebuild::{ConcurrencyLimits, Endless, Task, Workload};
use freshmaker::{Artifact, ArtifactGraph, ArtifactId, ArtifactKind, EdgeKind};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::error::Error;
use std::time::{Duration, Instant};

const FIRST_SEED: u64 = 1000;
const SEEDS: u64 = 10;
const SIGMA: f64 = 1.75;
const SLOTS: [u32; 3] = [10, 50, 200];
/// The mean duration.
const UNIT: Duration = Duration::from_secs(600);

struct Case {
    name: &'static str,
    count: usize,
    /// (parent, child).
    waits: Edges,
}

/// What the schedule knows of the durations.
#[derive(Clone, Copy)]
enum Policy {
    /// Peer: nothing, and starts what has waited longest.
    FirstCome,
    /// Nothing: every estimate is the same, so the rank is a number of hops.
    NoHistory,
    /// Each duration times noise of this sigma.
    History(f64),
}

fn main() -> Result<(), Box<dyn Error>> {
    let seeds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(SEEDS);
    let start = Instant::now();
    let text = debian::text()?;
    let unpacked = start.elapsed();
    let debian = Debian::parse(&text)?;
    println!(
        "{} sources, unpacked in {unpacked:.1?}, read in {:.1?}",
        debian.sources.len(),
        start.elapsed() - unpacked
    );
    println!("makespan / lower bound, mean of {seeds} draws (worst)\n");
    let policies = [
        ("first come, first served", Policy::FirstCome),
        ("no history", Policy::NoHistory),
        ("history, sigma 0.3", Policy::History(0.3)),
        ("history, sigma 0.7", Policy::History(0.7)),
        ("history, sigma 1.2", Policy::History(1.2)),
    ];
    for case in cases(&debian)? {
        println!("{}: {} builds, {} waits", case.name, case.count, case.waits.len());
        println!("{:<26}{}", "", SLOTS.map(|slots| format!("{:>16}", format!("k={slots}"))).concat());
        for (name, policy) in policies {
            let (mut line, mut spent) = (String::new(), Duration::ZERO);
            for slots in SLOTS {
                let start = Instant::now();
                let ratios = (0..seeds).map(|seed| ratio(&case, policy, FIRST_SEED + seed, slots));
                let ratios = ratios.collect::<Result<Vec<_>, _>>()?;
                spent += start.elapsed();
                let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
                let worst = ratios.iter().copied().fold(0.0, f64::max);
                line += &format!("{:>16}", format!("{mean:.3} ({worst:.2})"));
            }
            let runs = u32::try_from(seeds)? * u32::try_from(SLOTS.len())?;
            println!("{name:<26}{line}{:>12.1?} a draw", spent / runs);
        }
        time(&case)?;
    }
    Ok(())
}

fn ratio(case: &Case, policy: Policy, seed: u64, slots: u32) -> Result<f64, Endless> {
    let durations = lognormal(seed, case.count, SIGMA);
    let noise = match policy {
        Policy::History(sigma) => lognormal(!seed, case.count, sigma),
        Policy::NoHistory | Policy::FirstCome => durations.iter().map(|duration| 1.0 / duration).collect(),
    };
    let tasks = durations.iter().zip(noise).map(|(duration, noise)| Task {
        system: "buildd",
        estimate: UNIT.mul_f64(duration * noise),
        duration: UNIT.mul_f64(*duration),
    });
    let workload = Workload::new(tasks.collect(), &case.waits)?;
    let slots = ConcurrencyLimits::default().with_others(slots);
    let makespan = match policy {
        Policy::FirstCome => first_come(case, &durations, slots.limit("buildd")),
        _ => workload.play(&slots)?.makespan,
    };
    Ok(makespan.as_secs_f64() / workload.lower_bound(&slots).as_secs_f64())
}

/// Mean 1.
fn lognormal(seed: u64, count: usize, sigma: f64) -> Vec<f64> {
    let mut rng = fastrand::Rng::with_seed(seed);
    // Box and Muller's way to normal variates.
    let mut normal = || (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos();
    let drawn: Vec<_> = (0..count).map(|_| (sigma * normal()).exp()).collect();
    let mean = drawn.iter().sum::<f64>() / count as f64;
    drawn.into_iter().map(|duration| duration / mean).collect()
}

/// The peer: a queue.
fn first_come(case: &Case, durations: &[f64], slots: u32) -> Duration {
    let mut children = vec![Vec::new(); case.count];
    let mut waits_for = vec![0; case.count];
    for &(parent, child) in &case.waits {
        children[parent as usize].push(child as usize);
        waits_for[child as usize] += 1;
    }
    let mut queue: VecDeque<usize> = (0..case.count).filter(|task| waits_for[*task] == 0).collect();
    let mut running = BinaryHeap::new();
    let mut now = Duration::ZERO;
    loop {
        while running.len() < slots as usize
            && let Some(task) = queue.pop_front()
        {
            running.push(Reverse((now + UNIT.mul_f64(durations[task]), task)));
        }
        let Some(Reverse((end, task))) = running.pop() else { return now };
        now = end;
        for &child in &children[task] {
            waits_for[child] -= 1;
            if waits_for[child] == 0 {
                queue.push_back(child);
            }
        }
    }
}

/// What it costs to find this out: the simulator alone.
fn time(case: &Case) -> Result<(), Endless> {
    let task = |duration: &f64| Task { system: "buildd", estimate: UNIT, duration: UNIT.mul_f64(*duration) };
    let tasks: Vec<_> = lognormal(FIRST_SEED, case.count, SIGMA).iter().map(task).collect();
    let mut times = Vec::new();
    for _ in 0..7 {
        let tasks = tasks.clone();
        let start = Instant::now();
        let workload = Workload::new(tasks, &case.waits)?;
        let ranked = start.elapsed();
        workload.play(&ConcurrencyLimits::default().with_others(50))?;
        times.push((start.elapsed(), ranked));
    }
    times.sort_unstable();
    let (whole, ranked) = times[times.len() / 2];
    let each = whole.as_nanos() / case.count as u128;
    println!("ranked and played in {whole:.1?} ({ranked:.1?} and {:.1?}), {each} ns a build\n", whole - ranked);
    Ok(())
}

fn cases(debian: &Debian<'_>) -> Result<Vec<Case>, Box<dyn Error>> {
    let build: BTreeSet<_> = debian.build.iter().copied().collect();
    let both: BTreeSet<_> = debian.build.iter().chain(&debian.runtime).copied().collect();
    let at_build = |edge: &(u32, u32)| build.contains(edge) || debian.essential.contains(&edge.1);
    let link: BTreeSet<_> = debian.runtime.iter().copied().filter(at_build).collect();
    let mut cases = Vec::new();
    for (name, grouped, edges) in [("both", "both-scc", both), ("link", "link-scc", link)] {
        let id = |source: u32| ArtifactId::new(debian.sources[source as usize].name);
        let artifacts = debian.sources.iter().map(|source| Artifact::new(source.name, ArtifactKind::Rpm));
        let artifacts = artifacts.map(|artifact| artifact.with_source("archive", None));
        let edges = edges.into_iter().map(|(child, parent)| (id(child), id(parent), EdgeKind::BuildDependency));
        let graph = ArtifactGraph::of(artifacts, edges)?;
        for (name, policy) in [(name, CyclePolicy::Break(EdgeKinds::ALL)), (grouped, CyclePolicy::Group)] {
            let plan = graph.planner().rebuild("glibc").cycles(policy).plan()?;
            let numbers: BTreeMap<_, u32> = plan.nodes().map(|node| &node.artifact.id).zip(0..).collect();
            let waits = plan.nodes().flat_map(|node| {
                let parents = plan.needs(node).map(|parent| numbers[&parent.artifact.id]);
                parents.map(|parent| (parent, numbers[&node.artifact.id])).collect::<Vec<_>>()
            });
            cases.push(Case { name, count: plan.len(), waits: waits.collect() });
        }
    }
    Ok(cases)
}

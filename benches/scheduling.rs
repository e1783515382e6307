//! How long a rebuild of Debian takes under the schedule, against what no schedule can beat, and against first come, first served.
//!
//! `cargo bench --bench scheduling`, or with `-- 100` for a hundred draws of the durations instead of ten. Printed is makespan / lower bound: the mean
//! over the draws and, in brackets, the worst. The ratio is what counts; seconds only orient.
//!
//! What is built is everything that glibc reaches in Debian 12. `both`: by any dependency; `link`: only by those of binaries that are there at build time
//! as well, which is what a change of an interface reaches. Packages that depend on each other in a circle cannot all wait: in `both` and `link` a
//! greedy feedback arc set (Eades, Lin and Smyth 1993) is not waited for; in `both-scc` and `link-scc` no member of a circle waits for another.
//!
//! Durations are lognormal with sigma 1.75, scaled to mean 1, and do not depend on the package. A history is the true duration
//! times lognormal noise: with sigma 1.2 it is wrong by a factor of three, up or down, for every third package.

#[path = "common/debian.rs"]
mod debian;

use debian::{Debian, Edges};
use freshmaker::rebuild::{Endless, Slots, Task, Workload};
use petgraph::graph::{DiGraph, NodeIndex};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
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
    let slots = Slots::default().with_others(slots);
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
        workload.play(&Slots::default().with_others(50))?;
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
    let link: Edges = debian.runtime.iter().copied().filter(at_build).collect();
    let root = debian.number("glibc").ok_or("there is no glibc")?;
    let mut cases = Vec::new();
    for (name, grouped, edges) in [("both", "both-scc", both.into_iter().collect()), ("link", "link-scc", link)] {
        let (count, waits) = reached(debian.sources.len(), &edges, root)?;
        let group = groups(count, &waits);
        let same = |wait: &(u32, u32)| group[wait.0 as usize] == group[wait.1 as usize];
        let (inside, across): (Edges, Edges) = waits.into_iter().partition(same);
        let place = greedy_order(count, &inside);
        let forward = inside.into_iter().filter(|(parent, child)| place[*parent as usize] < place[*child as usize]);
        let waits = across.iter().copied().chain(forward).collect();
        cases.extend([Case { name, count, waits }, Case { name: grouped, count, waits: across }]);
    }
    Ok(cases)
}

/// What the root reaches, numbered anew, and the waits in between.
fn reached(count: usize, edges: &Edges, root: u32) -> Result<(usize, Edges), Box<dyn Error>> {
    let mut dependents = vec![Vec::new(); count];
    for &(child, parent) in edges {
        dependents[parent as usize].push(child);
    }
    let mut seen = vec![false; count];
    seen[root as usize] = true;
    let mut open = vec![root];
    while let Some(source) = open.pop() {
        for &child in &dependents[source as usize] {
            if !std::mem::replace(&mut seen[child as usize], true) {
                open.push(child);
            }
        }
    }
    let mut numbers = Vec::with_capacity(count);
    let mut found = 0;
    for seen in seen {
        numbers.push(seen.then_some(found));
        found += u32::from(seen);
    }
    let waits = edges.iter().filter_map(|&(child, parent)| Some((numbers[parent as usize]?, numbers[child as usize]?)));
    Ok((usize::try_from(found)?, waits.collect()))
}

/// The strongly connected component of each task.
fn groups(count: usize, waits: &Edges) -> Vec<usize> {
    let mut graph: DiGraph<(), ()> = DiGraph::with_capacity(count, waits.len());
    for _ in 0..count {
        graph.add_node(());
    }
    for &(parent, child) in waits {
        graph.add_edge(NodeIndex::new(parent as usize), NodeIndex::new(child as usize), ());
    }
    let mut group = vec![0; count];
    for (number, members) in petgraph::algo::tarjan_scc(&graph).into_iter().enumerate() {
        for member in members {
            group[member.index()] = number;
        }
    }
    group
}

/// Which end of the order a task goes to, and which of them first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// Nothing waits for it: to the end.
    Sink,
    /// By how much more wait for it than it waits for: to the front.
    Between(i64),
    /// It waits for nothing: to the front.
    Source,
}

/// Each task's place in a line in which few wait for what comes after them.
fn greedy_order(count: usize, waits: &Edges) -> Vec<usize> {
    let (mut children, mut parents) = (vec![Vec::new(); count], vec![Vec::new(); count]);
    for &(parent, child) in waits {
        children[parent as usize].push(child as usize);
        parents[child as usize].push(parent as usize);
    }
    // How many of each are left.
    let mut left: Vec<(i64, i64)> = children
        .iter()
        .zip(&parents)
        .map(|(children, parents)| (children.len() as i64, parents.len() as i64))
        .collect();
    let turn = |(children, parents): (i64, i64)| match (children, parents) {
        (0, _) => Turn::Sink,
        (_, 0) => Turn::Source,
        _ => Turn::Between(children - parents),
    };
    let mut open: BTreeSet<_> = left.iter().map(|left| turn(*left)).zip(0..).collect();
    let (mut front, mut back) = (Vec::new(), Vec::new());
    while let Some(next) = open.first().filter(|(turn, _)| *turn == Turn::Sink).or(open.last()).copied() {
        open.remove(&next);
        let (at, task) = next;
        if at == Turn::Sink {
            back.push(task)
        } else {
            front.push(task)
        }
        let freed = children[task].iter().map(|child| (*child, (0, 1)));
        for (other, (one, two)) in freed.chain(parents[task].iter().map(|parent| (*parent, (1, 0)))) {
            if open.remove(&(turn(left[other]), other)) {
                left[other] = (left[other].0 - one, left[other].1 - two);
                open.insert((turn(left[other]), other));
            }
        }
    }
    let mut place = vec![0; count];
    for (at, task) in front.into_iter().chain(back.into_iter().rev()).enumerate() {
        place[task] = at;
    }
    place
}

//! What a change affects, in waves, and the longest chains: against the bare walk over the same
//! edges, and against petgraph.
//!
//! `cargo bench --bench graph`; with `-- affected`, `small`, `transitions` or `changes` only that
//! part; with `-- --huge` also ten million nodes and a hundred million edges (takes 8 GB and
//! minutes). The ratios are what counts: each is to something that was measured beside it. Times
//! are the shortest of several runs, which other work on the machine disturbs least.

mod changes;
#[path = "../common/debian.rs"]
mod debian;
mod peers;
mod workloads;

use freshmaker::graph::{Csr, FrozenGraph};
use std::hint::black_box;
use std::time::{Duration, Instant};
use workloads::Workload;

/// The shortest of some runs, at least three and as many as fit into a second.
pub(crate) fn shortest<R>(mut run: impl FnMut() -> R) -> Duration {
    let begin = Instant::now();
    let mut best = Duration::MAX;
    let mut runs = 0;
    while runs < 3 || runs < 200 && begin.elapsed() < Duration::from_secs(1) {
        let start = Instant::now();
        black_box(run());
        best = best.min(start.elapsed());
        runs += 1;
    }
    best
}

pub(crate) fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let named: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    let text = debian::text()?;
    let debian = debian::Debian::parse(&text)?;
    let archive =
        [workloads::debian(&debian, "build and runtime", "glibc")?, workloads::debian(&debian, "link", "glibc")?];
    let layered = |nodes, edges| workloads::layered("layered", nodes, edges);
    if wanted("affected") {
        archive.iter().try_for_each(affected)?;
        for (nodes, edges) in [(35_000, 332_000), (1_000_000, 7_600_000), (1_000_000, 10_000_000)] {
            affected(&layered(nodes, edges))?;
        }
    }
    if std::env::args().any(|argument| argument == "--huge") {
        affected(&layered(10_000_000, 100_000_000))?;
    }
    if wanted("small") {
        small_changes(&layered(1_000_000, 10_000_000))?;
    }
    if wanted("transitions") {
        println!("\nTransitions: only what is linked against the changed library, in the order of their own links.");
        ["openssl", "zlib", "perl", "glibc"].iter().try_for_each(|root| transition(&archive[1], &debian, root))?;
    }
    if wanted("changes") {
        archive.iter().try_for_each(changes::run)?;
    }
    Ok(())
}

/// The hub's closure with waves, and the longest chains in it.
fn affected(workload: &Workload) -> Result<(), Box<dyn std::error::Error>> {
    let Workload { name, nodes, edges, root } = workload;
    let csr = Csr::new(*nodes, edges)?;
    let frozen = FrozenGraph::new(&csr);
    let mut search = frozen.search();
    let answer = search.affected(&[*root]).clone();
    assert_eq!(answer.nodes().len(), peers::walk(&csr, *root), "the walk finds the same");
    println!(
        "\n{name}: {nodes} nodes, {} edges; {} affected in {} waves with {} cycles; {:.1} bytes for each edge",
        edges.len(),
        answer.nodes().len(),
        answer.waves().len(),
        answer.cycles().len(),
        frozen.bytes() as f64 / edges.len() as f64,
    );
    let walk = shortest(|| peers::walk(&csr, *root));
    let cold = shortest(|| csr.affected(&[*root]));
    let indexed = shortest(|| search.affected(&[*root]).nodes().len());
    let durations: Vec<u32> = (0..*nodes).map(|node| node % 97 + 1).collect();
    let ranks = shortest(|| search.ranks(&durations).longest());
    println!("  {:<44} {walk:>10.2?}", "bare walk over compressed rows");
    println!("  {:<44} {cold:>10.2?} = {:.2} x walk", "affected, waves, cycles: from the rows", ratio(cold, walk));
    println!("  {:<44} {indexed:>10.2?} = {:.2} x walk", "the same, prepared", ratio(indexed, walk));
    let both = ratio(indexed + ranks, 2 * indexed);
    println!("  {:<44} {ranks:>10.2?}; plan = {both:.2} x two sweeps", "longest chains, prepared");
    if edges.len() < 50_000_000 {
        let peer = peers::Petgraph::new(*nodes, edges);
        assert_eq!(peer.waves(*root), answer.waves().map(<[u32]>::len).collect::<Vec<_>>(), "petgraph finds the same");
        let time = shortest(|| peer.waves(*root));
        println!(
            "  {:<44} {time:>10.2?} = {:.1} x prepared, {:.1} x from the rows",
            "the same by petgraph's DiGraph",
            ratio(time, indexed),
            ratio(time, cold),
        );
    }
    println!("  {:<44} {:>10.2?}", "rows from a list of edges", shortest(|| Csr::new(*nodes, edges)));
    println!("  {:<44} {:>10.2?}", "preparation", shortest(|| FrozenGraph::new(&csr)));
    Ok(())
}

/// Changes that reach little: the time must follow what is reached, not the graph.
fn small_changes(workload: &Workload) -> Result<(), Box<dyn std::error::Error>> {
    let frozen = FrozenGraph::new(&Csr::new(workload.nodes, &workload.edges)?);
    let mut search = frozen.search();
    let mut rng = fastrand::Rng::with_seed(3);
    let mut roots = Vec::new();
    while roots.len() < 200 {
        let root = rng.u32(..workload.nodes);
        if (500..=1_000).contains(&search.affected(&[root]).nodes().len()) {
            roots.push(root);
        }
    }
    let all = shortest(|| roots.iter().map(|root| search.affected(&[*root]).nodes().len()).sum::<usize>());
    let each = all / 200;
    println!("\nclosures of 500 to 1,000 of {} nodes, mean: {each:.2?} (limit 50 us)", workload.nodes);
    Ok(())
}

fn transition(workload: &Workload, debian: &debian::Debian<'_>, root: &str) -> Result<(), Box<dyn std::error::Error>> {
    let csr = Csr::new(workload.nodes, &workload.edges)?;
    let frozen = FrozenGraph::new(&csr);
    let mut search = frozen.search();
    let number = debian.number(root).ok_or("no such source")?;
    let dependents: Vec<_> = csr.children(number).to_vec();
    let (waves, cycles) = (search.among(&dependents).waves().len(), search.among(&dependents).cycles().len());
    let walk = shortest(|| peers::walk_among(&csr, &dependents));
    let time = shortest(|| search.among(&dependents));
    println!(
        "  {root:<8} {:>6} to relink in {waves:>2} waves with {cycles} cycles: {time:>9.2?} = {:.1} x a walk over their edges",
        dependents.len(),
        ratio(time, walk)
    );
    Ok(())
}

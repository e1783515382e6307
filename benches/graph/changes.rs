//! Edges that come and go, against computing everything again.

use crate::workloads::Workload;
use crate::{ratio, shortest};
use freshmaker::graph::{Csr, DynamicGraph, EdgeChange, FrozenGraph};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const CHANGES: u32 = 20_000;

pub(crate) fn run(workload: &Workload) -> Result<(), Box<dyn std::error::Error>> {
    let Workload { name, nodes, edges, .. } = workload;
    let csr = Csr::new(*nodes, edges)?;
    let durations: Vec<u64> = (0..*nodes).map(|node| u64::from(node % 97 + 1)).collect();
    let everything: Vec<_> = (0..*nodes).collect();
    let again = shortest(|| {
        let frozen = Csr::new(*nodes, edges).map(|csr| FrozenGraph::new(&csr));
        frozen.map(|frozen| {
            let mut search = frozen.search();
            search.affected(&everything);
            search.ranks(&durations).longest()
        })
    });
    println!("\n{name}: one change of {} edges; rows, order and ranks anew take {again:.2?}", edges.len());
    let mut graph = DynamicGraph::of(&csr, &durations);
    let mut rng = fastrand::Rng::with_seed(9);
    // A popular package becomes a dependency of some other one.
    let pairs: Vec<_> = (0..CHANGES).map(|_| (edges[rng.usize(..edges.len())].0, rng.u32(..*nodes))).collect();

    let start = Instant::now();
    let mut inserted = Vec::new();
    for &(parent, child) in &pairs {
        if !graph.closes_cycle(parent, child) && graph.insert(parent, child) != EdgeChange::Nothing {
            inserted.push((parent, child));
        }
    }
    tell("checked, and inserted unless it closes a cycle", start.elapsed() / CHANGES, again);
    let start = Instant::now();
    for (parent, child) in inserted.iter().rev() {
        graph.remove(*parent, *child);
    }
    tell("removed", start.elapsed() / u32::try_from(inserted.len())?, again);

    let mut kinds: BTreeMap<String, (u32, Duration)> = BTreeMap::new();
    let start = Instant::now();
    for (parent, child) in &pairs {
        let begin = Instant::now();
        let change = graph.insert(*parent, *child);
        let middle = Instant::now();
        // What was there before is not taken away.
        let back = if change == EdgeChange::Nothing { change } else { graph.remove(*parent, *child) };
        for (what, change, time) in [("insert", change, middle - begin), ("remove", back, middle.elapsed())] {
            let (count, sum) = kinds.entry(format!("{what}: {change:?}")).or_default();
            (*count, *sum) = (*count + 1, *sum + time);
        }
    }
    tell("inserted whatever it closes, and removed: each", start.elapsed() / (2 * CHANGES), again);
    for (kind, (count, sum)) in kinds {
        tell(&format!("   {kind} ({count} times)"), sum / count, again);
    }
    hub(&mut graph, edges, again);
    Ok(())
}

/// Edges of the node with the most children.
fn hub(graph: &mut DynamicGraph, edges: &[(u32, u32)], again: Duration) {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    edges.iter().for_each(|(parent, child)| children.entry(*parent).or_default().push(*child));
    let Some((hub, children)) = children.into_iter().max_by_key(|(_, children)| children.len()) else { return };
    let some: Vec<_> = (0..CHANGES).map(|_| children[rng.usize(..children.len())]).collect();
    let start = Instant::now();
    for child in some {
        graph.remove(hub, child);
        graph.insert(hub, child);
    }
    let what = format!("an edge of a hub with {} children: each", children.len());
    tell(&what, start.elapsed() / (2 * CHANGES), again);
}

fn tell(what: &str, time: Duration, again: Duration) {
    println!("  {what:<52} {time:>10.2?} = 1/{:.0} of everything anew", ratio(again, time));
}

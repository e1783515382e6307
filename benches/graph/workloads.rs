//! The graphs: an archive of packages, with its cycles, and layers in which few artifacts are used
//! by very many.

use crate::debian::Debian;
use std::collections::BTreeSet;

pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) nodes: u32,
    /// From parent to child.
    pub(crate) edges: Vec<(u32, u32)>,
    /// The node whose change reaches most.
    pub(crate) root: u32,
}

/// Debian's sources with all edges, or with those by which a change of an interface spreads.
pub(crate) fn debian(debian: &Debian<'_>, kind: &str, root: &str) -> Result<Workload, Box<dyn std::error::Error>> {
    let build: BTreeSet<_> = debian.build.iter().map(|(child, parent)| (*parent, *child)).collect();
    let runtime = debian.runtime.iter().map(|(child, parent)| (*parent, *child));
    let edges: BTreeSet<_> = if kind == "link" {
        let essential: BTreeSet<_> = debian.essential.iter().copied().collect();
        runtime.filter(|edge| build.contains(edge) || essential.contains(&edge.0)).collect()
    } else {
        build.iter().copied().chain(runtime).collect()
    };
    Ok(Workload {
        name: format!("Debian 12, {kind}"),
        nodes: u32::try_from(debian.sources.len())?,
        edges: edges.into_iter().collect(),
        root: debian.number(root).ok_or("no such source")?,
    })
}

/// Twenty-four layers; each artifact depends on some in earlier ones, by far most often on the most
/// popular. Numbers say nothing about layers.
pub(crate) fn layered(name: &str, nodes: u32, edges: u32) -> Workload {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut numbers: Vec<u32> = (0..nodes).collect();
    rng.shuffle(&mut numbers);
    let width = nodes / 24;
    let mut list = Vec::with_capacity(edges as usize);
    while list.len() < edges as usize {
        let child = rng.u32(width..nodes);
        let earlier = f64::from(child / width * width);
        let parent = (rng.f64().powi(3) * earlier) as u32;
        list.push((numbers[parent as usize], numbers[child as usize]));
    }
    Workload { name: name.to_owned(), nodes, edges: list, root: numbers[0] }
}

//! [`Csr`] and [`FrozenGraph`]: the same answers as the oracle, and the same as each other.

use crate::naive::Naive;
use freshmaker::graph::{Affected, Csr, CsrError, FrozenGraph};
use proptest::prelude::{Strategy, prop_assert_eq, proptest};
use std::collections::BTreeSet;

const NODES: u32 = 10;

fn edges() -> impl Strategy<Value = Vec<(u32, u32)>> {
    proptest::collection::vec((0..NODES, 0..NODES), 0..24)
}

fn named() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(0..NODES + 2, 0..6)
}

/// What an answer says: the wave of each node, and the cycles as sets.
fn told(affected: &Affected, nodes: u32) -> (Vec<Option<usize>>, BTreeSet<BTreeSet<u32>>) {
    let mut waves = vec![None; nodes as usize];
    for (number, wave) in affected.waves().enumerate() {
        assert!(!wave.is_empty(), "no wave is empty");
        for node in wave {
            assert_eq!(waves[*node as usize].replace(number), None, "{node} stands once");
        }
    }
    let cycles: Vec<BTreeSet<_>> = affected.cycles().map(|cycle| cycle.iter().copied().collect()).collect();
    assert_eq!(affected.nodes().len(), waves.iter().flatten().count());
    (waves, cycles.into_iter().collect())
}

fn expected(naive: &Naive, changed: &[u32]) -> (Vec<Option<usize>>, BTreeSet<BTreeSet<u32>>) {
    let known: Vec<_> = changed.iter().copied().filter(|node| *node < naive.nodes).collect();
    let waves = naive.waves(&known);
    let component = naive.components();
    let members = |of: u32| (0..naive.nodes).filter(|node| component[*node as usize] == of).collect::<BTreeSet<_>>();
    let affected = (0..naive.nodes).filter(|node| waves[*node as usize].is_some());
    let cycles = affected.map(|node| members(component[node as usize])).filter(|members| members.len() > 1).collect();
    (waves, cycles)
}

proptest! {
    #[test]
    fn what_is_affected_is_what_the_oracle_says(edges in edges(), questions in proptest::collection::vec(named(), 1..5)) {
        let naive = Naive::new(NODES, edges.iter().copied());
        let csr = Csr::new(NODES, &edges).unwrap();
        let frozen = FrozenGraph::new(&csr);
        let mut search = frozen.search();
        for changed in &questions {
            let expected = expected(&naive, changed);
            prop_assert_eq!(&told(&csr.affected(changed), NODES), &expected);
            prop_assert_eq!(&told(search.affected(changed), NODES), &expected, "one search answers many questions");
        }
    }

    #[test]
    fn ranks_are_the_longest_chains(
        edges in edges(),
        changed in named(),
        durations in proptest::collection::vec(0..9_u32, NODES as usize),
    ) {
        let naive = Naive::new(NODES, edges.iter().copied());
        let frozen = FrozenGraph::new(&Csr::new(NODES, &edges).unwrap());
        let mut search = frozen.search();
        let affected: BTreeSet<_> = search.affected(&changed).nodes().iter().copied().collect();
        let ranks = search.ranks(&durations);
        for node in 0..NODES {
            let expected = if affected.contains(&node) { naive.rank(node, &durations) } else { 0 };
            prop_assert_eq!(ranks.get(node), expected);
        }
        let longest = affected.iter().map(|node| naive.rank(*node, &durations)).max();
        prop_assert_eq!(ranks.longest(), longest.unwrap_or(0));
    }

    #[test]
    fn among_some_only_their_own_edges_count(edges in edges(), some in named()) {
        let inside = |node: &u32| some.contains(node);
        let part = Naive::new(NODES, edges.iter().copied().filter(|(parent, child)| inside(parent) && inside(child)));
        let csr = Csr::new(NODES, &edges).unwrap();
        let frozen = FrozenGraph::new(&csr);
        let mut search = frozen.search();
        let expected = expected(&part, &some);
        for _ in 0..2 {
            prop_assert_eq!(&told(&csr.among(&some), NODES), &expected);
            prop_assert_eq!(&told(&search.among(&some), NODES), &expected);
        }
    }

    #[test]
    fn components_come_parents_first(edges in edges()) {
        let naive = Naive::new(NODES, edges.iter().copied());
        let csr = Csr::new(NODES, &edges).unwrap();
        let of = naive.components();
        let found = csr.components();
        let mut place = vec![usize::MAX; NODES as usize];
        for (number, members) in found.iter().enumerate() {
            members.iter().for_each(|member| place[*member as usize] = number);
            prop_assert_eq!(members.iter().map(|member| of[*member as usize]).collect::<BTreeSet<_>>().len(), 1);
        }
        prop_assert_eq!(found.len(), of.iter().collect::<BTreeSet<_>>().len());
        for (parent, child) in edges {
            assert!(place[parent as usize] <= place[child as usize]);
        }
    }

    #[test]
    fn neighbours_are_those_of_the_edges(edges in edges()) {
        let csr = Csr::new(NODES, &edges).unwrap();
        let frozen = FrozenGraph::new(&csr);
        for node in 0..NODES {
            let children: Vec<_> = edges.iter().filter(|edge| edge.0 == node).map(|edge| edge.1).collect();
            let parents: Vec<_> = edges.iter().filter(|edge| edge.1 == node).map(|edge| edge.0).collect();
            let others = |nodes: &[u32]| nodes.iter().copied().filter(|other| *other != node).collect::<Vec<_>>();
            prop_assert_eq!(frozen.children(node).collect::<Vec<_>>(), others(&children));
            prop_assert_eq!(frozen.parents(node).collect::<Vec<_>>(), others(&parents));
            prop_assert_eq!(csr.children(node), children);
            prop_assert_eq!(csr.parents(node), parents);
        }
    }
}

/// A graph in which a search sweeps instead of walking, with cycles before, at and behind what is
/// named.
#[test]
fn sweeps_and_walks_agree() {
    let mut rng = fastrand::Rng::with_seed(11);
    for round in 0..300 {
        let nodes = 60;
        let edges: Vec<_> = (0..40 + round).map(|_| (rng.u32(..nodes), rng.u32(..nodes))).collect();
        let csr = Csr::new(nodes, &edges).unwrap();
        let frozen = FrozenGraph::new(&csr);
        let mut search = frozen.search();
        for _ in 0..6 {
            let changed: Vec<_> = (0..rng.usize(..3)).map(|_| rng.u32(..nodes)).collect();
            assert_eq!(told(search.affected(&changed), nodes), told(&csr.affected(&changed), nodes), "round {round}");
        }
    }
}

#[test]
fn a_chain_of_a_million_is_no_problem() {
    let nodes = 1_000_000;
    let chain: Vec<_> = (1..nodes).map(|node| (node - 1, node)).collect();
    let csr = Csr::new(nodes, &chain).unwrap();
    let frozen = FrozenGraph::new(&csr);
    assert_eq!((csr.components().len(), frozen.depth()), (1_000_000, 1_000_000));
    assert_eq!(csr.affected(&[10]).waves().count(), 999_990);
    let mut search = frozen.search();
    assert_eq!(search.affected(&[10]).waves().count(), 999_990);
    assert_eq!(search.ranks(&vec![5_u64; nodes as usize]).longest(), 5 * 999_990);
    assert_eq!(search.ranks(&vec![u32::MAX; nodes as usize]).longest(), u32::MAX, "sums stop at the largest number");

    let cycle: Vec<_> = chain.into_iter().chain([(nodes - 1, 0)]).collect();
    let csr = Csr::new(nodes, &cycle).unwrap();
    assert_eq!(csr.affected(&[10]).cycles().next().unwrap().len(), 1_000_000);
    assert_eq!(FrozenGraph::new(&csr).cycles().len(), 1);
}

#[test]
fn an_edge_to_nowhere_is_an_error() {
    let error = Csr::new(3, &[(0, 1), (2, 3)]).unwrap_err();
    assert_eq!(error, CsrError::NoSuchNode { parent: 2, child: 3, nodes: 3 });
    assert_eq!(error.to_string(), "the edge from 2 to 3 names a node that is not among the 3");
    assert_eq!(Csr::new(0, &[]).unwrap().affected(&[0]).nodes(), [0_u32; 0]);
}

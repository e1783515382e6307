//! Dependency graphs: what depends on what, what a change affects, in which order, how long.
//!
//! # Which graph for which question
//!
//! | question | type |
//! |---|---|
//! | Which artifacts are there, and why does one depend on another? | [`ArtifactGraph`] |
//! | What is affected, along some kinds of edges, within a distance? | [`Closure`] |
//! | Which artifacts depend on each other, and through which edges? | [`Cycle`] |
//! | One question about a large graph of numbers; algorithms of petgraph | [`Csr`] |
//! | The same for nodes that are rows or names instead of numbers | [`KeyedGraph`] |
//! | Many questions about one large graph that does not change | [`FrozenGraph`], [`Search`] |
//! | A graph that changes: cycles, order and longest chains after each edge | [`DynamicGraph`] |
//!
//! Most programs need [`ArtifactGraph`] only: it is what a catalog returns and what a
//! [`Planner`](crate::plan::Planner) reads. The graphs of numbers are public for programs that ask
//! more than a plan does: "what if" questions for each of thousands of artifacts, order and cycles
//! of their own rows, or benchmarks. All of them are values: no graph loads itself, and none is
//! global.
//!
//! # Terms
//!
//! * An edge goes from a *parent* to the *child* that is built from it. The *dependents* of an
//!   artifact (also called reverse dependencies) are what can be reached along the edges; its
//!   *dependencies* are what can be reached against them.
//! * A *cycle* is a strongly connected component of more than one node: each member depends on
//!   each other one. A node that depends on itself is no cycle; the edge orders nothing.
//! * The *level* of a node is the length of the longest path to it from what changed, where a
//!   cycle counts as one node. The nodes of one level are a *wave*: they can be built at the same
//!   time.
//! * The *rank* of a node is the weight of the longest path that starts with it: the expected time
//!   from the start of its build to the end of the last build that waits for it. The largest rank
//!   is the *critical path*.
//!
//! # A worked example
//!
//! ```
//! use freshmaker::graph::EdgeKinds;
//! use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
//!
//! // libc -> perl <-> perl-modules -> app, and libc -> app
//! let names = ["libc", "perl", "perl-modules", "app"];
//! let graph = ArtifactGraph::of(
//!     names.map(|name| Artifact::new(name, ArtifactKind::Rpm)),
//!     [
//!         ("perl".into(), "libc".into(), EdgeKind::Link),
//!         ("perl-modules".into(), "perl".into(), EdgeKind::BuildDependency),
//!         ("perl".into(), "perl-modules".into(), EdgeKind::RuntimeContent),
//!         ("app".into(), "perl-modules".into(), EdgeKind::BuildDependency),
//!         ("app".into(), "libc".into(), EdgeKind::Link),
//!     ],
//! )?;
//! assert_eq!(graph.dependents(&["libc".into()]).len(), 3);
//! assert_eq!(graph.cycles()[0].members(), ["perl".into(), "perl-modules".into()]);
//!
//! // The same in numbers: the cycle is one wave, and its members do not wait for each other.
//! let frozen = graph.frozen(EdgeKinds::ALL);
//! let number = |name: &str| graph.number(&name.into()).unwrap_or_default();
//! let mut search = frozen.search();
//! let sizes: Vec<usize> = search.affected(&[number("libc")]).waves().map(<[u32]>::len).collect();
//! assert_eq!(sizes, [1, 2, 1]);
//! let ranks = search.ranks(&[10_u32, 20, 30, 5]);
//! assert_eq!(ranks.get(number("libc")), 10 + 20, "libc, perl; perl-modules waits for neither");
//! # Ok::<(), freshmaker::graph::UnknownArtifact>(())
//! ```
//!
//! # Algorithms
//!
//! For n nodes and m edges, or for the part of them that is named:
//!
//! | what | algorithm | cost |
//! |---|---|---|
//! | [`Csr::new`] | counting sort into compressed sparse rows | O(n + m) |
//! | [`Csr::components`] | Tarjan 1972, in the form of Pearce 2016 | O(n + m) |
//! | [`Csr::topological_order`] | Kahn 1962, with a heap | O(n log n + m) |
//! | [`Csr::affected`] | Kahn 1962, then components of what is left | O(n + edges of the answer) |
//! | [`Csr::ranks`] | critical path method, Kelley and Walker 1959 | O(n + m) |
//! | [`Closure`] | breadth-first search | O(n + edges of the answer) |
//! | [`FrozenGraph::new`] | components, renumbered in topological order | O(n + m) |
//! | [`Search::affected`] | a walk, or one sweep over everything | O(answer), or O(n + m) |
//! | [`DynamicGraph::insert`] | two-way search, Haeupler et al. 2012 | edges between the two ends |
//!
//! *Invariant:* which nodes are in a closure, a wave or a component never depends on the order in
//! which nodes and edges were given.

mod affected;
mod artifacts;
mod closure;
mod components;
mod csr;
mod cycles;
mod dynamic;
mod frozen;
mod index;
mod keyed;
mod kind;
mod links;
mod order;
mod petgraph;
mod search;

pub use affected::Affected;
pub use artifacts::{ArtifactGraph, Note, UnknownArtifact};
pub use closure::Closure;
pub use csr::{Csr, CsrError};
pub use cycles::Cycle;
pub use dynamic::{DynamicGraph, EdgeChange};
pub use frozen::FrozenGraph;
pub(crate) use index::{ArtifactIndex, Index, Table, index};
pub use keyed::KeyedGraph;
pub use kind::{EdgeKind, EdgeKinds};
pub use search::{Ranks, Search, Weight};

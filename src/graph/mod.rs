//! What depends on what: a graph of artifacts with any number of parents each.

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

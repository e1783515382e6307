//! freshmaker

pub mod adapter;
pub mod artifact;
pub mod backend;
pub mod engine;
pub mod event;
pub mod graph;
pub mod handler;
pub mod image;
pub mod plan;
pub mod policy;
pub mod rebuild;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;

pub use artifact::{Artifact, ArtifactId, ArtifactKind, Nvr};
pub use engine::Engine;
pub use event::{Envelope, Event, Message};
pub use graph::{ArtifactGraph, EdgeKind};
pub use handler::{Context, Decision, Handler, HandlerResult};
pub use plan::{Plan, RebuildReason};
pub use policy::{Policy, Verdict};

//! An engine that rebuilds what depends on what changed.
//!
//! Something changes: a base image is pushed, a recipe is edited, a person asks for a rebuild. A
//! [`Handler`] decides what has to be rebuilt because of it and answers with a [`Plan`]; the
//! [`Engine`] stores the plan, submits each build to a build system in the right order, follows it
//! to its end and publishes what has changed. Crashes, lost messages and build systems that answer
//! late, twice or not at all do not stop it.
//!
//! This is a library, not a service: you choose the backends and own the process. It is not a build
//! system either; it never builds anything itself.
//!
//! # A first program
//!
//! ```
//! use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog, MemoryStorage};
//! use freshmaker::handler::{ImagePushed, rebuild_dependents};
//! use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine};
//! use std::sync::Arc;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut graph = ArtifactGraph::new();
//! graph.insert(Artifact::new("debian:12", ArtifactKind::Image));
//! graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("images/app", None));
//! graph.depend("app", "debian:12", EdgeKind::ParentImage)?;
//!
//! let engine = Engine::builder()
//!     .storage(Arc::new(MemoryStorage::new()))
//!     .catalog("images", Arc::new(MemoryCatalog::new(graph)))
//!     .build_system("builder", Arc::new(MemoryBuildSystem::new()))
//!     .on(rebuild_dependents)
//!     .build()?;
//!
//! let client = engine.client();
//! client.send(&ImagePushed { image: "debian:12".into(), digest: None }).await?;
//! engine.run_until(client.wait_until_idle()).await?;
//! assert_eq!(client.overview().await?.builds_done, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # The parts
//!
//! * [`Event`]: a fact with a stable stored name. [`Handler`]: an
//!   `async fn(E, Context) -> HandlerResult`, a closure or a struct. It reads through its
//!   [`Context`] and returns a [`Decision`], which is data; the engine acts on it.
//! * [`ArtifactGraph`]: artifacts and their dependencies, with any number of parents. [`Plan`]: a
//!   validated DAG of builds, which says for each artifact why it is in the plan, and for each
//!   other candidate why it is not. [`Policy`]: rules that say what may be rebuilt. All of these
//!   are values, without any I/O.
//! * [`backend`]: the contracts. A [`Bus`](backend::Bus) receives and publishes messages, a
//!   [`Catalog`](backend::Catalog) knows what depends on what, a [`Storage`](backend::Storage)
//!   keeps all rows, a [`BuildSystem`](backend::BuildSystem) builds, a
//!   [`Composer`](backend::Composer) prepares what builds need, a [`Verifier`](backend::Verifier)
//!   checks results.
//! * [`rebuild`]: the state machine, one function that applies an [`Input`](rebuild::Input) to
//!   rows. It neither waits nor asks for the time.
//! * [`Engine`]: one future in your own tokio runtime. [`Client`]: sends events, cancels, asks and
//!   listens, beside an engine or in another process, through the storage alone.
//! * [`memory`]: every backend in memory.
//!
//! # Which crates to add
//!
//! * Own backends only: `cargo add freshmaker`; the core has every backend in memory.
//! * Containerfiles on one machine: `cargo add freshmaker freshmaker-local freshmaker-sql`
//! * Fedora and Red Hat: `cargo add freshmaker freshmaker-redhat freshmaker-amqp freshmaker-sql`
//!
//! # Guides
//!
//! * [Embed it in a web service](guide::web_service)
//! * [A build system over HTTP](guide::build_system), and which error is which remedy
//! * [Which images contain a package](guide::packages)
//! * [Operating it](guide::operating): logs, states, stuck builds, backups, upgrades
//!
//! # Your own backend
//!
//! Implement one trait of [`backend`]; its documentation has the contract. The crate
//! `freshmaker-testing` has a suite for each trait, which you call with your implementation, and
//! [`store`] has what all storages do in the same way. `examples/custom_backend.rs` is a whole
//! build system in less than sixty lines.
//!
//! # Limits
//!
//! The crate has no features, no SQL driver and no HTTP client. Its engine needs a tokio runtime
//! with timers. What stays compatible between versions is in `STABILITY.md`.

pub mod artifact;
pub mod backend;
pub mod client;
pub mod engine;
pub mod event;
pub mod graph;
pub mod guide;
pub mod handler;
pub mod memory;
pub mod plan;
pub mod policy;
pub mod reason;
pub mod rebuild;
pub mod store;
pub mod time;

pub use artifact::{Artifact, ArtifactId, ArtifactKind, Nvr};
pub use client::Client;
pub use engine::Engine;
pub use event::{Envelope, Event, Message, Severity};
pub use graph::{ArtifactGraph, EdgeKind};
pub use handler::{Context, Decision, Handler, HandlerResult};
pub use plan::{Plan, RebuildReason};
pub use policy::{Policy, Verdict};
pub use reason::Reason;

/// The programs of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

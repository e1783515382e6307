//! For authors of backends and handlers of [freshmaker]: contract suites, a small [`world`] in
//! virtual time, and the seeded simulation with which the engine itself is tested.
//!
//! ```
//! use freshmaker::memory::MemoryStorage;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! freshmaker_testing::conformance::storage(async |clock| MemoryStorage::new().with_clock(clock)).await;
//! # }
//! ```
//!
//! # Features
//!
//! | feature | default | gives |
//! |---|---|---|
//! | `http` | | `http`: a server whose answers can be cut, delayed or wrong, on which fakes of services are built |
//!
//! # Limits
//! This crate is for development dependencies. What happens in the simulation of a given seed may
//! change with every version.

pub mod conformance;
pub mod counted;
#[cfg(feature = "http")]
pub mod http;
pub mod sim;
pub mod world;

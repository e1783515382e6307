//! For those who write backends and handlers of [freshmaker]: contract suites, a small
//! [`world`] on virtual time, and the seeded simulation that the engine itself is tested with.
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
//! | `http` | | `http`: a server whose answers can be cut, delayed or wrong, the ground of fakes of services |
//!
//! # Limits
//! For development dependencies: there is no promise about the exact story that a seed tells from
//! version to version.

pub mod conformance;
pub mod counted;
#[cfg(feature = "http")]
pub mod http;
pub mod sim;
pub mod world;

//! Contract suites: tests of the contract of each backend trait, to be run against your own
//! implementation.
//!
//! Each suite is an async function that panics, naming what it expected, if the implementation
//! breaks the contract. It needs no particular executor.

mod build_system;
mod bus;
mod catalog;
mod storage;

pub use build_system::{BuildWorld, Ending, build_system};
pub use bus::{BusWorld, bus};
pub use catalog::{CatalogExpectation, catalog};
pub use storage::storage;

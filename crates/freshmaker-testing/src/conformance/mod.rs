//! The contracts as tests: run them against your own implementation.
//!
//! Each suite is an async function that panics, with what it expected, where the contract is
//! broken. It needs no particular executor.

mod build_system;
mod bus;
mod catalog;
mod storage;

pub use build_system::{BuildWorld, Ending, build_system};
pub use bus::{BusWorld, bus};
pub use catalog::{CatalogExpectation, catalog};
pub use storage::storage;

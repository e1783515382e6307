//! The contracts as tests: run them against your own implementation.
//!
//! Each suite is an async function that panics, with what it expected, where the contract is broken. It needs no particular executor.

mod storage;

pub use storage::storage;

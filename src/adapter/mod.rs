//! The world: implementations of the backend contracts.

pub mod memory;

//! The world: implementations of the backend contracts.

#[cfg(feature = "files")]
pub mod files;
pub mod memory;

//! The world: implementations of the backend contracts.

pub mod memory;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod store;

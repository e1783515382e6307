//! Backends that keep everything in memory: for tests, trials and short-lived programs.

mod bus;
mod storage;
mod tables;

pub use bus::MemoryBus;
pub use storage::MemoryStorage;

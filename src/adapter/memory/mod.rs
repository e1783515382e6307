//! Backends that keep everything in memory: for tests, trials and short-lived programs.

mod bus;

pub use bus::MemoryBus;

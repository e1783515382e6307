//! Backends that keep everything in memory: for tests, trials and short-lived programs.

mod build_system;
mod bus;
mod composer;

pub use build_system::MemoryBuilds;
pub use bus::MemoryBus;
pub use composer::MemoryComposer;

//! Backends that keep everything in memory: for tests, trials and short-lived programs.

mod build_system;
mod bus;
mod catalog;
mod composer;
mod documents;
mod query;
mod storage;
mod sweep;
mod tables;

pub use build_system::MemoryBuildSystem;
pub use bus::MemoryBus;
pub use catalog::MemoryCatalog;
pub use composer::MemoryComposer;
pub use storage::MemoryStorage;

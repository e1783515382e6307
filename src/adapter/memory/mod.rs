//! Backends that keep everything in memory: for tests, trials and short-lived programs.

mod bus;
mod catalog;

pub use bus::MemoryBus;
pub use catalog::MemoryCatalog;
#[cfg(feature = "files")]
pub(crate) use catalog::{described, with_names};

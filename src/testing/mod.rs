//! For those who write backends and handlers: contract suites, and the seeded simulation that the engine itself is tested with.

pub mod conformance;
pub mod http;
#[cfg(feature = "koji")]
pub mod koji;
#[cfg(feature = "odcs")]
pub mod odcs;
pub mod sim;

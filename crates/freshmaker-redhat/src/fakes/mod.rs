//! Fake services that answer over real HTTP, for tests and demonstrations.

pub mod koji;
pub mod lightblue;
pub mod odcs;

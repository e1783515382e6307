//! Fake services that answer over real HTTP, for tests and demonstrations.

pub mod errata;
pub mod koji;
pub mod lightblue;
pub mod mbs;
pub mod odcs;
pub mod pulp;
pub mod pyxis;
mod wire;

//! One suite for each contract. A suite panics with a sentence that says what was broken.

mod build_system;

pub use build_system::{BuildWorld, Ending, build_system};

//! The three build systems against their fakes.

mod answers;
mod contract;
mod kills;
mod support;

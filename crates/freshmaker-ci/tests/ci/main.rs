//! The three build systems against their fakes.

#![allow(clippy::unwrap_used)]

mod answers;
mod contract;
mod kills;
mod support;

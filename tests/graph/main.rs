//! Graphs against oracles that know nothing of how they work.
#![allow(clippy::unwrap_used)]

mod artifacts;
mod dynamic;
mod frozen;
mod naive;

//! The real engine with backends in memory: what becomes of messages, decisions, builds and runs.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

mod config;
mod decisions;
mod forms;
mod gate;
mod messages;
mod runs;
mod schedule;
mod schemas;
mod systems;
mod telling;
mod town;

//! The fake hub of Koji against what the real one was recorded to answer, against the real client,
//! and against the engine.
#![allow(clippy::unwrap_used)]

mod advisory;
mod campaign;
mod contract;
mod farm;
mod handlers;
mod hub;
mod images;
mod line;
mod peers;
mod recorded;
mod verified;
mod world;

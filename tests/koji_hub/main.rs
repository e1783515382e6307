//! The fake hub of Koji against what the real one was recorded to answer, against the real client, and against the engine.
#![cfg(all(feature = "koji", feature = "testing"))]
#![allow(clippy::unwrap_used)]

mod campaign;
mod contract;
mod farm;
mod hub;
mod line;
mod peers;
#[path = "../peers/python.rs"]
mod python;
mod recorded;
#[path = "../peers/services.rs"]
mod services;
mod verified;
mod world;

//! ODCS: the client, and the fake that stands for the service, held to what the real ones say.

#![allow(clippy::unwrap_used)]

mod contract;
mod engine;
mod hurry;
mod known;
mod parameters;
mod peer;
mod recorded;
mod tls;
mod troubles;
mod world;

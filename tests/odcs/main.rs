//! ODCS: the client, and the fake that stands for the service, held to what the real ones say.

#![cfg(all(feature = "odcs", feature = "testing"))]
#![allow(clippy::unwrap_used)]

#[path = "../peers/certificates.rs"]
mod certificates;
mod contract;
mod engine;
mod parameters;
mod peer;
#[path = "../peers/python.rs"]
mod python;
mod recorded;
#[path = "../peers/services.rs"]
mod services;
mod tls;
mod troubles;
mod world;

//! What tests of several members share: real services, programs of other projects, certificates.
//! Whatever is missing or wrong here fails the test that asks.

#![allow(clippy::unwrap_used)]

pub mod broker;
pub mod certificates;
mod peers;
pub mod postgres;
pub mod registry;
pub mod schema;
mod services;

pub use peers::{packages, peer, python};
pub use services::missing;

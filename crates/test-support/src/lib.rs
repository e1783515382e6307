//! What tests of several members share: real services, programs of other projects, certificates.
//! Whatever is missing or wrong here fails the test that asks.

#![allow(clippy::unwrap_used)]

pub mod broker;
pub mod certificates;
pub mod cost;
#[cfg(feature = "web")]
pub mod history;
mod parallel;
mod peers;
pub mod postgres;
pub mod registry;
pub mod schema;
mod services;
#[cfg(feature = "web")]
pub mod web;

pub use parallel::in_parallel;
pub use peers::{answers_are_as_described, found_by_client, packages, peer, python};
pub use services::missing;

//! What tests of several members share: real services, programs of other projects, certificates.

pub mod broker;
pub mod certificates;
mod python;
pub mod schema;
mod services;

pub use python::{peer, python};
pub use services::missing;

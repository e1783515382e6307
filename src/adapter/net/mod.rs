//! The common room of all clients over HTTP: TLS, bounds, and what an error means for a request.

mod http;
mod parse;
mod tls;

pub(crate) use http::{Call, Http, Reply};
pub use http::{HttpConfig, Secret};
pub(crate) use parse::off_runtime;

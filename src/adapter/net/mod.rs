//! The common room of all clients over a network: TLS; and for those over HTTP bounds, and what an error means for a request.

#[cfg(feature = "net")]
mod http;
mod tls;

#[cfg(feature = "net")]
pub(crate) use http::{Call, Http, Reply};
#[cfg(feature = "net")]
pub use http::{HttpConfig, Secret};
#[cfg(feature = "amqp")]
pub(crate) use tls::{PemFiles, client_config};

//! The common room of all clients over HTTP: TLS, bounds, and what an error means for a request.

#[cfg(feature = "gssapi")]
mod gssapi;
#[cfg(not(feature = "gssapi"))]
#[path = "no_gssapi.rs"]
mod gssapi;
mod http;
#[cfg(feature = "native-tls")]
mod native;
#[cfg(not(feature = "native-tls"))]
#[path = "no_native.rs"]
mod native;
mod negotiate;
mod parse;
mod tls;

pub(crate) use http::{Call, Http, Reply};
pub use http::{HttpConfig, Secret};
pub use negotiate::Negotiate;
pub(crate) use negotiate::{authorization, of_system};
pub(crate) use parse::off_runtime;

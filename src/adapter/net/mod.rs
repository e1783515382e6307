//! The common room of all clients over a network: TLS; and for those over HTTP bounds, logins, and what an error means for a request.

#[cfg(all(feature = "net", feature = "gssapi"))]
mod gssapi;
#[cfg(all(feature = "net", not(feature = "gssapi")))]
#[path = "no_gssapi.rs"]
mod gssapi;
#[cfg(feature = "net")]
mod http;
#[cfg(feature = "native-tls")]
mod native;
#[cfg(all(feature = "net", not(feature = "native-tls")))]
#[path = "no_native.rs"]
mod native;
#[cfg(feature = "net")]
mod negotiate;
#[cfg(feature = "koji")]
mod parse;
mod tls;

#[cfg(feature = "net")]
pub(crate) use http::{Call, Http, Reply};
#[cfg(feature = "net")]
pub use http::{HttpConfig, Secret};
#[cfg(feature = "net")]
pub use negotiate::Negotiate;
#[cfg(feature = "net")]
pub(crate) use negotiate::{authorization, of_system};
#[cfg(feature = "koji")]
pub(crate) use parse::off_runtime;
#[cfg(feature = "amqp")]
pub(crate) use tls::{PemFiles, client_config};

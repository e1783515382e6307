//! The room that the network clients of [freshmaker](freshmaker) share: TLS, bounds, logins with Kerberos, credentials, and what an error
//! means for a request.
//!
//! A support crate: what configurations show ([`HttpConfig`], [`Secret`], [`Negotiate`]) is kept stable together with
//! the crates that use it. Everything else shows types of reqwest and rustls, and may change with them.
//!
//! ```
//! use freshmaker_net::HttpConfig;
//! use std::time::Duration;
//!
//! let mut config = HttpConfig::new("https://koji.example.org/kojihub");
//! config.timeout = Duration::from_secs(30);
//! assert!(config.ca.is_none(), "the authorities of the system");
//! ```
//!
//! # Features
//!
//! | feature | default | gives | needs |
//! |---|---|---|---|
//! | `http` | yes | HTTP clients | |
//! | `gssapi` | | logins with Kerberos | `libgssapi_krb5.so.2` when it is used |
//! | `native-tls` | | TLS by OpenSSL | OpenSSL with its headers |
//!
//! # Limits
//! A client never repeats a request by itself, and reads no more of an answer than its configuration allows.

#[cfg(feature = "gssapi")]
mod gssapi;
#[cfg(all(feature = "http", not(feature = "gssapi")))]
#[path = "no_gssapi.rs"]
mod gssapi;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "native-tls")]
mod native;
#[cfg(all(feature = "http", not(feature = "native-tls")))]
#[path = "no_native.rs"]
mod native;
#[cfg(feature = "http")]
mod negotiate;
#[cfg(feature = "http")]
mod parse;
mod tls;

#[cfg(feature = "http")]
pub use http::{Call, Http, HttpConfig, Reply, Secret};
#[cfg(feature = "http")]
pub use negotiate::{Negotiate, authorization, of_system};
#[cfg(feature = "http")]
pub use parse::off_runtime;
pub use tls::{PemFiles, client_config};

//! Shared parts of the network clients of [freshmaker]: TLS, HTTP with bounds, logins
//! with Kerberos, secrets, and the meaning of a failed request for the engine.
//!
//! This is a support crate. The types that appear in configurations ([`HttpConfig`], [`TlsFiles`],
//! [`Secret`], [`Negotiate`]) are kept stable together with the crates that use them. All other
//! items expose types of reqwest and rustls, and may change when those do.
//!
//! ```
//! use freshmaker_net::HttpConfig;
//! use std::time::Duration;
//!
//! let mut config = HttpConfig::new("https://koji.example.org/kojihub");
//! config.timeout = Duration::from_secs(30);
//! assert!(config.tls.ca.is_none(), "the authorities of the system");
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
//! A client never repeats a request by itself, follows no redirection, and reads no more of an
//! answer than [`HttpConfig::bytes_max`] allows.

mod bearer;
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
mod pem;
mod secret;
mod tls;

pub use bearer::Bearer;
#[cfg(feature = "http")]
pub use http::{Call, Http, HttpConfig, Reply};
#[cfg(feature = "http")]
pub use negotiate::{Kerberos, Negotiate, authorization, check_kerberos, of_system};
#[cfg(feature = "http")]
pub use parse::off_runtime;
pub use secret::Secret;
pub use tls::{TlsFiles, client_config};

//! Koji: its builds of packages and container images, and what it knows about them.
//!
//! * [`KojiBuildSystem`] is the [build system](freshmaker::backend::BuildSystem): each submission has a session of its own, so that an unclear one can be
//!   fenced off, and carries its marker in the task's request, so that it can be found again.
//! * [`KojiReader`] answers what handlers ask: builds, archives, packages, tags, and where an image came from.
//! * [`Client`] calls any other method of the hub, anonymously.
//!
//! ```no_run
//! use freshmaker::Engine;
//! use freshmaker_redhat::koji::{Config, KojiBuildSystem, Login};
//! use std::sync::Arc;
//!
//! let mut config = Config::new("https://koji.example.org/kojihub");
//! config.login = Login::Certificate;
//! config.http.client_cert = Some("/etc/pki/freshmaker.pem".into());
//! config.topurl = Some("https://koji.example.org/kojifiles".to_owned());
//! let engine = Engine::builder().build_system("koji", Arc::new(KojiBuildSystem::new(config)?));
//! # drop(engine);
//! # Ok::<(), freshmaker::backend::Error>(())
//! ```

mod builds;
mod classify;
mod client;
mod config;
mod fault;
mod packages;
mod read;
mod request;
mod session;
mod status;
mod verifier;
pub mod xmlrpc;

pub use builds::KojiBuildSystem;
pub use client::Client;
pub use config::{Config, Login};
pub use fault::{CallError, Fault};
pub use read::{Archive, Build, ImageOrigin, KojiReader, Log, ParentBuild, TaskRequest};
pub use verifier::KojiVerifier;

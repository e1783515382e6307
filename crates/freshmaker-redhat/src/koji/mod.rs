//! Koji (also known as Brew): building packages and container images, and reading facts about
//! builds.
//!
//! * [`KojiBuildSystem`] is the [build system](freshmaker::backend::BuildSystem). It submits in
//!   sessions, so that an unclear submission can be fenced off, and stores the attempt's marker in
//!   the request of the task, so that the task can be looked up.
//! * [`KojiReader`] reads what handlers need: builds, archives, packages, tags, and what an image
//!   was built from. An [`ImageVerifier`](crate::image::ImageVerifier) asks it what is installed in
//!   rebuilt images.
//! * [`KojiRecipes`] finds out how images can be built again, for
//!   [`contracts::Recipes`](crate::contracts::Recipes), and where packages come from.
//! * [`KojiImages`] finds images, what is in them and what is built on them, without a catalog.
//! * [`Client`] calls any other method of the hub, without a login.
//!
//! ```no_run
//! use freshmaker::Engine;
//! use freshmaker_redhat::koji::{KojiConfig, KojiBuildSystem, KojiLogin};
//! use std::sync::Arc;
//!
//! let mut config = KojiConfig::new("https://koji.example.org/kojihub");
//! config.login = KojiLogin::Certificate;
//! config.http.tls.client_cert = Some("/etc/pki/freshmaker.pem".into());
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
mod images;
mod ini;
mod installed;
mod package_builds;
mod packages;
mod profile;
mod read;
mod recipes;
mod request;
mod session;
mod status;
pub mod xmlrpc;

pub use builds::KojiBuildSystem;
pub use client::Client;
pub use config::{KojiConfig, KojiLogin};
pub use fault::{CallError, Fault};
pub use images::KojiImages;
pub use profile::{Profile, ProfileFiles};
pub use read::{Archive, Build, ImageOrigin, KojiReader, Log, ParentBuild, TaskRequest};
pub use recipes::KojiRecipes;
